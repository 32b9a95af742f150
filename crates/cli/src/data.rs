//! The sides of the data, and how views are cut for a model.

use crate::models::{Model, hexadecimal};
use crate::progress::Progress;
use crate::settings::Settings;
use anyhow::bail;
use report::{Cell, Metric, Report, Table};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use vit_core::weights::{Framing, InputTransform, Interpolation};
use vit_data::transform::{Filter, Normalize};
use vit_data::{
    Crop, DataError, Dataset, Frame, Offers, RowsSeen, Sample, Split, Unreadable, ViewPlan, ViewSpec,
    spread_over_classes, tolerate,
};
use vit_features::{Passage, Role};

/// What is learned from and what is asked about.
#[derive(Clone)]
pub(crate) struct Sides {
    /// Samples to learn from, where a study wants them.
    pub(crate) train: Option<Passage>,
    /// Samples asked about.
    pub(crate) test: Passage,
}

impl Sides {
    /// At most `n` samples of each side, where that is said, spread evenly over the classes.
    pub(crate) fn fewer(&self, n: Option<usize>) -> Self {
        let of = |side: &Passage| {
            let Some(n) = n.filter(|&n| n < side.indices.len()) else { return side.clone() };
            let places = spread_over_classes(Subset::of(side.clone()).as_ref(), n);
            let indices = places.into_iter().map(|place| side.indices[place]).collect();
            Passage { indices: Arc::new(indices), ..side.clone() }
        };
        Self { train: self.train.as_ref().map(of), test: of(&self.test) }
    }
}

/// Opens one side of a data set, `limit` samples of it spread over its classes; a share of them may be unreadable.
///
/// # Errors
/// What [`vit_data::open`] refuses.
pub(crate) fn passage(
    uri: &str,
    split: Split,
    role: Role,
    seed: u64,
    (limit, settings): (Option<usize>, &Settings),
) -> Result<Passage, DataError> {
    let data = tolerate(Arc::from(vit_data::open(uri, split, seed)?), settings.max_unreadable);
    let indices = spread_over_classes(data.as_ref(), limit.unwrap_or(usize::MAX));
    Ok(Passage { role, data, indices: Arc::new(indices) })
}

/// The digest of the order and the classes of a side's samples.
pub(crate) fn digest(side: &Passage) -> String {
    let mut digest = Sha256::new();
    for class in side.data.classes() {
        digest.update(class.as_bytes());
        digest.update([0]);
    }
    for number in [side.data.len(), side.data.native_size_px().unwrap_or(0), side.indices.len()] {
        digest.update((number as u64).to_le_bytes());
    }
    for &index in side.indices.iter() {
        let label = side.data.label(index).map_or(0, |label| u64::from(label) + 1);
        digest.update((index as u64).to_le_bytes());
        digest.update(label.to_le_bytes());
    }
    hexadecimal(&digest.finalize())
}

/// Says in a report, and to the user, which samples could not be read; nothing where all could.
pub(crate) fn tell_unreadable<'a>(
    report: &mut Report,
    data: impl IntoIterator<Item = &'a Arc<dyn Dataset>>,
    progress: &Progress,
) {
    tell_all_unreadable(report, data.into_iter().flat_map(unreadable), progress);
}

/// The samples that could not be read so far, each with the name of its data set.
pub(crate) fn unreadable(data: &Arc<dyn Dataset>) -> Vec<(String, Unreadable)> {
    data.unreadable().into_iter().map(|sample| (data.name(), sample)).collect()
}

/// The same of samples with the names of their data sets.
pub(crate) fn tell_all_unreadable(
    report: &mut Report,
    unreadable: impl IntoIterator<Item = (String, Unreadable)>,
    progress: &Progress,
) {
    let mut table = Table::new("unreadable", "Samples that could not be read", ["data", "sample", "reason"]);
    for (data, Unreadable { index, reason }) in unreadable {
        progress.say(&format!("skipped sample {index} of {data}: {reason}"));
        table.push([Cell::from(data), Cell::Int(index as i64), Cell::from(reason)]);
    }
    if table.rows.is_empty() {
        return;
    }
    report.metrics.push(Metric::new("n_unreadable", table.rows.len() as f64, "samples"));
    report.tables.push(table.note("In the place of each stands the next readable sample of its class."));
}

/// How views are cut and normalized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct View {
    /// Side in pixels.
    pub(crate) size_px: usize,
    /// How bytes become numbers.
    pub(crate) normalize: Normalize,
    /// How much of the image is shown, and how it is resized; none for all of the central square, bicubic.
    pub(crate) input: Option<InputTransform>,
    /// How much of the image is shown instead, where it was asked for.
    pub(crate) framed: Option<Framed>,
}

/// How much of an image a view shows, where that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framed {
    /// The central square.
    Center,
    /// All of it, its sides made equal.
    Whole,
    /// All of it in the middle of a black square.
    Padded,
}

impl Framed {
    /// The words for them.
    pub(crate) const NAMES: [&str; 3] = ["center", "whole", "padded"];

    /// By its word.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Center, Self::Whole, Self::Padded];
        all.into_iter().zip(Self::NAMES).find(|(_, known)| *known == name).map(|(framed, _)| framed)
    }
}

impl View {
    /// The model's own transform, or what was asked for instead. Values that are normalized already are used as they
    /// are, in their own size.
    ///
    /// # Errors
    /// When the size cannot be cut into the model's patches, or the normalization is unknown.
    pub(crate) fn of(
        model: &Model,
        data: &dyn Dataset,
        size_px: Option<usize>,
        normalize: Option<&str>,
    ) -> anyhow::Result<Self> {
        let as_they_are = data.name().starts_with("pixels:");
        let size_px = match (size_px, data.native_size_px()) {
            (Some(size_px), _) => size_px,
            (None, Some(native_px)) if as_they_are => native_px,
            (None, None) if as_they_are => {
                bail!(
                    "pixels: expected square samples of one size, or --size PX; found others: {}",
                    data.name()
                )
            }
            _ => model.backbone.image_px(),
        };
        let patch_px = model.backbone.patch_px();
        if size_px == 0 || !size_px.is_multiple_of(patch_px) {
            bail!(
                "size: expected a multiple of the patch ({patch_px} px); found {size_px} px: {}",
                model.name
            );
        }
        let own_px = model.backbone.image_px();
        if size_px != own_px && !model.resamples {
            bail!(
                "size: expected {own_px} px, or --family to say how positions are resampled, in which the families \
                 that fit differ ({}); found {size_px} px: {}",
                model.families.join(", "),
                model.name
            );
        }
        let normalize = match (normalize, model.normalize) {
            (Some(name), _) => Normalize::from_name(name)?,
            (None, Some(normalize)) => normalize,
            (None, None) if as_they_are => Normalize::NONE,
            (None, None) => bail!(
                "normalize: expected --family or --normalize, because the families that fit differ ({}); found neither: {}",
                model.families.join(", "),
                model.name
            ),
        };
        Ok(Self { size_px, normalize, input: model.input, framed: None })
    }

    /// The family's crop and filter; without one, the shorter side to the size, then the central square.
    pub(crate) fn plan(&self) -> ViewPlan {
        let crop = match (self.framed, self.input.as_ref().map(|input| (input, input.framing))) {
            (Some(Framed::Whole), _) | (None, Some((_, Framing::Squash))) => Crop::Whole,
            (Some(Framed::Padded), _) => Crop::Padded,
            (None, Some((input, Framing::Center(_)))) => {
                Crop::Center { resize_px: input.resize_px(self.size_px) }
            }
            (Some(Framed::Center), _) | (None, None) => Crop::Center { resize_px: self.size_px },
        };
        let Some(input) = self.input else {
            let spec = ViewSpec::plain(crop, self.size_px, self.normalize);
            return ViewPlan { views: vec![spec] };
        };
        let filter = match input.interpolation {
            Interpolation::Bilinear => Filter::Bilinear,
            Interpolation::Bicubic => Filter::Bicubic,
            Interpolation::Lanczos => Filter::Lanczos,
        };
        ViewPlan { views: vec![ViewSpec { filter, ..ViewSpec::plain(crop, self.size_px, self.normalize) }] }
    }
}

/// Some samples of a data set as a data set of their own.
pub(crate) struct Subset {
    whole: Arc<dyn Dataset>,
    indices: Arc<Vec<usize>>,
}

impl Subset {
    /// The samples of a side.
    pub(crate) fn of(side: Passage) -> Arc<dyn Dataset> {
        if side.indices.len() == side.data.len() {
            return side.data;
        }
        Arc::new(Self { whole: side.data, indices: side.indices })
    }
}

impl Dataset for Subset {
    fn name(&self) -> String {
        self.whole.name()
    }

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn classes(&self) -> &[String] {
        self.whole.classes()
    }

    fn part_names(&self) -> &[String] {
        self.whole.part_names()
    }

    fn object_classes(&self) -> &[String] {
        self.whole.object_classes()
    }
    fn frame(&self, index: usize) -> Option<Frame> {
        self.whole.frame(self.indices[index])
    }

    fn group(&self, index: usize) -> Option<usize> {
        self.whole.group(self.indices[index])
    }

    fn offers(&self) -> Offers {
        self.whole.offers()
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.whole.label(self.indices[index])
    }

    fn native_size_px(&self) -> Option<usize> {
        self.whole.native_size_px()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        self.whole.sample(self.indices[index])
    }

    fn sample_rows(&self, index: usize, n_rows: RowsSeen) -> Result<Sample, DataError> {
        self.whole.sample_rows(self.indices[index], n_rows)
    }

    fn unreadable(&self) -> Vec<Unreadable> {
        self.whole.unreadable()
    }
}
