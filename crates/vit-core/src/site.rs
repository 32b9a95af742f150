//! The named places where one may look into an encoder.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A place inside an encoder; blocks count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Site {
    /// Tokens after positions, before the first block, `[B, T, D]`.
    Embed,
    /// After the first norm of a block, `[B, T, D]`.
    Norm1(usize),
    /// Queries, `[B, heads, T, d]`, not scaled.
    Query(usize),
    /// Keys, `[B, heads, T, d]`.
    Key(usize),
    /// Values, `[B, heads, T, d]`.
    Value(usize),
    /// Attention logits before softmax, `[B, heads, T, T]`.
    Scores(usize),
    /// Attention after softmax, `[B, heads, T, T]`; rows are queries and sum to 1.
    Attention(usize),
    /// What each head does, reduced where attention is made and without keeping it, `[B, heads, 1, 4]`: the numbers of
    /// [`vit_ops::attention_watched`]. Only where every patch of a grid is present.
    AttentionStatistics(usize),
    /// Rows that are told of each head, `[B, heads, 6, T]` in the order of [`vit_ops::AttentionRow`], and as the one above.
    AttentionRows(usize),
    /// Where each head looks from the place of the query, `[B, heads, 2·rows − 1, 2·columns − 1]`: the aligned maps of
    /// [`vit_ops::AttentionSummary`], and as the one above.
    AttentionAligned(usize),
    /// The mean of attention over heads, `[B, 1, T, T]`, and as the one above.
    AttentionMean(usize),
    /// How much heads differ, `[B, 1, 1, 1]`: the spread of [`vit_ops::AttentionSummary`], and as the one above.
    AttentionSpread(usize),
    /// What each head gathers, `[B, heads, T, d]`.
    HeadOut(usize),
    /// The attention branch's output, before LayerScale and the residual, `[B, T, D]`.
    AttnOut(usize),
    /// What the attention branch adds to the stream, after LayerScale, `[B, T, D]`.
    AttnAdded(usize),
    /// The stream between the two branches, `[B, T, D]`.
    Mid(usize),
    /// After the second norm, `[B, T, D]`.
    Norm2(usize),
    /// The MLP after its activation, `[B, T, hidden]`.
    MlpHidden(usize),
    /// The MLP branch's output, before LayerScale and the residual, `[B, T, D]`.
    MlpOut(usize),
    /// What the MLP branch adds to the stream, after LayerScale, `[B, T, D]`.
    MlpAdded(usize),
    /// A block's output, `[B, T, D]`.
    Block(usize),
    /// After the final norm, `[B, T, D]`.
    Norm,
}

impl Site {
    /// The sites inside the attention of a block.
    pub(crate) fn inside_attention(block: usize) -> [Self; 11] {
        let sites = [
            Self::Query,
            Self::Key,
            Self::Value,
            Self::Scores,
            Self::Attention,
            Self::AttentionStatistics,
            Self::AttentionRows,
            Self::AttentionAligned,
            Self::AttentionMean,
            Self::AttentionSpread,
            Self::HeadOut,
        ];
        sites.map(|site| site(block))
    }

    /// The token sites of a block that stand behind its attention.
    pub(crate) fn behind_attention(block: usize) -> [Self; 8] {
        let sites = [
            Self::AttnOut,
            Self::AttnAdded,
            Self::Mid,
            Self::Norm2,
            Self::MlpHidden,
            Self::MlpOut,
            Self::MlpAdded,
            Self::Block,
        ];
        sites.map(|site| site(block))
    }

    /// Whether only an encoder with attention has this site.
    pub fn needs_attention(self) -> bool {
        matches!(
            self,
            Self::Query(_)
                | Self::Key(_)
                | Self::Value(_)
                | Self::Scores(_)
                | Self::Attention(_)
                | Self::AttentionStatistics(_)
                | Self::AttentionRows(_)
                | Self::AttentionAligned(_)
                | Self::AttentionMean(_)
                | Self::AttentionSpread(_)
                | Self::HeadOut(_)
                | Self::AttnOut(_)
                | Self::AttnAdded(_)
        )
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Embed => write!(f, "embed"),
            Self::Norm1(i) => write!(f, "norm1.{i}"),
            Self::Query(i) => write!(f, "block{i}.query"),
            Self::Key(i) => write!(f, "block{i}.key"),
            Self::Value(i) => write!(f, "block{i}.value"),
            Self::Scores(i) => write!(f, "block{i}.scores"),
            Self::Attention(i) => write!(f, "block{i}.attention"),
            Self::AttentionStatistics(i) => write!(f, "block{i}.attention-statistics"),
            Self::AttentionRows(i) => write!(f, "block{i}.attention-rows"),
            Self::AttentionAligned(i) => write!(f, "block{i}.attention-aligned"),
            Self::AttentionMean(i) => write!(f, "block{i}.attention-mean"),
            Self::AttentionSpread(i) => write!(f, "block{i}.attention-spread"),
            Self::HeadOut(i) => write!(f, "block{i}.head-out"),
            Self::AttnOut(i) => write!(f, "block{i}.attn-out"),
            Self::AttnAdded(i) => write!(f, "block{i}.attn-added"),
            Self::Mid(i) => write!(f, "block{i}.mid"),
            Self::Norm2(i) => write!(f, "norm2.{i}"),
            Self::MlpHidden(i) => write!(f, "block{i}.mlp-hidden"),
            Self::MlpOut(i) => write!(f, "block{i}.mlp-out"),
            Self::MlpAdded(i) => write!(f, "block{i}.mlp-added"),
            Self::Block(i) => write!(f, "block{i}"),
            Self::Norm => write!(f, "norm"),
        }
    }
}

/// What is seen at a site: token streams have rank 3, per-head tensors rank 4. Not detached.
#[derive(Clone, Debug)]
pub enum Seen {
    /// `[B, T, channels]`
    Tokens(Tensor<3>),
    /// `[B, heads, T, …]`
    Heads(Tensor<4>),
}

impl Seen {
    /// The tensor of a token site.
    ///
    /// # Panics
    /// When the site is per head.
    pub fn tokens(self) -> Tensor<3> {
        match self {
            Self::Tokens(x) => x,
            Self::Heads(x) => panic!("a token site was expected, found heads {:?}", x.dims()),
        }
    }

    /// The tensor of a per-head site.
    ///
    /// # Panics
    /// When the site is a token stream.
    pub fn heads(self) -> Tensor<4> {
        match self {
            Self::Heads(x) => x,
            Self::Tokens(x) => panic!("a per-head site was expected, found tokens {:?}", x.dims()),
        }
    }
}

/// Somebody who looks. A site is computed and offered only when wanted.
pub trait Look {
    /// Whether the tensor at `site` is wanted.
    fn wants(&self, site: Site) -> bool;
    /// Receives it, where it is made, on the autodiff graph if there is one.
    fn see(&mut self, site: Site, seen: Seen);
}

/// Nobody looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLook;

impl Look for NoLook {
    fn wants(&self, _: Site) -> bool {
        false
    }
    fn see(&mut self, _: Site, _: Seen) {}
}
