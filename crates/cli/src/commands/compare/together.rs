//! What is asked of all models at once, when each has been asked alone.

use super::answers::Answers;
use super::recipe::CompareRecipe;
use super::run::find;
use super::{ALL_MODELS, Plan, model_dir};
use crate::data::View;
use crate::studies::{Asked, lab, on_data, open_studies, report_of, run_each_together};
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

/// Asks all models in one pass over the test side, or takes up the answers that are there. A model that does not have what
/// a study needs is left out of it, which the answers say.
pub(super) fn ask(
    plan: &Plan,
    asked: &[Asked],
    models: &[(String, Backbone, View)],
    seed: u64,
) -> anyhow::Result<Answers> {
    let dir = model_dir(plan, ALL_MODELS, seed);
    let mut answers = Answers::new(ALL_MODELS, seed);
    let mut shapes = Vec::new();
    for (name, model, view) in models {
        let own = Shapes::of(model, name, view.size_px, &Layers::All)?;
        shapes.push(on_data(own, &plan.asked, seed));
    }
    // Studies of the same models share a pass.
    let mut passes: BTreeMap<Vec<usize>, Vec<&Asked>> = BTreeMap::new();
    for study in asked {
        let fitting = fitting(plan, study, &shapes, &mut answers)?;
        if !fitting.is_empty() {
            passes.entry(fitting).or_default().push(study);
        }
    }
    for (fitting, asked) in passes {
        let folder_of = |study: &Asked| dir.join(study.entry.info.name);
        if plan.resume && asked.iter().all(|study| folder_of(study).join("report.json").exists()) {
            for study in asked {
                answers.studies.insert(study.entry.info.name.to_owned(), Report::read(&folder_of(study))?);
            }
            continue;
        }
        let mut labs: Vec<Lab> = Vec::new();
        for &place in &fitting {
            let (_, model, view) = &models[place];
            labs.push(Lab { batch: plan.recipe.batch, ..lab(Source::Model(model), view, plan.settings)? });
        }
        let mut of_models = fitting.iter().map(|&place| shapes[place].clone());
        let Some(first) = of_models.next() else { continue };
        let first = first.beside(of_models.collect());
        let asked: Vec<Asked> = asked.into_iter().cloned().collect();
        let opened = open_studies(&asked, &first, &plan.asked)?;
        let finished = run_each_together(&labs, opened, &plan.asked, ALL_MODELS, plan.progress)?;
        let names: Vec<&str> = first.models().map(|shapes| shapes.model.as_str()).collect();
        for (study, found) in asked.iter().zip(finished) {
            let info = study.entry.info;
            let findings = match found {
                Ok(findings) => findings,
                Err(error) => {
                    let why = answers.leave_out(info.name, ALL_MODELS, error)?;
                    let places = names.iter().map(|name| (info.name.to_owned(), (*name).to_owned()));
                    answers.absent.extend(places.map(|place| (place, why.clone())));
                    continue;
                }
            };
            let options = (study.entry.resolve)(&study.options)?;
            let recipe = report::recipe::to_json(&report::recipe::parse_table(&options, info.name)?);
            let provenance = plan.settings.provenance(None, recipe);
            let data = plan.asked.test.data.name();
            let mut report = report_of(info, Kind::Analysis, &names.join(", "), &data, findings, provenance);
            report.write(&dir.join(info.name))?;
            write_file(&dir.join(info.name).join("recipe.toml"), options.as_bytes())?;
            report.arrays.clear();
            answers.studies.insert(info.name.to_owned(), report);
        }
    }
    Ok(answers)
}

/// The models that have what a study needs, by their places; of the others it is noted why.
fn fitting(
    plan: &Plan,
    study: &Asked,
    shapes: &[Shapes],
    answers: &mut Answers,
) -> anyhow::Result<Vec<usize>> {
    let mut fitting = Vec::new();
    for (place, shapes) in shapes.iter().enumerate() {
        match open_studies(std::slice::from_ref(study), shapes, &plan.asked) {
            Ok(_) => fitting.push(place),
            Err(error) => drop(answers.leave_out(study.entry.info.name, &shapes.model, error)?),
        }
    }
    Ok(fitting)
}
