//! Random masks as MAE draws them: noise per patch, the smallest kept.

use rand::RngExt;
use vit_data::Seed;

/// The masks of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskIds {
    /// `[B, K]`: the patches kept, in the shuffled order.
    pub ids_keep: Vec<usize>,
    /// `[B, N]`: where each patch stands in the shuffled order.
    pub ids_restore: Vec<usize>,
    /// `[B, N]`: true where the patch is removed.
    pub mask: Vec<bool>,
    /// `K`
    pub n_kept: usize,
    /// `N`
    pub n_patches: usize,
}

/// The number of patches kept: `⌊N·(1 − ratio)⌋`.
///
/// # Source
/// He et al., Masked Autoencoders.
pub fn n_kept(n_patches: usize, ratio: f64) -> usize {
    (n_patches as f64 * (1.0 - ratio)) as usize
}

/// Masks from noise `[B, N]`: patches sorted by their noise, the first `K` kept; `ids_restore` undoes the sorting.
///
/// # Panics
/// When the noise does not divide into images of `n_patches`.
///
/// # Source
/// He et al., Masked Autoencoders.
pub fn mask_from_noise(noise: &[f32], n_patches: usize, ratio: f64) -> MaskIds {
    assert!(noise.len().is_multiple_of(n_patches), "noise: expected rows of {n_patches}");
    let n_kept = n_kept(n_patches, ratio);
    let mut ids = MaskIds {
        ids_keep: Vec::with_capacity(noise.len() / n_patches * n_kept),
        ids_restore: Vec::with_capacity(noise.len()),
        mask: Vec::with_capacity(noise.len()),
        n_kept,
        n_patches,
    };
    for row in noise.chunks_exact(n_patches) {
        let mut shuffled: Vec<usize> = (0..n_patches).collect();
        shuffled.sort_by(|&a, &b| row[a].total_cmp(&row[b]));
        let mut restore = vec![0; n_patches];
        for (place, &patch) in shuffled.iter().enumerate() {
            restore[patch] = place;
        }
        ids.ids_keep.extend_from_slice(&shuffled[..n_kept]);
        ids.mask.extend(restore.iter().map(|&place| place >= n_kept));
        ids.ids_restore.extend(restore);
    }
    ids
}

/// The masks of samples in an epoch: a pure function of (seed, epoch, sample).
pub fn random_masks(seed: Seed, epoch: u64, samples: &[usize], n_patches: usize, ratio: f64) -> MaskIds {
    let mut noise = Vec::with_capacity(samples.len() * n_patches);
    for &sample in samples {
        let mut stream = seed.stream("mask", &[epoch, sample as u64]);
        noise.extend((0..n_patches).map(|_| stream.random::<f32>()));
    }
    mask_from_noise(&noise, n_patches, ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_number_kept_is_the_published_one() {
        let kept = [(196, 0.75), (64, 0.75), (256, 0.75), (196, 0.6)].map(|(n, ratio)| n_kept(n, ratio));
        assert_eq!(kept, [49, 16, 64, 78]);
    }

    #[test]
    fn noise_of_four_patches_masks_as_worked_by_hand() {
        // noise .4 .1 .3 .2 sorts to patches 1 3 2 0; half are kept: 1 and 3; patch 0 stands at place 3, 1 at 0, …
        let ids = mask_from_noise(&[0.4, 0.1, 0.3, 0.2], 4, 0.5);
        assert_eq!(ids.ids_keep, [1, 3]);
        assert_eq!(ids.ids_restore, [3, 0, 2, 1]);
        assert_eq!(ids.mask, [true, false, true, false]);
    }

    proptest! {
        #[test]
        fn exactly_the_ratio_is_masked_and_restoring_undoes_shuffling(seed in 0u64..50, n in 1usize..60, ratio in 0.0f64..0.95) {
            let ids = random_masks(Seed(seed), 0, &[3, 9], n, ratio);
            let kept = n_kept(n, ratio);
            for image in 0..2 {
                let mask = &ids.mask[image * n..][..n];
                prop_assert_eq!(mask.iter().filter(|&&hidden| !hidden).count(), kept);
                for (place, &patch) in ids.ids_keep[image * kept..][..kept].iter().enumerate() {
                    prop_assert_eq!(ids.ids_restore[image * n + patch], place);
                }
            }
        }
    }
}
