//! Starting a Vision Transformer from the weights of another: what fits is copied, what a new task needs stays fresh.

use super::{MapByName, map_by_name, params};
use crate::{Vit, resample_table};
use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;

/// What came of a start from other weights.
#[derive(Clone, Debug)]
pub struct Started {
    /// The model.
    pub vit: Vit,
    /// Parameters that stayed as they were initialized: the classifier, and a norm that the source does not have.
    pub fresh: Vec<String>,
    /// Parameters of the source that have no place in the model, such as its own classifier.
    pub left: Vec<String>,
}

/// Copies the parameters of `from` into `vit` by name.
///
/// The classifier (`head.*`) is never copied, and the norm before it (`fc_norm.*`) or after the blocks (`norm.*`) stays
/// fresh where the source does not have it, as when a class-pooled encoder is fine-tuned with mean pooling. Positions
/// are resampled to the model's grid by the model's own convention; whether they are trained is the model's affair.
///
/// # Errors
/// One sentence when the two differ in width, depth, heads, patch, prefix tokens, or in a parameter's shape.
///
/// # Source
/// He et al., Masked Autoencoders: fine-tuning drops the encoder's norm for a fresh `fc_norm` and resamples positions.
pub fn start_from(vit: Vit, from: &Vit) -> Result<Started, String> {
    let (want, have) = (&vit.config, &from.config);
    let sizes = [
        ("dim", want.width, have.width),
        ("depth", want.depth, have.depth),
        ("heads", want.n_heads, have.n_heads),
        ("patch", want.patch_px, have.patch_px),
        ("class tokens", usize::from(want.class_token), usize::from(have.class_token)),
        ("distillation tokens", usize::from(want.distilled), usize::from(have.distilled)),
        ("registers", want.n_registers, have.n_registers),
    ];
    if let Some((name, want, have)) = sizes.into_iter().find(|(_, want, have)| want != have) {
        return Err(format!("{name}: expected {want}, as the recipe's model has; found {have}"));
    }
    let n_prefix = want.n_position_prefix();
    let grids = (have.grid(), want.grid());
    let resample = want.resample;
    let source: BTreeMap<String, (Vec<usize>, Vec<f32>)> =
        params(from).into_iter().map(|param| (param.name, (param.shape, param.values))).collect();
    let mut copy = Copy { source, fresh: Vec::new(), failed: None };
    if n_prefix == have.n_position_prefix()
        && grids.0 != grids.1
        && let Some((shape, values)) = copy.source.get_mut("pos_embed")
    {
        *values = resample_table(values, want.width, n_prefix, grids, resample);
        shape[1] = n_prefix + grids.1.n_patches();
    }
    let vit = map_by_name(vit, &mut copy);
    match copy.failed {
        Some(problem) => Err(problem),
        None => Ok(Started { vit, fresh: copy.fresh, left: copy.source.into_keys().collect() }),
    }
}

struct Copy {
    source: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    fresh: Vec<String>,
    failed: Option<String>,
}

/// What a new task brings of its own.
fn may_be_fresh(name: &str) -> bool {
    ["head.", "fc_norm.", "norm.", "mask_token"].iter().any(|prefix| name.starts_with(prefix))
}

impl MapByName for Copy {
    fn change<const D: usize>(&mut self, name: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let expected = param.dims();
        let found = if name.starts_with("head.") { None } else { self.source.remove(name) };
        match found {
            Some((shape, values)) if shape == expected => {
                let trainable = param.is_require_grad();
                param.map(|tensor| {
                    let device = tensor.device();
                    Tensor::from_data(TensorData::new(values, expected), &device).set_require_grad(trainable)
                })
            }
            None if may_be_fresh(name) => {
                self.fresh.push(name.to_owned());
                param
            }
            found => {
                let found = found.map_or("none".to_owned(), |(shape, _)| format!("{shape:?}"));
                self.failed.get_or_insert(format!("`{name}`: expected shape {expected:?}; found {found}"));
                param
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NoLook, Pass, Pool, VitConfig};

    fn tiny(n_classes: usize, seed: u64) -> Vit {
        let config = VitConfig {
            image_px: 16,
            patch_px: 8,
            width: 8,
            depth: 2,
            n_heads: 2,
            n_classes,
            ..VitConfig::default()
        };
        config.init(&vit_ops::cpu_device(), &mut crate::stream(seed))
    }

    #[test]
    fn a_started_encoder_gives_the_tokens_of_its_source() {
        let (from, to) = (tiny(5, 1), tiny(3, 2));
        let started = start_from(to, &from).expect("fits");
        let pixels = Tensor::ones([1, 3, 16, 16], &vit_ops::cpu_device());
        let encode = |vit: &Vit| vit.encode(pixels.clone(), &mut Pass::look(&mut NoLook)).all.into_data();
        assert_eq!(encode(&started.vit), encode(&from));
        assert_eq!(started.fresh, ["head.weight", "head.bias"]);
        assert_eq!(started.left, ["head.bias", "head.weight"]);
    }

    #[test]
    fn mean_pooling_brings_a_norm_of_its_own() {
        let from = tiny(0, 1);
        let config = VitConfig { pool: Pool::Mean, n_classes: 3, ..from.config.clone() };
        let to = config.init(&vit_ops::cpu_device(), &mut crate::stream(2));
        let started = start_from(to, &from).expect("fits");
        assert_eq!(started.fresh, ["fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"]);
        assert_eq!(started.left, ["norm.bias", "norm.weight"]);
    }

    #[test]
    fn positions_are_resampled_to_the_new_grid() {
        let from = tiny(0, 1);
        let config = VitConfig { image_px: 32, ..from.config.clone() };
        let to = config.init(&vit_ops::cpu_device(), &mut crate::stream(2));
        let started = start_from(to, &from).expect("fits");
        let table = |vit: &Vit| {
            let table = vit.pos_embed.as_ref().expect("a table").val();
            table.into_data().try_to_vec::<f32>().expect("f32")
        };
        let (small, large) = (table(&from), table(&started.vit));
        assert_eq!(large.len(), (1 + 16) * 8);
        assert_eq!(large[..8], small[..8], "the class token's position is copied");
        let resampled = resample_table(&small, 8, 1, (from.config.grid(), config.grid()), config.resample);
        assert_eq!(large, resampled);
    }

    #[test]
    fn another_width_is_refused_by_name() {
        let from = tiny(0, 1);
        let config = VitConfig { width: 16, ..from.config.clone() };
        let to = config.init(&vit_ops::cpu_device(), &mut crate::stream(2));
        assert_eq!(
            start_from(to, &from).expect_err("refused"),
            "dim: expected 16, as the recipe's model has; found 8"
        );
    }
}
