//! Frozen models and data to what studies see: one forward per model and batch feeds every study that was asked for.
//!
//! A [`Study`] says what it needs ([`Needs`]), accumulates what it sees, and finishes into [`Findings`]. Its
//! accumulator can be merged with that of another part of the data. Needs are checked against what the model has and
//! the data offers before anything runs, and the sentence of that check is what the user reads.

mod bank;
mod cache;
mod error;
mod extract;
mod findings;
mod lab;
mod layers;
mod numbers;
mod select;
mod shapes;
mod strided;
mod study;
mod tuning;

pub use bank::{BANK_BYTES, BLOCK_BYTES, Bank};
pub use cache::{Cache, Shelf, Tally};
pub use error::StudyError;
pub use extract::{Features, extract};
pub use findings::{CORRECT, Findings, Maps, PatchMap, Showcase};
pub use lab::{Lab, Passage, Source, observe, observe_together};
pub use layers::Layers;
pub use numbers::Numbers;
pub use select::{Part, Place, Select, parse_selects};
pub use shapes::Shapes;
pub use strided::{covered, n_windows, unfold};
pub use study::{
    Accumulate, Arrays, BatchInfo, Models, Needs, Open, Opened, Protocol, ProtocolView, Role, Study,
    StudyEntry, Taken, open_study, study,
};
pub use tuning::{Training, Tuned, Tuning};
