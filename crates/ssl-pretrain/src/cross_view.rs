//! The losses of self-distillation: cross-entropy between views, and between the masked patches of one view.

use burn::tensor::{Tensor, TensorData};

/// Mean over all pairs of a target view and another student view of `−Σ q·log softmax(s/τ)`, mean over the batch.
///
/// `1/(G·(V − 1)) Σ_i<G Σ_v≠i mean over B of −Σ_k q_i log p_v`
///
/// # Shapes
/// - `student`: `[V, B, K]` logits of all views, those that have targets first; `targets`: `[G, B, K]`, not
///   differentiated; result `[1]`
///
/// # Panics
/// When batch or prototypes disagree, or there is no pair.
///
/// # Source
/// Caron et al., Emerging Properties in Self-Supervised Vision Transformers.
pub fn cross_view_loss(student: Tensor<3>, targets: Tensor<3>, student_temp: f64) -> Tensor<1> {
    let [n_views, b, k] = student.dims();
    let [n_targets, target_b, target_k] = targets.dims();
    assert!(
        (b, k) == (target_b, target_k) && n_targets <= n_views && n_views > 1,
        "cross_view_loss: student {:?}, targets {:?}",
        student.dims(),
        targets.dims()
    );
    let n_pairs = n_targets * (n_views - 1);
    // What a view is compared with: the sum of the targets of all other views, so that each log p is made once.
    let target = |view: usize| targets.clone().slice([view..view + 1, 0..b, 0..k]); // [1, B, K]
    let others = |view: Option<usize>| {
        let others = (0..n_targets).filter(|&other| Some(other) != view).map(target);
        others.reduce(|sum, other| sum + other).unwrap_or_else(|| Tensor::zeros([1, b, k], &targets.device()))
    };
    let mut wanted: Vec<Tensor<3>> = (0..n_targets).map(|view| others(Some(view))).collect();
    if n_views > n_targets {
        wanted.push(others(None).expand([n_views - n_targets, b, k]));
    }
    let wanted = Tensor::cat(wanted, 0); // [V, B, K]
    let wanted = Tensor::from_inner(wanted.reshape([n_views * b, k]));
    let loss = vit_ops::cross_entropy(student.reshape([n_views * b, k]), wanted, student_temp);
    loss.div_scalar((n_pairs * b) as f64)
}

/// Which patches are masked, as rows of the flattened batch, and what each counts in the loss.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedRows {
    /// Indices into `[n·N]`, in order.
    pub rows: Vec<usize>,
    /// `1 / (masked patches of its image · n)` for each.
    pub weights: Vec<f32>,
}

impl MaskedRows {
    /// The masked patches of `n` images of `n_patches` each.
    ///
    /// # Panics
    /// When the mask does not divide into images.
    pub fn of(mask: &[bool], n_patches: usize) -> Self {
        assert!(n_patches > 0 && mask.len().is_multiple_of(n_patches), "masks: expected rows of {n_patches}");
        let n_images = mask.len() / n_patches;
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        for (image, mask) in mask.chunks_exact(n_patches).enumerate() {
            let n_masked = mask.iter().filter(|&&masked| masked).count();
            let masked = (0..n_patches).filter(|&patch| mask[patch]);
            rows.extend(masked.map(|patch| image * n_patches + patch));
            weights.extend(std::iter::repeat_n(1.0 / (n_masked * n_images) as f32, n_masked));
        }
        Self { rows, weights }
    }

    /// Picks them from `[n·N, D]`: `[M, D]`.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick(&self, from: Tensor<2>) -> Tensor<2> {
        assert!(!self.rows.is_empty(), "no masked patch to pick");
        vit_ops::gather_rows(from, self.rows.iter().map(|&row| row as u32).collect())
    }
}

/// Mean over images of the mean over masked patches of `−Σ q·log softmax(s/τ)`; an image without masked patches counts
/// as 0.
///
/// # Shapes
/// - `student`: `[M, K]` logits of the masked patches; `targets`: `[M, K]`, not differentiated; result `[1]`
///
/// # Panics
/// When the shapes disagree.
///
/// # Source
/// Zhou et al., iBOT: Image BERT Pre-Training with Online Tokenizer.
pub fn masked_patch_loss(
    student: Tensor<2>,
    targets: Tensor<2>,
    masked: &MaskedRows,
    student_temp: f64,
) -> Tensor<1> {
    let [m, _] = student.dims();
    assert!(
        student.dims() == targets.dims() && m == masked.weights.len(),
        "masked_patch_loss: student {:?}, targets {:?}, {} masked",
        student.dims(),
        targets.dims(),
        masked.weights.len()
    );
    let weights = Tensor::<2>::from_data(TensorData::new(masked.weights.clone(), [m, 1]), &targets.device());
    vit_ops::cross_entropy(student, Tensor::from_inner(targets * weights), student_temp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{RowSum, centered_targets, next_center};

    fn sines(n: usize, start: f64, step: f64) -> Vec<f32> {
        (0..n).map(|i| (start + step * i as f64).sin() as f32).collect()
    }

    fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), &vit_ops::cpu_device())
    }

    fn scalar(x: Tensor<1>) -> f64 {
        f64::from(x.into_scalar::<f32>())
    }

    #[test]
    fn one_pair_of_views_is_worked_by_hand() {
        // Two views of one image, K = 2, τ = 1. Targets (1, 0) and (½, ½). Student logits (0, 0) → −log ½ each, and
        // (ln 3, 0) → p = (¾, ¼). Pairs: target 0 with view 1: −log ¾; target 1 with view 0: −log ½. Mean of both.
        let targets = tensor(vec![1.0, 0.0, 0.5, 0.5], [2, 1, 2]);
        let student = tensor(vec![0.0, 0.0, 3f32.ln(), 0.0], [2, 1, 2]);
        let expected = 0.5 * (-(0.75f64.ln()) - 0.5f64.ln());
        let found = scalar(cross_view_loss(student, targets, 1.0));
        assert!((found - expected).abs() < 1e-6, "{found} against {expected}");
    }

    #[test]
    fn the_loss_over_views_and_its_center_are_the_published_ones() {
        // Anchor E1: teacher sin(0.2 + 0.37·i) as 2 crops of 2 images with K = 3, student sin(1.1 + 0.37·i) as 3 crops.
        let teacher = tensor(sines(12, 0.2, 0.37), [4, 3]);
        let center = tensor(vec![0.05, -0.02, 0.01], [1, 3]);
        let targets = centered_targets(teacher.clone(), &center, 0.04).reshape([2, 2, 3]);
        let found = scalar(cross_view_loss(tensor(sines(18, 1.1, 0.37), [3, 2, 3]), targets, 0.1));
        assert!((found - 3.047047).abs() < 1e-5, "{found}");
        let center: Vec<f32> =
            next_center(center, RowSum::of(&teacher), 0.9).into_data().try_to_vec().expect("f32");
        for (ours, expected) in center.iter().zip([0.081168, 0.011758, 0.028320]) {
            assert!((ours - expected).abs() < 1e-5, "{ours} against {expected}");
        }
    }

    #[test]
    fn the_loss_over_patches_and_its_center_are_the_published_ones() {
        // Anchor M1: teacher patch n of image b is sin(0.2 + 0.5·(3b + n) + 0.37·k), the student's with 1.3 and 0.7.
        let patches = |start: f64, step: f64| {
            tensor((0..6).flat_map(|i| sines(3, start + step * f64::from(i), 0.37)).collect(), [6, 3])
        };
        let (teacher, student) = (patches(0.2, 0.5), patches(1.3, 0.7));
        let center = tensor(vec![0.02, -0.01, 0.03], [1, 3]);
        let masked = MaskedRows::of(&[true, true, false, true, false, false], 3);
        let targets = masked.pick(centered_targets(teacher.clone(), &center, 0.05));
        let found = scalar(masked_patch_loss(masked.pick(student), targets, &masked, 0.1));
        assert!((found - 1.905339).abs() < 1e-5, "{found}");
        let center: Vec<f32> =
            next_center(center, RowSum::of(&teacher), 0.9).into_data().try_to_vec().expect("f32");
        for (ours, expected) in center.iter().zip([0.084708, 0.056122, 0.081722]) {
            assert!((ours - expected).abs() < 1e-5, "{ours} against {expected}");
        }
    }

    #[test]
    fn patches_that_are_alike_have_the_loss_of_one() {
        // Anchor E2: two classes, logits 0.1 apart on both sides, so p = σ(0.1 / 0.1) = 0.731059 for the teacher and
        // σ(0.1 / 0.2) = 0.622459 for the student: −p ln q − (1 − p) ln(1 − q) = 0.608548 for each of the three patches.
        let logits = || tensor(vec![0.1, 0.2, 0.2, 0.3, 0.3, 0.4], [3, 2]);
        let masked = MaskedRows::of(&[true, true, true, false], 2);
        let targets = centered_targets(logits(), &Tensor::zeros([1, 2], &vit_ops::cpu_device()), 0.1);
        let found = scalar(masked_patch_loss(logits(), targets, &masked, 0.2));
        assert!((found - 0.608548).abs() < 1e-6, "{found}");
    }

    #[test]
    fn an_image_without_masked_patches_counts_as_zero() {
        let masked = MaskedRows::of(&[false, false, true, true], 2);
        assert_eq!(masked, MaskedRows { rows: vec![2, 3], weights: vec![0.25, 0.25] });
    }

    #[test]
    fn a_student_that_says_nothing_has_the_loss_ln_k() {
        // Anchor E3.
        for (k, ln_k) in [(1024, 6.931472), (4096, 8.317766), (8192, 9.010913), (65536, 11.090355)] {
            let student = Tensor::zeros([3, 2, k], &vit_ops::cpu_device());
            let targets = tensor(sines(2 * 2 * k, 0.1, 0.37), [4, k]);
            let targets = burn::tensor::activation::softmax(targets, 1).reshape([2, 2, k]);
            let found = scalar(cross_view_loss(student, targets, 0.1));
            assert!((found - ln_k).abs() < 1e-4, "K = {k}: {found}");
        }
    }
}
