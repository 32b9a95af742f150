//! What every registered thing says of itself.

/// Name, one sentence and source of a registered objective, probe, analysis, model or data set.
///
/// Registries are `const` tables of entries that carry one of these; `list`, `--help` and the book print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The name on the command line, kebab-case: `attention-distance`.
    pub name: &'static str,
    /// One sentence: what it measures or learns.
    pub line: &'static str,
    /// The paper or document that it follows.
    pub source: &'static str,
}
