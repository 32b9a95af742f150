//! Which cluster stands for which class: one to one by the Hungarian method, or many to one by the most frequent class.

use ndarray::{Array2, ArrayView2};

/// The assignment of rows to columns that costs least; where there are more rows than columns, some rows get none.
///
/// Shortest augmenting paths, `O(min² · max)`. Among equal assignments the result depends on the order of rows and columns
/// alone.
///
/// # Shapes
/// `costs`: `[rows, columns]`; the result is `[rows]`.
///
/// # Panics
/// If a cost is not finite.
///
/// # Source
/// Kuhn 1955; Jonker and Volgenant 1987. Checked against scipy's `linear_sum_assignment`.
///
/// # Example
/// ```
/// use ndarray::array;
/// let costs = array![[4.0, 1.0, 3.0], [2.0, 0.0, 5.0]];
/// assert_eq!(measure::matching::assign(costs.view()), [Some(1), Some(0)]);
/// ```
pub fn assign(costs: ArrayView2<f64>) -> Vec<Option<usize>> {
    assert!(costs.iter().all(|cost| cost.is_finite()), "assign: a cost that is not finite");
    let (rows, columns) = costs.dim();
    if rows > columns {
        let mut found = vec![None; rows];
        for (column, row) in assign(costs.t()).into_iter().enumerate() {
            if let Some(row) = row {
                found[row] = Some(column);
            }
        }
        return found;
    }
    // Potentials and matches are counted from 1; column 0 is where a new row enters.
    let (mut u, mut v) = (vec![0.0; rows + 1], vec![0.0; columns + 1]);
    let mut row_of = vec![0usize; columns + 1];
    for row in 1..=rows {
        row_of[0] = row;
        let mut at = 0;
        let (mut least, mut came_from) = (vec![f64::INFINITY; columns + 1], vec![0usize; columns + 1]);
        let mut done = vec![false; columns + 1];
        while row_of[at] != 0 {
            done[at] = true;
            let (i, mut delta, mut next) = (row_of[at], f64::INFINITY, 0);
            for j in (1..=columns).filter(|&j| !done[j]) {
                let reduced = costs[[i - 1, j - 1]] - u[i] - v[j];
                if reduced < least[j] {
                    (least[j], came_from[j]) = (reduced, at);
                }
                if least[j] < delta {
                    (delta, next) = (least[j], j);
                }
            }
            for j in 0..=columns {
                if done[j] {
                    u[row_of[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            at = next;
        }
        while at != 0 {
            row_of[at] = row_of[came_from[at]];
            at = came_from[at];
        }
    }
    let mut found = vec![None; rows];
    for (column, &row) in row_of.iter().enumerate().skip(1) {
        if row != 0 {
            found[row - 1] = Some(column - 1);
        }
    }
    found
}

/// How much each cluster and each class overlap: `n_ck / (n_c + n_k − n_ck)`, 0 where neither has anything.
///
/// # Shapes
/// `counts`: `[clusters, classes]`; the result is the same.
///
/// # Panics
/// Never.
///
/// # Source
/// Definition.
pub fn pairwise_iou(counts: ArrayView2<usize>) -> Array2<f64> {
    let of_cluster: Vec<usize> = counts.rows().into_iter().map(|row| row.sum()).collect();
    let of_class: Vec<usize> = counts.columns().into_iter().map(|column| column.sum()).collect();
    Array2::from_shape_fn(counts.dim(), |(cluster, class)| {
        let both = counts[[cluster, class]];
        let either = of_cluster[cluster] + of_class[class] - both;
        if either == 0 { 0.0 } else { both as f64 / either as f64 }
    })
}

/// One class for each cluster, so that the sum of their overlaps is the greatest; none for clusters in excess.
///
/// # Shapes
/// `counts`: how many samples of a cluster are of a class, `[clusters, classes]`; the result is `[clusters]`.
///
/// # Panics
/// Never.
///
/// # Source
/// Leopart's evaluation at as many clusters as classes: Hungarian on `1 − IoU`.
pub fn one_to_one(counts: ArrayView2<usize>) -> Vec<Option<usize>> {
    assign(pairwise_iou(counts).mapv(|iou| 1.0 - iou).view())
}

/// For each cluster the class that most of its samples have, lower ids first; class 0 for a cluster without samples.
///
/// # Shapes
/// `counts`: `[clusters, classes]`; the result is `[clusters]`.
///
/// # Panics
/// If there is no class.
///
/// # Source
/// Leopart's overclustering: the class of the greatest precision `tp / (tp + fp)`, many clusters for one class.
pub fn many_to_one(counts: ArrayView2<usize>) -> Vec<usize> {
    assert!(counts.ncols() > 0, "many_to_one: no class");
    let most = |row: ndarray::ArrayView1<usize>| {
        (0..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
    };
    counts.rows().into_iter().map(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    /// The least cost over every way to give different columns to the rows.
    fn brute_force(costs: &Array2<f64>, row: usize, taken: usize) -> f64 {
        let (rows, columns) = costs.dim();
        if row == rows {
            return 0.0;
        }
        let free = (0..columns).filter(|column| taken & 1 << column == 0);
        free.map(|column| costs[[row, column]] + brute_force(costs, row + 1, taken | 1 << column))
            .fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn clusters_in_excess_get_no_class() {
        // Cluster 1 overlaps both classes best, but the sum is greatest with clusters 0 and 1.
        let counts = array![[8, 1], [0, 9], [1, 1]];
        assert_eq!(one_to_one(counts.view()), [Some(0), Some(1), None]);
        assert_eq!(many_to_one(counts.view()), [0, 1, 0]);
        assert_eq!(pairwise_iou(counts.view())[[0, 0]], 8.0 / 10.0);
    }

    proptest! {
        #[test]
        fn nothing_costs_less(values in prop::collection::vec(0u8..20, 24), wide: bool) {
            let values = values.into_iter().map(f64::from).collect();
            let costs = Array2::from_shape_vec((4, 6), values).expect("24");
            let found = if wide { assign(costs.view()) } else { assign(costs.t()) };
            let pairs: Vec<(usize, usize)> = found
                .iter()
                .enumerate()
                .filter_map(|(row, column)| column.map(|column| if wide { (row, column) } else { (column, row) }))
                .collect();
            prop_assert_eq!(pairs.len(), 4);
            let total: f64 = pairs.iter().map(|&pair| costs[pair]).sum();
            prop_assert!((total - brute_force(&costs, 0, 0)).abs() < 1e-9, "{total} {pairs:?}");
        }
    }
}
