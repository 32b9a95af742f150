//! What probes of pixels share: what is told apart, and images whose patches are compared with the truth later.

use crate::patches::{ids_in_view, is_held_out};
use measure::resample::nearest_cells;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_data::VOID;
use vit_features::{Bank, BatchInfo, Needs, Select, Shapes, StudyError, Taken};

/// What is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The parts of objects, and background.
    #[default]
    Parts,
    /// Object and background.
    Object,
    /// The classes of objects, one an image, and background.
    Class,
    /// The class of every pixel; where nobody says, nothing is counted.
    Semantic,
}

impl Target {
    /// The truth that it asks of the data, beside what is needed anyway.
    pub(crate) fn needs(self, needs: Needs) -> Needs {
        let (labels, parts) = (needs.labels || self == Self::Class, needs.parts || self == Self::Parts);
        let masks = needs.masks || matches!(self, Self::Object | Self::Class);
        let semantic = needs.semantic || self == Self::Semantic;
        Needs { labels, parts, masks, semantic, ..needs }
    }

    /// What is told apart, background first.
    pub(crate) fn kinds(self, shapes: &Shapes) -> Vec<String> {
        let things = match self {
            Self::Parts => shapes.parts.clone(),
            Self::Object => vec!["object".into()],
            Self::Class => {
                (0..shapes.n_classes).map(|class| crate::by_layer::class_name(shapes, class)).collect()
            }
            Self::Semantic => shapes.object_classes.clone(),
        };
        std::iter::once("background".to_owned()).chain(things).collect()
    }
}

/// How the truth of a view is read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) target: Target,
    pub(crate) n_kinds: usize,
    /// Side of the maps that are compared.
    pub(crate) eval_px: usize,
    pub(crate) grid: (usize, usize),
}

impl Reading {
    /// Maps of `eval_px`, at most as large as the view.
    pub(crate) fn new(target: Target, eval_px: usize, shapes: &Shapes) -> Self {
        let view_px = shapes.grid.rows.min(shapes.grid.columns) * shapes.patch_px;
        let grid = (shapes.grid.rows, shapes.grid.columns);
        Self { target, n_kinds: target.kinds(shapes).len(), eval_px: eval_px.min(view_px), grid }
    }

    pub(crate) fn n_patches(&self) -> usize {
        self.grid.0 * self.grid.1
    }

    pub(crate) fn n_pixels(&self) -> usize {
        self.eval_px * self.eval_px
    }

    /// The patch that gives a pixel its answer.
    pub(crate) fn cells(&self) -> Vec<usize> {
        nearest_cells(self.grid, self.eval_px, self.eval_px)
    }

    /// The kinds in an image of a batch, at the middles of `cells`; [`VOID`] where nobody says.
    ///
    /// # Errors
    /// When an image has no such truth, or one that cannot be.
    pub(crate) fn truth(
        &self,
        study: &str,
        taken: &BatchInfo,
        image: usize,
        cells: (usize, usize),
    ) -> Result<Array2<u8>, StudyError> {
        let wrong =
            |expected: String, found: String| StudyError::Value { study: study.into(), expected, found };
        let (truth, view, index) = (&taken.truths[image], &taken.boxes[image], taken.indices[image]);
        let map = match self.target {
            Target::Parts => &truth.parts,
            Target::Semantic => &truth.semantic,
            Target::Object | Target::Class => &truth.mask,
        };
        let Some(map) = map else {
            return Err(wrong("a mask for every sample".into(), format!("none for sample {index}")));
        };
        let ids = ids_in_view(map, view, cells);
        let kinds = match self.target {
            Target::Parts | Target::Semantic => ids,
            Target::Object => ids.mapv(|id| u8::from(id > 0)),
            Target::Class => {
                let Some(class) = truth.label else {
                    return Err(wrong("a class for every sample".into(), format!("none for sample {index}")));
                };
                ids.mapv(|id| if id > 0 { class as u8 + 1 } else { 0 })
            }
        };
        let is_void = |kind: u8| kind == VOID && self.target == Target::Semantic;
        match kinds.iter().find(|&&kind| usize::from(kind) >= self.n_kinds && !is_void(kind)) {
            Some(kind) => {
                Err(wrong(format!("ids below {}", self.n_kinds), format!("{kind} in sample {index}")))
            }
            None => Ok(kinds),
        }
    }

    /// The patch of every pixel's middle, of a map that is compared, and how many pixels of each kind there are in it; where nobody says,
    /// there are none.
    pub(crate) fn pixels_of_patches(&self, truth: &[u8]) -> Vec<Vec<(usize, usize)>> {
        let mut shown = vec![Vec::<(usize, usize)>::new(); self.n_patches()];
        for (&kind, cell) in
            truth.iter().zip(self.cells()).filter(|(kind, _)| usize::from(**kind) < self.n_kinds)
        {
            let kinds = &mut shown[cell];
            match kinds.iter_mut().find(|(known, _)| *known == usize::from(kind)) {
                Some((_, n)) => *n += 1,
                None => kinds.push((usize::from(kind), 1)),
            }
        }
        shown
    }

    /// The share of each kind in every patch, `[N, kinds]` one after another; 0 of all kinds where nobody says.
    pub(crate) fn shares(&self, truth: impl IntoIterator<Item = u8>) -> Vec<f64> {
        let truth: Vec<u8> = truth.into_iter().collect();
        let mut shares = vec![0.0; self.n_patches() * self.n_kinds];
        for (own, shown) in shares.chunks_exact_mut(self.n_kinds).zip(self.pixels_of_patches(&truth)) {
            let n: usize = shown.iter().map(|(_, n)| n).sum();
            shown.iter().for_each(|&(kind, count)| own[kind] = count as f64 / n as f64);
        }
        shares
    }

    /// The truth at the middle of every patch, of a map that is compared.
    pub(crate) fn of_patches(&self, truth: &[u8]) -> Vec<u8> {
        let (rows, columns) = self.grid;
        let at = |place: usize, side: usize| (2 * place + 1) * self.eval_px / (2 * side);
        let of =
            |patch: usize| truth[at(patch / columns, rows) * self.eval_px + at(patch % columns, columns)];
        (0..rows * columns).map(of).collect()
    }
}

/// What is seen of images that are compared later, in the order of the data.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) features: Bank,
    /// `[eval, eval]` of each image, one after another.
    pub(crate) truths: Vec<u8>,
    pub(crate) indices: Vec<usize>,
    /// The class of each, where it has one.
    pub(crate) labels: Vec<Option<u32>>,
}

impl Kept {
    pub(crate) fn new(study: &'static str, memory_bytes: usize) -> Self {
        let features = Bank::new(study, memory_bytes);
        Self { features, truths: Vec::new(), indices: Vec::new(), labels: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.indices.len()
    }

    /// Keeps one image of a batch.
    ///
    /// # Errors
    /// When features are missing or not finite, or a temporary file cannot be written.
    pub(crate) fn push(
        &mut self,
        study: &str,
        taken: &Taken,
        image: usize,
        truth: &Array2<u8>,
        wanted: &[Select],
    ) -> Result<(), StudyError> {
        let mut own = BTreeMap::new();
        for &select in wanted {
            let Some((shape, values)) = taken.features.get(&select) else {
                let (expected, found) = (format!("features of {select}"), "none".to_owned());
                return Err(StudyError::Value { study: study.into(), expected, found });
            };
            let n = shape[1..].iter().product::<usize>();
            own.insert(select, (vec![1, n], values[image * n..(image + 1) * n].to_vec()));
        }
        // A bank wants classes; here it is the pixels that have them.
        let index = taken.info.indices[image];
        let info = BatchInfo { labels: &[Some(0)], indices: &[index], truths: &[], boxes: &[], ..taken.info };
        self.features.push(&Taken { info, features: &own }, wanted)?;
        self.truths.extend(truth.iter());
        self.indices.push(index);
        self.labels.push(taken.info.truths[image].label);
        Ok(())
    }

    pub(crate) fn append(&mut self, later: Self) {
        self.features.append(later.features);
        self.truths.extend(later.truths);
        self.indices.extend(later.indices);
        self.labels.extend(later.labels);
    }

    /// The patches of one image, `[N, D]`.
    ///
    /// # Errors
    /// When there are none for every image, or a temporary file cannot be read.
    pub(crate) fn patches_of(
        &self,
        select: Select,
        image: usize,
        n_patches: usize,
    ) -> Result<Array2<f32>, StudyError> {
        let values = self.features.row(select, image)?;
        match Array2::from_shape_vec((n_patches, values.len() / n_patches), values) {
            Ok(rows) => Ok(rows),
            Err(error) => panic!("{n_patches} patches: {error}"),
        }
    }

    /// The truth of each image, in the order of the data.
    pub(crate) fn each_truth(&self, reading: &Reading) -> impl Iterator<Item = &[u8]> {
        self.truths.chunks_exact(reading.n_pixels())
    }
}

/// How often clusters of patches meet the kinds of pixels.
///
/// # Shapes
/// `cluster_of`: `[images · N]`; the result is `[clusters, kinds]` over the images that are `wanted`, by their rank.
pub(crate) fn meetings(
    kept: &Kept,
    reading: &Reading,
    cluster_of: &[u32],
    n_clusters: usize,
    wanted: &dyn Fn(usize) -> bool,
) -> Array2<usize> {
    let (cells, n_kinds) = (reading.cells(), reading.n_kinds);
    let mut counts = vec![0usize; n_clusters * n_kinds];
    let patches = cluster_of.chunks_exact(reading.n_patches());
    let images = kept.each_truth(reading).zip(patches).enumerate();
    for (_, (truth, clusters)) in images.filter(|(rank, _)| wanted(*rank)) {
        for (&kind, &cell) in truth.iter().zip(&cells).filter(|(kind, _)| usize::from(**kind) < n_kinds) {
            counts[clusters[cell] as usize * n_kinds + usize::from(kind)] += 1;
        }
    }
    match Array2::from_shape_vec((n_clusters, n_kinds), counts) {
        Ok(counts) => counts,
        Err(error) => panic!("meetings: {error}"),
    }
}

/// The images by which a layer is chosen, and those that count.
pub(crate) fn chooses(rank: usize) -> bool {
    is_held_out(rank)
}

/// See [`chooses`].
pub(crate) fn counts(rank: usize) -> bool {
    !is_held_out(rank)
}

/// Refuses to tell of fewer than 2 images that choose or that count.
///
/// # Errors
/// When there are fewer.
pub(crate) fn needs_images(study: &str, n: usize) -> Result<(), StudyError> {
    match n {
        ..4 => Err(StudyError::Value {
            study: study.into(),
            expected: "at least 4 test images, one in four of which chooses the layer".into(),
            found: n.to_string(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vit_data::{CropBox, LabelMap, Truth};
    use vit_features::Role;

    #[test]
    fn a_class_of_every_pixel_is_read_and_void_is_not_counted() {
        let reading = Reading { target: Target::Semantic, n_kinds: 3, eval_px: 4, grid: (2, 2) };
        let ids = vec![0, 0, 1, 1, 0, 2, 1, 1, 2, 2, VOID, VOID, 2, 2, VOID, VOID];
        let semantic = Some(LabelMap { width_px: 4, height_px: 4, ids: ids.clone() });
        let view = [CropBox { x: 0.0, y: 0.0, w: 4.0, h: 4.0, flipped: false }];
        let read = |truth: Truth, reading: &Reading| {
            let truths = [truth];
            let (labels, indices) = (&[None], &[7]);
            let info = BatchInfo {
                model: 0,
                role: Role::Test,
                first: 0,
                labels,
                indices,
                truths: &truths,
                boxes: &view,
            };
            reading.truth("test", &info, 0, (4, 4)).map(|map| map.into_iter().collect::<Vec<u8>>())
        };
        let truth = Truth { semantic, ..Truth::default() };
        assert_eq!(read(truth.clone(), &reading).expect("classes"), ids);
        // The middle of a patch of 2 × 2 pixels is its last.
        assert_eq!(reading.of_patches(&ids), [2, 1, 2, VOID]);
        assert_eq!(reading.pixels_of_patches(&ids)[0], [(0, 3), (2, 1)]);
        let shares = reading.shares(ids.iter().copied());
        assert_eq!(shares[..3], [0.75, 0.0, 0.25]);
        assert_eq!(shares[9..], [0.0; 3], "nobody says");
        let mut kept = Kept::new("test", 0);
        (kept.truths, kept.indices) = (ids, vec![7]);
        // Clusters 0 to 3 of the four patches; void pixels are nowhere.
        let met = meetings(&kept, &reading, &[0, 1, 2, 3], 4, &|_| true);
        assert_eq!(met, ndarray::array![[3, 0, 1], [0, 4, 0], [0, 0, 4], [0, 0, 0]]);
        // A class that the data does not name, and no classes at all.
        let few = Reading { n_kinds: 2, ..reading.clone() };
        let sentence = read(truth, &few).expect_err("a class too many").to_string();
        assert!(sentence.contains("ids below 2") && sentence.contains("sample 7"), "{sentence}");
        assert!(read(Truth::default(), &reading).is_err());
    }
}
