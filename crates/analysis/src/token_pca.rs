//! What do patch tokens have in common, seen as colors, layer by layer?

use crate::attention_on_host::{needs_images, needs_layers};
use crate::shown::{Shown, hash};
use measure::pca::leading_directions;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use report::{Block, Cell, Figure, FigureData, Info, LinePlot, Metric, Recipe, RecipeError, Series, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::Site;
use vit_data::CropBox;
use vit_features::{
    Accumulate, Findings, Maps, Needs, Part, PatchMap, Place, Role, Select, Shapes, Showcase, Study,
    StudyError, Taken,
};

/// The options of [`TokenPca`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenPcaConfig {
    /// Images that are shown; the same ones for every model.
    pub n_shown: usize,
    /// The places in the data set of the images that are shown, in place of `n_shown` drawn ones; those that are not looked at are
    /// left out.
    pub images: Vec<usize>,
    /// Patches of an image that the directions are found by; all of them where there are fewer.
    pub patches_per_image: usize,
}

impl Default for TokenPcaConfig {
    fn default() -> Self {
        Self { n_shown: 6, images: Vec::new(), patches_per_image: 16 }
    }
}

impl Recipe for TokenPcaConfig {
    fn check(&self) -> Result<(), RecipeError> {
        match self.patches_per_image {
            0 => Err(RecipeError::value("patches_per_image", "at least 1", "0")),
            _ => Ok(()),
        }
    }
}

/// Patch tokens of every layer along their three principal directions, as red, green and blue.
///
/// `C = E[x xᵀ] − E[x] E[x]ᵀ` over patches of all images, one `C` a layer; `color_k = (x − E[x]) · v_k` with `v_k` the
/// direction of the `k`th greatest eigenvalue.
///
/// # Source
/// Amir et al. 2022 and Oquab et al. 2024 (DINOv2) show tokens so. *Differs*: one basis a layer for all images, from a few
/// patches of each.
pub struct TokenPca;

/// The colors run from this share of the values shown to the rest: single patches far out would leave all others gray.
const CUT: f64 = 0.02;

/// Sums over patches of one layer: `D² + D` numbers.
#[derive(Serialize, Deserialize)]
struct Sums {
    n: usize,
    sum: Array1<f64>,
    /// `Σ x xᵀ`
    cross: Array2<f64>,
}

/// What is kept of an image that is shown: its box, and the tokens of every layer.
#[derive(Serialize, Deserialize)]
struct Kept {
    crop: CropBox,
    layers: Vec<Vec<f32>>,
}

/// Sums per layer, and the tokens of the images that are shown; memory does not grow with the number of images.
#[derive(Serialize, Deserialize)]
pub struct TokenPcaAcc {
    patches_per_image: usize,
    seed: u64,
    n_images: usize,
    selects: Vec<Select>,
    layers: BTreeMap<Select, Sums>,
    shown: Shown<Kept>,
}

fn selects(shapes: &Shapes) -> Vec<Select> {
    let select = |&block: &usize| Select { place: Place::At(Site::Block(block)), part: Part::Patches };
    shapes.blocks.iter().map(select).collect()
}

impl TokenPcaAcc {
    /// Adds some patches of every image, others for each: every so-manyth from a place that its index draws.
    fn add(&mut self, select: Select, (shape, values): &(Vec<usize>, Vec<f32>), indices: &[usize]) {
        let [_, n, d] = shape[..] else { panic!("patches [B, N, D]; found {shape:?}") };
        let stride = n.div_ceil(self.patches_per_image).max(1);
        let seed = self.seed;
        let rows: Vec<f64> = values
            .chunks_exact(n * d)
            .zip(indices)
            .flat_map(|(image, &index)| {
                let first = (hash(seed, index) % stride as u64) as usize;
                (first..n).step_by(stride).flat_map(move |patch| &image[patch * d..(patch + 1) * d])
            })
            .map(|&x| f64::from(x))
            .collect();
        let Ok(rows) = ArrayView2::from_shape((rows.len() / d, d), &rows) else {
            unreachable!("whole patches of {d} numbers")
        };
        let sums = self.layers.entry(select).or_insert_with(|| Sums {
            n: 0,
            sum: Array1::zeros(d),
            cross: Array2::zeros((d, d)),
        });
        sums.n += rows.nrows();
        sums.sum += &rows.sum_axis(Axis(0));
        sums.cross += &rows.t().dot(&rows);
    }
}

impl Accumulate for TokenPcaAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        self.n_images += taken.info.indices.len();
        for select in self.selects.clone() {
            let Some(features) = taken.features.get(&select) else {
                return Err(StudyError::Value {
                    study: TokenPca::INFO.name.into(),
                    expected: format!("features {select}"),
                    found: "none".into(),
                });
            };
            self.add(select, features, taken.info.indices);
        }
        for at in self.shown.wanted(&taken.info) {
            let layers = self.selects.iter().map(|select| {
                let (shape, values) = &taken.features[select];
                let size = shape[1] * shape[2];
                values[at * size..(at + 1) * size].to_vec()
            });
            let kept = Kept { crop: taken.info.boxes[at], layers: layers.collect() };
            self.shown.entry(taken.info.indices[at], || kept);
        }
        self.shown.settle();
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.n_images += later.n_images;
        for (select, sums) in later.layers {
            match self.layers.get_mut(&select) {
                Some(ours) => {
                    ours.n += sums.n;
                    ours.sum += &sums.sum;
                    ours.cross += &sums.cross;
                }
                None => drop(self.layers.insert(select, sums)),
            }
        }
        self.shown.merge(later.shown);
    }
}

impl Study for TokenPca {
    const INFO: Info = Info {
        name: "token-pca",
        line: "what patch tokens have in common, as colors: their principal directions at every layer",
        source: "Amir et al. 2022; Oquab et al. 2024 (DINOv2)",
    };
    type Config = TokenPcaConfig;
    type Acc = TokenPcaAcc;

    fn needs(_: &TokenPcaConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        needs_layers(Self::INFO.name, shapes)?;
        Ok(Needs { selects: selects(shapes), ..Needs::default() })
    }

    fn open(config: &TokenPcaConfig, shapes: &Shapes) -> TokenPcaAcc {
        TokenPcaAcc {
            patches_per_image: config.patches_per_image,
            seed: shapes.seed,
            n_images: 0,
            selects: selects(shapes),
            layers: BTreeMap::new(),
            shown: Shown::new(shapes.seed, config.n_shown, &config.images),
        }
    }

    fn finish(_: &TokenPcaConfig, shapes: &Shapes, acc: TokenPcaAcc) -> Result<Findings, StudyError> {
        needs_images(Self::INFO.name, acc.n_images)?;
        Ok(findings(shapes, &acc))
    }
}

/// The mean of a layer, its directions, and the shares of the variance that they have.
struct Basis {
    mean: Array1<f64>,
    directions: Array2<f64>,
    shares: Vec<f64>,
}

fn basis(sums: &Sums) -> Basis {
    let n = sums.n as f64;
    let mean = &sums.sum / n;
    let column = mean.view().insert_axis(Axis(1));
    let covariance = &sums.cross / n - column.dot(&column.t());
    let whole = covariance.diag().sum();
    let (values, directions) = leading_directions(covariance.view(), 3);
    let share = |value: &f64| if whole > 0.0 { (value / whole).clamp(0.0, 1.0) } else { 0.0 };
    Basis { mean, directions, shares: values.iter().map(share).collect() }
}

/// A color for each patch of each image: each direction from its lowest to its greatest values among those shown.
fn colors(basis: &Basis, images: &[&[f32]]) -> Vec<Vec<[u8; 3]>> {
    let d = basis.mean.len();
    let project = |patch: &[f32]| -> [f64; 3] {
        let mut along = [0.0; 3];
        for (along, direction) in along.iter_mut().zip(basis.directions.rows()) {
            let terms = patch.iter().zip(&basis.mean).zip(direction);
            *along = terms.map(|((&x, mean), v)| (f64::from(x) - mean) * v).sum();
        }
        along
    };
    let projected: Vec<Vec<[f64; 3]>> =
        images.iter().map(|image| image.chunks_exact(d).map(project).collect()).collect();
    let ranges: Vec<(f64, f64)> = (0..3)
        .map(|k| {
            let mut values: Vec<f64> = projected.iter().flatten().map(|along| along[k]).collect();
            values.sort_by(f64::total_cmp);
            let cut = (values.len() as f64 * CUT) as usize;
            match values.get(cut).zip(values.iter().rev().nth(cut)) {
                Some((&low, &high)) => (low, high),
                None => (0.0, 0.0),
            }
        })
        .collect();
    let byte = |along: [f64; 3]| {
        let mut color = [128; 3];
        for ((color, value), &(low, high)) in color.iter_mut().zip(along).zip(&ranges) {
            if high > low {
                *color = ((value - low) / (high - low) * 255.0).round().clamp(0.0, 255.0) as u8;
            }
        }
        color
    };
    projected.into_iter().map(|image| image.into_iter().map(byte).collect()).collect()
}

fn findings(shapes: &Shapes, acc: &TokenPcaAcc) -> Findings {
    let mut findings = Findings::default();
    let columns = ["layer", "first", "second", "third", "all three"];
    let mut table = Table::new("by_layer", "How much of the tokens' variance three directions have", columns);
    let (mut curve, mut tiles) = (Vec::new(), Vec::new());
    for (select, sums) in &acc.layers {
        // Layers are kept as they were asked for, and told in their order.
        let Some(place) = acc.selects.iter().position(|asked| asked == select) else { continue };
        let basis = basis(sums);
        let layer = select.layer(shapes.depth).unwrap_or(0);
        let all: f64 = basis.shares.iter().sum();
        let at = |metric: Metric| metric.layer(layer).select(select.to_string());
        for (k, &share) in basis.shares.iter().enumerate() {
            findings
                .metrics
                .push(at(Metric::new("variance_share", share, "ratio")).param("direction", k as u64));
        }
        findings.metrics.push(at(Metric::new("variance_share_top3", all, "ratio")));
        let share = |k: usize| Cell::from(basis.shares.get(k).copied());
        table.push([Cell::from(layer as i64), share(0), share(1), share(2), Cell::from(all)]);
        curve.push((layer as f64, all));
        let images: Vec<&[f32]> = acc.shown.iter().map(|(_, kept)| kept.layers[place].as_slice()).collect();
        tiles.push(colors(&basis, &images));
    }
    if acc.shown.iter().next().is_some() {
        findings.showcases.push(showcase(shapes, acc, &tiles));
        findings.story.push(Block::Figure("token_colors".into()));
    }
    let data = FigureData::Line(LinePlot {
        x_label: "block".into(),
        y_label: "share of the variance".into(),
        series: vec![Series::new("three directions", curve)],
        reference_lines: Vec::new(),
    });
    let caption = "How much of all that tells patches of one layer apart lies along its three principal directions, which the \
                   colors show. Near 1, the layer has little else; the colors are then all there is. It does not say whether \
                   those directions mean anything.";
    findings.story.push(Block::Figure("variance_share_top3".into()));
    findings.figures.push(Figure::new("variance_share_top3", "Three directions among many", caption, data));
    findings.story.push(Block::Table("by_layer".into()));
    findings.tables.push(table.note(format!(
        "Over {} images, at most {} patches of each. What lies along other directions is not shown by the colors.{}",
        acc.n_images,
        acc.patches_per_image,
        acc.shown.missing()
    )));
    findings
}

/// The pictures, and for each a map of every layer.
fn showcase(shapes: &Shapes, acc: &TokenPcaAcc, tiles: &[Vec<Vec<[u8; 3]>>]) -> Showcase {
    let rows = acc.shown.iter().enumerate().map(|(image, (_, kept))| {
        let maps = tiles.iter().map(|layer| PatchMap::Colors(layer[image].clone())).collect();
        (kept.crop, maps)
    });
    let titles = acc.layers.keys().map(|select| {
        let layer = select.layer(shapes.depth).unwrap_or(0);
        format!("block {layer}")
    });
    Showcase {
        name: "token_colors".into(),
        title: "Patch tokens as colors".into(),
        caption: "Red, green and blue are the three principal directions of a layer's patch tokens, found over all images: within \
                  a column, patches of one color are alike in all pictures. Colors of different columns, and of different \
                  models, have nothing to do with one another. What lies along other directions cannot be seen."
            .into(),
        samples: acc.shown.iter().map(|(index, _)| (index, String::new())).collect(),
        maps: Some(Maps { titles: titles.collect(), grid: (shapes.grid.rows, shapes.grid.columns), rows: rows.collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn colors_follow_the_directions_from_the_lowest_to_the_greatest_value() {
        // Tokens on a line along (3, 4) / 5 around (1, 1): the mean is (1, 1), all variance lies along it.
        let tokens = [[1.0f32, 1.0], [4.0, 5.0], [-2.0, -3.0], [1.0, 1.0]];
        let rows = array![[1.0, 1.0], [4.0, 5.0], [-2.0, -3.0], [1.0, 1.0]];
        let sums = Sums { n: 4, sum: rows.sum_axis(Axis(0)), cross: rows.t().dot(&rows) };
        let basis = basis(&sums);
        assert!((basis.shares[0] - 1.0).abs() < 1e-12 && basis.shares[1] < 1e-12, "{:?}", basis.shares);
        assert!(
            (basis.directions[[0, 0]] - 0.6).abs() < 1e-9 && (basis.directions[[0, 1]] - 0.8).abs() < 1e-9
        );
        let flat: Vec<f32> = tokens.concat();
        let found = colors(&basis, &[&flat[..4], &flat[4..]]);
        let red: Vec<u8> = found.iter().flatten().map(|color| color[0]).collect();
        assert_eq!(red, [128, 255, 0, 128]);
        assert!(found.iter().flatten().all(|color| color[2] == 128), "two directions have no third");
    }

    #[test]
    fn some_patches_of_every_image_are_taken_and_which_depends_on_the_image_alone() {
        let shapes = Shapes { blocks: vec![0], ..Shapes::of_pixels(4) };
        let config = TokenPcaConfig { patches_per_image: 3, ..TokenPcaConfig::default() };
        let mut acc = TokenPca::open(&config, &shapes);
        let select = selects(&shapes)[0];
        // Two images of 8 patches of one number, 0 to 7: every third from 0, 1 or 2 on.
        let values: Vec<f32> = (0..16).map(|i| (i % 8) as f32).collect();
        acc.add(select, &(vec![2, 8, 1], values), &[5, 9]);
        let sums_of = |first: u64| (first..8).step_by(3).collect::<Vec<_>>();
        let expected: Vec<u64> = [5, 9].iter().flat_map(|&index| sums_of(hash(0, index) % 3)).collect();
        let sums = &acc.layers[&select];
        assert_eq!(sums.n, expected.len());
        assert_eq!(sums.sum[0], expected.iter().sum::<u64>() as f64);
        assert_eq!(sums.cross[[0, 0]], expected.iter().map(|x| x * x).sum::<u64>() as f64);
    }
}
