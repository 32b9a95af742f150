//! TEMPLATE: say in one line what is asked.

use report::{Block, Cell, Info, Metric, Recipe, RecipeError, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::Site;
use vit_features::{
    Accumulate, Findings, Needs, Part, Place, Role, Select, Shapes, Study, StudyError, Taken,
};

/// The options of [`Template`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateConfig {
    /// Whether features are divided by their length first. Replace it by what the method has.
    pub normalize: bool,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        Self { normalize: true }
    }
}

impl Recipe for TemplateConfig {
    fn check(&self) -> Result<(), RecipeError> {
        Ok(())
    }
}

/// What it computes: the class whose mean training feature is nearest, `argmin_c ‖f − mean of class c‖`, at every layer.
///
/// # Source
/// Name the paper, and where this differs from it.
pub struct Template;

/// One select's sums over the training side, and the features of the test side.
#[derive(Default, Serialize, Deserialize)]
struct Layer {
    /// Class to number of samples and sum of features.
    classes: BTreeMap<u32, (usize, Vec<f64>)>,
    asked: Vec<Vec<f32>>,
}

/// What grows while batches pass.
#[derive(Serialize, Deserialize)]
pub struct TemplateAcc {
    normalize: bool,
    selects: Vec<Select>,
    layers: BTreeMap<Select, Layer>,
    labels: Vec<u32>,
}

fn unit(feature: &[f32], normalize: bool) -> Vec<f32> {
    let norm = feature.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-12);
    let factor = if normalize { 1.0 / norm } else { 1.0 };
    feature.iter().map(|x| (f64::from(*x) * factor) as f32).collect()
}

impl Accumulate for TemplateAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        let mut labels = Vec::with_capacity(taken.info.labels.len());
        for (label, index) in taken.info.labels.iter().zip(taken.info.indices) {
            labels.push(label.ok_or_else(|| StudyError::Value {
                study: Template::INFO.name.into(),
                expected: "a class for every sample".into(),
                found: format!("none for sample {index}"),
            })?);
        }
        for select in &self.selects {
            let Some((shape, values)) = taken.features.get(select) else { continue };
            let layer = self.layers.entry(*select).or_default();
            for (feature, label) in values.chunks_exact(shape[1]).zip(&labels) {
                let feature = unit(feature, self.normalize);
                if taken.info.role == Role::Test {
                    layer.asked.push(feature);
                    continue;
                }
                let (n, sum) = layer.classes.entry(*label).or_insert_with(|| (0, vec![0.0; feature.len()]));
                *n += 1;
                sum.iter_mut().zip(&feature).for_each(|(sum, x)| *sum += f64::from(*x));
            }
        }
        if taken.info.role == Role::Test {
            self.labels.extend(labels);
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.labels.extend(later.labels);
        for (select, later) in later.layers {
            let layer = self.layers.entry(select).or_default();
            layer.asked.extend(later.asked);
            for (class, (n, sum)) in later.classes {
                let ours = layer.classes.entry(class).or_insert_with(|| (0, vec![0.0; sum.len()]));
                ours.0 += n;
                ours.1.iter_mut().zip(sum).for_each(|(ours, x)| *ours += x);
            }
        }
    }
}

/// The mean of the patches at every block; the pixels where there is no model.
fn candidates(shapes: &Shapes) -> Vec<Select> {
    if shapes.depth == 0 {
        return vec![Select::PIXELS];
    }
    let select = |&block: &usize| Select { place: Place::At(Site::Block(block)), part: Part::Mean };
    shapes.blocks.iter().map(select).collect()
}

/// Which class has the nearest mean.
fn nearest(classes: &BTreeMap<u32, (usize, Vec<f64>)>, feature: &[f32]) -> Option<u32> {
    let distance = |(n, sum): &(usize, Vec<f64>)| -> f64 {
        let pairs = feature.iter().zip(sum);
        pairs.map(|(x, sum)| (f64::from(*x) - sum / *n as f64).powi(2)).sum()
    };
    let by_distance = |a: &(&u32, f64), b: &(&u32, f64)| a.1.total_cmp(&b.1);
    classes.iter().map(|(class, mean)| (class, distance(mean))).min_by(by_distance).map(|(class, _)| *class)
}

impl Study for Template {
    const INFO: Info = Info {
        name: "template",
        line: "the class whose mean feature is nearest, at every layer",
        source: "name the paper here",
    };
    type Config = TemplateConfig;
    type Acc = TemplateAcc;

    fn needs(_: &TemplateConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        Ok(Needs { selects: candidates(shapes), train: true, labels: true, ..Needs::default() })
    }

    fn open(config: &TemplateConfig, shapes: &Shapes) -> TemplateAcc {
        TemplateAcc {
            normalize: config.normalize,
            selects: candidates(shapes),
            layers: BTreeMap::new(),
            labels: Vec::new(),
        }
    }

    fn finish(_: &TemplateConfig, shapes: &Shapes, acc: TemplateAcc) -> Result<Findings, StudyError> {
        let mut findings = Findings::default();
        let mut table = Table::new("by_layer", "Accuracy by layer", ["features", "test top-1"]);
        for (select, layer) in &acc.layers {
            let right = layer.asked.iter().zip(&acc.labels);
            let n_right =
                right.filter(|(feature, label)| nearest(&layer.classes, feature) == Some(**label)).count();
            let top1 = n_right as f64 / acc.labels.len().max(1) as f64;
            let metric = Metric::new("top1", top1, "ratio").select(select.to_string());
            findings.metrics.push(match select.layer(shapes.depth) {
                Some(layer) => metric.layer(layer),
                None => metric,
            });
            table.push([Cell::from(select.to_string()), Cell::from(top1)]);
        }
        let n_classes = shapes.n_classes.max(1);
        findings.metrics.push(Metric::new("chance", 1.0 / n_classes as f64, "ratio"));
        findings.tables.push(table);
        findings.story.push(Block::Table("by_layer".into()));
        Ok(findings)
    }
}
