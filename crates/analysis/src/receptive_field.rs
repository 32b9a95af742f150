//! From where in the image does a token take what it says: the effective receptive field, by gradient.

use crate::attention_maps::tile;
use crate::attention_on_host::{needs_images, needs_layers};
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use measure::attention::TokenGrid;
use measure::receptive_field::Spread;
use rand::RngExt;
use report::{
    Array, Block, Cell, Figure, FigureData, ImageGrid, Info, LinePlot, Metric, Recipe, RecipeError, Series,
    Table,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::{Backbone, Grid, Look, Pass, Seen, Site};
use vit_data::Seed;
use vit_features::{Accumulate, BatchInfo, Findings, Needs, Role, Shapes, Study, StudyError, Taken};

/// The options of [`ReceptiveField`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReceptiveFieldConfig {
    /// About how many images, drawn evenly; every one costs a forward and a backward for each map. Some 32 in publications.
    pub n_images: usize,
}

impl Default for ReceptiveFieldConfig {
    fn default() -> Self {
        Self { n_images: 32 }
    }
}

impl Recipe for ReceptiveFieldConfig {
    fn check(&self) -> Result<(), RecipeError> {
        match self.n_images {
            0 => Err(RecipeError::value("n_images", "at least 1", "0")),
            _ => Ok(()),
        }
    }
}

/// The effective receptive field of the token in the middle, at every block.
///
/// `R(y, x) = mean over images of Σ_rgb |∂ (Σ_c t_c) / ∂ pixel(y, x)|` with `t` the token of the patch at `(h / 2, w / 2)`: of a
/// block's output (after the residual additions), and of what its attention adds (before it).
///
/// # Source
/// Luo et al., Understanding the Effective Receptive Field; Raghu et al., Do Vision Transformers See Like Convolutional Neural
/// Networks?
pub struct ReceptiveField;

/// Where a map is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Kind {
    /// A block's output.
    After,
    /// What its attention adds.
    Before,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::After => "after",
            Self::Before => "before",
        }
    }

    fn site(self, block: usize) -> Site {
        match self {
            Self::After => Site::Block(block),
            Self::Before => Site::AttnOut(block),
        }
    }
}

/// Summed maps of gradients per block and kind; memory does not grow with the number of images.
#[derive(Serialize, Deserialize)]
pub struct ReceptiveFieldAcc {
    blocks: Vec<usize>,
    kinds: Vec<Kind>,
    grid: Grid,
    n_prefix: usize,
    seed: Seed,
    /// The share of the images that is looked at.
    share: f64,
    n_images: usize,
    /// `[H · W]`
    maps: BTreeMap<(usize, Kind), Vec<f64>>,
}

/// Keeps the tensor of one site.
struct One {
    site: Site,
    seen: Option<Tensor<3>>,
}

impl Look for One {
    fn wants(&self, site: Site) -> bool {
        site == self.site
    }
    fn see(&mut self, _: Site, seen: Seen) {
        self.seen = Some(seen.tokens());
    }
}

impl ReceptiveFieldAcc {
    /// Whether an image of the data set is looked at, whatever stands beside it.
    fn is_chosen(&self, index: usize) -> bool {
        self.seed.stream("receptive-field", &[index as u64]).random::<f64>() < self.share
    }

    /// The token in the middle of the grid.
    fn token(&self) -> usize {
        self.n_prefix + self.grid.rows / 2 * self.grid.columns + self.grid.columns / 2
    }
}

/// `Σ_rgb |∂ (Σ_c t_c) / ∂ pixel|` of each image, summed over images: `[H · W]`.
fn gradient_map(
    model: &Backbone,
    views: &Tensor<4>,
    site: Site,
    token: usize,
) -> Result<Vec<f64>, StudyError> {
    let wrong = |found: String| StudyError::Value {
        study: ReceptiveField::INFO.name.into(),
        expected: format!("a gradient of {site} with respect to the pixels"),
        found,
    };
    let [b, channels, height, width] = views.dims();
    let pixels = views.clone().require_grad();
    let mut look = One { site, seen: None };
    model.encode(pixels.clone(), &mut Pass::look(&mut look));
    let tokens = look.seen.ok_or_else(|| wrong("no such place in the model".into()))?;
    let width_of_token = tokens.dims()[2];
    // Images do not meet in a model at rest: the sum over them has each image's own gradient.
    let middle = tokens.slice([0..b, token..token + 1, 0..width_of_token]).sum();
    let gradient = pixels.grad(&middle.backward()).ok_or_else(|| wrong("none".into()))?;
    let values = gradient.into_data().convert::<f32>().try_to_vec::<f32>();
    let values = values.map_err(|error| wrong(format!("{error:?}")))?;
    let mut map = vec![0.0; height * width];
    for plane in values.chunks_exact(height * width).take(b * channels) {
        map.iter_mut().zip(plane).for_each(|(sum, &x)| *sum += f64::from(x.abs()));
    }
    match map.iter().all(|x| x.is_finite()) {
        true => Ok(map),
        false => Err(wrong("numbers that are not finite".into())),
    }
}

impl Accumulate for ReceptiveFieldAcc {
    fn batch(&mut self, _: &Taken) -> Result<(), StudyError> {
        Ok(())
    }

    fn pass(&mut self, model: &Backbone, views: &Tensor<4>, info: &BatchInfo) -> Result<(), StudyError> {
        if info.role != Role::Test {
            return Ok(());
        }
        let chosen: Vec<i32> =
            (0..info.indices.len()).filter(|&i| self.is_chosen(info.indices[i])).map(|i| i as i32).collect();
        if chosen.is_empty() {
            return Ok(());
        }
        let n = chosen.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(chosen, [n]), &views.device());
        let views = views.clone().select(0, ids).autodiff();
        // Nothing is learned: of all gradients only that of the pixels is made.
        let model = model.clone().train().no_grad();
        self.n_images += n;
        for &block in &self.blocks {
            for &kind in &self.kinds {
                let map = gradient_map(&model, &views, kind.site(block), self.token())?;
                let sums = self.maps.entry((block, kind)).or_insert_with(|| vec![0.0; map.len()]);
                sums.iter_mut().zip(map).for_each(|(sum, x)| *sum += x);
            }
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.n_images += later.n_images;
        for (at, map) in later.maps {
            let sums = self.maps.entry(at).or_insert_with(|| vec![0.0; map.len()]);
            sums.iter_mut().zip(map).for_each(|(sum, x)| *sum += x);
        }
    }
}

impl Study for ReceptiveField {
    const INFO: Info = Info {
        name: "receptive-field",
        line: "from where in the image the token in the middle takes what it says, by gradient, before and after the residual",
        source: "Luo et al. 2016; Raghu et al. 2021",
    };
    type Config = ReceptiveFieldConfig;
    type Acc = ReceptiveFieldAcc;

    fn needs(_: &ReceptiveFieldConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_layers(Self::INFO.name, shapes)?;
        Ok(Needs { passes: true, ..Needs::default() })
    }

    fn open(config: &ReceptiveFieldConfig, shapes: &Shapes) -> ReceptiveFieldAcc {
        let before = shapes.n_heads.map(|_| Kind::Before);
        ReceptiveFieldAcc {
            blocks: shapes.blocks.clone(),
            kinds: std::iter::once(Kind::After).chain(before).collect(),
            grid: shapes.grid,
            n_prefix: shapes.n_prefix,
            seed: Seed(shapes.seed),
            share: config.n_images as f64 / shapes.n_test.max(1) as f64,
            n_images: 0,
            maps: BTreeMap::new(),
        }
    }

    fn finish(
        _: &ReceptiveFieldConfig,
        shapes: &Shapes,
        acc: ReceptiveFieldAcc,
    ) -> Result<Findings, StudyError> {
        needs_images(Self::INFO.name, acc.n_images)?;
        Ok(findings(shapes, &acc))
    }
}

fn findings(shapes: &Shapes, acc: &ReceptiveFieldAcc) -> Findings {
    let size_px = (acc.grid.rows * shapes.patch_px, acc.grid.columns * shapes.patch_px);
    let center = (acc.grid.rows / 2, acc.grid.columns / 2);
    let of = |map: &[f64]| Spread::of(map, size_px, center, shapes.patch_px);
    let even = of(&vec![1.0; size_px.0 * size_px.1]);
    let mut findings = Findings::default();
    let columns =
        ["residual", "layer", "radius (px)", "share in its patch", "in 3 × 3 patches", "in 5 × 5 patches"];
    let mut table = Table::new("by_layer", "Every layer", columns);
    let mut curves: BTreeMap<Kind, Vec<(f64, f64)>> = BTreeMap::new();
    let mut all = Vec::new();
    for (&(block, kind), map) in &acc.maps {
        let spread = of(map);
        let shares = spread.shares.map(|(n, share)| (format!("share_{n}"), share, "ratio"));
        let numbers = [("radius_px".to_owned(), spread.radius_px, "px")].into_iter().chain(shares);
        for (name, value, unit) in numbers {
            let metric = Metric::new(name, value, unit).layer(block);
            findings.metrics.push(metric.param("residual", kind.name()));
        }
        let cells = [Cell::from(kind.name()), Cell::from(block), Cell::from(spread.radius_px)];
        table.push(cells.into_iter().chain(spread.shares.map(|(_, share)| Cell::from(share))));
        curves.entry(kind).or_default().push((block as f64, spread.radius_px));
        let most = map.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        all.extend(map.iter().map(|x| (x / most) as f32));
    }
    findings.metrics.push(Metric::new("even.radius_px", even.radius_px, "px"));
    let shares = even.shares.map(|(n, share)| Metric::new(format!("even.share_{n}"), share, "ratio"));
    findings.metrics.extend(shares);
    findings.arrays.push(Array {
        name: "receptive_field".into(),
        shape: vec![acc.blocks.len(), acc.kinds.len(), size_px.0, size_px.1],
        values: all,
    });
    let series = curves.into_iter().map(|(kind, curve)| {
        let words = if kind == Kind::After { "after the residual" } else { "before the residual" };
        Series::new(words, curve)
    });
    let plot = LinePlot {
        x_label: "block".into(),
        y_label: "radius (px)".into(),
        series: series.collect(),
        reference_lines: vec![("all pixels alike".into(), even.radius_px)],
    };
    let caption = "Of a block's output (after the residual additions) and of what its attention adds (before): root mean square distance from the middle of the token's patch to the pixels on which it depends, weighted by how \
                   much. Near the line, the token depends on all pixels alike. A gradient says what a small change of a pixel \
                   would do, not what the pixel is used for.";
    findings.story.push(Block::Figure("radius_by_depth".into()));
    let title = "How wide is the effective receptive field?";
    findings.figures.push(Figure::new("radius_by_depth", title, caption, FigureData::Line(plot)));
    findings.story.push(Block::Figure("receptive_field".into()));
    findings.figures.push(maps_figure(acc, size_px));
    findings.story.push(Block::Table("by_layer".into()));
    findings.tables.push(table.note(format!(
        "Mean of absolute gradients over {} images, of the token of the patch in row {} and column {} (from 0). All pixels alike \
         have a radius of {:.2} px and {:.3} of the weight in 3 × 3 patches.",
        acc.n_images, center.0, center.1, even.radius_px, even.shares[1].1
    )));
    findings
}

/// The longer side of a picture is at most this.
const PICTURE_PX: usize = 96;

/// A picture for every block and kind.
fn maps_figure(acc: &ReceptiveFieldAcc, (height, width): (usize, usize)) -> Figure {
    let factor = height.max(width).div_ceil(PICTURE_PX);
    let (h, w) = (height / factor, width / factor);
    let shrunk = |map: &Vec<f64>| {
        let cell = |at: usize| {
            let (top, left) = (at / w * factor, at % w * factor);
            let pixels = (top..top + factor).flat_map(|y| (left..left + factor).map(move |x| y * width + x));
            pixels.map(|pixel| map[pixel]).sum::<f64>()
        };
        tile(&(0..h * w).map(cell).collect::<Vec<f64>>(), TokenGrid { n_prefix: 0, h, w })
    };
    let grid = ImageGrid {
        columns: acc.kinds.len(),
        tiles: acc.maps.values().map(shrunk).collect(),
        scale: (PICTURE_PX / w.max(1)).max(1),
        column_titles: acc.kinds.iter().map(|kind| format!("{} the residual", kind.name())).collect(),
        row_titles: acc.blocks.iter().map(|block| format!("block {block}")).collect(),
    };
    let caption = "Light where a small change of the pixels changes the token in the middle most; each picture has its own scale, from its \
                   least to its greatest value. A grid of lines is the border of patches, at which filters of the patch \
                   projection begin and end.";
    Figure::new("receptive_field", "Effective receptive fields", caption, FigureData::Image(grid))
}
