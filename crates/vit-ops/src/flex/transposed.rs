//! Matrices written down transposed: the product's kernel copies an operand faster when its rows lie in one piece.

use super::buffer::fill;
use super::linear::View;

/// Values between two rows, so that rows of a power of two do not fall on one place of the cache.
const GAP: usize = 16;

/// A matrix that was written down transposed.
pub(super) struct Transposed {
    values: Vec<f32>,
    rows: usize,
    columns: usize,
}

impl Transposed {
    /// `mᵀ`, of rows that lie in one piece.
    pub(super) fn new(m: View) -> Self {
        const COLUMNS: usize = 64; // their part of a row of `m` is four lines of the cache
        let (rows, columns) = (m.columns, m.rows);
        let stride = columns + GAP;
        let values = fill(rows * stride, COLUMNS * stride, |at, out| {
            transpose(m, at * COLUMNS, out, stride);
        });
        Self { values, rows, columns }
    }

    pub(super) fn view(&self) -> View<'_> {
        View::strided(&self.values, self.rows, self.columns, self.columns + GAP)
    }
}

/// Side of the squares that are turned in registers.
const SIDE: usize = 8;

/// Columns `first…` of `m` as rows of `out`, `stride` apart, as many as `out` has.
fn transpose(m: View, first: usize, out: &mut [f32], stride: usize) {
    let n = out.len() / stride;
    let squares = if turns_squares() && m.column_stride == 1 { (m.rows / SIDE, n / SIDE) } else { (0, 0) };
    for down in 0..squares.0 {
        for across in 0..squares.1 {
            let from = &m.values[down * SIDE * m.row_stride + first + across * SIDE..];
            let to = &mut out[across * SIDE * stride + down * SIDE..];
            // SAFETY: there are squares only where the processor has AVX2.
            unsafe { turn(from, m.row_stride, to, stride) };
        }
    }
    let (row_done, column_done) = (squares.0 * SIDE, squares.1 * SIDE);
    for (i, out) in out.chunks_exact_mut(stride).enumerate() {
        let rows = if i < column_done { row_done..m.rows } else { 0..m.rows };
        for row in rows {
            out[row] = m.values[row * m.row_stride + (first + i) * m.column_stride];
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn turns_squares() -> bool {
    crate::kernel_path() != "portable"
}

#[cfg(not(target_arch = "x86_64"))]
fn turns_squares() -> bool {
    false
}

/// # Safety
/// There is no processor for which this may be called.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn turn(_: &[f32], _: usize, _: &mut [f32], _: usize) {}

/// Eight values of each of eight rows, `from_stride` apart, as eight rows, `to_stride` apart.
///
/// # Safety
/// The processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn turn(from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize) {
    use std::arch::x86_64::*;
    assert!((SIDE - 1) * from_stride + SIDE <= from.len() && (SIDE - 1) * to_stride + SIDE <= to.len());
    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
    // SAFETY: the assertion keeps every row inside its slice.
    let rows: [__m256; SIDE] = std::array::from_fn(|i| unsafe { _mm256_loadu_ps(from.add(i * from_stride)) });
    let mut pairs = rows;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = pairs;
    for i in [0, 4] {
        for half in 0..2 {
            let (upper, lower) = (pairs[i + half], pairs[i + half + 2]);
            fours[i + 2 * half] = _mm256_shuffle_ps::<0x44>(upper, lower);
            fours[i + 2 * half + 1] = _mm256_shuffle_ps::<0xee>(upper, lower);
        }
    }
    for i in 0..4 {
        let (left, right) = (fours[i], fours[i + 4]);
        // SAFETY: as above.
        unsafe {
            _mm256_storeu_ps(to.add(i * to_stride), _mm256_permute2f128_ps::<0x20>(left, right));
            _mm256_storeu_ps(to.add((i + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(left, right));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_stands_in_its_transposed_place() {
        for (rows, columns) in [(1, 1), (3, 5), (8, 8), (16, 24), (17, 70), (65, 129), (0, 4), (4, 0)] {
            let stride = columns + 3;
            let values: Vec<f32> = (0..(rows * stride).max(1)).map(|i| i as f32).collect();
            let m = View::strided(&values, rows, columns, stride);
            let turned = Transposed::new(m);
            let view = turned.view();
            assert_eq!((view.rows, view.columns), (columns, rows));
            for row in 0..rows {
                for column in 0..columns {
                    let at = column * view.row_stride + row;
                    assert_eq!(view.values[at], values[row * stride + column], "[{rows}, {columns}]");
                }
            }
        }
    }

    #[test]
    fn a_transposed_view_is_turned_back() {
        let values: Vec<f32> = (0..12 * 20).map(|i| i as f32).collect();
        let turned = Transposed::new(View::new(&values, 12, 20).transposed());
        let stride = turned.view().row_stride;
        assert!((0..12).all(|row| turned.values[row * stride..][..20] == values[row * 20..][..20]));
    }
}
