//! transformers' BEiT: as published files name it, and as today's version names it in memory.

use super::Layout;
use super::line::{Line, named, part};

/// The names of published files, which `save_pretrained` writes too.
pub(super) const HF_BEIT: Layout = Layout {
    name: "hf-beit",
    published: "transformers BeitModel, BeitForImageClassification, Data2VecVision",
    anchors: &[
        "embeddings.cls_token",
        "embeddings.patch_embeddings.projection.weight",
        "encoder.layer.0.layernorm_before.weight",
    ],
    lines: HF_BEIT_LINES,
    always: &["cls_token", "patch_embed.proj.bias"],
};

const HF_BEIT_LINES: &[Line] = &[
    named("cls_token", "embeddings.cls_token"),
    named("pos_embed", "embeddings.position_embeddings"),
    named("mask_token", "embeddings.mask_token"),
    named("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"),
    named("patch_embed.proj.bias", "embeddings.patch_embeddings.projection.bias"),
    named(
        "rel_pos_bias.relative_position_bias_table",
        "encoder.relative_position_bias.relative_position_bias_table",
    ),
    named("blocks.{i}.norm1.weight", "encoder.layer.{i}.layernorm_before.weight"),
    named("blocks.{i}.norm1.bias", "encoder.layer.{i}.layernorm_before.bias"),
    part("blocks.{i}.attn.qkv.weight", "encoder.layer.{i}.attention.attention.query.weight", (0, 3)),
    part("blocks.{i}.attn.qkv.weight", "encoder.layer.{i}.attention.attention.key.weight", (1, 3)),
    part("blocks.{i}.attn.qkv.weight", "encoder.layer.{i}.attention.attention.value.weight", (2, 3)),
    named("blocks.{i}.attn.q_bias", "encoder.layer.{i}.attention.attention.query.bias"),
    named("blocks.{i}.attn.v_bias", "encoder.layer.{i}.attention.attention.value.bias"),
    named("blocks.{i}.attn.proj.weight", "encoder.layer.{i}.attention.output.dense.weight"),
    named("blocks.{i}.attn.proj.bias", "encoder.layer.{i}.attention.output.dense.bias"),
    named("blocks.{i}.norm2.weight", "encoder.layer.{i}.layernorm_after.weight"),
    named("blocks.{i}.norm2.bias", "encoder.layer.{i}.layernorm_after.bias"),
    named("blocks.{i}.mlp.fc1.weight", "encoder.layer.{i}.intermediate.dense.weight"),
    named("blocks.{i}.mlp.fc1.bias", "encoder.layer.{i}.intermediate.dense.bias"),
    named("blocks.{i}.mlp.fc2.weight", "encoder.layer.{i}.output.dense.weight"),
    named("blocks.{i}.mlp.fc2.bias", "encoder.layer.{i}.output.dense.bias"),
    named(
        "blocks.{i}.attn.relative_position_bias_table",
        "encoder.layer.{i}.attention.attention.relative_position_bias.relative_position_bias_table",
    ),
    named("blocks.{i}.ls1.gamma", "encoder.layer.{i}.lambda_1"),
    named("blocks.{i}.ls2.gamma", "encoder.layer.{i}.lambda_2"),
    named("fc_norm.weight", "pooler.layernorm.weight"),
    named("fc_norm.bias", "pooler.layernorm.bias"),
    named("norm.weight", "layernorm.weight"),
    named("norm.bias", "layernorm.bias"),
    named("head.weight", "^classifier.weight"),
    named("head.bias", "^classifier.bias"),
];

/// The names of a `state_dict` of transformers 5.
pub(super) const HF_BEIT_5: Layout = Layout {
    name: "hf-beit-5",
    published: "state dicts of transformers 5: BEiT",
    anchors: &[
        "embeddings.cls_token",
        "embeddings.patch_embeddings.projection.weight",
        "layers.0.layernorm_before.weight",
    ],
    lines: HF_BEIT_5_LINES,
    always: &["cls_token", "patch_embed.proj.bias"],
};

const HF_BEIT_5_LINES: &[Line] = &[
    named("cls_token", "embeddings.cls_token"),
    named("pos_embed", "embeddings.position_embeddings"),
    named("mask_token", "embeddings.mask_token"),
    named("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"),
    named("patch_embed.proj.bias", "embeddings.patch_embeddings.projection.bias"),
    named(
        "rel_pos_bias.relative_position_bias_table",
        "encoder.relative_position_bias.relative_position_bias_table",
    ),
    named("blocks.{i}.norm1.weight", "layers.{i}.layernorm_before.weight"),
    named("blocks.{i}.norm1.bias", "layers.{i}.layernorm_before.bias"),
    part("blocks.{i}.attn.qkv.weight", "layers.{i}.attention.q_proj.weight", (0, 3)),
    part("blocks.{i}.attn.qkv.weight", "layers.{i}.attention.k_proj.weight", (1, 3)),
    part("blocks.{i}.attn.qkv.weight", "layers.{i}.attention.v_proj.weight", (2, 3)),
    named("blocks.{i}.attn.q_bias", "layers.{i}.attention.q_proj.bias"),
    named("blocks.{i}.attn.v_bias", "layers.{i}.attention.v_proj.bias"),
    named("blocks.{i}.attn.proj.weight", "layers.{i}.attention.o_proj.weight"),
    named("blocks.{i}.attn.proj.bias", "layers.{i}.attention.o_proj.bias"),
    named("blocks.{i}.norm2.weight", "layers.{i}.layernorm_after.weight"),
    named("blocks.{i}.norm2.bias", "layers.{i}.layernorm_after.bias"),
    named("blocks.{i}.mlp.fc1.weight", "layers.{i}.mlp.fc1.weight"),
    named("blocks.{i}.mlp.fc1.bias", "layers.{i}.mlp.fc1.bias"),
    named("blocks.{i}.mlp.fc2.weight", "layers.{i}.mlp.fc2.weight"),
    named("blocks.{i}.mlp.fc2.bias", "layers.{i}.mlp.fc2.bias"),
    named(
        "blocks.{i}.attn.relative_position_bias_table",
        "layers.{i}.relative_position_bias.relative_position_bias_table",
    ),
    named("blocks.{i}.ls1.gamma", "layers.{i}.lambda_1"),
    named("blocks.{i}.ls2.gamma", "layers.{i}.lambda_2"),
    named("fc_norm.weight", "pooler.layernorm.weight"),
    named("fc_norm.bias", "pooler.layernorm.bias"),
    named("norm.weight", "layernorm.weight"),
    named("norm.bias", "layernorm.bias"),
    named("head.weight", "^classifier.weight"),
    named("head.bias", "^classifier.bias"),
];
