//! Names that the shell completes, and the nearest of them to a misspelled one.

use crate::builtin::{self, BUILTINS};
use crate::study_recipe::StudyKind;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};
use report::recipe::letters_apart;
use std::ffi::OsStr;
use vit_core::PRESETS;
use vit_core::weights::FAMILIES;
use vit_data::DATASETS;

/// Accepts any text; the names are what completions offer.
#[derive(Clone, Copy)]
pub(crate) struct Names(pub(crate) fn() -> Vec<String>);

impl TypedValueParser for Names {
    type Value = String;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        clap::builder::StringValueParser::new().parse_ref(cmd, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.0)().into_iter().map(PossibleValue::new)))
    }
}

/// Every probe.
pub(crate) fn probes() -> Vec<String> {
    StudyKind::Probe.names()
}

/// Every analysis.
pub(crate) fn analyses() -> Vec<String> {
    StudyKind::Analysis.names()
}

/// Every built-in recipe for pretraining.
pub(crate) fn pretrain_recipes() -> Vec<String> {
    builtin::of_kind("pretrain").map(|recipe| recipe.name.to_owned()).collect()
}

/// Architectures in the patch sizes that are usual for them.
pub(crate) fn models() -> Vec<String> {
    PRESETS.iter().map(|preset| format!("{}/{}", preset.name, usual_patch(preset.name))).collect()
}

/// Every family of published weights.
pub(crate) fn families() -> Vec<String> {
    FAMILIES.iter().map(|family| family.name.to_owned()).collect()
}

fn usual_patch(preset: &str) -> usize {
    match preset {
        "vit-nano" => 8,
        "vit-h" => 14,
        _ => 16,
    }
}

/// Every data set, as far as its URI is known.
pub(crate) fn datasets() -> Vec<String> {
    DATASETS
        .iter()
        .map(|entry| {
            if entry.usage.starts_with(&format!("{}:", entry.name)) {
                format!("{}:", entry.name)
            } else {
                entry.name.to_owned()
            }
        })
        .collect()
}

/// Every key of a built-in recipe, as `--set` takes it.
pub(crate) fn keys() -> Vec<String> {
    let mut keys = std::collections::BTreeSet::new();
    for recipe in BUILTINS {
        let Ok(table) = recipe.text.parse::<toml::Table>() else { continue };
        match (recipe.kind, table.get("options")) {
            ("pretrain", _) => collect("", &table, &mut keys),
            (_, Some(toml::Value::Table(options))) => collect("", options, &mut keys),
            _ => {}
        }
    }
    keys.into_iter().collect()
}

fn collect(under: &str, table: &toml::Table, keys: &mut std::collections::BTreeSet<String>) {
    for (key, value) in table {
        let path = if under.is_empty() { key.clone() } else { format!("{under}.{key}") };
        match value {
            toml::Value::Table(inner) => collect(&path, inner, keys),
            _ => {
                keys.insert(format!("{path}="));
            }
        }
    }
}

/// `; did you mean …?` where one of the names is spelled nearly so, else where some begin so, else nothing.
pub(crate) fn hint<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let near = names.iter().map(|name| (letters_apart(word, name), *name)).min();
    if let Some((_, name)) = near.filter(|(distance, name)| *distance <= name.chars().count() / 3 + 1) {
        return format!("; did you mean `{name}`?");
    }
    let longer = names.iter().filter(|name| !word.is_empty() && name.starts_with(word));
    let longer: Vec<String> = longer.map(|name| format!("`{name}`")).collect();
    if longer.is_empty() { String::new() } else { format!("; did you mean {}?", longer.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_name_finds_its_neighbor() {
        assert_eq!(hint("knnn", ["knn", "linear"]), "; did you mean `knn`?");
        assert_eq!(hint("zzzz", ["knn", "linear"]), "");
        assert_eq!(hint("", ["knn", "linear"]), "");
    }

    #[test]
    fn the_beginning_of_a_name_finds_all_that_begin_so() {
        let names = ["dino-part-shapes", "mae-fashion-mnist", "mae-part-shapes"];
        assert_eq!(hint("mae", names), "; did you mean `mae-fashion-mnist` or `mae-part-shapes`?");
    }

    #[test]
    fn recipe_keys_are_those_of_the_built_in_recipes() {
        let keys = keys();
        assert!(keys.contains(&"train.epochs=".to_owned()), "{keys:?}");
        assert!(keys.contains(&"ks=".to_owned()), "{keys:?}");
    }
}
