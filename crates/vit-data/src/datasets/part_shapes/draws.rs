//! Random draws and hashes: the only way chance enters a picture.

use rand::RngExt;

use crate::Stream;

/// Uniform draws from one host stream, in plain arithmetic so that every machine agrees.
pub(super) struct Draws(Stream);

impl Draws {
    pub(super) fn new(stream: Stream) -> Draws {
        Draws(stream)
    }

    /// 64 random bits, to key a hash with.
    pub(super) fn key(&mut self) -> u64 {
        self.0.random::<u64>()
    }

    /// Uniform in `[low, high)`.
    pub(super) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * unit_from_bits(self.key())
    }

    /// Between `low` and `high`, most often in the middle (the mean of two uniform draws).
    pub(super) fn peaked(&mut self, low: f64, high: f64) -> f64 {
        0.5 * (self.uniform(low, high) + self.uniform(low, high))
    }

    /// Uniform over `0..n`.
    pub(super) fn index(&mut self, n: usize) -> usize {
        (((self.key() >> 32) * n as u64) >> 32) as usize
    }

    /// True with probability `p`.
    pub(super) fn chance(&mut self, p: f64) -> bool {
        self.uniform(0.0, 1.0) < p
    }

    /// +1 or −1.
    pub(super) fn sign(&mut self) -> f64 {
        if self.chance(0.5) { 1.0 } else { -1.0 }
    }
}

/// A well-mixed hash of a key and a counter (the finalizer of SplitMix64).
pub(super) fn hash(key: u64, counter: u64) -> u64 {
    let mut z = key ^ counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The hash of a lattice cell as a number in `[0, 1)`.
pub(super) fn hash_of_cell(key: u64, column: i64, row: i64) -> f64 {
    unit_from_bits(hash(key, (column as u64) ^ (row as u64).rotate_left(32)))
}

/// Smooth noise in `[0, 1)`, with one free value per unit cell.
pub(super) fn noise(key: u64, x: f64, y: f64) -> f64 {
    let (column, row) = (x.floor(), y.floor());
    let (u, v) = (smooth(x - column), smooth(y - row));
    let (column, row) = (column as i64, row as i64);
    let top = mix(hash_of_cell(key, column, row), hash_of_cell(key, column + 1, row), u);
    let bottom = mix(hash_of_cell(key, column, row + 1), hash_of_cell(key, column + 1, row + 1), u);
    mix(top, bottom, v)
}

/// Linear interpolation, `a` at 0 and `b` at 1.
pub(super) fn mix(a: f64, b: f64, t: f64) -> f64 {
    a + (b - a) * t
}

/// The cubic `3t² − 2t³` of `t` clamped to `[0, 1]`.
pub(super) fn smooth(t: f64) -> f64 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// The top 53 bits as a number in `[0, 1)`.
fn unit_from_bits(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
}
