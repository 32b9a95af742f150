//! Tests of what crosses crates, in one binary: parity with golden cases, laws and numeric anchors, the seams between
//! crates, the contracts of everything registered, and learning.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod conformance;
mod laws;
mod learning;
mod parity;
mod seams;
