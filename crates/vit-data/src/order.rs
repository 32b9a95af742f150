//! Which samples, in which order: pure functions of the seed, so that a resumed run sees what it would have seen.

use std::sync::Arc;

use rand::Rng;

use crate::{Dataset, Seed, Stream};

/// The order in which a loader visits the samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Every sample, ascending.
    Sequential,
    /// Every sample, in the order of [`epoch_order`].
    Shuffled,
    /// These samples, as listed.
    Indices(Arc<Vec<usize>>),
    /// These samples, in the order of [`epoch_order`].
    ShuffledIndices(Arc<Vec<usize>>),
}

impl Order {
    /// The indices visited in `epoch` of a data set of `len` samples.
    pub fn indices(&self, len: usize, seed: Seed, epoch: u64) -> Vec<usize> {
        match self {
            Self::Sequential => (0..len).collect(),
            Self::Shuffled => epoch_order(0..len, seed, epoch),
            Self::Indices(indices) => indices.to_vec(),
            Self::ShuffledIndices(indices) => epoch_order(indices.iter().copied(), seed, epoch),
        }
    }
}

/// The order of one epoch: Fisher–Yates over `indices`, drawn from `seed.stream("order", &[epoch])`.
///
/// # Example
/// ```
/// use vit_data::{Seed, epoch_order};
/// let mut order = epoch_order(0..100, Seed(0), 3);
/// assert_eq!(order, epoch_order(0..100, Seed(0), 3));
/// order.sort();
/// assert!(order.into_iter().eq(0..100));
/// ```
pub fn epoch_order(indices: impl IntoIterator<Item = usize>, seed: Seed, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = indices.into_iter().collect();
    shuffle(&mut order, &mut seed.stream("order", &[epoch]));
    order
}

/// `n` samples spread evenly over the classes, ascending: the first of every class, then the second of every
/// class, and so on until there are `n`; all of them where there are fewer.
///
/// Without labels they are spread evenly over the data set. Of clips and pairs, whole ones are taken, as many as `n` samples fill, at
/// least one: each counts as a sample of the class of its first.
pub fn spread_over_classes(dataset: &dyn Dataset, n: usize) -> Vec<usize> {
    let len = dataset.len();
    if n >= len {
        return (0..len).collect();
    }
    if dataset.group(0).is_some() {
        return whole_groups(dataset, n);
    }
    let mut of_class = std::collections::BTreeMap::<u32, Vec<usize>>::new();
    for index in 0..len {
        match dataset.label(index) {
            Some(label) => of_class.entry(label).or_default().push(index),
            None => return (0..n).map(|k| (k as u128 * len as u128 / n as u128) as usize).collect(),
        }
    }
    let rounds = of_class.values().map(Vec::len).max().unwrap_or(0);
    let in_turn =
        (0..rounds).flat_map(|round| of_class.values().filter_map(move |members| members.get(round)));
    let mut chosen: Vec<usize> = in_turn.take(n).copied().collect();
    chosen.sort_unstable();
    chosen
}

/// Groups of the classes in turn until they have `n` samples; at least one.
fn whole_groups(dataset: &dyn Dataset, n: usize) -> Vec<usize> {
    let mut groups = std::collections::BTreeMap::<usize, Vec<usize>>::new();
    for index in 0..dataset.len() {
        groups.entry(dataset.group(index).unwrap_or(usize::MAX)).or_default().push(index);
    }
    let mut of_class = std::collections::BTreeMap::<Option<u32>, Vec<Vec<usize>>>::new();
    for members in groups.into_values() {
        of_class.entry(dataset.label(members[0])).or_default().push(members);
    }
    let rounds = of_class.values().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..rounds).flat_map(|round| of_class.values().filter_map(move |groups| groups.get(round)));
    let mut chosen: Vec<usize> = Vec::new();
    for members in in_turn {
        if !chosen.is_empty() && chosen.len() + members.len() > n {
            break;
        }
        chosen.extend(members);
    }
    chosen.sort_unstable();
    chosen
}

/// Shuffles in place: for `i` from the last down, swap `i` with a draw from `0..=i`.
pub(crate) fn shuffle(items: &mut [usize], stream: &mut Stream) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(stream, i + 1));
    }
}

/// A draw from `0..n`: the high half of `n · u64`, whose bias is below `n / 2^64`; written out so that no version
/// of `rand` changes the bytes.
pub(crate) fn below(stream: &mut Stream, n: usize) -> usize {
    ((u128::from(stream.next_u64()) * n as u128) >> 64) as usize
}

/// A draw from `[0, 1)` with 53 bits.
pub(crate) fn unit(stream: &mut Stream) -> f64 {
    (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A draw from N(0, 1), by Box and Muller: `√(-2 ln(1 - u)) · cos 2πv` for the next two draws `u`, `v` of [`unit`].
pub(crate) fn normal(stream: &mut Stream) -> f64 {
    let radius = (-2.0 * libm::log(1.0 - unit(stream))).sqrt();
    radius * libm::cos(std::f64::consts::TAU * unit(stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataError, Offers, Sample};
    use proptest::prelude::*;

    struct Labeled(Vec<Option<u32>>);

    impl Dataset for Labeled {
        fn name(&self) -> String {
            "labeled".into()
        }
        fn len(&self) -> usize {
            self.0.len()
        }
        fn classes(&self) -> &[String] {
            &[]
        }
        fn offers(&self) -> Offers {
            Offers::default()
        }
        fn label(&self, index: usize) -> Option<u32> {
            self.0[index]
        }
        fn native_size_px(&self) -> Option<usize> {
            None
        }
        fn sample(&self, _index: usize) -> Result<Sample, DataError> {
            unreachable!("only labels are asked for")
        }
    }

    proptest! {
        #[test]
        fn a_shuffled_order_is_a_permutation(len in 0usize..300, seed: u64, epoch: u64) {
            let order = epoch_order(0..len, Seed(seed), epoch);
            prop_assert_eq!(&order, &epoch_order(0..len, Seed(seed), epoch));
            let mut sorted = order;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..len).collect::<Vec<_>>());
        }

        #[test]
        fn a_limit_takes_equally_of_every_class(per_class in 1usize..20, rounds in 1usize..20) {
            let labels: Vec<_> = (0..4 * per_class).map(|i| Some((i % 4) as u32)).collect();
            let n = 4 * rounds.min(per_class);
            let chosen = spread_over_classes(&Labeled(labels.clone()), n);
            prop_assert_eq!(chosen.len(), n);
            for class in 0..4 {
                prop_assert_eq!(chosen.iter().filter(|&&i| labels[i] == Some(class)).count(), n / 4);
            }
        }
    }

    #[test]
    fn another_epoch_has_another_order() {
        assert_ne!(epoch_order(0..50, Seed(0), 0), epoch_order(0..50, Seed(0), 1));
    }

    #[test]
    fn a_small_class_leaves_its_turn_to_the_others() {
        // Class 0 has one sample, class 1 four: of three, one is of class 0 and two of class 1.
        let labels = Labeled(vec![Some(1), Some(1), Some(1), Some(1), Some(0)]);
        assert_eq!(spread_over_classes(&labels, 3), [0, 1, 4]);
        assert_eq!(spread_over_classes(&labels, 9), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn of_clips_whole_ones_are_taken() {
        let clips = crate::open("part-shapes:clips", crate::Split::Test, 0).expect("built in");
        // 20 frames: two clips of eight; the first of class 0 is clip 0, of class 1 clip 1.
        assert_eq!(spread_over_classes(&*clips, 20), (0..16).collect::<Vec<_>>());
        assert_eq!(spread_over_classes(&*clips, 3), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn without_labels_a_limit_is_spread_over_the_data() {
        // 10 samples, 4 wanted: floor(k · 10 / 4) = 0, 2, 5, 7
        assert_eq!(spread_over_classes(&Labeled(vec![None; 10]), 4), [0, 2, 5, 7]);
    }
}
