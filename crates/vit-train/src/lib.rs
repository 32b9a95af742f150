//! The training loop: objectives as a trait, optimizers, schedules, averages, checkpoints.
//!
//! An [`Objective`] says which views it wants, turns a batch into named loss terms, and carries what is not trained by
//! gradients (a teacher, centers) from step to step. The loop sees nothing else of it, and the optimizer sees its
//! student only.

mod adamw;
mod alarm;
mod checkpoint;
mod ema;
mod error;
mod event_file;
mod grads;
mod learn;
mod log;
mod method;
mod mixing;
mod monitor;
mod objective;
mod recipe;
mod run;
pub mod schedule;

pub use adamw::{AdamW, Rates};
pub use alarm::{Alarms, alarms_of};
pub use checkpoint::{Checkpoint, FileSum, latest_checkpoint};
pub use ema::ema_update;
pub use error::TrainError;
pub use event_file::EVENT_FILE;
pub use grads::Grads;
pub use learn::{LearnAt, Learned, learn, upload};
pub use method::{Method, Outcome, ReadState, Request, RunPlan, Start, method};
pub use mixing::{Mix, MixPer, Mixing, mix_images, soft_targets};
pub use monitor::{Monitor, MonitorConfig};
pub use objective::{Batch, Merge, Objective, Preview, Progress, SampleCost, Step, StepOut, Term, Tile};
pub use recipe::{Clip, Init, PretrainRecipe, TrainConfig, ViewConfig};
pub use run::{Flow, NoWatch, StepReport, Watch};
