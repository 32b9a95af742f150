//! Which class is taken for which.

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// How often each class was predicted for each true class.
///
/// # Shapes
/// `counts`: `[K, K]`, rows are true classes, columns predicted ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Samples.
    pub counts: Array2<usize>,
}

impl Confusion {
    /// Nothing yet.
    ///
    /// # Panics
    /// Never.
    ///
    /// # Source
    /// Definition.
    pub fn nothing(n_classes: usize) -> Self {
        Self { counts: Array2::zeros((n_classes, n_classes)) }
    }

    /// Counts one pair of truth and prediction more.
    ///
    /// # Panics
    /// If a class is not among the classes.
    ///
    /// # Source
    /// Definition.
    pub fn add(&mut self, label: u32, predicted: u32) {
        self.counts[[label as usize, predicted as usize]] += 1;
    }

    /// Counts pairs of truth and prediction.
    ///
    /// # Shapes
    /// `labels`, `predicted`: `[n]`, below `n_classes`.
    ///
    /// # Panics
    /// If they differ in number, or a class is not below `n_classes`.
    ///
    /// # Source
    /// Definition.
    pub fn of(labels: &[u32], predicted: &[u32], n_classes: usize) -> Self {
        assert_eq!(labels.len(), predicted.len(), "confusion: labels and predictions differ in number");
        let mut counts = Array2::zeros((n_classes, n_classes));
        for (&label, &predicted) in labels.iter().zip(predicted) {
            counts[[label as usize, predicted as usize]] += 1;
        }
        Self { counts }
    }

    /// Counts the pixels of a map; those whose truth is not among the classes (void) are left out.
    ///
    /// # Shapes
    /// Both `[n]`.
    ///
    /// # Panics
    /// If they differ in number, or what is found is not among the classes.
    ///
    /// # Source
    /// PASCAL VOC: void pixels do not count.
    pub fn add_pixels(&mut self, truth: &[u8], found: &[u8]) {
        assert_eq!(truth.len(), found.len(), "confusion: truth and what is found differ in size");
        let k = self.counts.nrows();
        for (&truth, &found) in truth.iter().zip(found).filter(|(truth, _)| usize::from(**truth) < k) {
            self.counts[[usize::from(truth), usize::from(found)]] += 1;
        }
    }

    /// What clusters make of the classes when each stands for one.
    ///
    /// # Shapes
    /// `counts`: how many samples of a cluster are of a class, `[clusters, K]`; `class_of`: `[clusters]`, below `K`.
    ///
    /// # Panics
    /// If the clusters differ in number, or a class is not below `K`.
    ///
    /// # Source
    /// Definition.
    pub fn of_clusters(counts: ArrayView2<usize>, class_of: &[usize]) -> Self {
        assert_eq!(
            counts.nrows(),
            class_of.len(),
            "confusion: counts and classes of clusters differ in number"
        );
        let mut confusion = Self::nothing(counts.ncols());
        for (row, &class) in counts.rows().into_iter().zip(class_of) {
            confusion.counts.column_mut(class).zip_mut_with(&row, |sum, &count| *sum += count);
        }
        confusion
    }

    /// Samples of a class.
    pub fn n_true(&self, class: usize) -> usize {
        self.counts.row(class).sum()
    }

    /// Samples that were taken for a class.
    pub fn n_predicted(&self, class: usize) -> usize {
        self.counts.column(class).sum()
    }

    /// The share of a class's samples that was recognized; none where it has no samples.
    pub fn recall(&self, class: usize) -> Option<f64> {
        let n = self.n_true(class);
        (n > 0).then(|| self.counts[[class, class]] as f64 / n as f64)
    }

    /// The share of what was taken for a class that is of it; none where nothing was.
    pub fn precision(&self, class: usize) -> Option<f64> {
        let n = self.n_predicted(class);
        (n > 0).then(|| self.counts[[class, class]] as f64 / n as f64)
    }

    /// The mean of the recalls over the classes that have samples: every class counts alike, however many it has.
    ///
    /// # Panics
    /// If there are no samples.
    pub fn mean_recall(&self) -> f64 {
        let recalls: Vec<f64> = (0..self.counts.nrows()).filter_map(|class| self.recall(class)).collect();
        assert!(!recalls.is_empty(), "mean_recall: no samples");
        recalls.iter().sum::<f64>() / recalls.len() as f64
    }

    /// Intersection over union of what is of a class and what was taken for it, `tp / (tp + fp + fn)`; none where there is
    /// neither.
    ///
    /// # Panics
    /// If there is no such class.
    ///
    /// # Source
    /// Everingham et al., the PASCAL VOC challenge.
    pub fn iou(&self, class: usize) -> Option<f64> {
        let both = self.counts[[class, class]];
        let either = self.n_true(class) + self.n_predicted(class) - both;
        (either > 0).then(|| both as f64 / either as f64)
    }

    /// The mean IoU over the classes that there are, in truth or prediction.
    ///
    /// # Panics
    /// If there are no samples.
    ///
    /// # Source
    /// The usual mIoU; a class that is nowhere does not count.
    pub fn mean_iou(&self) -> f64 {
        let ious: Vec<f64> = (0..self.counts.nrows()).filter_map(|class| self.iou(class)).collect();
        assert!(!ious.is_empty(), "mean_iou: no samples");
        ious.iter().sum::<f64>() / ious.len() as f64
    }

    /// The mean IoU over all classes; a class that is nowhere counts 0.
    ///
    /// # Panics
    /// If there is no class.
    ///
    /// # Source
    /// Leopart's evaluation, where an absent class is `0 / 1e-8`.
    pub fn mean_iou_of_all(&self) -> f64 {
        let n_classes = self.counts.nrows();
        assert!(n_classes > 0, "mean_iou_of_all: no class");
        (0..n_classes).filter_map(|class| self.iou(class)).sum::<f64>() / n_classes as f64
    }

    /// The share of samples that were recognized.
    ///
    /// # Panics
    /// If there are no samples.
    ///
    /// # Source
    /// Pixel accuracy, where samples are pixels.
    pub fn accuracy(&self) -> f64 {
        let n = self.counts.sum();
        assert!(n > 0, "accuracy: no samples");
        self.counts.diag().sum() as f64 / n as f64
    }

    /// For what a class is taken most often when it is not recognized, and how often; lower ids first.
    pub fn worst_mistake(&self, class: usize) -> Option<(usize, usize)> {
        let others = self.counts.row(class).into_iter().copied().enumerate();
        let others = others.filter(|&(other, count)| other != class && count > 0);
        others.max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(&a.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn pixels_and_clusters_by_hand() {
        let mut confusion = Confusion::nothing(2);
        confusion.add_pixels(&[0, 1, 255, 1], &[0, 0, 1, 1]);
        assert_eq!(confusion.counts, array![[1, 0], [1, 1]]);
        // Clusters 0 and 2 stand for class 1: of class 0 they hold 1 + 2, of class 1 they hold 5 + 3.
        let of = Confusion::of_clusters(array![[1, 5], [4, 0], [2, 3]].view(), &[1, 0, 1]);
        assert_eq!(of.counts, array![[4, 3], [0, 8]]);
    }

    #[test]
    fn counts_recall_and_precision_by_hand() {
        let confusion = Confusion::of(&[0, 0, 0, 1, 1, 0], &[0, 1, 2, 1, 0, 0], 4);
        assert_eq!(confusion.counts, array![[2, 1, 1, 0], [1, 1, 0, 0], [0; 4], [0; 4]]);
        assert_eq!(
            (confusion.recall(0), confusion.recall(1), confusion.recall(2)),
            (Some(0.5), Some(0.5), None)
        );
        assert_eq!((confusion.precision(0), confusion.precision(2)), (Some(2.0 / 3.0), Some(0.0)));
        assert_eq!((confusion.precision(3), confusion.mean_recall()), (None, 0.5));
        // IoU: class 0 has 2 of 4 + 3 - 2; class 1 has 1 of 2 + 2 - 1; class 2 has 0 of 1; class 3 is nowhere.
        assert_eq!((confusion.iou(0), confusion.iou(2), confusion.iou(3)), (Some(0.4), Some(0.0), None));
        assert!((confusion.mean_iou() - (0.4 + 1.0 / 3.0) / 3.0).abs() < 1e-12);
        assert!((confusion.mean_iou_of_all() - (0.4 + 1.0 / 3.0) / 4.0).abs() < 1e-12);
        assert_eq!(confusion.accuracy(), 0.5);
        // Classes 1 and 2 were predicted once each for class 0: the lower id.
        assert_eq!((confusion.worst_mistake(0), confusion.worst_mistake(3)), (Some((1, 1)), None));
    }
}
