//! The last blocks taken together: their class tokens side by side, as DINO's protocol and off-the-shelf transfer have it.

use super::{Asked, LinearProbe};
use measure::interval::Interval;
use measure::vote::top1;
use report::{Block, Cell, Metric, Recipe, RecipeError, Table};
use serde::{Deserialize, Serialize};
use vit_core::Site;
use vit_features::{Findings, Part, Place, Select, Shapes, Study};

/// Which blocks are taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ensemble {
    /// The class tokens of this many last blocks, each through the final norm; 0 for none. 4 in DINO for ViT-S, 1 for ViT-B.
    pub last: usize,
    /// Whether the mean of the last block's patch tokens stands beside them: in DINO for ViT-B.
    pub mean: bool,
}

impl Recipe for Ensemble {
    fn check(&self) -> Result<(), RecipeError> {
        match self.last == 0 && self.mean {
            true => Err(RecipeError::value("ensemble.last", "at least 1 where ensemble.mean is set", "0")),
            false => Ok(()),
        }
    }
}

impl Ensemble {
    /// The features that stand side by side; the mean of the patches in place of a class token that a model does not have.
    pub(super) fn selects(self, shapes: &Shapes) -> Vec<Select> {
        let place = |block: usize| match shapes.has_norm {
            true => Place::NormedBlock(block),
            false => Place::At(Site::Block(block)),
        };
        let part = if shapes.has_class { Part::Class } else { Part::Mean };
        let first = shapes.depth.saturating_sub(self.last);
        let mut selects: Vec<Select> =
            (first..shapes.depth).map(|block| Select { place: place(block), part }).collect();
        if self.mean && shapes.has_class && shapes.depth > 0 {
            selects.push(Select { place: place(shapes.depth - 1), part: Part::Mean });
        }
        selects
    }
}

/// Tells what the ensemble gives, beside the best single layer; it takes no part in the choice of the layer.
pub(super) fn tell(
    selects: &[Select],
    asked: &Asked,
    labels: &[u32],
    interval: impl Fn(&[bool]) -> Interval,
    findings: &mut Findings,
) {
    let predicted = asked.ranking.column(0).to_vec();
    let right: Vec<bool> = predicted.iter().zip(labels).map(|(ours, label)| ours == label).collect();
    let interval = interval(&right);
    let name = selects.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ");
    let held_out = asked.answer.held_out[asked.answer.chosen];
    let test = top1(&predicted, labels);
    for (metric, value) in [
        ("ensemble.top1", test),
        ("ensemble.top1_low", interval.low),
        ("ensemble.top1_high", interval.high),
        ("ensemble.held_out_top1", held_out),
    ] {
        findings.metrics.push(Metric::new(metric, value, "ratio").select(name.clone()));
    }
    let columns = ["features", "held-out top-1", "test top-1", "95 % low", "95 % high"];
    let mut table = Table::new("ensemble", "The last blocks together", columns);
    let numbers = [held_out, test, interval.low, interval.high].map(Cell::from);
    table.push([Cell::from(name)].into_iter().chain(numbers).collect::<Vec<_>>());
    findings.tables.push(table.note(format!(
        "{}: features side by side are more numbers than one layer has, and take no part in the choice of the best layer.",
        LinearProbe::INFO.name
    )));
    findings.story.push(Block::Table("ensemble".into()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ensemble: Ensemble, shapes: &Shapes) -> Vec<String> {
        ensemble.selects(shapes).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_features_of_published_protocols() {
        let shapes = Shapes { depth: 12, has_class: true, has_norm: true, ..Shapes::of_pixels(8) };
        let small = Ensemble { last: 4, mean: false };
        let expected = [8, 9, 10, 11].map(|block| format!("normed.block{block}.cls"));
        assert_eq!(names(small, &shapes), expected);
        let base = Ensemble { last: 1, mean: true };
        assert_eq!(names(base, &shapes), ["normed.block11.cls", "normed.block11.mean"]);
        // Without a class token the means of the patches stand for it; pixels have no blocks.
        let plain = Shapes { has_class: false, has_norm: false, depth: 2, ..shapes.clone() };
        assert_eq!(names(base, &plain), ["block1.mean"]);
        assert!(names(small, &Shapes::of_pixels(8)).is_empty());
        assert!(Ensemble { last: 0, mean: true }.check().is_err());
    }
}
