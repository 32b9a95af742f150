//! What every row of every registry keeps: a sayable name, a line, a source, and strict options.

use report::{Info, RecipeError};
use std::collections::BTreeSet;
use toml::Table;

/// Names are kebab-case and unique; line and source say something.
///
/// # Panics
/// With the first row that is not so.
pub fn rows_are_sayable(rows: &[Info]) {
    assert!(!rows.is_empty(), "an empty registry");
    let mut names = BTreeSet::new();
    for Info { name, line, source } in rows {
        assert!(is_kebab_case(name), "`{name}` is not kebab-case");
        assert!(names.insert(name), "`{name}` stands twice in its registry");
        assert!(!line.trim().is_empty() && !line.contains('\n'), "`{name}` has no line");
        assert!(!source.trim().is_empty(), "`{name}` has no source");
    }
}

fn is_kebab_case(name: &str) -> bool {
    let word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split('-').all(word)
}

/// Options refuse a key they do not know, by name; what is resolved parses back to the same text.
///
/// # Panics
/// When they do not.
pub fn options_are_strict(name: &str, resolve: &dyn Fn(&Table) -> Result<String, RecipeError>) {
    let unknown = Table::from_iter([("no_such_option".to_owned(), toml::Value::Integer(1))]);
    match resolve(&unknown) {
        Err(error @ RecipeError::UnknownKey { .. }) => {
            assert!(error.to_string().contains("no_such_option"), "`{name}`: {error}");
        }
        Err(error) => panic!("`{name}`: an unknown option was refused for another reason: {error}"),
        Ok(_) => panic!("`{name}`: an unknown option was accepted"),
    }
    let text =
        resolve(&Table::new()).unwrap_or_else(|error| panic!("`{name}`: defaults were refused: {error}"));
    let table: Table = text.parse().unwrap_or_else(|error| panic!("`{name}`: resolved options: {error}"));
    let again =
        resolve(&table).unwrap_or_else(|error| panic!("`{name}`: its own defaults were refused: {error}"));
    assert_eq!(text, again, "`{name}`: resolved options do not parse back to themselves");
}

#[cfg(test)]
mod tests {
    use super::is_kebab_case;

    #[test]
    fn kebab_case_is_lower_case_words_joined_by_hyphens() {
        assert!(["knn", "attention-distance", "part-shapes-2"].into_iter().all(is_kebab_case));
        assert!(!["", "KNN", "attention_distance", "-a", "a-", "a--b", "2d"].into_iter().any(is_kebab_case));
    }
}
