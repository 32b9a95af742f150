//! How long rows are, beside what leads from them to others.

use super::buffer::fill;
use super::simd::{LANES, fold, simd};

simd! {
    /// `‖z‖` and `‖x − z‖` of each row of `width` values.
    fn of_rows(z: &[f32], x: &[f32], width: usize, into: &mut [f32]) {
        for row in 0..into.len() / 2 {
            let (z, x) = (&z[row * width..][..width], &x[row * width..][..width]);
            let ((z, z_rest), (x, x_rest)) = (z.as_chunks::<LANES>(), x.as_chunks::<LANES>());
            let (mut own, mut between) = ([0.0f32; LANES], [0.0f32; LANES]);
            for chunk in 0..z.len() {
                for i in 0..LANES {
                    let (z, apart) = (z[chunk][i], x[chunk][i] - z[chunk][i]);
                    own[i] += z * z;
                    between[i] += apart * apart;
                }
            }
            for i in 0..z_rest.len() {
                let (z, apart) = (z_rest[i], x_rest[i] - z_rest[i]);
                own[i] += z * z;
                between[i] += apart * apart;
            }
            into[2 * row] = fold(own).sqrt();
            into[2 * row + 1] = fold(between).sqrt();
        }
    }
}

/// Rows in a task.
const BLOCK_ROWS: usize = 256;

/// `‖z‖` and `‖x − z‖` of every row of `width` values.
pub(super) fn lengths(z: &[f32], x: &[f32], width: usize) -> Vec<f32> {
    let n_rows = z.len() / width.max(1);
    fill(2 * n_rows, 2 * BLOCK_ROWS, |at, into| {
        let first = at * BLOCK_ROWS * width;
        of_rows(&z[first..], &x[first..], width, into);
    })
}
