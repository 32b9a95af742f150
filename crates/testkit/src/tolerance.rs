//! When two tensors are the same.

use crate::HostTensor;
use serde::Deserialize;

/// `|ours − expected| ≤ abs + rel·|expected|`, elementwise.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Tolerance {
    /// In the tensor's own unit.
    pub abs: f64,
    /// As a share of the expected value.
    pub rel: f64,
}

impl Tolerance {
    /// For the same computation in another order of additions, in `f32`.
    pub const REORDERED: Self = Self { abs: 2e-5, rel: 1e-4 };

    /// Whether a value is near enough; NaN never is.
    pub fn allows(self, ours: f64, expected: f64) -> bool {
        (ours - expected).abs() <= self.abs + self.rel * expected.abs()
    }
}

/// Compares two tensors; shapes must agree, but for a scalar, which may have any number of dimensions of 1.
///
/// # Panics
/// With the name, the worst place, ours and the expected value there, and how many are out of tolerance.
pub fn assert_near(name: &str, ours: &HostTensor, expected: &HostTensor, tolerance: Tolerance) {
    let scalars = ours.values.len() == 1 && expected.values.len() == 1;
    assert!(
        scalars || ours.shape == expected.shape,
        "{name}: shape: ours {:?}, expected {:?}",
        ours.shape,
        expected.shape
    );
    let excess = |at: usize| {
        let (ours, expected) = (ours.values[at], expected.values[at]);
        let excess = (ours - expected).abs() - tolerance.abs - tolerance.rel * expected.abs();
        if excess.is_nan() { f64::INFINITY } else { excess }
    };
    let out: Vec<usize> = (0..ours.values.len())
        .filter(|&at| !tolerance.allows(ours.values[at], expected.values[at]))
        .collect();
    let Some(&worst) = out.iter().max_by(|&&a, &&b| excess(a).total_cmp(&excess(b))) else { return };
    panic!(
        "{name}{:?}: ours {}, expected {}, tolerance {} + {}·|expected|; {} of {} values are out of tolerance",
        index(worst, &ours.shape),
        ours.values[worst],
        expected.values[worst],
        tolerance.abs,
        tolerance.rel,
        out.len(),
        ours.values.len()
    );
}

/// The index of a flat place in a shape.
fn index(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (axis, &n) in shape.iter().enumerate().rev() {
        index[axis] = at % n;
        at /= n;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tolerance_grows_with_the_expected_value() {
        let tolerance = Tolerance { abs: 0.1, rel: 0.01 };
        assert!(tolerance.allows(102.0, 101.0)); // 0.1 + 1.01 ≥ 1
        assert!(!tolerance.allows(1.2, 1.0)); // 0.1 + 0.01 < 0.2
        assert!(!tolerance.allows(f64::NAN, 1.0));
    }

    #[test]
    #[should_panic(expected = "x[1, 0]: ours 3.5, expected 3")]
    fn a_difference_is_named_with_its_place() {
        let expected = HostTensor::new([2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let ours = HostTensor::new([2, 2], vec![1.0, 2.0, 3.5, 4.0]);
        assert_near("x", &ours, &expected, Tolerance { abs: 0.1, rel: 0.0 });
    }
}
