//! Which class is taken for which.

use ndarray::Array2;

/// How often each class was predicted for each true class.
///
/// # Shapes
/// `counts`: `[K, K]`, rows are true classes, columns predicted ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    /// Samples.
    pub counts: Array2<usize>,
}

impl Confusion {
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
    fn counts_recall_and_precision_by_hand() {
        let confusion = Confusion::of(&[0, 0, 0, 1, 1, 0], &[0, 1, 2, 1, 0, 0], 4);
        assert_eq!(confusion.counts, array![[2, 1, 1, 0], [1, 1, 0, 0], [0; 4], [0; 4]]);
        assert_eq!(
            (confusion.recall(0), confusion.recall(1), confusion.recall(2)),
            (Some(0.5), Some(0.5), None)
        );
        assert_eq!((confusion.precision(0), confusion.precision(2)), (Some(2.0 / 3.0), Some(0.0)));
        assert_eq!((confusion.precision(3), confusion.mean_recall()), (None, 0.5));
        // Classes 1 and 2 were predicted once each for class 0: the lower id.
        assert_eq!((confusion.worst_mistake(0), confusion.worst_mistake(3)), (Some((1, 1)), None));
    }
}
