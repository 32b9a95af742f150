//! The names of JAX code: the original ViT and AugReg, and big_vision, in npz files.

use super::Layout;
use super::line::{Form, Line, formed, named};

/// JAX's names.
pub(super) const JAX: Layout = Layout {
    name: "jax",
    published: "AugReg and ViT (.npz), big_vision",
    anchors: &[
        "embedding/kernel",
        "cls",
        "Transformer/encoder_norm/scale",
        "Transformer/encoderblock_0/LayerNorm_0/scale",
    ],
    groups: &[LINES],
    always: &["pos_embed", "norm.weight", "patch_embed.proj.bias", "blocks.{i}.attn.qkv.bias"],
};

const LINES: &[Line] = &[
    named("cls_token", "cls"),
    named("pos_embed", "Transformer/posembed_input/pos_embedding"),
    named("pos_embed", "pos_embedding"),
    formed("patch_embed.proj.weight", "embedding/kernel", (0, 1), Form::KernelLast),
    named("patch_embed.proj.bias", "embedding/bias"),
    named("blocks.{i}.norm1.weight", "Transformer/encoderblock_{i}/LayerNorm_0/scale"),
    named("blocks.{i}.norm1.bias", "Transformer/encoderblock_{i}/LayerNorm_0/bias"),
    formed(
        "blocks.{i}.attn.qkv.weight",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/query/kernel",
        (0, 3),
        Form::IntoHeads,
    ),
    formed(
        "blocks.{i}.attn.qkv.bias",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/query/bias",
        (0, 3),
        Form::HeadsBias,
    ),
    formed(
        "blocks.{i}.attn.qkv.weight",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/key/kernel",
        (1, 3),
        Form::IntoHeads,
    ),
    formed(
        "blocks.{i}.attn.qkv.bias",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/key/bias",
        (1, 3),
        Form::HeadsBias,
    ),
    formed(
        "blocks.{i}.attn.qkv.weight",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/value/kernel",
        (2, 3),
        Form::IntoHeads,
    ),
    formed(
        "blocks.{i}.attn.qkv.bias",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/value/bias",
        (2, 3),
        Form::HeadsBias,
    ),
    formed(
        "blocks.{i}.attn.proj.weight",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/out/kernel",
        (0, 1),
        Form::FromHeads,
    ),
    named(
        "blocks.{i}.attn.proj.bias",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/out/bias",
    ),
    named("blocks.{i}.norm2.weight", "Transformer/encoderblock_{i}/LayerNorm_2/scale"),
    named("blocks.{i}.norm2.bias", "Transformer/encoderblock_{i}/LayerNorm_2/bias"),
    formed(
        "blocks.{i}.mlp.fc1.weight",
        "Transformer/encoderblock_{i}/MlpBlock_3/Dense_0/kernel",
        (0, 1),
        Form::Transposed,
    ),
    named("blocks.{i}.mlp.fc1.bias", "Transformer/encoderblock_{i}/MlpBlock_3/Dense_0/bias"),
    formed(
        "blocks.{i}.mlp.fc2.weight",
        "Transformer/encoderblock_{i}/MlpBlock_3/Dense_1/kernel",
        (0, 1),
        Form::Transposed,
    ),
    named("blocks.{i}.mlp.fc2.bias", "Transformer/encoderblock_{i}/MlpBlock_3/Dense_1/bias"),
    formed(
        "blocks.{i}.attn.qkv.weight",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/query/kernel",
        (0, 3),
        Form::IntoHeads,
    ),
    formed(
        "blocks.{i}.attn.qkv.bias",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/query/bias",
        (0, 3),
        Form::HeadsBias,
    ),
    formed(
        "blocks.{i}.attn.qkv.weight",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/key/kernel",
        (1, 3),
        Form::IntoHeads,
    ),
    formed(
        "blocks.{i}.attn.qkv.bias",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/key/bias",
        (1, 3),
        Form::HeadsBias,
    ),
    formed(
        "blocks.{i}.attn.qkv.weight",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/value/kernel",
        (2, 3),
        Form::IntoHeads,
    ),
    formed(
        "blocks.{i}.attn.qkv.bias",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/value/bias",
        (2, 3),
        Form::HeadsBias,
    ),
    formed(
        "blocks.{i}.attn.proj.weight",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/out/kernel",
        (0, 1),
        Form::FromHeads,
    ),
    named(
        "blocks.{i}.attn.proj.bias",
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/out/bias",
    ),
    named("blocks.{i}.norm2.weight", "Transformer/encoderblock_{i}/LayerNorm_1/scale"),
    named("blocks.{i}.norm2.bias", "Transformer/encoderblock_{i}/LayerNorm_1/bias"),
    formed(
        "blocks.{i}.mlp.fc1.weight",
        "Transformer/encoderblock_{i}/MlpBlock_0/Dense_0/kernel",
        (0, 1),
        Form::Transposed,
    ),
    named("blocks.{i}.mlp.fc1.bias", "Transformer/encoderblock_{i}/MlpBlock_0/Dense_0/bias"),
    formed(
        "blocks.{i}.mlp.fc2.weight",
        "Transformer/encoderblock_{i}/MlpBlock_0/Dense_1/kernel",
        (0, 1),
        Form::Transposed,
    ),
    named("blocks.{i}.mlp.fc2.bias", "Transformer/encoderblock_{i}/MlpBlock_0/Dense_1/bias"),
    named("norm.weight", "Transformer/encoder_norm/scale"),
    named("norm.bias", "Transformer/encoder_norm/bias"),
    formed("head.weight", "head/kernel", (0, 1), Form::Transposed),
    named("head.bias", "head/bias"),
];
