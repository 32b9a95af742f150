//! What a probe or an analysis is run with: a name and options, or a whole recipe; and what is saved of it.

use crate::args::Common;
use crate::data::Framed;
use crate::names::{self, hint};
use crate::studies::Asked;
use analysis::ANALYSES;
use anyhow::{Context, anyhow, bail};
use probes::PROBES;
use report::{Kind, Recipe, RecipeError, recipe};
use serde::{Deserialize, Serialize};
use std::path::Path;
use vit_data::Split;
use vit_data::transform::Normalize;
use vit_features::{Layers, Protocol, StudyEntry};

/// Which registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StudyKind {
    /// `probe`
    Probe,
    /// `analyze`
    Analysis,
}

impl StudyKind {
    /// The registry.
    pub(crate) fn entries(self) -> &'static [StudyEntry] {
        match self {
            Self::Probe => PROBES,
            Self::Analysis => ANALYSES,
        }
    }

    /// The names in the registry.
    pub(crate) fn names(self) -> Vec<String> {
        self.entries().iter().map(|entry| entry.info.name.to_owned()).collect()
    }

    /// The word in `report.json`.
    pub(crate) fn report_kind(self) -> Kind {
        match self {
            Self::Probe => Kind::Probe,
            Self::Analysis => Kind::Analysis,
        }
    }

    /// The verb that asks it.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Analysis => "analyze",
        }
    }
}

/// The whole truth of a probe or an analysis. The command line fills in and overrides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StudyRecipe {
    /// The study's name.
    pub(crate) study: String,
    /// The models.
    #[serde(default)]
    pub(crate) weights: Vec<String>,
    /// The data's URI.
    #[serde(default)]
    pub(crate) data: String,
    /// The samples asked about: `train`, `test` or `all`.
    #[serde(default = "test")]
    pub(crate) split: String,
    /// `all`, `last`, or a list such as `0,5,11`.
    #[serde(default = "all")]
    pub(crate) layers: String,
    /// Seed of every draw.
    #[serde(default)]
    pub(crate) seed: u64,
    /// Samples used of each split; all where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<usize>,
    /// Side of the images in pixels; the model's own where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size_px: Option<usize>,
    /// Pixels from one patch to the next, for patches that overlap and a finer grid; the side of a patch where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stride_px: Option<usize>,
    /// `imagenet`, `half`, `clip` or `none`; the model's own where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) normalize: Option<String>,
    /// How much of an image is shown: `center`, `whole` or `padded`; the model's own where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) framing: Option<String>,
    /// Whether a probe also asks raw pixels and the untrained model.
    #[serde(default = "yes")]
    pub(crate) floor: bool,
    /// The published protocol that pins every option, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<String>,
    /// The study's own options.
    #[serde(default)]
    pub(crate) options: toml::Table,
}

fn test() -> String {
    "test".into()
}

fn all() -> String {
    "all".into()
}

fn yes() -> bool {
    true
}

impl Recipe for StudyRecipe {
    fn check(&self) -> Result<(), RecipeError> {
        self.chosen_split()?;
        if self.limit == Some(0) {
            return Err(RecipeError::value("limit", "at least 1", "0"));
        }
        if self.size_px == Some(0) {
            return Err(RecipeError::value("size_px", "at least 1", "0"));
        }
        if let Some(name) = &self.normalize {
            let known = Normalize::from_name(name);
            known.map_err(|_| RecipeError::value("normalize", "imagenet, half, clip or none", name))?;
        }
        if let Some(name) = self.framing.as_deref().filter(|name| Framed::from_name(name).is_none()) {
            return Err(RecipeError::value("framing", Framed::NAMES.join(", "), name));
        }
        Ok(())
    }
}

/// What a verb's own options say.
#[derive(Debug, Default)]
pub(crate) struct Said<'a> {
    /// `--weights`
    pub(crate) weights: &'a [String],
    /// `--data`
    pub(crate) data: Option<&'a str>,
    /// `--split`
    pub(crate) split: Option<&'a str>,
    /// `--layers`
    pub(crate) layers: Option<&'a str>,
    /// `--framing`
    pub(crate) framing: Option<&'a str>,
    /// `--no-floor`
    pub(crate) no_floor: bool,
    /// `--protocol`
    pub(crate) protocol: Option<&'a str>,
}

impl StudyRecipe {
    /// Reads a study's name or a recipe file, lets the command line override it, and fills in every default.
    ///
    /// # Errors
    /// When the name is unknown, or the recipe or an option is not sound.
    pub(crate) fn resolve(
        word: &str,
        kind: StudyKind,
        said: &Said,
        common: &Common,
    ) -> anyhow::Result<(Self, Asked)> {
        let (mut table, origin) = read(word, kind)?;
        let options = table.entry("options").or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let toml::Value::Table(options) = options else {
            bail!("options: expected a table; found {}: {origin}", options.type_str());
        };
        for key_value in &common.set {
            recipe::set(options, key_value)?;
        }
        let mut resolved: Self = recipe::from_table(table, &origin)?;
        if !said.weights.is_empty() {
            resolved.weights = said.weights.to_vec();
        }
        let say = |value: &mut String, said: Option<&str>| {
            if let Some(said) = said {
                said.clone_into(value);
            }
        };
        say(&mut resolved.data, said.data);
        say(&mut resolved.split, said.split);
        say(&mut resolved.layers, said.layers);
        resolved.seed = common.seed.unwrap_or(resolved.seed);
        resolved.limit = common.limit.or(resolved.limit);
        resolved.size_px = common.size.or(resolved.size_px);
        resolved.normalize = common.normalize.clone().or(resolved.normalize);
        resolved.framing = said.framing.map(str::to_owned).or(resolved.framing);
        resolved.floor = kind == StudyKind::Probe && resolved.floor && !said.no_floor;
        let entry = find(&resolved.study, kind).with_context(|| origin_of(word, &origin))?;
        resolved.protocol = said.protocol.map(str::to_owned).or(resolved.protocol);
        if let Some(name) = &resolved.protocol {
            let protocol = protocol(entry, name)?;
            resolved.options = pinned(&protocol, &resolved.options)?;
            // How pictures are shown is the protocol's, unless it was said.
            resolved.size_px = resolved.size_px.or(protocol.view.size_px);
            resolved.framing = resolved.framing.or(protocol.view.framing.map(str::to_owned));
        }
        let text = (entry.resolve)(&resolved.options).map_err(|error| error.under("options").at(&origin))?;
        resolved.options = recipe::parse_table(&text, &origin)?;
        resolved.check().map_err(|error| error.at(&origin))?;
        resolved.chosen_layers()?;
        if resolved.weights.is_empty() {
            bail!("--weights: expected a weights file, a run folder or an architecture; found none");
        }
        if resolved.data.is_empty() {
            bail!("--data: expected one of {}; found none", names::datasets().join(", "));
        }
        let asked = Asked { entry, options: resolved.options.clone() };
        Ok((resolved, asked))
    }

    /// What a saved recipe asks.
    ///
    /// # Errors
    /// When there is no such study.
    pub(crate) fn asked(&self, kind: StudyKind) -> anyhow::Result<Asked> {
        Ok(Asked { entry: find(&self.study, kind)?, options: self.options.clone() })
    }

    /// The samples asked about.
    pub(crate) fn chosen_split(&self) -> Result<Split, RecipeError> {
        match self.split.as_str() {
            "train" => Ok(Split::Train),
            "test" => Ok(Split::Test),
            "all" => Ok(Split::All),
            other => Err(RecipeError::value("split", "train, test or all", format!("`{other}`"))),
        }
    }

    /// The layers asked for.
    pub(crate) fn chosen_layers(&self) -> anyhow::Result<Layers> {
        Ok(self.layers.parse()?)
    }

    /// The text that is saved beside the results.
    pub(crate) fn to_text(&self, kind: StudyKind, version: &str) -> String {
        let verb = kind.verb();
        format!(
            "# Resolved by vitscope {version}; repeat with: vitscope {verb} recipe.toml\n\n{}",
            recipe::resolved(self)
        )
    }
}

/// A protocol of a study by its name.
fn protocol(entry: &StudyEntry, name: &str) -> anyhow::Result<Protocol> {
    let protocols = (entry.protocols)();
    let study = entry.info.name;
    let known: Vec<&str> = protocols.iter().map(|protocol| protocol.name).collect();
    let expected = if known.is_empty() { "none, as there are none".into() } else { known.join(", ") };
    let found = protocols.into_iter().find(|protocol| protocol.name == name);
    found.ok_or_else(|| anyhow!("--protocol: expected one of `{study}`: {expected}; found `{name}`"))
}

/// The options of a protocol. Others may be said as well only where they are the same.
fn pinned(protocol: &Protocol, said: &toml::Table) -> anyhow::Result<toml::Table> {
    let name = protocol.name;
    let options = recipe::parse_table(&protocol.options, name)?;
    match said.iter().find(|(key, value)| options.get(*key) != Some(*value)) {
        Some((key, value)) => bail!(
            "--protocol {name}: expected its own {key}, {}; found {value}: a protocol pins every option",
            options.get(key).map_or("which it does not have".into(), ToString::to_string)
        ),
        None => Ok(options),
    }
}

fn origin_of(word: &str, origin: &str) -> String {
    if word == origin { "study".to_owned() } else { format!("study, in {origin}") }
}

/// The table of a recipe file, or the shortest recipe of a study's name.
fn read(word: &str, kind: StudyKind) -> anyhow::Result<(toml::Table, String)> {
    if !word.ends_with(".toml") {
        find(word, kind)?;
        let table = toml::Table::from_iter([("study".to_owned(), toml::Value::String(word.to_owned()))]);
        return Ok((table, word.to_owned()));
    }
    let path = Path::new(word);
    let text =
        std::fs::read_to_string(path).map_err(|error| anyhow!("cannot read recipe: {error}: {word}"))?;
    Ok((recipe::parse_table(&text, word)?, word.to_owned()))
}

fn find(name: &str, kind: StudyKind) -> anyhow::Result<&'static StudyEntry> {
    kind.entries().iter().find(|entry| entry.info.name == name).ok_or_else(|| {
        let names = kind.names();
        let what = if kind == StudyKind::Probe { "probe" } else { "analysis" };
        let near = hint(name, names.iter().map(String::as_str));
        anyhow!("{what}: expected one of {}, or a recipe file; found `{name}`{near}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    #[test]
    fn the_built_in_recipe_that_is_called_like_a_study_spells_out_its_default_options() {
        for kind in [StudyKind::Probe, StudyKind::Analysis] {
            let of_kind = builtin::of_kind(kind.verb());
            for built_in in of_kind.filter(|recipe| kind.names().iter().any(|name| name == recipe.name)) {
                let table = recipe::parse_table(built_in.text, built_in.name).expect(built_in.name);
                let recipe: StudyRecipe = recipe::from_table(table, built_in.name).expect(built_in.name);
                let entry = find(&recipe.study, kind).expect("a registered study");
                let defaults = (entry.resolve)(&toml::Table::new()).expect("defaults");
                let defaults = recipe::parse_table(&defaults, "defaults").expect("defaults");
                assert_eq!(recipe.options, defaults, "{}", built_in.name);
            }
        }
    }
}
