//! The answer of a study: numbers, tables and figures as data.

use crate::{Figure, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod check;

/// What a study answers with. Rendered by [`to_json`](Self::to_json), [`to_markdown`](Self::to_markdown) and
/// [`to_html`](Self::to_html), stored by [`write`](Self::write).
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Registered name: `knn`, `attention-distance`, `mae`.
    pub study: String,
    /// Which verb made it.
    pub kind: Kind,
    /// What a reader sees on top.
    pub title: String,
    /// The model, or the models.
    pub model: String,
    /// The data set and its split.
    pub data: String,
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// Every number with its place in the model.
    pub metrics: Vec<Metric>,
    /// The tables; names are unique.
    pub tables: Vec<Table>,
    /// The figures; names are unique.
    pub figures: Vec<Figure>,
    /// Large arrays, stored as `arrays.safetensors`.
    pub arrays: Vec<Array>,
    /// The order of reading for Markdown and HTML; empty: tables, then figures.
    pub story: Vec<Block>,
}

impl Report {
    /// A report without numbers yet.
    pub fn new(
        study: impl Into<String>,
        kind: Kind,
        title: impl Into<String>,
        model: impl Into<String>,
        data: impl Into<String>,
        provenance: Provenance,
    ) -> Self {
        Self {
            study: study.into(),
            kind,
            title: title.into(),
            model: model.into(),
            data: data.into(),
            provenance,
            metrics: Vec::new(),
            tables: Vec::new(),
            figures: Vec::new(),
            arrays: Vec::new(),
            story: Vec::new(),
        }
    }

    /// The table of that name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// The figure of that name.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// The story as it is read: as given, else tables, then figures.
    pub fn reading_order(&self) -> Vec<Block> {
        if !self.story.is_empty() {
            return self.story.clone();
        }
        let heading = |text: &str| Block::Heading(text.to_owned());
        let mut blocks = Vec::new();
        if !self.tables.is_empty() {
            blocks.push(heading("Tables"));
            blocks.extend(self.tables.iter().map(|table| Block::Table(table.name.clone())));
        }
        if !self.figures.is_empty() {
            blocks.push(heading("Figures"));
            blocks.extend(self.figures.iter().map(|figure| Block::Figure(figure.name.clone())));
        }
        blocks
    }
}

/// Which verb made a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// How good is a representation?
    Probe,
    /// What does a model do?
    Analysis,
    /// Several models beside one another.
    Compare,
    /// A training run.
    Pretrain,
    /// Vectors written to a file.
    Embed,
}

impl Kind {
    /// The word in `report.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Analysis => "analysis",
            Self::Compare => "compare",
            Self::Pretrain => "pretrain",
            Self::Embed => "embed",
        }
    }
}

/// One number and where in the model it was measured. Keys stand in `report.json` in this order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// `top1`, `chance`, `distance_px` …
    pub name: String,
    /// Finite; ratios are 0–1.
    pub value: f64,
    /// `ratio`, `px`, `nats`, `secs` …
    pub unit: String,
    /// The block, counted from 0.
    pub layer: Option<usize>,
    /// The attention head, counted from 0.
    pub head: Option<usize>,
    /// The select that was read: `block11.cls`.
    pub select: Option<String>,
    /// What else tells it from its siblings: `{"k": 20}`.
    pub params: Map<String, Value>,
}

impl Metric {
    /// A number that belongs to no layer.
    pub fn new(name: impl Into<String>, value: f64, unit: impl Into<String>) -> Self {
        Self { name: name.into(), value, unit: unit.into(), ..Self::default() }
    }

    /// The same number at a block.
    #[must_use]
    pub fn layer(mut self, layer: usize) -> Self {
        self.layer = Some(layer);
        self
    }

    /// The same number at an attention head.
    #[must_use]
    pub fn head(mut self, head: usize) -> Self {
        self.head = Some(head);
        self
    }

    /// The same number for a select.
    #[must_use]
    pub fn select(mut self, select: impl Into<String>) -> Self {
        self.select = Some(select.into());
        self
    }

    /// The same number with one more parameter.
    #[must_use]
    pub fn param(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.params.insert(key.into(), value.into());
        self
    }
}

/// Where the numbers come from. Keys stand in `report.json` in this order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Of vitscope.
    pub version: String,
    /// The seed of every named stream.
    pub seed: u64,
    /// Digest of the weights file, where there is one.
    #[serde(default)]
    pub weights_sha256: Option<String>,
    /// `cpu`, `wgpu`, `cuda:0` …
    pub device: String,
    /// Which kernels ran: `avx512`, `avx2`, `portable`.
    #[serde(default)]
    pub kernel_path: String,
    /// The resolved recipe.
    #[serde(default)]
    pub recipe: Value,
    /// Wall-clock time; the only key that differs between two runs.
    #[serde(default)]
    pub elapsed_secs: f64,
    /// Whatever else a study wants to be remembered.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// A large array: stored beside the report, not in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Array {
    /// The name of the table or figure that it belongs to.
    pub name: String,
    /// Row-major.
    pub shape: Vec<usize>,
    /// As many as the shape says.
    pub values: Vec<f32>,
}

/// One step of the reading order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Block {
    /// Begins a section.
    Heading(String),
    /// Begins a part of a section.
    Subheading(String),
    /// Paragraphs, parted by empty lines; `code` between backquotes.
    Text(String),
    /// The table of that name.
    Table(String),
    /// The figure of that name.
    Figure(String),
    /// Big numbers.
    Numbers(Vec<Card>),
}

/// A number that is read before anything else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// What it is the number of.
    pub label: String,
    /// The number, as it is read.
    pub value: String,
    /// What must be known of it; may be empty.
    #[serde(default)]
    pub note: String,
    /// The table that it comes from; empty: all metrics.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub table: String,
}

impl Card {
    /// A card of one of the report's metrics.
    pub fn new(label: impl Into<String>, value: impl Into<String>, note: impl Into<String>) -> Self {
        Self { label: label.into(), value: value.into(), note: note.into(), table: String::new() }
    }

    /// The same card, its number from a table of the report.
    #[must_use]
    pub fn from_table(self, table: impl Into<String>) -> Self {
        Self { table: table.into(), ..self }
    }
}
