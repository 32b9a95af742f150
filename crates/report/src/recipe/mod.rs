//! Recipes: TOML that is parsed once, checked once, and saved as it was resolved.
//!
//! One door for files and for `--set KEY=VALUE`: [`parse_table`] → [`set`] → [`from_table`]. Whatever a recipe does
//! not know is an error that says where, what was expected and what stood there.

mod error;
mod set;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::error::{RecipeError, letters_apart};
pub use self::set::set;

/// A configuration that can be read from TOML and says itself whether its values make sense.
///
/// Implementors carry `#[serde(deny_unknown_fields)]`, so that a misspelled key is an error.
pub trait Recipe: Serialize + DeserializeOwned {
    /// Checks what types alone cannot say: ranges, and keys that depend on one another.
    ///
    /// # Errors
    /// [`RecipeError::value`] for the first value that cannot be.
    fn check(&self) -> Result<(), RecipeError>;
}

/// Parses TOML text; `origin` (a path, or the name of a built-in recipe) is what errors point at.
///
/// # Errors
/// [`RecipeError::Syntax`] with line and column.
pub fn parse_table(text: &str, origin: &str) -> Result<toml::Table, RecipeError> {
    text.parse::<toml::Table>().map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = error.message().trim().replace('\n', ", ");
        RecipeError::Syntax { message, line, column, origin: origin.to_owned() }
    })
}

/// Reads a recipe from a table and checks it.
///
/// # Errors
/// The key path, what was expected, what was found and `origin`; an unknown key also names the nearest known one.
pub fn from_table<R: Recipe>(table: toml::Table, origin: &str) -> Result<R, RecipeError> {
    let recipe: R =
        table.clone().try_into().map_err(|error| RecipeError::from_toml(&error, &table, origin))?;
    recipe.check().map_err(|error| error.at(origin))?;
    Ok(recipe)
}

/// The recipe as TOML with every default filled in: a run repeats from this text alone.
///
/// # Panics
/// When the type cannot be said in TOML (an integer above `i64::MAX`, a map whose keys are not strings).
pub fn resolved<R: Recipe>(recipe: &R) -> String {
    let written = toml::Table::try_from(recipe).and_then(|table| toml::to_string_pretty(&table));
    written.unwrap_or_else(|error| panic!("this recipe cannot be written as TOML: {error}"))
}

/// The recipe as JSON, for the provenance of a report.
///
/// # Panics
/// When the type cannot be said in JSON (a map whose keys are not strings).
pub fn to_json<R: Serialize>(recipe: &R) -> serde_json::Value {
    serde_json::to_value(recipe)
        .unwrap_or_else(|error| panic!("this recipe cannot be written as JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Mask {
        ratio: f64,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Metric {
        Cosine,
        Euclid,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Small {
        mask: Mask,
        neighbors: Vec<usize>,
        metric: Metric,
        #[serde(default)]
        name: String,
        epochs: f64,
    }

    impl Recipe for Small {
        fn check(&self) -> Result<(), RecipeError> {
            if !(0.0..1.0).contains(&self.mask.ratio) {
                return Err(RecipeError::value("mask.ratio", "a ratio in [0, 1)", self.mask.ratio));
            }
            Ok(())
        }
    }

    const TEXT: &str = "neighbors = [1, 20]\nmetric = \"cosine\"\nepochs = 3\n[mask]\nratio = 0.75\n";

    fn read(settings: &[&str]) -> Result<Small, RecipeError> {
        let mut table = parse_table(TEXT, "small.toml")?;
        for setting in settings {
            set(&mut table, setting)?;
        }
        from_table(table, "small.toml")
    }

    fn complaint(settings: &[&str]) -> String {
        read(settings).expect_err("should be refused").to_string()
    }

    #[test]
    fn a_recipe_reads_and_its_resolved_copy_reads_the_same() {
        let small = read(&["mask.ratio=0.5", "name=a model"]).expect("reads");
        assert_eq!((small.mask.ratio, small.name.as_str(), small.epochs), (0.5, "a model", 3.0));
        let again: Small =
            from_table(parse_table(&resolved(&small), "copy").expect("parses"), "copy").expect("reads");
        assert_eq!(again, small);
        assert_eq!(to_json(&small)["mask"]["ratio"], 0.5);
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known_one() {
        insta::assert_snapshot!(complaint(&["mask.ratoi=0.5"]), @"unknown key `mask.ratoi`; did you mean `mask.ratio`? (in small.toml)");
        insta::assert_snapshot!(complaint(&["colour=3"]), @"unknown key `colour`: expected one of `mask`, `neighbors`, `metric`, `name`, `epochs` (in small.toml)");
    }

    #[test]
    fn a_wrong_type_says_where_what_was_expected_and_what_was_found() {
        insta::assert_snapshot!(complaint(&["neighbors=[1, \"x\"]"]), @r#"`neighbors`: expected usize, found string "x" (in small.toml)"#);
        insta::assert_snapshot!(complaint(&["mask.ratio=high"]), @r#"`mask.ratio`: expected f64, found string "high" (in small.toml)"#);
        insta::assert_snapshot!(complaint(&["metric=cosin"]), @"`metric`: expected `cosine` or `euclid`, found `cosin`; did you mean `cosine`? (in small.toml)");
        insta::assert_snapshot!(complaint(&["mask.ratio=1.5"]), @"`mask.ratio`: expected a ratio in [0, 1), found 1.5 (in small.toml)");
    }

    #[test]
    fn a_missing_key_is_named_with_its_path() {
        let table =
            parse_table("neighbors = []\nmetric = \"euclid\"\nepochs = 1\n[mask]\n", "x").expect("parses");
        let error = from_table::<Small>(table, "x.toml").expect_err("ratio is missing");
        insta::assert_snapshot!(error, @"missing key `mask.ratio` (in x.toml)");
    }

    #[test]
    fn a_syntax_error_has_line_and_column() {
        let error = parse_table("a = 1\nb = = 2\n", "bad.toml").expect_err("not TOML");
        assert!(matches!(&error, RecipeError::Syntax { line: 2, column: 5, .. }), "{error:?}");
        assert!(error.to_string().ends_with("(in bad.toml, line 2, column 5)"), "{error}");
    }
}
