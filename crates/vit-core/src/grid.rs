//! The grid of patches.

use serde::{Deserialize, Serialize};

/// Rows and columns of patches, counted from the top left, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Patches from top to bottom, `h`.
    pub rows: usize,
    /// Patches from left to right, `w`.
    pub columns: usize,
}

impl Grid {
    /// The grid of an image cut into square patches; what is left over at the right and bottom must be nothing.
    ///
    /// # Panics
    /// When a side is not a multiple of the patch.
    pub fn of_image(height_px: usize, width_px: usize, patch_px: usize) -> Self {
        assert!(
            height_px.is_multiple_of(patch_px) && width_px.is_multiple_of(patch_px),
            "an image of {height_px}×{width_px} px cannot be cut into patches of {patch_px} px"
        );
        Self { rows: height_px / patch_px, columns: width_px / patch_px }
    }

    /// `N = h·w`
    pub fn n_patches(self) -> usize {
        self.rows * self.columns
    }
}
