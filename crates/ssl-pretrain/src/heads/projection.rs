//! The projection head of self-distillation: an MLP, a sphere, and a layer of prototypes.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use report::RecipeError;
use serde::{Deserialize, Serialize};
use vit_core::{Draw, Linear};

/// Torch's guard in `normalize`.
const NORM_EPS: f64 = 1e-12;

/// The sizes of a [`ProjectionHead`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadConfig {
    /// Linear layers of the MLP; 3 in the papers, at least 2.
    pub n_layers: usize,
    /// Width between them; 2048 in the papers.
    pub hidden: usize,
    /// Width of the sphere; 256 in the papers.
    pub bottleneck: usize,
    /// `K`, prototypes of the class token; 65536 in DINO, 8192 in iBOT.
    pub out_dim: usize,
    /// Whether the length of every prototype stays 1; true in DINO, false in iBOT.
    pub norm_last_layer: bool,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self { n_layers: 3, hidden: 2048, bottleneck: 256, out_dim: 65536, norm_last_layer: true }
    }
}

impl HeadConfig {
    /// Checks the sizes.
    ///
    /// # Errors
    /// When one is too small.
    pub fn check(&self) -> Result<(), RecipeError> {
        let least = [
            ("options.head.n_layers", self.n_layers, 2),
            ("options.head.hidden", self.hidden, 1),
            ("options.head.bottleneck", self.bottleneck, 1),
            ("options.head.out_dim", self.out_dim, 2),
        ];
        match least.into_iter().find(|(_, found, least)| found < least) {
            Some((key, found, least)) => {
                Err(RecipeError::value(key, format!("at least {least}"), found.to_string()))
            }
            None => Ok(()),
        }
    }

    /// A head with weights drawn from the stream, for an encoder of that width; `patch_out_dim` prototypes of its own
    /// for patches where they do not share those of the class token.
    ///
    /// # Source
    /// Caron et al., DINO: normal with standard deviation 0.02, biases zero; prototypes keep a linear layer's uniform
    /// `±1/√bottleneck`, their lengths begin at 1.
    pub fn init(&self, width: usize, patch_out_dim: Option<usize>, draw: &mut Draw) -> ProjectionHead {
        let mut mlp = Vec::with_capacity(2 * self.n_layers - 1);
        for layer in 0..self.n_layers {
            let n_in = if layer == 0 { width } else { self.hidden };
            let n_out = if layer + 1 == self.n_layers { self.bottleneck } else { self.hidden };
            if layer > 0 {
                mlp.push(None);
            }
            mlp.push(Some(Linear {
                weight: draw.normal([n_out, n_in], 0.02),
                bias: Some(draw.constant([n_out], 0.0)),
            }));
        }
        let last_layer = WeightNorm::init(self.bottleneck, self.out_dim, !self.norm_last_layer, draw);
        let last_layer2 =
            patch_out_dim.map(|n| WeightNorm::init(self.bottleneck, n, !self.norm_last_layer, draw));
        ProjectionHead { mlp, last_layer, last_layer2 }
    }

    /// Multiply–accumulate operations for one token, all prototypes included.
    pub fn macs(&self, width: usize) -> u64 {
        let between = (self.n_layers - 2) * self.hidden * self.hidden;
        let mlp = width * self.hidden + between + self.hidden * self.bottleneck;
        (mlp + self.bottleneck * self.out_dim) as u64
    }
}

/// A linear layer without bias whose rows have a length of their own: `W = g · v / ‖v‖`, row by row.
///
/// # Source
/// Salimans and Kingma, Weight Normalization; the names of PyTorch's `weight_norm`.
#[derive(Module, Debug)]
pub struct WeightNorm {
    /// `[K, 1]`: the lengths.
    pub weight_g: Param<Tensor<2>>,
    /// `[K, bottleneck]`: the directions, of any length.
    pub weight_v: Param<Tensor<2>>,
}

impl WeightNorm {
    fn init(n_in: usize, n_out: usize, learns_lengths: bool, draw: &mut Draw) -> Self {
        let weight_g = draw.constant([n_out, 1], 1.0);
        let weight_g = if learns_lengths { weight_g } else { weight_g.set_require_grad(false) };
        Self { weight_g, weight_v: draw.uniform([n_out, n_in], 1.0 / (n_in as f64).sqrt()) }
    }

    /// `[K, bottleneck]`
    pub fn weight(&self) -> Tensor<2> {
        let v = self.weight_v.val();
        let length = (v.clone() * v.clone()).sum_dim(1).sqrt(); // [K, 1]
        v * (self.weight_g.val() / length)
    }

    /// # Shapes
    /// - `x`: `[n, bottleneck]`; result `[n, K]`
    ///
    /// # Panics
    /// When the widths disagree.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let weight = self.weight();
        let bias = Tensor::zeros([weight.dims()[0]], &x.device());
        vit_ops::linear(x, weight, bias)
    }
}

/// `logits = W · z / ‖z‖` with `z = MLP(x)`, GELU between its layers. With lengths of 1 the logits are cosines.
///
/// # Source
/// Caron et al., Emerging Properties in Self-Supervised Vision Transformers; `last_layer2`: Zhou et al., iBOT.
#[derive(Module, Debug)]
pub struct ProjectionHead {
    /// The linear layers at even places; at odd places stands a GELU, which has no parameters, so that the names are
    /// those of the published checkpoints.
    pub mlp: Vec<Option<Linear>>,
    /// The prototypes of the class token; of patches too where there is no `last_layer2`.
    pub last_layer: WeightNorm,
    /// Prototypes of patches, where they have their own.
    pub last_layer2: Option<WeightNorm>,
}

impl ProjectionHead {
    /// The point on the sphere.
    ///
    /// # Shapes
    /// - `x`: `[n, D]`; result `[n, bottleneck]`, rows of length 1
    ///
    /// # Panics
    /// When the widths disagree.
    pub fn sphere(&self, x: Tensor<2>) -> Tensor<2> {
        let z = self.mlp.iter().fold(x, |x, layer| match layer {
            Some(linear) => linear.forward(x),
            None => vit_ops::gelu(x),
        });
        let length = (z.clone() * z.clone()).sum_dim(1).sqrt().clamp_min(NORM_EPS); // [n, 1]
        z / length
    }

    /// Logits of class tokens.
    ///
    /// # Shapes
    /// - `x`: `[n, D]`; result `[n, K]`
    ///
    /// # Panics
    /// When the widths disagree.
    pub fn class_logits(&self, x: Tensor<2>) -> Tensor<2> {
        self.last_layer.forward(self.sphere(x))
    }

    /// The prototypes that patches are compared with.
    pub fn patch_layer(&self) -> &WeightNorm {
        self.last_layer2.as_ref().unwrap_or(&self.last_layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vit_core::weights::names;
    use vit_core::{InitScheme, stream};

    fn head(patch_out_dim: Option<usize>, norm_last_layer: bool) -> ProjectionHead {
        let device = vit_ops::cpu_device().autodiff();
        let config = HeadConfig { n_layers: 3, hidden: 6, bottleneck: 4, out_dim: 5, norm_last_layer };
        let mut stream = stream(1);
        let mut draw = Draw { stream: &mut stream, device: &device, scheme: InitScheme::Timm };
        config.init(3, patch_out_dim, &mut draw)
    }

    #[test]
    fn parameters_are_named_as_in_the_published_checkpoints() {
        let found: Vec<String> = names(&head(Some(7), true)).into_iter().map(|param| param.name).collect();
        let expected = [
            "mlp.0.weight",
            "mlp.0.bias",
            "mlp.2.weight",
            "mlp.2.bias",
            "mlp.4.weight",
            "mlp.4.bias",
            "last_layer.weight_g",
            "last_layer.weight_v",
            "last_layer2.weight_g",
            "last_layer2.weight_v",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn lengths_are_learned_only_where_asked() {
        let trainable = |norm_last_layer| {
            let params = names(&head(None, norm_last_layer));
            params.into_iter().find(|param| param.name == "last_layer.weight_g").expect("lengths").trainable
        };
        assert!(!trainable(true) && trainable(false));
    }

    #[test]
    fn a_row_has_the_length_g_whatever_the_length_of_v() {
        // v = (3, 4) has length 5; with g = 10 the row is 10 · (0.6, 0.8) = (6, 8).
        let device = vit_ops::cpu_device();
        let layer = WeightNorm {
            weight_g: Param::from_data([[10.0f32]], &device),
            weight_v: Param::from_data([[3.0f32, 4.0]], &device),
        };
        let row: Vec<f32> = layer.weight().into_data().try_to_vec().expect("f32");
        assert!((row[0] - 6.0).abs() < 1e-5 && (row[1] - 8.0).abs() < 1e-5, "{row:?}");
    }

    #[test]
    fn logits_are_cosines_where_lengths_are_fixed() {
        let device = vit_ops::cpu_device().autodiff();
        let x = Tensor::from_floats([[100.0f32, -40.0, 3.0], [0.1, 0.2, 0.3]], &device);
        let logits: Vec<f32> = head(None, true).class_logits(x).into_data().try_to_vec().expect("f32");
        assert!(logits.iter().all(|logit| logit.abs() <= 1.0 + 1e-5), "{logits:?}");
    }
}
