//! One row's work, and the tensors that both sides share.

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

/// Anything that can go wrong; it is shown and ends the process.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Name, shape and values.
pub(crate) type Named = (String, Vec<usize>, Vec<f32>);

/// Where a row works, and whether it takes smaller sizes.
pub(crate) struct Scope<'a> {
    pub dir: &'a Path,
    pub quick: bool,
}

/// What the other side needs, and the work itself, which gives its outputs.
pub(crate) struct Case {
    pub tensors: Vec<Named>,
    pub work: Box<dyn FnMut() -> Result<Vec<Named>, Error>>,
}

/// Values of about unit variance, the same everywhere.
pub(crate) fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut stream = vit_core::stream(seed);
    (0..n)
        .map(|_| (stream.random::<f32>() + stream.random::<f32>() + stream.random::<f32>() - 1.5) * 2.0)
        .collect()
}

/// Normalized images of noise, `[n, 3, side, side]`, with the values for the other side.
pub(crate) fn images(n: usize, side: usize, device: &Device) -> (Tensor<4>, Named) {
    let shape = [n, 3, side, side];
    let values = noise(shape.iter().product(), 1);
    let tensor = Tensor::from_data(TensorData::new(values.clone(), shape), device);
    (tensor, ("input.pixels".into(), shape.to_vec(), values))
}

/// A tensor's values under a name.
pub(crate) fn named<const D: usize>(name: &str, tensor: Tensor<D>) -> Result<Named, Error> {
    let shape = tensor.dims().to_vec();
    let values = tensor.into_data().convert::<f32>().try_to_vec::<f32>();
    Ok((name.to_owned(), shape, values.map_err(|error| format!("{error:?}"))?))
}

/// A module's parameters as `weights.NAME`.
pub(crate) fn weights<M: burn::module::Module>(module: &M) -> Vec<Named> {
    let params = vit_core::weights::params(module).into_iter();
    params.map(|param| (format!("weights.{}", param.name), param.shape, param.values)).collect()
}

pub(crate) fn save(tensors: &[Named], path: &Path) -> Result<(), Error> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, v)| v.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let mut views = BTreeMap::new();
    for ((name, shape, _), bytes) in tensors.iter().zip(&bytes) {
        views.insert(name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes)?);
    }
    safetensors::serialize_to_file(views, None, path)?;
    Ok(())
}
