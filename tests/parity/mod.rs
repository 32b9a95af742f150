//! Parity with code that nobody here wrote: every golden case of a kind, forward and every gradient it holds.

mod layouts;
mod mae;
mod pos_embed;
mod studies;
mod vit;
