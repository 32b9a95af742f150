//! What is asked of all models at once, when each has been asked alone; and the figure that it gives.

use super::answers::Answers;
use super::recipe::CompareRecipe;
use super::run::{find, view_of};
use super::story::Material;
use super::{ALL_MODELS, Plan, model_dir};
use crate::studies::{Asked, lab, on_data, open_studies, report_of, run_studies_together};
use report::{Figure, FigureData, Kind, Metric, Report, store::write_file};
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
    models: &[(String, Backbone)],
    seed: u64,
) -> anyhow::Result<Answers> {
    let dir = model_dir(plan, ALL_MODELS, seed);
    let mut studies = BTreeMap::new();
    let file_of = |study: &Asked| dir.join(study.entry.info.name).join("report.json");
    if plan.resume && asked.iter().all(|study| file_of(study).exists()) {
        for study in asked {
            studies.insert(study.entry.info.name.to_owned(), Report::read_json(&file_of(study))?.metrics);
        }
    } else {
        let (mut labs, mut shapes): (Vec<Lab>, Vec<Shapes>) = (Vec::new(), Vec::new());
        for (name, model) in models {
            let view = view_of(plan, name, model)?;
            let own = Shapes::of(model, name, view.size_px, &Layers::All)?;
            shapes.push(on_data(own, &plan.sides, seed));
            labs.push(Lab { batch: plan.recipe.batch, ..lab(Source::Model(model), &view, plan.settings) });
        }
        let first = shapes.remove(0).beside(shapes);
        let opened = open_studies(asked, &first, &plan.sides)?;
        let findings = run_studies_together(&labs, opened, &plan.sides, ALL_MODELS, plan.progress)?;
        let names: Vec<&str> = models.iter().map(|(name, _)| name.as_str()).collect();
        for (study, findings) in asked.iter().zip(findings) {
            let info = study.entry.info;
            let options = (study.entry.resolve)(&study.options)?;
            let recipe = report::recipe::to_json(&report::recipe::parse_table(&options, info.name)?);
            let provenance = plan.settings.provenance(None, recipe);
            let data = plan.sides.test.data.name();
            let report = report_of(info, Kind::Analysis, &names.join(", "), &data, findings, provenance);
            report.write(&dir.join(info.name))?;
            write_file(&dir.join(info.name).join("recipe.toml"), options.as_bytes())?;
            studies.insert(info.name.to_owned(), report.metrics);
        }
    }
    Ok(Answers { model: ALL_MODELS.into(), seed, studies, own_top1: None, preview: None, loss: Vec::new() })
}

/// Every layer of every model beside every other: CKA as one heatmap.
pub(super) fn layers_alike(material: &Material) -> Option<Figure> {
    let answers = material.answers.iter().find(|answers| answers.model == ALL_MODELS)?;
    let metrics: Vec<&Metric> = ["cka_minibatch", "cka_full"]
        .into_iter()
        .map(|name| answers.metrics("cka", name).collect())
        .find(|metrics: &Vec<&Metric>| !metrics.is_empty())?;
    // A pair is written once, with the earlier layer first; so the first of all names every layer in order.
    let word = |metric: &Metric, key: &str| metric.params.get(key)?.as_str().map(str::to_owned);
    let end = |metric: &Metric| Some((word(metric, "other_model")?, word(metric, "other_select")?));
    let start = |metric: &Metric| Some((word(metric, "model")?, metric.select.clone()?));
    let first = start(metrics[0])?;
    let others = metrics.iter().filter(|metric| start(metric).as_ref() == Some(&first));
    let mut layers = vec![first.clone()];
    layers.extend(others.filter_map(|metric| end(metric)));
    let place =
        |layer: Option<(String, String)>| layers.iter().position(|known| Some(known) == layer.as_ref());
    let mut values = vec![vec![1.0; layers.len()]; layers.len()];
    for metric in &metrics {
        let (row, column) = (place(start(metric))?, place(end(metric))?);
        values[row][column] = metric.value;
        values[column][row] = metric.value;
    }
    let labels: Vec<String> = layers
        .iter()
        .map(|(model, select)| {
            let site = select.rsplit_once('.').map_or(select.as_str(), |(site, _)| site);
            format!("{model} {}", site.strip_prefix("block").unwrap_or(site))
        })
        .collect();
    let tokens = first.1.rsplit_once('.').map_or("", |(_, tokens)| tokens);
    let caption = format!(
        "Each cell is the CKA of two layers ({tokens} tokens of the test images, first seed): 1 where the images lie \
         to one another in the same way, up to rotation and scale, about 0 where they have nothing in common. Squares \
         on the diagonal are models with themselves, the others one model with another. What is alike need not be of \
         use."
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
    Some(Figure::new(
        "layers_alike",
        "Which layers are alike, within a model and between models",
        caption,
        data,
    ))
}
