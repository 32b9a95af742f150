//! The comparison as something to read: what was found, in the order in which a person asks.
//!
//! Nothing here knows a probe or an analysis by name: whatever the recipe asks for gets its curves, its tables and its
//! figures from what it found.

mod analysis;
mod bounds;
mod layers;
mod overview;
mod paired;
mod scores;
mod training;

use super::answers::{Answers, Role};
use report::{Block, Figure, FigureData, ImageGrid, Info, Report, Table};

/// What the story is told from.
pub(super) struct Material<'a> {
    /// Every model in every run; the first run's come first.
    pub answers: &'a [Answers],
    /// Names in the order of the report.
    pub models: Vec<(String, Role)>,
    /// The probes of the recipe, in its order.
    pub probes: Vec<Info>,
    /// The analyses of the recipe, in its order.
    pub analyses: Vec<Info>,
    /// Sample pictures with their classes.
    pub samples: Option<ImageGrid>,
    /// Classes of the data.
    pub n_classes: usize,
    /// Seeds used.
    pub seeds: &'a [u64],
}

impl Material<'_> {
    /// Every run of a model.
    fn of(&self, model: &str) -> Vec<&Answers> {
        self.answers.iter().filter(|answers| answers.model == model).collect()
    }

    /// The floor of a role, by name.
    fn name_of(&self, role: Role) -> Option<&str> {
        self.models.iter().find(|(_, other)| *other == role).map(|(name, _)| name.as_str())
    }

    /// The untrained model that a model is measured against: its own initial weights, as far as they are known.
    fn untrained_of(&self, model: &str) -> Option<&str> {
        let own = self.answers.iter().find(|run| run.model == model).and_then(|run| run.floor.as_deref());
        own.or_else(|| self.name_of(Role::Untrained))
    }

    /// The models that are not floors.
    fn learned(&self) -> impl Iterator<Item = &str> {
        let is_floor = |role: Role| matches!(role, Role::RawPixels | Role::Untrained);
        self.models.iter().filter(move |(_, role)| !is_floor(*role)).map(|(name, _)| name.as_str())
    }

    fn chance(&self) -> f64 {
        1.0 / self.n_classes.max(1) as f64
    }
}

/// Fills the report: cards, sentences, tables, figures.
pub(super) fn tell(report: &mut Report, material: &Material) {
    let pairs = paired::differences(material);
    report.metrics.extend(paired::metrics(&pairs));
    report.story.push(Block::Numbers(scores::cards(material)));
    report.story.push(Block::Heading("What was found".into()));
    report.story.push(Block::Text(scores::summary(material, &pairs)));
    if let Some(figure) = scores::bars(material) {
        add_figure(report, figure);
    }
    if !pairs.is_empty() {
        report.story.push(Block::Heading("Which models differ?".into()));
        report.story.push(Block::Text(paired::words(material)));
        add_table(report, paired::table(&pairs));
    }
    if !material.probes.is_empty() {
        report.story.push(Block::Heading("How good is every layer?".into()));
        if let Some(table) = bounds::table(material) {
            add_table(report, table);
        }
        if let Some(table) = scores::best_layer_by_task(material) {
            add_table(report, table);
        }
    }
    // A probe that nobody could be asked has its reasons in the overview, and nothing to show.
    let is_answered = |probe: &&Info| material.answers.iter().any(|run| run.studies.contains_key(probe.name));
    for probe in material.probes.iter().filter(is_answered) {
        report.story.push(Block::Subheading(display_name(probe.name)));
        report.story.push(Block::Text(about(probe)));
        layers::curves(material, probe).into_iter().for_each(|figure| add_figure(report, figure));
        add_table(report, scores::best_layers(material, probe));
    }
    if !material.analyses.is_empty() {
        report.story.push(Block::Heading("What do the models do?".into()));
    }
    for analysis in &material.analyses {
        report.story.push(Block::Subheading(display_name(analysis.name)));
        report.story.push(Block::Text(about(analysis)));
        analysis::figures(material, analysis).into_iter().for_each(|figure| add_figure(report, figure));
        analysis::tables(material, analysis).into_iter().for_each(|table| add_table(report, table));
    }
    let (previews, curves) = (training::previews(material), training::learning_curves(material));
    if !previews.is_empty() || !curves.is_empty() {
        report.story.push(Block::Heading("What training did".into()));
    }
    for figure in previews.into_iter().chain(training::scores(material)).chain(curves) {
        add_figure(report, figure);
    }
    // All tables are known now; the overview leads to them and is read before.
    if let Some(table) = overview::table(material, &report.tables) {
        let after_summary = report.story.iter().position(|block| matches!(block, Block::Text(_)));
        let place = after_summary.map_or(0, |place| place + 1);
        report.story.insert(place, Block::Table(table.name.clone()));
        report.tables.push(table);
    }
    if let Some(samples) = &material.samples {
        report.story.push(Block::Heading("The data".into()));
        let caption = "Samples of the test side, a few of every class, before they are resized and normalized for the \
                       models. The training side is not shown.";
        add_figure(report, Figure::new("samples", "Samples", caption, FigureData::Image(samples.clone())));
    }
}

fn add_table(report: &mut Report, table: Table) {
    report.story.push(Block::Table(table.name.clone()));
    report.tables.push(table);
}

fn add_figure(report: &mut Report, figure: Figure) {
    report.story.push(Block::Figure(figure.name.clone()));
    report.figures.push(figure);
}

/// What a study is called in a heading: its name as words. What is no word by itself keeps its hyphen: a co-segmentation, a few-shot score.
fn display_name(study: &str) -> String {
    match study {
        "knn" => return "kNN".into(),
        "cka" => return "CKA".into(),
        "token-pca" => return "Token PCA".into(),
        _ => {}
    }
    let mut words = String::new();
    for piece in study.split_inclusive('-') {
        match piece {
            "auto-" | "co-" | "few-" | "fine-" => words.push_str(piece),
            _ => words.push_str(&piece.replace('-', " ")),
        }
    }
    crate::studies::sentence(&words)
}

/// What a study asks, and who asked first.
fn about(info: &Info) -> String {
    format!("{}. Source: {}.", crate::studies::sentence(info.line), info.source)
}

/// A name that is safe and unique for a figure or table of a study.
fn part_name(study: &str, part: &str) -> String {
    format!("{study}_{}", part.replace(['.', ' '], "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_studies_are_words_that_keep_the_hyphens_they_are_written_with() {
        let names = ["knn", "few-shot", "part-co-segmentation", "auto-segmentation", "label-propagation"];
        assert_eq!(
            names.map(display_name),
            ["kNN", "Few-shot", "Part co-segmentation", "Auto-segmentation", "Label propagation"]
        );
    }
}
