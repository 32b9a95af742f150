//! The options of `communities`.

use crate::dense::Target;
use crate::patches::check_facets;
use measure::cooccurrence::Offsets;
use report::{Recipe, RecipeError};
use serde::{Deserialize, Serialize};

/// The options of [`Communities`](super::Communities).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommunitiesConfig {
    /// What is clustered at every layer: `token`, `query`, `key`, `value`.
    pub facets: Vec<String>,
    /// What communities are matched with: the `class` of the object, `semantic` (the class of every pixel), `parts`, or the `object`.
    pub target: Target,
    /// Side in pixels at which masks are compared and neighbors counted, at most that of the view; 100 in Leopart.
    pub eval_px: usize,
    /// Where clusters are sought: what `attention` marks, the `truth` of the object, or `everywhere`.
    pub foreground: ForegroundFrom,
    /// The share of the attention that the foreground holds, 0–1.
    pub mass: f64,
    /// Clusters of the foreground's patches; 149 in Leopart for S/16, 109 for B/8.
    pub n_clusters: usize,
    /// Principal directions of the z-scores in which clusters are sought; 50 in Leopart, 0 for the features as they are.
    pub pca: usize,
    /// Rounds of k-means at most.
    pub max_rounds: usize,
    /// Neighbors that are counted: `rings` one and two steps away, or `leopart`: those of the released code.
    pub neighbors: Neighbors,
    /// Shares that both of two clusters must have in each other's surroundings to be joined; one is chosen on what is held out.
    pub least_weights: Vec<f64>,
    /// Markov times, from many communities to few; one is chosen on what is held out.
    pub markov_times: Vec<f64>,
    /// The published share and Markov time, told beside; 0.09 and 2 in Leopart for S/16, 0.07 and 0.4 for B/8.
    pub published: [f64; 2],
    /// The preferred number of communities is that of the kinds; without, as many as the walk says.
    pub prefer_kinds: bool,
    /// Seeds of the search over which scores are averaged; 10 in Leopart.
    pub n_seeds: usize,
    /// Features beyond this many MiB are kept in temporary files; changes no number.
    pub memory_mib: usize,
}

/// Where clusters are sought; all else is one node of the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForegroundFrom {
    /// The fewest patches that hold a share of what the last block's class token looks at.
    #[default]
    Attention,
    /// The patches whose middle is on the object.
    Truth,
    /// All patches; there is no node for the background.
    Everywhere,
}

/// Which neighbors are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Neighbors {
    /// The eight one and the eight two steps away.
    #[default]
    Rings,
    /// Those of the released code of Leopart, three diagonals twice and a knight's move.
    Leopart,
}

impl Neighbors {
    /// The same as offsets.
    pub(super) fn offsets(self) -> Offsets {
        match self {
            Self::Rings => Offsets::Rings,
            Self::Leopart => Offsets::Leopart,
        }
    }
}

impl Default for CommunitiesConfig {
    fn default() -> Self {
        Self {
            facets: vec!["token".into()],
            target: Target::Class,
            eval_px: 100,
            foreground: ForegroundFrom::Attention,
            mass: 0.65,
            n_clusters: 60,
            pca: 50,
            max_rounds: 50,
            neighbors: Neighbors::Rings,
            least_weights: vec![0.02, 0.05, 0.09, 0.14],
            markov_times: vec![0.4, 1.0, 2.0],
            published: [0.09, 2.0],
            prefer_kinds: true,
            n_seeds: 10,
            memory_mib: 2048,
        }
    }
}

impl Recipe for CommunitiesConfig {
    fn check(&self) -> Result<(), RecipeError> {
        check_facets(&self.facets)?;
        for (key, value) in [
            ("eval_px", self.eval_px),
            ("n_clusters", self.n_clusters),
            ("max_rounds", self.max_rounds),
            ("n_seeds", self.n_seeds),
        ] {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        if !(self.mass > 0.0 && self.mass < 1.0) {
            return Err(RecipeError::value("mass", "above 0 and below 1", self.mass));
        }
        let lists = [("least_weights", &self.least_weights), ("markov_times", &self.markov_times)];
        for (key, values) in lists {
            if values.is_empty() || values.iter().any(|&value| !(value > 0.0 && value.is_finite())) {
                return Err(RecipeError::value(key, "at least one, each above 0", format!("{values:?}")));
            }
        }
        if self.published.iter().any(|&value| !(value > 0.0 && value.is_finite())) {
            let found = format!("{:?}", self.published);
            return Err(RecipeError::value("published", "a share and a Markov time, each above 0", found));
        }
        Ok(())
    }
}
