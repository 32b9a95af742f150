//! Tests that cross crates; see `tests/all.rs`.
