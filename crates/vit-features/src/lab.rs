//! The lab: one forward per model and batch, whatever the number of studies.

use crate::extract::features_of;
use crate::select::{Part, Place};
use crate::study::Arrays;
use crate::{BatchInfo, Numbers, Opened, Role, Select, Shelf, StudyError, Taken, covered, unfold};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeSet;
use std::sync::Arc;
use vit_core::{Backbone, Look, Pass, Seen, Site};
use vit_data::{CropBox, Dataset, HostView, Loader, LoaderOptions, Order, ViewPlan};

/// What is studied.
pub enum Source<'a> {
    /// A frozen encoder.
    Model(&'a Backbone),
    /// A frozen encoder on windows that overlap, for a finer grid; what studies are told of where a view was cut is the part that the
    /// grid covers (see [`covered`]).
    Strided {
        /// The encoder.
        model: &'a Backbone,
        /// From one window to the next, at most the side of a patch.
        stride_px: usize,
    },
    /// The pixels themselves.
    Pixels,
}

/// One side of the data.
#[derive(Clone)]
pub struct Passage {
    /// Which side.
    pub role: Role,
    /// The data.
    pub data: Arc<dyn Dataset>,
    /// The samples used, in this order.
    pub indices: Arc<Vec<usize>>,
}

/// How data is fed to a model.
pub struct Lab<'a> {
    /// What is studied.
    pub source: Source<'a>,
    /// How views are cut; one view.
    pub plan: ViewPlan,
    /// Samples in a batch.
    pub batch: usize,
    /// Threads that decode.
    pub n_threads: usize,
    /// A device without autodiff.
    pub device: Device,
    /// Where features of this source are kept on disk, where they are.
    pub shelf: Option<Shelf>,
}

/// Passes data through the model once and shows every study what it needs; `tick` hears of every batch's samples.
///
/// Studies that need nothing of the training side do not cost anything there.
///
/// # Errors
/// When a sample cannot be read, or a study cannot use what it sees.
pub fn observe(
    lab: &Lab,
    passage: &Passage,
    studies: &mut [Box<dyn Opened>],
    tick: &mut dyn FnMut(usize) -> Result<(), StudyError>,
) -> Result<(), StudyError> {
    observe_together(std::slice::from_ref(lab), passage, studies, tick)
}

/// Passes data once through several models, each with views of its own: the same samples in the same order, one
/// decode, one forward for each model and batch. A study of one model sees the first.
///
/// Batches, threads and device are the first lab's.
///
/// # Errors
/// As [`observe`].
///
/// # Panics
/// When there is no lab.
pub fn observe_together(
    labs: &[Lab],
    passage: &Passage,
    studies: &mut [Box<dyn Opened>],
    tick: &mut dyn FnMut(usize) -> Result<(), StudyError>,
) -> Result<(), StudyError> {
    let Some(lead) = labs.first() else { panic!("observe: a lab is needed") };
    let mut asking: Vec<&mut Box<dyn Opened>> =
        studies.iter_mut().filter(|study| passage.role == Role::Test || study.needs().train).collect();
    if asking.is_empty() {
        return Ok(());
    }
    let (plan, view_of) = shared_plan(labs);
    // One batch is cut while the former passes the models; more would be held for nothing.
    let options = LoaderOptions {
        batch: lead.batch,
        threads: lead.n_threads,
        prefetch_batches: 1,
        ..LoaderOptions::default()
    };
    let order = Order::Indices(Arc::clone(&passage.indices));
    let mut first = 0;
    for host in Loader::new(Arc::clone(&passage.data), order, plan, options) {
        let mut host = host?;
        let mut views: Vec<Option<HostView>> = host.views.drain(..).map(Some).collect();
        for (model, lab) in labs.iter().enumerate() {
            let is_last = !view_of[model + 1..].contains(&view_of[model]);
            let view = &mut views[view_of[model]];
            let Some(view) = (if is_last { view.take() } else { view.clone() }) else { continue };
            let cut = |view_box: &CropBox| match lab.source {
                Source::Strided { model, stride_px } => {
                    covered(view_box, view.shape[2], model.patch_px(), stride_px)
                }
                Source::Model(_) | Source::Pixels => *view_box,
            };
            let boxes: Vec<CropBox> = view.boxes.iter().map(cut).collect();
            let info = BatchInfo {
                model,
                role: passage.role,
                first,
                labels: &host.labels,
                indices: &host.indices,
                truths: &host.truths,
                boxes: &boxes,
            };
            show(lab, view, info, &mut asking)?;
        }
        first += host.labels.len();
        tick(host.labels.len())?;
    }
    Ok(())
}

/// One plan for all labs, equal views cut once, and which of its views each lab takes.
fn shared_plan(labs: &[Lab]) -> (ViewPlan, Vec<usize>) {
    let mut plan = ViewPlan { views: Vec::new() };
    let view_of = labs.iter().map(|lab| {
        let wanted = lab.plan.views[0];
        plan.views.iter().position(|&view| view == wanted).unwrap_or_else(|| {
            plan.views.push(wanted);
            plan.views.len() - 1
        })
    });
    let view_of = view_of.collect();
    (plan, view_of)
}

/// Passes one batch through one model and shows it to the studies that look at it.
fn show(
    lab: &Lab,
    view: HostView,
    info: BatchInfo,
    asking: &mut [&mut Box<dyn Opened>],
) -> Result<(), StudyError> {
    let mut looking: Vec<&mut Box<dyn Opened>> = asking
        .iter_mut()
        .filter(|study| study.needs_of(info.model).is_some())
        .map(|study| &mut **study)
        .collect();
    if looking.is_empty() {
        return Ok(());
    }
    let mut features = Arrays::new();
    let mut passed = None;
    match &lab.source {
        Source::Pixels => add_pixels(&mut features, view),
        Source::Model(model) | Source::Strided { model, .. } => {
            let needs = looking.iter().filter_map(|study| study.needs_of(info.model));
            let mut selects: BTreeSet<Select> =
                needs.flat_map(|needs| needs.selects.iter().copied()).collect();
            if selects.remove(&Select::PIXELS) {
                add_pixels(&mut features, view.clone());
            }
            // A study that looks inside must see the forward, whatever is on the shelf; and as attention is made step by step for
            // those who look at it, the last digits of what comes after may then be others: none of it is kept.
            let inside = looking.iter().filter(|study| looks_inside(&****study, info.model));
            let inside: Vec<&'static str> = inside.map(|study| study.info().name).collect();
            let place = match &lab.shelf {
                Some(shelf) if inside.is_empty() && !selects.is_empty() => Some(shelf.place(&view)),
                Some(shelf) => {
                    inside.iter().for_each(|study| shelf.cache().looked_inside(study));
                    None
                }
                None => None,
            };
            if let Some(place) = &place {
                selects = place.read(&selects, &mut features)?;
            }
            let wants_passes =
                |study: &&mut Box<dyn Opened>| study.needs_of(info.model).is_some_and(|needs| needs.passes);
            let passes = looking.iter().any(wants_passes);
            if let Some(shelf) = &lab.shelf {
                let of_own = looking.iter().filter(|study| wants_passes(study));
                of_own.for_each(|study| shelf.cache().looked_inside(study.info().name));
            }
            // A study that does everything by passes of its own asks for no forward.
            let forward = !selects.is_empty() || !inside.is_empty();
            let prepare = |pixels: Tensor<4>| match lab.source {
                Source::Strided { stride_px, .. } => unfold(pixels, model.patch_px(), stride_px),
                Source::Model(_) | Source::Pixels => pixels,
            };
            if inside.is_empty() && forward && !passes {
                features.extend(features_of(model, &view, &selects, &lab.device, prepare));
            } else if forward || passes {
                let pixels = Tensor::from_data(TensorData::new(view.pixels, view.shape), &lab.device);
                let pixels = prepare(pixels);
                passed = passes.then(|| (*model, pixels.clone()));
                if forward {
                    let mut looker = Looker {
                        model,
                        selects: &selects,
                        studies: &mut looking,
                        info,
                        features: &mut features,
                        failed: None,
                    };
                    model.encode(pixels, &mut Pass::look(&mut looker));
                    if let Some(error) = looker.failed {
                        return Err(error);
                    }
                }
            }
            if let Some(place) = place.filter(|_| forward) {
                place.keep(&selects, &features)?;
            }
        }
    }
    let taken = Taken { info, features: &features };
    for study in looking {
        study.batch(&taken)?;
        let wants = study.needs_of(info.model).is_some_and(|needs| needs.passes);
        if let Some((model, views)) = passed.as_ref().filter(|_| wants) {
            study.pass(model, views, &info)?;
        }
    }
    Ok(())
}

/// Whether a study looks at sites of a model where they are made.
fn looks_inside(study: &dyn Opened, model: usize) -> bool {
    study.needs_of(model).is_some_and(|needs| !needs.sites.is_empty() || !needs.numbers.is_empty())
}

/// The pixels of the views as one vector a sample.
fn add_pixels(features: &mut Arrays, view: HostView) {
    let b = view.shape[0];
    features.insert(Select::PIXELS, (vec![b, view.pixels.len() / b.max(1)], view.pixels));
}

/// Shows sites to studies and takes features, where tensors are made.
struct Looker<'a, 'b> {
    model: &'a Backbone,
    selects: &'a BTreeSet<Select>,
    studies: &'a mut [&'b mut Box<dyn Opened>],
    info: BatchInfo<'a>,
    features: &'a mut Arrays,
    failed: Option<StudyError>,
}

impl Look for Looker<'_, '_> {
    fn wants(&self, site: Site) -> bool {
        let model = self.info.model;
        self.selects.iter().any(|select| select.site() == Some(site))
            || self.studies.iter().any(|study| sees(&***study, model, site) || counts(&***study, model, site))
    }

    fn see(&mut self, site: Site, seen: Seen) {
        let model = self.info.model;
        for study in self.studies.iter_mut().filter(|study| sees(&****study, model, site)) {
            if let Err(error) = study.see(site, &seen, &self.info) {
                self.failed.get_or_insert(error);
            }
        }
        for &select in self.selects.iter().filter(|select| select.site() == Some(site)) {
            self.features.insert(select, take(self.model, select, &seen));
        }
        let mut counting = self.studies.iter_mut().filter(|study| counts(&****study, model, site)).peekable();
        if counting.peek().is_none() {
            return;
        }
        // Last, so that the tensor can be taken as it is.
        let numbers = Numbers::of(seen);
        for study in counting {
            if let Err(error) = study.see_numbers(site, &numbers, &self.info) {
                self.failed.get_or_insert(error);
            }
        }
    }
}

/// Whether a study wants the numbers of a site of a model.
fn counts(study: &dyn Opened, model: usize, site: Site) -> bool {
    study.needs_of(model).is_some_and(|needs| needs.numbers.contains(&site))
}

/// Whether a study wants to see a site of a model.
fn sees(study: &dyn Opened, model: usize, site: Site) -> bool {
    study.needs_of(model).is_some_and(|needs| needs.sites.contains(&site))
}

/// The values of a select, with their shape.
pub(crate) fn take(model: &Backbone, select: Select, seen: &Seen) -> (Vec<usize>, Vec<f32>) {
    let tokens = match seen.clone() {
        Seen::Tokens(tokens) => tokens,
        Seen::Heads(heads) => {
            let [b, h, t, d] = heads.dims();
            heads.swap_dims(1, 2).reshape([b, t, h * d])
        }
    };
    let tokens = match (select.place, model) {
        (Place::NormedBlock(_), Backbone::Vit(vit)) => match &vit.norm {
            Some(norm) => norm.forward(tokens),
            None => tokens,
        },
        (Place::NormedBlock(_), Backbone::Conv(conv)) => conv.norm.forward(tokens),
        _ => tokens,
    };
    let [b, t, d] = tokens.dims();
    let (n_prefix, n_class) = (model.n_prefix(), usize::from(model.has_class()));
    let range = match select.part {
        Part::Class => 0..1,
        Part::Registers => n_class..n_prefix,
        Part::Patches | Part::Mean => n_prefix..t,
    };
    let n = range.len();
    let part = tokens.slice([0..b, range, 0..d]); // [B, n, D]
    let (part, shape) = match select.part {
        Part::Class => (part, vec![b, d]),
        Part::Mean => (part.mean_dim(1), vec![b, d]),
        Part::Registers | Part::Patches => (part, vec![b, n, d]),
    };
    let values = match part.into_data().convert::<f32>().try_to_vec::<f32>() {
        Ok(values) => values,
        Err(error) => panic!("features are f32: {error:?}"),
    };
    (shape, values)
}
