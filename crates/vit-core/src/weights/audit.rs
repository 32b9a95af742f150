//! What was found in a checkpoint: every tensor accounted for, every value with where it came from.

use super::input::InputTransform;
use super::layouts::word;
use crate::VitConfig;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A value that names and shapes cannot tell, and who told it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The option, by its name in the configuration.
    pub what: String,
    /// Its value; null where nothing tells it.
    pub value: Value,
    /// Who said so, or how to say it.
    pub from: String,
}

impl Decision {
    pub(super) fn made(what: &str, value: &Value, from: String) -> Self {
        Self { what: what.to_owned(), value: value.clone(), from }
    }

    pub(super) fn open(what: &str, how: &str) -> Self {
        Self { what: what.to_owned(), value: Value::Null, from: how.to_owned() }
    }
}

/// A parameter that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matched {
    /// Our name.
    pub name: String,
    /// The tensors in the file that it is made of.
    pub from: Vec<String>,
    /// Whether its shape or the order of its values differs there.
    pub reshaped: bool,
}

/// A tensor of another shape than it must have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Misshapen {
    /// Its name in the file.
    pub name: String,
    /// The shape that it must have.
    pub expected: Vec<usize>,
    /// The shape that it has.
    pub found: Vec<usize>,
    /// A tensor that says so, where only one does.
    pub by: Option<String>,
}

/// Everything that was found out about a checkpoint before any of its values is read.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Which file.
    pub path: PathBuf,
    /// How it is stored.
    pub format: &'static str,
    /// Which layout its names are of.
    pub layout: &'static str,
    /// What stands before the names of the encoder.
    pub root: String,
    /// Other places in the file where an encoder of this layout stands.
    pub other_roots: Vec<String>,
    /// Every family that fits, most likely first.
    pub families: Vec<&'static str>,
    /// The configuration.
    pub config: VitConfig,
    /// The input transform; none where it is undecided.
    pub input: Option<InputTransform>,
    /// Every value with where it came from.
    pub decisions: Vec<Decision>,
    /// What must be given for the model to be built, with how.
    pub undecided: Vec<String>,
    /// Parameters that were found.
    pub matched: Vec<Matched>,
    /// Parameters (and tensors of heads) that were not, by their names in the file.
    pub missing: Vec<String>,
    /// Tensors that nothing explains.
    pub unexpected: Vec<String>,
    /// Tensors of another shape.
    pub misshapen: Vec<Misshapen>,
    /// Tensors outside the encoder, by why they are.
    pub leftovers: BTreeMap<&'static str, Vec<String>>,
    /// Types of the numbers in the encoder's tensors, with how many have it.
    pub dtypes: BTreeMap<&'static str, usize>,
}

/// Names shown of a long list.
const SHOWN: usize = 12;

impl Audit {
    /// Whether every parameter was found and nothing is left unexplained or undecided.
    pub fn is_complete(&self) -> bool {
        self.problems().is_empty()
    }

    /// What is wrong, a sentence each.
    pub fn problems(&self) -> Vec<String> {
        let misshapen = self.misshapen.iter().map(|tensor| {
            let Misshapen { name, expected, found, by } = tensor;
            let by = by.as_ref().map(|by| format!(" as `{by}` has")).unwrap_or_default();
            format!("misshapen `{name}`: expected {expected:?}{by}; found {found:?}")
        });
        let missing = self.missing.iter().map(|name| format!("missing `{name}`"));
        let unexpected = self.unexpected.iter().map(|name| format!("unexpected `{name}`"));
        let undecided = self.undecided.iter().map(|what| format!("undecided {what}"));
        misshapen.chain(missing).chain(unexpected).chain(undecided).collect()
    }

    /// What is wrong in one line, the first few of it.
    pub fn summary(&self) -> String {
        let problems = self.problems();
        let more = problems.len().saturating_sub(5);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{}{more}", problems.iter().take(5).cloned().collect::<Vec<_>>().join("; "))
    }

    /// Whether positions at another size than the stored one have a convention.
    pub fn knows_resampling(&self) -> bool {
        !self.decisions.iter().any(|decision| decision.what == "resample" && decision.value.is_null())
    }

    /// The audit as one document.
    pub fn to_json(&self) -> Value {
        let reshaped: Vec<&str> =
            self.matched.iter().filter(|m| m.reshaped).map(|matched| matched.name.as_str()).collect();
        json!({
            "file": self.path.display().to_string(),
            "format": self.format,
            "complete": self.is_complete(),
            "layout": self.layout,
            "root": self.root,
            "other_roots": self.other_roots,
            "families": self.families,
            "config": serde_json::to_value(&self.config).unwrap_or(Value::Null),
            "input": word(self.input),
            "decisions": serde_json::to_value(&self.decisions).unwrap_or(Value::Null),
            "undecided": self.undecided,
            "dtypes": self.dtypes,
            "n_params": self.config.n_params(),
            "matched": serde_json::to_value(&self.matched).unwrap_or(Value::Null),
            "reshaped": reshaped,
            "missing": self.missing,
            "unexpected": self.unexpected,
            "misshapen": serde_json::to_value(&self.misshapen).unwrap_or(Value::Null),
            "leftovers": self.leftovers,
        })
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "file       {} ({})", self.path.display(), self.format)?;
        let root = if self.root.is_empty() { String::new() } else { format!(", below `{}`", self.root) };
        writeln!(f, "layout     {}{root}", self.layout)?;
        for other in &self.other_roots {
            writeln!(f, "           another encoder stands below `{other}` (--branch)")?;
        }
        writeln!(f, "families   {}", self.families.join(", "))?;
        let dtypes: Vec<String> = self.dtypes.iter().map(|(name, n)| format!("{n} × {name}")).collect();
        writeln!(f, "tensors    {} matched, {}", self.matched.len(), dtypes.join(", "))?;
        writeln!(f, "parameters {}", self.config.n_params())?;
        writeln!(f, "values")?;
        for Decision { what, value, from } in &self.decisions {
            match value {
                Value::Null => writeln!(f, "  {what:<22} undecided ({from})")?,
                value => writeln!(f, "  {what:<22} {value} ({from})")?,
            }
        }
        let reshaped: Vec<&String> = self.matched.iter().filter(|m| m.reshaped).map(|m| &m.name).collect();
        list(f, "reshaped", &reshaped)?;
        for (why, names) in &self.leftovers {
            list(f, &format!("left: {why}"), &names.iter().collect::<Vec<_>>())?;
        }
        for problem in self.problems() {
            writeln!(f, "{problem}")?;
        }
        write!(f, "{}", if self.is_complete() { "complete" } else { "not complete" })
    }
}

fn list(f: &mut fmt::Formatter, title: &str, names: &[&String]) -> fmt::Result {
    if names.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title} ({})", names.len())?;
    for name in names.iter().take(SHOWN) {
        writeln!(f, "  {name}")?;
    }
    if names.len() > SHOWN {
        writeln!(f, "  … and {} more", names.len() - SHOWN)?;
    }
    Ok(())
}
