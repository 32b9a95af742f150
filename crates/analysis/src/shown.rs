//! The images that a study shows: those that were asked for, or the same few for every model, whatever the order they come in and
//! however data is cut.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_features::BatchInfo;

/// What is kept of the few images that are shown: those that were chosen, or whose hash of seed and index is least among all that
/// were seen.
#[derive(Serialize, Deserialize)]
pub(crate) struct Shown<T> {
    seed: u64,
    most: usize,
    /// Places in the data set of the images that are shown in this order; none where they are drawn.
    chosen: Vec<usize>,
    /// (hash, or place among the chosen; index in the data set) → what is kept.
    kept: BTreeMap<(u64, usize), T>,
}

impl<T> Shown<T> {
    /// Nothing yet, of at most `most` images, or of those that are `chosen`.
    pub(crate) fn new(seed: u64, most: usize, chosen: &[usize]) -> Self {
        let most = if chosen.is_empty() { most } else { chosen.len() };
        Self { seed, most, chosen: chosen.to_vec(), kept: BTreeMap::new() }
    }

    /// Where an image stands among those shown; one that was not chosen, where some were, has no place.
    fn key(&self, index: usize) -> Option<(u64, usize)> {
        match self.chosen.is_empty() {
            true => Some((hash(self.seed, index), index)),
            false => self.chosen.iter().position(|&chosen| chosen == index).map(|at| (at as u64, index)),
        }
    }

    /// The places in a batch of the images that may be shown; later ones may take their place.
    pub(crate) fn wanted(&self, info: &BatchInfo) -> Vec<usize> {
        let mut keys: Vec<(u64, usize)> = self.kept.keys().copied().collect();
        keys.extend(info.indices.iter().filter_map(|&index| self.key(index)));
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(self.most);
        let is_wanted = |index: usize| self.key(index).is_some_and(|key| keys.binary_search(&key).is_ok());
        (0..info.indices.len()).filter(|&at| is_wanted(info.indices[at])).collect()
    }

    /// What is kept of an image, made when there is nothing yet.
    pub(crate) fn entry(&mut self, index: usize, make: impl FnOnce() -> T) -> &mut T {
        let key = self.key(index).unwrap_or((u64::MAX, index));
        self.kept.entry(key).or_insert_with(make)
    }

    /// Lets go of all but the images that are shown.
    pub(crate) fn settle(&mut self) {
        while self.kept.len() > self.most {
            self.kept.pop_last();
        }
    }

    /// Joins what was kept of other images.
    pub(crate) fn merge(&mut self, later: Self) {
        self.kept.extend(later.kept);
        self.settle();
    }

    /// What to say of images that were chosen and did not come; nothing where all did.
    pub(crate) fn missing(&self) -> String {
        let came = |index: &usize| self.kept.keys().any(|(_, kept)| kept == index);
        let missing: Vec<String> =
            self.chosen.iter().filter(|index| !came(index)).map(usize::to_string).collect();
        match missing.len() {
            0 => String::new(),
            _ => format!(" Chosen, but not among the images that were looked at: {}.", missing.join(", ")),
        }
    }

    /// The index of every image shown, and what is kept of it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.kept.iter().map(|(&(_, index), kept)| (index, kept))
    }
}

/// A number without pattern: the finalizer of splitmix64.
pub(crate) fn hash(seed: u64, index: usize) -> u64 {
    let mut z = seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(index as u64 + 1);
    z = z.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vit_features::Role;

    fn seen(indices: &[usize], batch: usize) -> Shown<usize> {
        seen_of(&[], indices, batch)
    }

    fn seen_of(chosen: &[usize], indices: &[usize], batch: usize) -> Shown<usize> {
        let mut shown = Shown::new(3, 4, chosen);
        for indices in indices.chunks(batch) {
            let labels = vec![None; indices.len()];
            let info = BatchInfo {
                model: 0,
                role: Role::Test,
                first: 0,
                labels: &labels,
                indices,
                truths: &[],
                boxes: &[],
            };
            for at in shown.wanted(&info) {
                shown.entry(indices[at], || indices[at]);
            }
            shown.settle();
        }
        shown
    }

    #[test]
    fn the_same_images_are_shown_whatever_the_batches_the_order_and_the_parts() {
        let all: Vec<usize> = (0..100).collect();
        let indices = |shown: &Shown<usize>| shown.iter().map(|(index, _)| index).collect::<Vec<_>>();
        let whole = indices(&seen(&all, 100));
        assert_eq!(whole.len(), 4);
        let reversed: Vec<usize> = all.iter().rev().copied().collect();
        for other in [seen(&all, 7), seen(&reversed, 9)] {
            assert_eq!(indices(&other), whole);
        }
        let mut merged = seen(&all[..30], 8);
        merged.merge(seen(&all[30..], 8));
        assert_eq!(indices(&merged), whole);
        assert_eq!(indices(&seen(&all[..2], 1)).len(), 2);
        // Those that were chosen are shown as they were asked for; one that did not come is missing.
        let chosen = seen_of(&[70, 3, 500, 12, 8, 90], &all, 7);
        assert_eq!(indices(&chosen), [70, 3, 12, 8, 90]);
        assert_eq!(chosen.missing(), " Chosen, but not among the images that were looked at: 500.");
        assert_eq!(seen(&all, 7).missing(), "");
        let mut merged = seen_of(&[70, 3], &all[..30], 8);
        merged.merge(seen_of(&[70, 3], &all[30..], 8));
        assert_eq!(indices(&merged), [70, 3]);
    }
}
