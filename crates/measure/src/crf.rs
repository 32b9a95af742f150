//! A fully connected random field over the pixels of a picture: labels that agree with their neighbors and with the colors.

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

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
    /// labels of a pixel share, less the sum above.
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
        let fields: Vec<Field> =
            self.pairwise.iter().map(|kernel| Field::new(kernel, picture, self.radius_px)).collect();
        let mut q: Vec<f64> = Vec::with_capacity(n * n_labels);
        unary.rows().into_iter().for_each(|row| q.extend(softmax(row.iter().map(|u| -u).collect())));
        for _ in 0..self.n_steps {
            let of_pixel = |i: usize| {
                let mut scores: Vec<f64> = unary.row(i).iter().map(|u| -u).collect();
                for field in &fields {
                    field.add_message(i, &q, &mut scores);
                }
                softmax(scores)
            };
            q = (0..n).into_par_iter().flat_map_iter(of_pixel).collect();
        }
        match Array2::from_shape_vec((n, n_labels), q) {
            Ok(q) => q,
            Err(error) => panic!("{n} pixels of {n_labels} labels: {error}"),
        }
    }
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
    fn new(kernel: &Pairwise, picture: Picture<'a>, radius_px: Option<usize>) -> Self {
        let Picture { width, height, .. } = picture;
        let gauss = |squared: f64, sigma: f64| {
            assert!(sigma > 0.0, "a σ above 0 is needed, found {sigma}");
            (-squared / (2.0 * sigma * sigma)).exp()
        };
        let radius = radius_px.unwrap_or(usize::MAX);
        let reach = (radius.min(width.saturating_sub(1)), radius.min(height.saturating_sub(1)));
        let by_distance =
            (0..=reach.0.max(reach.1)).map(|d| gauss((d * d) as f64, kernel.sigma_xy_px)).collect();
        let by_color = match kernel.sigma_rgb {
            Some(sigma) => (0..=3 * 255 * 255).map(|squared: u32| gauss(f64::from(squared), sigma)).collect(),
            None => Vec::new(),
        };
        let scale = Vec::new();
        let field = Self { picture, weight: kernel.weight, reach, by_distance, by_color, scale };
        let inverse_root = |i: usize| {
            let mut sum = 0.0;
            field.each_pair(i, |_, k| sum += k);
            if sum > 0.0 { 1.0 / sum.sqrt() } else { 0.0 }
        };
        let scale = (0..width * height).into_par_iter().map(inverse_root).collect();
        Self { scale, ..field }
    }

    /// Shows every pixel in reach of one, but for itself, with the kernel of both; row by row.
    fn each_pair(&self, i: usize, mut visit: impl FnMut(usize, f64)) {
        let Picture { rgb, width, height } = self.picture;
        let (x, y) = (i % width, i / width);
        for other_y in y.saturating_sub(self.reach.1)..height.min(y + self.reach.1 + 1) {
            let of_row = self.by_distance[y.abs_diff(other_y)];
            for other_x in x.saturating_sub(self.reach.0)..width.min(x + self.reach.0 + 1) {
                let j = other_y * width + other_x;
                if j == i {
                    continue;
                }
                let near = of_row * self.by_distance[x.abs_diff(other_x)];
                let alike = if self.by_color.is_empty() {
                    1.0
                } else {
                    let channel = |c: usize| i32::from(rgb[3 * i + c]) - i32::from(rgb[3 * j + c]);
                    let squared: i32 = (0..3).map(|c| channel(c) * channel(c)).sum();
                    self.by_color[squared as usize]
                };
                visit(j, near * alike);
            }
        }
    }

    /// Adds what the other pixels say of a pixel's labels.
    fn add_message(&self, i: usize, q: &[f64], scores: &mut [f64]) {
        let n_labels = scores.len();
        let own = self.weight * self.scale[i];
        self.each_pair(i, |j, k| {
            let k = own * k * self.scale[j];
            for (score, q) in scores.iter_mut().zip(&q[j * n_labels..(j + 1) * n_labels]) {
                *score += k * q;
            }
        });
    }
}

/// `exp(s_l) / Σ exp(s)`
fn softmax(mut scores: Vec<f64>) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter_mut().for_each(|score| *score = (*score - most).exp());
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
    scores
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
