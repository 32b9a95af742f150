//! What is said of layers that are alike: a number for each pair, a heatmap for each pair of models.

use super::accumulator::Alike;
use super::{CkaConfig, Compat, Estimator, Layer, Places};
use ndarray::Array2;
use report::{Array, Block, Cell, Figure, FigureData, Metric, Table};
use vit_core::Site;
use vit_features::{Findings, Shapes};

/// One of the two residual additions of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Branch {
    Attention,
    Mlp,
}

/// The addition that a stream enters.
fn stream_of(site: Site) -> Option<Branch> {
    match site {
        Site::Embed | Site::Block(_) => Some(Branch::Attention),
        Site::Mid(_) => Some(Branch::Mlp),
        _ => None,
    }
}

/// The addition to which a branch adds.
fn added_by(site: Site) -> Option<Branch> {
    match site {
        Site::AttnAdded(_) => Some(Branch::Attention),
        Site::MlpAdded(_) => Some(Branch::Mlp),
        _ => None,
    }
}

/// The addition of which one place is the stream and the other the branch.
fn summands(a: Site, b: Site) -> Option<Branch> {
    let both = |stream: Site, added: Site| stream_of(stream).filter(|_| stream_of(stream) == added_by(added));
    both(a, b).or_else(|| both(b, a))
}

/// Everything that one matrix of CKA says.
struct Matrix<'a> {
    config: &'a CkaConfig,
    estimator: Estimator,
    /// Model by model.
    layers: &'a [Layer],
    /// Their names, all different.
    models: &'a [String],
    values: &'a Array2<f64>,
}

/// The findings.
pub(super) fn tell(config: &CkaConfig, shapes: &Shapes, layers: &[Layer], alike: &Alike) -> Findings {
    let models = names(shapes);
    let mut findings = Findings::default();
    let matrices: Vec<Matrix> = [(Estimator::Minibatch, &alike.minibatch), (Estimator::Full, &alike.full)]
        .into_iter()
        .filter_map(|(estimator, values)| {
            Some(Matrix { config, estimator, layers, models: &models, values: values.as_ref()? })
        })
        .collect();
    for matrix in &matrices {
        matrix.add_metrics(&mut findings);
        if config.places == Places::Residuals {
            (0..models.len()).for_each(|model| matrix.add_residuals(model, &mut findings));
            continue;
        }
        if models.len() > 2 {
            matrix.add_models(&mut findings);
            matrix.add_whole(&mut findings);
        }
        for (a, b) in pairs_of_models(models.len()) {
            matrix.add_figure(a, b, &mut findings);
        }
    }
    if models.len() > 1 && config.places != Places::Residuals {
        let table = nearest(&matrices);
        findings.story.push(Block::Table(table.name.clone()));
        findings.tables.push(table.note(
            "For every layer of a model, the layer of another model that is most alike. Nearest layers that rise \
             together say that both models pass the same stages; a model whose layers all point to one place of the \
             other has left the rest out.",
        ));
    }
    if models.len() > 1 && config.places != Places::Residuals {
        let table = same_depth(&matrices);
        findings.story.push(Block::Table(table.name.clone()));
        findings.tables.push(table.note(
            "Every layer of the shallower model beside the layer of the other at the same relative depth. Models that were \
             trained alike and differ in early layers have not settled on them; where they differ late, what is asked of \
             them differs.",
        ));
    }
    let table = samples(config, layers, alike);
    findings.story.push(Block::Table(table.name.clone()));
    findings.tables.push(table);
    findings
}

/// The models' names; one that stands twice gets a number.
fn names(shapes: &Shapes) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for shapes in shapes.models() {
        let mut name = shapes.model.clone();
        let mut n = 2;
        while names.contains(&name) {
            name = format!("{} ({n})", shapes.model);
            n += 1;
        }
        names.push(name);
    }
    names
}

/// Every pair of models to show, each with itself included; of several, the first with the second comes first.
fn pairs_of_models(n: usize) -> Vec<(usize, usize)> {
    let mut pairs: Vec<(usize, usize)> = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect();
    pairs.extend((0..n).map(|a| (a, a)));
    pairs
}

impl Matrix<'_> {
    /// The layers of a model, by their places in the matrix.
    fn of(&self, model: usize) -> Vec<usize> {
        (0..self.layers.len()).filter(|&layer| self.layers[layer].model == model).collect()
    }

    fn add_metrics(&self, findings: &mut Findings) {
        for (i, row) in self.layers.iter().enumerate() {
            let is_asked = |column: &Layer| match self.config.places {
                Places::Residuals => row.model == column.model && summands(row.site, column.site).is_some(),
                Places::Blocks | Places::Norms => true,
            };
            for (j, column) in
                self.layers.iter().enumerate().skip(i + 1).filter(|(_, column)| is_asked(column))
            {
                let mut metric = Metric::new(self.estimator.name(), self.values[[i, j]], "ratio")
                    .layer(row.block)
                    .select(row.name.clone())
                    .param("other_layer", column.block)
                    .param("other_select", column.name.clone());
                if self.models.len() > 1 {
                    metric = metric
                        .param("model", self.models[row.model].as_str())
                        .param("other_model", self.models[column.model].as_str());
                }
                findings.metrics.push(metric);
            }
        }
        // One layer of one model is like itself, and nothing else is to be said.
        if self.layers.len() == 1 {
            let only = &self.layers[0];
            let metric = Metric::new(self.estimator.name(), self.values[[0, 0]], "ratio");
            let metric = metric.layer(only.block).select(only.name.clone());
            findings
                .metrics
                .push(metric.param("other_layer", only.block).param("other_select", only.name.clone()));
        }
    }

    /// The stream beside what is added to it, block by block: one heatmap for the attention, one for the MLP.
    fn add_residuals(&self, model: usize, findings: &mut Findings) {
        let name_of_model = &self.models[model];
        for (branch, words) in [(Branch::Attention, "attention"), (Branch::Mlp, "MLP")] {
            let side = |wanted: fn(Site) -> Option<Branch>| -> Vec<usize> {
                let own = self.of(model).into_iter();
                own.filter(|&layer| wanted(self.layers[layer].site) == Some(branch)).collect()
            };
            let (rows, columns) = (side(stream_of), side(added_by));
            let cells = |&i: &usize| columns.iter().map(|&j| self.values[[i, j]]).collect::<Vec<f64>>();
            let values: Vec<Vec<f64>> = rows.iter().map(cells).collect();
            let mut name = format!("{}_{}", self.estimator.name(), words.to_lowercase());
            if self.models.len() > 1 {
                name.push_str(&format!("-{model}"));
            }
            findings.arrays.push(Array {
                name: name.clone(),
                shape: vec![rows.len(), columns.len()],
                values: values.iter().flatten().map(|&value| value as f32).collect(),
            });
            let labels = |layers: &[usize]| -> Vec<String> {
                layers.iter().map(|&layer| self.layers[layer].block.to_string()).collect()
            };
            let data = FigureData::Heatmap {
                row_labels: labels(&rows),
                col_labels: labels(&columns),
                x_label: format!("what the {words} of a block adds"),
                y_label: format!("stream that enters the {words}"),
                values,
                range: Some((0.0, 1.0)),
                unit: "CKA".into(),
            };
            let caption = format!(
                "Each cell is the CKA ({} tokens) of the stream that comes into a residual addition with what some block's \
                 {words} adds: near 1 on the diagonal, the branch repeats what is there; near 0, it brings something \
                 new. It says nothing of how much is added; for that see residual-ratio.",
                self.config.tokens.name()
            );
            let title = format!("The stream beside what the {words} adds, {name_of_model} ({})", self.how());
            findings.story.push(Block::Figure(name.clone()));
            findings.figures.push(Figure::new(name, title, caption, data));
        }
    }

    /// Over which samples, in words.
    fn how(&self) -> String {
        match (self.estimator, self.config.compat) {
            (Estimator::Full, _) => "all images at once".to_owned(),
            (Estimator::Minibatch, Compat::None) => format!("groups of {} images", self.config.batch),
            (Estimator::Minibatch, Compat::VitAnalysis) => {
                format!("groups of {} images of a class, scaled", self.config.batch)
            }
        }
    }

    /// The heatmap of two models, or of one with itself, and its array under the same name.
    fn add_figure(&self, a: usize, b: usize, findings: &mut Findings) {
        let n = self.models.len();
        let name = match (a, b) {
            (0, _) if b + 1 == n.min(2) => self.estimator.name().to_owned(),
            _ => format!("{}-{a}-{b}", self.estimator.name()),
        };
        let (rows, columns) = (self.of(a), self.of(b));
        let values: Vec<Vec<f64>> =
            rows.iter().map(|&i| columns.iter().map(|&j| self.values[[i, j]]).collect()).collect();
        let array: Vec<f32> = values.iter().flatten().map(|&value| value as f32).collect();
        findings.arrays.push(Array {
            name: name.clone(),
            shape: vec![rows.len(), columns.len()],
            values: array,
        });
        let how = self.how();
        let (x, y) = (&self.models[b], &self.models[a]);
        let (title, reading) = if a == b {
            (
                format!("Which layers of {x} are alike ({how})"),
                "Light squares along the diagonal are stages in which little changes; a dark line between them is a \
                 layer that changes much. The diagonal is 1 by definition.",
            )
        } else {
            (
                format!("Which layers of {y} and {x} are alike ({how})"),
                "A light diagonal means that both models pass the same stages at the same depth; a light column, that \
                 one layer of the one is like many of the other.",
            )
        };
        let caption = format!(
            "Each cell is the CKA of two layers ({} tokens): 1 where the images lie to one another in the same way, \
             up to rotation and scale, about 0 where they have nothing in common. {reading} It says nothing of \
             whether what is alike is of use.",
            self.config.tokens.name()
        );
        let of = |model: &String| match self.config.places {
            Places::Blocks => format!("block of {model}"),
            Places::Norms | Places::Residuals => format!("norm of {model}"),
        };
        let data = FigureData::Heatmap {
            row_labels: self.labels(&rows),
            col_labels: self.labels(&columns),
            x_label: of(x),
            y_label: of(y),
            values,
            range: Some((0.0, 1.0)),
            unit: "CKA".into(),
        };
        // Of many models the whole matrix is told, and the pairs are there to be looked up.
        if n <= 2 {
            findings.story.push(Block::Figure(name.clone()));
        }
        findings.figures.push(Figure::new(name, title, caption, data));
    }

    /// Layers of two models at the same relative depth: each of the shallower one, with its partner.
    fn at_the_same_depth(&self, a: usize, b: usize) -> Vec<(usize, usize)> {
        let (rows, columns) = (self.of(a), self.of(b));
        let is_shallower = rows.len() <= columns.len();
        let (few, many) = if is_shallower { (rows, columns) } else { (columns, rows) };
        let partner = |i: usize| match few.len() {
            1 => many.len() - 1,
            n => (i * (many.len() - 1) + (n - 1) / 2) / (n - 1),
        };
        let pairs = few.iter().enumerate().map(|(i, &layer)| (layer, many[partner(i)]));
        pairs.map(|(few, many)| if is_shallower { (few, many) } else { (many, few) }).collect()
    }

    /// How alike two models are, over all depths.
    fn mean_at_the_same_depth(&self, a: usize, b: usize) -> f64 {
        let pairs = self.at_the_same_depth(a, b);
        pairs.iter().map(|&(i, j)| self.values[[i, j]]).sum::<f64>() / pairs.len().max(1) as f64
    }

    /// Every model beside every other, as one heatmap: which of them are a family.
    fn add_models(&self, findings: &mut Findings) {
        let n = self.models.len();
        let row = |a: usize| (0..n).map(|b| self.mean_at_the_same_depth(a, b)).collect::<Vec<f64>>();
        let caption = format!(
            "Each cell is the mean CKA ({} tokens) of the layers of two models at the same relative depth. A light square is a \
             family: models that lay images out alike, layer by layer. A mean hides at which depth they part; the whole \
             matrix below shows it, and whether what is alike is of use neither says.",
            self.config.tokens.name()
        );
        let data = FigureData::Heatmap {
            row_labels: self.models.to_vec(),
            col_labels: self.models.to_vec(),
            x_label: String::new(),
            y_label: String::new(),
            values: (0..n).map(row).collect(),
            range: Some((0.0, 1.0)),
            unit: "mean CKA".into(),
        };
        let name = format!("{}-models", self.estimator.name());
        let title = format!("Which models are alike ({})", self.how());
        findings.story.push(Block::Figure(name.clone()));
        findings.figures.push(Figure::new(name, title, caption, data));
    }

    /// Every layer of every model beside every other, as one heatmap.
    fn add_whole(&self, findings: &mut Findings) {
        let layers: Vec<usize> = (0..self.layers.len()).collect();
        let of = |&layer: &usize| self.models[self.layers[layer].model].as_str();
        let labels: Vec<String> = layers
            .iter()
            .zip(self.labels(&layers))
            .map(|(layer, label)| format!("{} {label}", of(layer)))
            .collect();
        let values = layers.iter().map(|&i| layers.iter().map(|&j| self.values[[i, j]]).collect()).collect();
        let (name, how) = match self.estimator {
            Estimator::Minibatch => ("cka_minibatch-all", self.how()),
            Estimator::Full => ("cka_full-all", self.how()),
        };
        let caption = format!(
            "Each cell is the CKA of two layers ({} tokens): 1 where the images lie to one another in the same way, \
             up to rotation and scale, about 0 where they have nothing in common. Squares on the diagonal are models \
             with themselves, the others one model with another. It says nothing of whether what is alike is of use.",
            self.config.tokens.name()
        );
        let data = FigureData::Heatmap {
            row_labels: labels.clone(),
            col_labels: labels,
            x_label: "layer".into(),
            y_label: "layer".into(),
            values,
            range: Some((0.0, 1.0)),
            unit: "CKA".into(),
        };
        let title = format!("Which layers are alike, within a model and between models ({how})");
        findings.story.push(Block::Figure(name.into()));
        findings.figures.push(Figure::new(name, title, caption, data));
    }

    /// What stands beside a heatmap: the block's number, or the norm.
    fn labels(&self, layers: &[usize]) -> Vec<String> {
        let label = |layer: &Layer| match self.config.places {
            Places::Blocks => layer.block.to_string(),
            Places::Norms | Places::Residuals => {
                layer.name.rsplit_once('.').map_or("", |(site, _)| site).to_owned()
            }
        };
        layers.iter().map(|&layer| label(&self.layers[layer])).collect()
    }
}

/// For every layer of each model, the most similar layer of every other model.
fn nearest(matrices: &[Matrix]) -> Table {
    let columns = ["estimator", "model", "layer", "other model", "nearest layer", "CKA"];
    let mut table = Table::new("nearest_layers", "The nearest layer of the other model", columns);
    for matrix in matrices {
        let n = matrix.models.len();
        for (a, b) in (0..n).flat_map(|a| (0..n).map(move |b| (a, b))).filter(|(a, b)| a != b) {
            for i in matrix.of(a) {
                let others = matrix.of(b);
                let best = others.into_iter().max_by(|&j, &k| {
                    // Of equals the earlier layer.
                    matrix.values[[i, j]].total_cmp(&matrix.values[[i, k]]).then(k.cmp(&j))
                });
                let Some(best) = best else { continue };
                table.push([
                    Cell::from(matrix.estimator.name()),
                    Cell::from(matrix.models[a].as_str()),
                    Cell::from(matrix.layers[i].name.as_str()),
                    Cell::from(matrix.models[b].as_str()),
                    Cell::from(matrix.layers[best].name.as_str()),
                    Cell::from(matrix.values[[i, best]]),
                ]);
            }
        }
    }
    table
}

/// For every pair of models their layers at the same relative depth.
fn same_depth(matrices: &[Matrix]) -> Table {
    let columns = ["estimator", "model", "layer", "other model", "its layer", "CKA"];
    let mut table = Table::new("same_depth", "Layers of two models at the same depth", columns);
    for matrix in matrices {
        let n = matrix.models.len();
        for (a, b) in (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))) {
            for (i, j) in matrix.at_the_same_depth(a, b) {
                table.push([
                    Cell::from(matrix.estimator.name()),
                    Cell::from(matrix.models[a].as_str()),
                    Cell::from(matrix.layers[i].name.as_str()),
                    Cell::from(matrix.models[b].as_str()),
                    Cell::from(matrix.layers[j].name.as_str()),
                    Cell::from(matrix.values[[i, j]]),
                ]);
            }
        }
    }
    table
}

/// How the numbers were come by.
fn samples(config: &CkaConfig, layers: &[Layer], alike: &Alike) -> Table {
    let mut table = Table::new("samples", "What the numbers are made of", ["estimator", "images", "groups"]);
    let int = |n: usize| Cell::from(n as i64);
    if alike.minibatch.is_some() {
        let used = alike.n_samples - alike.n_left_out;
        table.push([Cell::from(Estimator::Minibatch.name()), int(used), int(alike.n_groups)]);
    }
    if alike.full.is_some() {
        table.push([Cell::from(Estimator::Full.name()), int(alike.n_samples), int(1)]);
    }
    let mut note = format!(
        "Groups of {} images {}, whatever the batch of the forward pass.",
        config.batch,
        match config.compat {
            Compat::None => "in the order of the data",
            Compat::VitAnalysis =>
                "of one class, what is left of the classes last; each Gram matrix scaled to 0–1",
        }
    );
    if alike.n_left_out > 0 {
        note.push_str(&format!(
            " {} of the images were left out of the minibatch estimator: fewer than 4 remained for a group.",
            alike.n_left_out
        ));
    }
    if alike.n_off_border > 0 {
        note.push_str(&format!(
            " {} parts were joined inside a group: the groups there are smaller than in one run, and the minibatch \
             estimate is another one of the same quantity.",
            alike.n_off_border
        ));
    }
    if !alike.constant.is_empty() {
        let names: Vec<&str> = alike.constant.iter().map(|&layer| layers[layer].name.as_str()).collect();
        note.push_str(&format!(" The same for every image, and so given as 0: {}.", names.join(", ")));
    }
    table.note(note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn layers_stand_beside_those_of_the_same_relative_depth() {
        let layer = |model: usize, block: usize| Layer {
            model,
            block,
            site: Site::Block(block),
            selects: Vec::new(),
            width: 1,
            name: format!("block{block}.cls"),
        };
        // Two blocks, then four: the first and the last of both meet.
        let layers: Vec<Layer> = (0..2).map(|i| layer(0, i)).chain((0..4).map(|i| layer(1, i))).collect();
        let values = array![
            [1.0, 0.5, 0.9, 0.1, 0.2, 0.3],
            [0.5, 1.0, 0.1, 0.2, 0.3, 0.7],
            [0.9, 0.1, 1.0, 0.5, 0.5, 0.5],
            [0.1, 0.2, 0.5, 1.0, 0.5, 0.5],
            [0.2, 0.3, 0.5, 0.5, 1.0, 0.5],
            [0.3, 0.7, 0.5, 0.5, 0.5, 1.0],
        ];
        let models = ["a".to_owned(), "b".to_owned()];
        let matrix = Matrix {
            config: &CkaConfig::default(),
            estimator: Estimator::Minibatch,
            layers: &layers,
            models: &models,
            values: &values,
        };
        assert_eq!(matrix.at_the_same_depth(0, 1), [(0, 2), (1, 5)]);
        assert_eq!(matrix.at_the_same_depth(1, 0), [(2, 0), (5, 1)]);
        assert_eq!(matrix.at_the_same_depth(1, 1), [(2, 2), (3, 3), (4, 4), (5, 5)]);
        assert!((matrix.mean_at_the_same_depth(0, 1) - 0.8).abs() < 1e-12);
        assert_eq!(same_depth(&[matrix]).rows.len(), 2);
    }
}
