//! k-means: Lloyd's rounds from greedy k-means++ starts, over rows that are read in blocks.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use std::convert::Infallible;

/// Rows that one task compares with all centers.
const TASK_ROWS: usize = 256;

/// Samples that can be passed over again and again, wherever they are kept.
///
/// `E` is what may go wrong where they are kept; nothing goes wrong in memory.
pub trait Rows<E> {
    /// The number of samples and their width.
    fn size(&self) -> (usize, usize);
    /// Shows all of them in order, block by block, always in the same blocks.
    ///
    /// # Errors
    /// When they cannot be read.
    fn each_block(&self, visit: &mut dyn FnMut(ArrayView2<f32>)) -> Result<(), E>;
    /// One of them.
    ///
    /// # Errors
    /// When it cannot be read.
    fn sample(&self, at: usize) -> Result<Vec<f32>, E>;
}

impl<E> Rows<E> for ArrayView2<'_, f32> {
    fn size(&self) -> (usize, usize) {
        self.dim()
    }
    fn each_block(&self, visit: &mut dyn FnMut(ArrayView2<f32>)) -> Result<(), E> {
        visit(self.view());
        Ok(())
    }
    fn sample(&self, at: usize) -> Result<Vec<f32>, E> {
        Ok(self.index_axis(Axis(0), at).to_vec())
    }
}

/// How clusters are sought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KMeans {
    /// Clusters; at most as many as there are samples.
    pub k: usize,
    /// Starts, of which the best end is kept.
    pub n_starts: usize,
    /// Rounds of each at most.
    pub max_rounds: usize,
    /// Centers that move by less than this share of the mean variance of a feature, squared and summed, stand still.
    pub tolerance: f64,
    /// From which starts are drawn.
    pub seed: u64,
    /// Whether centers are put back to length 1 after every round: for rows of length 1, whose cosines then decide.
    pub spherical: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// The cluster of every sample, `[n]`.
    pub of: Vec<u32>,
    /// `[k, D]`
    pub centers: Array2<f64>,
    /// `Σ ‖x − center‖²`
    pub inertia: f64,
    /// Rounds of the start that was kept.
    pub n_rounds: usize,
}

impl KMeans {
    /// `k` clusters with ten starts, 300 rounds and a tolerance of 1e-4, as is usual.
    pub fn new(k: usize, seed: u64) -> Self {
        Self { k, n_starts: 10, max_rounds: 300, tolerance: 1e-4, seed, spherical: false }
    }

    /// Finds clusters; the same for any number of threads.
    ///
    /// Each start draws its first center evenly and every further one among `2 + ⌊ln k⌋` candidates, drawn with probability
    /// proportional to the squared distance from the nearest center, as the one that leaves the least sum of squared
    /// distances. A cluster that becomes empty is given the sample that is farthest from its center, one cluster a round.
    ///
    /// Memory: some `8 n (4 + ln k)` bytes beside `16 k D` and a block of rows.
    ///
    /// # Errors
    /// What the rows say.
    ///
    /// # Panics
    /// If there are fewer samples than clusters, or no clusters.
    ///
    /// # Source
    /// Lloyd 1982; Dhillon and Modha 2001 (spherical); Arthur and Vassilvitskii 2007 (k-means++); greedy candidates and the tolerance as scikit-learn has
    /// them. *Differs*: sums are in `f64`, empty clusters are filled one a round, and draws are our own, so clusters equal
    /// scikit-learn's only where both find the same minimum.
    pub fn fit<E>(&self, rows: &dyn Rows<E>) -> Result<Clusters, E> {
        let (n, width) = rows.size();
        assert!((1..=n).contains(&self.k), "k-means: {} clusters of {n} samples", self.k);
        let (mean, variance) = moments(rows)?;
        let still = self.tolerance * variance;
        let mut best: Option<Clusters> = None;
        for start in 0..self.n_starts.max(1) {
            let mut draws =
                ChaCha8Rng::seed_from_u64(self.seed ^ (start as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut centers = self.start(rows, &mean, &mut draws)?;
            let mut n_rounds = 0;
            while n_rounds < self.max_rounds {
                n_rounds += 1;
                let mut next = round(rows, &mean, &centers)?;
                if self.spherical {
                    to_length_one(&mut next, &mean);
                }
                let moved: f64 = (&next - &centers).iter().map(|x| x * x).sum();
                centers = next;
                if moved <= still {
                    break;
                }
            }
            let found = assign(rows, &mean, &centers)?;
            if best.as_ref().is_none_or(|best| found.1 < best.inertia) {
                best = Some(Clusters { of: found.0, inertia: found.1, centers, n_rounds });
            }
        }
        let Some(mut best) = best else { unreachable!("there is at least one start") };
        debug_assert_eq!(best.centers.ncols(), width);
        best.centers += &mean;
        Ok(best)
    }

    /// Greedy k-means++.
    fn start<E>(
        &self,
        rows: &dyn Rows<E>,
        mean: &Array1<f64>,
        draws: &mut ChaCha8Rng,
    ) -> Result<Array2<f64>, E> {
        let (n, width) = rows.size();
        let n_candidates = 2 + (self.k as f64).ln().floor() as usize;
        let centered = |at: usize| -> Result<Array1<f64>, E> {
            Ok(Array1::from_iter(rows.sample(at)?.iter().map(|&x| f64::from(x))) - mean)
        };
        let mut centers = Array2::zeros((self.k, width));
        centers.row_mut(0).assign(&centered((unit(draws) * n as f64) as usize)?);
        let first = centers.slice_axis(Axis(0), ndarray::Slice::from(..1)).to_owned();
        let mut nearest: Vec<f64> = Vec::with_capacity(n);
        distances(rows, mean, &first, &mut |block| nearest.extend(block.iter()))?;
        for center in 1..self.k {
            let total: f64 = nearest.iter().sum();
            let mut candidates = Array2::zeros((n_candidates, width));
            for mut candidate in candidates.rows_mut() {
                candidate.assign(&centered(draw(&nearest, unit(draws) * total))?);
            }
            // What would be left with each candidate, `[candidates, n]`.
            let mut left = Array2::<f64>::zeros((n_candidates, n));
            let mut at = 0;
            distances(rows, mean, &candidates, &mut |block| {
                for (i, row) in block.outer_iter().enumerate() {
                    for (candidate, &distance) in row.iter().enumerate() {
                        left[[candidate, at + i]] = distance.min(nearest[at + i]);
                    }
                }
                at += block.nrows();
            })?;
            let sums: Vec<f64> = left.outer_iter().map(|row| row.iter().sum()).collect();
            let best = (0..n_candidates).fold(0, |best, i| if sums[i] < sums[best] { i } else { best });
            centers.row_mut(center).assign(&candidates.row(best));
            nearest.iter_mut().zip(left.row(best)).for_each(|(nearest, &left)| *nearest = left);
        }
        Ok(centers)
    }
}

/// Samples and the center that is nearest to each, and the sum of squared distances: samples that had no part in finding the
/// centers get their clusters so.
///
/// # Shapes
/// `centers`: `[k, D]`; returns `[n]`.
///
/// # Errors
/// What the rows say.
///
/// # Panics
/// If the widths differ, or there is no center.
///
/// # Source
/// Definition.
pub fn nearest_centers<E>(rows: &dyn Rows<E>, centers: ArrayView2<f64>) -> Result<(Vec<u32>, f64), E> {
    let Some(mean) = centers.mean_axis(Axis(0)) else { panic!("nearest_centers: no center") };
    assert_eq!(rows.size().1, mean.len(), "nearest_centers: rows and centers differ in width");
    assign(rows, &mean, &(&centers - &mean))
}

/// How many clusters there seem to be: one more as long as that leaves at most `ratio` of the sum of squared distances; of all tried,
/// the clusters of the first number that does not, or of `max_k`.
///
/// Clusters are found among `rows` and every one of `all` is given to its nearest; it is their distances that count.
///
/// # Shapes
/// The result's `of`: `[n of all]`.
///
/// # Panics
/// If `max_k` is 0, there are no rows, or the widths differ.
///
/// # Source
/// Amir et al., Deep ViT Features as Dense Visual Descriptors: `stop at the k with obj_k > 0.975 obj_{k−1}` (0.94 for parts).
pub fn elbow(
    rows: ArrayView2<f32>,
    all: ArrayView2<f32>,
    max_k: usize,
    ratio: f64,
    how: &KMeans,
) -> Clusters {
    assert!(max_k > 0, "elbow: no cluster");
    let mut before: Option<Clusters> = None;
    for k in 1..=max_k.min(rows.nrows()) {
        let Ok(found) = KMeans { k, ..*how }.fit::<Infallible>(&rows);
        let Ok((of, inertia)) = nearest_centers::<Infallible>(&all, found.centers.view());
        let found = Clusters { of, inertia, ..found };
        let is_last = before.as_ref().is_some_and(|before| inertia > ratio * before.inertia);
        before = Some(found);
        if is_last {
            break;
        }
    }
    before.unwrap_or_else(|| panic!("elbow: no rows"))
}

/// Centers, which are kept without the mean, back to length 1; one without length stays.
fn to_length_one(centers: &mut Array2<f64>, mean: &Array1<f64>) {
    for mut center in centers.rows_mut() {
        center += mean;
        let length = center.dot(&center).sqrt();
        if length > 0.0 {
            center /= length;
        }
        center -= mean;
    }
}

/// A number in 0–1.
fn unit(draws: &mut ChaCha8Rng) -> f64 {
    (draws.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// The first place at which the running sum exceeds `target`.
fn draw(weights: &[f64], target: f64) -> usize {
    let mut sum = 0.0;
    let at = weights.iter().position(|weight| {
        sum += weight;
        sum > target
    });
    // All weights are 0 where fewer samples differ than there are clusters.
    at.unwrap_or(weights.len() - 1)
}

/// The mean of every feature, and the mean over features of their variances.
fn moments<E>(rows: &dyn Rows<E>) -> Result<(Array1<f64>, f64), E> {
    let (n, width) = rows.size();
    let mut mean = Array1::<f64>::zeros(width);
    rows.each_block(&mut |block| {
        block.outer_iter().for_each(|row| mean.zip_mut_with(&row, |sum, &x| *sum += f64::from(x)));
    })?;
    mean /= n as f64;
    let mut squares = 0.0;
    rows.each_block(&mut |block| {
        for row in block.outer_iter() {
            squares += row.iter().zip(&mean).map(|(&x, mean)| (f64::from(x) - mean).powi(2)).sum::<f64>();
        }
    })?;
    Ok((mean, squares / (n * width.max(1)) as f64))
}

/// `‖x − center‖²` of every sample and center, block by block: `[rows, centers]`, in the order of the samples.
fn distances<E>(
    rows: &dyn Rows<E>,
    mean: &Array1<f64>,
    centers: &Array2<f64>,
    visit: &mut dyn FnMut(ArrayView2<f64>),
) -> Result<(), E> {
    by_task(rows, &|task| of_task(task, mean, centers.view()).1, &mut |_, found: Array2<f64>| {
        visit(found.view())
    })
}

/// Rows without the mean, and their squared distances from centers.
fn of_task(
    task: ArrayView2<f32>,
    mean: &Array1<f64>,
    centers: ArrayView2<f64>,
) -> (Array2<f64>, Array2<f64>) {
    let mut x = task.mapv(f64::from);
    x -= mean;
    let square = |row: ArrayView1<f64>| row.iter().map(|x| x * x).sum::<f64>();
    let of_centers: Array1<f64> = centers.outer_iter().map(square).collect();
    let mut out = Array2::zeros((x.nrows(), centers.nrows()));
    general_mat_mul(-2.0, &x, &centers.t(), 0.0, &mut out);
    for (mut out, x) in out.outer_iter_mut().zip(x.outer_iter()) {
        let own = square(x);
        out.zip_mut_with(&of_centers, |distance, center| *distance = (*distance + own + center).max(0.0));
    }
    (x, out)
}

/// Works on pieces of all blocks, several at a time, and hands over what came out in the order of the samples.
fn by_task<E, T: Send>(
    rows: &dyn Rows<E>,
    work: &(dyn Fn(ArrayView2<f32>) -> T + Sync),
    visit: &mut dyn FnMut(ArrayView2<f32>, T),
) -> Result<(), E> {
    rows.each_block(&mut |block| {
        let tasks: Vec<ArrayView2<f32>> = block.axis_chunks_iter(Axis(0), TASK_ROWS).collect();
        // As many at a time as keep all threads busy, so that what waits for its turn stays small.
        for tasks in tasks.chunks(16) {
            let found: Vec<T> = tasks.par_iter().map(|task| work(*task)).collect();
            tasks.iter().zip(found).for_each(|(task, found)| visit(*task, found));
        }
    })
}

/// The nearest center of a sample, the first of equals, and its distance.
fn nearest_of(distances: ArrayView1<f64>) -> (usize, f64) {
    let first = (0, f64::INFINITY);
    distances.iter().enumerate().fold(first, |best, (i, &d)| if d < best.1 { (i, d) } else { best })
}

/// One of Lloyd's rounds: the means of the samples that are nearest to each center.
fn round<E>(rows: &dyn Rows<E>, mean: &Array1<f64>, centers: &Array2<f64>) -> Result<Array2<f64>, E> {
    let (k, width) = centers.dim();
    let (mut sums, mut counts) = (Array2::<f64>::zeros((k, width)), vec![0usize; k]);
    // The sample that is farthest from its center: distance, cluster, values.
    let mut farthest: (f64, usize, Array1<f64>) = (0.0, 0, Array1::zeros(width));
    let work = |task: ArrayView2<f32>| {
        let (x, distances) = of_task(task, mean, centers.view());
        let nearest: Vec<(usize, f64)> = distances.outer_iter().map(nearest_of).collect();
        (x, nearest)
    };
    by_task(rows, &work, &mut |_, (x, nearest): (Array2<f64>, Vec<(usize, f64)>)| {
        for (x, (cluster, distance)) in x.outer_iter().zip(nearest) {
            sums.row_mut(cluster).scaled_add(1.0, &x);
            counts[cluster] += 1;
            if distance > farthest.0 {
                farthest = (distance, cluster, x.to_owned());
            }
        }
    })?;
    if let Some(empty) = counts.iter().position(|&count| count == 0).filter(|_| farthest.0 > 0.0) {
        let (_, cluster, x) = &farthest;
        sums.row_mut(*cluster).scaled_add(-1.0, x);
        counts[*cluster] -= 1;
        sums.row_mut(empty).assign(x);
        counts[empty] = 1;
    }
    for ((mut sum, &count), center) in sums.outer_iter_mut().zip(&counts).zip(centers.outer_iter()) {
        match count {
            0 => sum.assign(&center),
            count => sum /= count as f64,
        }
    }
    Ok(sums)
}

/// The nearest center of every sample, and the sum of squared distances.
fn assign<E>(rows: &dyn Rows<E>, mean: &Array1<f64>, centers: &Array2<f64>) -> Result<(Vec<u32>, f64), E> {
    let (mut of, mut inertia) = (Vec::with_capacity(rows.size().0), 0.0);
    distances(rows, mean, centers, &mut |block| {
        for row in block.outer_iter() {
            let (cluster, distance) = nearest_of(row);
            of.push(cluster as u32);
            inertia += distance;
        }
    })?;
    Ok((of, inertia))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_scores::Contingency;
    use ndarray::array;

    fn fit(how: KMeans, rows: ArrayView2<f32>) -> Clusters {
        let Ok(found) = how.fit::<Infallible>(&rows);
        found
    }

    /// Rows that are shown a few at a time.
    struct Pieces<'a>(ArrayView2<'a, f32>, usize);

    impl Rows<Infallible> for Pieces<'_> {
        fn size(&self) -> (usize, usize) {
            self.0.dim()
        }
        fn each_block(&self, visit: &mut dyn FnMut(ArrayView2<f32>)) -> Result<(), Infallible> {
            self.0.axis_chunks_iter(Axis(0), self.1).for_each(visit);
            Ok(())
        }
        fn sample(&self, at: usize) -> Result<Vec<f32>, Infallible> {
            Ok(self.0.row(at).to_vec())
        }
    }

    /// `n` samples around each of three far corners.
    fn corners(n: usize) -> (Array2<f32>, Vec<u32>) {
        let at = |i: usize, j: usize| {
            let corner = [[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]][i % 3][j];
            corner + ((i * 37 + j * 11) % 17) as f32 / 17.0
        };
        (Array2::from_shape_fn((3 * n, 2), |(i, j)| at(i, j)), (0..3 * n as u32).map(|i| i % 3).collect())
    }

    #[test]
    fn four_numbers_in_two_clusters_by_hand() {
        // Means 0.5 and 10.5, each sample half away: 4 · 0.25.
        let found = fit(KMeans::new(2, 0), array![[0.0f32], [1.0], [10.0], [11.0]].view());
        assert_eq!(found.inertia, 1.0);
        assert!(found.of[0] == found.of[1] && found.of[2] == found.of[3] && found.of[0] != found.of[2]);
        assert_eq!(found.centers.row(found.of[0] as usize).to_vec(), [0.5]);
        assert_eq!(found.centers.row(found.of[2] as usize).to_vec(), [10.5]);
    }

    #[test]
    fn centers_of_length_one_by_hand() {
        // Two bundles of directions; the center of each is the direction of its sum, half way between.
        let (c, s) = (0.6f32, 0.8f32);
        let rows = array![[1.0, 0.0], [c, s], [-1.0, 0.0], [-c, -s]];
        let found = fit(KMeans { spherical: true, ..KMeans::new(2, 0) }, rows.view());
        assert!(found.of[0] == found.of[1] && found.of[2] == found.of[3] && found.of[0] != found.of[2]);
        let center = found.centers.row(found.of[0] as usize);
        // (1.6, 0.8) / 1.78885
        assert!((center[0] - 0.894427).abs() < 1e-6 && (center[1] - 0.447214).abs() < 1e-6, "{center}");
        let Ok((of, inertia)) = nearest_centers::<Infallible>(&rows.view(), found.centers.view());
        assert_eq!(of, found.of);
        assert!((inertia - found.inertia).abs() < 1e-12);
    }

    #[test]
    fn the_elbow_is_where_a_further_cluster_gains_little() {
        let (rows, labels) = corners(60);
        // Three far corners, each a small square: a fourth cluster cuts one of them in two.
        let found = elbow(rows.view(), rows.view(), 14, 0.5, &KMeans::new(1, 0));
        assert_eq!(found.centers.nrows(), 4, "the first that does not gain");
        assert_eq!(elbow(rows.view(), rows.view(), 3, 0.5, &KMeans::new(1, 0)).centers.nrows(), 3);
        let three = elbow(rows.view(), rows.view(), 3, 0.5, &KMeans::new(1, 0));
        assert_eq!(Contingency::of(&three.of, &labels).ari(), 1.0);
    }

    #[test]
    fn corners_are_found_whatever_the_seed_and_the_blocks() {
        let (rows, labels) = corners(200);
        for seed in 0..4 {
            let found = fit(KMeans::new(3, seed), rows.view());
            assert_eq!(Contingency::of(&found.of, &labels).ari(), 1.0, "{seed}");
        }
        let whole = fit(KMeans::new(5, 0), rows.view());
        let Ok(pieces) = KMeans::new(5, 0).fit(&Pieces(rows.view(), 70));
        assert_eq!(whole.of, pieces.of);
        assert!((whole.inertia - pieces.inertia).abs() < 1e-9 * whole.inertia);
    }

    #[test]
    fn more_clusters_never_cost_more_and_every_sample_alone_costs_nothing() {
        let (rows, _) = corners(8);
        let inertia: Vec<f64> = (1..=24).map(|k| fit(KMeans::new(k, 1), rows.view()).inertia).collect();
        assert!(inertia.windows(2).all(|pair| pair[1] <= pair[0] + 1e-9), "{inertia:?}");
        assert!(inertia[23] < 1e-9, "{inertia:?}");
        // Of one cluster: n times the variance.
        let (_, variance) = moments::<Infallible>(&rows.view()).expect("in memory");
        assert!((inertia[0] - 24.0 * 2.0 * variance).abs() < 1e-9);
    }

    #[test]
    fn clusters_are_as_good_as_those_of_scikit_learn() {
        // scikit-learn's KMeans(7, n_init=10) ends, for six seeds, at an inertia of 655.036 to 655.312, a purity of 0.4667 to
        // 0.4762 and an NMI of 0.4069 to 0.4144.
        let x = |i: usize, j: usize| {
            let wave = 0.9 * ((i * (j + 2)) as f64 * 0.7 + j as f64).sin();
            let by_turn = if i % 4 == j { 1.4 * (i % 7) as f64 } else { 0.0 };
            (wave + by_turn + if i % 7 == j { 2.0 } else { 0.0 }) as f32
        };
        let rows = Array2::from_shape_fn((210, 4), |(i, j)| x(i, j));
        let labels: Vec<u32> = (0..210).map(|i| i % 7).collect();
        for seed in 0..4 {
            let found = fit(KMeans::new(7, seed), rows.view());
            assert!((655.0..655.4).contains(&found.inertia), "{seed}: {}", found.inertia);
            let scores = Contingency::of(&found.of, &labels);
            assert!((0.4617..0.4812).contains(&scores.purity()), "{seed}: {}", scores.purity());
            assert!((0.40..0.42).contains(&scores.nmi()), "{seed}: {}", scores.nmi());
        }
    }

    #[test]
    fn samples_that_are_all_alike_are_no_trouble() {
        let found = fit(KMeans::new(3, 0), Array2::from_elem((5, 2), 7.0f32).view());
        assert_eq!((found.inertia, found.of), (0.0, vec![0; 5]));
    }
}
