//! TEMPLATE: say in one line what the encoder learns from.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use report::{Info, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::{Backbone, Draw, Linear, NoLook, Pass, Vit, VitConfig, patchify, weights::start_from};
use vit_data::{Seed, ViewPlan};
use vit_train::{Batch, Objective, SampleCost, Step, StepOut, Term, ViewConfig};

/// The options of [`Template`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateConfig {
    /// The loss is multiplied by this; above 0. Replace it by what the method has.
    pub weight: f64,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

impl Recipe for TemplateConfig {
    fn check(&self) -> Result<(), RecipeError> {
        if self.weight > 0.0 && self.weight.is_finite() {
            return Ok(());
        }
        Err(RecipeError::value("options.weight", "above 0", self.weight.to_string()))
    }
}

/// All that the optimizer sees: the encoder and a head. A teacher must not be in here.
#[derive(Module, Debug)]
pub struct TemplateNet {
    /// The encoder.
    pub encoder: Vit,
    /// `[D, P·P·3]`
    pub head: Linear,
}

/// What it computes: `loss = weight · mean over B, N and pixels of (head(patch tokens) − pixels of the patch)²`.
///
/// # Source
/// Name the paper, and where this differs from it.
#[derive(Clone)]
pub struct Template {
    net: TemplateNet,
    config: TemplateConfig,
}

impl Objective for Template {
    const INFO: Info = Info {
        name: "template",
        line: "predict the pixels of every patch from its token",
        source: "name the paper here",
    };
    const ENCODER_PREFIX: &'static str = "encoder.";
    type Config = TemplateConfig;
    type Student = TemplateNet;
    type Carry = ();

    fn views(_: &TemplateConfig, views: &ViewConfig) -> ViewPlan {
        views.plan()
    }

    fn init(
        config: &TemplateConfig,
        encoder: &VitConfig,
        _n_classes: usize,
        device: &Device,
        seed: Seed,
    ) -> Result<Self, String> {
        let mut stream = seed.stream("weights", &[]);
        let vit = encoder.init(device, &mut stream);
        let mut draw = Draw { stream: &mut stream, device, scheme: encoder.init };
        let n_values = 3 * encoder.patch_px * encoder.patch_px;
        let head = Linear::init(encoder.width, n_values, true, &mut draw);
        Ok(Self { net: TemplateNet { encoder: vit, head }, config: config.clone() })
    }

    fn start_from(mut self, from: &Vit) -> Result<(Self, Vec<String>), String> {
        let started = start_from(self.net.encoder, from)?;
        self.net.encoder = started.vit;
        Ok((self, started.fresh))
    }

    fn sample_cost(&self) -> SampleCost {
        let encoder = &self.net.encoder.config;
        let n_patches = encoder.grid().n_patches();
        let head = n_patches * encoder.width * 3 * encoder.patch_px * encoder.patch_px;
        SampleCost {
            forward_macs: encoder.macs(n_patches) + head as u64,
            n_tokens: encoder.n_prefix() + n_patches,
        }
    }

    fn student(&self) -> &TemplateNet {
        &self.net
    }

    fn map_student(self, change: impl FnOnce(TemplateNet) -> TemplateNet) -> Self {
        Self { net: change(self.net), ..self }
    }

    /// Say `false`, or leave this out, where samples of a batch meet in the loss.
    fn is_separable(&self) -> bool {
        true
    }

    fn loss(&self, batch: &Batch, step: &mut Step) -> StepOut<()> {
        let pixels = batch.views[0].clone();
        let mut look = NoLook;
        let mut pass = Pass { draws: Some(&mut step.draws), ..Pass::look(&mut look) };
        let tokens = self.net.encoder.encode(pixels.clone(), &mut pass);
        let [b, t, d] = tokens.all.dims();
        let patches: Tensor<3> = tokens.all.slice([0..b, tokens.n_prefix..t, 0..d]); // [B, N, D]
        let predicted = self.net.head.forward(patches); // [B, N, P·P·3]
        let target = patchify(pixels, self.net.encoder.config.patch_px);
        let difference = predicted - target;
        let value = (difference.clone() * difference).mean().mul_scalar(self.config.weight);
        StepOut { terms: vec![Term { name: "mse", value }], carry: () }
    }

    fn export(&self) -> Backbone {
        Backbone::Vit(self.net.encoder.valid())
    }
}
