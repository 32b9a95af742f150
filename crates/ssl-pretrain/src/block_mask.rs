//! Block-wise masks as iBOT draws them: which crops are masked, how much of each, and where.

use rand::RngExt;
use report::RecipeError;
use serde::{Deserialize, Serialize};
use vit_core::{Grid, Stream};

/// Tries to place one block.
const MAX_TRIES: usize = 10;

/// Least and greatest height over width of a block: 0.3 and its inverse.
const MIN_ASPECT: f64 = 0.3;

/// How masked patches lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskShape {
    /// In rectangles, until no further one fits: seldom more than the ratio that was drawn, often less.
    #[default]
    Block,
    /// Anywhere, exactly as many as the ratio says.
    Random,
}

/// One way of masking a crop: its ratio is drawn uniformly from `ratio ± spread`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatioDraw {
    /// The middle, 0–1.
    pub ratio: f64,
    /// The distance to each end, at most the middle.
    pub spread: f64,
}

impl RatioDraw {
    /// Uniform on `[ratio − spread, ratio + spread)`; no draw is made where there is no spread.
    pub fn draw(&self, stream: &mut Stream) -> f64 {
        if self.spread > 0.0 {
            uniform(stream, self.ratio - self.spread, self.ratio + self.spread)
        } else {
            self.ratio
        }
    }

    pub(crate) fn check(&self, key: &str) -> Result<(), RecipeError> {
        let fits = 0.0 <= self.spread && self.spread <= self.ratio && self.ratio + self.spread <= 1.0;
        if fits {
            return Ok(());
        }
        let found = format!("{} ± {}", self.ratio, self.spread);
        Err(RecipeError::value(key, "ratio ± spread within 0–1", found))
    }
}

/// The masks of large views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskConfig {
    /// How masked patches lie; `block` in the paper.
    pub shape: MaskShape,
    /// For every crop one of these is chosen, each as likely as the others; 0 and 0.3 ± 0.2 in the paper, so that about
    /// half of the crops stay whole.
    pub ratios: Vec<RatioDraw>,
    /// The first epoch with masks, counted from 0; 0 in the paper for ViT, 50 for Swin.
    pub start_epoch: usize,
}

impl Default for MaskConfig {
    fn default() -> Self {
        let ratios = vec![RatioDraw { ratio: 0.0, spread: 0.0 }, RatioDraw { ratio: 0.3, spread: 0.2 }];
        Self { shape: MaskShape::Block, ratios, start_epoch: 0 }
    }
}

impl MaskConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// When there is no ratio, or one is not within 0–1.
    pub fn check(&self) -> Result<(), RecipeError> {
        if self.ratios.is_empty() {
            return Err(RecipeError::value("options.mask.ratios", "at least one", "none"));
        }
        self.ratios.iter().try_for_each(|ratio| ratio.check("options.mask.ratios"))
    }

    /// The mask of one crop, true where its content is hidden.
    ///
    /// # Shapes
    /// - result `[N]`, row by row
    ///
    /// # Source
    /// Zhou et al., iBOT: one of the ratios is chosen for every crop; block-wise as in Bao et al., BEiT, with blocks that
    /// start anywhere.
    pub fn draw(&self, grid: Grid, stream: &mut Stream) -> Vec<bool> {
        // Every ratio is drawn before one is chosen, as the official code does.
        let ratios: Vec<f64> = self.ratios.iter().map(|ratio| ratio.draw(stream)).collect();
        let ratio = ratios[stream.random_range(0..ratios.len())];
        let wanted = ratio * grid.n_patches() as f64;
        match self.shape {
            MaskShape::Block => blocks(grid, wanted, stream),
            MaskShape::Random => scattered(grid.n_patches(), wanted as usize, stream),
        }
    }
}

/// Uniform between two bounds, in whichever order they stand.
fn uniform(stream: &mut Stream, from: f64, to: f64) -> f64 {
    from + (to - from) * stream.random::<f64>()
}

/// Blocks until `wanted` patches are masked or none fits any more.
///
/// # Source
/// The generator of Zhou et al., iBOT (`pred_shape = block`). Sizes are rounded to even at ties, as Python does, and the
/// least area may exceed what is left, in which case the bounds of the draw stand the other way round.
fn blocks(grid: Grid, wanted: f64, stream: &mut Stream) -> Vec<bool> {
    let Grid { rows, columns } = grid;
    let least = (rows.min(columns) / 3).pow(2) as f64;
    let (low_log, high_log) = (libm::log(MIN_ASPECT), libm::log(1.0 / MIN_ASPECT));
    let mut mask = vec![false; grid.n_patches()];
    let mut n_masked = 0;
    while (n_masked as f64) < wanted {
        let left = wanted - n_masked as f64;
        let mut n_new = 0;
        for _ in 0..MAX_TRIES {
            let area = uniform(stream, least, left);
            let aspect = libm::exp(uniform(stream, low_log, high_log));
            let height = (area * aspect).sqrt().round_ties_even() as usize;
            let width = (area / aspect).sqrt().round_ties_even() as usize;
            if height >= rows || width >= columns {
                continue;
            }
            let top = stream.random_range(0..=rows - height);
            let first = stream.random_range(0..=columns - width);
            let inside = (top..top + height)
                .flat_map(|row| (first..first + width).map(move |column| row * columns + column));
            let fresh: Vec<usize> = inside.filter(|&patch| !mask[patch]).collect();
            if !fresh.is_empty() && fresh.len() as f64 <= left {
                n_new = fresh.len();
                fresh.into_iter().for_each(|patch| mask[patch] = true);
                break;
            }
        }
        if n_new == 0 {
            break;
        }
        n_masked += n_new;
    }
    mask
}

/// `n_masked` patches anywhere.
fn scattered(n_patches: usize, n_masked: usize, stream: &mut Stream) -> Vec<bool> {
    let mut mask = vec![false; n_patches];
    chosen(n_patches, n_masked, stream).into_iter().for_each(|patch| mask[patch] = true);
    mask
}

/// `n` of `0..among`, without repeats, each set as likely as any other.
pub(crate) fn chosen(among: usize, n: usize, stream: &mut Stream) -> Vec<usize> {
    let mut all: Vec<usize> = (0..among).collect();
    for at in 0..n.min(among) {
        let other = stream.random_range(at..among);
        all.swap(at, other);
    }
    all.truncate(n);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vit_data::Seed;

    fn stream(seed: u64) -> Stream {
        Seed(seed).stream("mask", &[0])
    }

    fn count(mask: &[bool]) -> usize {
        mask.iter().filter(|&&hidden| hidden).count()
    }

    #[test]
    fn about_half_of_the_crops_stay_whole_and_the_others_hide_a_tenth_to_a_half() {
        let grid = Grid { rows: 14, columns: 14 };
        let config = MaskConfig::default();
        let shares: Vec<f64> =
            (0..400).map(|seed| count(&config.draw(grid, &mut stream(seed))) as f64 / 196.0).collect();
        let n_whole = shares.iter().filter(|&&share| share == 0.0).count();
        // 400 draws of probability ½ have a standard deviation of 10.
        assert!((160..=240).contains(&n_whole), "{n_whole} of 400 whole");
        assert!(shares.iter().all(|&share| share <= 0.5), "never more than the ratio drawn");
        let masked: Vec<f64> = shares.into_iter().filter(|&share| share > 0.0).collect();
        let mean = masked.iter().sum::<f64>() / masked.len() as f64;
        assert!(
            (0.2..0.31).contains(&mean),
            "mean share {mean}: at most the middle ratio, and not far below it"
        );
    }

    #[test]
    fn blocks_begin_anywhere() {
        // Over many draws every patch, also those at the border, is hidden at some time and shown at another.
        let grid = Grid { rows: 8, columns: 8 };
        let config =
            MaskConfig { ratios: vec![RatioDraw { ratio: 0.3, spread: 0.0 }], ..MaskConfig::default() };
        let mut n_hidden = [0usize; 64];
        for seed in 0..300 {
            let mask = config.draw(grid, &mut stream(seed));
            n_hidden.iter_mut().zip(mask).for_each(|(n, hidden)| *n += usize::from(hidden));
        }
        assert!(n_hidden.iter().all(|&n| n > 5 && n < 295), "{n_hidden:?}");
    }

    proptest! {
        #[test]
        fn blocks_never_exceed_the_ratio_and_scattered_masks_meet_it(
            seed in 0u64..200, rows in 2usize..20, columns in 2usize..20, ratio in 0.0f64..0.9,
        ) {
            let grid = Grid { rows, columns };
            let ratios = vec![RatioDraw { ratio, spread: 0.0 }];
            let of = |shape| MaskConfig { shape, ratios: ratios.clone(), start_epoch: 0 }.draw(grid, &mut stream(seed));
            let wanted = ratio * grid.n_patches() as f64;
            prop_assert!(count(&of(MaskShape::Block)) as f64 <= wanted + 1e-9);
            prop_assert_eq!(count(&of(MaskShape::Random)), wanted as usize);
            prop_assert_eq!(of(MaskShape::Block), of(MaskShape::Block));
        }
    }
}
