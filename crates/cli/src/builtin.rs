//! The recipes that the binary carries.

use crate::names::hint;
use anyhow::{anyhow, bail};
use std::path::Path;

/// A recipe inside the binary.
pub(crate) struct Builtin {
    /// `pretrain`, `probe`, `analyze` or `compare`.
    pub(crate) kind: &'static str,
    /// How it is called on the command line.
    pub(crate) name: &'static str,
    /// Its text, TOML with a header comment.
    pub(crate) text: &'static str,
}

impl Builtin {
    /// The lines of the header comment, without `#`.
    fn header(&self) -> impl Iterator<Item = &'static str> {
        self.text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim)
    }

    /// The first sentence of its header.
    pub(crate) fn line(&self) -> &'static str {
        self.header().next().unwrap_or_default().trim_end_matches('.')
    }

    /// What its header says after `Source:`, to the header's end.
    pub(crate) fn source(&self) -> String {
        let lines: Vec<&str> = self.header().skip_while(|line| !line.starts_with("Source:")).collect();
        lines.join(" ").trim_start_matches("Source:").trim().to_owned()
    }
}

include!(concat!(env!("OUT_DIR"), "/builtins.rs"));

/// The recipes of a verb.
pub(crate) fn of_kind(kind: &str) -> impl Iterator<Item = &'static Builtin> {
    BUILTINS.iter().filter(move |recipe| recipe.kind == kind)
}

/// The text of a recipe file or of a built-in recipe, and what errors call it.
///
/// # Errors
/// When there is neither.
pub(crate) fn read(kind: &str, word: &str) -> anyhow::Result<(String, String)> {
    let built_in = of_kind(kind).find(|recipe| recipe.name == word);
    if let Some(recipe) = built_in.filter(|_| !Path::new(word).is_file()) {
        return Ok((recipe.text.to_owned(), word.to_owned()));
    }
    if Path::new(word).is_file() || word.ends_with(".toml") {
        let text =
            std::fs::read_to_string(word).map_err(|error| anyhow!("cannot read recipe: {error}: {word}"))?;
        return Ok((text, word.to_owned()));
    }
    let names: Vec<&str> = of_kind(kind).map(|recipe| recipe.name).collect();
    let near = hint(word, names.iter().copied());
    bail!("recipe: expected a file or one of {}; found `{word}`{near}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_says_what_it_is_and_its_command_time_result_and_source() {
        for recipe in BUILTINS {
            let header: Vec<&str> = recipe.header().collect();
            assert!(!recipe.line().is_empty(), "{}", recipe.name);
            for key in ["Command:", "Time:", "Result:", "Source:"] {
                assert!(header.iter().any(|line| line.starts_with(key)), "{}: {key}", recipe.name);
            }
            let command = format!("vitscope {}", recipe.kind);
            assert!(header.iter().any(|line| line.contains(&command)), "{}: {command}", recipe.name);
        }
    }

    #[test]
    fn a_source_of_several_lines_is_told_whole() {
        let text =
            "# A line.\n#\n# Source: Someone 2020;\n#         fewer blocks.\n\nseed = 0\n# Source: no\n";
        let recipe = Builtin { kind: "pretrain", name: "x", text };
        assert_eq!(recipe.source(), "Someone 2020; fewer blocks.");
    }
}
