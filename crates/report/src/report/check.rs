//! What every report must keep before it is stored.

use crate::{Block, Card, Cell, Figure, FigureData, Metric, Report, ReportError, Series, Table};
use std::collections::BTreeSet;

impl Report {
    /// Checks that every number is finite and that all parts fit together.
    ///
    /// # Errors
    /// [`ReportError::NotFinite`] names the metric, cell, figure or array; [`ReportError::Shape`] says which table row,
    /// tile or story block does not fit.
    pub fn check(&self) -> Result<(), ReportError> {
        for metric in &self.metrics {
            finite(metric.value, || format!("metric {}", place_of(metric)))?;
        }
        finite(self.provenance.elapsed_secs, || "provenance.elapsed_secs".to_owned())?;
        unique("table", self.tables.iter().map(|table| &table.name))?;
        unique("figure", self.figures.iter().map(|figure| &figure.name))?;
        unique("array", self.arrays.iter().map(|array| &array.name))?;
        self.tables.iter().try_for_each(check_table)?;
        for table in &self.tables {
            let unknown = table.links.iter().find(|link| !link.is_empty() && self.table(link).is_none());
            if let Some(link) = unknown {
                let place = format!("links of table `{}`", table.name);
                return Err(ReportError::shape(place, "tables of this report", format!("`{link}`")));
            }
        }
        self.figures.iter().try_for_each(check_figure)?;
        for array in &self.arrays {
            let place = || format!("array `{}`", array.name);
            let n_expected: usize = array.shape.iter().product();
            if n_expected != array.values.len() {
                let expected = format!("{n_expected} values for shape {:?}", array.shape);
                return Err(ReportError::shape(place(), expected, array.values.len()));
            }
            array.values.iter().try_for_each(|value| finite(f64::from(*value), place))?;
        }
        for block in &self.story {
            let missing = match block {
                Block::Table(name) if self.table(name).is_none() => ("table", name),
                Block::Figure(name) if self.figure(name).is_none() => ("figure", name),
                Block::Numbers(cards) => {
                    let unknown = |card: &&Card| !card.table.is_empty() && self.table(&card.table).is_none();
                    match cards.iter().find(unknown) {
                        Some(card) => ("table", &card.table),
                        None => continue,
                    }
                }
                _ => continue,
            };
            let expected = format!("a {} of this report", missing.0);
            return Err(ReportError::shape("story", expected, format!("`{}`", missing.1)));
        }
        Ok(())
    }
}

/// `top1[layer=11,k=20]`, as `--expect` writes it.
fn place_of(metric: &Metric) -> String {
    let mut at: Vec<String> = Vec::new();
    at.extend(metric.layer.map(|layer| format!("layer={layer}")));
    at.extend(metric.head.map(|head| format!("head={head}")));
    at.extend(metric.select.as_ref().map(|select| format!("select={select}")));
    at.extend(metric.params.iter().map(|(key, value)| format!("{key}={value}")));
    if at.is_empty() { metric.name.clone() } else { format!("{}[{}]", metric.name, at.join(",")) }
}

fn finite(value: f64, place: impl Fn() -> String) -> Result<(), ReportError> {
    if value.is_finite() { Ok(()) } else { Err(ReportError::NotFinite { place: place(), value }) }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<(), ReportError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() || !seen.insert(name) {
            return Err(ReportError::shape(format!("{what}s"), "unique names", format!("`{name}` again")));
        }
    }
    Ok(())
}

fn check_table(table: &Table) -> Result<(), ReportError> {
    for (row_idx, row) in table.rows.iter().enumerate() {
        let place = || format!("table `{}`, row {row_idx}", table.name);
        if row.len() != table.columns.len() {
            return Err(ReportError::shape(place(), format!("{} cells", table.columns.len()), row.len()));
        }
        for (cell, column) in row.iter().zip(&table.columns) {
            if let Cell::Number(value) = cell {
                finite(*value, || format!("{}, column `{column}`", place()))?;
            }
        }
    }
    Ok(())
}

fn check_figure(figure: &Figure) -> Result<(), ReportError> {
    let place = format!("figure `{}`", figure.name);
    match &figure.data {
        FigureData::Line(plot) => {
            for (name, value) in &plot.reference_lines {
                finite(*value, || format!("{place}, reference line `{name}`"))?;
            }
            check_series(&place, &plot.series)
        }
        FigureData::Scatter(plot) => check_series(&place, &plot.series),
        FigureData::Bar { labels, series, .. } => {
            check_series(&place, series)?;
            for (x, _) in series.iter().flat_map(|one| &one.points) {
                if x.fract() != 0.0 || *x < 0.0 || *x >= labels.len() as f64 {
                    return Err(ReportError::shape(&place, format!("x an index below {}", labels.len()), x));
                }
            }
            Ok(())
        }
        FigureData::Heatmap { row_labels, col_labels, values, range, .. } => {
            let n_cols = values.first().map_or(0, Vec::len);
            for (row_idx, row) in values.iter().enumerate() {
                let place = || format!("{place}, row {row_idx}");
                if row.len() != n_cols {
                    return Err(ReportError::shape(place(), format!("{n_cols} values"), row.len()));
                }
                row.iter().try_for_each(|value| finite(*value, place))?;
            }
            for (labels, n_expected, what) in
                [(row_labels, values.len(), "row"), (col_labels, n_cols, "column")]
            {
                if !labels.is_empty() && labels.len() != n_expected {
                    return Err(ReportError::shape(
                        &place,
                        format!("{n_expected} {what} labels"),
                        labels.len(),
                    ));
                }
            }
            let (low, high) = range.unwrap_or((0.0, 1.0));
            finite(low, || format!("{place}, range"))?;
            finite(high, || format!("{place}, range"))
        }
        FigureData::Image(grid) => {
            if grid.columns == 0 || grid.scale == 0 {
                return Err(ReportError::shape(&place, "at least 1 column and scale 1", 0));
            }
            for (tile_idx, tile) in grid.tiles.iter().enumerate() {
                let n_bytes = tile.width_px * tile.height_px * 3;
                if n_bytes == 0 || tile.rgb.len() != n_bytes {
                    let expected = format!("{}×{}×3 bytes", tile.width_px, tile.height_px);
                    let place = format!("{place}, tile {tile_idx}");
                    return Err(ReportError::shape(place, expected, tile.rgb.len()));
                }
            }
            Ok(())
        }
    }
}

fn check_series(place: &str, series: &[Series]) -> Result<(), ReportError> {
    for one in series {
        let place = || format!("{place}, series `{}`", one.name);
        let bands = one.low_high.as_deref().unwrap_or_default();
        if one.low_high.is_some() && bands.len() != one.points.len() {
            return Err(ReportError::shape(place(), format!("{} intervals", one.points.len()), bands.len()));
        }
        for (a, b) in one.points.iter().chain(bands) {
            finite(*a, place)?;
            finite(*b, place)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Array, ImageGrid, Kind, LinePlot, Provenance, Tile};

    fn report() -> Report {
        Report::new("knn", Kind::Probe, "t", "m", "d", Provenance::default())
    }

    fn complaint(report: &Report) -> String {
        report.check().expect_err("should be refused").to_string()
    }

    fn with_figure(data: FigureData) -> Report {
        let mut report = report();
        report.figures.push(Figure::new("f", "", "", data));
        report
    }

    #[test]
    fn a_metric_that_is_not_finite_is_named_with_its_place() {
        let mut report = report();
        report.metrics.push(Metric::new("top1", 0.5, "ratio"));
        report.metrics.push(Metric::new("top1", f64::NAN, "ratio").layer(3).param("k", 20));
        insta::assert_snapshot!(complaint(&report), @"metric top1[layer=3,k=20] is NaN: every number of a report must be finite");
        report.metrics[1] = Metric::new("loss", f64::NEG_INFINITY, "nats");
        insta::assert_snapshot!(complaint(&report), @"metric loss is -inf: every number of a report must be finite");
    }

    #[test]
    fn tables_must_be_rectangular_and_finite() {
        let mut report = report();
        report.tables.push(Table::new("t", "", ["a", "b"]).row([1.into(), f64::INFINITY.into()]));
        insta::assert_snapshot!(complaint(&report), @"table `t`, row 0, column `b` is inf: every number of a report must be finite");
        report.tables[0].rows[0].pop();
        insta::assert_snapshot!(complaint(&report), @"table `t`, row 0: expected 2 cells, found 1");
        report.tables = vec![Table::new("t", "", ["a"]), Table::new("t", "", ["a"])];
        insta::assert_snapshot!(complaint(&report), @"tables: expected unique names, found `t` again");
    }

    #[test]
    fn figures_arrays_and_story_must_fit() {
        let line = |low_high| {
            let one = Series { low_high, ..Series::new("s", vec![(0.0, 1.0)]) };
            with_figure(FigureData::Line(LinePlot { series: vec![one], ..LinePlot::default() }))
        };
        assert!(line(Some(vec![(0.0, 2.0)])).check().is_ok());
        insta::assert_snapshot!(complaint(&line(Some(vec![]))), @"figure `f`, series `s`: expected 1 intervals, found 0");
        let tile = Tile { width_px: 2, height_px: 1, rgb: vec![0; 3], caption: String::new() };
        let grid = ImageGrid { columns: 1, tiles: vec![tile], scale: 1, ..ImageGrid::default() };
        insta::assert_snapshot!(complaint(&with_figure(FigureData::Image(grid))), @"figure `f`, tile 0: expected 2×1×3 bytes, found 3");
        let mut report = report();
        report.arrays.push(Array { name: "a".into(), shape: vec![2, 2], values: vec![0.0; 3] });
        insta::assert_snapshot!(complaint(&report), @"array `a`: expected 4 values for shape [2, 2], found 3");
        report.arrays.clear();
        report.story.push(Block::Figure("gone".into()));
        insta::assert_snapshot!(complaint(&report), @"story: expected a figure of this report, found `gone`");
    }
}
