//! One kind of features, clustered at every layer and scored against their kinds.

use super::{ClusteringConfig, Of, key};
use measure::cluster_scores::Contingency;
use measure::kmeans::{KMeans, Rows};
use ndarray::{Array2, ArrayView2};
use rand::RngExt;
use report::{Block, Cell, Figure, FigureData, LinePlot, Metric, Series, Table};
use vit_data::Seed;
use vit_features::{Bank, Findings, Select, Shapes, StudyError};

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
pub(super) struct Told {
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

/// Clusters the features of every layer, and random ones beside them.
pub(super) fn tell(
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
    /// Adds what was found to the findings, the table and its note.
    pub(super) fn add(&self, findings: &mut Findings, table: &mut Table, note: &mut String) {
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
