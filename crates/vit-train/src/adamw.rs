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

/// First and second moment of a parameter, flattened.
#[derive(Clone, Debug)]
struct Moments {
    m: Tensor<1>,
    v: Tensor<1>,
}

/// AdamW: see [`AdamWStep`] for the formula. Moments live under the parameter's name, so they survive saving.
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

    /// The moments as named tensors `{parameter}.m` and `{parameter}.v`.
    pub fn state(&self) -> Vec<NamedParam> {
        let mut tensors = Vec::with_capacity(2 * self.moments.len());
        for (name, moments) in &self.moments {
            for (suffix, tensor) in [("m", &moments.m), ("v", &moments.v)] {
                let shape = tensor.dims().to_vec();
                let data = tensor.clone().into_data();
                let values = match data.try_to_vec::<f32>() {
                    Ok(values) => values,
                    Err(error) => panic!("moments are f32: {error:?}"),
                };
                tensors.push(NamedParam {
                    name: format!("{name}.{suffix}"),
                    shape,
                    values,
                    trainable: false,
                });
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
            let moments = Moments { m: moment("m")?, v: moment("v")? };
            self.moments.insert(param.name, moments);
        }
        Ok(())
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
        let step = AdamWStep {
            lr: rates.lr,
            weight_decay: rates.weight_decay,
            beta1: optimizer.beta1,
            beta2: optimizer.beta2,
            eps: optimizer.eps,
            t: optimizer.n_steps,
        };
        let Moments { m, v } = optimizer.moments.remove(name).unwrap_or_else(|| {
            let zeros = || Tensor::zeros([n], &grad.device());
            Moments { m: zeros(), v: zeros() }
        });
        param.map(|tensor| {
            let value = tensor.inner().reshape([n]);
            let (value, m, v) = adamw_step(value, grad, m, v, step);
            optimizer.moments.insert(name.to_owned(), Moments { m, v });
            Tensor::from_inner(value.reshape(shape)).require_grad()
        })
    }
}
