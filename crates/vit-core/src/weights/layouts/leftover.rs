//! What a file holds besides the encoder, and why it is not part of it.

/// Why a tensor has no place in the model, if its name says so; `inner` is its name below the encoder's root, if it
/// stands there.
pub(super) fn reason(full: &str, inner: Option<&str>) -> Option<&'static str> {
    let name = inner.unwrap_or(full);
    let parts: Vec<&str> = name.split(['.', '/']).collect();
    let last = parts.last().copied().unwrap_or_default();
    let has = |part: &str| parts.contains(&part);
    let begins = |prefix: &str| parts.iter().any(|part| part.starts_with(prefix));
    match () {
        () if matches!(last, "relative_position_index" | "position_ids" | "relative_coords_table") => {
            Some("position indices")
        }
        () if last == "attn_mask" => Some("attention masks"),
        () if begins("optim")
            || has("fp16_scaler")
            || has("loss_scaler")
            || has("scaler")
            || has("lr_scheduler")
            || has("amp")
            || has("callbacks")
            || has("loops") =>
        {
            Some("optimizer state")
        }
        () if begins("dino_loss") || begins("ibot_loss") || has("center") || has("center2") => {
            Some("centers")
        }
        () if has("queue") || has("queue_ptr") || has("prototypes") => Some("queues and prototypes"),
        () if !is_parameter(last) => None,
        () if begins("decoder") => Some("decoder"),
        () if has("text_model") || has("text_projection") || has("token_embedding") || has("ln_final") => {
            Some("text tower")
        }
        () if matches!(last, "logit_scale" | "logit_bias") => Some("text tower"),
        () if inner.is_none()
            && (has("transformer") || matches!(last, "positional_embedding" | "text_projection")) =>
        {
            Some("text tower")
        }
        () if inner.is_none() && matches!(last, "input_resolution" | "context_length" | "vocab_size") => {
            Some("text tower")
        }
        () if is_head(&parts) => Some("heads"),
        () if has("pooler") || has("pre_logits") || parts[0] == "fc" => Some("heads"),
        () => None,
    }
}

fn is_parameter(last: &str) -> bool {
    let tensors = [
        "weight",
        "bias",
        "in_proj_weight",
        "in_proj_bias",
        "weight_g",
        "weight_v",
        "original0",
        "original1",
        "running_mean",
        "running_var",
        "num_batches_tracked",
        "scale",
        "kernel",
        "mask_token",
        "decoder_pos_embed",
        "logit_scale",
        "logit_bias",
        "positional_embedding",
        "text_projection",
        "input_resolution",
        "context_length",
        "vocab_size",
        "q_bias",
        "v_bias",
        "gamma_1",
        "gamma_2",
        "probe",
        "trainable_cls_token",
    ];
    tensors.contains(&last)
}

/// Projectors, predictors and classifiers of every name that the field has given them.
fn is_head(parts: &[&str]) -> bool {
    let words = [
        "head",
        "head_dist",
        "head_recons",
        "lm_head",
        "predictor",
        "projector",
        "classifier",
        "cls_classifier",
        "distillation_classifier",
        "projection",
        "projection_head",
        "MAPHead_0",
        "visual_projection",
        "dino_head",
        "ibot_head",
        "mlp_head",
    ];
    // Inside a block `head` is no head.
    let outside =
        parts.iter().take_while(|part| !matches!(**part, "blocks" | "layer" | "layers" | "resblocks"));
    outside.into_iter().any(|part| words.contains(part)) && !parts.contains(&"patch_embeddings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_explained_and_strangers_are_not() {
        for (full, inner, why) in [
            ("teacher.head.last_layer.weight_g", None, Some("heads")),
            (
                "model.decoder_blocks.0.attn.qkv.weight",
                Some("decoder_blocks.0.attn.qkv.weight"),
                Some("decoder"),
            ),
            ("optimizer.state.0.exp_avg", None, Some("optimizer state")),
            ("dino_loss.center", None, Some("centers")),
            (
                "x.blocks.0.attn.relative_position_index",
                Some("blocks.0.attn.relative_position_index"),
                Some("position indices"),
            ),
            ("transformer.resblocks.0.ln_1.weight", None, Some("text tower")),
            ("transformer.resblocks.0.attn.in_proj_weight", None, Some("text tower")),
            ("state_dict.model.projection_head.0.bias", Some("projection_head.0.bias"), Some("heads")),
            ("blocks.0.attn.in_proj_bias", Some("blocks.0.attn.in_proj_bias"), None),
            ("state_dict.module.predictor.0.weight", None, Some("heads")),
            ("blocks.0.head.weight", Some("blocks.0.head.weight"), None),
            ("blocks.0.mlp.fc3.weight", Some("blocks.0.mlp.fc3.weight"), None),
            ("head.weight_renamed", Some("head.weight_renamed"), None),
            ("stranger", None, None),
        ] {
            assert_eq!(reason(full, inner), why, "{full}");
        }
    }
}
