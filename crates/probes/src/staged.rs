//! For tests of probes of pixels: images with a truth, and features that are made from it.

use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;
use vit_core::{Grid, Seen, Site};
use vit_data::{CropBox, LabelMap, Truth};
use vit_features::{Accumulate, BatchInfo, Findings, Part, Place, Role, Select, Shapes, Study, Taken};

pub(crate) use crate::trial::{noise, value};

/// Images of 32 px in 8 × 8 patches of 4 px. An object of 16 × 12 px stands somewhere else in each, its left half part 1, its right
/// half part 2; image `i` is of class `i % n_classes`.
pub(crate) struct Stage {
    pub(crate) n_train: usize,
    pub(crate) n_test: usize,
    pub(crate) n_classes: usize,
    /// Heads of the attention that is shown, `attention(kind, image, patch, head)`: the class token's, not yet summing to 1.
    pub(crate) n_heads: usize,
    pub(crate) attention: fn(u8, usize, usize, usize) -> f32,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let attention = |kind: u8, _: usize, _: usize, _: usize| f32::from(u8::from(kind > 0));
        Self { n_train: 12, n_test: 8, n_classes: 1, n_heads: 2, attention }
    }

    pub(crate) fn shapes(&self) -> Shapes {
        Shapes {
            depth: 1,
            blocks: vec![0],
            grid: Grid { rows: 8, columns: 8 },
            patch_px: 4,
            n_heads: Some(self.n_heads),
            n_prefix: 1,
            has_class: true,
            n_train: self.n_train,
            n_test: self.n_test,
            n_classes: self.n_classes,
            parts: vec!["left".into(), "right".into()],
            ..Shapes::of_pixels(32)
        }
    }

    /// The part at a pixel of an image.
    pub(crate) fn part(image: usize, pixel: usize) -> u8 {
        let (left, top) = (image * 5 % 4 * 4, image * 3 % 5 * 4);
        let (x, y) = (pixel % 32, pixel / 32);
        if !(left..left + 16).contains(&x) || !(top..top + 12).contains(&y) {
            return 0;
        }
        1 + u8::from(x >= left + 8)
    }

    /// The part at the middle of a patch.
    pub(crate) fn part_of_patch(image: usize, patch: usize) -> u8 {
        Self::part(image, (patch / 8 * 4 + 2) * 32 + patch % 8 * 4 + 2)
    }

    /// Shows both sides to a study with features `feature(part, image, patch)` of every patch.
    pub(crate) fn ask<S: Study>(
        &self,
        config: &S::Config,
        feature: &dyn Fn(u8, usize, usize) -> Vec<f32>,
    ) -> Findings {
        let shapes = self.shapes();
        let mut acc = S::open(config, &shapes);
        let needs = S::needs(config, &shapes).expect("needs");
        for (role, n) in [(Role::Train, self.n_train), (Role::Test, self.n_test)] {
            for image in 0..n {
                self.show(&mut acc, role, image, feature, needs.sites.contains(&Site::Attention(0)));
            }
        }
        S::finish(config, &shapes, acc).expect("findings")
    }

    fn show<A: Accumulate>(
        &self,
        acc: &mut A,
        role: Role,
        image: usize,
        feature: &dyn Fn(u8, usize, usize) -> Vec<f32>,
        looks: bool,
    ) {
        let map = |id: &dyn Fn(u8) -> u8| {
            let ids = (0..1024).map(|pixel| id(Self::part(image, pixel))).collect();
            Some(LabelMap { width_px: 32, height_px: 32, ids })
        };
        let label = Some((image % self.n_classes) as u32);
        let (parts, mask) = (map(&|part| part), map(&|part| u8::from(part > 0)));
        let truths = [Truth { label, parts, mask, ..Truth::default() }];
        let info = BatchInfo {
            model: 0,
            role,
            first: image,
            labels: &[label],
            indices: &[image],
            truths: &truths,
            boxes: &[CropBox { x: 0.0, y: 0.0, w: 32.0, h: 32.0, flipped: false }],
        };
        if looks {
            let mut rows = vec![1.0 / 65.0; self.n_heads * 65 * 65];
            for head in 0..self.n_heads {
                let row: Vec<f32> = (0..64)
                    .map(|patch| (self.attention)(Self::part_of_patch(image, patch), image, patch, head))
                    .collect();
                let sum: f32 = row.iter().sum();
                rows[head * 65 * 65] = 0.0;
                for (to, value) in rows[head * 65 * 65 + 1..].iter_mut().zip(row) {
                    *to = value / sum.max(1e-9);
                }
            }
            let data = TensorData::new(rows, [1, self.n_heads, 65, 65]);
            let seen = Seen::Heads(Tensor::<4>::from_data(data, &vit_ops::cpu_device()));
            acc.see(Site::Attention(0), &seen, &info).expect("seen");
        }
        let values: Vec<f32> =
            (0..64).flat_map(|patch| feature(Self::part_of_patch(image, patch), image, patch)).collect();
        let width = values.len() / 64;
        let of = |site| Select { place: Place::At(site), part: Part::Patches };
        let colors = [[0.1, 0.1, 0.1], [0.8, 0.2, 0.2], [0.2, 0.8, 0.2]];
        let color = |at: usize| colors[usize::from(Self::part(image, at % 1024))][at / 1024];
        let pixels: Vec<f32> = (0..3 * 1024).map(color).collect();
        let mut features: BTreeMap<_, _> = [Site::Block(0), Site::Query(0), Site::Key(0), Site::Value(0)]
            .map(|site| (of(site), (vec![1, 64, width], values.clone())))
            .into();
        features.insert(Select::PIXELS, (vec![1, 3 * 1024], pixels));
        acc.batch(&Taken { info, features: &features }).expect("taken");
    }
}
