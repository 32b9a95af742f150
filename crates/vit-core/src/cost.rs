//! What a forward pass costs, counted from the sizes.

use crate::{BlockConfig, RelativePositions, VitConfig, Wanted};

/// Multiply–accumulate operations of one block on `t` tokens: `t·D·3D` (qkv) + `2·t²·D` (scores and their weighted sum)
/// + `t·D²` (projection) + `2·t·D·hidden` (MLP; `3·t·D·hidden` with a gate). Norms, biases and activations are not counted.
///
/// # Source
/// The counting of Dosovitskiy et al. and DeiT, whose ViT-B/16 has 17.6 G at 224 px.
pub fn block_macs(block: &BlockConfig, t: usize) -> u64 {
    let (t, d) = (t as u64, block.width as u64);
    3 * t * d * d + 2 * t * t * d + t * behind_attention_macs(block)
}

/// Of these, what stands behind the attention, for one token: `D²` (projection) + `2·D·hidden` (MLP; `3·D·hidden` with a gate). It is not
/// computed for tokens of the last block that nobody wants ([`crate::Wanted`]).
pub fn behind_attention_macs(block: &BlockConfig) -> u64 {
    let (d, hidden) = (block.width as u64, block.hidden as u64);
    let mlp_layers = if block.swiglu { 3 } else { 2 };
    d * d + mlp_layers * d * hidden
}

impl VitConfig {
    /// Multiply–accumulate operations of a forward pass over one image of which `n_kept` patches enter the blocks: the
    /// patch embedding of all patches, the blocks on what is kept, and the classifier.
    pub fn macs(&self, n_kept: usize) -> u64 {
        let (d, p) = (self.width as u64, self.patch_px as u64);
        let embed = self.grid().n_patches() as u64 * 3 * p * p * d;
        let t = self.n_prefix() + n_kept;
        embed + self.depth as u64 * block_macs(&self.block(0), t) + d * self.n_classes as u64
    }

    /// [`VitConfig::macs`] where only some tokens are wanted: of the others, all that stands behind the last attention is left out, and where
    /// the first are wanted and there is no relative position bias, their queries (`D² + 2·t·D`).
    pub fn macs_of(&self, wanted: &Wanted, n_kept: usize) -> u64 {
        let (t, d) = ((self.n_prefix() + n_kept) as u64, self.width as u64);
        let behind = behind_attention_macs(&self.block(0));
        let (n, each) = match *wanted {
            Wanted::Every => (t, 0),
            Wanted::First { n } if self.relative_positions == RelativePositions::None => {
                (n as u64, behind + d * d + 2 * t * d)
            }
            Wanted::First { n } | Wanted::These { n_per_image: n, .. } => (n as u64, behind),
        };
        self.macs(n_kept) - t.saturating_sub(n) * each
    }
}

#[cfg(test)]
mod tests {
    use crate::{RelativePositions, VitConfig, Wanted, arch};

    #[test]
    fn the_published_sizes_have_their_published_cost() {
        let macs = |name: &str| {
            let config = VitConfig { n_classes: 1000, ..arch(name).expect(name) };
            config.macs(196) as f64 / 1e9
        };
        // As published for DeiT, to the digit printed there.
        for (name, expected) in [("vit-ti/16", 1.3), ("vit-s/16", 4.6), ("vit-b/16", 17.6)] {
            assert!((macs(name) - expected).abs() < 0.05, "{name}: {}", macs(name));
        }
    }

    #[test]
    fn a_block_is_counted_as_by_hand() {
        // t = 2, D = 4, hidden = 8: 3·2·16 + 2·4·4 + 2·16 + 2·2·4·8 = 96 + 32 + 32 + 128.
        let config = VitConfig { width: 4, n_heads: 2, mlp_ratio: 2.0, ..VitConfig::default() };
        assert_eq!(super::block_macs(&config.block(0), 2), 288);
        assert_eq!(super::behind_attention_macs(&config.block(0)), 16 + 64);
        // Of a class token and three patches of one block only the class token: three queries of 16 + 2·4·4 fewer, and 3·80.
        let config = VitConfig { depth: 1, ..config };
        let class = Wanted::First { n: 1 };
        assert_eq!(config.macs(3) - config.macs_of(&class, 3), 3 * (16 + 32) + 3 * 80);
        assert_eq!(config.macs_of(&Wanted::Every, 3), config.macs(3));
        let relative = VitConfig { relative_positions: RelativePositions::Shared, ..config };
        assert_eq!(relative.macs(3) - relative.macs_of(&class, 3), 3 * 80);
    }
}
