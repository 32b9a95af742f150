//! `list`: everything that has a name.

use crate::builtin::BUILTINS;
use crate::outcome::Done;
use analysis::ANALYSES;
use probes::PROBES;
use report::Info;
use serde_json::{Value, json};
use ssl_pretrain::OBJECTIVES;
use vit_core::PRESETS;
use vit_data::DATASETS;

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vitscope list
  vitscope list probes
  vitscope list --json";

/// The options of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these
    #[arg(value_name = "WHAT")]
    what: Option<What>,
    /// Print one JSON document: a list of {kind, name, line, source}
    #[arg(long)]
    pub(crate) json: bool,
}

/// Kinds of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// What encoders are trained by
    Objectives,
    /// How good are features?
    Probes,
    /// What does a network do?
    Analyses,
    /// Architectures
    Models,
    /// Data sets
    Datasets,
    /// Recipes in the binary
    Recipes,
}

const ALL: [What; 6] =
    [What::Objectives, What::Probes, What::Analyses, What::Models, What::Datasets, What::Recipes];

/// One thing.
struct Row {
    name: String,
    line: String,
    source: String,
}

impl From<Info> for Row {
    fn from(info: Info) -> Self {
        Self { name: info.name.into(), line: info.line.into(), source: info.source.into() }
    }
}

impl What {
    fn plural(self) -> &'static str {
        match self {
            Self::Objectives => "objectives",
            Self::Probes => "probes",
            Self::Analyses => "analyses",
            Self::Models => "models",
            Self::Datasets => "datasets",
            Self::Recipes => "recipes",
        }
    }

    fn singular(self) -> &'static str {
        match self {
            Self::Objectives => "objective",
            Self::Probes => "probe",
            Self::Analyses => "analysis",
            Self::Models => "model",
            Self::Datasets => "dataset",
            Self::Recipes => "recipe",
        }
    }

    fn rows(self) -> Vec<Row> {
        match self {
            Self::Objectives => OBJECTIVES.iter().map(|method| Row::from(method.info)).collect(),
            Self::Probes => PROBES.iter().map(|entry| Row::from(entry.info)).collect(),
            Self::Analyses => ANALYSES.iter().map(|entry| Row::from(entry.info)).collect(),
            Self::Models => PRESETS
                .iter()
                .map(|preset| Row {
                    name: format!("{}/PATCH", preset.name),
                    line: format!(
                        "width {}, {} blocks, {} heads, images of {} px",
                        preset.width, preset.depth, preset.n_heads, preset.image_px
                    ),
                    source: preset.source.into(),
                })
                .collect(),
            Self::Datasets => DATASETS
                .iter()
                .map(|entry| Row {
                    name: entry.name.into(),
                    line: entry.line.into(),
                    source: entry.usage.into(),
                })
                .collect(),
            Self::Recipes => BUILTINS
                .iter()
                .map(|recipe| Row {
                    name: recipe.name.into(),
                    line: format!("{}: {}", recipe.kind, recipe.line()),
                    source: recipe.source(),
                })
                .collect(),
        }
    }
}

/// Lists.
pub(crate) fn run(args: &Args) -> anyhow::Result<Done> {
    let (mut lines, mut document) = (Vec::new(), Vec::new());
    for what in ALL.into_iter().filter(|what| args.what.is_none_or(|only| only == *what)) {
        let rows = what.rows();
        let width =
            |part: fn(&Row) -> &str| rows.iter().map(|row| part(row).chars().count()).max().unwrap_or(0);
        let (names, texts) = (width(|row| &row.name), width(|row| &row.line));
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(what.plural().to_owned());
        for row in &rows {
            let Row { name, line, source } = row;
            lines.push(format!("  {name:names$}  {line:texts$}  {source}"));
            document.push(json!({ "kind": what.singular(), "name": name, "line": line, "source": source }));
        }
    }
    Ok(Done { path: None, lines, json: Value::Array(document), metrics: Vec::new() })
}
