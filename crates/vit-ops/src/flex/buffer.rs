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
    begun(n, chunk, |_, chunk| zeros(chunk), room, write)
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

/// Room for values that are still to be set.
pub(super) type Unset = [MaybeUninit<f32>];

/// Sets a chunk to zeros.
pub(super) fn zeros(chunk: &mut Unset) -> &mut [f32] {
    chunk.fill(MaybeUninit::new(0.0));
    // SAFETY: every value was just set.
    unsafe { set(chunk) }
}

/// Writes a chunk piece by piece, `piece` values each, which hold zeros that are still in the nearest cache; `write` gets where a piece
/// starts.
pub(super) fn in_pieces(
    chunk: &mut Unset,
    piece: usize,
    mut write: impl FnMut(usize, &mut [f32]),
) -> &mut [f32] {
    for (at, into) in chunk.chunks_mut(piece).enumerate() {
        write(at * piece, zeros(into));
    }
    // SAFETY: the pieces cover the chunk, and every value of each was set to zero before it was written.
    unsafe { set(chunk) }
}

/// Two buffers at once: the chunks of the same number go to one call of `write`, which sets all their values and gives both back.
///
/// # Panics
/// When they have not the same number of chunks, or `write` gives back anything but what it got.
pub(super) fn fill_two(
    (n_first, chunk_first): (usize, usize),
    (n_second, chunk_second): (usize, usize),
    write: impl for<'a> Fn(usize, [&'a mut Unset; 2]) -> [&'a mut [f32]; 2] + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let (chunk_first, chunk_second) = (chunk_first.max(1), chunk_second.max(1));
    assert_eq!(n_first.div_ceil(chunk_first), n_second.div_ceil(chunk_second), "chunks of two buffers");
    let (mut first, mut second) = (Vec::with_capacity(n_first), Vec::with_capacity(n_second));
    let one = |(at, (first, second)): (usize, (&mut Unset, &mut Unset))| {
        let given = [&*first, &*second].map(|chunk| (chunk.as_ptr().cast(), chunk.len()));
        let set = write(at, [first, second]).map(|chunk| (chunk.as_ptr(), chunk.len()));
        assert!(set == given, "what is given back is what was to be written");
    };
    let spare_first = &mut first.spare_capacity_mut()[..n_first];
    let spare_second = &mut second.spare_capacity_mut()[..n_second];
    if hands() == 1 {
        spare_first
            .chunks_mut(chunk_first)
            .zip(spare_second.chunks_mut(chunk_second))
            .enumerate()
            .for_each(one);
    } else {
        let chunks = spare_first.par_chunks_mut(chunk_first).zip(spare_second.par_chunks_mut(chunk_second));
        chunks.enumerate().with_max_len(1).for_each(one);
    }
    // SAFETY: the chunks cover all values of both; each was given back as values, which `write` can only have from setting them.
    unsafe {
        first.set_len(n_first);
        second.set_len(n_second);
    }
    (first, second)
}

/// A buffer of `n` values whose chunks `write` sets and gives back.
///
/// # Panics
/// When `write` gives back anything but what it got.
pub(super) fn fill_unset(
    n: usize,
    chunk: usize,
    write: impl for<'a> Fn(usize, &'a mut Unset) -> &'a mut [f32] + Sync,
) -> Vec<f32> {
    begun(n, chunk, write, || (), |(), _, _| {})
}

/// The same room as values.
///
/// # Safety
/// Every value must have been set.
pub(super) unsafe fn set(chunk: &mut Unset) -> &mut [f32] {
    // SAFETY: the caller vouches for the values; the layout of both types is the same.
    unsafe { &mut *(std::ptr::from_mut(chunk) as *mut [f32]) }
}

/// Each chunk is begun by `begin`, which sets every value and gives the chunk back, and then written.
fn begun<S>(
    n: usize,
    chunk: usize,
    begin: impl for<'a> Fn(usize, &'a mut Unset) -> &'a mut [f32] + Sync,
    room: impl Fn() -> S + Sync + Send,
    write: impl Fn(&mut S, usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(n);
    let spare = &mut values.spare_capacity_mut()[..n];
    let one = |room: &mut S, (at, chunk): (usize, &mut Unset)| {
        let given = (chunk.as_ptr().cast(), chunk.len());
        let chunk = begin(at, chunk);
        assert!((chunk.as_ptr(), chunk.len()) == given, "what is given back is what was to be written");
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
    // SAFETY: the chunks cover all `n` values; each was given back as values, which `begin` can only have from setting them.
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
        let (first, second) = fill_two((5, 2), (3, 1), |at, [first, second]| {
            let (first, second) = (zeros(first), zeros(second));
            assert_eq!(second, [0.0]);
            first.fill(at as f32);
            second[0] = first.len() as f32;
            [first, second]
        });
        assert_eq!((first, second), (vec![0., 0., 1., 1., 2.], vec![2., 2., 1.]));
    }

    #[test]
    #[should_panic(expected = "what is given back")]
    fn a_chunk_that_is_not_given_back_is_not_taken_for_set() {
        fill_unset(8, 4, |_, chunk| &mut zeros(chunk)[1..]);
    }

    #[test]
    fn pieces_are_written_in_their_places() {
        let write = |at, piece: &mut [f32]| piece.iter_mut().for_each(|value| *value += at as f32);
        let values = fill_unset(7, 5, |_, chunk| in_pieces(chunk, 2, write));
        assert_eq!(values, [0., 0., 2., 2., 4., 0., 0.]);
    }
}
