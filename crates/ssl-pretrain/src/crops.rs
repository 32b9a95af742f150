//! Multi-crop: few large views that have targets, and many small ones that must agree with them.

use report::RecipeError;
use serde::{Deserialize, Serialize};
use vit_core::VitConfig;
use vit_data::transform::{Blur, Solarize};
use vit_data::{Crop, ViewPlan, ViewSpec};
use vit_train::ViewConfig;

/// How many views are cut, and how small the small ones are. The large ones are as the recipe's `views` say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CropsConfig {
    /// `G`, large views; the teacher sees these, the student all. 2 in the papers, at least 2.
    pub n_globals: usize,
    /// Small views; 8 in DINO, 10 in iBOT, 0 for none.
    pub n_locals: usize,
    /// Side of a small view in pixels; 96 in the papers.
    pub local_size_px: usize,
    /// Least and greatest share of the area of a small view, 0–1; (0.05, 0.4) in DINO, (0.05, 0.25) in iBOT.
    pub local_scale: (f64, f64),
    /// Probability of blur in large views after the first, 0–1; the first follows the recipe's `views`. 0.1 in the
    /// papers, with 1 in the first.
    pub other_blur_prob: f64,
    /// Probability of solarization in large views after the first, 0–1; 0.2 in the papers, with 0 in the first.
    pub other_solarize_prob: f64,
    /// Probability of blur in small views, 0–1; 0.5 in the papers. They are never solarized.
    pub local_blur_prob: f64,
}

impl Default for CropsConfig {
    fn default() -> Self {
        Self {
            n_globals: 2,
            n_locals: 8,
            local_size_px: 96,
            local_scale: (0.05, 0.4),
            other_blur_prob: 0.1,
            other_solarize_prob: 0.2,
            local_blur_prob: 0.5,
        }
    }
}

impl CropsConfig {
    /// Checks counts and ranges.
    ///
    /// # Errors
    /// When there are fewer than two large views, or the small ones have no size.
    pub fn check(&self) -> Result<(), RecipeError> {
        if self.n_globals < 2 {
            let found = self.n_globals.to_string();
            return Err(RecipeError::value("options.crops.n_globals", "at least 2", found));
        }
        if self.local_size_px == 0 {
            return Err(RecipeError::value("options.crops.local_size_px", "at least 1", "0"));
        }
        let probs = [
            ("other_blur_prob", self.other_blur_prob),
            ("other_solarize_prob", self.other_solarize_prob),
            ("local_blur_prob", self.local_blur_prob),
        ];
        if let Some((key, prob)) = probs.into_iter().find(|(_, prob)| !(0.0..=1.0).contains(prob)) {
            return Err(RecipeError::value(format!("options.crops.{key}"), "0 to 1", prob.to_string()));
        }
        let (low, high) = self.local_scale;
        if !(0.0 < low && low <= high && high <= 1.0) {
            let found = format!("{:?}", self.local_scale);
            return Err(RecipeError::value("options.crops.local_scale", "0 < low ≤ high ≤ 1", found));
        }
        Ok(())
    }

    /// All views, those that have targets first.
    pub fn n_views(&self) -> usize {
        self.n_globals + self.n_locals
    }

    /// Large views first, then small ones; what is not said here is as the recipe's views are.
    ///
    /// # Source
    /// Caron et al., DINO: the first large view is always blurred, the second seldom blurred and sometimes solarized.
    pub fn plan(&self, views: &ViewConfig) -> ViewPlan {
        let first = views.plan().views[0];
        let other = ViewSpec {
            blur: Blur { prob: self.other_blur_prob, ..first.blur },
            solarize: Solarize { prob: self.other_solarize_prob, ..first.solarize },
            ..first
        };
        let local = ViewSpec {
            crop: Crop::RandomResized { scale: self.local_scale, ratio: views.ratio },
            size_px: self.local_size_px,
            blur: Blur { prob: self.local_blur_prob, ..first.blur },
            solarize: Solarize { prob: 0.0, ..first.solarize },
            ..first
        };
        let mut plan = ViewPlan { views: vec![first] };
        plan.views.extend(std::iter::repeat_n(other, self.n_globals.saturating_sub(1)));
        plan.views.extend(std::iter::repeat_n(local, self.n_locals));
        plan
    }

    /// Whether small views can be cut into the encoder's patches.
    ///
    /// # Errors
    /// One sentence when they cannot.
    pub fn fits(&self, encoder: &VitConfig) -> Result<(), String> {
        let (size, patch) = (self.local_size_px, encoder.patch_px);
        if self.n_locals == 0 || size.is_multiple_of(patch) {
            return Ok(());
        }
        Err(format!("expected small views of a multiple of the patch ({patch} px); found {size} px"))
    }

    /// Patches of a small view.
    pub fn n_local_patches(&self, encoder: &VitConfig) -> usize {
        let side = self.local_size_px / encoder.patch_px;
        side * side
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_views_come_first_and_small_ones_have_their_own_size_and_scale() {
        let crops =
            CropsConfig { n_locals: 3, local_size_px: 32, local_scale: (0.1, 0.3), ..CropsConfig::default() };
        let blur = Blur { prob: 1.0, ..Blur::default() };
        let views = ViewConfig { size_px: 64, scale: (0.4, 1.0), blur, ..ViewConfig::default() };
        let plan = crops.plan(&views);
        let sizes: Vec<usize> = plan.views.iter().map(|view| view.size_px).collect();
        assert_eq!(sizes, [64, 64, 32, 32, 32]);
        let blurred: Vec<f64> = plan.views.iter().map(|view| view.blur.prob).collect();
        assert_eq!(blurred, [1.0, 0.1, 0.5, 0.5, 0.5]);
        let solarized: Vec<f64> = plan.views.iter().map(|view| view.solarize.prob).collect();
        assert_eq!(solarized, [0.0, 0.2, 0.0, 0.0, 0.0]);
        assert!(
            matches!(plan.views[4].crop, Crop::RandomResized { scale, .. } if scale == (0.1, 0.3)),
            "{plan:?}"
        );
    }

    #[test]
    fn one_large_view_is_too_few() {
        let error = CropsConfig { n_globals: 1, ..CropsConfig::default() }.check().expect_err("refused");
        assert!(error.to_string().contains("options.crops.n_globals"), "{error}");
    }
}
