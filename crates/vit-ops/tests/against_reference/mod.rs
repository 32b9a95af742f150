//! The comparison of fused kernels with their references. Tensors in f64 take the portable path, tensors in f32 the fused
//! one; the reference itself is held against finite differences.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Fused f32 against portable f64: a few units in the last place of sums over at most a few hundred terms.
const FUSED_TOLERANCE: f64 = 2e-5;
/// Central differences with step 1e-5 in f64.
const DIFFERENCE_TOLERANCE: f64 = 1e-6;

pub(crate) type Op = fn(&[Tensor<2>], &[usize]) -> Tensor<2>;

/// Deterministic values in about [-2, 2].
pub(crate) fn wave(n: usize, phase: f64) -> Vec<f64> {
    (0..n).map(|i| 2.0 * (phase + 0.37 * i as f64 + 0.011 * (i * i % 97) as f64).sin()).collect()
}

pub(crate) fn device() -> Device {
    vit_ops::cpu_device().autodiff()
}

pub(crate) fn tensor(values: &[f64], shape: [usize; 2], dtype: DType) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), shape).convert_dtype(dtype);
    Tensor::<2>::from_data(data, (&device(), dtype)).require_grad()
}

pub(crate) fn values(x: Tensor<2>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec::<f64>().expect("converted to f64")
}

/// Output and every gradient of `sum(op(inputs) · cotangent)`.
fn run(op: Op, inputs: &[(Vec<f64>, [usize; 2])], sizes: &[usize], dtype: DType) -> Vec<Vec<f64>> {
    let inputs: Vec<Tensor<2>> = inputs.iter().map(|(v, shape)| tensor(v, *shape, dtype)).collect();
    let y = op(&inputs, sizes);
    let shape = y.dims();
    let cotangent = tensor(&wave(shape[0] * shape[1], 0.9), shape, dtype).detach();
    let grads = (y.clone() * cotangent).sum().backward();
    let mut all = vec![values(y)];
    all.extend(inputs.iter().map(|x| values(x.grad(&grads).expect("every input is tracked"))));
    all
}

pub(crate) fn assert_near(what: &str, ours: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}[{i}]: {a} against {b}");
    }
}

pub(crate) fn check(op: Op, shapes: &[[usize; 2]], sizes: &[usize]) {
    let inputs: Vec<_> =
        shapes.iter().enumerate().map(|(i, s)| (wave(s[0] * s[1], 0.3 + i as f64), *s)).collect();
    let reference = run(op, &inputs, sizes, DType::F64);
    for (i, (fused, reference)) in run(op, &inputs, sizes, DType::F32).iter().zip(&reference).enumerate() {
        assert_near(&format!("fused output or gradient {i}"), fused, reference, FUSED_TOLERANCE);
    }
    let objective = |inputs: &[(Vec<f64>, [usize; 2])]| -> f64 {
        let inputs: Vec<Tensor<2>> = inputs.iter().map(|(v, s)| tensor(v, *s, DType::F64)).collect();
        let y = op(&inputs, sizes);
        let n = y.dims()[0] * y.dims()[1];
        values(y).iter().zip(wave(n, 0.9)).map(|(y, c)| y * c).sum()
    };
    for which in 0..inputs.len() {
        let n = inputs[which].0.len();
        for at in [0, n / 2, n - 1] {
            let mut moved = inputs.clone();
            moved[which].0[at] += 1e-5;
            let up = objective(&moved);
            moved[which].0[at] -= 2e-5;
            let slope = (up - objective(&moved)) / 2e-5;
            let ours = reference[which + 1][at];
            let near = (slope - ours).abs() <= DIFFERENCE_TOLERANCE * (1.0 + slope.abs());
            assert!(near, "input {which}[{at}]: gradient {ours}, difference {slope}");
        }
    }
}
