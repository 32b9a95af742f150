//! Laws that hold for any input, and the numeric anchors of the specification that cross crates.

mod anchors;
mod attention_told;
mod transformer;
