//! The exponential moving average of a student: the teacher of self-distillation.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use std::collections::BTreeMap;
use vit_ops::ema_step;

struct Collect {
    path: Vec<String>,
    flat: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let n = tensor.dims().iter().product::<usize>();
        self.flat.insert(self.path.join("."), tensor.inner().reshape([n]));
    }
}

struct Follow {
    path: Vec<String>,
    student: BTreeMap<String, Tensor<1>>,
    momentum: f64,
}

impl ModuleMapper for Follow {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let Some(student) = self.student.remove(&name) else { return param };
        let momentum = self.momentum;
        param.map(|teacher| {
            let shape = teacher.dims();
            let n: usize = shape.iter().product();
            ema_step(teacher.inner().reshape([n]), student, momentum).reshape(shape)
        })
    }
}

/// `teacher ← momentum·teacher + (1 − momentum)·student`, parameter by parameter, matched by name. What the student
/// does not have stays as it is. The teacher's parameters are plain tensors afterwards: nothing trains them.
///
/// # Panics
/// When parameters of one name differ in size.
///
/// # Source
/// Tarvainen and Valpola, Mean teachers; after the optimizer's step, as in DINO and iBOT.
pub fn ema_update<T: Module, S: Module>(teacher: T, student: &S, momentum: f64) -> T {
    let mut collect = Collect { path: Vec::new(), flat: BTreeMap::new() };
    student.visit(&mut collect);
    teacher.map(&mut Follow { path: Vec::new(), student: collect.flat, momentum })
}
