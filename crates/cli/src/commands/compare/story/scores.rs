//! One number for each model and probe: cards, sentences, a figure and the tables of best layers.

use super::super::answers::{Answers, Role, mean_over};
use super::paired::{Difference, Over};
use super::{Material, display_name, part_name};
use measure::interval::t_interval;
use report::{Card, Cell, Figure, FigureData, Info, Series, Table};

/// A number over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Score {
    /// The mean over seeds.
    pub mean: f64,
    /// Its 95 % interval: over seeds, or with one seed what the probe says of its test samples.
    pub low_high: Option<(f64, f64)>,
}

impl Material<'_> {
    /// The headline of a probe for a model, over seeds.
    pub(super) fn score(&self, model: &str, probe: &str) -> Option<Score> {
        self.score_of(model, probe, |run| {
            Some((run.headline(probe)?.name.clone(), run.headline(probe)?.value))
        })
    }

    fn score_of(
        &self,
        model: &str,
        probe: &str,
        value: impl Fn(&Answers) -> Option<(String, f64)>,
    ) -> Option<Score> {
        let runs = self.of(model);
        let named: Vec<(String, f64)> = runs.iter().filter_map(|run| value(run)).collect();
        let (name, _) = named.first()?;
        let values: Vec<f64> = named.iter().map(|(_, value)| *value).collect();
        let low_high = if values.len() > 1 {
            let interval = t_interval(&values);
            Some((interval.low, interval.high))
        } else {
            let bound = |end: &str| runs[0].value(probe, &format!("{name}_{end}"));
            bound("low").zip(bound("high"))
        };
        Some(Score { mean: mean_over(&values), low_high })
    }

    /// The headline of a floor.
    pub(super) fn floor(&self, role: Role, probe: &str) -> Option<f64> {
        Some(self.score(self.name_of(role)?, probe)?.mean)
    }

    /// What a probe's headline is called, without `best.`.
    pub(super) fn metric_of(&self, probe: &str) -> String {
        let found = self.answers.iter().find_map(|run| run.headline(probe));
        found.map_or(String::new(), |metric| metric.name.trim_start_matches("best.").to_owned())
    }

    /// What a probe's headline is a number of, for people: `top-1` for `top1`.
    pub(super) fn metric_words(&self, probe: &str) -> String {
        let name = self.metric_of(probe);
        match name.strip_prefix("top") {
            Some(n) if n.parse::<u32>().is_ok() => format!("top-{n}"),
            _ => name.replace('_', " "),
        }
    }

    /// What a probe's headline gives without looking.
    pub(super) fn chance_of(&self, probe: &str) -> Option<f64> {
        if self.metric_of(probe) == "top1" {
            return Some(self.chance());
        }
        self.answers.iter().find_map(|run| run.value(probe, "chance"))
    }
}

/// The first probe's headline of every model.
pub(super) fn cards(material: &Material) -> Vec<Card> {
    let mut cards = Vec::new();
    let Some(probe) = material.probes.first() else { return cards };
    let what = format!("{} {}, best layer", display_name(probe.name), material.metric_words(probe.name));
    let card = |label: &str, value: f64, note: String| {
        Card::new(label, percent(value), note).from_table(part_name(probe.name, "best_layers"))
    };
    for (name, _) in &material.models {
        let Some(score) = material.score(name, probe.name) else { continue };
        let note = match score.low_high {
            Some((low, high)) => format!("{what}; 95 %: {:.1}–{:.1}", 100.0 * low, 100.0 * high),
            None => what.clone(),
        };
        cards.push(card(name, score.mean, note));
    }
    if let Some(chance) = material.chance_of(probe.name) {
        cards.push(card("chance", chance, format!("{} classes", material.n_classes)));
    }
    cards
}

/// Probes of which the findings tell in whole sentences; the others are a list.
const TOLD_WHOLE: usize = 2;

/// The findings in sentences.
pub(super) fn summary(material: &Material, pairs: &[Difference]) -> String {
    let mut paragraphs = Vec::new();
    for model in material.learned() {
        let mut sentences = Vec::new();
        for probe in material.probes.iter().take(TOLD_WHOLE) {
            let Some(score) = material.score(model, probe.name) else { continue };
            let subject = if sentences.is_empty() { format!("`{model}`") } else { "It".to_owned() };
            let name = display_name(probe.name);
            let mut sentence =
                format!("{subject} reaches {} at its best layer by {name}", percent(score.mean));
            let against = |floor: Option<&str>, words: &str| {
                let floor = floor?;
                let found = |pair: &&Difference| {
                    pair.probe == probe.name && pair.model == model && pair.against == floor
                };
                let pair = pairs.iter().find(found)?;
                let is_below = pair.low_high.map_or(pair.value, |(_, high)| high) < 0.0;
                Some((is_below, format!("{} against {words}{}", points(pair.value), interval_words(pair))))
            };
            let floors = [
                against(material.untrained_of(model), "the untrained model"),
                against(material.name_of(Role::RawPixels), "raw pixels"),
            ];
            let words: Vec<&str> = floors.iter().flatten().map(|(_, words)| words.as_str()).collect();
            if !words.is_empty() {
                sentence += &format!(": {}", words.join(" and "));
            }
            if floors[1].as_ref().is_some_and(|(is_below, _)| *is_below) {
                sentence += ", below the pixels it was given";
            }
            sentences.push(sentence + ".");
        }
        sentences.extend(further(material, model, pairs));
        let heads: Vec<f64> = material.of(model).iter().filter_map(|run| run.own_top1).collect();
        if !heads.is_empty() {
            let own = percent(mean_over(&heads));
            sentences.push(format!("Its own classifier is right on {own} of the test side."));
        }
        paragraphs.push(sentences.join(" "));
    }
    let n_seeds = material.seeds.len();
    paragraphs.push(if n_seeds > 1 {
        format!(
            "All numbers are means over {n_seeds} seeds with Student's 95 % intervals; the best layer is chosen on \
             held-out training samples, never on the test side."
        )
    } else {
        "One seed: intervals are bootstrap over test samples and say nothing of other seeds. The best layer is chosen \
         on held-out training samples, never on the test side."
            .into()
    });
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs.join("\n\n")
}

/// What the other probes say of a model against the untrained one, in one sentence.
fn further(material: &Material, model: &str, pairs: &[Difference]) -> Option<String> {
    let floor = material.untrained_of(model)?;
    let gain = |probe: &str| {
        let found = |pair: &&Difference| pair.probe == probe && pair.model == model && pair.against == floor;
        let value = pairs.iter().find(found)?.value;
        Some(format!("{} {}{:.1}", display_name(probe), sign(value), 100.0 * value.abs()))
    };
    let others = material.probes.iter().skip(TOLD_WHOLE);
    let gains: Vec<String> = others.filter_map(|probe| gain(probe.name)).collect();
    let list = gains.join(", ");
    (!gains.is_empty())
        .then(|| format!("In points against the untrained model, at the best layers of both: {list}."))
}

fn interval_words(pair: &Difference) -> String {
    let signed = |value: f64| format!("{}{:.1}", sign(value), 100.0 * value.abs());
    pair.low_high.map_or(String::new(), |(low, high)| format!(" (95 %: {} to {})", signed(low), signed(high)))
}

/// Every model's best layer by every probe: bars of one probe stand together, for they can be compared.
pub(super) fn bars(material: &Material) -> Option<Figure> {
    let is_answered =
        |probe: &str| material.models.iter().any(|(name, _)| material.score(name, probe).is_some());
    let asked: Vec<_> = material.probes.iter().filter(|probe| is_answered(probe.name)).collect();
    if asked.is_empty() {
        return None;
    }
    let label = |name: &str| format!("{} ({})", display_name(name), material.metric_words(name));
    let labels = asked.iter().map(|probe| label(probe.name)).collect();
    let mut series = Vec::new();
    for (name, _) in &material.models {
        let (mut points, mut low_high) = (Vec::new(), Vec::new());
        for (place, probe) in asked.iter().enumerate() {
            let Some(score) = material.score(name, probe.name) else { continue };
            points.push((place as f64, score.mean));
            low_high.push(score.low_high.unwrap_or((score.mean, score.mean)));
        }
        if !points.is_empty() {
            series.push(Series::new(name.clone(), points).band(low_high));
        }
    }
    let chance = |(place, probe): (usize, &&Info)| Some((place as f64, material.chance_of(probe.name)?));
    let chance: Vec<(f64, f64)> = asked.iter().enumerate().filter_map(chance).collect();
    if !chance.is_empty() {
        series.push(Series::new("chance", chance));
    }
    let caption = "A group for each question, a bar for each model. Longer is better; whiskers are 95 % intervals. What a bar \
                   has beyond the untrained model and beyond raw pixels was learned. The best layer of every model is chosen \
                   on held-out training samples. Different questions have different scales: compare bars within a group.";
    let data = FigureData::Bar { labels, series, y_label: "score on the test side, best layer".into() };
    Some(Figure::new("best_layers", "Every model at its best layer", caption, data))
}

/// Best layers by one probe.
pub(super) fn best_layers(material: &Material, probe: &Info) -> Table {
    let metric = material.metric_words(probe.name);
    let mut columns = vec!["model".to_owned(), "best features".into()];
    let held_out = format!("best.held_out_{}", material.metric_of(probe.name));
    let oracle = format!("oracle.{}", material.metric_of(probe.name));
    columns.extend([format!("held-out {metric}"), format!("test {metric}")]);
    columns.extend(["95 % low".into(), "95 % high".into(), "best on test".into(), "own classifier".into()]);
    let title = format!("Best layers by {}", display_name(probe.name));
    let mut table = Table::new(part_name(probe.name, "best_layers"), title, columns);
    let over_seeds = |model: &str, name: &str| {
        let score =
            material.score_of(model, probe.name, |run| Some((name.to_owned(), run.value(probe.name, name)?)));
        Cell::from(score.map(|score| score.mean))
    };
    for (name, _) in &material.models {
        let Some(score) = material.score(name, probe.name) else { continue };
        let runs = material.of(name);
        let mut selects: Vec<String> = Vec::new();
        for select in runs.iter().filter_map(|run| run.headline(probe.name)?.select.clone()) {
            if !selects.contains(&select) {
                selects.push(select);
            }
        }
        let heads: Vec<f64> = runs.iter().filter_map(|run| run.own_top1).collect();
        table.push([
            Cell::from(name.clone()),
            Cell::from(selects.join(", ")),
            over_seeds(name, &held_out),
            Cell::from(score.mean),
            Cell::from(score.low_high.map(|(low, _)| low)),
            Cell::from(score.low_high.map(|(_, high)| high)),
            over_seeds(name, &oracle),
            Cell::from((!heads.is_empty()).then(|| mean_over(&heads))),
        ]);
    }
    if let Some(chance) = material.chance_of(probe.name) {
        let cells = [Cell::from("chance"), Cell::Empty, Cell::Empty, Cell::from(chance)];
        table.push(cells.into_iter().chain(std::iter::repeat_n(Cell::Empty, 4)));
    }
    let parameters = material.answers.iter().find_map(|run| run.headline(probe.name)).map(|metric| {
        let words = metric.params.iter().map(|(key, value)| format!("{key} = {value}"));
        words.collect::<Vec<_>>().join(", ")
    });
    let parameters = parameters.filter(|words| !words.is_empty()).map_or(String::new(), |words| words + ". ");
    table.note(format!(
        "{parameters}The same candidates for every model; the best is chosen on held-out training samples. “Best on \
         test” is the layer that nobody could have known."
    ))
}

/// Which layer is best for which task: every model beside every probe, chosen on held-out samples and as the oracle, with its
/// relative depth.
pub(super) fn best_layer_by_task(material: &Material) -> Option<Table> {
    let mut columns = vec!["model".to_owned()];
    for probe in &material.probes {
        let name = display_name(probe.name);
        columns.extend([name.clone(), format!("{name}, best on test")]);
    }
    let mut table = Table::new("best_layer_by_task", "The best layer for each task", columns);
    for (model, role) in &material.models {
        if *role == Role::RawPixels {
            continue;
        }
        let mut row = vec![Cell::from(model.clone())];
        for probe in &material.probes {
            let oracle = format!("oracle.{}", material.metric_of(probe.name));
            row.push(places(material, model, probe, |run| run.headline(probe.name)));
            row.push(places(material, model, probe, |run| run.metric(probe.name, &oracle)));
        }
        if row[1..].iter().any(|cell| *cell != Cell::Empty) {
            table.push(row);
        }
    }
    (!table.rows.is_empty()).then(|| {
        table.note(
            "Layers are chosen on held-out training samples; “best on test” is the published way, which nobody could have known \
             beforehand. Behind each stands its relative depth: 0 is the first block, 1 the last place that was asked. Tasks that \
             are best at different depths need different layers; where seeds disagree, all are named.",
        )
    })
}

/// The places that a number was found at, over seeds.
fn places<'a>(
    material: &'a Material,
    model: &str,
    probe: &Info,
    metric: impl Fn(&'a Answers) -> Option<&'a report::Metric>,
) -> Cell {
    let last = super::layers::depth(material, model, probe.name).unwrap_or(0.0);
    let mut places: Vec<String> = Vec::new();
    for run in material.of(model) {
        let Some(found) = metric(run) else { continue };
        let Some(select) = &found.select else { continue };
        let place = match found.layer {
            Some(layer) if last > 0.0 => format!("{select} ({:.2})", layer as f64 / last),
            _ => select.clone(),
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    if places.is_empty() { Cell::Empty } else { Cell::from(places.join(", ")) }
}

pub(super) fn percent(value: f64) -> String {
    format!("{:.1} %", 100.0 * value)
}

fn sign(value: f64) -> char {
    if value < 0.0 { '−' } else { '+' }
}

fn points(value: f64) -> String {
    let rounded = (1000.0 * value).round() / 10.0;
    format!("{}{:.1} points", sign(rounded), rounded.abs())
}

/// Over what an interval is taken, in words.
pub(super) fn over_words(over: Over) -> String {
    match over {
        Over::Seeds(n) => format!("{n} seeds"),
        Over::Samples(n) => format!("{n} test samples"),
        Over::Nothing => "–".into(),
    }
}
