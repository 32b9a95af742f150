//! Why a recipe was refused: what was expected, what was found, and where (the file last).

use std::fmt::Display;

/// What is wrong with a recipe or with a `--set KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The text is not TOML.
    #[error("not valid TOML: {message} (in {origin}, line {line}, column {column})")]
    Syntax {
        /// The parser's words.
        message: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// The file, or the name of the built-in recipe.
        origin: String,
    },
    /// A key that the recipe does not have.
    #[error("unknown key `{key}`{}{}", or_nearest(nearest, expected), in_origin(origin))]
    UnknownKey {
        /// Dotted path of the key.
        key: String,
        /// The keys that would have been understood, as a phrase.
        expected: String,
        /// Dotted path of the known key that is spelled most alike.
        nearest: Option<String>,
        /// The file, or the name of the built-in recipe.
        origin: String,
    },
    /// A key without a default that is not there.
    #[error("missing key `{key}`{}", in_origin(origin))]
    MissingKey {
        /// Dotted path of the key.
        key: String,
        /// The file, or the name of the built-in recipe.
        origin: String,
    },
    /// A value of the wrong type or outside its range.
    #[error("`{key}`: expected {expected}, found {found}{}", in_origin(origin))]
    Value {
        /// Dotted path of the key.
        key: String,
        /// Type or range, as a phrase.
        expected: String,
        /// The value that stood there.
        found: String,
        /// The file, or the name of the built-in recipe; empty until it is known.
        origin: String,
    },
    /// A `--set` that is not `KEY=VALUE`, or that goes through something that is not a table.
    #[error("--set {setting}: {problem}")]
    Setting {
        /// The text as it was given.
        setting: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Anything else that the reader of the recipe reports.
    #[error("{message}{}{}", at_key(key), in_origin(origin))]
    Other {
        /// The reader's words.
        message: String,
        /// Dotted path of the key; empty at the top.
        key: String,
        /// The file, or the name of the built-in recipe.
        origin: String,
    },
}

impl RecipeError {
    /// A value that cannot be: the usual answer of `Recipe::check`. [`from_table`](super::from_table) adds the origin.
    pub fn value(key: impl Into<String>, expected: impl Into<String>, found: impl Display) -> Self {
        Self::Value {
            key: key.into(),
            expected: expected.into(),
            found: found.to_string(),
            origin: String::new(),
        }
    }

    /// The same error, pointing at `origin` if it does not point anywhere yet.
    pub fn at(mut self, at: &str) -> Self {
        match &mut self {
            Self::Syntax { origin, .. }
            | Self::UnknownKey { origin, .. }
            | Self::MissingKey { origin, .. }
            | Self::Value { origin, .. }
            | Self::Other { origin, .. } => {
                if origin.is_empty() {
                    at.clone_into(origin);
                }
            }
            Self::Setting { .. } => {}
        }
        self
    }

    /// The same error for a recipe that stands under `prefix` in a larger one.
    pub fn under(mut self, prefix: &str) -> Self {
        match &mut self {
            Self::UnknownKey { key, nearest, .. } => {
                *key = join(prefix, key);
                *nearest = nearest.as_deref().map(|near| join(prefix, near));
            }
            Self::MissingKey { key, .. } | Self::Value { key, .. } | Self::Other { key, .. } => {
                *key = join(prefix, key);
            }
            Self::Syntax { .. } | Self::Setting { .. } => {}
        }
        self
    }

    /// Reads serde's sentence and the key path that the TOML reader adds to it.
    pub(super) fn from_toml(error: &toml::de::Error, table: &toml::Table, origin: &str) -> Self {
        let message = error.message().trim().to_owned();
        let shown = error.to_string();
        let path = shown.rsplit_once("\nin `").map_or("", |(_, rest)| rest.trim_end().trim_end_matches('`'));
        let origin = origin.to_owned();
        if let Some(rest) = message.strip_prefix("unknown field `")
            && let Some((field, rest)) = rest.split_once('`')
        {
            let expected = rest.trim_start_matches(", ").trim_start_matches("expected ").to_owned();
            let nearest = nearest(field, &expected).map(|near| join(path, &near));
            return Self::UnknownKey { key: join(path, field), expected, nearest, origin };
        }
        if let Some(field) = message.strip_prefix("missing field `") {
            return Self::MissingKey { key: join(path, field.trim_end_matches('`')), origin };
        }
        if let Some(rest) = message.strip_prefix("unknown variant `")
            && let Some((variant, rest)) = rest.split_once("`, expected ")
        {
            let hint =
                nearest(variant, rest).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            let found = format!("`{variant}`{hint}");
            return Self::Value { key: path_or(path, table), expected: rest.to_owned(), found, origin };
        }
        if let Some((kind, rest)) = message.split_once(": ")
            && matches!(kind, "invalid type" | "invalid value" | "invalid length")
            && let Some((found, expected)) = rest.rsplit_once(", expected ")
        {
            let (expected, found) = (expected.to_owned(), found.to_owned());
            return Self::Value { key: path_or(path, table), expected, found, origin };
        }
        Self::Other { message, key: path.to_owned(), origin }
    }
}

/// Inside an enum with `kind` serde forgets the path; the only top-level key, if there is just one, is then meant.
fn path_or(path: &str, table: &toml::Table) -> String {
    if !path.is_empty() {
        return path.to_owned();
    }
    match table.keys().collect::<Vec<_>>()[..] {
        [only] => only.clone(),
        _ => "recipe".to_owned(),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn in_origin(origin: &str) -> String {
    if origin.is_empty() { String::new() } else { format!(" (in {origin})") }
}

fn at_key(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(" at `{key}`") }
}

fn or_nearest(nearest: &Option<String>, expected: &str) -> String {
    match nearest {
        Some(near) => format!("; did you mean `{near}`?"),
        None => format!(": expected {expected}"),
    }
}

/// The candidate between backquotes in `phrase` that is at most a third of its letters away from `word`.
fn nearest(word: &str, phrase: &str) -> Option<String> {
    let candidates = phrase.split('`').skip(1).step_by(2);
    let ranked = candidates.map(|known| (letters_apart(word, known), known));
    let (distance, known) = ranked.min_by_key(|(distance, _)| *distance)?;
    (distance <= known.chars().count().max(3) / 3 + 1 && distance < word.chars().count())
        .then(|| known.to_owned())
}

/// The Levenshtein distance: the least insertions, deletions and substitutions of letters that make `a` into `b`.
pub fn letters_apart(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_apart_counts_edits() {
        assert_eq!(letters_apart("kitten", "sitting"), 3); // k→s, e→i, +g
        assert_eq!(letters_apart("", "abc"), 3);
        assert_eq!(letters_apart("ratio", "ratio"), 0);
    }

    #[test]
    fn nearest_does_not_guess_wildly() {
        assert_eq!(nearest("lr_basse", "one of `lr_base`, `steps`").as_deref(), Some("lr_base"));
        assert_eq!(nearest("k", "one of `a`, `b`"), None);
        assert_eq!(nearest("temperature", "`k`"), None);
    }

    #[test]
    fn an_error_can_be_moved_under_a_prefix() {
        let error = RecipeError::value("ratio", "below 1", 2).under("mask").at("a.toml").at("b.toml");
        assert_eq!(error.to_string(), "`mask.ratio`: expected below 1, found 2 (in a.toml)");
    }
}
