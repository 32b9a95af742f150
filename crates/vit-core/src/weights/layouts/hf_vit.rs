//! transformers' ViT, of which its DINO, ViTMAE and DeiT are other weights: as published files name it, and as today's
//! version names it in memory.

use super::Layout;
use super::hf::{ATTENTION, ATTENTION_5, EMBEDDINGS, FINAL_NORM, MLP, MLP_5, NORMS, QKV_BIAS, QKV_BIAS_5};
use super::line::{Line, below, named};

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
    groups: &[
        EMBEDDINGS,
        DISTILLATION,
        &below("encoder.layer.{i}.", NORMS),
        &below("encoder.layer.{i}.", ATTENTION),
        &below("encoder.layer.{i}.", QKV_BIAS),
        &below("encoder.layer.{i}.", MLP),
        FINAL_NORM,
        CLASSIFIERS,
    ],
    always: &["cls_token", "pos_embed", "norm.weight", "patch_embed.proj.bias"],
};

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
    groups: &[
        EMBEDDINGS,
        DISTILLATION,
        &below("layers.{i}.", NORMS),
        &below("layers.{i}.", ATTENTION_5),
        &below("layers.{i}.", QKV_BIAS_5),
        &below("layers.{i}.", MLP_5),
        FINAL_NORM,
        CLASSIFIERS,
    ],
    always: &["cls_token", "pos_embed", "norm.weight", "patch_embed.proj.bias"],
};

const DISTILLATION: &[Line] = &[named("dist_token", "embeddings.distillation_token")];

/// The last four are those of DeiT with a distillation token.
const CLASSIFIERS: &[Line] = &[
    named("head.weight", "^classifier.weight"),
    named("head.bias", "^classifier.bias"),
    named("head.weight", "^cls_classifier.weight"),
    named("head.bias", "^cls_classifier.bias"),
    named("head_dist.weight", "^distillation_classifier.weight"),
    named("head_dist.bias", "^distillation_classifier.bias"),
];
