//! Gradients by parameter name.

use crate::HostTensor;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};
use std::collections::BTreeMap;

struct Collect<'a> {
    path: Vec<String>,
    grads: &'a Gradients,
    found: BTreeMap<String, HostTensor>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = param.val().grad(self.grads) {
            self.found.insert(self.path.join("."), HostTensor::of(grad));
        }
    }
}

/// The gradient of every parameter that has one, by the parameter's name.
pub fn gradients<M: Module>(module: &M, grads: &Gradients) -> BTreeMap<String, HostTensor> {
    let mut collect = Collect { path: Vec::new(), grads, found: BTreeMap::new() };
    module.visit(&mut collect);
    collect.found
}
