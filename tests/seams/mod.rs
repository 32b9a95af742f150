//! The seams between crates: what a caller relies on when parts are put together.

mod cache;
mod checkpoints;
mod clips;
mod health;
mod layouts;
mod monitor;
mod passes;
mod resume;
mod strided;
mod studies;
mod teacher;
mod together;
mod weights;
