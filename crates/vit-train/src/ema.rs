//! The exponential moving average of a student: the teacher of self-distillation.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use std::collections::BTreeMap;
use vit_core::weights::{ByName, MapByName, map_by_name, visit_by_name};
use vit_ops::ema_step;

#[derive(Default)]
struct Collect {
    flat: BTreeMap<String, Tensor<1>>,
}

impl ByName for Collect {
    fn see<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let n = tensor.dims().iter().product::<usize>();
        self.flat.insert(name.to_owned(), tensor.inner().reshape([n]));
    }
}

struct Follow {
    student: BTreeMap<String, Tensor<1>>,
    momentum: f64,
}

impl MapByName for Follow {
    fn change<const D: usize>(&mut self, name: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(student) = self.student.remove(name) else { return param };
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
    let mut collect = Collect::default();
    visit_by_name(student, &mut collect);
    map_by_name(teacher, &mut Follow { student: collect.flat, momentum })
}
