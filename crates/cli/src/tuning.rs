//! Training of an encoder for a study that asks for it: the objective of the classes, from the encoder as it is.

use crate::data::Sides;
use crate::outcome::Stop;
use crate::progress::{Progress, TrainWatch, interrupted};
use crate::settings::secs_since_1970;
use anyhow::{anyhow, bail};
use burn::tensor::{Tensor, TensorData};
use std::sync::Arc;
use vit_core::{Backbone, NoLook, Pass, Vit};
use vit_data::transform::Erase;
use vit_data::{Loader, LoaderOptions, Order};
use vit_features::{Lab, Opened, Source, Training, Tuned};
use vit_train::{
    Flow, Init, Method, PretrainRecipe, Request, Start, StepReport, TrainConfig, ViewConfig, Watch,
};

/// Classes that are told of each sample.
const RANKED: usize = 5;

/// Trains the encoder of the first lab for every study that asks for it, and hands over what came out.
///
/// # Errors
/// What training refuses; [`Stop::Interrupted`] after Ctrl-C.
pub(crate) fn tune_for(
    studies: &mut [Box<dyn Opened>],
    labs: &[Lab],
    sides: &Sides,
    label: &str,
    progress: &Progress,
) -> anyhow::Result<()> {
    for study in studies {
        let Some(training) = study.needs().training.clone() else { continue };
        let n_step = training.how.batch * training.how.accumulate;
        if sides.train.as_ref().is_none_or(|train| train.indices.len() < n_step) {
            continue; // The study itself says how much it wants.
        }
        let (name, lab) = (study.info().name, labs.first());
        match lab.map(|lab| (&lab.source, lab)) {
            Some((Source::Model(Backbone::Vit(vit)), lab)) => {
                study.tuned(tune(&training, vit, lab, sides, &format!("{label}, {name}"), progress)?);
            }
            _ => bail!(
                "`{name}`: expected a Vision Transformer on patches that do not overlap; found another: {label}"
            ),
        }
    }
    Ok(())
}

/// Trains a copy of an encoder with a fresh classifier, and asks it the test side once.
fn tune(
    training: &Training,
    vit: &Vit,
    lab: &Lab,
    sides: &Sides,
    label: &str,
    progress: &Progress,
) -> anyhow::Result<Tuned> {
    let Some(train) = &sides.train else { bail!("{label}: expected samples to learn from; found none") };
    let recipe = recipe_of(training, lab, sides)?;
    let mut watch = Course { inner: TrainWatch::new(progress, label, None), losses: Vec::new() };
    let request = Request {
        recipe: &recipe,
        data: Arc::clone(&train.data),
        indices: Some(Arc::clone(&train.indices)),
        held_out: None,
        n_previews: 0,
        device: lab.device.clone(),
        run_dir: None,
        resume: false,
        n_threads: lab.n_threads,
        init_from: Some(Start::Model(vit)),
        clock: secs_since_1970,
    };
    let outcome = (supervised()?.run)(&request, &mut watch);
    if interrupted() {
        return Err(Stop::again("nothing was written").into());
    }
    let outcome = outcome?;
    let Course { inner, losses } = watch;
    inner.finish();
    let Backbone::Vit(tuned) = outcome.backbone else {
        bail!("{label}: expected a Vision Transformer; found another");
    };
    let (ranking, n_ranked) = ranked(&tuned, lab, sides)?;
    Ok(Tuned { ranking, n_ranked, n_steps: losses.len(), losses })
}

/// What a study asks for as a recipe of training; pictures in the lab's size and numbers.
fn recipe_of(training: &Training, lab: &Lab, sides: &Sides) -> anyhow::Result<PretrainRecipe> {
    let Training { how: tuning, seed } = training;
    let view = lab.plan.views[0];
    let Some(normalize) = view.normalize.name() else {
        bail!("normalize: expected a named normalization to train with; found numbers of its own");
    };
    let mixing = [
        ("mixup_alpha", tuning.mixup_alpha),
        ("cutmix_alpha", tuning.cutmix_alpha),
        ("prob", tuning.mix_prob),
        ("cutmix_prob", tuning.cutmix_prob),
    ];
    let mixing = mixing.map(|(key, value)| (key.to_owned(), toml::Value::from(value)));
    let options = toml::Table::from_iter([
        ("pool".to_owned(), toml::Value::from(tuning.pool.as_str())),
        ("label_smoothing".to_owned(), tuning.label_smoothing.into()),
        ("mixing".to_owned(), toml::Table::from_iter(mixing).into()),
    ]);
    let views = ViewConfig {
        size_px: view.size_px,
        scale: (tuning.min_scale, 1.0),
        flip_prob: tuning.flip_prob,
        normalize: normalize.into(),
        erase: Erase { prob: tuning.erase_prob, ..Erase::default() },
        ..ViewConfig::default()
    };
    let train = TrainConfig {
        epochs: tuning.epochs,
        batch: tuning.batch,
        accumulate: tuning.accumulate,
        base_lr: tuning.base_lr,
        min_lr: tuning.min_lr,
        warmup_epochs: tuning.warmup_epochs,
        weight_decay: tuning.weight_decay,
        beta2: 0.999,
        layer_decay: tuning.layer_decay,
        ..TrainConfig::default()
    };
    Ok(PretrainRecipe {
        objective: "supervised".into(),
        model: "the encoder that is given".into(),
        data: sides.test.data.name(),
        init_from: None,
        init: Init::Encoder,
        seed: *seed,
        drop_path: tuning.drop_path,
        views,
        train,
        options,
    })
}

/// The objective that learns the classes of the data.
fn supervised() -> anyhow::Result<&'static Method> {
    let method = ssl_pretrain::OBJECTIVES.iter().find(|method| method.info.name == "supervised");
    method.ok_or_else(|| anyhow!("objective: expected `supervised`; found none of that name"))
}

/// The first classes of every test sample, row by row, and how many they are.
fn ranked(vit: &Vit, lab: &Lab, sides: &Sides) -> anyhow::Result<(Vec<u32>, usize)> {
    let side = &sides.test;
    let options = LoaderOptions { batch: lab.batch, threads: lab.n_threads, ..LoaderOptions::default() };
    let order = Order::Indices(Arc::clone(&side.indices));
    let (mut all, mut n_ranked) = (Vec::new(), 1);
    for host in Loader::new(Arc::clone(&side.data), order, lab.plan.clone(), options) {
        let view = host?.views.swap_remove(0);
        let pixels = Tensor::from_data(TensorData::new(view.pixels, view.shape), &lab.device);
        let wanted = &vit.pooled();
        let logits = vit.logits(&vit.encode(pixels, &mut Pass { wanted, ..Pass::look(&mut NoLook) }));
        let [_, n_classes] = logits.dims();
        let logits = logits.into_data().convert::<f32>().try_to_vec::<f32>();
        let logits = logits.map_err(|error| anyhow!("logits: expected floats; found {error:?}"))?;
        n_ranked = RANKED.min(n_classes);
        for row in logits.chunks_exact(n_classes) {
            let mut order: Vec<u32> = (0..n_classes as u32).collect();
            order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
            all.extend_from_slice(&order[..n_ranked]);
        }
    }
    Ok((all, n_ranked))
}

/// Remembers the loss of every step.
struct Course<'a> {
    inner: TrainWatch<'a>,
    losses: Vec<(f64, f64)>,
}

impl Watch for Course<'_> {
    fn step(&mut self, report: &StepReport) -> Flow {
        self.losses.push((report.progress.epochs(), report.loss));
        self.inner.step(report)
    }

    fn note(&mut self, sentence: &str) {
        self.inner.note(sentence);
    }
}
