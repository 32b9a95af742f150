//! The vitscope binary.
fn main() {}
