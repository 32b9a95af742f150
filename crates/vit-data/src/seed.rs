//! Named random streams: every draw is a pure function of (seed, name, counters), never of threads or time.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::{Deserialize, Serialize};

/// A stream of random numbers; the same bytes on every machine.
pub type Stream = ChaCha8Rng;

/// The seed of a run, from which every stream is opened by name and counters.
///
/// `key = splitmix64-fold(seed, bytes of name, counters)`, and the stream is ChaCha8 under that key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(pub u64);

impl Seed {
    /// Opens the stream `name` at `counters`, for example `seed.stream("crop", &[epoch, sample, view])`.
    pub fn stream(self, name: &str, counters: &[u64]) -> Stream {
        let mut state = self.0 ^ 0x7669_7473_636f_7065; // the product's name in ASCII
        for &byte in name.as_bytes() {
            state = mix(state ^ u64::from(byte));
        }
        state = mix(state ^ (name.len() as u64));
        for &counter in counters {
            state = mix(state.wrapping_add(mix(counter ^ 0xa076_1d64_78bd_642f)));
        }
        let mut key = [0u8; 32];
        for chunk in key.chunks_exact_mut(8) {
            state = mix(state);
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }
}

/// The finalizer of SplitMix64.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn the_same_name_and_counters_give_the_same_stream_and_others_do_not() {
        let draw =
            |seed: u64, name: &str, counters: &[u64]| Seed(seed).stream(name, counters).random::<u64>();
        assert_eq!(draw(0, "crop", &[1, 2]), draw(0, "crop", &[1, 2]));
        assert_ne!(draw(0, "crop", &[1, 2]), draw(0, "crop", &[2, 1]));
        assert_ne!(draw(0, "crop", &[1, 2]), draw(1, "crop", &[1, 2]));
        assert_ne!(draw(0, "crop", &[1, 2]), draw(0, "flip", &[1, 2]));
    }
}
