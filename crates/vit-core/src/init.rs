//! Initial weights, drawn on the host from a named stream, so that one seed gives one model on every device.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::{Deserialize, Serialize};

/// A stream of random numbers.
pub type Stream = ChaCha8Rng;

/// Opens the stream of a plain seed, for callers that have no named streams.
pub fn stream(seed: u64) -> Stream {
    ChaCha8Rng::seed_from_u64(seed)
}

/// How linear weights start.
///
/// # Source
/// `timm`: normal with standard deviation 0.02 (its truncation at ±2 never binds), patch projection uniform
/// ±1/√(3P²). `mae`: Xavier uniform for every linear and for the patch projection as a matrix, class and mask token
/// normal 0.02. Biases are zero in both but for the patch projection's, which stays uniform ±1/√(3P²).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitScheme {
    /// timm, DINO, iBOT.
    #[default]
    Timm,
    /// MAE, MILAN.
    Mae,
    /// Every value 0 and nothing drawn, for weights that are read right away; no recipe can name it.
    #[serde(skip)]
    Blank,
}

/// Draws parameters for a device.
pub struct Draw<'a> {
    /// Where the numbers come from.
    pub stream: &'a mut Stream,
    /// Where the parameters live; an autodiff device makes them trainable.
    pub device: &'a Device,
    /// How linear weights start.
    pub scheme: InitScheme,
}

impl Draw<'_> {
    fn is_blank(&self) -> bool {
        self.scheme == InitScheme::Blank
    }

    fn param<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Param<Tensor<D>> {
        Param::from_data(TensorData::new(values, shape), self.device)
    }

    /// Every element `value`.
    pub fn constant<const D: usize>(&self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        let value = if self.is_blank() { 0.0 } else { value };
        self.param(vec![value; shape.iter().product()], shape)
    }

    /// Given values.
    pub fn values<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Param<Tensor<D>> {
        self.param(values, shape)
    }

    /// Normal with mean 0.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], std: f64) -> Param<Tensor<D>> {
        if self.is_blank() {
            return self.constant(shape, 0.0);
        }
        let n: usize = shape.iter().product();
        let mut values = Vec::with_capacity(n + 1);
        while values.len() < n {
            let [a, b] = self.gaussian_pair();
            values.push((a * std) as f32);
            values.push((b * std) as f32);
        }
        values.truncate(n);
        self.param(values, shape)
    }

    /// Uniform on `[−bound, bound)`.
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        if self.is_blank() {
            return self.constant(shape, 0.0);
        }
        let n: usize = shape.iter().product();
        let values = (0..n).map(|_| ((self.stream.random::<f64>() * 2.0 - 1.0) * bound) as f32).collect();
        self.param(values, shape)
    }

    /// The weight `[o, i]` of a linear layer by the scheme.
    pub fn linear_weight(&mut self, n_out: usize, n_in: usize) -> Param<Tensor<2>> {
        match self.scheme {
            InitScheme::Timm | InitScheme::Blank => self.normal([n_out, n_in], 0.02),
            InitScheme::Mae => self.uniform([n_out, n_in], (6.0 / (n_in + n_out) as f64).sqrt()),
        }
    }

    /// Two independent standard normals, by Box and Muller's transform.
    fn gaussian_pair(&mut self) -> [f64; 2] {
        let radius = (-2.0 * libm::log(1.0 - self.stream.random::<f64>())).sqrt();
        let angle = std::f64::consts::TAU * self.stream.random::<f64>();
        [radius * libm::cos(angle), radius * libm::sin(angle)]
    }
}
