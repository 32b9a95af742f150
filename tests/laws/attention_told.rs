//! What attention tells where it is made, and rollout, against plain readings of the probabilities one by one.

use burn::tensor::Tensor;
use measure::aggregated::{Queries, add_mean_rows};
use measure::aligned::add_aligned_maps;
use measure::attention as plain;
use measure::attention::TokenGrid;
use measure::rollout::rollout;
use measure::saliency::{MapOf, saliency_maps};
use ndarray::{Array1, Array2, Array3, Array4, ArrayView4, Axis, Slice};
use testkit::tiny;
use vit_ops::{
    AttentionGrid, AttentionRow, AttentionSummary, AttentionWants, attention_rolled, attention_summed,
};

/// Grids with their prefix and heads: one patch, one row, columns that fill no vector, and queries that fill no tile.
const CASES: [(usize, usize, usize, usize); 6] =
    [(1, 1, 1, 2), (0, 1, 5, 1), (2, 3, 4, 3), (1, 7, 9, 2), (5, 12, 11, 3), (1, 3, 50, 1)];

const ALL: AttentionWants = AttentionWants { probabilities: true, maps: true, over_heads: true };

fn projections(b: usize, t: usize, heads: usize) -> Tensor<3> {
    let device = vit_ops::cpu_device();
    tiny::sines([1, b, t, 3 * heads * 6], 0.7, &device).reshape([b, t, 3 * heads * 6]).mul_scalar(2.0)
}

fn array(tensor: &Tensor<4>) -> Array4<f32> {
    let [a, b, c, d] = tensor.dims();
    let values = tensor.to_data().try_to_vec::<f32>().expect("f32");
    Array4::from_shape_vec((a, b, c, d), values).expect("counted")
}

fn told(of: &Option<Tensor<4>>) -> Array4<f32> {
    array(of.as_ref().expect("wanted"))
}

fn assert_near<'a>(
    what: &str,
    ours: impl IntoIterator<Item = &'a f32>,
    plain: impl IntoIterator<Item = f64>,
) {
    let (ours, plain): (Vec<&f32>, Vec<f64>) = (ours.into_iter().collect(), plain.into_iter().collect());
    assert_eq!(ours.len(), plain.len(), "{what}");
    for (at, (&&ours, plain)) in ours.iter().zip(plain).enumerate() {
        let apart = (f64::from(ours) - plain).abs();
        assert!(apart <= 3e-6 * plain.abs().max(0.1), "{what}[{at}]: {ours}, plainly {plain}");
    }
}

/// A row of every image and head, over tokens from the `first` on.
fn rows(told: &AttentionSummary, row: AttentionRow, first: usize) -> Vec<f32> {
    let rows = self::told(&told.rows);
    let row = rows.index_axis(Axis(2), row as usize);
    row.slice_axis(Axis(2), Slice::from(first..)).iter().copied().collect()
}

/// The numbers that maps give, image by image.
fn by_image(p: ArrayView4<f32>, of: impl Fn(ArrayView4<f32>) -> Vec<f64>) -> Vec<f64> {
    (0..p.dim().0).flat_map(|image| of(p.slice_axis(Axis(0), Slice::from(image..=image)))).collect()
}

#[test]
fn what_heads_tell_is_what_their_rows_say_one_by_one() {
    for (n_prefix, h, w, heads) in CASES {
        let (grid, places) = (AttentionGrid { n_prefix, rows: h, columns: w }, TokenGrid { n_prefix, h, w });
        let t = places.n_tokens();
        let found = attention_summed(projections(2, t, heads), None, heads, grid, ALL);
        let p = told(&found.probabilities);
        let p = p.view();
        let statistics = array(&found.statistics.clone().unsqueeze_dim(2));
        let number = |at: usize| statistics.index_axis(Axis(3), at).iter().copied().collect::<Vec<f32>>();
        let what = |name: &str| format!("{name} of {heads} heads on {places:?}");
        assert_near(&what("entropy"), &number(0), plain::entropy_nats(p));
        assert_near(&what("share"), &number(1), plain::share(p, places, 0..1));
        assert_near(&what("distance"), &number(2), plain::mean_distance_unit_square(p, places));
        assert_near(&what("distance in patches"), &number(3), plain::mean_distance_px(p, places, 1.0));

        for (queries, row) in [
            (Queries::All, AttentionRow::All),
            (Queries::Class, AttentionRow::First),
            (Queries::Patches, AttentionRow::Patches),
            (Queries::PatchesAlone, AttentionRow::PatchesAlone),
        ] {
            if queries == Queries::Class && n_prefix == 0 {
                continue;
            }
            let mean_rows = |one: ArrayView4<f32>| {
                let mut sums = [Array2::zeros((heads, t))];
                add_mean_rows(one, places, &[queries], &mut sums);
                sums[0].iter().copied().collect()
            };
            assert_near(&what(&format!("{row:?}")), &rows(&found, row, 0), by_image(p, mean_rows));
        }
        let center = saliency_maps(p, places, MapOf::Center);
        assert_near(&what("center"), &rows(&found, AttentionRow::Center, n_prefix), center);

        let deviations = rows(&found, AttentionRow::Deviation, n_prefix);
        let n = places.n_patches();
        let means: Vec<f32> = deviations.chunks(n).map(|of| of.iter().sum::<f32>() / n as f32).collect();
        assert_near(&what("deviation over queries"), &means, plain::deviation_over_queries(p, places));
        let spread = told(&found.spread);
        assert_near(&what("deviation over heads"), &spread, plain::deviation_over_heads(p, places));

        let aligned = |one: ArrayView4<f32>| {
            let mut canvas = Array3::zeros((heads, 2 * h - 1, 2 * w - 1));
            add_aligned_maps(one, places, &mut canvas, &mut Array2::zeros((heads, n)));
            canvas.iter().map(|mass| mass / n as f64).collect()
        };
        assert_near(&what("aligned"), &told(&found.aligned), by_image(p, aligned));
        let mean = p.mapv(f64::from).mean_axis(Axis(1)).expect("heads");
        assert_near(&what("mean over heads"), &told(&found.mean), mean);
    }
}

#[test]
fn an_image_tells_the_same_alone_and_among_others_and_whatever_else_is_wanted() {
    let grid = AttentionGrid { n_prefix: 1, rows: 12, columns: 13 };
    let (t, heads) = (157, 2);
    let qkv = projections(3, t, heads);
    let all = attention_summed(qkv.clone(), None, heads, grid, ALL);
    let one = attention_summed(qkv.clone().narrow(0, 1, 1), None, heads, grid, ALL);
    let maps_only = AttentionWants { maps: true, ..AttentionWants::default() };
    let maps = attention_summed(qkv, None, heads, grid, maps_only);
    assert!(maps.probabilities.is_none() && maps.mean.is_none() && maps.spread.is_none());
    let values = |tensor: Tensor<4>| tensor.into_data().try_into_vec::<f32>().expect("f32");
    let second = |of: &Option<Tensor<4>>| values(of.clone().expect("wanted").narrow(0, 1, 1));
    for (all, one) in [(&all.rows, &one.rows), (&all.aligned, &one.aligned), (&all.mean, &one.mean)] {
        assert_eq!(second(all), values(one.clone().expect("wanted")));
    }
    assert_eq!(second(&all.rows), second(&maps.rows));
    assert_eq!(second(&all.aligned), second(&maps.aligned));
    let statistics = |of: &AttentionSummary| of.statistics.to_data();
    assert_eq!(statistics(&all), statistics(&maps));
}

#[test]
fn rollout_is_the_product_of_all_layers_with_its_own_entropy_and_distance() {
    for (n_prefix, h, w, heads) in CASES {
        let (grid, places) = (AttentionGrid { n_prefix, rows: h, columns: w }, TokenGrid { n_prefix, h, w });
        let t = places.n_tokens();
        let (mut rolled, mut plainly): (Option<Tensor<3>>, Option<Array3<f64>>) = (None, None);
        for layer in 0..4 {
            let qkv = projections(2, t, heads).mul_scalar(1.0 + 0.3 * layer as f64);
            let found = attention_summed(qkv, None, heads, grid, ALL);
            let mean = found.mean.clone().expect("wanted").reshape([2, t, t]);
            let (next, numbers) = attention_rolled(mean, rolled.take(), grid);
            let next_plainly = rollout(told(&found.probabilities).view(), plainly.as_ref());
            let what = |name: &str| format!("{name} of a rollout over {} layers on {places:?}", layer + 1);
            let values = next.to_data().try_to_vec::<f32>().expect("f32");
            assert_near(&what("rows"), &values, next_plainly.iter().copied());
            let maps = next_plainly.mapv(|share| share as f32).insert_axis(Axis(1));
            let numbers = numbers.into_data().try_into_vec::<f32>().expect("f32");
            let number = |at: usize| numbers.iter().skip(at).step_by(4).copied().collect::<Vec<f32>>();
            assert_near(&what("entropy"), &number(0), plain::entropy_nats(maps.view()));
            assert_near(&what("share"), &number(1), plain::share(maps.view(), places, 0..1));
            let far: Array1<f64> =
                plain::mean_distance_unit_square(maps.view(), places).into_iter().collect();
            assert_near(&what("distance"), &number(2), far);
            (rolled, plainly) = (Some(next), Some(next_plainly));
        }
    }
}
