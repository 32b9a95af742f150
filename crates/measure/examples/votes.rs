//! Scores two noisy clusters by the weighted nearest-neighbour vote: `cargo run -p measure --example votes`.
#![allow(clippy::disallowed_macros)] // an example prints what it found

use measure::interval::{Bootstrap, accuracy_interval};
use measure::nearest::{l2_normalize_rows, top_k};
use measure::vote::{top1, weighted_votes};
use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn main() {
    // Two directions in the plane, 1.5 radians apart, each scattered evenly over ±1 radian.
    let label = |i: usize| (i % 2) as u32;
    let cloud = |n: usize, seed: u64| {
        let mut stream = ChaCha8Rng::seed_from_u64(seed);
        let mut points = Array2::zeros((n, 2));
        for (i, mut point) in points.rows_mut().into_iter().enumerate() {
            let scatter = stream.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0;
            let angle = label(i) as f32 * 1.5 + scatter;
            point[0] = angle.cos();
            point[1] = angle.sin();
        }
        points
    };
    let (train, test) = (cloud(2000, 0), cloud(500, 1));
    let train_labels: Vec<u32> = (0..2000).map(label).collect();
    let test_labels: Vec<u32> = (0..500).map(label).collect();

    let top = top_k(l2_normalize_rows(test.view()).view(), l2_normalize_rows(train.view()).view(), 20);
    for vote in weighted_votes(&top, &train_labels, 2, &[1, 5, 20], &[0.07]) {
        let predicted = vote.predicted();
        let right: Vec<bool> = predicted.iter().zip(&test_labels).map(|(p, y)| p == y).collect();
        let interval = accuracy_interval(&right, Bootstrap { n_resamples: 2000, level: 0.95, seed: 0 });
        let accuracy = top1(&predicted, &test_labels);
        println!("k {:2}: top1 {accuracy:.3}  95 % {:.3} … {:.3}", vote.k, interval.low, interval.high);
    }
}
