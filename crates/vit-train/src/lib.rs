//! The training loop: objectives as a trait, optimizers, schedules, averages, checkpoints.
//!
//! An [`Objective`] says which views it wants, turns a batch into named loss terms, and carries what is not trained by
//! gradients (a teacher, centers) from step to step. The loop sees nothing else of it, and the optimizer sees its
//! student only.

mod adamw;
mod checkpoint;
mod ema;
mod error;
mod log;
mod method;
mod objective;
mod recipe;
mod run;
pub mod schedule;

pub use adamw::{AdamW, Rates};
pub use checkpoint::{Checkpoint, latest_checkpoint};
pub use ema::ema_update;
pub use error::TrainError;
pub use method::{Method, Outcome, Request, method};
pub use objective::{Batch, Objective, Preview, Progress, Step, StepOut, Term, Tile};
pub use recipe::{PretrainRecipe, TrainConfig, ViewConfig};
pub use run::{Flow, NoWatch, StepReport, Watch};
