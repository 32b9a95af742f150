//! Masks from attention: what the teacher looks at most is what the student must not see.

use crate::block_mask::{RatioDraw, chosen};
use rand::RngExt;
use report::RecipeError;
use serde::{Deserialize, Serialize};
use vit_core::Stream;

/// Which patches are hidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskStrategy {
    /// Those with the most attention.
    #[default]
    High,
    /// Those with the most attention, but for a few of the very highest.
    Hint,
    /// Those with the least attention.
    Low,
    /// Any, with equal chance: what the others are compared with.
    Random,
}

/// How masks follow attention.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionMaskConfig {
    /// Which patches are hidden; `high` and `hint` in the paper.
    pub strategy: MaskStrategy,
    /// Share of the patches that is hidden: one draw for all images of a step; 0.3 ± 0.2 in the paper.
    pub ratio: RatioDraw,
    /// Probability that an image is masked at all, 0–1; 0.5 in the paper.
    pub masking_prob: f64,
    /// With `hint`: share of the patches, those with the most attention, among which some are shown; 0.1 in the paper.
    pub show_max: f64,
}

impl Default for AttentionMaskConfig {
    fn default() -> Self {
        Self {
            strategy: MaskStrategy::High,
            ratio: RatioDraw { ratio: 0.3, spread: 0.2 },
            masking_prob: 0.5,
            show_max: 0.1,
        }
    }
}

/// The draws that all images of a step share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepDraw {
    /// Share of the patches that is hidden.
    pub ratio: f64,
    /// With `hint`: share of the candidates that is shown.
    pub shown: f64,
}

impl AttentionMaskConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), RecipeError> {
        self.ratio.check("options.mask.ratio")?;
        let shares = [("masking_prob", self.masking_prob), ("show_max", self.show_max)];
        match shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            Some((key, share)) => {
                Err(RecipeError::value(format!("options.mask.{key}"), "0 to 1", share.to_string()))
            }
            None => Ok(()),
        }
    }

    /// The draws of a step: two of the same distribution.
    pub fn draw(&self, stream: &mut Stream) -> StepDraw {
        StepDraw { ratio: self.ratio.draw(stream), shown: self.ratio.draw(stream) }
    }

    /// The mask of one image, true where its content is hidden: all false unless the image is masked.
    ///
    /// # Shapes
    /// - `attention`: `[N]`, of the class token to patches, not renormalized; result `[N]`
    ///
    /// # Source
    /// Kakogeorgiou et al., What to Hide from Your Students: Attention-Guided Masked Image Modeling.
    pub fn mask(&self, attention: &[f32], step: StepDraw, stream: &mut Stream) -> Vec<bool> {
        if stream.random::<f64>() > self.masking_prob {
            return vec![false; attention.len()];
        }
        let n = attention.len();
        let n_hidden = (n as f64 * step.ratio) as usize;
        let mut mask = vec![false; n];
        let hidden = match self.strategy {
            MaskStrategy::High | MaskStrategy::Hint => highest(attention, n_hidden),
            MaskStrategy::Low => lowest(attention, n_hidden),
            MaskStrategy::Random => chosen(n, n_hidden, stream),
        };
        hidden.into_iter().for_each(|patch| mask[patch] = true);
        if self.strategy == MaskStrategy::Hint {
            for patch in self.hints(attention, step, stream) {
                mask[patch] = false;
            }
        }
        mask
    }

    /// Of the `⌊N·show_max⌋` patches with the most attention, `⌊N·shown·show_max⌋` at random. On small grids that may be
    /// none; nothing is shown then.
    fn hints(&self, attention: &[f32], step: StepDraw, stream: &mut Stream) -> Vec<usize> {
        let n = attention.len() as f64;
        let candidates = highest(attention, (n * self.show_max) as usize);
        let n_shown = ((n * step.shown * self.show_max) as usize).min(candidates.len());
        chosen(candidates.len(), n_shown, stream).into_iter().map(|at| candidates[at]).collect()
    }
}

/// The `n` patches with the most attention, the first first; of equal ones the earlier.
pub fn highest(attention: &[f32], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..attention.len()).collect();
    order.sort_by(|&a, &b| attention[b].total_cmp(&attention[a]));
    order.truncate(n);
    order
}

/// The `n` patches with the least attention, the least first; of equal ones the earlier.
pub fn lowest(attention: &[f32], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..attention.len()).collect();
    order.sort_by(|&a, &b| attention[a].total_cmp(&attention[b]));
    order.truncate(n);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vit_data::Seed;

    const ATTENTION: [f32; 8] = [0.05, 0.3, 0.1, 0.02, 0.25, 0.08, 0.12, 0.08];

    fn hidden(mask: &[bool]) -> Vec<usize> {
        (0..mask.len()).filter(|&patch| mask[patch]).collect()
    }

    fn always(strategy: MaskStrategy) -> AttentionMaskConfig {
        AttentionMaskConfig { strategy, masking_prob: 1.0, ..AttentionMaskConfig::default() }
    }

    #[test]
    fn half_of_eight_patches_are_hidden_as_published() {
        // Anchor E4.
        let step = StepDraw { ratio: 0.5, shown: 0.5 };
        let of =
            |strategy| hidden(&always(strategy).mask(&ATTENTION, step, &mut Seed(0).stream("mask", &[0])));
        assert_eq!(of(MaskStrategy::High), [1, 2, 4, 6]);
        assert_eq!(of(MaskStrategy::Low), [0, 3, 5, 7]);
        assert_eq!(of(MaskStrategy::Random).len(), 4);
    }

    #[test]
    fn hints_show_a_few_of_the_highest_and_none_on_a_small_grid() {
        // 196 patches at 0.3, of the 19 highest ⌊196·0.3·0.1⌋ = 5 are shown.
        let attention: Vec<f32> = (0..196).map(|i| i as f32).collect();
        let step = StepDraw { ratio: 0.3, shown: 0.3 };
        let mask = always(MaskStrategy::Hint).mask(&attention, step, &mut Seed(0).stream("mask", &[0]));
        let shown: Vec<usize> = (196 - 58..196).filter(|&patch| !mask[patch]).collect();
        assert_eq!((hidden(&mask).len(), shown.len()), (58 - 5, 5));
        assert!(shown.iter().all(|&patch| patch >= 196 - 19), "{shown:?}");
        // 64 patches, ⌊64·0.1·0.1⌋ = 0: nothing is shown.
        let step = StepDraw { ratio: 0.3, shown: 0.1 };
        let mask = always(MaskStrategy::Hint).mask(&attention[..64], step, &mut Seed(0).stream("mask", &[0]));
        assert_eq!(hidden(&mask).len(), 19);
    }

    proptest! {
        #[test]
        fn high_and_low_hide_what_they_say(seed in 0u64..60, n in 1usize..200, ratio in 0.0f64..1.0) {
            let attention: Vec<f32> = (0..n).map(|i| ((seed as f64 + 1.3 * i as f64).sin() + 1.0) as f32).collect();
            let step = StepDraw { ratio, shown: ratio };
            let mut stream = Seed(seed).stream("mask", &[0]);
            for strategy in [MaskStrategy::High, MaskStrategy::Low] {
                let mask = always(strategy).mask(&attention, step, &mut stream);
                prop_assert_eq!(hidden(&mask).len(), (n as f64 * ratio) as usize);
                for hidden in (0..n).filter(|&patch| mask[patch]) {
                    for shown in (0..n).filter(|&patch| !mask[patch]) {
                        let in_order = match strategy {
                            MaskStrategy::High => attention[hidden] >= attention[shown],
                            _ => attention[hidden] <= attention[shown],
                        };
                        prop_assert!(in_order);
                    }
                }
            }
        }
    }
}
