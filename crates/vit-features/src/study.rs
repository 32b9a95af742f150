//! What a study is: needs, an accumulator, findings; and the registry row that opens one by name.

use crate::{Findings, Numbers, Select, Shapes, StudyError, Training, Tuned};
use burn::tensor::Tensor;
use report::{Info, Recipe, RecipeError, recipe};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use vit_core::{Backbone, Seen, Site};
use vit_data::{CropBox, Truth};

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
    /// How the encoder is to be trained on the training side, where it wants that: whoever runs the study does it, after everything
    /// was seen, and hands over what came out. Such a study is asked of whole data, not of parts.
    pub training: Option<Training>,
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

impl<'a> BatchInfo<'a> {
    /// A batch of one model of whose samples no more is known than their classes: the first of its side, without truths and boxes.
    pub fn of_classes(role: Role, labels: &'a [Option<u32>], indices: &'a [usize]) -> Self {
        Self { model: 0, role, first: 0, labels, indices, truths: &[], boxes: &[] }
    }
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
    /// Receives what came of the training that [`Needs::training`] asked for.
    fn tuned(&mut self, _tuned: Tuned) {}
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
    /// See [`Accumulate::tuned`].
    fn tuned(&mut self, _tuned: Tuned) {}
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
    fn tuned(&mut self, tuned: Tuned) {
        self.acc.tuned(tuned);
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
