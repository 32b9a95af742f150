//! CLIP's image tower: OpenAI's names, and those of transformers.

use super::Layout;
use super::line::{Form, Line, formed, named, part};

/// OpenAI's names, also in its TorchScript archives and in open_clip.
pub(super) const CLIP: Layout = Layout {
    name: "clip",
    published: "OpenAI CLIP (.pt, TorchScript), open_clip",
    anchors: &["class_embedding", "conv1.weight", "ln_pre.weight", "ln_post.weight"],
    groups: &[LINES],
    always: &[
        "cls_token",
        "pos_embed",
        "norm_pre.weight",
        "norm.weight",
        "head.weight",
        "blocks.{i}.attn.qkv.bias",
    ],
};

const LINES: &[Line] = &[
    named("cls_token", "class_embedding"),
    named("pos_embed", "positional_embedding"),
    named("patch_embed.proj.weight", "conv1.weight"),
    named("norm_pre.weight", "ln_pre.weight"),
    named("norm_pre.bias", "ln_pre.bias"),
    named("blocks.{i}.norm1.weight", "transformer.resblocks.{i}.ln_1.weight"),
    named("blocks.{i}.norm1.bias", "transformer.resblocks.{i}.ln_1.bias"),
    named("blocks.{i}.attn.qkv.weight", "transformer.resblocks.{i}.attn.in_proj_weight"),
    named("blocks.{i}.attn.qkv.bias", "transformer.resblocks.{i}.attn.in_proj_bias"),
    named("blocks.{i}.attn.proj.weight", "transformer.resblocks.{i}.attn.out_proj.weight"),
    named("blocks.{i}.attn.proj.bias", "transformer.resblocks.{i}.attn.out_proj.bias"),
    named("blocks.{i}.norm2.weight", "transformer.resblocks.{i}.ln_2.weight"),
    named("blocks.{i}.norm2.bias", "transformer.resblocks.{i}.ln_2.bias"),
    named("blocks.{i}.mlp.fc1.weight", "transformer.resblocks.{i}.mlp.c_fc.weight"),
    named("blocks.{i}.mlp.fc1.bias", "transformer.resblocks.{i}.mlp.c_fc.bias"),
    named("blocks.{i}.mlp.fc2.weight", "transformer.resblocks.{i}.mlp.c_proj.weight"),
    named("blocks.{i}.mlp.fc2.bias", "transformer.resblocks.{i}.mlp.c_proj.bias"),
    named("norm.weight", "ln_post.weight"),
    named("norm.bias", "ln_post.bias"),
    formed("head.weight", "proj", (0, 1), Form::Transposed),
];

/// transformers' names. The projection stands beside the tower, not inside it.
pub(super) const HF_CLIP: Layout = Layout {
    name: "hf-clip",
    published: "transformers CLIPModel, CLIPVisionModel, CLIPVisionModelWithProjection",
    anchors: &[
        "embeddings.class_embedding",
        "embeddings.patch_embedding.weight",
        "pre_layrnorm.weight",
        "post_layernorm.weight",
    ],
    groups: &[HF_LINES],
    always: &["cls_token", "pos_embed", "norm_pre.weight", "norm.weight", "blocks.{i}.attn.qkv.bias"],
};

const HF_LINES: &[Line] = &[
    named("cls_token", "embeddings.class_embedding"),
    named("pos_embed", "embeddings.position_embedding.weight"),
    named("patch_embed.proj.weight", "embeddings.patch_embedding.weight"),
    named("norm_pre.weight", "pre_layrnorm.weight"),
    named("norm_pre.bias", "pre_layrnorm.bias"),
    named("blocks.{i}.norm1.weight", "encoder.layers.{i}.layer_norm1.weight"),
    named("blocks.{i}.norm1.bias", "encoder.layers.{i}.layer_norm1.bias"),
    part("blocks.{i}.attn.qkv.weight", "encoder.layers.{i}.self_attn.q_proj.weight", (0, 3)),
    part("blocks.{i}.attn.qkv.weight", "encoder.layers.{i}.self_attn.k_proj.weight", (1, 3)),
    part("blocks.{i}.attn.qkv.weight", "encoder.layers.{i}.self_attn.v_proj.weight", (2, 3)),
    part("blocks.{i}.attn.qkv.bias", "encoder.layers.{i}.self_attn.q_proj.bias", (0, 3)),
    part("blocks.{i}.attn.qkv.bias", "encoder.layers.{i}.self_attn.k_proj.bias", (1, 3)),
    part("blocks.{i}.attn.qkv.bias", "encoder.layers.{i}.self_attn.v_proj.bias", (2, 3)),
    named("blocks.{i}.attn.proj.weight", "encoder.layers.{i}.self_attn.out_proj.weight"),
    named("blocks.{i}.attn.proj.bias", "encoder.layers.{i}.self_attn.out_proj.bias"),
    named("blocks.{i}.norm2.weight", "encoder.layers.{i}.layer_norm2.weight"),
    named("blocks.{i}.norm2.bias", "encoder.layers.{i}.layer_norm2.bias"),
    named("blocks.{i}.mlp.fc1.weight", "encoder.layers.{i}.mlp.fc1.weight"),
    named("blocks.{i}.mlp.fc1.bias", "encoder.layers.{i}.mlp.fc1.bias"),
    named("blocks.{i}.mlp.fc2.weight", "encoder.layers.{i}.mlp.fc2.weight"),
    named("blocks.{i}.mlp.fc2.bias", "encoder.layers.{i}.mlp.fc2.bias"),
    named("norm.weight", "post_layernorm.weight"),
    named("norm.bias", "post_layernorm.bias"),
    named("head.weight", "^visual_projection.weight"),
];
