//! The recipe of a comparison: which models are trained how, and what they are asked.

use report::{Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_train::{Init, PretrainRecipe, TrainConfig, ViewConfig};

/// A model that is trained for the comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainedModel {
    /// Its name in the report.
    pub name: String,
    /// The objective's name.
    pub objective: String,
    /// Drop path rate of the last block, 0–1.
    #[serde(default)]
    pub drop_path: f64,
    /// The share of the training side that it sees, 0–1, the first samples of every class: a smaller share is part of a greater
    /// one. What is asked of it afterwards is asked on all samples.
    #[serde(default = "whole")]
    pub data_share: f64,
    /// How views are cut; `size_px` and `normalize` must be the comparison's.
    pub views: ViewConfig,
    /// How long and how fast.
    pub train: TrainConfig,
    /// The objective's own options.
    #[serde(default)]
    pub options: toml::Table,
}

/// What the models are asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// The study's name among the probes or the analyses.
    pub study: String,
    /// Samples of either side that it is asked about, instead of the comparison's `n_asked`; for what takes long, such as fine-tuning.
    #[serde(default)]
    pub n_asked: Option<usize>,
    /// Data that it is asked on instead of the comparison's, where that does not have what it needs: clips, for one. What `--data` says
    /// holds for every study, and puts this aside.
    #[serde(default)]
    pub data: Option<String>,
    /// Its options.
    #[serde(default)]
    pub options: toml::Table,
}

/// A comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompareRecipe {
    /// The data's URI.
    pub data: String,
    /// The encoder of every trained model and of the untrained one.
    pub model: String,
    /// The first seed; runs take the following ones.
    #[serde(default)]
    pub seed: u64,
    /// Runs of everything, each with its own seed.
    #[serde(default = "one")]
    pub n_seeds: u64,
    /// Side of the images in pixels.
    pub size_px: usize,
    /// Side in pixels at which raw pixels are compared; smaller than `size_px` where that would be slow.
    pub raw_pixels_px: usize,
    /// `imagenet`, `half`, `clip` or `none`.
    pub normalize: String,
    /// Samples in a batch while models are asked.
    pub batch: usize,
    /// Samples of either side that models are asked about, spread evenly over the classes; all where it is not said. Training uses all.
    #[serde(default)]
    pub n_asked: Option<usize>,
    /// Held-out images in the pictures of what an objective does.
    pub n_previews: usize,
    /// Models trained for the comparison.
    #[serde(default)]
    pub train: Vec<TrainedModel>,
    /// Probes asked of every model, of raw pixels and of the untrained model.
    pub probes: Vec<Asked>,
    /// Analyses of every model.
    pub analyses: Vec<Asked>,
}

fn one() -> u64 {
    1
}

fn whole() -> f64 {
    1.0
}

impl Recipe for CompareRecipe {
    fn check(&self) -> Result<(), RecipeError> {
        for (key, value) in [
            ("size_px", self.size_px),
            ("batch", self.batch),
            ("n_seeds", self.n_seeds as usize),
            ("n_asked", self.n_asked.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        let mut asked = self.probes.iter().chain(&self.analyses);
        if let Some(asked) = asked.find(|asked| asked.n_asked == Some(0)) {
            return Err(RecipeError::value(format!("{}.n_asked", asked.study), "at least 1", "0"));
        }
        let mut names: Vec<&str> = self.train.iter().map(|model| model.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(RecipeError::value(
                "train.name",
                "a name for each model",
                format!("`{}` twice", pair[0]),
            ));
        }
        for model in &self.train {
            let reserved = super::RESERVED;
            let plain = model.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            if model.name.is_empty() || !plain || reserved.contains(&model.name.as_str()) {
                let expected = "letters, digits, `-`, `_` and `.`, and none of raw-pixels, untrained, untrained-mae, all-models";
                return Err(RecipeError::value("train.name", expected, format!("`{}`", model.name)));
            }
            if !(model.data_share > 0.0 && model.data_share <= 1.0) {
                let key = format!("train.{}.data_share", model.name);
                return Err(RecipeError::value(&key, "above 0, at most 1", model.data_share.to_string()));
            }
            self.pretraining(model, 0).check()?;
        }
        Ok(())
    }
}

impl TrainedModel {
    /// How many of the training samples it sees.
    pub(crate) fn n_seen(&self, n_train: usize) -> usize {
        ((n_train as f64 * self.data_share).round() as usize).clamp(1, n_train.max(1))
    }
}

impl CompareRecipe {
    /// The pretraining recipe of a model in the run of `seed`.
    pub(crate) fn pretraining(&self, model: &TrainedModel, seed: u64) -> PretrainRecipe {
        PretrainRecipe {
            objective: model.objective.clone(),
            model: self.model.clone(),
            data: self.data.clone(),
            init_from: None,
            init: Init::Encoder,
            seed,
            drop_path: model.drop_path,
            views: ViewConfig {
                size_px: self.size_px,
                normalize: self.normalize.clone(),
                ..model.views.clone()
            },
            train: model.train.clone(),
            options: model.options.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    #[test]
    fn what_compare_does_by_itself_asks_every_probe() {
        for name in ["part-shapes", "fashion-mnist", "images"] {
            let built_in = builtin::of_kind("compare").find(|recipe| recipe.name == name).expect("a recipe");
            let recipe: CompareRecipe = report::recipe::from_table(
                report::recipe::parse_table(built_in.text, name).expect("TOML"),
                name,
            )
            .expect("sound");
            for probe in probes::PROBES {
                let is_asked = recipe.probes.iter().any(|asked| asked.study == probe.info.name);
                assert!(is_asked, "{name} does not ask {}", probe.info.name);
            }
        }
    }

    #[test]
    fn a_study_of_no_samples_is_refused_by_its_name() {
        let built_in = builtin::of_kind("compare").find(|recipe| recipe.name == "images").expect("a recipe");
        let mut table = report::recipe::parse_table(built_in.text, "images").expect("TOML");
        report::recipe::set(&mut table, "probes.0.n_asked=0").expect("set");
        let refused = report::recipe::from_table::<CompareRecipe>(table, "images").expect_err("a refusal");
        assert!(refused.to_string().contains("knn.n_asked"), "{refused}");
    }
}
