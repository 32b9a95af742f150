//! transformers' BEiT: as published files name it, and as today's version names it in memory.

use super::Layout;
use super::hf::{ATTENTION, ATTENTION_5, EMBEDDINGS, FINAL_NORM, MLP, MLP_5, NORMS};
use super::line::{Line, below, named};

/// The names of published files, which `save_pretrained` writes too.
pub(super) const HF_BEIT: Layout = Layout {
    name: "hf-beit",
    published: "transformers BeitModel, BeitForImageClassification, Data2VecVision",
    anchors: &[
        "embeddings.cls_token",
        "embeddings.patch_embeddings.projection.weight",
        "encoder.layer.0.layernorm_before.weight",
    ],
    groups: &[
        EMBEDDINGS,
        BESIDE_BLOCKS,
        &below("encoder.layer.{i}.", NORMS),
        &below("encoder.layer.{i}.", ATTENTION),
        &below("encoder.layer.{i}.", BLOCK),
        &below("encoder.layer.{i}.", MLP),
        FINAL_NORM,
    ],
    always: &["cls_token", "patch_embed.proj.bias"],
};

/// The names of a `state_dict` of transformers 5.
pub(super) const HF_BEIT_5: Layout = Layout {
    name: "hf-beit-5",
    published: "state dicts of transformers 5: BEiT",
    anchors: &[
        "embeddings.cls_token",
        "embeddings.patch_embeddings.projection.weight",
        "layers.0.layernorm_before.weight",
    ],
    groups: &[
        EMBEDDINGS,
        BESIDE_BLOCKS,
        &below("layers.{i}.", NORMS),
        &below("layers.{i}.", ATTENTION_5),
        &below("layers.{i}.", BLOCK_5),
        &below("layers.{i}.", MLP_5),
        FINAL_NORM,
    ],
    always: &["cls_token", "patch_embed.proj.bias"],
};

/// The positions that all blocks share, and what comes after the blocks.
const BESIDE_BLOCKS: &[Line] = &[
    named(
        "rel_pos_bias.relative_position_bias_table",
        "encoder.relative_position_bias.relative_position_bias_table",
    ),
    named("fc_norm.weight", "pooler.layernorm.weight"),
    named("fc_norm.bias", "pooler.layernorm.bias"),
    named("head.weight", "^classifier.weight"),
    named("head.bias", "^classifier.bias"),
];

/// Biases of queries and values only, positions, scales.
const BLOCK: [Line; 5] = [
    named("blocks.{i}.attn.q_bias", "attention.attention.query.bias"),
    named("blocks.{i}.attn.v_bias", "attention.attention.value.bias"),
    named(
        "blocks.{i}.attn.relative_position_bias_table",
        "attention.attention.relative_position_bias.relative_position_bias_table",
    ),
    named("blocks.{i}.ls1.gamma", "lambda_1"),
    named("blocks.{i}.ls2.gamma", "lambda_2"),
];

/// The same in a state dict of version 5.
const BLOCK_5: [Line; 5] = [
    named("blocks.{i}.attn.q_bias", "attention.q_proj.bias"),
    named("blocks.{i}.attn.v_bias", "attention.v_proj.bias"),
    named(
        "blocks.{i}.attn.relative_position_bias_table",
        "relative_position_bias.relative_position_bias_table",
    ),
    named("blocks.{i}.ls1.gamma", "lambda_1"),
    named("blocks.{i}.ls2.gamma", "lambda_2"),
];
