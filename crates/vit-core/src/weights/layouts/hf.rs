//! Rows that transformers' Vision Transformers share. Each of its models has two sets of names: those of published files,
//! which `save_pretrained` writes, and those of a state dict of version 5.

use super::line::{Line, below, named, part};

/// What stands before the blocks.
pub(super) const EMBEDDINGS: &[Line] = &[
    named("cls_token", "embeddings.cls_token"),
    named("pos_embed", "embeddings.position_embeddings"),
    named("mask_token", "embeddings.mask_token"),
    named("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"),
    named("patch_embed.proj.bias", "embeddings.patch_embeddings.projection.bias"),
];

/// The norm after the blocks.
pub(super) const FINAL_NORM: &[Line] =
    &[named("norm.weight", "layernorm.weight"), named("norm.bias", "layernorm.bias")];

/// The norms of a block.
pub(super) const NORMS: [Line; 4] = [
    named("blocks.{i}.norm1.weight", "layernorm_before.weight"),
    named("blocks.{i}.norm1.bias", "layernorm_before.bias"),
    named("blocks.{i}.norm2.weight", "layernorm_after.weight"),
    named("blocks.{i}.norm2.bias", "layernorm_after.bias"),
];

/// Attention without the biases of queries, keys and values.
pub(super) const ATTENTION: [Line; 5] = [
    part("blocks.{i}.attn.qkv.weight", "attention.attention.query.weight", (0, 3)),
    part("blocks.{i}.attn.qkv.weight", "attention.attention.key.weight", (1, 3)),
    part("blocks.{i}.attn.qkv.weight", "attention.attention.value.weight", (2, 3)),
    named("blocks.{i}.attn.proj.weight", "attention.output.dense.weight"),
    named("blocks.{i}.attn.proj.bias", "attention.output.dense.bias"),
];

/// The same in a state dict of version 5.
pub(super) const ATTENTION_5: [Line; 5] = [
    part("blocks.{i}.attn.qkv.weight", "attention.q_proj.weight", (0, 3)),
    part("blocks.{i}.attn.qkv.weight", "attention.k_proj.weight", (1, 3)),
    part("blocks.{i}.attn.qkv.weight", "attention.v_proj.weight", (2, 3)),
    named("blocks.{i}.attn.proj.weight", "attention.o_proj.weight"),
    named("blocks.{i}.attn.proj.bias", "attention.o_proj.bias"),
];

/// The biases of queries, keys and values.
pub(super) const QKV_BIAS: [Line; 3] = [
    part("blocks.{i}.attn.qkv.bias", "attention.attention.query.bias", (0, 3)),
    part("blocks.{i}.attn.qkv.bias", "attention.attention.key.bias", (1, 3)),
    part("blocks.{i}.attn.qkv.bias", "attention.attention.value.bias", (2, 3)),
];

/// The same in a state dict of version 5.
pub(super) const QKV_BIAS_5: [Line; 3] = [
    part("blocks.{i}.attn.qkv.bias", "attention.q_proj.bias", (0, 3)),
    part("blocks.{i}.attn.qkv.bias", "attention.k_proj.bias", (1, 3)),
    part("blocks.{i}.attn.qkv.bias", "attention.v_proj.bias", (2, 3)),
];

/// The MLP.
pub(super) const MLP: [Line; 4] = [
    named("blocks.{i}.mlp.fc1.weight", "intermediate.dense.weight"),
    named("blocks.{i}.mlp.fc1.bias", "intermediate.dense.bias"),
    named("blocks.{i}.mlp.fc2.weight", "output.dense.weight"),
    named("blocks.{i}.mlp.fc2.bias", "output.dense.bias"),
];

/// The same in a state dict of version 5, and in every DINOv2.
pub(super) const MLP_5: [Line; 4] = [
    named("blocks.{i}.mlp.fc1.weight", "mlp.fc1.weight"),
    named("blocks.{i}.mlp.fc1.bias", "mlp.fc1.bias"),
    named("blocks.{i}.mlp.fc2.weight", "mlp.fc2.weight"),
    named("blocks.{i}.mlp.fc2.bias", "mlp.fc2.bias"),
];

/// The blocks of ViTMAE's decoder, below `decoder.`: as published files name them, as version 5 writes those names back,
/// and as it has them in memory.
pub(crate) const DECODER_BLOCKS: [&[&[Line]]; 3] = [
    &[
        &below("decoder_layers.{i}.", NORMS),
        &below("decoder_layers.{i}.", ATTENTION),
        &below("decoder_layers.{i}.", QKV_BIAS),
        &below("decoder_layers.{i}.", MLP),
    ],
    &[
        &below("decoder_encoder.layer.{i}.", NORMS),
        &below("decoder_encoder.layer.{i}.", ATTENTION),
        &below("decoder_encoder.layer.{i}.", QKV_BIAS),
        &below("decoder_encoder.layer.{i}.", MLP),
    ],
    &[
        &below("decoder_layers.{i}.", NORMS),
        &below("decoder_layers.{i}.", ATTENTION_5),
        &below("decoder_layers.{i}.", QKV_BIAS_5),
        &below("decoder_layers.{i}.", MLP_5),
    ],
];
