//! A fully connected random field over the pixels of a picture: labels that agree with their neighbors and with the colors.

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::ops::Range;

/// A picture of `width × height` pixels, `[height · width · 3]` bytes, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Red, green and blue of each pixel.
    pub rgb: &'a [u8],
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// `w · exp(−‖p − p'‖² / 2σ_xy²  [ − ‖I − I'‖² / 2σ_rgb² ])` of two pixels at `p` with colors `I`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pairwise {
    /// `w`, what it costs that two pixels that are near to each other differ.
    pub weight: f64,
    /// `σ_xy`, in pixels.
    pub sigma_xy_px: f64,
    /// `σ_rgb`, in bytes; none where colors do not matter.
    pub sigma_rgb: Option<f64>,
}

/// A dense random field with Potts's model, and how long its mean field is iterated.
#[derive(Clone, Debug, PartialEq)]
pub struct Crf {
    /// Its kernels, each of them normalized.
    pub pairwise: Vec<Pairwise>,
    /// Steps of the mean field.
    pub n_steps: usize,
    /// Pixels that are further apart than this, along a side, have nothing to do with each other; none for exact sums over all.
    pub radius_px: Option<usize>,
}

impl Crf {
    /// That of Amir et al.: nearness with σ 3 px and weight 50, nearness and color with σ 5 px, 13 bytes and weight 15, ten steps;
    /// pairs up to 15 px apart, three times the greater σ.
    pub fn amir() -> Self {
        let smoothness = Pairwise { weight: 50.0, sigma_xy_px: 3.0, sigma_rgb: None };
        let appearance = Pairwise { weight: 15.0, sigma_xy_px: 5.0, sigma_rgb: Some(13.0) };
        Self { pairwise: vec![smoothness, appearance], n_steps: 10, radius_px: Some(15) }
    }

    /// The probability of each label at each pixel after the steps of the mean field:
    ///
    /// ```text
    /// Q_i(l) ∝ exp( −U_i(l) + Σ_m w_m Σ_{j≠i} k̃_m(i, j) Q_j(l) ),   Q at first ∝ exp(−U)
    /// k̃(i, j) = k(i, j) / √(D_i D_j),   D_i = Σ_{j≠i} k(i, j)
    /// ```
    ///
    /// All pixels move at the same time. With Potts's model `μ(l, l') = [l ≠ l']` the sum over other labels is a number that all
    /// labels of a pixel share, less the sum above. The weights of pairs are computed once for a picture and kept for all steps,
    /// unless they are more than 64 MiB; that changes no bit of the result.
    ///
    /// # Shapes
    /// `unary` `U`: `[height · width, labels]`; the result is as large, its rows sum to 1.
    ///
    /// # Panics
    /// If the sizes do not agree, there is no label, or a σ is not positive.
    ///
    /// # Source
    /// Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, eq. 1–3 and algorithm 1; the
    /// symmetric normalization is their program's. *Differs*: sums are exact over the pairs in reach instead of filtered on a lattice,
    /// and a pixel never counts for itself.
    pub fn refine(&self, picture: Picture, unary: ArrayView2<f64>) -> Array2<f64> {
        let (n, n_labels) = unary.dim();
        let Picture { rgb, width, height } = picture;
        assert!(
            n == width * height && rgb.len() == 3 * n,
            "{n} pixels of unary, {width} × {height} and {} bytes of a picture",
            rgb.len()
        );
        assert!(n_labels > 0, "a label is needed");
        let weights = Weights::of(&self.pairwise, picture, self.radius_px, KEPT_BYTES);
        self.iterate(&weights, picture, unary)
    }

    /// The steps of the mean field, rows of pixels side by side.
    fn iterate(&self, weights: &Weights, picture: Picture, unary: ArrayView2<f64>) -> Array2<f64> {
        let (n, n_labels) = unary.dim();
        let width = picture.width;
        // Row by row, label by label, so that neighbors along a row lie side by side: `[height, labels, width]`.
        let at = |y: usize, label: usize, x: usize| (y * n_labels + label) * width + x;
        let mut q = vec![0.0; n * n_labels];
        let mut scores = vec![0.0; n_labels];
        for (pixel, costs) in unary.rows().into_iter().enumerate() {
            scores.iter_mut().zip(costs).for_each(|(score, cost)| *score = -cost);
            softmax(&mut scores);
            scores.iter().enumerate().for_each(|(l, &share)| q[at(pixel / width, l, pixel % width)] = share);
        }
        for _ in 0..self.n_steps {
            let mut next = vec![0.0; q.len()];
            next.par_chunks_mut((n_labels * width).max(1)).enumerate().for_each(|(y, row)| {
                let mut buffer = vec![0.0; width];
                weights.add_messages(y, (&q, n_labels), row, &mut buffer);
                let mut scores = vec![0.0; n_labels];
                for x in 0..width {
                    for (l, score) in scores.iter_mut().enumerate() {
                        *score = row[l * width + x] - unary[(y * width + x, l)];
                    }
                    softmax(&mut scores);
                    scores.iter().enumerate().for_each(|(l, &share)| row[l * width + x] = share);
                }
            });
            q = next;
        }
        Array2::from_shape_fn((n, n_labels), |(pixel, label)| q[at(pixel / width, label, pixel % width)])
    }
}

/// Bytes of weights of pairs that are kept for a picture; of one with more pairs they are computed anew in every step.
const KEPT_BYTES: usize = 64 << 20;

/// `Σ_m w_m k̃_m(i, j)` of all pairs in reach of each other.
struct Weights<'a> {
    fields: Vec<Field<'a>>,
    size: (usize, usize),
    /// How far pairs reach along each side.
    reach: (usize, usize),
    /// For every way from a pixel to one below it or right of it in its row, `[ways, height, width]`; 0 where that is outside. None where
    /// there are too many.
    kept: Option<Vec<f64>>,
}

impl<'a> Weights<'a> {
    fn of(kernels: &[Pairwise], picture: Picture<'a>, radius_px: Option<usize>, most_bytes: usize) -> Self {
        let Picture { width, height, .. } = picture;
        let radius = radius_px.unwrap_or(usize::MAX);
        let reach = (radius.min(width.saturating_sub(1)), radius.min(height.saturating_sub(1)));
        let fields = kernels.iter().map(|kernel| Field::new(kernel, picture, reach)).collect();
        let mut weights = Self { fields, size: (width, height), reach, kept: None };
        let n_values = weights.n_ways().saturating_mul(width * height);
        if n_values.saturating_mul(size_of::<f64>()) <= most_bytes {
            let mut kept = vec![0.0; n_values];
            let rows = kept.par_chunks_mut(width.max(1)).enumerate();
            rows.for_each(|(row, out)| weights.compute(weights.way(row / height), row % height, out));
            weights.kept = Some(kept);
        }
        weights
    }

    /// Ways to the right in a row, then those of each row below.
    fn n_ways(&self) -> usize {
        self.reach.0 + self.reach.1 * (2 * self.reach.0 + 1)
    }

    /// Columns and rows of a way.
    fn way(&self, place: usize) -> (isize, usize) {
        let reach = self.reach.0;
        match place.checked_sub(reach) {
            None => (place as isize + 1, 0),
            Some(below) => ((below % (2 * reach + 1)) as isize - reach as isize, 1 + below / (2 * reach + 1)),
        }
    }

    /// The opposite of [`Weights::way`].
    fn place(&self, (dx, dy): (isize, usize)) -> usize {
        let reach = self.reach.0;
        match dy {
            0 => dx as usize - 1,
            _ => reach + (dy - 1) * (2 * reach + 1) + (dx + reach as isize) as usize,
        }
    }

    /// The weights of a row's pixels with those a way off; what is outside keeps what it had.
    fn compute(&self, (dx, dy): (isize, usize), y: usize, out: &mut [f64]) {
        let (width, height) = self.size;
        if y + dy >= height {
            return;
        }
        let apart = (dx.unsigned_abs(), dy);
        for x in columns(dx, width) {
            let (i, j) = (y * width + x, (y + dy) * width + x.saturating_add_signed(dx));
            let weight =
                |field: &Field| field.weight * field.kernel(i, j, apart) * field.scale[i] * field.scale[j];
            out[x] = self.fields.iter().map(weight).sum();
        }
    }

    /// Adds what all other pixels say of the labels of a row's pixels.
    ///
    /// # Shapes
    /// `q`: `[height, labels, width]`; `row`: `[labels, width]`; `buffer`: `[width]`.
    fn add_messages(&self, y: usize, (q, n_labels): (&[f64], usize), row: &mut [f64], buffer: &mut [f64]) {
        let (width, height) = self.size;
        let (reach_x, reach_y) = (self.reach.0 as isize, self.reach.1);
        for other_y in y.saturating_sub(reach_y)..height.min(y + reach_y + 1) {
            for dx in -reach_x..=reach_x {
                if other_y == y && dx == 0 {
                    continue;
                }
                // Weights are kept at the pixel from which the other is below or to the right.
                let is_ahead = other_y > y || (other_y == y && dx > 0);
                let (from, way) =
                    if is_ahead { (y, (dx, other_y - y)) } else { (other_y, (-dx, y - other_y)) };
                let weights = match &self.kept {
                    Some(kept) => {
                        let first = (self.place(way) * height + from) * width;
                        &kept[first..first + width]
                    }
                    None => {
                        self.compute(way, from, buffer);
                        &*buffer
                    }
                };
                let columns = columns(dx, width);
                let other = columns.start.saturating_add_signed(dx)..columns.end.saturating_add_signed(dx);
                let weights = &weights[if is_ahead { columns.clone() } else { other.clone() }];
                for label in 0..n_labels {
                    let shares = &q[(other_y * n_labels + label) * width..][other.clone()];
                    let out = &mut row[label * width..][columns.clone()];
                    for ((out, share), weight) in out.iter_mut().zip(shares).zip(weights) {
                        *out += weight * share;
                    }
                }
            }
        }
    }
}

/// The columns from which one `dx` off is inside.
fn columns(dx: isize, width: usize) -> Range<usize> {
    let off = dx.unsigned_abs().min(width);
    if dx < 0 { off..width } else { 0..width - off }
}

/// One kernel on one picture.
struct Field<'a> {
    picture: Picture<'a>,
    weight: f64,
    /// How far pairs reach along each side.
    reach: (usize, usize),
    /// `exp(−d² / 2σ²)` of a distance along one side.
    by_distance: Vec<f64>,
    /// `exp(−d² / 2σ²)` of a squared distance of colors, which is a whole number; empty where colors do not matter.
    by_color: Vec<f64>,
    /// `1 / √D` of each pixel; 0 of one that is alone.
    scale: Vec<f64>,
}

impl<'a> Field<'a> {
    fn new(kernel: &Pairwise, picture: Picture<'a>, reach: (usize, usize)) -> Self {
        let gauss = |squared: f64, sigma: f64| {
            assert!(sigma > 0.0, "a σ above 0 is needed, found {sigma}");
            (-squared / (2.0 * sigma * sigma)).exp()
        };
        let by_distance =
            (0..=reach.0.max(reach.1)).map(|d| gauss((d * d) as f64, kernel.sigma_xy_px)).collect();
        let by_color = match kernel.sigma_rgb {
            Some(sigma) => (0..=3 * 255 * 255).map(|squared: u32| gauss(f64::from(squared), sigma)).collect(),
            None => Vec::new(),
        };
        let field = Self { picture, weight: kernel.weight, reach, by_distance, by_color, scale: Vec::new() };
        let n = picture.width * picture.height;
        let scale = (0..n).into_par_iter().map(|i| field.inverse_root(i)).collect();
        Self { scale, ..field }
    }

    /// `1 / √D` of a pixel.
    fn inverse_root(&self, i: usize) -> f64 {
        let Picture { width, height, .. } = self.picture;
        let (x, y) = (i % width, i / width);
        let mut sum = 0.0;
        for other_y in y.saturating_sub(self.reach.1)..height.min(y + self.reach.1 + 1) {
            for other_x in x.saturating_sub(self.reach.0)..width.min(x + self.reach.0 + 1) {
                let j = other_y * width + other_x;
                let apart = (x.abs_diff(other_x), y.abs_diff(other_y));
                sum += if j == i { 0.0 } else { self.kernel(i, j, apart) };
            }
        }
        if sum > 0.0 { 1.0 / sum.sqrt() } else { 0.0 }
    }

    /// `k(i, j)` of two pixels in reach of each other, so many columns and rows apart.
    fn kernel(&self, i: usize, j: usize, (columns, rows): (usize, usize)) -> f64 {
        let rgb = self.picture.rgb;
        let near = self.by_distance[rows] * self.by_distance[columns];
        if self.by_color.is_empty() {
            return near;
        }
        let channel = |c: usize| i32::from(rgb[3 * i + c]) - i32::from(rgb[3 * j + c]);
        let squared: i32 = (0..3).map(|c| channel(c) * channel(c)).sum();
        near * self.by_color[squared as usize]
    }
}

/// `exp(s_l) / Σ exp(s)`
fn softmax(scores: &mut [f64]) {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter_mut().for_each(|score| *score = (*score - most).exp());
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(ours: &Array2<f64>, expected: &Array2<f64>) -> bool {
        ours.iter().zip(expected).all(|(ours, expected)| (ours - expected).abs() < 1e-12)
    }

    #[test]
    fn two_pixels_by_hand() {
        // Each is all that the other has, so the normalized kernel is 1, however far they are. Q at first is (3/4, 1/4) and (1/2, 1/2);
        // then ln 3 + 2·(1/2 − 1/2) and 0 + 2·(3/4 − 1/4) stand between the labels.
        let (unary, rgb) = (ndarray::array![[0.0, 3.0f64.ln()], [0.0, 0.0]], [0, 0, 0, 9, 9, 9]);
        let pairwise = vec![
            Pairwise { weight: 1.5, sigma_xy_px: 1.0, sigma_rgb: None },
            Pairwise { weight: 0.5, sigma_xy_px: 2.0, sigma_rgb: Some(20.0) },
        ];
        let crf = Crf { pairwise, n_steps: 1, radius_px: None };
        let picture = Picture { rgb: &rgb, width: 2, height: 1 };
        let sigmoid = 1.0 / (1.0 + (-1.0f64).exp());
        let expected = ndarray::array![[0.75, 0.25], [sigmoid, 1.0 - sigmoid]];
        assert!(near(&crf.refine(picture, unary.view()), &expected));
    }

    #[test]
    fn a_lonely_patch_takes_the_label_of_its_color() {
        // Left dark, right bright; one pixel of the left is thought to be of the right.
        let rgb: Vec<u8> = (0..36).flat_map(|i| [if i % 6 < 3 { 20 } else { 220 }; 3]).collect();
        let right = |i: usize| (i % 6 >= 3) != (i == 13);
        let unary = Array2::from_shape_fn((36, 2), |(i, l)| if (l == 1) == right(i) { 0.0 } else { 1.0 });
        let refined = Crf::amir().refine(Picture { rgb: &rgb, width: 6, height: 6 }, unary.view());
        for (i, row) in refined.rows().into_iter().enumerate() {
            assert_eq!(row[1] > row[0], i % 6 >= 3, "pixel {i}: {row}");
        }
    }

    /// The formula as it stands in the paper, with the whole kernel as a matrix and the sum over the other labels.
    fn plainly(crf: &Crf, picture: Picture, unary: &Array2<f64>) -> Array2<f64> {
        let (n, n_labels) = unary.dim();
        let place = |i: usize| [(i % picture.width) as f64, (i / picture.width) as f64];
        let color = |i: usize| [0, 1, 2].map(|c| f64::from(picture.rgb[3 * i + c]));
        let squared = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let mut whole = Array2::<f64>::zeros((n, n));
        for kernel in &crf.pairwise {
            let k = Array2::from_shape_fn((n, n), |(i, j)| {
                let apart = place(i).iter().zip(&place(j)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                if i == j || crf.radius_px.is_some_and(|radius| apart > radius as f64) {
                    return 0.0;
                }
                let of_colors = kernel
                    .sigma_rgb
                    .map_or(0.0, |sigma| squared(&color(i), &color(j)) / (2.0 * sigma.powi(2)));
                (-squared(&place(i), &place(j)) / (2.0 * kernel.sigma_xy_px.powi(2)) - of_colors).exp()
            });
            let sums = k.sum_axis(ndarray::Axis(1));
            whole += &Array2::from_shape_fn((n, n), |(i, j)| {
                if k[(i, j)] == 0.0 { 0.0 } else { kernel.weight * k[(i, j)] / (sums[i] * sums[j]).sqrt() }
            });
        }
        let normalized = |energy: Array2<f64>| {
            let mut q = energy.mapv(|e| (-e).exp());
            q.rows_mut().into_iter().for_each(|mut row| {
                let sum = row.sum();
                row /= sum;
            });
            q
        };
        let mut q = normalized(unary.clone());
        for _ in 0..crf.n_steps {
            let message = whole.dot(&q);
            let energy = Array2::from_shape_fn((n, n_labels), |(i, l)| {
                let others = (0..n_labels).filter(|&other| other != l);
                unary[(i, l)] + others.map(|other| message[(i, other)]).sum::<f64>()
            });
            q = normalized(energy);
        }
        q
    }

    proptest! {
        #[test]
        fn it_is_the_formula_of_the_paper_and_knows_no_left_and_no_first_label(
            bytes in prop::collection::vec(any::<u8>(), 3 * 20),
            costs in prop::collection::vec(0.0f64..3.0, 3 * 20),
            radius_px in prop::option::of(0usize..4),
            n_steps in 0usize..4,
        ) {
            let crf = Crf { n_steps, radius_px, pairwise: vec![
                Pairwise { weight: 2.0, sigma_xy_px: 1.5, sigma_rgb: None },
                Pairwise { weight: 1.0, sigma_xy_px: 3.0, sigma_rgb: Some(60.0) },
            ] };
            let picture = Picture { rgb: &bytes, width: 5, height: 4 };
            let unary = Array2::from_shape_vec((20, 3), costs).expect("3 labels of 20 pixels");
            let found = crf.refine(picture, unary.view());
            prop_assert!(near(&found, &plainly(&crf, picture, &unary)));
            // Weights that are not kept are the same weights.
            let anew = Weights::of(&crf.pairwise, picture, radius_px, 0);
            prop_assert!(anew.kept.is_none() || radius_px == Some(0), "there are pairs to keep");
            prop_assert_eq!(&crf.iterate(&anew, picture, unary.view()), &found);
            prop_assert!(found.rows().into_iter().all(|row| (row.sum() - 1.0).abs() < 1e-12));
            let mirror = |i: usize| i / 5 * 5 + 4 - i % 5;
            let mirrored: Vec<u8> = (0..20).flat_map(|i| bytes[3 * mirror(i)..3 * mirror(i) + 3].to_vec()).collect();
            let other = Array2::from_shape_fn((20, 3), |(i, l)| unary[(mirror(i), (l + 1) % 3)]);
            let other = crf.refine(Picture { rgb: &mirrored, ..picture }, other.view());
            let back = Array2::from_shape_fn((20, 3), |(i, l)| other[(mirror(i), (l + 2) % 3)]);
            prop_assert!(near(&found, &back));
        }
    }
}
