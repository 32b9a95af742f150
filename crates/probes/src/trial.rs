//! What tests of probes share: numbers that look random, batches made by hand, and numbers found again.

use std::collections::BTreeMap;
use vit_data::{CropBox, Truth};
use vit_features::{Accumulate, BatchInfo, Findings, Role, Select, Taken};

/// A number that looks random, in −0.5 to 0.5.
pub(crate) fn noise(of: usize) -> f32 {
    let mut z = (of as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
}

/// The first number of a name.
pub(crate) fn value(findings: &Findings, name: &str) -> f64 {
    findings.metrics.iter().find(|metric| metric.name == name).expect(name).value
}

/// Shows samples `first..` with their truths, seen in views of `view_px` that show all of the image, to an accumulator; `shape` is that
/// of one sample's features.
pub(crate) fn show(
    acc: &mut impl Accumulate,
    (role, first): (Role, usize),
    truths: &[Truth],
    view_px: f64,
    (select, shape, values): (Select, &[usize], Vec<f32>),
) {
    show_of(0, acc, (role, first), truths, view_px, (select, shape, values));
}

/// The same of one of several models.
pub(crate) fn show_of(
    model: usize,
    acc: &mut impl Accumulate,
    (role, first): (Role, usize),
    truths: &[Truth],
    view_px: f64,
    (select, shape, values): (Select, &[usize], Vec<f32>),
) {
    let shape = [&[truths.len()], shape].concat();
    assert_eq!(shape.iter().product::<usize>(), values.len(), "features of {shape:?}");
    let features = BTreeMap::from([(select, (shape, values))]);
    let labels: Vec<Option<u32>> = truths.iter().map(|truth| truth.label).collect();
    let indices: Vec<usize> = (first..first + truths.len()).collect();
    let boxes = vec![CropBox { x: 0.0, y: 0.0, w: view_px, h: view_px, flipped: false }; truths.len()];
    let info = BatchInfo { model, role, first, labels: &labels, indices: &indices, truths, boxes: &boxes };
    acc.batch(&Taken { info, features: &features }).expect("taken");
}
