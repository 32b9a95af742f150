//! Which layers are alike, within a model and between models?

mod accumulator;
mod findings;

pub use accumulator::CkaAcc;

use measure::cka::{FEWEST_SAMPLES, Moments};
use report::{Info, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_core::Site;
use vit_features::{Findings, Models, Needs, Part, Place, Select, Shapes, Study, StudyError};

/// Which tokens stand for a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tokens {
    /// The class token, `[D]`.
    Cls,
    /// The mean of the patch tokens, `[D]`.
    #[default]
    Mean,
    /// The patch tokens, flattened, `[N·D]`.
    Patches,
    /// All tokens, flattened, `[T·D]`.
    All,
}

impl Tokens {
    /// The word in selects and options.
    fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Mean => "mean",
            Self::Patches => "patches",
            Self::All => "all",
        }
    }

    /// Whether a layer is one vector of the model's width.
    fn is_vector(self) -> bool {
        matches!(self, Self::Cls | Self::Mean)
    }

    /// The parts that stand one behind the other.
    fn parts(self, shapes: &Shapes) -> Vec<Part> {
        match self {
            Self::Cls => vec![Part::Class],
            Self::Mean => vec![Part::Mean],
            Self::Patches => vec![Part::Patches],
            Self::All => {
                let class = shapes.has_class.then_some(Part::Class);
                let has_registers = shapes.n_prefix > usize::from(shapes.has_class);
                let registers = has_registers.then_some(Part::Registers);
                class.into_iter().chain(registers).chain([Part::Patches]).collect()
            }
        }
    }

    /// Numbers in one sample of a layer.
    fn width(self, shapes: &Shapes) -> usize {
        let n_patches = shapes.grid.rows * shapes.grid.columns;
        match self {
            Self::Cls | Self::Mean => shapes.width,
            Self::Patches => n_patches * shapes.width,
            Self::All => (shapes.n_prefix + n_patches) * shapes.width,
        }
    }
}

/// Which places of a model are its layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Places {
    /// The output of every block.
    #[default]
    Blocks,
    /// Both norms of every block, in the order in which they are passed.
    Norms,
    /// Both summands of each residual addition: the stream that comes in, and what the attention or the MLP adds.
    Residuals,
}

/// Which batches are compared, and how they weigh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compat {
    /// Groups in the order of the data, as they are.
    #[default]
    None,
    /// Groups of one class, class by class, every Gram matrix scaled to 0–1: so in the released code of Walmer et al.,
    /// with groups of 8. It says how alike layers are within classes.
    VitAnalysis,
}

/// How CKA is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// Sums of the unbiased HSIC of groups of samples.
    Minibatch,
    /// The unbiased HSIC of all samples.
    Full,
}

impl Estimator {
    /// The name of its numbers, arrays and figures.
    fn name(self) -> &'static str {
        match self {
            Self::Minibatch => "cka_minibatch",
            Self::Full => "cka_full",
        }
    }
}

/// The options of [`Cka`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CkaConfig {
    /// `cls`, `mean` (of the patches), `patches` or `all`; the last two flattened.
    pub tokens: Tokens,
    /// `blocks` (outputs of blocks), `norms` (both norms of every block), or `residuals` (the stream beside what is added
    /// to it).
    pub places: Places,
    /// Samples in a group of the minibatch estimator, at least 4; whatever the batch of the forward pass.
    pub batch: usize,
    /// `minibatch`, `full`, or both.
    pub estimators: Vec<Estimator>,
    /// The most memory that the full estimator may take, in MiB; above it, the study is refused.
    pub full_limit_mb: usize,
    /// `none`, or `vit-analysis`: the minibatch estimator as in the released code, which wants `batch = 8`.
    pub compat: Compat,
}

impl Default for CkaConfig {
    fn default() -> Self {
        Self {
            tokens: Tokens::default(),
            places: Places::default(),
            batch: 64,
            estimators: vec![Estimator::Minibatch, Estimator::Full],
            full_limit_mb: 2048,
            compat: Compat::default(),
        }
    }
}

impl Recipe for CkaConfig {
    fn check(&self) -> Result<(), RecipeError> {
        if self.batch < FEWEST_SAMPLES {
            return Err(RecipeError::value("batch", format!("at least {FEWEST_SAMPLES}"), self.batch));
        }
        let mut estimators = self.estimators.clone();
        estimators.sort_unstable();
        estimators.dedup();
        if estimators.is_empty() || estimators.len() < self.estimators.len() {
            let found: Vec<&str> = self.estimators.iter().map(|estimator| estimator.name()).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            return Err(RecipeError::value("estimators", "minibatch, full, or both", found));
        }
        Ok(())
    }
}

/// Centered kernel alignment of every pair of layers, within a model and between models.
///
/// `CKA = HSIC(K, L) / √(HSIC(K, K) · HSIC(L, L))` with linear kernels `K = X Xᵀ` over samples and the unbiased estimate of
/// HSIC: summed over groups of samples in each of the three places (`cka_minibatch`), or of all samples at once
/// (`cka_full`).
///
/// # Source
/// Kornblith et al. 2019; Nguyen et al. 2021 (minibatches); Raghu et al. 2021 (Vision Transformers). *Differs* from the
/// released code of Walmer et al. 2023, which scales every Gram matrix to 0–1 and so weighs its batches, but for
/// [`Compat::VitAnalysis`].
pub struct Cka;

/// One layer of one model: the selects that are read for it, and what it is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Layer {
    /// Which model, counted from 0.
    pub model: usize,
    /// The block.
    pub block: usize,
    /// Where in the model.
    pub site: Site,
    /// What it is read from; one behind the other.
    pub selects: Vec<Select>,
    /// Numbers in one sample.
    pub width: usize,
    /// `block3.mean`
    pub name: String,
}

/// Every layer of every model, model by model.
pub(crate) fn layers(config: &CkaConfig, shapes: &Shapes) -> Vec<Layer> {
    let models = shapes.models().enumerate();
    models.flat_map(|(model, shapes)| layers_of(config, model, shapes)).collect()
}

fn layers_of(config: &CkaConfig, model: usize, shapes: &Shapes) -> Vec<Layer> {
    let sites = shapes.blocks.iter().flat_map(|&block| match config.places {
        Places::Blocks => vec![(block, Site::Block(block))],
        Places::Norms => vec![(block, Site::Norm1(block)), (block, Site::Norm2(block))],
        Places::Residuals => {
            let input = block.checked_sub(1).map_or(Site::Embed, Site::Block);
            let sites = [input, Site::AttnAdded(block), Site::Mid(block), Site::MlpAdded(block)];
            sites.map(|site| (block, site)).to_vec()
        }
    });
    let layer = |(block, site)| Layer {
        model,
        block,
        site,
        selects: config
            .tokens
            .parts(shapes)
            .into_iter()
            .map(|part| Select { place: Place::At(site), part })
            .collect(),
        width: config.tokens.width(shapes),
        name: format!("{site}.{}", config.tokens.name()),
    };
    sites.map(layer).collect()
}

impl CkaConfig {
    /// Whether this estimator is asked for.
    fn wants(&self, estimator: Estimator) -> bool {
        self.estimators.contains(&estimator)
    }

    /// The bytes that the full estimator takes: sums for each pair of layers where a layer is one vector, else the
    /// features of all samples and one Gram matrix a layer.
    fn full_bytes(&self, layers: &[Layer], n_samples: usize) -> usize {
        let widths: Vec<usize> = layers.iter().map(|layer| layer.width).collect();
        if self.tokens.is_vector() {
            return Moments::n_bytes_for(&widths);
        }
        let features = size_of::<f32>() * n_samples * widths.iter().sum::<usize>();
        features + size_of::<f64>() * layers.len() * n_samples * n_samples / 2
    }
}

impl Study for Cka {
    const INFO: Info = Info {
        name: "cka",
        line: "which layers are alike, within a model and between models, by centered kernel alignment",
        source: "Kornblith et al. 2019; Nguyen et al. 2021; Raghu et al. 2021",
    };
    const MODELS: Models = Models::Together;
    type Config = CkaConfig;
    type Acc = CkaAcc;

    fn needs(config: &CkaConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let study = || Self::INFO.name.to_owned();
        let refuse = |needs: &str, found: &str| {
            Err(StudyError::Model {
                study: study(),
                needs: needs.into(),
                found: found.into(),
                model: shapes.model.clone(),
            })
        };
        if shapes.blocks.is_empty() {
            return refuse("layers", "none");
        }
        if config.tokens == Tokens::Cls && !shapes.has_class {
            return refuse("a class token (tokens = \"cls\")", "an encoder without one");
        }
        if config.places == Places::Norms && shapes.n_heads.is_none() {
            return refuse("two norms in every block (places = \"norms\")", "an encoder without them");
        }
        if config.places == Places::Residuals && shapes.n_heads.is_none() {
            return refuse(
                "an attention and an MLP in every block (places = \"residuals\")",
                "an encoder without them",
            );
        }
        if shapes.n_test > 0 && shapes.n_test < FEWEST_SAMPLES {
            return Err(StudyError::Value {
                study: study(),
                expected: format!("at least {FEWEST_SAMPLES} images"),
                found: shapes.n_test.to_string(),
            });
        }
        if config.wants(Estimator::Full) {
            let layers = layers(config, shapes);
            let found_mb = config.full_bytes(&layers, shapes.n_test).div_ceil(1 << 20);
            if found_mb > config.full_limit_mb {
                return Err(StudyError::Value {
                    study: study(),
                    expected: format!(
                        "at most {} MiB for the full estimator (full_limit_mb), fewer layers or images, or \
                         estimators = [\"minibatch\"]",
                        config.full_limit_mb
                    ),
                    found: format!(
                        "{found_mb} MiB for tokens = \"{}\" of {} layers and {} images",
                        config.tokens.name(),
                        layers.len(),
                        shapes.n_test
                    ),
                });
            }
        }
        let selects = layers_of(config, 0, shapes).into_iter().flat_map(|layer| layer.selects).collect();
        Ok(Needs { selects, labels: config.compat == Compat::VitAnalysis, ..Needs::default() })
    }

    fn small() -> CkaConfig {
        // Halves of 24 samples end at the border of a group.
        CkaConfig { batch: 12, ..CkaConfig::default() }
    }

    fn border(config: &CkaConfig) -> usize {
        config.batch
    }

    fn open(config: &CkaConfig, shapes: &Shapes) -> CkaAcc {
        CkaAcc::new(config, layers(config, shapes))
    }

    fn finish(config: &CkaConfig, shapes: &Shapes, acc: CkaAcc) -> Result<Findings, StudyError> {
        let alike = acc.finish()?;
        Ok(findings::tell(config, shapes, &layers(config, shapes), &alike))
    }
}
