//! Features of a whole data set, for those who want the arrays themselves.

use crate::lab::take;
use crate::study::Arrays;
use crate::{Lab, Passage, Select, Source, StudyError};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeSet;
use std::sync::Arc;
use vit_core::{Backbone, Look, Pass, Seen, Site};
use vit_data::{HostView, Loader, LoaderOptions, Order};

/// One array per select, with labels and names of the samples.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// Select → shape and values, row-major; the first dimension is samples.
    pub arrays: Arrays,
    /// The class of each sample.
    pub labels: Vec<Option<u32>>,
    /// The name of each sample.
    pub ids: Vec<String>,
}

struct Collect<'a> {
    model: &'a Backbone,
    selects: &'a BTreeSet<Select>,
    arrays: &'a mut Arrays,
}

impl Look for Collect<'_> {
    fn wants(&self, site: Site) -> bool {
        self.selects.iter().any(|select| select.site() == Some(site))
    }

    fn see(&mut self, site: Site, seen: Seen) {
        for &select in self.selects.iter().filter(|select| select.site() == Some(site)) {
            self.arrays.insert(select, take(self.model, select, &seen));
        }
    }
}

/// Passes a batch through a model and takes its features: parts of the batch side by side, where the device works so. `prepare` sees the
/// pixels of a part before the model does.
pub(crate) fn features_of(
    model: &Backbone,
    view: &HostView,
    selects: &BTreeSet<Select>,
    device: &Device,
    prepare: impl Fn(Tensor<4>) -> Tensor<4> + Send + Sync,
) -> Arrays {
    let parts = vit_ops::side_by_side(vit_ops::parts(view.shape[0], device), |samples| {
        let HostView { pixels, shape, .. } = view.part(samples);
        let pixels = prepare(Tensor::from_data(TensorData::new(pixels, shape), device));
        let mut arrays = Arrays::new();
        model.encode(pixels, &mut Pass::look(&mut Collect { model, selects, arrays: &mut arrays }));
        arrays
    });
    let mut whole = Arrays::new();
    parts.into_iter().for_each(|part| append(&mut whole, part));
    whole
}

/// Puts the features of a batch behind those of the batches before.
fn append(whole: &mut Arrays, batch: Arrays) {
    for (select, (shape, values)) in batch {
        match whole.get_mut(&select) {
            Some((all_shape, all)) => {
                all_shape[0] += shape[0];
                all.extend(values);
            }
            None => {
                whole.insert(select, (shape, values));
            }
        }
    }
}

/// Passes the data through the model once and keeps every select.
///
/// # Errors
/// When a sample cannot be read, or the shelf of the lab fails.
///
/// # Panics
/// When the lab studies pixels, which have no selects.
pub fn extract(
    lab: &Lab,
    passage: &Passage,
    selects: &[Select],
    tick: &mut dyn FnMut(usize) -> Result<(), StudyError>,
) -> Result<Features, StudyError> {
    let Source::Model(model) = lab.source else { panic!("extract: a model is needed") };
    let options = LoaderOptions { batch: lab.batch, threads: lab.n_threads, ..LoaderOptions::default() };
    let order = Order::Indices(Arc::clone(&passage.indices));
    let mut features = Features::default();
    let wanted: BTreeSet<Select> = selects.iter().copied().collect();
    for host in Loader::new(Arc::clone(&passage.data), order, lab.plan.clone(), options) {
        let mut host = host?;
        let view = host.views.swap_remove(0);
        let mut arrays = Arrays::new();
        let place = lab.shelf.as_ref().map(|shelf| shelf.place(&view));
        let missing = match &place {
            Some(place) => place.read(&wanted, &mut arrays)?,
            None => wanted.clone(),
        };
        if !missing.is_empty() {
            arrays.extend(features_of(model, &view, &missing, &lab.device, |pixels| pixels));
            if let Some(place) = place {
                place.keep(&missing, &arrays)?;
            }
        }
        append(&mut features.arrays, arrays);
        tick(host.labels.len())?;
        features.labels.extend(host.labels);
        features.ids.extend(host.ids);
    }
    Ok(features)
}
