//! transformers' DINOv2, with and without registers: as published files name it, and as today's version names it in
//! memory.

use super::Layout;
use super::line::{Line, named, part};

/// The names of published files, which `save_pretrained` writes too.
pub(super) const HF_DINOV2: Layout = Layout {
    name: "hf-dinov2",
    published: "transformers Dinov2Model, Dinov2WithRegistersModel",
    anchors: &[
        "embeddings.cls_token",
        "embeddings.patch_embeddings.projection.weight",
        "embeddings.position_embeddings",
        "encoder.layer.0.layer_scale1.lambda1",
    ],
    lines: HF_DINOV2_LINES,
    always: &[
        "cls_token",
        "pos_embed",
        "mask_token",
        "norm.weight",
        "patch_embed.proj.bias",
        "blocks.{i}.ls1.gamma",
        "blocks.{i}.ls2.gamma",
    ],
};

const HF_DINOV2_LINES: &[Line] = &[
    named("cls_token", "embeddings.cls_token"),
    named("pos_embed", "embeddings.position_embeddings"),
    named("mask_token", "embeddings.mask_token"),
    named("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"),
    named("patch_embed.proj.bias", "embeddings.patch_embeddings.projection.bias"),
    named("reg_token", "embeddings.register_tokens"),
    named("blocks.{i}.norm1.weight", "encoder.layer.{i}.norm1.weight"),
    named("blocks.{i}.norm1.bias", "encoder.layer.{i}.norm1.bias"),
    part("blocks.{i}.attn.qkv.weight", "encoder.layer.{i}.attention.attention.query.weight", (0, 3)),
    part("blocks.{i}.attn.qkv.weight", "encoder.layer.{i}.attention.attention.key.weight", (1, 3)),
    part("blocks.{i}.attn.qkv.weight", "encoder.layer.{i}.attention.attention.value.weight", (2, 3)),
    part("blocks.{i}.attn.qkv.bias", "encoder.layer.{i}.attention.attention.query.bias", (0, 3)),
    part("blocks.{i}.attn.qkv.bias", "encoder.layer.{i}.attention.attention.key.bias", (1, 3)),
    part("blocks.{i}.attn.qkv.bias", "encoder.layer.{i}.attention.attention.value.bias", (2, 3)),
    named("blocks.{i}.attn.proj.weight", "encoder.layer.{i}.attention.output.dense.weight"),
    named("blocks.{i}.attn.proj.bias", "encoder.layer.{i}.attention.output.dense.bias"),
    named("blocks.{i}.norm2.weight", "encoder.layer.{i}.norm2.weight"),
    named("blocks.{i}.norm2.bias", "encoder.layer.{i}.norm2.bias"),
    named("blocks.{i}.mlp.fc1.weight", "encoder.layer.{i}.mlp.fc1.weight"),
    named("blocks.{i}.mlp.fc1.bias", "encoder.layer.{i}.mlp.fc1.bias"),
    named("blocks.{i}.mlp.fc2.weight", "encoder.layer.{i}.mlp.fc2.weight"),
    named("blocks.{i}.mlp.fc2.bias", "encoder.layer.{i}.mlp.fc2.bias"),
    named("blocks.{i}.ls1.gamma", "encoder.layer.{i}.layer_scale1.lambda1"),
    named("blocks.{i}.ls2.gamma", "encoder.layer.{i}.layer_scale2.lambda1"),
    named("blocks.{i}.mlp.fc1.weight", "encoder.layer.{i}.mlp.weights_in.weight"),
    named("blocks.{i}.mlp.fc2.weight", "encoder.layer.{i}.mlp.weights_out.weight"),
    named("blocks.{i}.mlp.fc1.bias", "encoder.layer.{i}.mlp.weights_in.bias"),
    named("blocks.{i}.mlp.fc2.bias", "encoder.layer.{i}.mlp.weights_out.bias"),
    named("norm.weight", "layernorm.weight"),
    named("norm.bias", "layernorm.bias"),
];

/// The names of a `state_dict` of transformers 5.
pub(super) const HF_DINOV2_5: Layout = Layout {
    name: "hf-dinov2-5",
    published: "state dicts of transformers 5: Dinov2Model, Dinov2WithRegistersModel",
    anchors: &[
        "embeddings.cls_token",
        "embeddings.patch_embeddings.projection.weight",
        "embeddings.position_embeddings",
        "encoder.layer.0.layer_scale1.lambda1",
    ],
    lines: HF_DINOV2_5_LINES,
    always: &[
        "cls_token",
        "pos_embed",
        "mask_token",
        "norm.weight",
        "patch_embed.proj.bias",
        "blocks.{i}.ls1.gamma",
        "blocks.{i}.ls2.gamma",
    ],
};

const HF_DINOV2_5_LINES: &[Line] = &[
    named("cls_token", "embeddings.cls_token"),
    named("pos_embed", "embeddings.position_embeddings"),
    named("mask_token", "embeddings.mask_token"),
    named("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"),
    named("patch_embed.proj.bias", "embeddings.patch_embeddings.projection.bias"),
    named("reg_token", "embeddings.register_tokens"),
    named("blocks.{i}.norm1.weight", "encoder.layer.{i}.norm1.weight"),
    named("blocks.{i}.norm1.bias", "encoder.layer.{i}.norm1.bias"),
    part("blocks.{i}.attn.qkv.weight", "encoder.layer.{i}.attention.q_proj.weight", (0, 3)),
    part("blocks.{i}.attn.qkv.weight", "encoder.layer.{i}.attention.k_proj.weight", (1, 3)),
    part("blocks.{i}.attn.qkv.weight", "encoder.layer.{i}.attention.v_proj.weight", (2, 3)),
    part("blocks.{i}.attn.qkv.bias", "encoder.layer.{i}.attention.q_proj.bias", (0, 3)),
    part("blocks.{i}.attn.qkv.bias", "encoder.layer.{i}.attention.k_proj.bias", (1, 3)),
    part("blocks.{i}.attn.qkv.bias", "encoder.layer.{i}.attention.v_proj.bias", (2, 3)),
    named("blocks.{i}.attn.proj.weight", "encoder.layer.{i}.attention.o_proj.weight"),
    named("blocks.{i}.attn.proj.bias", "encoder.layer.{i}.attention.o_proj.bias"),
    named("blocks.{i}.norm2.weight", "encoder.layer.{i}.norm2.weight"),
    named("blocks.{i}.norm2.bias", "encoder.layer.{i}.norm2.bias"),
    named("blocks.{i}.mlp.fc1.weight", "encoder.layer.{i}.mlp.fc1.weight"),
    named("blocks.{i}.mlp.fc1.bias", "encoder.layer.{i}.mlp.fc1.bias"),
    named("blocks.{i}.mlp.fc2.weight", "encoder.layer.{i}.mlp.fc2.weight"),
    named("blocks.{i}.mlp.fc2.bias", "encoder.layer.{i}.mlp.fc2.bias"),
    named("blocks.{i}.ls1.gamma", "encoder.layer.{i}.layer_scale1.lambda1"),
    named("blocks.{i}.ls2.gamma", "encoder.layer.{i}.layer_scale2.lambda1"),
    part("blocks.{i}.mlp.fc1.weight", "encoder.layer.{i}.mlp.gate_proj.weight", (0, 2)),
    part("blocks.{i}.mlp.fc1.weight", "encoder.layer.{i}.mlp.up_proj.weight", (1, 2)),
    named("blocks.{i}.mlp.fc2.weight", "encoder.layer.{i}.mlp.down_proj.weight"),
    part("blocks.{i}.mlp.fc1.bias", "encoder.layer.{i}.mlp.gate_proj.bias", (0, 2)),
    part("blocks.{i}.mlp.fc1.bias", "encoder.layer.{i}.mlp.up_proj.bias", (1, 2)),
    named("blocks.{i}.mlp.fc2.bias", "encoder.layer.{i}.mlp.down_proj.bias"),
    named("norm.weight", "layernorm.weight"),
    named("norm.bias", "layernorm.bias"),
];
