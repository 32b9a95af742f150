//! `list`: everything that has a name.

use crate::args::Saying;
use crate::builtin::BUILTINS;
use crate::outcome::Done;
use analysis::ANALYSES;
use probes::PROBES;
use report::Info;
use serde_json::{Value, json};
use ssl_pretrain::OBJECTIVES;
use vit_core::PRESETS;
use vit_data::DATASETS;
use vit_features::StudyEntry;

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vitscope list
  vitscope list probes
  vitscope list probes -v      with every option and its default; recipes with their text
  vitscope list recipes -q     names alone
  vitscope list --json";

/// The options of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these
    #[arg(value_name = "WHAT")]
    what: Option<What>,
    /// How it is said; the JSON document is a list of {kind, name, line, source}.
    #[command(flatten)]
    pub(crate) saying: Saying,
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
    /// What `-v` shows: a recipe's text, the options of a study.
    more: String,
}

impl From<Info> for Row {
    fn from(info: Info) -> Self {
        Self {
            name: info.name.into(),
            line: info.line.into(),
            source: info.source.into(),
            more: String::new(),
        }
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
            Self::Probes => PROBES.iter().map(of_study).collect(),
            Self::Analyses => ANALYSES.iter().map(of_study).collect(),
            Self::Models => PRESETS
                .iter()
                .map(|preset| Row {
                    name: format!("{}/PATCH", preset.name),
                    line: format!(
                        "width {}, {} blocks, {} heads, images of {} px",
                        preset.width, preset.depth, preset.n_heads, preset.image_px
                    ),
                    source: preset.source.into(),
                    more: String::new(),
                })
                .collect(),
            Self::Datasets => DATASETS
                .iter()
                .map(|entry| Row {
                    name: entry.name.into(),
                    line: entry.line.into(),
                    source: entry.usage.into(),
                    more: String::new(),
                })
                .collect(),
            Self::Recipes => BUILTINS
                .iter()
                .map(|recipe| Row {
                    name: recipe.name.into(),
                    line: format!("{}: {}", recipe.kind, recipe.line()),
                    source: recipe.source(),
                    more: recipe.text.to_owned(),
                })
                .collect(),
        }
    }
}

/// A study with the defaults of its options, where it has defaults for all.
fn of_study(entry: &StudyEntry) -> Row {
    Row { more: (entry.resolve)(&toml::Table::new()).unwrap_or_default(), ..Row::from(entry.info) }
}

/// Lists.
pub(crate) fn run(args: &Args) -> anyhow::Result<Done> {
    let (mut lines, mut document) = (Vec::new(), Vec::new());
    for what in ALL.into_iter().filter(|what| args.what.is_none_or(|only| only == *what)) {
        let rows = what.rows();
        let width =
            |part: fn(&Row) -> &str| rows.iter().map(|row| part(row).chars().count()).max().unwrap_or(0);
        let (names, texts) = (width(|row| &row.name), width(|row| &row.line));
        let Saying { quiet, verbose, .. } = args.saying;
        if !lines.is_empty() && !quiet {
            lines.push(String::new());
        }
        if !quiet {
            lines.push(what.plural().to_owned());
        }
        for row in &rows {
            let Row { name, line, source, more } = row;
            match quiet {
                true => lines.push(name.clone()),
                false => lines.push(format!("  {name:names$}  {line:texts$}  {source}")),
            }
            if verbose {
                lines.extend(more.lines().map(|line| format!("      {line}").trim_end().to_owned()));
            }
            document.push(json!({ "kind": what.singular(), "name": name, "line": line, "source": source }));
        }
    }
    Ok(Done { path: None, lines, json: Value::Array(document), metrics: Vec::new() })
}
