//! What a study is: needs, an accumulator, findings; and the registry row that opens one by name.

use crate::{Findings, Layers, Numbers, Select, StudyError};
use burn::tensor::Tensor;
use report::{Info, Recipe, RecipeError, recipe};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use vit_core::{Backbone, Grid, Seen, Site};
use vit_data::{CropBox, Dataset, Truth};

/// Which side of the data a batch is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Samples to learn from: the bank of a kNN probe.
    Train,
    /// Samples that are asked about.
    Test,
}

/// How many models a study looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Models {
    /// One; of several, each is asked alone.
    Each,
    /// All that are given, on the same samples in one pass.
    Together,
}

/// What there is to study: the model's sizes and the data's classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shapes {
    /// The model's name in reports.
    pub model: String,
    /// Blocks; 0 where there is no model, only pixels.
    pub depth: usize,
    /// `D`
    pub width: usize,
    /// Attention heads; none where there is no attention.
    pub n_heads: Option<usize>,
    /// Class and register tokens.
    pub n_prefix: usize,
    /// Whether there is a class token.
    pub has_class: bool,
    /// Whether there is a norm over tokens after the last block.
    pub has_norm: bool,
    /// The grid of patches.
    pub grid: Grid,
    /// Side of a patch in pixels.
    pub patch_px: usize,
    /// Classes of the data; 0 where there are none.
    pub n_classes: usize,
    /// The names of those classes, where they have any.
    pub classes: Vec<String>,
    /// The names of the parts that part masks tell apart; none where there are none.
    pub parts: Vec<String>,
    /// The names of the classes that pixels have; none where nobody says.
    pub object_classes: Vec<String>,
    /// Samples to learn from.
    pub n_train: usize,
    /// Samples asked about.
    pub n_test: usize,
    /// The layers asked for.
    pub blocks: Vec<usize>,
    /// From which a study's own draws follow.
    pub seed: u64,
    /// The other models of a study of several; on the same data.
    pub beside: Vec<Shapes>,
}

impl Shapes {
    /// The shapes of a model on images of `size_px`.
    ///
    /// # Errors
    /// When a layer is asked for that the model does not have.
    pub fn of(model: &Backbone, name: &str, size_px: usize, layers: &Layers) -> Result<Self, StudyError> {
        let depth = model.depth();
        Ok(Self {
            model: name.to_owned(),
            depth,
            width: model.width(),
            n_heads: model.n_heads(),
            n_prefix: model.n_prefix(),
            has_class: model.has_class(),
            has_norm: model.has_norm(),
            grid: model.grid(size_px, size_px),
            patch_px: model.patch_px(),
            n_classes: 0,
            classes: Vec::new(),
            parts: Vec::new(),
            object_classes: Vec::new(),
            n_train: 0,
            n_test: 0,
            blocks: layers.blocks(depth)?,
            seed: 0,
            beside: Vec::new(),
        })
    }

    /// The shapes of raw pixels: no layers, no attention.
    pub fn of_pixels(size_px: usize) -> Self {
        Self {
            model: "raw pixels".into(),
            depth: 0,
            width: 3 * size_px * size_px,
            n_heads: None,
            n_prefix: 0,
            has_class: false,
            has_norm: false,
            grid: Grid { rows: size_px, columns: size_px },
            patch_px: 1,
            n_classes: 0,
            classes: Vec::new(),
            parts: Vec::new(),
            object_classes: Vec::new(),
            n_train: 0,
            n_test: 0,
            blocks: Vec::new(),
            seed: 0,
            beside: Vec::new(),
        }
    }

    /// The same with other models beside this one, for a study of several.
    #[must_use]
    pub fn beside(self, beside: Vec<Self>) -> Self {
        Self { beside, ..self }
    }

    /// Every model, this one first; a batch's `model` counts in this order.
    pub fn models(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.beside)
    }

    /// The same with the data's classes and sizes.
    #[must_use]
    pub fn on(self, train: Option<&dyn Dataset>, test: &dyn Dataset) -> Self {
        Self {
            n_classes: test.classes().len(),
            classes: test.classes().to_vec(),
            parts: test.part_names().to_vec(),
            object_classes: test.object_classes().to_vec(),
            n_train: train.map_or(0, Dataset::len),
            n_test: test.len(),
            ..self
        }
    }
}

/// What a study needs of the model and of the data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Needs {
    /// Sites it looks at where they are made, as tensors.
    pub sites: Vec<Site>,
    /// Sites whose numbers it is given on the host: they are brought there once, for all studies that ask.
    pub numbers: Vec<Site>,
    /// Features it takes.
    pub selects: Vec<Select>,
    /// Whether it needs samples to learn from.
    pub train: bool,
    /// Whether it needs classes.
    pub labels: bool,
    /// Whether it needs to know what belongs together: a class for every sample, or queries with what they are to find.
    pub company: bool,
    /// Whether it needs an object mask for every sample.
    pub masks: bool,
    /// Whether it needs part masks for every sample.
    pub parts: bool,
    /// Whether it needs a class for every pixel.
    pub semantic: bool,
    /// Whether it is given the model itself, for passes of its own: gradients, or a model that is changed. They cost
    /// what they cost, beside the one forward that all studies share.
    pub passes: bool,
    /// Whether it needs named points for every sample.
    pub keypoints: bool,
    /// Whether it needs samples that are frames of clips, in their order.
    pub clips: bool,
}

/// A batch, seen from the host.
#[derive(Clone, Copy, Debug)]
pub struct BatchInfo<'a> {
    /// Which of the models made what is seen; 0 where there is one.
    pub model: usize,
    /// Which side of the data.
    pub role: Role,
    /// Place of the first sample in the order of its side.
    pub first: usize,
    /// The class of each sample.
    pub labels: &'a [Option<u32>],
    /// The index of each sample in its data set.
    pub indices: &'a [usize],
    /// All that is known of each sample.
    pub truths: &'a [Truth],
    /// Where in its image the view of each sample was cut: brings `truths` into the view.
    pub boxes: &'a [CropBox],
}

/// Select → shape and values, row-major; the first dimension is samples.
pub type Arrays = BTreeMap<Select, (Vec<usize>, Vec<f32>)>;

/// What was taken from one batch for studies: features on the host.
#[derive(Clone, Debug)]
pub struct Taken<'a> {
    /// The batch.
    pub info: BatchInfo<'a>,
    /// `[B, D]` or `[B, tokens, D]` of every select wanted, row-major with its shape.
    pub features: &'a Arrays,
}

/// What grows while batches pass. Its memory must not grow with the number of batches, but for what is documented.
///
/// It is saved between batches and read again by another process: what lives for one batch only is skipped.
pub trait Accumulate: Serialize + DeserializeOwned + Send + Sized + 'static {
    /// Receives a site where it is made; nothing of it is kept by anybody else.
    ///
    /// # Errors
    /// When what is seen cannot be.
    fn see(&mut self, _site: Site, _seen: &Seen, _info: &BatchInfo) -> Result<(), StudyError> {
        Ok(())
    }
    /// Receives the numbers of a site where it is made, of those in [`Needs::numbers`].
    ///
    /// # Errors
    /// When what is seen cannot be.
    fn see_numbers(&mut self, _site: Site, _seen: &Numbers, _info: &BatchInfo) -> Result<(), StudyError> {
        Ok(())
    }
    /// Receives the features of a batch, after its sites; from every model in turn where there are several.
    ///
    /// # Errors
    /// When what is taken cannot be.
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError>;
    /// Receives the model and the batch's views `[B, 3, H, W]`, after its features, where [`Needs::passes`] says so.
    ///
    /// # Errors
    /// When what comes out cannot be.
    fn pass(&mut self, _model: &Backbone, _views: &Tensor<4>, _info: &BatchInfo) -> Result<(), StudyError> {
        Ok(())
    }
    /// Joins the accumulator of later batches to this one.
    fn merge(&mut self, later: Self);
}

/// A streaming question. One file and one registry line each, in `probes` or `analysis`.
pub trait Study: 'static {
    /// Name, one line, source.
    const INFO: Info;
    /// How many models it looks at.
    const MODELS: Models = Models::Each;
    /// Its options.
    type Config: Recipe + Clone + Default + Send;
    /// What grows while batches pass.
    type Acc: Accumulate;

    /// What it needs of a model. A study of several is asked for each; only the first one's shapes have the others beside.
    ///
    /// # Errors
    /// When the model cannot have it; the sentence names the study and the model.
    fn needs(config: &Self::Config, shapes: &Shapes) -> Result<Needs, StudyError>;
    /// Samples of the test side that are taken in groups: only parts that end at a multiple of it merge into exactly the
    /// whole. One where samples are taken by themselves.
    fn border(_config: &Self::Config) -> usize {
        1
    }
    /// An empty accumulator.
    fn open(config: &Self::Config, shapes: &Shapes) -> Self::Acc;
    /// What is done, in words, for `--help`; a probe is told apart by its protocol.
    const PROTOCOL: &'static str = "";
    /// Published protocols: a name, where it is from, and the options that it pins.
    fn protocols() -> Vec<(&'static str, &'static str, Self::Config)> {
        Vec::new()
    }
    /// How a published protocol shows pictures, where it says so and the model's own transform is another.
    fn protocol_view(_name: &str) -> ProtocolView {
        ProtocolView::default()
    }
    /// Options that suit a hundred samples, with which the contract of studies is tried.
    fn small() -> Self::Config {
        Self::Config::default()
    }
    /// The findings.
    ///
    /// # Errors
    /// When a number cannot be.
    fn finish(config: &Self::Config, shapes: &Shapes, acc: Self::Acc) -> Result<Findings, StudyError>;
}

/// An opened study whose type was forgotten.
pub trait Opened: Send {
    /// What it needs of the first model.
    fn needs(&self) -> &Needs;
    /// What it needs of a model; nothing of one that it does not look at.
    fn needs_of(&self, model: usize) -> Option<&Needs> {
        (model == 0).then(|| self.needs())
    }
    /// Its registry row's information.
    fn info(&self) -> Info;
    /// See [`Accumulate::see`].
    ///
    /// # Errors
    /// As there.
    fn see(&mut self, site: Site, seen: &Seen, info: &BatchInfo) -> Result<(), StudyError>;
    /// See [`Accumulate::see_numbers`].
    ///
    /// # Errors
    /// As there.
    fn see_numbers(&mut self, _site: Site, _seen: &Numbers, _info: &BatchInfo) -> Result<(), StudyError> {
        Ok(())
    }
    /// See [`Accumulate::batch`].
    ///
    /// # Errors
    /// As there.
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError>;
    /// See [`Accumulate::pass`].
    ///
    /// # Errors
    /// As there.
    fn pass(&mut self, _model: &Backbone, _views: &Tensor<4>, _info: &BatchInfo) -> Result<(), StudyError> {
        Ok(())
    }
    /// Joins a study of the same kind that saw later batches.
    ///
    /// # Panics
    /// When the other is of another kind.
    fn merge(&mut self, later: Box<dyn Opened>);
    /// See [`Study::finish`].
    ///
    /// # Errors
    /// As there.
    fn finish(self: Box<Self>) -> Result<Findings, StudyError>;
    /// See [`Study::border`].
    fn border(&self) -> usize;
    /// Writes what was accumulated: one MessagePack value, structures with the names of their fields.
    ///
    /// # Errors
    /// When it cannot be written.
    fn save(&self, into: &mut dyn Write) -> Result<(), StudyError>;
    /// Reads what another study of the same kind, options and shapes saved, in the place of what was accumulated here.
    ///
    /// # Errors
    /// When what is read is not such.
    fn load(&mut self, from: &mut dyn Read) -> Result<(), StudyError>;
    /// For merging.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

struct Asked<S: Study> {
    config: S::Config,
    shapes: Shapes,
    needs: Needs,
    needs_beside: Vec<Needs>,
    acc: S::Acc,
}

impl<S: Study> Opened for Asked<S> {
    fn needs(&self) -> &Needs {
        &self.needs
    }
    fn needs_of(&self, model: usize) -> Option<&Needs> {
        if model == 0 { Some(&self.needs) } else { self.needs_beside.get(model - 1) }
    }
    fn info(&self) -> Info {
        S::INFO
    }
    fn see(&mut self, site: Site, seen: &Seen, info: &BatchInfo) -> Result<(), StudyError> {
        self.acc.see(site, seen, info)
    }
    fn see_numbers(&mut self, site: Site, seen: &Numbers, info: &BatchInfo) -> Result<(), StudyError> {
        self.acc.see_numbers(site, seen, info)
    }
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        self.acc.batch(taken)
    }
    fn pass(&mut self, model: &Backbone, views: &Tensor<4>, info: &BatchInfo) -> Result<(), StudyError> {
        self.acc.pass(model, views, info)
    }
    fn merge(&mut self, later: Box<dyn Opened>) {
        match later.into_any().downcast::<Self>() {
            Ok(later) => self.acc.merge(later.acc),
            Err(_) => panic!("merge: expected another `{}`", S::INFO.name),
        }
    }
    fn finish(self: Box<Self>) -> Result<Findings, StudyError> {
        S::finish(&self.config, &self.shapes, self.acc)
    }
    fn border(&self) -> usize {
        S::border(&self.config)
    }
    fn save(&self, into: &mut dyn Write) -> Result<(), StudyError> {
        let mut serializer = rmp_serde::Serializer::new(into).with_struct_map();
        self.acc.serialize(&mut serializer).map_err(|error| accumulated::<S>("write", &error))
    }
    fn load(&mut self, from: &mut dyn Read) -> Result<(), StudyError> {
        self.acc = rmp_serde::from_read(from).map_err(|error| accumulated::<S>("read", &error))?;
        Ok(())
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

fn accumulated<S: Study>(action: &'static str, error: &dyn std::error::Error) -> StudyError {
    StudyError::Accumulated { study: S::INFO.name.into(), action, reason: error.to_string() }
}

/// Opens a study with a parsed configuration.
///
/// # Errors
/// When the model does not have what it needs.
pub fn open_study<S: Study>(config: &S::Config, shapes: &Shapes) -> Result<Box<dyn Opened>, StudyError> {
    let needs = checked_needs::<S>(config, shapes)?;
    let beside = shapes.beside.iter().filter(|_| S::MODELS == Models::Together);
    let needs_beside = beside.map(|shapes| checked_needs::<S>(config, shapes)).collect::<Result<_, _>>()?;
    let acc = S::open(config, shapes);
    Ok(Box::new(Asked::<S> { config: config.clone(), shapes: shapes.clone(), needs, needs_beside, acc }))
}

/// What a study needs of a model, which has the attention that it wants to see.
fn checked_needs<S: Study>(config: &S::Config, shapes: &Shapes) -> Result<Needs, StudyError> {
    let needs = S::needs(config, shapes)?;
    let unseen = needs
        .sites
        .iter()
        .chain(&needs.numbers)
        .find(|site| site.needs_attention())
        .filter(|_| shapes.n_heads.is_none());
    match unseen {
        None => Ok(needs),
        Some(site) => Err(StudyError::Model {
            study: S::INFO.name.into(),
            needs: format!("attention ({site})"),
            found: "an encoder without attention".into(),
            model: shapes.model.clone(),
        }),
    }
}

/// Opens a study with options for shapes.
pub type Open = fn(&toml::Table, &Shapes) -> Result<Box<dyn Opened>, StudyError>;

/// One row of a registry of studies.
pub struct StudyEntry {
    /// Name, one line, source.
    pub info: Info,
    /// How many models it looks at.
    pub models: Models,
    /// Parses options and gives the resolved recipe as TOML.
    pub resolve: fn(&toml::Table) -> Result<String, RecipeError>,
    /// Opens it with options.
    pub open: Open,
    /// Options that suit a hundred samples, as TOML; see [`Study::small`].
    pub small: fn() -> String,
    /// What is done, in words; see [`Study::PROTOCOL`].
    pub protocol: &'static str,
    /// Published protocols; see [`Study::protocols`].
    pub protocols: fn() -> Vec<Protocol>,
}

/// A published protocol of a study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name for `--protocol`.
    pub name: &'static str,
    /// Where it is from, and in what it differs here.
    pub source: &'static str,
    /// Every option, as TOML.
    pub options: String,
    /// How it shows pictures.
    pub view: ProtocolView,
}

/// How a published protocol shows pictures; what is `None` is the model's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtocolView {
    /// Side in pixels.
    pub size_px: Option<usize>,
    /// How much of a picture is shown: `center`, `whole` or `padded`.
    pub framing: Option<&'static str>,
}

/// The row of a study.
pub const fn study<S: Study>() -> StudyEntry {
    StudyEntry {
        info: S::INFO,
        models: S::MODELS,
        resolve: resolve::<S>,
        open: open::<S>,
        small: small::<S>,
        protocol: S::PROTOCOL,
        protocols: protocols::<S>,
    }
}

fn parse<S: Study>(options: &toml::Table) -> Result<S::Config, RecipeError> {
    recipe::from_table(options.clone(), S::INFO.name)
}

fn resolve<S: Study>(options: &toml::Table) -> Result<String, RecipeError> {
    Ok(recipe::resolved(&parse::<S>(options)?))
}

fn small<S: Study>() -> String {
    recipe::resolved(&S::small())
}

fn protocols<S: Study>() -> Vec<Protocol> {
    let all = S::protocols().into_iter();
    all.map(|(name, source, config)| Protocol {
        name,
        source,
        options: recipe::resolved(&config),
        view: S::protocol_view(name),
    })
    .collect()
}

fn open<S: Study>(options: &toml::Table, shapes: &Shapes) -> Result<Box<dyn Opened>, StudyError> {
    open_study::<S>(&parse::<S>(options)?, shapes)
}
