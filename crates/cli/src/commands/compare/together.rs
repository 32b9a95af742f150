//! What is asked of all models at once, when each has been asked alone.

use super::answers::{Answers, Curves};
use super::recipe::CompareRecipe;
use super::run::find;
use super::{ALL_MODELS, Plan, model_dir};
use crate::data::View;
use crate::studies::{Asked, lab, on_data, open_studies, report_of, run_studies_together};
use report::{Kind, Report, store::write_file};
use std::collections::BTreeMap;
use vit_core::Backbone;
use vit_features::{Lab, Layers, Models, Shapes, Source};

/// The analyses of the recipe that look at several models together.
pub(super) fn asked(recipe: &CompareRecipe) -> anyhow::Result<Vec<Asked>> {
    let mut asked = Vec::new();
    for study in &recipe.analyses {
        let entry = find(analysis::ANALYSES, &study.study)?;
        if entry.models == Models::Together {
            asked.push(Asked { entry, options: study.options.clone() });
        }
    }
    Ok(asked)
}

/// Asks all models in one pass over the test side, or takes up the answers that are there.
pub(super) fn ask(
    plan: &Plan,
    asked: &[Asked],
    models: &[(String, Backbone, View)],
    seed: u64,
) -> anyhow::Result<Answers> {
    let dir = model_dir(plan, ALL_MODELS, seed);
    let mut studies = BTreeMap::new();
    let folder_of = |study: &Asked| dir.join(study.entry.info.name);
    if plan.resume && asked.iter().all(|study| folder_of(study).join("report.json").exists()) {
        for study in asked {
            studies.insert(study.entry.info.name.to_owned(), Report::read(&folder_of(study))?);
        }
    } else {
        let (mut labs, mut shapes): (Vec<Lab>, Vec<Shapes>) = (Vec::new(), Vec::new());
        for (name, model, view) in models {
            let own = Shapes::of(model, name, view.size_px, &Layers::All)?;
            shapes.push(on_data(own, &plan.sides, seed));
            labs.push(Lab { batch: plan.recipe.batch, ..lab(Source::Model(model), view, plan.settings) });
        }
        let first = shapes.remove(0).beside(shapes);
        let opened = open_studies(asked, &first, &plan.sides)?;
        let findings = run_studies_together(&labs, opened, &plan.sides, ALL_MODELS, plan.progress)?;
        let names: Vec<&str> = models.iter().map(|(name, ..)| name.as_str()).collect();
        for (study, findings) in asked.iter().zip(findings) {
            let info = study.entry.info;
            let options = (study.entry.resolve)(&study.options)?;
            let recipe = report::recipe::to_json(&report::recipe::parse_table(&options, info.name)?);
            let provenance = plan.settings.provenance(None, recipe);
            let data = plan.sides.test.data.name();
            let mut report = report_of(info, Kind::Analysis, &names.join(", "), &data, findings, provenance);
            report.write(&dir.join(info.name))?;
            write_file(&dir.join(info.name).join("recipe.toml"), options.as_bytes())?;
            report.arrays.clear();
            studies.insert(info.name.to_owned(), report);
        }
    }
    Ok(Answers {
        model: ALL_MODELS.into(),
        seed,
        studies,
        own_top1: None,
        preview: None,
        curves: Curves::default(),
    })
}
