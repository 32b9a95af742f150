//! Walking a module's parameters by name.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

/// A parameter on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedParam {
    /// Its path, for example `blocks.3.attn.qkv.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major; empty when only names were asked for.
    pub values: Vec<f32>,
    /// Whether training changes it.
    pub trainable: bool,
}

/// Somebody who looks at every float parameter of a module under its name.
pub trait ByName {
    /// Called with every parameter, in the module's order.
    fn see<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>);
}

/// Somebody who changes every float parameter of a module under its name.
pub trait MapByName {
    /// Called with every parameter, in the module's order; gives what stands there afterwards.
    fn change<const D: usize>(&mut self, name: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>>;
}

/// Shows every float parameter of a module, by name.
pub fn visit_by_name<M: Module>(module: &M, visitor: &mut impl ByName) {
    module.visit(&mut Walk { path: Vec::new(), inner: visitor });
}

/// Changes every float parameter of a module, by name.
#[must_use]
pub fn map_by_name<M: Module>(module: M, mapper: &mut impl MapByName) -> M {
    module.map(&mut Walk { path: Vec::new(), inner: mapper })
}

/// Keeps the path to where it stands.
struct Walk<'a, T> {
    path: Vec<String>,
    inner: &'a mut T,
}

impl<T: ByName> ModuleVisitor for Walk<'_, T> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.inner.see(&self.path.join("."), param);
    }
}

impl<T: MapByName> ModuleMapper for Walk<'_, T> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.inner.change(&self.path.join("."), param)
    }
}

struct Collect {
    with_values: bool,
    found: Vec<NamedParam>,
}

impl ByName for Collect {
    fn see<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let values = if self.with_values { host_values(tensor.clone()) } else { Vec::new() };
        self.found.push(NamedParam {
            name: name.to_owned(),
            shape: tensor.dims().to_vec(),
            values,
            trainable: param.is_require_grad(),
        });
    }
}

/// A tensor's values on the host, row-major, as f32.
fn host_values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    match data.try_to_vec::<f32>() {
        Ok(values) => values,
        Err(error) => panic!("a float tensor was converted to f32: {error:?}"),
    }
}

fn collect<M: Module>(module: &M, with_values: bool) -> Vec<NamedParam> {
    let mut visitor = Collect { with_values, found: Vec::new() };
    visit_by_name(module, &mut visitor);
    visitor.found
}

/// Every float parameter of a module with its values, in the module's order.
pub fn params<M: Module>(module: &M) -> Vec<NamedParam> {
    collect(module, true)
}

/// Every float parameter of a module, without values.
pub fn names<M: Module>(module: &M) -> Vec<NamedParam> {
    collect(module, false)
}

/// Gives the values of a tensor by its name and shape.
pub type Read<'a> = &'a mut dyn FnMut(&str, &[usize]) -> Result<Vec<f32>, super::WeightsError>;

/// Name, old values and shape to new values.
type Change<'a> = &'a mut dyn FnMut(&str, Vec<f32>, &[usize]) -> Vec<f32>;

struct Apply<'a> {
    change: Change<'a>,
    wants_old: bool,
}

impl MapByName for Apply<'_> {
    fn change<const D: usize>(&mut self, name: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trainable = param.is_require_grad();
        param.map(|tensor| {
            let (shape, device) = (tensor.dims(), tensor.device());
            let old = if self.wants_old {
                host_values(tensor)
            } else {
                // Before the new values are read, so that never more than one model is held.
                drop(tensor);
                Vec::new()
            };
            let values = (self.change)(name, old, &shape);
            let tensor = Tensor::from_data(TensorData::new(values, shape), &device);
            tensor.set_require_grad(trainable)
        })
    }
}

/// Every parameter through a function of its name, old values and shape.
pub fn map_params<M: Module>(module: M, mut change: impl FnMut(&str, Vec<f32>, &[usize]) -> Vec<f32>) -> M {
    map_by_name(module, &mut Apply { change: &mut change, wants_old: true })
}

/// Every parameter replaced by what `source` gives for its name and shape; the first error stops it.
///
/// # Errors
/// Whatever the source returns; the module is then dropped and nothing of it is half loaded.
///
/// # Panics
/// When the source returns another number of values than the shape has.
pub fn assign<M: Module, E>(
    module: M,
    mut source: impl FnMut(&str, &[usize]) -> Result<Vec<f32>, E>,
) -> Result<M, E> {
    let mut failed = None;
    let mut change = |name: &str, _: Vec<f32>, shape: &[usize]| -> Vec<f32> {
        let n = shape.iter().product();
        if failed.is_some() {
            return vec![0.0; n];
        }
        match source(name, shape) {
            Ok(values) => {
                assert_eq!(values.len(), n, "{name}: values for shape {shape:?}");
                values
            }
            Err(error) => {
                failed = Some(error);
                vec![0.0; n]
            }
        }
    };
    let module = map_by_name(module, &mut Apply { change: &mut change, wants_old: false });
    match failed {
        Some(error) => Err(error),
        None => Ok(module),
    }
}
