//! transformers' DINOv2, with and without registers: as published files name it, and as today's version names it in
//! memory.

use super::Layout;
use super::hf::{ATTENTION, ATTENTION_5, EMBEDDINGS, FINAL_NORM, MLP_5, QKV_BIAS, QKV_BIAS_5};
use super::line::{Line, below, named, part};

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
    groups: &[
        EMBEDDINGS,
        REGISTERS,
        &below("encoder.layer.{i}.", BLOCK),
        &below("encoder.layer.{i}.", ATTENTION),
        &below("encoder.layer.{i}.", QKV_BIAS),
        &below("encoder.layer.{i}.", MLP_5),
        &below("encoder.layer.{i}.", GATED),
        FINAL_NORM,
    ],
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
    groups: &[
        EMBEDDINGS,
        REGISTERS,
        &below("encoder.layer.{i}.", BLOCK),
        &below("encoder.layer.{i}.", ATTENTION_5),
        &below("encoder.layer.{i}.", QKV_BIAS_5),
        &below("encoder.layer.{i}.", MLP_5),
        &below("encoder.layer.{i}.", GATED_5),
        FINAL_NORM,
    ],
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

const REGISTERS: &[Line] = &[named("reg_token", "embeddings.register_tokens")];

/// Norms and scales.
const BLOCK: [Line; 6] = [
    named("blocks.{i}.norm1.weight", "norm1.weight"),
    named("blocks.{i}.norm1.bias", "norm1.bias"),
    named("blocks.{i}.norm2.weight", "norm2.weight"),
    named("blocks.{i}.norm2.bias", "norm2.bias"),
    named("blocks.{i}.ls1.gamma", "layer_scale1.lambda1"),
    named("blocks.{i}.ls2.gamma", "layer_scale2.lambda1"),
];

/// The MLP of the giant.
const GATED: [Line; 4] = [
    named("blocks.{i}.mlp.fc1.weight", "mlp.weights_in.weight"),
    named("blocks.{i}.mlp.fc2.weight", "mlp.weights_out.weight"),
    named("blocks.{i}.mlp.fc1.bias", "mlp.weights_in.bias"),
    named("blocks.{i}.mlp.fc2.bias", "mlp.weights_out.bias"),
];

/// The same in a state dict of version 5.
const GATED_5: [Line; 6] = [
    part("blocks.{i}.mlp.fc1.weight", "mlp.gate_proj.weight", (0, 2)),
    part("blocks.{i}.mlp.fc1.weight", "mlp.up_proj.weight", (1, 2)),
    named("blocks.{i}.mlp.fc2.weight", "mlp.down_proj.weight"),
    part("blocks.{i}.mlp.fc1.bias", "mlp.gate_proj.bias", (0, 2)),
    part("blocks.{i}.mlp.fc1.bias", "mlp.up_proj.bias", (1, 2)),
    named("blocks.{i}.mlp.fc2.bias", "mlp.down_proj.bias"),
];
