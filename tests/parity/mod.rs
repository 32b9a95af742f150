//! Parity with code that nobody here wrote: every golden case of a kind, forward and every gradient it holds.

mod attmask;
mod dino;
mod ibot;
mod layouts;
mod mae;
mod pos_embed;
mod self_distill_steps;
mod studies;
mod vit;
