//! Do images of a class, and objects and parts of a kind, form clusters of their own, layer by layer?

mod told;

use crate::attention_on_host::{needs_images, needs_layers};
use report::{Block, Info, Recipe, RecipeError, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::{Grid, Site};
use vit_data::LabelMap;
use vit_features::{
    Accumulate, Arrays, BANK_BYTES, Bank, BatchInfo, Findings, Needs, Part, Place, Role, Select, Shapes,
    Study, StudyError, Taken,
};

/// What is clustered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    /// The class token of every image, against the image's class.
    Cls,
    /// The mean of the patch tokens of every image, against the image's class.
    Mean,
    /// The mean of the patch tokens on each object, against its class; needs object masks.
    Objects,
    /// The mean of the patch tokens on each part, against the part's name; needs part masks.
    Parts,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Mean => "mean",
            Self::Objects => "objects",
            Self::Parts => "parts",
        }
    }

    /// What it is called in a title.
    fn words(self) -> &'static str {
        match self {
            Self::Cls => "the class token",
            Self::Mean => "the mean of the patches",
            Self::Objects => "features of objects",
            Self::Parts => "features of parts",
        }
    }
}

/// How many clusters are sought among objects and parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compat {
    /// As many as there are kinds among them.
    #[default]
    None,
    /// 80, whatever there are: so in the released code of Walmer et al. More clusters are purer for that alone.
    VitAnalysis,
}

/// The options of [`Clustering`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusteringConfig {
    /// What is clustered: `cls`, `mean`, `objects`, `parts`.
    pub of: Vec<Of>,
    /// Starts of k-means, of which the best end is kept; 10 in publications.
    pub n_starts: usize,
    /// Rounds of each start at most.
    pub max_rounds: usize,
    /// `none`, or `vit-analysis`: 80 clusters of objects and of parts as in the released code.
    pub compat: Compat,
    /// Features beyond this many MiB are kept in temporary files; changes no number beyond rounding.
    pub memory_mib: usize,
}

impl Default for ClusteringConfig {
    fn default() -> Self {
        Self {
            of: vec![Of::Cls, Of::Mean],
            n_starts: 10,
            max_rounds: 300,
            compat: Compat::None,
            memory_mib: BANK_BYTES >> 20,
        }
    }
}

impl Recipe for ClusteringConfig {
    fn check(&self) -> Result<(), RecipeError> {
        let mut of = self.of.clone();
        of.sort_unstable();
        of.dedup();
        if of.is_empty() || of.len() < self.of.len() {
            let found: Vec<&str> = self.of.iter().map(|of| of.name()).collect();
            return Err(RecipeError::value(
                "of",
                "cls, mean, objects or parts, each once",
                format!("{found:?}"),
            ));
        }
        let counts =
            [("n_starts", self.n_starts), ("max_rounds", self.max_rounds), ("memory_mib", self.memory_mib)];
        for (key, value) in counts {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        Ok(())
    }
}

/// How well clusters of features meet classes.
///
/// k-means with as many clusters as classes, without labels; then purity, normalized mutual information and the adjusted Rand
/// index of clusters and classes. The feature of an object or a part is the mean of the patch tokens, weighted by the share of
/// each cell that it covers.
///
/// # Source
/// Walmer et al., Teaching Matters. *Differs*: as many clusters of objects and parts as there are kinds; masks lie on the grid
/// by area.
pub struct Clustering;

/// Features with their classes; `samples · selects · D · 4` bytes, at most `memory_mib`, the rest in temporary files.
#[derive(Serialize, Deserialize)]
pub struct ClusteringAcc {
    grid: Grid,
    blocks: Vec<usize>,
    banks: BTreeMap<Of, Bank>,
    n_images: usize,
}

impl ClusteringConfig {
    /// What there is to cluster in a model: no class token where it has none.
    fn wanted(&self, shapes: &Shapes) -> Vec<Of> {
        self.of.iter().copied().filter(|&of| of != Of::Cls || shapes.has_class).collect()
    }

    /// How many kinds `k` clusters are sought for.
    fn n_clusters(&self, of: Of, labels: &[u32], shapes: &Shapes) -> usize {
        let mut kinds = labels.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        let k = match (of, self.compat) {
            (Of::Objects | Of::Parts, Compat::VitAnalysis) => 80,
            (Of::Cls | Of::Mean, _) => shapes.n_classes.max(kinds.len()),
            _ => kinds.len(),
        };
        k.min(labels.len())
    }
}

/// Under which select features are kept.
fn key(of: Of, block: usize) -> Select {
    let part = match of {
        Of::Cls => Part::Class,
        Of::Mean => Part::Mean,
        Of::Objects | Of::Parts => Part::Patches,
    };
    Select { place: Place::At(Site::Block(block)), part }
}

/// Regions of the images of a batch: image, kind, and the weight of each cell.
fn regions(of: Of, info: &BatchInfo, grid: Grid) -> Vec<(usize, u32, Vec<f64>)> {
    let on = (grid.rows, grid.columns);
    let mut regions = Vec::new();
    let mut push = |image: usize, kind: u32, mask: &LabelMap, belongs: &dyn Fn(u8) -> bool| {
        let weights = mask.shares_on_grid(&info.boxes[image], on, belongs);
        // An object that the view does not show has no feature.
        if weights.iter().any(|&weight| weight > 0.0) {
            regions.push((image, kind, weights));
        }
    };
    for (image, truth) in info.truths.iter().enumerate() {
        if let (Of::Objects, Some(mask), Some(class)) = (of, &truth.mask, info.labels[image]) {
            push(image, class, mask, &|id| id > 0);
        }
        if let (Of::Parts, Some(parts)) = (of, &truth.parts) {
            let mut ids = parts.ids.clone();
            ids.sort_unstable();
            ids.dedup();
            for id in ids.into_iter().filter(|&id| id > 0) {
                push(image, u32::from(id) - 1, parts, &|other| other == id);
            }
        }
    }
    regions
}

/// The mean of an image's tokens `[N, D]`, weighted.
fn weighted_mean(tokens: &[f32], weights: &[f64], width: usize) -> Vec<f32> {
    let mass: f64 = weights.iter().sum();
    let mut sums = vec![0.0f64; width];
    for (token, weight) in tokens.chunks_exact(width).zip(weights).filter(|(_, weight)| **weight > 0.0) {
        sums.iter_mut().zip(token).for_each(|(sum, &x)| *sum += weight * f64::from(x));
    }
    sums.into_iter().map(|sum| (sum / mass) as f32).collect()
}

impl ClusteringAcc {
    /// Adds the objects or parts of a batch to their bank.
    fn push_regions(&mut self, of: Of, taken: &Taken) -> Result<(), StudyError> {
        let regions = regions(of, &taken.info, self.grid);
        let mut features = Arrays::new();
        let selects: Vec<Select> = self.blocks.iter().map(|&block| key(of, block)).collect();
        for &select in &selects {
            let (shape, tokens) = &taken.features[&select]; // [B, N, D]
            let (n, width) = (shape[1], shape[2]);
            let means = regions.iter().flat_map(|(image, _, weights)| {
                weighted_mean(&tokens[image * n * width..(image + 1) * n * width], weights, width)
            });
            features.insert(select, (vec![regions.len(), width], means.collect()));
        }
        let labels: Vec<Option<u32>> = regions.iter().map(|(_, kind, _)| Some(*kind)).collect();
        let indices: Vec<usize> = regions.iter().map(|(image, _, _)| taken.info.indices[*image]).collect();
        let info = BatchInfo { labels: &labels, indices: &indices, ..taken.info };
        match self.banks.get_mut(&of) {
            Some(bank) if !labels.is_empty() => bank.push(&Taken { info, features: &features }, &selects),
            _ => Ok(()),
        }
    }
}

impl Accumulate for ClusteringAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        self.n_images += taken.info.labels.len();
        let all: Vec<Of> = self.banks.keys().copied().collect();
        for of in all {
            match (of, self.banks.get_mut(&of)) {
                (Of::Cls | Of::Mean, Some(bank)) => {
                    let wanted: Vec<Select> = self.blocks.iter().map(|&block| key(of, block)).collect();
                    bank.push(taken, &wanted)?;
                }
                _ => self.push_regions(of, taken)?,
            }
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.n_images += later.n_images;
        for (of, bank) in later.banks {
            if let Some(ours) = self.banks.get_mut(&of) {
                ours.append(bank);
            }
        }
    }
}

impl Study for Clustering {
    const INFO: Info = Info {
        name: "clustering",
        line: "whether classes, objects and parts form clusters of their own at every layer, by k-means without labels",
        source: "Walmer et al. 2023 (Teaching Matters)",
    };
    type Config = ClusteringConfig;
    type Acc = ClusteringAcc;

    fn needs(config: &ClusteringConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let wanted = config.wanted(shapes);
        needs_layers(Self::INFO.name, shapes)?;
        if wanted.is_empty() {
            return Err(StudyError::Model {
                study: Self::INFO.name.into(),
                needs: "a class token (of = [\"cls\"])".into(),
                found: "a model without".into(),
                model: shapes.model.clone(),
            });
        }
        let of_block = |&block: &usize| wanted.iter().map(move |&of| key(of, block));
        let mut selects: Vec<Select> = shapes.blocks.iter().flat_map(of_block).collect();
        selects.sort_unstable();
        selects.dedup();
        Ok(Needs {
            selects,
            labels: wanted.iter().any(|&of| of != Of::Parts),
            masks: wanted.contains(&Of::Objects),
            parts: wanted.contains(&Of::Parts),
            ..Needs::default()
        })
    }

    fn small() -> ClusteringConfig {
        ClusteringConfig {
            of: vec![Of::Cls, Of::Mean, Of::Objects, Of::Parts],
            n_starts: 3,
            ..ClusteringConfig::default()
        }
    }

    fn open(config: &ClusteringConfig, shapes: &Shapes) -> ClusteringAcc {
        let wanted = config.wanted(shapes);
        let memory_bytes = config.memory_mib.saturating_mul(1 << 20) / wanted.len().max(1);
        let bank = |of| (of, Bank::new(Self::INFO.name, memory_bytes));
        ClusteringAcc {
            grid: shapes.grid,
            blocks: shapes.blocks.clone(),
            banks: wanted.into_iter().map(bank).collect(),
            n_images: 0,
        }
    }

    fn finish(
        config: &ClusteringConfig,
        shapes: &Shapes,
        acc: ClusteringAcc,
    ) -> Result<Findings, StudyError> {
        needs_images(Self::INFO.name, acc.n_images)?;
        let mut findings = Findings::default();
        let columns = ["features", "layer", "clusters", "NMI", "ARI", "purity"];
        let mut table = Table::new("by_layer", "Every layer", columns);
        let mut note = String::new();
        for (&of, bank) in &acc.banks {
            if bank.is_empty() {
                let expected = format!("{} in the images", of.name());
                return Err(StudyError::Value {
                    study: Self::INFO.name.into(),
                    expected,
                    found: "none".into(),
                });
            }
            let told = told::tell(config, shapes, of, bank, &acc.blocks)?;
            told.add(&mut findings, &mut table, &mut note);
        }
        findings.story.push(Block::Table("by_layer".into()));
        findings.tables.push(table.note(format!(
            "k-means without labels, the best of {} starts.{note} Random features are asked in the same way: purity above 0 is \
             no merit by itself, and grows with the number of clusters.",
            config.n_starts
        )));
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vit_data::{CropBox, Truth};

    #[test]
    fn the_feature_of_a_part_is_the_mean_of_the_tokens_that_it_covers() {
        // Two patches side by side; part 1 covers the first and a quarter of the second, part 2 half of the second.
        let parts = LabelMap { width_px: 8, height_px: 1, ids: vec![1, 1, 1, 1, 1, 0, 2, 2] };
        let truths = [Truth { parts: Some(parts), ..Truth::default() }];
        let info = BatchInfo {
            model: 0,
            role: Role::Test,
            first: 0,
            labels: &[Some(3)],
            indices: &[0],
            truths: &truths,
            boxes: &[CropBox { x: 0.0, y: 0.0, w: 8.0, h: 1.0, flipped: false }],
        };
        let found = regions(Of::Parts, &info, Grid { rows: 1, columns: 2 });
        let expected = [(0, 0, vec![1.0, 0.25]), (0, 1, vec![0.0, 0.5])];
        assert_eq!(found, expected);
        let tokens = [1.0, 2.0, 6.0, 7.0];
        assert_eq!(weighted_mean(&tokens, &found[0].2, 2), [2.0, 3.0]);
        assert_eq!(weighted_mean(&tokens, &found[1].2, 2), [6.0, 7.0]);
    }
}
