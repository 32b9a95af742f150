//! New buffers that are first written by the thread that works on them, so that no pass over memory is spent on zeros.

use rayon::prelude::*;
use std::mem::MaybeUninit;

/// A buffer of `n` values, made chunk by chunk on all threads: `write` gets room that one task uses again, the number of
/// the chunk, and the chunk, which holds zeros that are still in the cache.
pub(super) fn fill_with<S>(
    n: usize,
    chunk: usize,
    room: impl Fn() -> S + Sync + Send,
    write: impl Fn(&mut S, usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let zeros = |chunk: &mut [MaybeUninit<f32>]| {
        chunk.fill(MaybeUninit::new(0.0));
    };
    begun(n, chunk, zeros, room, write)
}

/// [`fill_with`] without room.
pub(super) fn fill(n: usize, chunk: usize, write: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    fill_with(n, chunk, || (), |(), at, chunk| write(at, chunk))
}

/// `n` equal rows.
pub(super) fn repeat(row: &[f32], n: usize) -> Vec<f32> {
    const BLOCK_ROWS: usize = 64;
    let copies = |chunk: &mut [MaybeUninit<f32>]| {
        for into in chunk.chunks_exact_mut(row.len()) {
            for (into, &value) in into.iter_mut().zip(row) {
                into.write(value);
            }
        }
    };
    begun(n * row.len(), BLOCK_ROWS * row.len(), copies, || (), |(), _, _| {})
}

/// Each chunk is begun by `begin`, which sets every value, and then written.
fn begun<S>(
    n: usize,
    chunk: usize,
    begin: impl Fn(&mut [MaybeUninit<f32>]) + Sync,
    room: impl Fn() -> S + Sync + Send,
    write: impl Fn(&mut S, usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(n);
    let spare = &mut values.spare_capacity_mut()[..n];
    let one = |room: &mut S, (at, chunk): (usize, &mut [MaybeUninit<f32>])| {
        begin(chunk);
        // SAFETY: `begin` has set every value of the chunk, and a set `MaybeUninit<f32>` is an `f32`.
        let chunk = unsafe { &mut *(std::ptr::from_mut(chunk) as *mut [f32]) };
        write(room, at, chunk);
    };
    let chunk = chunk.max(1);
    if n <= chunk {
        if n > 0 {
            one(&mut room(), (0, spare));
        }
    } else {
        spare.par_chunks_mut(chunk).enumerate().for_each_init(&room, one);
    }
    // SAFETY: the chunks cover all `n` values, each set by `begin`.
    unsafe { values.set_len(n) };
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_written_in_its_place() {
        let values = fill(10, 4, |at, chunk| chunk.iter_mut().for_each(|value| *value += at as f32));
        assert_eq!(values, [0., 0., 0., 0., 1., 1., 1., 1., 2., 2.]);
        assert_eq!(fill(0, 4, |_, _| panic!("nothing to write")), Vec::<f32>::new());
    }

    #[test]
    fn rows_are_repeated() {
        let rows = repeat(&[1.0, 2.0, 3.0], 130);
        assert_eq!(rows.len(), 390);
        assert!(rows.chunks(3).all(|row| row == [1.0, 2.0, 3.0]));
        assert!(repeat(&[], 3).is_empty() && repeat(&[1.0], 0).is_empty());
    }
}
