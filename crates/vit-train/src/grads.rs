//! Gradients by parameter name: summed over micro-batches, measured and clipped before the optimizer sees them.

use burn::module::{Module, Param};
use burn::tensor::{Gradients, Tensor};
use std::collections::BTreeMap;
use vit_core::weights::{ByName, visit_by_name};

/// The gradient of every parameter that has one, flattened, under the parameter's name.
#[derive(Clone, Debug, Default)]
pub struct Grads {
    by_name: BTreeMap<String, Tensor<1>>,
}

/// Torch's guard against a division by zero.
const EPS: f64 = 1e-6;

impl Grads {
    /// The gradients of a module's parameters, taken out of a backward pass.
    pub fn of<M: Module>(module: &M, gradients: Gradients) -> Self {
        let mut take = Take { gradients, by_name: BTreeMap::new() };
        visit_by_name(module, &mut take);
        Self { by_name: take.by_name }
    }

    /// The names of the parameters that have a gradient, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Takes a parameter's gradient out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor<1>> {
        self.by_name.remove(name)
    }

    /// `self + later`, parameter by parameter.
    #[must_use]
    pub fn plus(mut self, later: Self) -> Self {
        let pairs = later.by_name.into_iter().map(|(name, grad)| (self.by_name.remove(&name), name, grad));
        let sums = vit_ops::each(pairs.collect(), |(sum, name, grad)| match sum {
            Some(sum) => (name, sum + grad),
            None => (name, grad),
        });
        self.by_name.extend(sums);
        self
    }

    /// Every gradient times a factor.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        let scaled = self.by_name.into_iter().map(|(name, grad)| (name, grad.mul_scalar(factor)));
        Self { by_name: scaled.collect() }
    }

    /// `√(Σ over parameters ‖g‖²)`, summed in the order of names.
    pub fn global_norm(&self) -> f64 {
        self.by_name.values().map(|grad| norm(grad).powi(2)).sum::<f64>().sqrt()
    }

    /// Clips by one norm over all parameters: `g ← g·min(1, max_norm / (‖g‖ + 1e-6))`. Gives the norm before.
    ///
    /// # Source
    /// Pascanu et al., On the difficulty of training recurrent neural networks; the ε of PyTorch's `clip_grad_norm_`.
    pub fn clip_global(self, max_norm: f64) -> (Self, f64) {
        let norm = self.global_norm();
        let factor = max_norm / (norm + EPS);
        if factor < 1.0 { (self.times(factor), norm) } else { (self, norm) }
    }

    /// Clips every parameter's gradient by its own norm: `gₚ ← gₚ·min(1, max_norm / (‖gₚ‖ + 1e-6))`.
    ///
    /// # Source
    /// Caron et al., DINO (at 3.0); iBOT, EsViT and SiT do the same.
    #[must_use]
    pub fn clip_each(self, max_norm: f64) -> Self {
        let clipped = self.by_name.into_iter().map(|(name, grad)| {
            let factor = max_norm / (norm(&grad) + EPS);
            (name, if factor < 1.0 { grad.mul_scalar(factor) } else { grad })
        });
        Self { by_name: clipped.collect() }
    }
}

/// `‖g‖`
fn norm(grad: &Tensor<1>) -> f64 {
    f64::from(vit_ops::sum_of_squares(grad.clone()).into_scalar::<f32>()).sqrt()
}

struct Take {
    gradients: Gradients,
    by_name: BTreeMap<String, Tensor<1>>,
}

impl ByName for Take {
    fn see<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        if let Some(grad) = param.val().grad_remove(&mut self.gradients) {
            let n: usize = grad.dims().iter().product();
            self.by_name.insert(name.to_owned(), grad.reshape([n]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gradients of two parameters: a = (3, 4) with norm 5, b = (12) with norm 12; together 13.
    fn grads() -> Grads {
        let device = vit_ops::cpu_device();
        let of = |values: &[f32]| Tensor::<1>::from_floats(values, &device);
        Grads { by_name: BTreeMap::from([("a".into(), of(&[3.0, 4.0])), ("b".into(), of(&[12.0]))]) }
    }

    fn values(mut grads: Grads, name: &str) -> Vec<f32> {
        grads.remove(name).expect(name).into_data().try_to_vec().expect("f32")
    }

    fn near(found: &[f32], expected: &[f32]) {
        assert!(
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5),
            "{found:?} against {expected:?}"
        );
    }

    #[test]
    fn the_global_norm_is_over_all_parameters() {
        assert!((grads().global_norm() - 13.0).abs() < 1e-6);
        let (clipped, norm) = grads().clip_global(6.5);
        assert!((norm - 13.0).abs() < 1e-6);
        near(&values(clipped.clone(), "a"), &[1.5, 2.0]);
        near(&values(clipped, "b"), &[6.0]);
        near(&values(grads().clip_global(20.0).0, "b"), &[12.0]);
    }

    #[test]
    fn each_parameter_is_clipped_by_its_own_norm() {
        let clipped = grads().clip_each(6.0);
        near(&values(clipped.clone(), "a"), &[3.0, 4.0]);
        near(&values(clipped, "b"), &[6.0]);
    }

    #[test]
    fn sums_are_taken_name_by_name() {
        let mut later = grads();
        later.remove("a");
        let sum = grads().plus(later).times(0.5);
        near(&values(sum.clone(), "a"), &[1.5, 2.0]);
        near(&values(sum, "b"), &[12.0]);
    }
}
