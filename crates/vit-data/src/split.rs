//! A held-out fifth for data sets without a split of their own: a pure function of the seed and the labels.

use crate::{Seed, order};

/// The samples to learn from, and those held out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainTest {
    /// Indices of the samples to learn from, ascending.
    pub train: Vec<usize>,
    /// Indices of the samples held out, ascending.
    pub test: Vec<usize>,
}

/// The number held out of `n` samples of one class: `n / 5`, rounded to the nearest.
///
/// A class of one or two samples holds nothing out; one of three holds out one.
pub fn n_test(n: usize) -> usize {
    n / 5 + usize::from(n % 5 >= 3)
}

/// Splits 80/20 class by class: of each class exactly [`n_test`] samples are held out, drawn by the seed.
///
/// Samples without a label count as one more class. The draw of one class depends on no other class.
pub fn stratified_split(labels: &[Option<u32>], seed: Seed) -> TrainTest {
    let mut of_class = std::collections::BTreeMap::<Option<u32>, Vec<usize>>::new();
    for (index, &label) in labels.iter().enumerate() {
        of_class.entry(label).or_default().push(index);
    }
    let mut held_out = vec![false; labels.len()];
    for (label, mut members) in of_class {
        let counter = label.map_or(u64::MAX, u64::from);
        order::shuffle(&mut members, &mut seed.stream("split", &[counter]));
        for &index in &members[..n_test(members.len())] {
            held_out[index] = true;
        }
    }
    let (test, train) = (0..labels.len()).partition(|&index| held_out[index]);
    TrainTest { train, test }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fifth_is_held_out_rounded_to_the_nearest() {
        // n / 5: 0.2, 0.4, 0.6, 1.0, 1.4, 1.6, 20
        assert_eq!([1, 2, 3, 5, 7, 8, 100].map(n_test), [0, 0, 1, 1, 1, 2, 20]);
    }

    proptest! {
        #[test]
        fn every_class_is_split_exactly_and_nothing_is_lost(
            labels in prop::collection::vec(prop::option::weighted(0.9, 0u32..5), 0..200),
            seed: u64,
        ) {
            let split = stratified_split(&labels, Seed(seed));
            prop_assert_eq!(&split, &stratified_split(&labels, Seed(seed)));
            let mut all: Vec<usize> = split.train.iter().chain(&split.test).copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
            for class in [None, Some(0), Some(1), Some(2), Some(3), Some(4)] {
                let total = labels.iter().filter(|&&label| label == class).count();
                let held = split.test.iter().filter(|&&index| labels[index] == class).count();
                prop_assert_eq!(held, n_test(total));
            }
        }
    }

    #[test]
    fn another_seed_holds_out_others() {
        let labels = vec![Some(0); 100];
        assert_ne!(stratified_split(&labels, Seed(0)), stratified_split(&labels, Seed(1)));
    }
}
