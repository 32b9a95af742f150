//! AdamW over a module, its state kept by parameter name.

use crate::Grads;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;
use vit_core::weights::{MapByName, NamedParam, Read, WeightsError, map_by_name};
use vit_ops::{AdamWStep, adamw_step};

/// Learning rate and weight decay of one parameter at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// First and second moment of a parameter, flattened, and how many steps they have seen.
#[derive(Clone, Debug)]
struct Moments {
    m: Tensor<1>,
    v: Tensor<1>,
    n_steps: u32,
}

/// AdamW: see [`AdamWStep`] for the formula. Moments live under the parameter's name, so they survive saving.
///
/// A parameter without a gradient is left as it is, and its own count of steps stands still, by which its moments are
/// debiased: a layer that is frozen at first begins like any other when it is let go, as with PyTorch's AdamW.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Steps taken.
    pub n_steps: u32,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// No steps taken.
    pub fn new(beta1: f64, beta2: f64, eps: f64) -> Self {
        Self { beta1, beta2, eps, n_steps: 0, moments: BTreeMap::new() }
    }

    /// One step over every parameter that has a gradient; `rates` gives each its own by name and shape.
    pub fn step<M: Module>(&mut self, module: M, grads: Grads, rates: &dyn Fn(&str, &[usize]) -> Rates) -> M {
        self.n_steps += 1;
        map_by_name(module, &mut Apply { optimizer: self, grads, rates })
    }

    /// The state of every trainable parameter of `module` as named tensors: its moments `{parameter}.m` and
    /// `{parameter}.v`, and its count of steps `{parameter}.t`; zeros where it has not been moved yet.
    pub fn state<M: Module>(&self, module: &M) -> Vec<NamedParam> {
        let params = vit_core::weights::names(module).into_iter().filter(|param| param.trainable);
        let mut tensors = Vec::new();
        for NamedParam { name, shape, .. } in params {
            let n: usize = shape.iter().product();
            let (m, v, t) = match self.moments.get(&name) {
                Some(moments) => (host(&moments.m), host(&moments.v), moments.n_steps),
                None => (vec![0.0; n], vec![0.0; n], 0),
            };
            // Steps are exact in f32 up to 2²⁴, far beyond any run.
            for (suffix, values) in [("m", m), ("v", v), ("t", vec![t as f32])] {
                let (name, shape) = (format!("{name}.{suffix}"), vec![values.len()]);
                tensors.push(NamedParam { name, shape, values, trainable: false });
            }
        }
        tensors
    }

    /// Takes back what [`AdamW::state`] gave, for the trainable parameters of `module`.
    ///
    /// # Errors
    /// Whatever `read` returns.
    pub fn restore<M: Module>(
        &mut self,
        module: &M,
        n_steps: u32,
        device: &burn::tensor::Device,
        read: Read,
    ) -> Result<(), WeightsError> {
        self.n_steps = n_steps;
        for param in vit_core::weights::names(module).into_iter().filter(|param| param.trainable) {
            let n: usize = param.shape.iter().product();
            let mut moment = |suffix: &str| -> Result<Tensor<1>, WeightsError> {
                let values = read(&format!("{}.{suffix}", param.name), &[n])?;
                Ok(Tensor::from_data(TensorData::new(values, [n]), device))
            };
            let (m, v) = (moment("m")?, moment("v")?);
            let n_steps = read(&format!("{}.t", param.name), &[1])?.first().map_or(0, |&t| t as u32);
            if n_steps > 0 {
                self.moments.insert(param.name, Moments { m, v, n_steps });
            }
        }
        Ok(())
    }
}

/// The values of a moment.
fn host(moment: &Tensor<1>) -> Vec<f32> {
    match moment.clone().into_data().try_to_vec::<f32>() {
        Ok(values) => values,
        Err(error) => panic!("moments are f32: {error:?}"),
    }
}

struct Apply<'a> {
    optimizer: &'a mut AdamW,
    grads: Grads,
    rates: &'a dyn Fn(&str, &[usize]) -> Rates,
}

impl MapByName for Apply<'_> {
    fn change<const D: usize>(&mut self, name: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(grad) = self.grads.remove(name) else { return param };
        let shape = param.dims();
        let n: usize = shape.iter().product();
        let rates = (self.rates)(name, &shape);
        let optimizer = &mut *self.optimizer;
        let Moments { m, v, n_steps } = optimizer.moments.remove(name).unwrap_or_else(|| {
            let zeros = || Tensor::zeros([n], &grad.device());
            Moments { m: zeros(), v: zeros(), n_steps: 0 }
        });
        let n_steps = n_steps + 1;
        let step = AdamWStep {
            lr: rates.lr,
            weight_decay: rates.weight_decay,
            beta1: optimizer.beta1,
            beta2: optimizer.beta2,
            eps: optimizer.eps,
            t: n_steps,
        };
        param.map(|tensor| {
            let value = tensor.inner().reshape([n]);
            let (value, m, v) = adamw_step(value, grad, m, v, step);
            optimizer.moments.insert(name.to_owned(), Moments { m, v, n_steps });
            Tensor::from_inner(value.reshape(shape)).require_grad()
        })
    }
}
