//! The rows of the comparison: what is done, against what, and the ratio that is wanted.

/// One piece of work that both sides do.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What is done.
    pub(crate) work: &'static str,
    /// By whom else.
    pub(crate) against: &'static str,
    /// The other side's time over ours that is wanted.
    pub(crate) target: f64,
    /// How far outputs may differ, relative to the largest value.
    pub(crate) tolerance: f64,
    /// Threads of both sides, where the row fixes them.
    pub(crate) n_threads: Option<usize>,
}

/// A row that takes as many threads as it gets.
const fn row(
    name: &'static str,
    work: &'static str,
    against: &'static str,
    target: f64,
    tolerance: f64,
) -> Row {
    Row { name, work, against, target, tolerance, n_threads: None }
}

/// In the order of the table.
pub(crate) const ROWS: [Row; 14] = [
    row("forward-ti", "forward, ViT-Ti/16, 224 px, batch 8", "timm, eager", 1.15, 1e-4),
    row("forward-s", "forward, ViT-S/16, 224 px, batch 8", "timm, eager", 1.15, 1e-4),
    row("forward-b", "forward, ViT-B/16, 224 px, batch 8", "timm, eager", 1.1, 1e-4),
    row("forward-nano", "forward, width 128, 6 blocks, patch 4, 32 px, batch 256", "timm, eager", 1.3, 1e-4),
    row("train-ti", "training step, ViT-Ti/16, 224 px, batch 8", "timm, torch AdamW", 1.3, 1e-3),
    row("train-s", "training step, ViT-S/16, 224 px, batch 8", "timm, torch AdamW", 1.3, 1e-3),
    row("train-nano", "training step, width 128, 6 blocks, 32 px, batch 256", "timm, torch AdamW", 1.5, 1e-3),
    row("mae-ti", "MAE training step, ViT-Ti/16, 224 px, batch 8", "transformers' ViTMAE", 1.5, 1e-3),
    row(
        "attention-distance",
        "attention distance, ViT-Ti/16, 256 images",
        "all layers' maps stacked in torch",
        1.5,
        1e-4,
    ),
    row(
        "cka",
        "CKA of 12 × 12 blocks, ViT-Ti/16, 256 images in groups of 64",
        "torch-cka, without gradients",
        2.5,
        1e-3,
    ),
    row(
        "knn",
        "nearest 200 of 50,000 for 10,000 queries, width 384, and all votes",
        "faiss, flat search alone",
        1.0,
        1e-5,
    ),
    // JPEG decoders round differently: up to four steps of 255 over the smallest spread, of values up to 2.6.
    Row {
        n_threads: Some(1),
        ..row(
            "jpeg-mae",
            "64 JPEG files of 500 × 375 px to MAE's view, one thread",
            "Pillow and torchvision",
            2.0,
            0.03,
        )
    },
    Row {
        n_threads: Some(1),
        ..row("jpeg-dino", "the same to DINO's 2 + 8 views, one thread", "Pillow and torchvision", 4.0, 0.03)
    },
    row(
        "start",
        "a process from its start to the embedding of one image",
        "importing torch and timm",
        10.0,
        0.0,
    ),
];

#[cfg(test)]
mod tests {
    use super::ROWS;

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }
}
