//! New buffers that are first written by the thread that works on them, so that no pass over memory is spent on zeros.

use crate::parts::hands;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::sync::Mutex;

/// A buffer of `n` values, made chunk by chunk on all threads: `write` gets room that one task uses again, the number of
/// the chunk, and the chunk, which holds zeros that are still in the cache.
pub(super) fn fill_with<S>(
    n: usize,
    chunk: usize,
    room: impl Fn() -> S + Sync + Send,
    write: impl Fn(&mut S, usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    begun(n, chunk, zeros, room, write)
}

/// [`fill_with`] without room.
pub(super) fn fill(n: usize, chunk: usize, write: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    fill_with(n, chunk, || (), |(), at, chunk| write(at, chunk))
}

/// [`fill`] that also gives what `write` says of each chunk, in order.
pub(super) fn fill_and_tell<R: Send>(
    n: usize,
    chunk: usize,
    write: impl Fn(usize, &mut [f32]) -> R + Sync,
) -> (Vec<f32>, Vec<R>) {
    let mut told: Vec<Option<R>> = Vec::new();
    told.resize_with(n.div_ceil(chunk.max(1)), || None);
    let slots: Vec<Mutex<&mut Option<R>>> = told.iter_mut().map(Mutex::new).collect();
    let values = fill(n, chunk, |at, chunk| {
        let found = write(at, chunk);
        if let Ok(mut slot) = slots[at].lock() {
            **slot = Some(found);
        }
    });
    drop(slots);
    (values, told.into_iter().flatten().collect())
}

/// `n` equal rows.
pub(super) fn repeat(row: &[f32], n: usize) -> Vec<f32> {
    rows_upon(row, n, 64, |_, _| {})
}

/// Rows that begin as copies of `row`, `n` of them; `write` gets every block of `block` rows.
pub(super) fn rows_upon(
    row: &[f32],
    n: usize,
    block: usize,
    write: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let begin = |chunk: &mut [MaybeUninit<f32>]| copies(row, chunk);
    begun(n * row.len(), block * row.len(), begin, || (), |(), at, chunk| write(at, chunk))
}

/// Sets a chunk to zeros.
pub(super) fn zeros(chunk: &mut [MaybeUninit<f32>]) {
    chunk.fill(MaybeUninit::new(0.0));
}

/// Sets a chunk of whole rows to copies of `row`.
pub(super) fn copies(row: &[f32], chunk: &mut [MaybeUninit<f32>]) {
    assert_eq!(chunk.len() % row.len().max(1), 0, "whole rows");
    for into in chunk.chunks_exact_mut(row.len().max(1)) {
        for (into, &value) in into.iter_mut().zip(row) {
            into.write(value);
        }
    }
}

/// Two buffers at once: the chunks of the same number go to one call of `write`, each begun by its `begin`, which sets
/// every value.
///
/// # Panics
/// When they have not the same number of chunks.
pub(super) fn fill_two(
    (n_first, chunk_first): (usize, usize),
    (n_second, chunk_second): (usize, usize),
    begin_first: impl Fn(&mut [MaybeUninit<f32>]) + Sync,
    begin_second: impl Fn(&mut [MaybeUninit<f32>]) + Sync,
    write: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let (chunk_first, chunk_second) = (chunk_first.max(1), chunk_second.max(1));
    assert_eq!(n_first.div_ceil(chunk_first), n_second.div_ceil(chunk_second), "chunks of two buffers");
    let (mut first, mut second) = (Vec::with_capacity(n_first), Vec::with_capacity(n_second));
    first.spare_capacity_mut()[..n_first]
        .par_chunks_mut(chunk_first)
        .zip(second.spare_capacity_mut()[..n_second].par_chunks_mut(chunk_second))
        .enumerate()
        .with_max_len(1)
        .for_each(|(at, (first, second))| {
            begin_first(first);
            begin_second(second);
            // SAFETY: both were just set, and a set `MaybeUninit<f32>` is an `f32`.
            let (first, second) = unsafe { (set(first), set(second)) };
            write(at, first, second);
        });
    // SAFETY: the chunks cover all values of both, each set by its `begin`.
    unsafe {
        first.set_len(n_first);
        second.set_len(n_second);
    }
    (first, second)
}

/// The same room as values.
///
/// # Safety
/// Every value must have been set.
unsafe fn set(chunk: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    // SAFETY: the caller vouches for the values; the layout of both types is the same.
    unsafe { &mut *(std::ptr::from_mut(chunk) as *mut [f32]) }
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
        let chunk = unsafe { set(chunk) };
        write(room, at, chunk);
    };
    let chunk = chunk.max(1);
    if n <= chunk || hands() == 1 {
        if n > 0 {
            let mut room = room();
            spare.chunks_mut(chunk).enumerate().for_each(|chunk| one(&mut room, chunk));
        }
    } else {
        spare.par_chunks_mut(chunk).enumerate().with_max_len(1).for_each_init(&room, one);
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
    fn what_is_said_of_chunks_stands_in_their_order() {
        let (values, told) = fill_and_tell(10, 4, |at, chunk| {
            chunk.fill(at as f32);
            (at, chunk.len())
        });
        assert_eq!(values, [0., 0., 0., 0., 1., 1., 1., 1., 2., 2.]);
        assert_eq!(told, [(0, 4), (1, 4), (2, 2)]);
        assert_eq!(fill_and_tell(0, 4, |at, _| at), (Vec::new(), Vec::new()));
    }

    #[test]
    fn two_buffers_are_written_together() {
        let (first, second) = fill_two(
            (5, 2),
            (3, 1),
            zeros,
            |chunk| copies(&[7.0], chunk),
            |at, first, second| {
                assert_eq!(second, [7.0]);
                first.fill(at as f32);
                second[0] = first.len() as f32;
            },
        );
        assert_eq!((first, second), (vec![0., 0., 1., 1., 2.], vec![2., 2., 1.]));
    }

    #[test]
    fn rows_are_repeated() {
        let rows = repeat(&[1.0, 2.0, 3.0], 130);
        assert_eq!(rows.len(), 390);
        assert!(rows.chunks(3).all(|row| row == [1.0, 2.0, 3.0]));
        assert!(repeat(&[], 3).is_empty() && repeat(&[1.0], 0).is_empty());
    }
}
