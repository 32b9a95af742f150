//! The contracts that every registered thing keeps. A row of a registry brings them with it: tests loop over the
//! registries and call what stands here.

mod objective;
mod rows;
mod study;

pub use objective::{ObjectiveTrial, objective_keeps_its_contract};
pub use rows::{options_are_strict, rows_are_sayable};
pub use study::{StudyTrial, assert_same_findings, study_keeps_its_contract};
