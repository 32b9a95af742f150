//! Names of series: at the ends of lines where there is room, else in rows below the plot.

use super::canvas::{Anchor, Canvas, text_width};
use super::mark;

/// Height of a row of names.
const ROW: f64 = 20.0;

/// Moves labels apart: the nearest places to `wanted`, in the same order, at least `gap` apart, inside `[low, high]`.
///
/// `None` when they do not fit.
pub(crate) fn spread(wanted: &[f64], gap: f64, (low, high): (f64, f64)) -> Option<Vec<f64>> {
    if wanted.is_empty() || (wanted.len() - 1) as f64 * gap > high - low {
        return wanted.is_empty().then(Vec::new);
    }
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    // Clusters of touching labels sit around the mean of where their members want to be.
    let mut clusters: Vec<(f64, usize)> = Vec::new(); // (sum of wanted − offset in the cluster, members)
    let top_of = |(sum, n): (f64, usize)| {
        let height = (n - 1) as f64 * gap;
        (sum / n as f64).clamp(low, high - height)
    };
    for idx in &order {
        let mut cluster = (wanted[*idx], 1);
        while let Some(above) = clusters.last().copied() {
            if top_of(above) + above.1 as f64 * gap <= top_of(cluster) {
                break;
            }
            clusters.pop();
            cluster = (above.0 + cluster.0 - cluster.1 as f64 * above.1 as f64 * gap, above.1 + cluster.1);
        }
        clusters.push(cluster);
    }
    let places = clusters.into_iter().flat_map(|cluster| {
        let top = top_of(cluster);
        (0..cluster.1).map(move |member| top + member as f64 * gap)
    });
    let mut out = vec![0.0; wanted.len()];
    for (idx, place) in order.into_iter().zip(places) {
        out[idx] = place;
    }
    Some(out)
}

/// Names with their marks in rows from (`left`, `top`) on; the drawing grows to hold them.
pub(crate) fn below(canvas: &mut Canvas, names: &[&str], left: f64, top: f64) {
    let (mut x, mut y) = (left, top);
    for (idx, name) in names.iter().enumerate() {
        let width = 22.0 + text_width(name, 12.5) + 22.0;
        if x > left && x + width > canvas.width() {
            (x, y) = (left, y + ROW);
        }
        canvas.open_series(idx);
        mark::plain(canvas, idx, (x + 6.0, y), 4.5);
        canvas.close();
        canvas.text("vs-strong", (x + 18.0, y + 4.0), Anchor::Start, name);
        x += width;
    }
    canvas.set_height(y + ROW - 4.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_that_touch_move_apart_evenly() {
        assert_eq!(spread(&[50.0, 10.0], 16.0, (0.0, 100.0)), Some(vec![50.0, 10.0]));
        assert_eq!(spread(&[50.0, 50.0], 16.0, (0.0, 100.0)), Some(vec![42.0, 58.0]));
        assert_eq!(spread(&[98.0, 99.0], 16.0, (0.0, 100.0)), Some(vec![84.0, 100.0]));
        assert_eq!(spread(&[1.0, 2.0, 3.0], 16.0, (0.0, 20.0)), None);
        assert_eq!(spread(&[], 16.0, (0.0, 20.0)), Some(vec![]));
    }

    proptest! {
        #[test]
        fn spread_labels_keep_order_distance_and_bounds(wanted in proptest::collection::vec(0.0_f64..300.0, 1..15)) {
            let places = spread(&wanted, 16.0, (0.0, 300.0)).expect("15 labels fit");
            let mut sorted: Vec<(f64, f64)> = wanted.iter().copied().zip(places).collect();
            sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
            for pair in sorted.windows(2) {
                prop_assert!(pair[0].0 <= pair[1].0 && pair[1].1 - pair[0].1 >= 16.0 - 1e-9);
            }
            prop_assert!(sorted.iter().all(|(_, place)| (-1e-9..=300.0 + 1e-9).contains(place)));
        }
    }
}
