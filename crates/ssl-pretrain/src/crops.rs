//! Multi-crop: few large views that have targets, and many small ones that must agree with them.

use report::RecipeError;
use serde::{Deserialize, Serialize};
use vit_core::VitConfig;
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
}

impl Default for CropsConfig {
    fn default() -> Self {
        Self { n_globals: 2, n_locals: 8, local_size_px: 96, local_scale: (0.05, 0.4) }
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

    /// Large views first, then small ones; every one is flipped, colored and normalized as the recipe's views are.
    pub fn plan(&self, views: &ViewConfig) -> ViewPlan {
        let global = views.plan().views[0];
        let crop = Crop::RandomResized { scale: self.local_scale, ratio: views.ratio };
        let local = ViewSpec { crop, size_px: self.local_size_px, ..global };
        let globals = std::iter::repeat_n(global, self.n_globals);
        ViewPlan { views: globals.chain(std::iter::repeat_n(local, self.n_locals)).collect() }
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
        let crops = CropsConfig { n_globals: 2, n_locals: 3, local_size_px: 32, local_scale: (0.1, 0.3) };
        let views = ViewConfig { size_px: 64, scale: (0.4, 1.0), ..ViewConfig::default() };
        let plan = crops.plan(&views);
        let sizes: Vec<usize> = plan.views.iter().map(|view| view.size_px).collect();
        assert_eq!(sizes, [64, 64, 32, 32, 32]);
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
