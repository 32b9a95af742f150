//! What is said of the given models of a comparison: of one by its name, or of all that do not say it themselves.

use crate::models::{self, Words};
use crate::names::{self, Names};
use anyhow::{Context, bail};

/// The options.
#[derive(Debug, Default, clap::Args)]
pub(super) struct WordsByName {
    /// The architecture of a given model whose file does not say it, or parts of it: vit-s/16, mine=vit:heads=6;
    /// without NAME it holds for all such models
    #[arg(long, value_name = "[NAME=]ARCH", value_parser = Names(names::models), hide_possible_values = true)]
    arch: Vec<String>,
    /// The family of a given model whose file fits several: dino, theirs=mae; without NAME for all such models
    #[arg(long, value_name = "[NAME=]FAMILY", value_parser = Names(names::families), hide_possible_values = true)]
    family: Vec<String>,
    /// Which network of a file that holds two, student or teacher; without NAME for all such models
    #[arg(long, value_name = "[NAME=]BRANCH")]
    branch: Vec<String>,
}

/// One option, read.
#[derive(Debug, Default, PartialEq)]
struct Said {
    for_all: Option<String>,
    of: Vec<(String, String)>,
}

impl WordsByName {
    /// What is said of each given model, in their order; `given` are their names and what they name.
    ///
    /// # Errors
    /// When something is said of no model, or twice of one, or of all where each says it itself.
    pub(super) fn of_each(&self, given: &[(&str, &str)]) -> anyhow::Result<Vec<Words>> {
        let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        let arch = read("arch", &self.arch, &names)?;
        let family = read("family", &self.family, &names)?;
        let branch = read("branch", &self.branch, &names)?;
        if let Some((_, word)) = branch.iter().find(|(_, word)| !matches!(*word, "student" | "teacher")) {
            bail!("--branch: expected student or teacher; found `{word}`");
        }
        // Which files say all of themselves matters only to words that are for no one in particular.
        let for_all = [&arch, &family, &branch].iter().any(|said| said.for_all.is_some());
        let silent = given.iter().map(|(name, model)| {
            anyhow::Ok(for_all && models::is_silent(model).with_context(|| format!("model {name}"))?)
        });
        let silent = silent.collect::<anyhow::Result<Vec<bool>>>()?;
        for (option, said) in [("arch", &arch), ("family", &family), ("branch", &branch)] {
            if let Some(word) = &said.for_all
                && !silent.contains(&true)
            {
                bail!(
                    "--{option} {word}: expected a given model with a weights file that it describes; found none"
                );
            }
        }
        let words = names.iter().zip(silent).map(|(name, silent)| Words {
            arch: arch.about(name, silent),
            family: family.about(name, silent),
            branch: branch.about(name, silent),
        });
        Ok(words.collect())
    }
}

impl Said {
    fn about(&self, name: &str, is_silent: bool) -> Option<String> {
        let named = self.of.iter().find(|(of, _)| of == name).map(|(_, word)| word);
        named.or(self.for_all.as_ref().filter(|_| is_silent)).cloned()
    }

    fn iter(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        let of = self.of.iter().map(|(name, word)| (Some(name.as_str()), word.as_str()));
        self.for_all.iter().map(|word| (None, word.as_str())).chain(of)
    }
}

/// Reads the words of one option: what stands before `=` is a model's name, unless it begins an architecture (`vit:…`).
fn read(option: &str, words: &[String], names: &[&str]) -> anyhow::Result<Said> {
    let mut said = Said::default();
    for word in words {
        let twice = match word.split_once('=') {
            Some((name, word)) if names.contains(&name) => {
                let twice = said.of.iter().any(|(of, _)| of == name);
                said.of.push((name.to_owned(), word.to_owned()));
                twice
            }
            Some((name, _)) if !name.contains(':') => {
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                bail!("--{option} {word}: expected the name of a given model ({known}); found `{name}`");
            }
            _ => said.for_all.replace(word.clone()).is_some(),
        };
        if twice {
            bail!("--{option} {word}: expected it once for a model; found it again");
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_arch(words: &[&str]) -> Result<Said, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        read("arch", &words, &["ours", "theirs"]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_word_is_for_the_model_it_names_or_for_all() {
        let said = read_arch(&["vit:heads=6", "ours=vit:heads=4,eps=1e-5"]).expect("read");
        assert_eq!(said.about("ours", true).as_deref(), Some("vit:heads=4,eps=1e-5"));
        assert_eq!(said.about("theirs", true).as_deref(), Some("vit:heads=6"));
        assert_eq!(said.about("theirs", false), None, "what says it itself is left alone");
        let said = read_arch(&["theirs=vit-s/16"]).expect("read");
        assert_eq!((said.about("ours", true), said.about("theirs", false)), (None, Some("vit-s/16".into())));
    }

    #[test]
    fn a_stranger_and_a_second_word_are_refused() {
        let refused = read_arch(&["thiers=vit-s/16"]).expect_err("refused");
        assert!(refused.contains("ours, theirs") && refused.contains("`thiers`"), "{refused}");
        for words in [["vit-s/16", "vit:heads=6"], ["ours=vit-s/16", "ours=vit:heads=6"]] {
            assert!(read_arch(&words).expect_err("refused").contains("once"), "{words:?}");
        }
    }
}
