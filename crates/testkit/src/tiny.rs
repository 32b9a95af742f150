//! Tiny models and data sets: small enough for a test, large enough to learn from.

use burn::tensor::{Device, Tensor, TensorData};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vit_core::{Backbone, ConvConfig, Vit, VitConfig, stream};
use vit_data::transform::Normalize;
use vit_data::{
    DataError, Dataset, Frame, Image, Keypoint, LabelMap, Loader, LoaderOptions, Offers, Order, Picture,
    Sample, Seed, Truth, ViewPlan, epoch_order,
};
use vit_train::{Batch, Init, PretrainRecipe, TrainConfig, ViewConfig, upload};

/// Side in pixels of the images that tiny models are made for.
pub const IMAGE_PX: usize = 16;

/// A tiny Vision Transformer: 16 px, 4×4 patches, 24 wide, 3 blocks.
pub fn vit_config() -> VitConfig {
    VitConfig { image_px: IMAGE_PX, patch_px: 4, width: 24, depth: 3, n_heads: 3, ..VitConfig::default() }
}

/// How a recipe spells [`vit_config`].
pub const VIT: &str = "vit:dim=24,depth=3,heads=3,patch=4,image=16";

/// A tiny Vision Transformer with weights large enough that its blocks do something, on a plain device.
pub fn vit(config: &VitConfig, seed: u64) -> Backbone {
    Backbone::Vit(spread(config.init(&vit_ops::cpu_device(), &mut stream(seed))))
}

/// The same model with larger weights in its blocks: timm's 0.02 leaves a random one close to its patch projection.
pub fn spread(vit: Vit) -> Vit {
    let spread = |name: &str, values: Vec<f32>, _: &[usize]| {
        let factor = if name.ends_with(".weight") && name.contains("blocks") && !name.contains("norm") {
            6.0
        } else {
            1.0
        };
        values.into_iter().map(|x| factor * x).collect()
    };
    vit_core::weights::map_params(vit, spread)
}

/// A tiny convolutional encoder, which has no attention, on a plain device.
pub fn conv(seed: u64) -> Backbone {
    let config = ConvConfig { image_px: IMAGE_PX, patch_px: 4, width: 12, depth: 2 };
    Backbone::Conv(config.init(&vit_ops::cpu_device(), &mut stream(seed)))
}

/// A tensor of values that repeat nothing: `sin(s + 0.37·i)`, as the numeric anchors use.
pub fn sines<const D: usize>(shape: [usize; D], start: f64, device: &Device) -> Tensor<D> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (start + 0.37 * i as f64).sin() as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A few small images in memory.
#[derive(Debug)]
pub struct TinyData {
    name: String,
    classes: Vec<String>,
    parts: Vec<String>,
    images: Vec<Image>,
    labels: Vec<Option<u32>>,
    n_reads: AtomicUsize,
}

impl TinyData {
    /// `n` images of `n_classes` kinds that are easy to tell apart: a color of the class, stripes in its direction, and
    /// noise. Class `i % n_classes` at index `i`; every image differs from the others, and from those of another seed.
    pub fn stripes(n: usize, n_classes: usize, seed: u64) -> Self {
        let side = IMAGE_PX;
        let image = |index: usize| {
            let class = index % n_classes;
            let turn = std::f64::consts::TAU * class as f64 / n_classes as f64;
            let shift = unit(seed, index, 0);
            let mut rgb = Vec::with_capacity(side * side * 3);
            for y in 0..side {
                for x in 0..side {
                    let along = (x as f64 * (turn / 2.0).cos() + y as f64 * (turn / 2.0).sin()) / 5.0;
                    let stripe = (std::f64::consts::TAU * (along + shift)).sin();
                    for channel in 0..3 {
                        let color = (turn + std::f64::consts::TAU * channel as f64 / 3.0).cos();
                        let noise = unit(seed, index, 1 + (y * side + x) * 3 + channel) - 0.5;
                        rgb.push(
                            (128.0 + 60.0 * color + 30.0 * stripe + 50.0 * noise).clamp(0.0, 255.0) as u8
                        );
                    }
                }
            }
            Image { width_px: side, height_px: side, rgb }
        };
        Self {
            name: format!("stripes:{seed}"),
            classes: (0..n_classes).map(|class| format!("class-{class}")).collect(),
            parts: ["left", "right"].map(str::to_owned).into(),
            images: (0..n).map(image).collect(),
            labels: (0..n).map(|index| Some((index % n_classes) as u32)).collect(),
            n_reads: AtomicUsize::new(0),
        }
    }

    /// `n` images that only their layout tells apart: a light square on a noisy ground of any color, in one of
    /// the four corners, which is the class. Class `i % 4` at index `i`.
    pub fn corners(n: usize, seed: u64) -> Self {
        let side = IMAGE_PX;
        let image = |index: usize| {
            let draw = |counter: usize| unit(seed, index, counter);
            let class = index % 4;
            let half = side / 2;
            // A square of 4 to 6 px, anywhere inside its quarter of the image.
            let size = 4 + (3.0 * draw(0)) as usize;
            let within = |counter: usize| (draw(counter) * (half - size + 1) as f64) as usize;
            let (left, top) = (class % 2 * half + within(1), class / 2 * half + within(2));
            let ground = [3, 4, 5].map(|counter| 60.0 + 130.0 * draw(counter));
            let mut rgb = Vec::with_capacity(side * side * 3);
            for y in 0..side {
                for x in 0..side {
                    let inside = (left..left + size).contains(&x) && (top..top + size).contains(&y);
                    for (channel, ground) in ground.iter().enumerate() {
                        let noise = 30.0 * (draw(6 + (y * side + x) * 3 + channel) - 0.5);
                        let light = if inside { 55.0 } else { 0.0 };
                        rgb.push((ground + light + noise).clamp(0.0, 255.0) as u8);
                    }
                }
            }
            Image { width_px: side, height_px: side, rgb }
        };
        Self {
            name: format!("corners:{seed}"),
            classes: ["upper left", "upper right", "lower left", "lower right"].map(str::to_owned).into(),
            parts: ["left", "right"].map(str::to_owned).into(),
            images: (0..n).map(image).collect(),
            labels: (0..n).map(|index| Some((index % 4) as u32)).collect(),
            n_reads: AtomicUsize::new(0),
        }
    }

    /// The same images with labels that say nothing: dealt out anew.
    #[must_use]
    pub fn with_shuffled_labels(self, seed: u64) -> Self {
        let order = epoch_order(0..self.labels.len(), Seed(seed), 0);
        let labels = order.into_iter().map(|from| self.labels[from]).collect();
        Self { labels, ..self }
    }

    /// The same images without labels.
    #[must_use]
    pub fn without_labels(self) -> Self {
        Self { labels: vec![None; self.labels.len()], classes: Vec::new(), ..self }
    }

    /// How many samples were read.
    pub fn n_reads(&self) -> usize {
        self.n_reads.load(Ordering::SeqCst)
    }
}

/// Frames of one clip of [`TinyData`].
pub const FRAMES_PER_CLIP: usize = 6;

/// The corners of the object of [`object`].
fn corners_of(index: usize) -> Vec<Keypoint> {
    let (left, top) = (index % 3 * 4, index / 3 % 3 * 4);
    let at = |(name_idx, (dx, dy)): (usize, (f32, f32))| {
        let xy_in_image_px = (left as f32 + dx, top as f32 + dy);
        Keypoint { name_idx, xy_in_image_px, visible: true }
    };
    [(0.5, 0.5), (7.5, 0.5), (0.5, 7.5), (7.5, 7.5)].into_iter().enumerate().map(at).collect()
}

/// The mask of an object of 8 × 8 px that stands somewhere else in every image; `id` of its left or right half.
fn object(index: usize, id: &dyn Fn(bool) -> u8) -> LabelMap {
    let (left, top) = (index % 3 * 4, index / 3 % 3 * 4);
    let at = |place: usize| {
        let (x, y) = (place % IMAGE_PX, place / IMAGE_PX);
        let is_inside = (left..left + 8).contains(&x) && (top..top + 8).contains(&y);
        if is_inside { id(x >= left + 4) } else { 0 }
    };
    LabelMap { width_px: IMAGE_PX, height_px: IMAGE_PX, ids: (0..IMAGE_PX * IMAGE_PX).map(at).collect() }
}

/// A number in 0–1 that looks random.
fn unit(seed: u64, index: usize, counter: usize) -> f64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((index as u64) << 24) ^ counter as u64;
    for _ in 0..2 {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    (z >> 11) as f64 / (1u64 << 53) as f64
}

impl Dataset for TinyData {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.images.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn part_names(&self) -> &[String] {
        &self.parts
    }

    fn object_classes(&self) -> &[String] {
        &self.classes
    }

    fn frame(&self, index: usize) -> Option<Frame> {
        Some(Frame { clip: index / FRAMES_PER_CLIP, frame: index % FRAMES_PER_CLIP })
    }

    fn offers(&self) -> Offers {
        let labels = !self.classes.is_empty();
        let of_pixels = Offers { masks: true, parts: true, semantic: labels, ..Offers::default() };
        Offers { labels, keypoints: true, clips: true, ..of_pixels }
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels[index]
    }

    fn native_size_px(&self) -> Option<usize> {
        self.images.first().map(|image| image.width_px)
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        self.n_reads.fetch_add(1, Ordering::SeqCst);
        Ok(Sample {
            picture: Picture::Image(self.images[index].clone()),
            truth: Truth {
                label: self.labels[index],
                mask: Some(object(index, &|_| 1)),
                // The left and the right half of it.
                parts: Some(object(index, &|is_right| 1 + u8::from(is_right))),
                semantic: self.labels[index].map(|label| object(index, &|_| 1 + label as u8)),
                keypoints: corners_of(index),
                frame: self.frame(index),
                ..Truth::default()
            },
            id: format!("{}/{index}", self.name),
        })
    }
}

/// The whole image at [`IMAGE_PX`], as studies see it.
pub fn plan() -> ViewPlan {
    ViewPlan::whole(IMAGE_PX, Normalize::HALF)
}

/// Views of [`IMAGE_PX`] for training, cut a little.
pub fn views() -> ViewConfig {
    ViewConfig { size_px: IMAGE_PX, scale: (0.5, 1.0), normalize: "half".into(), ..ViewConfig::default() }
}

/// Options that make an objective small enough for a test: those of its built-in recipe for part-shapes.
///
/// # Panics
/// When there is no such recipe.
pub fn small_options(objective: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes/pretrain/");
    let path = format!("{path}{objective}-part-shapes.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let recipe: toml::Table = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
    recipe.get("options").map(|options| toml::to_string(options).expect("TOML")).unwrap_or_default()
}

/// A recipe for a short run of a tiny model: 8 samples a batch, every step logged, a checkpoint every third step.
///
/// # Panics
/// When the options are not TOML.
pub fn recipe(objective: &str, options: &str, epochs: f64) -> PretrainRecipe {
    PretrainRecipe {
        objective: objective.into(),
        model: VIT.into(),
        data: "stripes".into(),
        seed: 3,
        init_from: None,
        init: Init::Encoder,
        drop_path: 0.0,
        views: views(),
        train: TrainConfig {
            epochs,
            batch: 8,
            base_lr: 0.03,
            warmup_epochs: 1.0,
            log_every_steps: 1,
            checkpoint_every_steps: 3,
            ..TrainConfig::default()
        },
        options: options.parse().expect("options are TOML"),
    }
}

/// The first `n` samples as one batch on the device.
///
/// # Panics
/// When there are fewer, or one cannot be read.
pub fn batch(data: &Arc<dyn Dataset>, plan: ViewPlan, n: usize, seed: Seed, device: &Device) -> Batch {
    let options = LoaderOptions { batch: n, seed, ..LoaderOptions::default() };
    let host = Loader::new(Arc::clone(data), Order::Sequential, plan, options).next().expect("one batch");
    let host = host.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(host.indices.len(), n, "samples of one batch");
    upload(host, 0, device)
}
