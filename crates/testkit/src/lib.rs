//! What tests share: golden cases and tolerances, tiny models and data, and the contracts that every registered thing
//! keeps. A dev-dependency only.
//!
//! Everything here panics with a sentence when a contract is broken: it is called from tests.

pub mod conformance;
pub mod golden;
pub mod gradient;
pub mod host;
pub mod looking;
pub mod tiny;
pub mod tolerance;

pub use golden::{Case, cases};
pub use gradient::gradients;
pub use host::HostTensor;
pub use looking::Recorder;
pub use tolerance::{Tolerance, assert_near};
