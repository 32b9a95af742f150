//! Patches of all images in which clusters are sought: in their principal directions, and passed over block by block, so that what is
//! in memory does not grow with the number of images.

use crate::dense::{Kept, Reading};
use measure::kmeans::Rows;
use measure::nearest::l2_normalize_rows;
use measure::projection::Spread;
use ndarray::{Array2, ArrayView2, Axis};
use std::collections::BTreeMap;
use vit_features::{Bank, BatchInfo, Role, Select, StudyError, Taken};

/// How patches are brought into the space in which clusters are sought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// Principal directions of their z-scores over all images; 0 for the features as they are.
    pub(crate) pca: usize,
    /// Whether each patch is then divided by its length.
    pub(crate) unit: bool,
    /// Patches beyond this many bytes are kept in temporary files; changes no number.
    pub(crate) memory_bytes: usize,
}

/// The patches of all images by one select, `[images · N, k]`.
///
/// Memory: at most `memory_bytes` and a block, beside the sums of a projection.
pub(crate) struct Projected {
    bank: Bank,
    select: Select,
    n_patches: usize,
    width: usize,
}

impl Projected {
    /// The patches of `kept`.
    ///
    /// # Errors
    /// When there are none for every image, or a temporary file cannot be read or written.
    pub(crate) fn of(
        study: &'static str,
        kept: &Kept,
        (select, reading): (Select, &Reading),
        space: Space,
    ) -> Result<Self, StudyError> {
        let n_patches = reading.n_patches();
        let width = kept.features.width(select)? / n_patches;
        let blocks = || kept.features.blocks(select);
        let projection = match space.pca {
            0 => None,
            k => {
                let mut spread = Spread::nothing(width);
                for images in blocks()? {
                    spread.add(rows_of(&kept.features.rows(select, images)?, width));
                }
                Some(spread.projection(k))
            }
        };
        let mut out = Self { bank: Bank::new(study, space.memory_bytes), select, n_patches, width };
        for images in blocks()? {
            let values = kept.features.rows(select, images.clone())?;
            let mut rows = rows_of(&values, width).to_owned();
            if let Some(projection) = &projection {
                rows = projection.apply(rows.view());
            }
            if space.unit {
                rows = l2_normalize_rows(rows.view());
            }
            out.width = rows.ncols();
            out.push(images.len(), rows)?;
        }
        Ok(out)
    }

    fn push(&mut self, n_images: usize, rows: Array2<f32>) -> Result<(), StudyError> {
        let shape = vec![n_images, self.n_patches * self.width];
        let features = BTreeMap::from([(self.select, (shape, rows.into_raw_vec_and_offset().0))]);
        // A bank wants classes and places; here it is the pixels that have them.
        let (labels, indices) = (vec![Some(0); n_images], vec![0; n_images]);
        let info = BatchInfo::of_classes(Role::Test, &labels, &indices);
        self.bank.push(&Taken { info, features: &features }, &[self.select])
    }
}

impl Rows<StudyError> for Projected {
    fn size(&self) -> (usize, usize) {
        (self.bank.len() * self.n_patches, self.width)
    }

    fn each_block(&self, visit: &mut dyn FnMut(ArrayView2<f32>)) -> Result<(), StudyError> {
        for images in self.bank.blocks(self.select)? {
            visit(rows_of(&self.bank.rows(self.select, images)?, self.width));
        }
        Ok(())
    }

    fn sample(&self, at: usize) -> Result<Vec<f32>, StudyError> {
        let image = self.bank.row(self.select, at / self.n_patches)?;
        let first = at % self.n_patches * self.width;
        Ok(image[first..first + self.width].to_vec())
    }
}

/// Some of the rows, by their places, ascending.
pub(crate) struct Chosen<'a> {
    /// All of them.
    pub(crate) rows: &'a dyn Rows<StudyError>,
    /// Which are meant.
    pub(crate) chosen: &'a [usize],
}

impl Rows<StudyError> for Chosen<'_> {
    fn size(&self) -> (usize, usize) {
        (self.chosen.len(), self.rows.size().1)
    }

    fn each_block(&self, visit: &mut dyn FnMut(ArrayView2<f32>)) -> Result<(), StudyError> {
        let (mut first, mut left) = (0, self.chosen);
        self.rows.each_block(&mut |block| {
            let n = left.partition_point(|&at| at < first + block.nrows());
            let (own, rest) = left.split_at(n);
            let places: Vec<usize> = own.iter().map(|at| at - first).collect();
            if !places.is_empty() {
                visit(block.select(Axis(0), &places).view());
            }
            (first, left) = (first + block.nrows(), rest);
        })
    }

    fn sample(&self, at: usize) -> Result<Vec<f32>, StudyError> {
        self.rows.sample(self.chosen[at])
    }
}

fn rows_of(values: &[f32], width: usize) -> ArrayView2<'_, f32> {
    match ArrayView2::from_shape((values.len() / width.max(1), width), values) {
        Ok(rows) => rows,
        Err(error) => panic!("{} values of width {width}: {error}", values.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::Target;
    use crate::trial::noise;
    use vit_core::Site;
    use vit_data::Truth;
    use vit_features::{Part, Place, Shapes};

    #[test]
    fn patches_pass_by_in_order_whatever_the_memory_and_some_of_them_alone() {
        let select = Select { place: Place::At(Site::Block(0)), part: Part::Patches };
        let reading = Reading::new(Target::Object, 4, &Shapes { patch_px: 2, ..Shapes::of_pixels(2) });
        let n = reading.n_patches();
        let mut kept = Kept::new("test", 0);
        for image in 0..5 {
            let values: Vec<f32> = (0..n * 3).map(|i| noise(image * 100 + i)).collect();
            let features = BTreeMap::from([(select, (vec![1, n, 3], values))]);
            let (truths, indices) = ([Truth::default()], [image]);
            let info =
                BatchInfo { truths: &truths, ..BatchInfo::of_classes(Role::Test, &[Some(0)], &indices) };
            let truth = Array2::zeros((reading.eval_px, reading.eval_px));
            kept.push("test", &Taken { info, features: &features }, 0, &truth, &[select]).expect("kept");
        }
        let of = |pca, memory_bytes| {
            let space = Space { pca, unit: true, memory_bytes };
            let projected = Projected::of("test", &kept, (select, &reading), space).expect("patches");
            let mut all = Vec::new();
            projected.each_block(&mut |block| all.extend(block.iter().copied())).expect("blocks");
            assert_eq!(projected.size(), (5 * n, all.len() / (5 * n)));
            assert_eq!(
                projected.sample(n + 1).expect("a patch"),
                all[(n + 1) * projected.width..][..projected.width]
            );
            let mut some = Vec::new();
            let chosen = Chosen { rows: &projected, chosen: &[1, n + 1] };
            chosen.each_block(&mut |block| some.extend(block.iter().copied())).expect("blocks");
            assert_eq!(some[projected.width..], all[(n + 1) * projected.width..][..projected.width]);
            all
        };
        assert_eq!(of(2, 0), of(2, 1 << 20), "in a file or in memory");
        // As they are, but of length 1.
        let raw: Vec<f32> = (0..3).map(noise).collect();
        let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
        for (found, raw) in of(0, 0).iter().zip(&raw) {
            assert!((found - raw / length).abs() < 1e-6);
        }
    }
}
