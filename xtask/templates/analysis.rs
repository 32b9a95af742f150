//! TEMPLATE: say in one line what is asked.

use report::{Block, Figure, FigureData, Info, LinePlot, Metric, Recipe, RecipeError, Series};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::Site;
use vit_features::{
    Accumulate, Findings, Needs, Part, Place, Role, Select, Shapes, Study, StudyError, Taken,
};

/// The options of [`Template`]; there are none yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateConfig {}

impl Recipe for TemplateConfig {
    fn check(&self) -> Result<(), RecipeError> {
        Ok(())
    }
}

/// What it computes: `mean over images of ‖mean of the patch tokens‖` after every block.
///
/// # Source
/// Name the paper, and where this differs from it.
pub struct Template;

/// Sums over images; memory does not grow with their number.
#[derive(Default, Serialize, Deserialize)]
pub struct TemplateAcc {
    n_images: usize,
    norms: BTreeMap<Select, f64>,
}

impl Accumulate for TemplateAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        if taken.info.role != Role::Test {
            return Ok(());
        }
        self.n_images += taken.info.labels.len();
        for (select, (shape, values)) in taken.features.iter().filter(|(select, _)| is_ours(**select)) {
            let norm = |token: &[f32]| token.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let sum: f64 = values.chunks_exact(shape[1]).map(norm).sum();
            *self.norms.entry(*select).or_default() += sum;
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.n_images += later.n_images;
        for (select, sum) in later.norms {
            *self.norms.entry(select).or_default() += sum;
        }
    }
}

/// Features of other studies pass by too.
fn is_ours(select: Select) -> bool {
    matches!(select, Select { place: Place::At(Site::Block(_)), part: Part::Mean })
}

impl Study for Template {
    const INFO: Info = Info {
        name: "template",
        line: "how long the mean patch token is, block by block",
        source: "name the paper here",
    };
    type Config = TemplateConfig;
    type Acc = TemplateAcc;

    fn needs(_: &TemplateConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let select = |&block: &usize| Select { place: Place::At(Site::Block(block)), part: Part::Mean };
        Ok(Needs { selects: shapes.blocks.iter().map(select).collect(), ..Needs::default() })
    }

    fn open(_: &TemplateConfig, _: &Shapes) -> TemplateAcc {
        TemplateAcc::default()
    }

    fn finish(_: &TemplateConfig, shapes: &Shapes, acc: TemplateAcc) -> Result<Findings, StudyError> {
        let mut findings = Findings::default();
        let mut points = Vec::new();
        for (select, sum) in &acc.norms {
            let norm = sum / acc.n_images.max(1) as f64;
            let layer = select.layer(shapes.depth).unwrap_or_default();
            points.push((layer as f64, norm));
            findings
                .metrics
                .push(Metric::new("token_norm", norm, "length").layer(layer).select(select.to_string()));
        }
        let plot = LinePlot {
            x_label: "block".into(),
            y_label: "length".into(),
            series: vec![Series::new("mean patch token", points)],
            reference_lines: Vec::new(),
        };
        let caption = "Say how to read it, and what it does not show.";
        findings.figures.push(Figure::new("token_norm", "Length by block", caption, FigureData::Line(plot)));
        findings.story.push(Block::Figure("token_norm".into()));
        Ok(findings)
    }
}
