//! Do images of a class, and objects and parts of a kind, form clusters of their own, layer by layer?

use crate::attention_on_host::needs_images;
use measure::cluster_scores::Contingency;
use measure::kmeans::{KMeans, Rows};
use ndarray::{Array2, ArrayView2};
use rand::RngExt;
use report::{Block, Cell, Figure, FigureData, Info, LinePlot, Metric, Recipe, RecipeError, Series, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::{Grid, Site};
use vit_data::{LabelMap, Seed};
use vit_features::{
    Accumulate, Arrays, Bank, BatchInfo, Findings, Needs, Part, Place, Role, Select, Shapes, Study,
    StudyError, Taken,
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
            memory_mib: 32,
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
        if wanted.is_empty() || shapes.blocks.is_empty() {
            return Err(StudyError::Model {
                study: Self::INFO.name.into(),
                needs: if wanted.is_empty() { "a class token (of = [\"cls\"])" } else { "layers" }.into(),
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
            let told = tell(config, shapes, of, bank, &acc.blocks)?;
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

/// Scores of one clustering.
#[derive(Clone, Copy, Debug)]
struct Scores {
    nmi: f64,
    ari: f64,
    purity: f64,
}

impl Scores {
    fn of(clusters: &[u32], labels: &[u32]) -> Self {
        let counts = Contingency::of(clusters, labels);
        Self { nmi: counts.nmi(), ari: counts.ari(), purity: counts.purity() }
    }

    fn named(self) -> [(&'static str, f64); 3] {
        [("nmi", self.nmi), ("ari", self.ari), ("purity", self.purity)]
    }
}

/// What one kind of features says at every layer.
struct Told {
    of: Of,
    n_clusters: usize,
    n_samples: usize,
    depth: usize,
    by_layer: Vec<(usize, Scores)>,
    random: Scores,
    /// The layer with the greatest NMI on one half of the samples, and its scores on the other.
    chosen: (usize, Scores),
}

/// The rows of one select of a bank.
struct Column<'a> {
    bank: &'a Bank,
    select: Select,
    width: usize,
}

impl Rows<StudyError> for Column<'_> {
    fn size(&self) -> (usize, usize) {
        (self.bank.len(), self.width)
    }
    fn each_block(&self, visit: &mut dyn FnMut(ArrayView2<f32>)) -> Result<(), StudyError> {
        self.bank.each_block(self.select, &mut |values| match ArrayView2::from_shape(
            (values.len() / self.width, self.width),
            values,
        ) {
            Ok(block) => visit(block),
            Err(error) => unreachable!("whole rows: {error}"),
        })
    }
    fn sample(&self, at: usize) -> Result<Vec<f32>, StudyError> {
        self.bank.row(self.select, at)
    }
}

/// Numbers in a random feature.
const RANDOM_WIDTH: usize = 16;

fn tell(
    config: &ClusteringConfig,
    shapes: &Shapes,
    of: Of,
    bank: &Bank,
    blocks: &[usize],
) -> Result<Told, StudyError> {
    let labels = bank.labels();
    let n_clusters = config.n_clusters(of, labels, shapes);
    let how = KMeans {
        n_starts: config.n_starts,
        max_rounds: config.max_rounds,
        ..KMeans::new(n_clusters, shapes.seed)
    };
    let seed = Seed(shapes.seed);
    // Halves of the images, drawn for each image of the data set.
    let is_first: Vec<bool> = bank
        .indices()
        .iter()
        .map(|&index| seed.stream("clustering-half", &[index as u64]).random::<u64>() % 2 == 0)
        .collect();
    let half = |clusters: &[u32], wanted: bool| {
        let chosen = || (0..labels.len()).filter(|&i| is_first[i] == wanted);
        let of = |ids: &[u32]| chosen().map(|i| ids[i]).collect::<Vec<_>>();
        // With one half only there is nothing else to choose on.
        match chosen().next() {
            Some(_) => Scores::of(&of(clusters), &of(labels)),
            None => Scores::of(clusters, labels),
        }
    };
    let mut by_layer = Vec::new();
    let mut chosen: Option<(usize, Scores, Scores)> = None;
    for &block in blocks {
        let select = key(of, block);
        let column = Column { bank, select, width: bank.width(select)? };
        let clusters = how.fit(&column)?.of;
        by_layer.push((block, Scores::of(&clusters, labels)));
        let halves = (block, half(&clusters, true), half(&clusters, false));
        if chosen.as_ref().is_none_or(|best| halves.1.nmi > best.1.nmi) {
            chosen = Some(halves);
        }
    }
    let Some((block, _, scores)) = chosen else { unreachable!("a model without layers was refused") };
    let mut random = Array2::<f32>::zeros((labels.len(), RANDOM_WIDTH));
    for (mut row, i) in random.rows_mut().into_iter().zip(0u64..) {
        let mut stream = seed.stream("clustering-chance", &[i]);
        row.iter_mut().for_each(|x| *x = stream.random::<f32>());
    }
    let clusters = how.fit::<StudyError>(&random.view())?.of;
    Ok(Told {
        of,
        n_clusters,
        n_samples: labels.len(),
        depth: shapes.depth,
        by_layer,
        random: Scores::of(&clusters, labels),
        chosen: (block, scores),
    })
}

impl Told {
    fn add(&self, findings: &mut Findings, table: &mut Table, note: &mut String) {
        let of = self.of.name();
        let mut push = |prefix: &str, layer: Option<usize>, scores: Scores| {
            for (name, value) in scores.named() {
                let metric = Metric::new(format!("{prefix}{name}"), value, "ratio").param("of", of);
                let metric = match layer {
                    Some(layer) => metric.layer(layer).select(key(self.of, layer).to_string()),
                    None => metric,
                };
                findings.metrics.push(metric);
            }
        };
        for &(block, scores) in &self.by_layer {
            push("", Some(block), scores);
        }
        push("random.", None, self.random);
        push("best.", Some(self.chosen.0), self.chosen.1);
        let first_best = |best: (usize, Scores), next: &(usize, Scores)| {
            if next.1.nmi > best.1.nmi { *next } else { best }
        };
        let oracle = self.by_layer[1..].iter().fold(self.by_layer[0], first_best);
        push("oracle.", Some(oracle.0), oracle.1);
        let row = |layer: Cell, scores: Scores, what: &str| {
            [Cell::from(what), layer, Cell::from(self.n_clusters)]
                .into_iter()
                .chain(scores.named().map(|(_, value)| Cell::from(value)))
                .collect::<Vec<_>>()
        };
        for &(block, scores) in &self.by_layer {
            table.push(row(Cell::from(block), scores, of));
        }
        table.push(row(Cell::Empty, self.random, &format!("{of}, random features")));
        note.push_str(&format!(
            " Of {of}: {} samples; the layer chosen on one half of the images is block {}, which has an NMI of {:.3} on the \
             other half.",
            self.n_samples, self.chosen.0, self.chosen.1.nmi
        ));
        let curve = self.by_layer.iter().map(|&(block, scores)| (block as f64, scores.nmi)).collect();
        let plot = LinePlot {
            x_label: format!("block (of {})", self.depth),
            y_label: "NMI of clusters and kinds".into(),
            series: vec![Series::new(self.of.words(), curve)],
            reference_lines: vec![("random features".into(), self.random.nmi)],
        };
        let kinds = if self.of == Of::Parts { "parts of a name" } else { "samples of a class" };
        let caption = format!(
            "Normalized mutual information of {} clusters that were found without labels and the kinds: 1 where every cluster \
             holds all {kinds} and nothing else. It asks how features lie, not what can be read from them: a layer with \
             a low value may still serve a classifier well.",
            self.n_clusters
        );
        let name = format!("nmi_{of}");
        findings.story.push(Block::Figure(name.clone()));
        let title = format!("Clusters of {}, layer by layer", self.of.words());
        findings.figures.push(Figure::new(name, title, caption, FigureData::Line(plot)));
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
