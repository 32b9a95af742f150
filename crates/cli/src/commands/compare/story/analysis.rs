//! What an analysis found in every model: its figures laid over one another where that reads, its tables joined.

use super::super::answers::{Answers, Role};
use super::{Material, part_name};
use report::{Block, Cell, Figure, FigureData, Info, Report, Series, SeriesStyle, Table};

/// Dots of models stand this far apart, in units of the horizontal axis.
const SHIFT: f64 = 0.18;

/// The first run of every model that the analysis looked at.
fn first_runs<'a>(material: &'a Material, analysis: &Info) -> Vec<(&'a str, Role, &'a Answers)> {
    let models = material.models.iter().filter_map(|(name, role)| {
        let run = *material.of(name).first()?;
        run.studies.contains_key(analysis.name).then_some((name.as_str(), *role, run))
    });
    models.collect()
}

/// What an analysis of all models together found, which stands under a name of its own.
fn together<'a>(material: &'a Material, analysis: &Info) -> Option<&'a Report> {
    let is_a_model = |name: &str| material.models.iter().any(|(known, _)| known == name);
    let of_all = material.answers.iter().filter(|run| !is_a_model(&run.model));
    of_all.into_iter().find_map(|run| run.studies.get(analysis.name))
}

/// The figures of an analysis: one for all models where each has a single series, else one for each model.
pub(super) fn figures(material: &Material, analysis: &Info) -> Vec<Figure> {
    let runs = first_runs(material, analysis);
    let mut names: Vec<&str> = Vec::new();
    for (_, _, run) in &runs {
        for figure in run.studies.get(analysis.name).iter().flat_map(|report| &report.figures) {
            if !names.contains(&figure.name.as_str()) {
                names.push(&figure.name);
            }
        }
    }
    let mut out: Vec<Figure> = Vec::new();
    if let Some(report) = together(material, analysis) {
        let is_told = |figure: &&Figure| report.story.contains(&Block::Figure(figure.name.clone()));
        let own = |figure: &Figure| Figure { name: part_name(analysis.name, &figure.name), ..figure.clone() };
        out.extend(report.figures.iter().filter(is_told).map(own));
    }
    for name in names {
        let found: Vec<(&str, Role, &Figure)> = runs
            .iter()
            .filter_map(|(model, role, run)| {
                Some((*model, *role, run.studies.get(analysis.name)?.figure(name)?))
            })
            .collect();
        match laid_over(&found) {
            Some(mut figure) => {
                figure.name = part_name(analysis.name, name);
                if material.seeds.len() > 1 {
                    figure.caption.push_str(" Models of the first seed.");
                }
                out.push(figure);
            }
            None => out.extend(found.iter().map(|(model, _, figure)| Figure {
                name: part_name(analysis.name, &format!("{name}_{model}")),
                title: format!("{model}: {}", figure.title),
                ..(*figure).clone()
            })),
        }
    }
    out
}

/// One figure with a series for each model, named by it; nothing where the figures are not of one kind with one series
/// each over the same axes.
fn laid_over(found: &[(&str, Role, &Figure)]) -> Option<Figure> {
    let (_, _, first) = found.first()?;
    let mut series = Vec::with_capacity(found.len());
    for (place, (model, role, figure)) in found.iter().enumerate() {
        let (only, is_counted) = match (&first.data, &figure.data) {
            (FigureData::Line(a), FigureData::Line(b))
                if (&a.x_label, &a.y_label) == (&b.x_label, &b.y_label) =>
            {
                (only_one(&b.series)?, false)
            }
            (FigureData::Scatter(a), FigureData::Scatter(b))
                if (&a.x_label, &a.y_label) == (&b.x_label, &b.y_label) =>
            {
                let only = only_one(&b.series)?;
                (only, only.points.iter().all(|(x, _)| x.fract() == 0.0))
            }
            (
                FigureData::Bar { labels: a, y_label: a_label, .. },
                FigureData::Bar { labels: b, y_label: b_label, series },
            ) if (a, a_label) == (b, b_label) => (only_one(series)?, false),
            _ => return None,
        };
        let style = if *role == Role::Untrained { SeriesStyle::Dashed } else { only.style };
        let shift = (place as f64 - (found.len() as f64 - 1.0) / 2.0) * SHIFT;
        let one = Series { name: (*model).to_owned(), ..only.clone() }.style(style);
        series.push(if is_counted { one.shifted(shift) } else { one });
    }
    let mut figure = (*first).clone();
    let is_shifted = series.iter().any(|one| one.x_shift != 0.0);
    match &mut figure.data {
        FigureData::Line(plot) => plot.series = series,
        FigureData::Scatter(plot) => plot.series = series,
        FigureData::Bar { series: bars, .. } => *bars = series,
        FigureData::Heatmap { .. } | FigureData::Image(_) => return None,
    }
    if is_shifted {
        figure.caption.push_str(" Models stand side by side, so that none hides another.");
    }
    Some(figure)
}

fn only_one(series: &[Series]) -> Option<&Series> {
    match series {
        [only] => Some(only),
        _ => None,
    }
}

/// The tables of an analysis, those of one name joined under a column that says the model.
pub(super) fn tables(material: &Material, analysis: &Info) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    if let Some(report) = together(material, analysis) {
        let own = |table: &Table| Table { name: part_name(analysis.name, &table.name), ..table.clone() };
        tables.extend(report.tables.iter().map(own));
    }
    for (model, _, run) in first_runs(material, analysis) {
        for table in run.studies.get(analysis.name).iter().flat_map(|report| &report.tables) {
            join(&mut tables, part_name(analysis.name, &table.name), table, model);
        }
    }
    tables
}

/// Adds the rows of a model's table to those of the other models; one with other columns stands alone.
fn join(tables: &mut Vec<Table>, name: String, table: &Table, model: &str) {
    let columns: Vec<String> = std::iter::once("model".to_owned()).chain(table.columns.clone()).collect();
    let at = tables.iter().position(|known| known.name == name && known.columns == columns);
    let at = at.unwrap_or_else(|| {
        let is_taken = tables.iter().any(|known| known.name == name);
        let name = if is_taken { part_name(&name, model) } else { name };
        tables.push(Table { columns, ..Table::new(name, table.title.clone(), [""; 0]) });
        tables.len() - 1
    });
    let whole = &mut tables[at];
    for row in &table.rows {
        whole.push(std::iter::once(Cell::from(model)).chain(row.iter().cloned()));
    }
    // What every model's note says is said once.
    if !whole.note.contains(&table.note) {
        let gap = if whole.note.is_empty() { "" } else { " " };
        whole.note.push_str(&format!("{gap}{}", table.note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::{LinePlot, ScatterPlot};

    fn dots(series: Vec<Series>) -> Figure {
        let plot = ScatterPlot { x_label: "block".into(), y_label: "d".into(), series };
        Figure::new("f", "F", "One dot a head.", FigureData::Scatter(plot))
    }

    #[test]
    fn models_with_one_series_each_share_a_figure_side_by_side() {
        let one = dots(vec![Series::new("heads", vec![(0.0, 0.1), (1.0, 0.2)])]);
        let found = [("a", Role::Untrained, &one), ("b", Role::Trained, &one), ("c", Role::Given, &one)];
        let figure = laid_over(&found).expect("one figure");
        let FigureData::Scatter(plot) = &figure.data else { panic!("of the same kind") };
        let names: Vec<(&str, f64)> =
            plot.series.iter().map(|one| (one.name.as_str(), one.x_shift)).collect();
        assert_eq!(names, [("a", -SHIFT), ("b", 0.0), ("c", SHIFT)]);
        assert_eq!(figure.caption, "One dot a head. Models stand side by side, so that none hides another.");
    }

    #[test]
    fn tables_of_one_name_are_joined_and_their_note_is_said_once() {
        let table = |columns: &[&str]| Table::new("by_head", "T", columns.to_vec()).note("Means.");
        let mut tables = Vec::new();
        join(&mut tables, "p_by_head".into(), &table(&["layer"]).row([0.into()]), "a");
        join(&mut tables, "p_by_head".into(), &table(&["layer"]).row([1.into()]), "b");
        join(&mut tables, "p_by_head".into(), &table(&["head"]).row([2.into()]), "c");
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["p_by_head", "p_by_head_c"]);
        assert_eq!(tables[0].rows, [vec!["a".into(), Cell::Int(0)], vec!["b".into(), Cell::Int(1)]]);
        assert_eq!(tables[0].note, "Means.");
    }

    #[test]
    fn figures_that_do_not_fit_one_another_stay_apart() {
        let one = dots(vec![Series::new("heads", vec![(0.0, 0.1)])]);
        let two = dots(vec![Series::new("a", vec![]), Series::new("b", vec![])]);
        let line = Figure::new("f", "F", "", FigureData::Line(LinePlot::default()));
        for other in [&two, &line] {
            assert_eq!(laid_over(&[("a", Role::Trained, &one), ("b", Role::Trained, other)]), None);
        }
    }
}
