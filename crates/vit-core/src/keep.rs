//! What masking does to the patches: the one value that says it.

/// Which patches the encoder sees.
#[derive(Clone, Debug, PartialEq)]
pub enum Keep {
    /// All of them.
    All,
    /// Only these, in this order; the others are dropped before the first block (MAE, MILAN, VideoMAE).
    Visible {
        /// `[B, K]` row by row: patch indices of each image.
        ids: Vec<usize>,
        /// `K`, the same for every image.
        n_per_image: usize,
    },
    /// All positions, but the content of the marked ones is replaced by the mask token before positions are added
    /// (iBOT, AttMask).
    Swap {
        /// `[B, N]` row by row: true where the content is hidden.
        mask: Vec<bool>,
    },
}
