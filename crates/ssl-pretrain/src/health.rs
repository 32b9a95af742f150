//! What tells whether self-distillation is in good health: entropies, spreads, ranks.

use crate::heads::ProjectionHead;
use burn::tensor::Tensor;
use vit_core::{Look, Pass, Seen, Site, Vit, VitConfig};

/// Rows that are looked at, of a larger batch the first.
const MAX_ROWS: usize = 128;

/// Images of which attention is looked at.
const MAX_IMAGES: usize = 16;

/// What a step leaves to look at, on a plain device.
pub(crate) struct Vitals {
    /// `[G·B, K]`
    pub targets: Tensor<2>,
    /// `[G·B, D]`: the teacher's class tokens.
    pub features: Tensor<2>,
    /// `[1]`: the loss of class targets, before its weight.
    pub class_loss: Tensor<1>,
}

impl Vitals {
    /// This and what a later part of the batch leaves; as it is where it has as many rows as are looked at.
    pub(crate) fn merge(self, later: Self) -> Self {
        let (n, n_later) = (self.targets.dims()[0], later.targets.dims()[0]);
        if n >= MAX_ROWS {
            return self;
        }
        let share = n as f64 / (n + n_later) as f64;
        Self {
            targets: Tensor::cat(vec![self.targets, later.targets], 0),
            features: Tensor::cat(vec![self.features, later.features], 0),
            class_loss: self.class_loss.mul_scalar(share) + later.class_loss.mul_scalar(1.0 - share),
        }
    }

    /// The readings, by name; see the book's page on training for what they mean.
    pub(crate) fn readings(&self, head: &ProjectionHead) -> Vec<(&'static str, f64)> {
        let [n, k] = self.targets.dims();
        let ln_k = (k as f64).ln();
        let targets = host(self.targets.clone());
        let own = targets.chunks_exact(k).map(entropy).sum::<f64>() / n as f64;
        let mut mean = vec![0.0f64; k];
        for row in targets.chunks_exact(k) {
            mean.iter_mut().zip(row).for_each(|(sum, &q)| *sum += f64::from(q) / n as f64);
        }
        let of_mean = mean.iter().filter(|&&q| q > 0.0).map(|q| -q * q.ln()).sum::<f64>();
        let class_loss = f64::from(self.class_loss.clone().into_scalar::<f32>());

        let [n, d] = self.features.dims();
        let n = n.min(MAX_ROWS);
        let features = self.features.clone().slice([0..n, 0..d]);
        let sphere = head.sphere(features.clone());
        let bottleneck = sphere.dims()[1];
        let features = host(features);
        vec![
            ("teacher_entropy", own),
            ("teacher_entropy_gap", ln_k - own),
            ("teacher_entropy_share", own / ln_k),
            ("mean_target_entropy_share", of_mean / ln_k),
            ("class_loss_share", class_loss / ln_k),
            ("feature_std", spread(&features, d)),
            ("head_std", spread(&host(sphere), bottleneck)),
            ("rank_me", measure::rank::rank_me(&features, d)),
        ]
    }
}

/// `−Σ q·log q`
fn entropy(q: &[f32]) -> f64 {
    q.iter().filter(|&&q| q > 0.0).map(|&q| -f64::from(q) * f64::from(q).ln()).sum()
}

/// How far rows of length 1 are spread: `√(Σ over d of the variance of x/‖x‖)`; 0 where all are the same, 1 where they
/// fill the sphere evenly.
fn spread(rows: &[f32], d: usize) -> f64 {
    let n = rows.len() / d;
    let mut mean = vec![0.0f64; d];
    let mut squares = 0.0;
    for row in rows.chunks_exact(d) {
        let length = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-12);
        for (mean, &x) in mean.iter_mut().zip(row) {
            *mean += f64::from(x) / length / n as f64;
        }
        squares += 1.0 / n as f64;
    }
    (squares - mean.iter().map(|mean| mean * mean).sum::<f64>()).max(0.0).sqrt()
}

/// How far the pixels of two views of one image are apart, over how far those of two images are: mean squared distances,
/// each image beside the next. Nothing where there is one image, or all look the same.
///
/// # Shapes
/// - both `[B, 3, H, W]`
pub(crate) fn view_distance(first: Tensor<4>, second: Tensor<4>) -> Option<(&'static str, f64)> {
    let [b, c, height, width] = first.dims();
    let few = |view: Tensor<4>| host(view.slice([0..b.min(MAX_IMAGES), 0..c, 0..height, 0..width]));
    let (first, second) = (few(first), few(second));
    let n_values = c * height * width;
    let row = |rows: &[f32], at: usize| rows[at * n_values..][..n_values].to_vec();
    let between = |a: Vec<f32>, b: Vec<f32>| {
        a.iter().zip(b).map(|(&a, b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>()
    };
    let n = first.len() / n_values;
    let same: f64 = (0..n).map(|at| between(row(&first, at), row(&second, at))).sum();
    let other: f64 = (0..n).map(|at| between(row(&first, at), row(&second, (at + 1) % n))).sum();
    (n > 1 && other > 0.0).then(|| ("view_distance", same / other))
}

/// The attention of the last block's class token to patches.
pub(crate) struct ClassAttention {
    site: Site,
    n_prefix: usize,
    /// `[B, heads, N]`
    seen: Option<Tensor<3>>,
}

impl ClassAttention {
    pub(crate) fn of_last_block(config: &VitConfig) -> Self {
        Self { site: Site::Attention(config.depth - 1), n_prefix: config.n_prefix(), seen: None }
    }

    /// `[B, heads, N]`
    fn taken(self) -> Tensor<3> {
        match self.seen {
            Some(seen) => seen,
            None => panic!("the last block was not passed"),
        }
    }

    /// `[B, N]` row by row; not renormalized.
    pub(crate) fn mean_over_heads(self) -> Vec<f32> {
        let attention = self.taken();
        let [b, _, n] = attention.dims();
        host(attention.mean_dim(1).reshape([b, n]))
    }

    /// The mean entropy, in nats, of the attention of the last block's class token to the patches of a few images, each
    /// head's made to sum to 1.
    pub(crate) fn entropy_on(vit: &Vit, pixels: Tensor<4>) -> Option<(&'static str, f64)> {
        let [b, c, height, width] = pixels.dims();
        let few = pixels.slice([0..b.min(MAX_IMAGES), 0..c, 0..height, 0..width]);
        let mut look = Self::of_last_block(&vit.config);
        vit.encode(few, &mut Pass::look(&mut look));
        let attention = look.taken();
        let [b, heads, n] = attention.dims();
        let attention = attention.clone() / attention.sum_dim(2).clamp_min(1e-12);
        let rows = host(attention.reshape([b * heads, n]));
        let mean = rows.chunks_exact(n).map(entropy).sum::<f64>() / (b * heads) as f64;
        Some(("attention_entropy", mean))
    }
}

impl Look for ClassAttention {
    fn wants(&self, site: Site) -> bool {
        site == self.site
    }

    fn see(&mut self, _: Site, seen: Seen) {
        let attention = seen.heads(); // [B, heads, T, T]
        let [b, heads, t, _] = attention.dims();
        let row = attention.slice([0..b, 0..heads, 0..1, self.n_prefix..t]);
        self.seen = Some(row.reshape([b, heads, t - self.n_prefix]));
    }
}

fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    match x.into_data().try_to_vec::<f32>() {
        Ok(values) => values,
        Err(error) => panic!("activations are f32: {error:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_zero_of_equal_rows_and_one_of_opposite_ones() {
        assert!(spread(&[3.0, 4.0, 6.0, 8.0], 2) < 1e-6);
        assert!((spread(&[1.0, 0.0, -2.0, 0.0], 2) - 1.0).abs() < 1e-9);
        // (1, 0) and (0, 1): the mean has length √½, so the spread is √(1 − ½).
        assert!((spread(&[1.0, 0.0, 0.0, 1.0], 2) - 0.5f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn views_are_as_far_apart_as_worked_by_hand() {
        // Two images of one pixel each.
        let pixels = |values: [f32; 6]| {
            let data = burn::tensor::TensorData::new(values.to_vec(), [2, 3, 1, 1]);
            Tensor::<4>::from_data(data, &vit_ops::cpu_device())
        };
        let (black_red, white) = ([0.0, 0.0, 0.0, 1.0, 0.0, 0.0], [1.0; 6]);
        let of = |a, b| view_distance(pixels(a), pixels(b)).map(|(_, distance)| distance);
        assert_eq!(of(black_red, black_red), Some(0.0));
        assert_eq!(of(white, white), None);
        // Black to white 3, red to white 2; the same between images, as the second view is white twice.
        assert_eq!(of(black_red, white), Some(1.0));
    }

    #[test]
    fn the_entropy_of_an_even_target_is_ln_k() {
        assert!((entropy(&[0.25; 4]) - 4f64.ln()).abs() < 1e-9);
        assert!(entropy(&[0.0, 1.0]).abs() < 1e-12);
    }
}
