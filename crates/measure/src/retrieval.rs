//! How well a ranking finds what belongs to a query: average precision and precision at k by the revisited protocol.

/// The ranks of the positives among what is neither junk nor above them, ascending from 0.
///
/// Junk is neither right nor wrong: the positives below it move up.
///
/// # Shapes
/// `ranking`: database items from the most to the least similar; `kind(item)` says what it is for this query.
///
/// # Panics
/// Never.
///
/// # Source
/// Radenović et al., Revisiting Oxford and Paris, CVPR 2018 (`compute_map`).
pub fn ranks_of_positives(ranking: &[u32], mut kind: impl FnMut(u32) -> Kind) -> Vec<usize> {
    let (mut ranks, mut rank) = (Vec::new(), 0);
    for &item in ranking {
        match kind(item) {
            Kind::Junk => {}
            Kind::Positive => {
                ranks.push(rank);
                rank += 1;
            }
            Kind::Negative => rank += 1,
        }
    }
    ranks
}

/// What a database item is for a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It belongs to the query.
    Positive,
    /// It is left out of the ranking.
    Junk,
    /// It does not belong to the query.
    Negative,
}

/// The area under precision and recall by trapezes: `Σ_j ½ (j / r_j + (j + 1) / (r_j + 1)) / n`, where `j / r_j` is 1 at
/// rank 0.
///
/// # Shapes
/// `ranks`: of the `n` positives, ascending from 0.
///
/// # Panics
/// If there are none: such a query does not count in the mean.
///
/// # Source
/// Radenović et al. 2018 (`compute_ap`).
///
/// # Example
/// ```
/// let ap = measure::retrieval::average_precision(&[0, 2]);
/// assert!((ap - 0.791667).abs() < 1e-6);
/// ```
pub fn average_precision(ranks: &[usize]) -> f64 {
    assert!(!ranks.is_empty(), "average_precision: no positives");
    let term = |(j, &rank): (usize, &usize)| {
        let before = if rank == 0 { 1.0 } else { j as f64 / rank as f64 };
        0.5 * (before + (j + 1) as f64 / (rank + 1) as f64)
    };
    ranks.iter().enumerate().map(term).sum::<f64>() / ranks.len() as f64
}

/// The share of positives among the first `k`, or among those down to the last positive where that is sooner.
///
/// # Shapes
/// `ranks`: of the positives, ascending from 0.
///
/// # Panics
/// If there are none, or `k` is 0.
///
/// # Source
/// Radenović et al. 2018: the denominator is `min(last rank, k)`, counted from 1.
pub fn precision_at(ranks: &[usize], k: usize) -> f64 {
    let Some(last) = ranks.last() else { panic!("precision_at: no positives") };
    assert!(k > 0, "precision_at: k = 0");
    let among = k.min(last + 1);
    ranks.iter().filter(|&&rank| rank < among).count() as f64 / among as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn average_precision_by_hand() {
        // Ranks 0 and 2: ½(1 + 1) and ½(1/2 + 2/3), halved.
        assert!((average_precision(&[0, 2]) - (1.0 + 7.0 / 12.0) / 2.0).abs() < 1e-12);
        assert_eq!(average_precision(&[1]), 0.25);
        assert_eq!(average_precision(&[0, 1, 2]), 1.0);
    }

    #[test]
    fn junk_is_passed_over() {
        // junk, negative, positive, junk, positive: ranks 1 and 2.
        let kinds = [Kind::Junk, Kind::Negative, Kind::Positive, Kind::Junk, Kind::Positive];
        let ranks = ranks_of_positives(&[0, 1, 2, 3, 4], |item| kinds[item as usize]);
        assert_eq!(ranks, [1, 2]);
        assert_eq!(precision_at(&ranks, 1), 0.0);
        assert_eq!(precision_at(&ranks, 2), 0.5);
        // The last positive is the third: asked for ten, three are looked at.
        assert_eq!(precision_at(&ranks, 10), 2.0 / 3.0);
    }

    proptest! {
        #[test]
        fn scores_are_shares_and_best_when_the_positives_come_first(gaps in prop::collection::vec(0usize..5, 1..20)) {
            let ranks: Vec<usize> = gaps.iter().scan(0, |at, gap| {
                *at += gap + 1;
                Some(*at - 1)
            }).collect();
            let score = average_precision(&ranks);
            prop_assert!(score > 0.0 && score <= 1.0 + 1e-12);
            let best: Vec<usize> = (0..ranks.len()).collect();
            prop_assert!((average_precision(&best) - 1.0).abs() < 1e-12);
            prop_assert!((0.0..=1.0).contains(&precision_at(&ranks, 3)));
        }
    }
}
