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

struct Collect {
    path: Vec<String>,
    with_values: bool,
    found: Vec<NamedParam>,
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
        let values = if self.with_values { host_values(tensor.clone()) } else { Vec::new() };
        self.found.push(NamedParam {
            name: self.path.join("."),
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
    let mut visitor = Collect { path: Vec::new(), with_values, found: Vec::new() };
    module.visit(&mut visitor);
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
    path: Vec<String>,
    change: Change<'a>,
    wants_old: bool,
}

impl ModuleMapper for Apply<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let trainable = param.is_require_grad();
        let change = &mut *self.change;
        let wants_old = self.wants_old;
        param.map(|tensor| {
            let (shape, device) = (tensor.dims(), tensor.device());
            let old = if wants_old { host_values(tensor) } else { Vec::new() };
            let values = change(&name, old, &shape);
            let tensor = Tensor::from_data(TensorData::new(values, shape), &device);
            tensor.set_require_grad(trainable)
        })
    }
}

/// Every parameter through a function of its name, old values and shape.
pub fn map_params<M: Module>(module: M, mut change: impl FnMut(&str, Vec<f32>, &[usize]) -> Vec<f32>) -> M {
    module.map(&mut Apply { path: Vec::new(), change: &mut change, wants_old: true })
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
    let module = module.map(&mut Apply { path: Vec::new(), change: &mut change, wants_old: false });
    match failed {
        Some(error) => Err(error),
        None => Ok(module),
    }
}
