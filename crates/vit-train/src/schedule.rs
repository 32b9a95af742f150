//! Schedules as pure functions of the position in training.

use std::f64::consts::PI;

/// MAE's learning rate at fractional epoch `t`: linear from 0 to `base` over `warmup` epochs, then a half cosine to
/// `min` at `total`.
///
/// `base·t/W` for `t < W`, else `min + (base − min)·½(1 + cos(π(t − W)/(E − W)))`
///
/// # Source
/// He et al., Masked Autoencoders; evaluated per step.
pub fn warmup_cosine(t: f64, warmup: f64, total: f64, base: f64, min: f64) -> f64 {
    if t < warmup {
        return base * t / warmup;
    }
    let share = if total > warmup { ((t - warmup) / (total - warmup)).min(1.0) } else { 1.0 };
    min + (base - min) * 0.5 * (1.0 + (PI * share).cos())
}

/// DINO's schedule at step `i` of `n_steps`: linear from `start` to `base`, which is reached at the last of
/// `n_warmup` steps, then a half cosine that never quite reaches `end`.
///
/// # Source
/// Caron et al., Emerging Properties in Self-Supervised Vision Transformers.
pub fn dino_cosine(i: usize, n_steps: usize, n_warmup: usize, (start, base, end): (f64, f64, f64)) -> f64 {
    if i < n_warmup {
        let last = (n_warmup - 1).max(1) as f64;
        return start + (base - start) * i as f64 / last;
    }
    let share = (i - n_warmup) as f64 / (n_steps - n_warmup) as f64;
    end + 0.5 * (base - end) * (1.0 + (PI * share).cos())
}

/// DINO's teacher temperature in `epoch`: linear over `n_warmup` epochs from `start` to `end`, which is reached at the
/// last of them, then `end`. A single epoch of warm-up has the temperature `start`.
///
/// # Source
/// Caron et al., Emerging Properties in Self-Supervised Vision Transformers.
pub fn linear_then_constant(epoch: usize, n_warmup: usize, start: f64, end: f64) -> f64 {
    if epoch >= n_warmup {
        return end;
    }
    let last = (n_warmup - 1).max(1) as f64;
    start + (end - start) * epoch as f64 / last
}

/// The factor on the learning rate of layer `id` of `depth` blocks: `decay^(depth + 1 − id)`; embeddings are id 0,
/// block i is i + 1, all else `depth + 1`.
///
/// # Source
/// Clark et al., ELECTRA; Bao et al., BEiT; MAE's fine-tuning.
pub fn layer_decay(id: usize, depth: usize, decay: f64) -> f64 {
    decay.powi((depth + 1 - id) as i32)
}

/// The layer of a parameter for [`layer_decay`]: 0 for tokens, positions and the patch embedding, `i + 1` for block i,
/// `depth + 1` for everything else. `prefix` stands before the encoder's names.
///
/// # Source
/// As [`layer_decay`].
pub fn layer_id(name: &str, prefix: &str, depth: usize) -> usize {
    let Some(name) = name.strip_prefix(prefix) else { return depth + 1 };
    if let Some(rest) = name.strip_prefix("blocks.") {
        let block = rest.split('.').next().and_then(|block| block.parse::<usize>().ok());
        return block.map_or(depth + 1, |block| (block + 1).min(depth + 1));
    }
    let first = ["cls_token", "dist_token", "reg_token", "mask_token", "pos_embed", "patch_embed."];
    if first.iter().any(|known| name.starts_with(known)) { 0 } else { depth + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(ours: f64, expected: f64) {
        assert!((ours - expected).abs() < 6e-7, "{ours} against {expected}");
    }

    #[test]
    fn dinos_learning_rate_is_the_published_one() {
        let expected = [(0, 0.0), (1, 5.051e-6), (99, 5e-4), (100, 5e-4), (500, 2.93825e-4), (999, 1.002e-6)];
        for (i, value) in expected {
            near(dino_cosine(i, 1000, 100, (0.0, 5e-4, 1e-6)), value);
        }
    }

    #[test]
    fn dinos_weight_decay_and_momentum_are_the_published_ones() {
        for (i, value) in [(0, 0.04), (250, 0.092721), (500, 0.22), (999, 0.399999)] {
            near(dino_cosine(i, 1000, 0, (0.0, 0.04, 0.4)), value);
        }
        for (i, value) in [(0, 0.996), (250, 0.99658579), (500, 0.998), (999, 0.99999999)] {
            near(dino_cosine(i, 1000, 0, (0.0, 0.996, 1.0)), value);
        }
    }

    #[test]
    fn dinos_teacher_temperature_is_the_published_one() {
        for (epoch, value) in [(0, 0.04), (1, 0.041034), (15, 0.055517), (29, 0.07), (30, 0.07)] {
            near(linear_then_constant(epoch, 30, 0.04, 0.07), value);
        }
        // One epoch of warm-up is one point, the first; without warm-up the end stands from the beginning.
        let short = [(0, 1), (1, 1), (0, 0)].map(|(epoch, n)| linear_then_constant(epoch, n, 0.04, 0.07));
        assert_eq!(short, [0.04, 0.07, 0.07]);
    }

    #[test]
    fn maes_learning_rate_is_the_published_one() {
        let expected =
            [(0.0, 0.0), (10.0, 6e-4), (40.0, 2.4e-3), (100.0, 2.36328e-3), (420.0, 1.2e-3), (799.5, 3e-9)];
        for (t, value) in expected {
            near(warmup_cosine(t, 40.0, 800.0, 2.4e-3, 0.0), value);
        }
    }

    #[test]
    fn layer_decay_is_the_published_one() {
        near(layer_decay(0, 12, 0.75), 0.023757);
        near(layer_decay(13, 12, 0.75), 1.0);
        near(layer_decay(1, 12, 0.65), 0.00568801);
    }

    #[test]
    fn drop_path_rises_linearly() {
        let config = vit_core::VitConfig { drop_path: 0.1, ..vit_core::VitConfig::default() };
        for (block, rate) in [(0, 0.0), (1, 0.00909), (6, 0.05455), (11, 0.1)] {
            assert!((config.block(block).drop_path - rate).abs() < 6e-6);
        }
    }

    #[test]
    fn layers_are_counted_from_the_embeddings_up() {
        let id = |name: &str| layer_id(name, "", 12);
        assert_eq!(["cls_token", "pos_embed", "patch_embed.proj.weight"].map(id), [0, 0, 0]);
        assert_eq!(["blocks.0.norm1.weight", "blocks.11.attn.qkv.bias"].map(id), [1, 12]);
        assert_eq!(["norm.weight", "fc_norm.bias", "head.weight"].map(id), [13, 13, 13]);
        let id = |name: &str| layer_id(name, "encoder.", 12);
        assert_eq!(["encoder.blocks.3.attn.qkv.weight", "encoder.cls_token"].map(id), [4, 0]);
        assert_eq!(
            ["mask_token", "decoder_blocks.0.norm1.weight", "decoder_pos_embed"].map(id),
            [13, 13, 13]
        );
    }
}
