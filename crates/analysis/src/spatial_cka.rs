//! Does a token still stand for the place where it came from?

use crate::attention_maps::tile;
use crate::attention_on_host::needs_layers;
use crate::sample_groups::SampleGroups;
use measure::attention::TokenGrid;
use measure::cka::{FEWEST_SAMPLES, Gram, hsic_between, linear_grams};
use ndarray::{Array2, ArrayView2, Axis, Slice};
use report::{
    Array, Block, Cell, Figure, FigureData, ImageGrid, Info, LinePlot, Metric, Recipe, RecipeError, Series,
    Table,
};
use serde::{Deserialize, Serialize};
use vit_core::{Grid, Site};
use vit_features::{
    Accumulate, Findings, Needs, Part, Place, Role, Select, Shapes, Study, StudyError, Taken,
};

/// The options of [`SpatialCka`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpatialCkaConfig {
    /// Samples in a group of the minibatch estimator, at least 4; whatever the batch of the forward pass.
    pub batch: usize,
}

impl Default for SpatialCkaConfig {
    fn default() -> Self {
        Self { batch: 64 }
    }
}

impl Recipe for SpatialCkaConfig {
    fn check(&self) -> Result<(), RecipeError> {
        match self.batch < FEWEST_SAMPLES {
            true => Err(RecipeError::value("batch", format!("at least {FEWEST_SAMPLES}"), self.batch)),
            false => Ok(()),
        }
    }
}

/// CKA of every token at every layer with the pixels of every patch of the image.
///
/// `CKA(X_t, Y_s)` over images: `X_t` `[n, D]` is a token's features, `Y_s` `[n, 3 P²]` the pixels of an input patch. A token
/// that has kept its place has its maximum at `s = t`.
///
/// # Source
/// Raghu et al., Do Vision Transformers See Like Convolutional Neural Networks? (localization; linear CKA by the unbiased
/// minibatch estimator).
pub struct SpatialCka;

/// Sums of HSIC of one layer's tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LayerSums {
    /// `[tokens, N]`: tokens with input patches.
    with_patches: Array2<f64>,
    /// Tokens with themselves.
    own: Vec<f64>,
}

/// Sums over groups of samples, and the group that waits; memory does not grow with the number of images.
///
/// Memory: a group takes `batch · layers · T · D · 4` bytes.
#[derive(Serialize, Deserialize)]
pub struct SpatialCkaAcc {
    blocks: Vec<usize>,
    has_class: bool,
    grid: Grid,
    width: usize,
    patch_px: usize,
    groups: SampleGroups,
    sums: Sums,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sums {
    layers: Vec<LayerSums>,
    /// Input patches with themselves.
    patches: Vec<f64>,
    n_groups: usize,
    n_left_out: usize,
}

impl Sums {
    /// Adds a group: the pixels' column first, then one for each layer.
    fn add(&mut self, views: &[ArrayView2<f32>], width: usize) {
        let [pixels, layers @ ..] = views else { return };
        if pixels.nrows() < FEWEST_SAMPLES {
            self.n_left_out += pixels.nrows();
            return;
        }
        let grams = |view: &ArrayView2<f32>, width: usize| -> Vec<Gram> {
            let pieces: Vec<ArrayView2<f32>> = (0..view.ncols() / width)
                .map(|i| view.slice_axis(Axis(1), Slice::from(i * width..(i + 1) * width)))
                .collect();
            linear_grams(&pieces)
        };
        let patches = grams(pixels, pixels.ncols() / self.patches.len());
        self.patches.iter_mut().zip(&patches).for_each(|(sum, gram)| *sum += gram.hsic(gram));
        for (sums, view) in self.layers.iter_mut().zip(layers) {
            let tokens = grams(view, width);
            sums.with_patches += &hsic_between(&tokens, &patches);
            sums.own.iter_mut().zip(&tokens).for_each(|(sum, gram)| *sum += gram.hsic(gram));
        }
        self.n_groups += 1;
    }

    fn merge(&mut self, later: &Self) {
        for (ours, later) in self.layers.iter_mut().zip(&later.layers) {
            ours.with_patches += &later.with_patches;
            ours.own.iter_mut().zip(&later.own).for_each(|(ours, later)| *ours += later);
        }
        self.patches.iter_mut().zip(&later.patches).for_each(|(ours, later)| *ours += later);
        self.n_groups += later.n_groups;
        self.n_left_out += later.n_left_out;
    }

    /// CKA of a layer's tokens with the patches; 0 where one of them does not vary.
    fn cka(&self, layer: usize) -> Array2<f64> {
        let LayerSums { with_patches, own } = &self.layers[layer];
        Array2::from_shape_fn(with_patches.dim(), |(t, s)| match own[t] > 0.0 && self.patches[s] > 0.0 {
            true => with_patches[[t, s]] / (own[t].sqrt() * self.patches[s].sqrt()),
            false => 0.0,
        })
    }
}

/// `[3, H, W]` → `[N, 3 P²]`, patch after patch.
fn by_patch(pixels: &[f32], grid: Grid, patch_px: usize, into: &mut Vec<f32>) {
    let (height, width) = (grid.rows * patch_px, grid.columns * patch_px);
    for patch in 0..grid.n_patches() {
        let (top, left) = (patch / grid.columns * patch_px, patch % grid.columns * patch_px);
        for plane in pixels.chunks_exact(height * width) {
            for y in top..top + patch_px {
                into.extend_from_slice(&plane[y * width + left..y * width + left + patch_px]);
            }
        }
    }
}

impl Accumulate for SpatialCkaAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        let n = taken.info.labels.len();
        let (_, pixels) = &taken.features[&Select::PIXELS];
        let n_numbers = 3 * self.grid.n_patches() * self.patch_px * self.patch_px;
        if pixels.len() != n * n_numbers {
            return Err(StudyError::Value {
                study: SpatialCka::INFO.name.into(),
                expected: format!("views of {n_numbers} numbers"),
                found: format!("{} in {n} samples", pixels.len()),
            });
        }
        let mut cut = Vec::with_capacity(pixels.len());
        for pixels in pixels.chunks_exact(n_numbers) {
            by_patch(pixels, self.grid, self.patch_px, &mut cut);
        }
        self.groups.push(0, &cut);
        for (layer, &block) in self.blocks.iter().enumerate() {
            let of = |part| &taken.features[&Select { place: Place::At(Site::Block(block)), part }].1;
            let patches = of(Part::Patches).chunks_exact(self.grid.n_patches() * self.width);
            for (sample, patches) in patches.enumerate() {
                if self.has_class {
                    let class = &of(Part::Class)[sample * self.width..(sample + 1) * self.width];
                    self.groups.push(1 + layer, class);
                }
                self.groups.push(1 + layer, patches);
            }
        }
        let Self { groups, sums, width, .. } = self;
        groups.close_full(&mut |views| sums.add(views, *width));
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        let Self { groups, sums, width, .. } = self;
        groups.merge(later.groups, &mut |views| sums.add(views, *width));
        sums.merge(&later.sums);
    }
}

impl Study for SpatialCka {
    const INFO: Info = Info {
        name: "spatial-cka",
        line: "whether tokens keep their place: CKA of every token with the pixels of every patch of the image",
        source: "Raghu et al. 2021",
    };
    type Config = SpatialCkaConfig;
    type Acc = SpatialCkaAcc;

    fn needs(_: &SpatialCkaConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_layers(Self::INFO.name, shapes)?;
        let class = shapes.has_class.then_some(Part::Class);
        let parts: Vec<Part> = class.into_iter().chain([Part::Patches]).collect();
        let of_block = |&block: &usize| {
            parts.iter().map(move |&part| Select { place: Place::At(Site::Block(block)), part })
        };
        let selects = shapes.blocks.iter().flat_map(of_block).chain([Select::PIXELS]).collect();
        Ok(Needs { selects, ..Needs::default() })
    }

    fn small() -> SpatialCkaConfig {
        // Halves of 24 samples end at the border of a group.
        SpatialCkaConfig { batch: 12 }
    }

    fn border(config: &SpatialCkaConfig) -> usize {
        config.batch
    }

    fn open(config: &SpatialCkaConfig, shapes: &Shapes) -> SpatialCkaAcc {
        let (n_patches, n_layers) = (shapes.grid.n_patches(), shapes.blocks.len());
        let n_tokens = n_patches + usize::from(shapes.has_class);
        let pixels = 3 * n_patches * shapes.patch_px * shapes.patch_px;
        let widths = std::iter::once(pixels).chain(std::iter::repeat_n(n_tokens * shapes.width, n_layers));
        let layer =
            LayerSums { with_patches: Array2::zeros((n_tokens, n_patches)), own: vec![0.0; n_tokens] };
        SpatialCkaAcc {
            blocks: shapes.blocks.clone(),
            has_class: shapes.has_class,
            grid: shapes.grid,
            width: shapes.width,
            patch_px: shapes.patch_px,
            groups: SampleGroups::new(config.batch, widths),
            sums: Sums {
                layers: vec![layer; n_layers],
                patches: vec![0.0; n_patches],
                n_groups: 0,
                n_left_out: 0,
            },
        }
    }

    fn finish(config: &SpatialCkaConfig, _: &Shapes, mut acc: SpatialCkaAcc) -> Result<Findings, StudyError> {
        let SpatialCkaAcc { groups, sums, width, .. } = &mut acc;
        groups.close_rest(&mut |views| sums.add(views, *width));
        if sums.n_groups == 0 {
            return Err(StudyError::Value {
                study: Self::INFO.name.into(),
                expected: format!("at least {FEWEST_SAMPLES} images"),
                found: groups.n_closed.to_string(),
            });
        }
        Ok(findings(config, &acc))
    }
}

/// What the patch tokens of a layer say of their places.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Placed {
    /// The share of tokens whose maximum is at their own patch.
    own_share: f64,
    /// The same of tokens at the border of the grid, and of the others; none where there are none.
    border_share: Option<f64>,
    interior_share: Option<f64>,
    /// Mean CKA with the own patch.
    own: f64,
    /// Mean CKA with the other patches.
    others: f64,
}

impl Placed {
    /// `cka`: `[N, N]`, patch tokens with input patches.
    fn of(cka: ArrayView2<f64>, grid: Grid) -> Self {
        let n = grid.n_patches();
        let hits: Vec<bool> = cka
            .outer_iter()
            .enumerate()
            .map(|(t, row)| row.iter().enumerate().all(|(s, &value)| s == t || value < row[t]))
            .collect();
        let is_border = |t: usize| {
            let (row, column) = (t / grid.columns, t % grid.columns);
            row == 0 || column == 0 || row + 1 == grid.rows || column + 1 == grid.columns
        };
        let share = |wanted: &dyn Fn(usize) -> bool| {
            let chosen: Vec<bool> = (0..n).filter(|&t| wanted(t)).map(|t| hits[t]).collect();
            let n_hits = chosen.iter().filter(|hit| **hit).count();
            (!chosen.is_empty()).then(|| n_hits as f64 / chosen.len() as f64)
        };
        let own: f64 = cka.diag().sum() / n as f64;
        let others = (cka.sum() - cka.diag().sum()) / ((n * (n - 1)).max(1)) as f64;
        Self {
            own_share: share(&|_| true).unwrap_or(0.0),
            border_share: share(&is_border),
            interior_share: share(&|t| !is_border(t)),
            own,
            others,
        }
    }
}

/// Tokens whose maps are shown: the class token, and patches by their place.
fn shown(grid: Grid, has_class: bool) -> Vec<(&'static str, usize)> {
    let n_class = usize::from(has_class);
    let at = |row: usize, column: usize| n_class + row * grid.columns + column;
    let (row, column) = (grid.rows / 2, grid.columns / 2);
    let mut shown = if has_class { vec![("class token", 0)] } else { Vec::new() };
    shown.extend([("center", at(row, column)), ("left edge", at(row, 0)), ("corner", at(0, 0))]);
    shown
}

fn findings(config: &SpatialCkaConfig, acc: &SpatialCkaAcc) -> Findings {
    let (grid, n_class) = (acc.grid, usize::from(acc.has_class));
    let n = grid.n_patches();
    let mut findings = Findings::default();
    let columns = [
        "layer",
        "tokens at their own place",
        "of those at the border",
        "of those inside",
        "CKA with the own patch",
        "with other patches",
    ];
    let mut table = Table::new("by_layer", "Every layer", columns);
    let (mut curve, mut tiles, mut all) = (Vec::new(), Vec::new(), Vec::new());
    let shown = shown(grid, acc.has_class);
    for (layer, &block) in acc.blocks.iter().enumerate() {
        let cka = acc.sums.cka(layer);
        let placed = Placed::of(cka.slice_axis(Axis(0), Slice::from(n_class..)), grid);
        let numbers = [
            ("own_share", Some(placed.own_share)),
            ("own_share_border", placed.border_share),
            ("own_share_interior", placed.interior_share),
            ("own_cka", Some(placed.own)),
            ("other_cka", Some(placed.others)),
        ];
        for (name, value) in numbers {
            let metric = value.map(|value| Metric::new(name, value, "ratio").layer(block));
            findings.metrics.extend(metric);
        }
        table.push([
            Cell::from(block),
            Cell::from(placed.own_share),
            Cell::from(placed.border_share),
            Cell::from(placed.interior_share),
            Cell::from(placed.own),
            Cell::from(placed.others),
        ]);
        curve.push((block as f64, placed.own_share));
        let of_map = TokenGrid { n_prefix: 0, h: grid.rows, w: grid.columns };
        tiles.extend(shown.iter().map(|&(_, token)| tile(&cka.row(token).to_vec(), of_map)));
        all.extend(cka.iter().map(|&value| value as f32));
    }
    findings.metrics.push(Metric::new("chance.own_share", 1.0 / n as f64, "ratio"));
    findings.arrays.push(Array {
        name: "spatial_cka".into(),
        shape: vec![acc.blocks.len(), n_class + n, n],
        values: all,
    });
    let plot = LinePlot {
        x_label: "block".into(),
        y_label: "tokens at their own place".into(),
        series: vec![Series::new("patch tokens", curve)],
        reference_lines: vec![("chance".into(), 1.0 / n as f64)],
    };
    let caption = "The share of patch tokens that are more like the pixels of their own patch than like those of any other. Near \
                   1, the place is kept; where the curve falls, tokens take over what stands elsewhere. Pixels are compared: a \
                   token that stands for its place in other words may count as lost.";
    findings.story.push(Block::Figure("own_share_by_depth".into()));
    let title = "Do tokens keep their place?";
    findings.figures.push(Figure::new("own_share_by_depth", title, caption, FigureData::Line(plot)));
    let grid_of_tiles = ImageGrid {
        columns: shown.len(),
        tiles,
        scale: (56 / grid.columns.max(1)).max(1),
        column_titles: shown.iter().map(|(words, _)| (*words).to_owned()).collect(),
        row_titles: acc.blocks.iter().map(|block| format!("block {block}")).collect(),
    };
    let caption = "Each picture is the image plane: light where the pixels of the patch are like the token. Each has its own scale, from its \
                   least to its greatest value, so that a dark and even map shows its noise. The token in the middle should light up \
                   the middle, the one in the corner the corner.";
    findings.story.push(Block::Figure("spatial_cka".into()));
    let title = "What part of the image a token is like";
    findings.figures.push(Figure::new("spatial_cka", title, caption, FigureData::Image(grid_of_tiles)));
    findings.story.push(Block::Table("by_layer".into()));
    let left_out = match acc.sums.n_left_out {
        0 => String::new(),
        n => format!(" {n} images were left out: fewer than {FEWEST_SAMPLES} remained for a group."),
    };
    findings.tables.push(table.note(format!(
        "Linear CKA by the unbiased minibatch estimator, {} images in groups of {}; by chance {:.4} of the tokens are at their \
         own place.{left_out}{}",
        acc.groups.n_closed - acc.sums.n_left_out,
        config.batch,
        1.0 / n as f64,
        acc.groups.seams()
    )));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn places_of_three_tokens_by_hand() {
        // The first and the last are at their own patch, the middle one at the first; a tie is no place.
        let cka = array![[0.9, 0.1, 0.2], [0.5, 0.4, 0.0], [0.3, 0.0, 0.6]];
        let placed = Placed::of(cka.view(), Grid { rows: 1, columns: 3 });
        assert!((placed.own_share - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!((placed.border_share, placed.interior_share), (Some(placed.own_share), None));
        assert!((placed.own - 1.9 / 3.0).abs() < 1e-12 && (placed.others - 1.1 / 6.0).abs() < 1e-12);
        let even = Placed::of(Array2::from_elem((9, 9), 0.3).view(), Grid { rows: 3, columns: 3 });
        assert_eq!((even.own_share, even.interior_share), (0.0, Some(0.0)));
    }

    #[test]
    fn pixels_are_cut_patch_after_patch() {
        // [1 plane, 2, 4] in patches of 2.
        let mut cut = Vec::new();
        by_patch(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], Grid { rows: 1, columns: 2 }, 2, &mut cut);
        assert_eq!(cut, [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
    }

    #[test]
    fn tokens_that_are_their_patches_are_all_at_their_own_place() {
        // 2 × 2 patches of one pixel with three channels; the tokens are those pixels.
        let shapes = Shapes {
            depth: 1,
            width: 3,
            grid: Grid { rows: 2, columns: 2 },
            patch_px: 1,
            blocks: vec![0],
            ..Shapes::of_pixels(2)
        };
        let mut acc = SpatialCka::open(&SpatialCkaConfig { batch: 20 }, &shapes);
        let value = |sample: usize, patch: usize, channel: usize| {
            ((sample * 7919 + patch * 104_729 + channel * 1299) % 101) as f32
        };
        let mut pixels = Vec::new();
        let mut tokens = Vec::new();
        for sample in 0..20 {
            for channel in 0..3 {
                pixels.extend((0..4).map(|patch| value(sample, patch * sample, channel)));
            }
            tokens.extend((0..12).map(|i| value(sample, i / 3 * sample, i % 3)));
        }
        let select = Select { place: Place::At(Site::Block(0)), part: Part::Patches };
        let features = [(Select::PIXELS, (vec![20, 12], pixels)), (select, (vec![20, 4, 3], tokens))].into();
        let (labels, indices) = (vec![None; 20], (0..20).collect::<Vec<_>>());
        let info = vit_features::BatchInfo::of_classes(Role::Test, &labels, &indices);
        acc.batch(&Taken { info, features: &features }).expect("fits");
        let cka = acc.sums.cka(0);
        assert!(cka.diag().iter().all(|&own| (own - 1.0).abs() < 1e-9), "{cka}");
        assert_eq!(Placed::of(cka.view(), acc.grid).own_share, 1.0);
    }
}
