//! transformers' ViT, of which its DINO, ViTMAE and DeiT are other weights: as published files name it, and as today's
//! version names it in memory.

use super::Layout;
use super::line::{Line, named, part};

/// The names of published files, which `save_pretrained` writes too.
pub(super) const HF_VIT: Layout = Layout {
    name: "hf-vit",
    published: "transformers ViTModel, ViTForImageClassification, ViTMAE, DeiT, and DINO as ViT",
    anchors: &[
        "embeddings.cls_token",
        "embeddings.patch_embeddings.projection.weight",
        "embeddings.position_embeddings",
        "encoder.layer.0.layernorm_before.weight",
    ],
    lines: HF_VIT_LINES,
    always: &["cls_token", "pos_embed", "norm.weight", "patch_embed.proj.bias"],
};

const HF_VIT_LINES: &[Line] = &[
    named("cls_token", "embeddings.cls_token"),
    named("pos_embed", "embeddings.position_embeddings"),
    named("mask_token", "embeddings.mask_token"),
    named("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"),
    named("patch_embed.proj.bias", "embeddings.patch_embeddings.projection.bias"),
    named("dist_token", "embeddings.distillation_token"),
    named("blocks.{i}.norm1.weight", "encoder.layer.{i}.layernorm_before.weight"),
    named("blocks.{i}.norm1.bias", "encoder.layer.{i}.layernorm_before.bias"),
    part("blocks.{i}.attn.qkv.weight", "encoder.layer.{i}.attention.attention.query.weight", (0, 3)),
    part("blocks.{i}.attn.qkv.weight", "encoder.layer.{i}.attention.attention.key.weight", (1, 3)),
    part("blocks.{i}.attn.qkv.weight", "encoder.layer.{i}.attention.attention.value.weight", (2, 3)),
    part("blocks.{i}.attn.qkv.bias", "encoder.layer.{i}.attention.attention.query.bias", (0, 3)),
    part("blocks.{i}.attn.qkv.bias", "encoder.layer.{i}.attention.attention.key.bias", (1, 3)),
    part("blocks.{i}.attn.qkv.bias", "encoder.layer.{i}.attention.attention.value.bias", (2, 3)),
    named("blocks.{i}.attn.proj.weight", "encoder.layer.{i}.attention.output.dense.weight"),
    named("blocks.{i}.attn.proj.bias", "encoder.layer.{i}.attention.output.dense.bias"),
    named("blocks.{i}.norm2.weight", "encoder.layer.{i}.layernorm_after.weight"),
    named("blocks.{i}.norm2.bias", "encoder.layer.{i}.layernorm_after.bias"),
    named("blocks.{i}.mlp.fc1.weight", "encoder.layer.{i}.intermediate.dense.weight"),
    named("blocks.{i}.mlp.fc1.bias", "encoder.layer.{i}.intermediate.dense.bias"),
    named("blocks.{i}.mlp.fc2.weight", "encoder.layer.{i}.output.dense.weight"),
    named("blocks.{i}.mlp.fc2.bias", "encoder.layer.{i}.output.dense.bias"),
    named("norm.weight", "layernorm.weight"),
    named("norm.bias", "layernorm.bias"),
    named("head.weight", "^classifier.weight"),
    named("head.bias", "^classifier.bias"),
    named("head.weight", "^cls_classifier.weight"),
    named("head.bias", "^cls_classifier.bias"),
    named("head_dist.weight", "^distillation_classifier.weight"),
    named("head_dist.bias", "^distillation_classifier.bias"),
];

/// The names of a `state_dict` of transformers 5.
pub(super) const HF_VIT_5: Layout = Layout {
    name: "hf-vit-5",
    published: "state dicts of transformers 5: ViT, ViTMAE, DeiT",
    anchors: &[
        "embeddings.cls_token",
        "embeddings.patch_embeddings.projection.weight",
        "embeddings.position_embeddings",
        "layers.0.layernorm_before.weight",
    ],
    lines: HF_VIT_5_LINES,
    always: &["cls_token", "pos_embed", "norm.weight", "patch_embed.proj.bias"],
};

const HF_VIT_5_LINES: &[Line] = &[
    named("cls_token", "embeddings.cls_token"),
    named("pos_embed", "embeddings.position_embeddings"),
    named("mask_token", "embeddings.mask_token"),
    named("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"),
    named("patch_embed.proj.bias", "embeddings.patch_embeddings.projection.bias"),
    named("dist_token", "embeddings.distillation_token"),
    named("blocks.{i}.norm1.weight", "layers.{i}.layernorm_before.weight"),
    named("blocks.{i}.norm1.bias", "layers.{i}.layernorm_before.bias"),
    part("blocks.{i}.attn.qkv.weight", "layers.{i}.attention.q_proj.weight", (0, 3)),
    part("blocks.{i}.attn.qkv.weight", "layers.{i}.attention.k_proj.weight", (1, 3)),
    part("blocks.{i}.attn.qkv.weight", "layers.{i}.attention.v_proj.weight", (2, 3)),
    part("blocks.{i}.attn.qkv.bias", "layers.{i}.attention.q_proj.bias", (0, 3)),
    part("blocks.{i}.attn.qkv.bias", "layers.{i}.attention.k_proj.bias", (1, 3)),
    part("blocks.{i}.attn.qkv.bias", "layers.{i}.attention.v_proj.bias", (2, 3)),
    named("blocks.{i}.attn.proj.weight", "layers.{i}.attention.o_proj.weight"),
    named("blocks.{i}.attn.proj.bias", "layers.{i}.attention.o_proj.bias"),
    named("blocks.{i}.norm2.weight", "layers.{i}.layernorm_after.weight"),
    named("blocks.{i}.norm2.bias", "layers.{i}.layernorm_after.bias"),
    named("blocks.{i}.mlp.fc1.weight", "layers.{i}.mlp.fc1.weight"),
    named("blocks.{i}.mlp.fc1.bias", "layers.{i}.mlp.fc1.bias"),
    named("blocks.{i}.mlp.fc2.weight", "layers.{i}.mlp.fc2.weight"),
    named("blocks.{i}.mlp.fc2.bias", "layers.{i}.mlp.fc2.bias"),
    named("norm.weight", "layernorm.weight"),
    named("norm.bias", "layernorm.bias"),
    named("head.weight", "^classifier.weight"),
    named("head.bias", "^classifier.bias"),
    named("head.weight", "^cls_classifier.weight"),
    named("head.bias", "^cls_classifier.bias"),
    named("head_dist.weight", "^distillation_classifier.weight"),
    named("head_dist.bias", "^distillation_classifier.bias"),
];
