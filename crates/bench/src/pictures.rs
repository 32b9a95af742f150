//! JPEG files to the views of MAE and DINO, and a process from its start to the first embedding.

use crate::case::{Case, Error, Named, Scope, noise, weights};
use burn::tensor::{Tensor, TensorData};
use image::codecs::jpeg::JpegEncoder;
use std::collections::BTreeMap;
use std::path::Path;
use vit_core::{NoLook, Pass, arch, stream};
use vit_data::transform::{Blur, Jitter, Normalize, Solarize};
use vit_data::{Crop, Seed, Split, ViewPlan, ViewSpec, cut};

const N_PICTURES: usize = 8;
/// How often all are read and cut in one measurement: a few milliseconds after a pause say more of the pause.
const N_ROUNDS: u64 = 8;
const WIDTH: usize = 500;
const HEIGHT: usize = 375;

/// Files like photographs: soft shapes of many sizes with grain, 500 × 375 px.
fn write_pictures(dir: &Path) -> Result<(), Error> {
    let folder = dir.join("pictures/all");
    std::fs::create_dir_all(&folder)?;
    for picture in 0..N_PICTURES {
        let path = folder.join(format!("{picture}.jpg"));
        if path.exists() {
            continue;
        }
        let grain = noise(WIDTH * HEIGHT * 3, picture as u64);
        let value = |x: usize, y: usize, c: usize| {
            let (x, y) = (x as f32, y as f32);
            let octave = |octave: i32| {
                let f = 0.008 * 1.9f32.powi(octave);
                let phase = (picture * 7 + c * 3) as f32 + octave as f32;
                40.0 / 1.5f32.powi(octave) * ((f * x + phase).sin() * (f * y * 1.1 - phase).cos())
            };
            (0..7).map(octave).sum::<f32>()
        };
        let rgb: Vec<u8> = (0..WIDTH * HEIGHT * 3)
            .map(|i| {
                let (pixel, c) = (i / 3, i % 3);
                (128.0 + value(pixel % WIDTH, pixel / WIDTH, c) + 6.0 * grain[i]).clamp(0.0, 255.0) as u8
            })
            .collect();
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 90);
        encoder.encode(&rgb, WIDTH as u32, HEIGHT as u32, image::ExtendedColorType::Rgb8)?;
        std::fs::write(path, bytes)?;
    }
    Ok(())
}

/// Cuts every view of the plan from every picture; one decode serves all views of a picture. For the comparison of
/// values both sides also cut the plain central view.
fn case(scope: &Scope, plan: ViewPlan) -> Result<Case, Error> {
    write_pictures(scope.dir)?;
    let data = vit_data::open(&format!("folder:{}", scope.dir.join("pictures").display()), Split::All, 0)?;
    let mut first = true;
    let mut epoch = 0;
    let work = move || {
        if std::mem::take(&mut first) {
            return Ok(vec![centers(&*data)?]);
        }
        for _ in 0..N_ROUNDS {
            epoch += 1;
            for index in 0..data.len() {
                let stream_of = |view| Seed(0).stream("view", &[epoch, index as u64, view as u64]);
                let n_rows = |width, height| plan.rows_seen(width, height, stream_of);
                let sample = data.sample_rows(index, &n_rows)?;
                for (view, spec) in plan.views.iter().enumerate() {
                    std::hint::black_box(cut(&sample.picture, spec, &mut stream_of(view)));
                }
            }
        }
        Ok(Vec::new())
    };
    Ok(Case { tensors: Vec::new(), work: Box::new(work) })
}

fn centers(data: &dyn vit_data::Dataset) -> Result<Named, Error> {
    let spec = ViewPlan::center(256, 224, Normalize::IMAGENET).views[0];
    // By name: the data set tells its samples split by split.
    let mut by_name = BTreeMap::new();
    for index in 0..data.len() {
        let sample = data.sample(index)?;
        let view = cut(&sample.picture, &spec, &mut Seed(0).stream("view", &[0]));
        by_name.insert(sample.id, view.pixels);
    }
    let values = by_name.into_values().flatten().collect();
    Ok(("centers".into(), vec![data.len(), 3, 224, 224], values))
}

fn random_crop(low: f64, high: f64) -> Crop {
    Crop::RandomResized { scale: (low, high), ratio: (0.75, 4.0 / 3.0) }
}

pub(crate) fn mae(scope: &Scope) -> Result<Case, Error> {
    let view =
        ViewSpec { flip_prob: 0.5, ..ViewSpec::plain(random_crop(0.2, 1.0), 224, Normalize::IMAGENET) };
    case(scope, ViewPlan { views: vec![view] })
}

pub(crate) fn dino(scope: &Scope) -> Result<Case, Error> {
    let first = ViewSpec {
        flip_prob: 0.5,
        jitter: Jitter { prob: 0.8, ..Jitter::default() },
        gray_prob: 0.2,
        blur: Blur { prob: 1.0, ..Blur::default() },
        ..ViewSpec::plain(random_crop(0.4, 1.0), 224, Normalize::IMAGENET)
    };
    let second = ViewSpec {
        blur: Blur { prob: 0.1, ..first.blur },
        solarize: Solarize { prob: 0.2, threshold: 128 },
        ..first
    };
    let local = ViewSpec {
        crop: random_crop(0.05, 0.4),
        size_px: 96,
        blur: Blur { prob: 0.5, ..first.blur },
        ..first
    };
    let mut views = vec![first, second];
    views.extend([local; 8]);
    case(scope, ViewPlan { views })
}

/// What [`embed_one`] needs: the weights file and a picture.
pub(crate) fn first_embedding(scope: &Scope) -> Result<Case, Error> {
    write_pictures(scope.dir)?;
    let vit = arch("vit-ti/16")?.init(&vit_ops::cpu_device(), &mut stream(0));
    let tensors = weights(&vit);
    vit_core::weights::save(&vit_core::Backbone::Vit(vit), &scope.dir.join("start-weights.safetensors"))?;
    Ok(Case { tensors, work: Box::new(|| Ok(Vec::new())) })
}

/// The norm of the embedding of the first picture.
pub(crate) fn embed_one(dir: &Path) -> Result<f32, Error> {
    let device = vit_ops::cpu_device();
    let model = vit_core::weights::load(&dir.join("start-weights.safetensors"), None, &device)?;
    let data = vit_data::open(&format!("folder:{}", dir.join("pictures").display()), Split::All, 0)?;
    let spec = ViewPlan::center(256, 224, Normalize::IMAGENET).views[0];
    let view = cut(&data.sample(0)?.picture, &spec, &mut Seed(0).stream("view", &[0]));
    let pixels = Tensor::<4>::from_data(TensorData::new(view.pixels, [1, 3, 224, 224]), &device);
    let tokens = model.encode(pixels, &mut Pass::look(&mut NoLook));
    let class = tokens.class().ok_or("a model with a class token")?;
    Ok((class.clone() * class).sum().sqrt().into_scalar::<f32>())
}
