//! Which labels stand beside which in maps: the graph in which parts of one object become a community.

use crate::map_equation::Graph;
use ndarray::{Array2, ArrayView2};

/// Rows and columns to the neighbors that are counted, each pair ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offsets {
    /// The eight neighbors one and two steps away along rows, columns and diagonals.
    Rings,
    /// Those of the published code: rounding makes three diagonals of the second ring equal to those of the first, and a slip of an
    /// angle adds a knight's move.
    Leopart,
}

impl Offsets {
    fn steps(self) -> [(isize, isize); 16] {
        let first = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)];
        let second = match self {
            Self::Rings => first.map(|(y, x)| (2 * y, 2 * x)),
            Self::Leopart => [(0, 2), (1, 1), (2, 0), (1, -1), (0, -2), (-2, -1), (-2, 0), (-1, 1)],
        };
        std::array::from_fn(|i| if i < 8 { first[i] } else { second[i - 8] })
    }
}

/// How often label `j` stands at one of the offsets from label `i`; what leaves the map is not counted.
///
/// # Shapes
/// `labels`: `[H, W]`, below `n_labels`; the result is `[n_labels, n_labels]`.
///
/// # Panics
/// If a label is not below `n_labels`.
///
/// # Source
/// Gray-level co-occurrence (Haralick 1973) as scikit-image counts it; Ziegler and Asano, Leopart.
pub fn counts(labels: ArrayView2<usize>, n_labels: usize, offsets: Offsets) -> Array2<u64> {
    let (h, w) = labels.dim();
    let mut counts = Array2::zeros((n_labels, n_labels));
    for ((y, x), &label) in labels.indexed_iter() {
        for (dy, dx) in offsets.steps() {
            let (row, column) = (y as isize + dy, x as isize + dx);
            if (0..h as isize).contains(&row) && (0..w as isize).contains(&column) {
                counts[[label, labels[[row as usize, column as usize]]]] += 1;
            }
        }
    }
    counts
}

/// The mean over maps of who stands beside whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Beside {
    /// Sums of row-normalized counts without the diagonal.
    sums: Array2<f64>,
    /// In how many maps a label has neighbors.
    n_maps: Vec<usize>,
}

impl Beside {
    /// Nothing yet.
    ///
    /// # Panics
    /// Never.
    ///
    /// # Source
    /// Leopart.
    pub fn nothing(n_labels: usize) -> Self {
        Self { sums: Array2::zeros((n_labels, n_labels)), n_maps: vec![0; n_labels] }
    }

    /// Adds a map: its counts without the diagonal, every row divided by its sum.
    ///
    /// # Panics
    /// As [`counts`].
    ///
    /// # Source
    /// Leopart.
    pub fn add(&mut self, labels: ArrayView2<usize>, offsets: Offsets) {
        let mut counts = counts(labels, self.n_maps.len(), offsets);
        counts.diag_mut().fill(0);
        for ((mut sums, n_maps), row) in
            self.sums.rows_mut().into_iter().zip(&mut self.n_maps).zip(counts.rows())
        {
            let total = row.sum();
            if total > 0 {
                *n_maps += 1;
                sums.zip_mut_with(&row, |sum, &count| *sum += count as f64 / total as f64);
            }
        }
    }

    /// The shares `a_ij`: how much of what surrounds `i` is `j`, mean over the maps where `i` has neighbors.
    ///
    /// # Panics
    /// Never.
    ///
    /// # Source
    /// Leopart.
    pub fn shares(&self) -> Array2<f64> {
        let mut shares = self.sums.clone();
        for (mut row, &n) in shares.rows_mut().into_iter().zip(&self.n_maps) {
            row /= n.max(1) as f64;
        }
        shares
    }

    /// The graph with an edge `{i, j}` of weight `min(a_ij, a_ji)` where both are at least `least`; and the label of each
    /// of its nodes. Labels without an edge are outside.
    ///
    /// # Panics
    /// Never.
    ///
    /// # Source
    /// Leopart.
    pub fn graph(&self, least: f64) -> (Graph, Vec<usize>) {
        let shares = self.shares();
        let n = shares.nrows();
        let mut edges = Vec::new();
        for i in 0..n {
            for j in i + 1..n {
                let (there, back) = (shares[[i, j]], shares[[j, i]]);
                if there >= least && back >= least && there.min(back) > 0.0 {
                    edges.push((i, j, there.min(back)));
                }
            }
        }
        let mut nodes: Vec<usize> = edges.iter().flat_map(|&(i, j, _)| [i, j]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let place = |label: usize| nodes.partition_point(|&node| node < label);
        let edges = edges.iter().map(|&(i, j, weight)| (place(i), place(j), weight)).collect();
        (Graph { n_nodes: nodes.len(), edges }, nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn counts_and_shares_of_a_small_map() {
        let map = array![[0, 0, 1, 1], [0, 2, 2, 1], [3, 2, 2, 1], [3, 3, 0, 0]];
        let found = counts(map.view(), 4, Offsets::Leopart);
        assert_eq!(found, array![[10, 7, 16, 6], [7, 12, 13, 0], [15, 14, 15, 10], [7, 0, 10, 7]]);
        let mut beside = Beside::nothing(5);
        beside.add(map.view(), Offsets::Leopart);
        let shares = beside.shares();
        let near = |row: usize, expected: [f64; 5]| {
            let ours = shares.row(row);
            assert!(ours.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{ours}");
        };
        near(0, [0.0, 0.241379, 0.551724, 0.206897, 0.0]);
        near(3, [0.411765, 0.0, 0.588235, 0.0, 0.0]);
        // Label 4 is nowhere: no row, no edge.
        near(4, [0.0; 5]);
        let (graph, nodes) = beside.graph(0.3);
        // a_02 = 16/29, a_20 = 15/39, a_12 = 13/20, a_21 = 14/39; a_32 = 10/17 but a_23 = 10/39 < 0.3.
        assert_eq!(nodes, [0, 1, 2]);
        assert_eq!(graph.edges, [(0, 2, 15.0 / 39.0), (1, 2, 14.0 / 39.0)]);
    }

    #[test]
    fn the_rings_are_symmetric() {
        let map = array![[0, 1, 2, 1], [2, 0, 1, 0], [1, 1, 2, 0]];
        let found = counts(map.view(), 3, Offsets::Rings);
        assert_eq!(found, found.t());
    }
}
