//! Where a classifier is wrong: class by class, class for class, and its surest mistakes.

use crate::by_layer::{at, class_name};
use measure::confusion::Confusion;
use measure::linear::ranking;
use ndarray::Array2;
use report::{Block, Cell, Figure, FigureData, Metric, Table};
use vit_features::{Findings, Select, Shapes, Showcase};

/// More classes than this are not drawn against each other.
const MOST_DRAWN: usize = 64;
/// Mistakes that are shown.
const N_WORST: usize = 12;

/// Adds what the classifier on the best features gets wrong.
///
/// # Shapes
/// `labels`, `indices`: `[m]`; `scores`: `[m, K]`.
pub(super) fn tell(
    shapes: &Shapes,
    (labels, indices): (&[u32], &[usize]),
    select: Select,
    scores: &Array2<f64>,
    findings: &mut Findings,
) {
    let n_classes = scores.ncols();
    let predicted = ranking(scores.view(), 1).column(0).to_vec();
    let confusion = Confusion::of(labels, &predicted, n_classes);
    let mean_recall = Metric::new("best.mean_class_top1", confusion.mean_recall(), "ratio");
    findings.metrics.push(at(mean_recall, select, shapes));
    let mut table = Table::new(
        "by_class",
        "Class by class",
        ["class", "test samples", "recognized", "precision", "most often taken for", "share"],
    );
    for class in 0..n_classes {
        let mistake = confusion.worst_mistake(class);
        table.push([
            Cell::from(class_name(shapes, class)),
            Cell::from(confusion.n_true(class)),
            Cell::from(confusion.recall(class)),
            Cell::from(confusion.precision(class)),
            Cell::from(mistake.map(|(other, _)| class_name(shapes, other))),
            Cell::from(mistake.map(|(_, count)| count as f64 / confusion.n_true(class) as f64)),
        ]);
    }
    findings.tables.push(table.note(format!(
        "At the best features ({select}). Recognized: share of the class's test samples; precision: share of what was \
         taken for the class that is of it.",
    )));
    findings.story.push(Block::Heading("Where it is wrong".into()));
    if n_classes <= MOST_DRAWN {
        findings.figures.push(matrix(shapes, &confusion));
        findings.story.push(Block::Figure("confusion".into()));
    }
    findings.story.push(Block::Table("by_class".into()));
    worst(shapes, (labels, indices), &predicted, scores, findings);
}

fn matrix(shapes: &Shapes, confusion: &Confusion) -> Figure {
    let n_classes = confusion.counts.nrows();
    let names: Vec<String> = (0..n_classes).map(|class| class_name(shapes, class)).collect();
    let share = |class: usize| {
        let n = confusion.n_true(class).max(1) as f64;
        confusion.counts.row(class).iter().map(|&count| count as f64 / n).collect()
    };
    let heatmap = FigureData::Heatmap {
        row_labels: names.clone(),
        col_labels: names,
        x_label: "predicted".into(),
        y_label: "true class".into(),
        values: (0..n_classes).map(share).collect(),
        range: Some((0.0, 1.0)),
        unit: "share of the true class".into(),
    };
    let caption = "Each row is a class; its cells say what its test samples were taken for. The diagonal is what was \
                   recognized.";
    Figure::new("confusion", "What is taken for what", caption, heatmap)
}

/// The mistakes with the widest margin between the score of the predicted class and that of the true one.
fn worst(
    shapes: &Shapes,
    (labels, indices): (&[u32], &[usize]),
    predicted: &[u32],
    scores: &Array2<f64>,
    findings: &mut Findings,
) {
    // Margins are told in hundredths and ordered as they are told, equals in the order of the data, so that the last
    // digits of the features do not show.
    let margin = |i: usize| scores[[i, predicted[i] as usize]] - scores[[i, labels[i] as usize]];
    let mut wrong: Vec<(i64, usize)> = (0..labels.len())
        .filter(|&i| predicted[i] != labels[i])
        .map(|i| ((100.0 * margin(i)).round() as i64, i))
        .collect();
    wrong.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    wrong.truncate(N_WORST);
    if wrong.is_empty() {
        return;
    }
    let mut table =
        Table::new("worst", "The surest mistakes", ["test sample", "true class", "predicted", "margin"]);
    let mut samples = Vec::new();
    for (hundredths, i) in wrong {
        let [truth, taken_for] = [labels[i], predicted[i]].map(|class| class_name(shapes, class as usize));
        samples.push((indices[i], format!("{truth}, not {taken_for}")));
        let margin = hundredths as f64 / 100.0;
        table.push([Cell::from(indices[i]), Cell::from(truth), Cell::from(taken_for), Cell::from(margin)]);
    }
    findings.tables.push(table.note(
        "Margin: the score of the predicted class less that of the true one; under softmax, the logarithm of the ratio \
         of their probabilities. Look here for wrong labels and for what the features do not hold.",
    ));
    findings.story.push(Block::Table("worst".into()));
    findings.showcases.push(Showcase {
        name: "worst_samples".into(),
        title: "The surest mistakes, seen".into(),
        caption: "Test samples that were taken for another class with the widest margin, the surest first: what they \
                  are, and what they were taken for."
            .into(),
        samples,
        maps: None,
    });
}
