//! Exact nearest neighbours and the vote at every number of neighbours and temperature.

use crate::case::{Case, Error, Scope, noise};
use measure::nearest::{l2_normalize_rows, top_k};
use measure::vote::weighted_votes;
use ndarray::Array2;

const WIDTH: usize = 384;
const K: usize = 200;
const N_CLASSES: usize = 100;

pub(crate) fn case(scope: &Scope) -> Result<Case, Error> {
    let (n, m) = if scope.quick { (10_000, 2_000) } else { (50_000, 10_000) };
    let rows = |n: usize, seed: u64| -> Result<Array2<f32>, Error> {
        let rows = Array2::from_shape_vec((n, WIDTH), noise(n * WIDTH, seed))?;
        Ok(l2_normalize_rows(rows.view()))
    };
    let (bank, queries) = (rows(n, 3)?, rows(m, 4)?);
    let labels: Vec<u32> = (0..n as u32).map(|i| i % N_CLASSES as u32).collect();
    let flat = |x: &Array2<f32>| (x.shape().to_vec(), x.iter().copied().collect::<Vec<f32>>());
    let ((bank_shape, bank_values), (query_shape, query_values)) = (flat(&bank), flat(&queries));
    let tensors = vec![
        ("input.bank".to_owned(), bank_shape, bank_values),
        ("input.queries".to_owned(), query_shape, query_values),
    ];
    let work = move || {
        let top = top_k(queries.view(), bank.view(), K);
        let votes = weighted_votes(&top, &labels, N_CLASSES, &[10, 20, 100, 200], &[0.07, 0.1]);
        assert_eq!(votes.len(), 8);
        let (shape, scores) = (top.scores.shape().to_vec(), top.scores.iter().copied().collect());
        Ok(vec![("scores".into(), shape, scores)])
    };
    Ok(Case { tensors, work: Box::new(work) })
}
