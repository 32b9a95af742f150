//! Analyses over a frozen model: how far its heads look, and which of its blocks are alike.

use crate::case::{Case, Error, Named, Scope, noise, weights};
use std::sync::Arc;
use vit_core::{Backbone, arch, stream};
use vit_data::transform::Normalize;
use vit_data::{DataError, Dataset, Image, Offers, Picture, Sample, Truth, ViewPlan};
use vit_features::{Findings, Lab, Layers, Passage, Role, Shapes, Source, observe};

const SIDE_PX: usize = 224;
/// Images in one forward. The groups of CKA are of 64, whatever this is; fewer at once take less memory and no more time.
const BATCH: usize = 32;

/// Pictures of bytes that lie in memory.
struct InMemory(Vec<Image>);

impl Dataset for InMemory {
    fn name(&self) -> String {
        "in-memory".into()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn offers(&self) -> Offers {
        Offers::default()
    }
    fn label(&self, _: usize) -> Option<u32> {
        None
    }
    fn native_size_px(&self) -> Option<usize> {
        Some(SIDE_PX)
    }
    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let picture = Picture::Image(self.0[index].clone());
        Ok(Sample { picture, truth: Truth::default(), id: index.to_string() })
    }
}

/// Runs one study over pictures; the other side gets the same bytes, and `read` picks the numbers to compare.
fn case(
    study: &'static str,
    options: &str,
    scope: &Scope,
    read: fn(&Findings) -> Result<Vec<Named>, Error>,
) -> Result<Case, Error> {
    let n = if scope.quick { 64 } else { 256 };
    let config = arch("vit-ti/16")?;
    let device = vit_ops::cpu_device();
    let vit = config.init(&device, &mut stream(0));
    let mut tensors = weights(&vit);
    let bytes: Vec<u8> =
        noise(n * SIDE_PX * SIDE_PX * 3, 2).iter().map(|x| (128.0 + 40.0 * x) as u8).collect();
    let values = bytes.iter().map(|&byte| f32::from(byte)).collect();
    tensors.push(("input.bytes".into(), vec![n, SIDE_PX, SIDE_PX, 3], values)); // [n, H, W, 3]
    let image = |rgb: &[u8]| Image { width_px: SIDE_PX, height_px: SIDE_PX, rgb: rgb.to_vec() };
    let data: Arc<dyn Dataset> = Arc::new(InMemory(bytes.chunks(SIDE_PX * SIDE_PX * 3).map(image).collect()));
    let model = Backbone::Vit(vit);
    let options: toml::Table = options.parse()?;
    let row = analysis::ANALYSES.iter().find(|row| row.info.name == study).ok_or("no such study")?;
    let work = move || {
        let shapes = Shapes::of(&model, "bench", SIDE_PX, &Layers::All)?.on(None, &*data);
        let mut studies = vec![(row.open)(&options, &shapes)?];
        let plan = ViewPlan::whole(SIDE_PX, Normalize::HALF);
        let (source, n_threads) = (Source::Model(&model), rayon_threads());
        let lab = Lab { source, plan, batch: BATCH, n_threads, device: device.clone(), shelf: None };
        let passage = Passage {
            role: Role::Test,
            data: Arc::clone(&data),
            indices: Arc::new((0..data.len()).collect()),
        };
        observe(&lab, &passage, &mut studies, &mut |_| Ok(()))?;
        let study = studies.pop().ok_or("one study was opened")?;
        read(&study.finish()?)
    };
    Ok(Case { tensors, work: Box::new(work) })
}

/// Threads of the pool, which decode too.
fn rayon_threads() -> usize {
    vit_ops::n_threads()
}

pub(crate) fn attention_distance(scope: &Scope) -> Result<Case, Error> {
    case("attention-distance", "", scope, |findings| {
        let metrics = findings.metrics.iter().filter(|metric| metric.name == "distance_px");
        let values: Vec<f32> = metrics.map(|metric| metric.value as f32).collect();
        Ok(vec![("distance_px".into(), vec![values.len()], values)])
    })
}

pub(crate) fn cka(scope: &Scope) -> Result<Case, Error> {
    let options = "tokens = \"all\"\nbatch = 64\nestimators = [\"minibatch\"]";
    case("cka", options, scope, |findings| {
        let found = findings.metrics.iter().filter(|metric| metric.name.starts_with("cka_minibatch"));
        let values: Vec<f32> = found.map(|metric| metric.value as f32).collect();
        Ok(vec![("cka".into(), vec![values.len()], values)])
    })
}
