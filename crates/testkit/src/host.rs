//! Tensors on the host: a shape and values, whatever they were stored as.

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, tensor::TensorView};

/// A tensor on the host. Every stored type that tests use fits into `f64` without loss.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f64>,
}

impl HostTensor {
    /// A tensor of these values.
    ///
    /// # Panics
    /// When there are not as many as the shape says.
    pub fn new(shape: impl Into<Vec<usize>>, values: Vec<f64>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values for the shape {shape:?}");
        Self { shape, values }
    }

    /// A tensor of `f32` values.
    ///
    /// # Panics
    /// When there are not as many as the shape says.
    pub fn from_f32(shape: impl Into<Vec<usize>>, values: &[f32]) -> Self {
        Self::new(shape, values.iter().map(|&x| f64::from(x)).collect())
    }

    /// A tensor from the device.
    ///
    /// # Panics
    /// When the device gives no floats.
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        let shape = tensor.dims().to_vec();
        let values = tensor.into_data().convert::<f32>().try_to_vec::<f32>().expect("a float tensor");
        Self::from_f32(shape, &values)
    }

    /// A tensor of a safetensors file.
    ///
    /// # Panics
    /// When its type is none of F32, F64, I32, I64, U8 and BOOL.
    pub fn of_view(name: &str, view: &TensorView) -> Self {
        let bytes = view.data();
        let values = match view.dtype() {
            Dtype::F32 => f64s(bytes, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F64 => f64s(bytes, f64::from_le_bytes),
            Dtype::I32 => f64s(bytes, |b| f64::from(i32::from_le_bytes(b))),
            Dtype::I64 => f64s(bytes, |b| i64::from_le_bytes(b) as f64),
            Dtype::U8 | Dtype::BOOL => bytes.iter().map(|&b| f64::from(b)).collect(),
            other => panic!("`{name}`: expected F32, F64, I32, I64, U8 or BOOL; found {other:?}"),
        };
        Self::new(view.shape(), values)
    }

    /// A tensor of a PyTorch checkpoint.
    ///
    /// # Panics
    /// When it cannot be read, or its type is none of F32, F64, I32 and I64.
    pub fn of_pytorch(tensor: &pytorch_reader::Tensor) -> Self {
        use pytorch_reader::DType;
        let name = &tensor.name;
        let bytes = tensor.read().unwrap_or_else(|error| panic!("`{name}`: {error}"));
        let values = match tensor.dtype() {
            DType::F32 => f64s(&bytes, |b| f64::from(f32::from_ne_bytes(b))),
            DType::F64 => f64s(&bytes, f64::from_ne_bytes),
            DType::I32 => f64s(&bytes, |b| f64::from(i32::from_ne_bytes(b))),
            DType::I64 => f64s(&bytes, |b| i64::from_ne_bytes(b) as f64),
            other => panic!("`{name}`: expected F32, F64, I32 or I64; found {other:?}"),
        };
        Self::new(tensor.shape(), values)
    }

    /// The values as `f32`.
    pub fn to_f32(&self) -> Vec<f32> {
        self.values.iter().map(|&x| x as f32).collect()
    }

    /// The values as counts, for class ids and indices.
    ///
    /// # Panics
    /// When one is negative or not whole.
    pub fn to_usize(&self) -> Vec<usize> {
        let whole = |&x: &f64| {
            assert!(x >= 0.0 && x.fract() == 0.0, "expected a count; found {x}");
            x as usize
        };
        self.values.iter().map(whole).collect()
    }

    /// The tensor on a device.
    ///
    /// # Panics
    /// When it has another rank.
    pub fn on<const D: usize>(&self, device: &Device) -> Tensor<D> {
        let shape: [usize; D] = self.shape.as_slice().try_into().expect("a tensor of that rank");
        Tensor::from_data(TensorData::new(self.to_f32(), shape), device)
    }
}

fn f64s<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes.chunks_exact(N).map(|chunk| value(chunk.try_into().expect("one value's bytes"))).collect()
}
