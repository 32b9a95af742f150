//! The weighted k-nearest-neighbour vote, and accuracies.

use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis};

use crate::nearest::TopK;

/// How many classes a ranking names: enough for [`top5`].
pub const RANKED: usize = 5;

/// The vote at one number of neighbours and one temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct Votes {
    /// How many neighbours voted.
    pub k: usize,
    /// What divided their similarities.
    pub temperature: f64,
    /// The classes of each query from most to least votes, `[m, min(5, n_classes)]`; equal votes by class id.
    pub ranking: Array2<u32>,
}

impl Votes {
    /// The class with the most votes for each query, `[m]`.
    pub fn predicted(&self) -> Vec<u32> {
        self.ranking.column(0).to_vec()
    }

    /// Appends the votes of later queries, of the same bank and settings.
    ///
    /// # Panics
    /// If the settings or the number of classes differ.
    pub fn append(&mut self, later: &Self) {
        assert_eq!((self.k, self.temperature), (later.k, later.temperature), "votes of one kind");
        if let Err(error) = self.ranking.append(Axis(0), later.ranking.view()) {
            panic!("votes of as many classes: {error}");
        }
    }
}

/// Lets the nearest neighbours vote for their class, at every `k` and temperature, from one search.
///
/// `score[c] = Σ_{j ∈ NN_k} exp(s_j / T) · [y_j = c]`, ties by class id. Only the ratios of the weights matter, so
/// each is taken as `exp((s_j − s_best) / T)` in `f64`: nothing overflows, however small `T` is.
///
/// # Shapes
/// `top`: `[m, k_max]`; `train_labels`: `[n]`, class ids of the bank rows; the result has one [`Votes`] for each pair,
/// in the order of `ks` and, within one `k`, of `temperatures`.
///
/// # Panics
/// If a `k` is 0 or larger than `k_max`, a temperature is not above 0, `n_classes` is 0, or a label that is voted for
/// is not below `n_classes`.
///
/// # Source
/// Wu et al., CVPR 2018 (weighted vote, `T = 0.07`), as the DINO protocol uses it with `k` = 10, 20, 100, 200
/// (Caron et al., ICCV 2021). Ties by class id are ours; classes without a vote rank last, by id.
pub fn weighted_votes(
    top: &TopK,
    train_labels: &[u32],
    n_classes: usize,
    ks: &[usize],
    temperatures: &[f64],
) -> Vec<Votes> {
    for &k in ks {
        assert!((1..=top.k()).contains(&k), "weighted_votes: k = {k} of {} neighbours found", top.k());
    }
    for &t in temperatures {
        assert!(t > 0.0, "weighted_votes: a temperature of {t}");
    }
    assert!(n_classes > 0, "weighted_votes: no classes");

    let (m, n_ranked) = (top.indices.nrows(), RANKED.min(n_classes));
    let mut votes: Vec<Votes> = ks
        .iter()
        .flat_map(|&k| temperatures.iter().map(move |&temperature| (k, temperature)))
        .map(|(k, temperature)| Votes { k, temperature, ranking: Array2::zeros((m, n_ranked)) })
        .collect();
    for vote in &mut votes {
        let (k, temperature) = (vote.k, vote.temperature);
        let ranks = vote.ranking.axis_iter_mut(Axis(0)).into_par_iter();
        ranks.enumerate().for_each_init(
            || vec![0.0f64; n_classes],
            |score, (query, mut ranking)| {
                score.fill(0.0);
                let best = f64::from(top.scores[[query, 0]]);
                let neighbours = top.indices.row(query).into_iter().zip(top.scores.row(query)).take(k);
                for (&index, &similarity) in neighbours {
                    let label = train_labels[index as usize] as usize;
                    assert!(label < n_classes, "weighted_votes: label {label} of {n_classes} classes");
                    score[label] += ((f64::from(similarity) - best) / temperature).exp();
                }
                for rank in ranking.iter_mut() {
                    let winner = first_argmax(score);
                    *rank = winner as u32;
                    score[winner] = f64::NEG_INFINITY; // ranked: out of the race
                }
            },
        );
    }
    votes
}

/// The lowest index that holds the largest value.
fn first_argmax(values: &[f64]) -> usize {
    let mut winner = 0;
    for (index, &value) in values.iter().enumerate() {
        if value > values[winner] {
            winner = index;
        }
    }
    winner
}

/// The share of samples whose predicted class is their label.
///
/// `(1/m) Σ_q [predicted_q = y_q]`
///
/// # Shapes
/// `predicted`, `labels`: `[m]` class ids; the result is a ratio 0–1.
///
/// # Panics
/// If the lengths differ or are 0.
///
/// # Source
/// Accuracy.
pub fn top1(predicted: &[u32], labels: &[u32]) -> f64 {
    assert_eq!(predicted.len(), labels.len(), "top1: predictions and labels differ in number");
    assert!(!labels.is_empty(), "top1: no samples");
    let n_right = predicted.iter().zip(labels).filter(|(predicted, label)| predicted == label).count();
    n_right as f64 / labels.len() as f64
}

/// The share of samples whose label is among the first five classes of their ranking.
///
/// `(1/m) Σ_q [y_q ∈ ranking_q[..5]]`; with five classes or fewer it is 1.
///
/// # Shapes
/// `ranking`: `[m, r]` class ids, best first; `labels`: `[m]`; the result is a ratio 0–1.
///
/// # Panics
/// If the numbers of samples differ or are 0.
///
/// # Source
/// Top-5 accuracy.
pub fn top5(ranking: ArrayView2<u32>, labels: &[u32]) -> f64 {
    assert_eq!(ranking.nrows(), labels.len(), "top5: rankings and labels differ in number");
    assert!(!labels.is_empty(), "top5: no samples");
    let n_right = ranking.rows().into_iter().zip(labels);
    n_right.filter(|(ranking, label)| ranking.iter().take(5).any(|class| class == *label)).count() as f64
        / labels.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    /// Labels 2 0 0 1 1 1 of neighbours with similarities .9 .8 .8 .7 .7 .7.
    fn example() -> (TopK, Vec<u32>) {
        let top =
            TopK { indices: array![[0, 1, 2, 3, 4, 5]], scores: array![[0.9, 0.8, 0.8, 0.7, 0.7, 0.7]] };
        (top, vec![2, 0, 0, 1, 1, 1])
    }

    #[test]
    fn votes_by_hand() {
        let (top, labels) = example();
        let votes = weighted_votes(&top, &labels, 4, &[1, 3, 6], &[0.07, 1e9]);
        let ranking = |k, t| {
            let vote: &Votes = votes.iter().find(|v| v.k == k && v.temperature == t).expect("asked for");
            vote.ranking.row(0).to_vec()
        };
        // k 1: only class 2 has a vote; the rest by id.
        assert_eq!(ranking(1, 0.07), [2, 0, 1, 3]);
        // k 3 at .07: 2·exp(−.1/.07) = .479 for class 0 against 1 for class 2.
        assert_eq!(ranking(3, 0.07), [2, 0, 1, 3]);
        // k 6 at .07: 3·exp(−.2/.07) = .172 for class 1.
        assert_eq!(ranking(6, 0.07), [2, 0, 1, 3]);
        // Nearly equal weights: the vote is a count, 3 for class 1, 2 for class 0, 1 for class 2.
        assert_eq!(ranking(6, 1e9), [1, 0, 2, 3]);
        assert_eq!(
            votes.iter().map(|v| (v.k, v.temperature)).collect::<Vec<_>>()[..3],
            [(1, 0.07), (1, 1e9), (3, 0.07)]
        );
    }

    #[test]
    fn a_tie_goes_to_the_lower_class() {
        let top = TopK { indices: array![[0, 1]], scores: array![[0.5, 0.5]] };
        assert_eq!(weighted_votes(&top, &[3, 1], 4, &[2], &[0.07])[0].predicted(), [1]);
    }

    #[test]
    fn a_tiny_temperature_does_not_overflow() {
        let top = TopK { indices: array![[0, 1]], scores: array![[1.0, 0.99]] };
        assert_eq!(weighted_votes(&top, &[1, 0], 2, &[2], &[1e-6])[0].ranking, array![[1, 0]]);
    }

    #[test]
    fn accuracies_by_hand() {
        assert_eq!(top1(&[1, 2, 3, 4], &[1, 2, 0, 0]), 0.5);
        let ranking = array![[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]];
        assert_eq!(top5(ranking.view(), &[5, 1]), 0.5);
    }

    proptest! {
        #[test]
        fn the_vote_ignores_a_shift_of_all_similarities_and_names_each_class_once(
            similarities in proptest::collection::vec(-8i32..8, 1..40), shift in -4i32..4, seed in 0u32..99,
        ) {
            let mut sorted = similarities.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            let n = sorted.len();
            let top = |shift: i32| TopK {
                indices: Array2::from_shape_fn((1, n), |(_, j)| j as u32),
                scores: Array2::from_shape_fn((1, n), |(_, j)| (sorted[j] + shift) as f32 / 8.0),
            };
            let labels: Vec<u32> = (0..n as u32).map(|j| (j * 7 + seed) % 6).collect();
            let plain = weighted_votes(&top(0), &labels, 6, &[1, n], &[0.07, 0.5]);
            prop_assert_eq!(&plain, &weighted_votes(&top(shift), &labels, 6, &[1, n], &[0.07, 0.5]));
            prop_assert_eq!(plain[0].predicted()[0], labels[0]);
            for vote in &plain {
                let mut classes = vote.ranking.row(0).to_vec();
                classes.sort_unstable();
                classes.dedup();
                prop_assert_eq!(classes.len(), 5);
            }
        }
    }
}
