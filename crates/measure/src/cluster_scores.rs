//! How well clusters meet classes: purity, normalized mutual information, adjusted Rand index.

/// How often each cluster meets each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contingency {
    /// `[clusters, classes]`, row by row.
    counts: Vec<u64>,
    n_classes: usize,
}

impl Contingency {
    /// Counts samples by cluster and class.
    ///
    /// # Shapes
    /// Both `[n]`, ids counted from 0.
    ///
    /// # Panics
    /// If they differ in number, or there are none.
    pub fn of(clusters: &[u32], classes: &[u32]) -> Self {
        assert_eq!(clusters.len(), classes.len(), "cluster scores: clusters and classes differ in number");
        let most = |ids: &[u32]| ids.iter().max().map_or(0, |&id| id as usize + 1);
        let (n_clusters, n_classes) = (most(clusters), most(classes));
        assert!(n_clusters > 0, "cluster scores: no samples");
        let mut counts = vec![0; n_clusters * n_classes];
        for (&cluster, &class) in clusters.iter().zip(classes) {
            counts[cluster as usize * n_classes + class as usize] += 1;
        }
        Self { counts, n_classes }
    }

    fn n(&self) -> f64 {
        self.counts.iter().sum::<u64>() as f64
    }

    fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks_exact(self.n_classes)
    }

    fn by_cluster(&self) -> Vec<u64> {
        self.rows().map(|row| row.iter().sum()).collect()
    }

    fn by_class(&self) -> Vec<u64> {
        (0..self.n_classes).map(|class| self.rows().map(|row| row[class]).sum()).collect()
    }

    /// The share of samples that belong to the most frequent class of their cluster: `(1/n) Σ_c max_y n_cy`.
    ///
    /// It grows with the number of clusters alone, up to 1 where every sample is its own.
    ///
    /// # Source
    /// Zhao and Karypis, 2001.
    pub fn purity(&self) -> f64 {
        self.rows().map(|row| row.iter().max().copied().unwrap_or(0)).sum::<u64>() as f64 / self.n()
    }

    /// `2 I(y; c) / (H(y) + H(c))` in natural logarithms; 1 where both partitions are one single cluster.
    ///
    /// # Source
    /// Strehl and Ghosh, 2002; arithmetic mean of the entropies, as scikit-learn has it.
    pub fn nmi(&self) -> f64 {
        let n = self.n();
        let (clusters, classes) = (self.by_cluster(), self.by_class());
        let entropy = |counts: &[u64]| -> f64 {
            let shares = counts.iter().filter(|&&count| count > 0).map(|&count| count as f64 / n);
            shares.map(|share| -share * share.ln()).sum()
        };
        let both = entropy(&clusters) + entropy(&classes);
        if both == 0.0 {
            return 1.0;
        }
        let mut information = 0.0;
        for (row, &of_cluster) in self.rows().zip(&clusters) {
            for (&count, &of_class) in row.iter().zip(&classes).filter(|(count, _)| **count > 0) {
                let share = count as f64 / n;
                information += share * (share * n * n / (of_cluster as f64 * of_class as f64)).ln();
            }
        }
        (2.0 * information / both).max(0.0)
    }

    /// The Rand index, adjusted so that random partitions give 0:
    /// `(Σ C(n_cy, 2) − E) / (½ (Σ C(a_c, 2) + Σ C(b_y, 2)) − E)` with `E = Σ C(a_c, 2) Σ C(b_y, 2) / C(n, 2)`.
    ///
    /// 1 where both partitions are one single cluster, or every sample its own in both.
    ///
    /// # Source
    /// Hubert and Arabie, 1985.
    pub fn ari(&self) -> f64 {
        let pairs = |counts: &[u64]| -> f64 {
            counts.iter().map(|&count| count as f64 * (count as f64 - 1.0) / 2.0).sum()
        };
        let (together, clusters, classes) =
            (pairs(&self.counts), pairs(&self.by_cluster()), pairs(&self.by_class()));
        let n = self.n();
        let expected = clusters * classes / (n * (n - 1.0) / 2.0).max(1.0);
        let most = (clusters + classes) / 2.0;
        if most == expected { 1.0 } else { (together - expected) / (most - expected) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn six_samples_by_hand() {
        // Cluster 0 holds classes 0 0 1, cluster 1 holds 1 1 1.
        let counts = Contingency::of(&[0, 0, 0, 1, 1, 1], &[0, 0, 1, 1, 1, 1]);
        assert_eq!(counts.purity(), 5.0 / 6.0);
        // I = 1/3 ln 2 + 1/6 ln(1/2) + 1/2 ln(3/2); H(c) = ln 2, H(y) = ln 3 − 2/3 ln 2.
        let (ln2, ln3) = (2.0f64.ln(), 3.0f64.ln());
        let information = ln2 / 3.0 - ln2 / 6.0 + (ln3 - ln2) / 2.0;
        assert!((counts.nmi() - 2.0 * information / (ln2 + ln3 - 2.0 / 3.0 * ln2)).abs() < 1e-12);
        // Pairs together: 1 + 3; of clusters 3 + 3, of classes 1 + 6, E = 6 · 7 / 15 = 2.8: (4 − 2.8) / (6.5 − 2.8).
        assert!((counts.ari() - 1.2 / 3.7).abs() < 1e-12);
    }

    #[test]
    fn partitions_that_say_nothing() {
        let one = Contingency::of(&[0; 4], &[0; 4]);
        assert_eq!((one.purity(), one.nmi(), one.ari()), (1.0, 1.0, 1.0));
        let single = Contingency::of(&[0], &[0]);
        assert_eq!((single.nmi(), single.ari()), (1.0, 1.0));
        let blind = Contingency::of(&[0; 4], &[0, 0, 1, 1]);
        assert_eq!((blind.purity(), blind.nmi(), blind.ari()), (0.5, 0.0, 0.0));
    }

    proptest! {
        #[test]
        fn names_of_clusters_do_not_matter_and_scores_are_in_range(
            ids in proptest::collection::vec((0u32..4, 0u32..5), 2..60)
        ) {
            let (clusters, classes): (Vec<u32>, Vec<u32>) = ids.into_iter().unzip();
            let counts = Contingency::of(&clusters, &classes);
            let renamed: Vec<u32> = clusters.iter().map(|id| 3 - id).collect();
            let other = Contingency::of(&renamed, &classes);
            prop_assert!((counts.nmi() - other.nmi()).abs() < 1e-12);
            prop_assert!((counts.ari() - other.ari()).abs() < 1e-12);
            prop_assert_eq!(counts.purity(), other.purity());
            prop_assert!((0.0..=1.0 + 1e-12).contains(&counts.nmi()) && counts.ari() <= 1.0 + 1e-12);
            let same = Contingency::of(&classes, &classes);
            prop_assert!((same.nmi() - 1.0).abs() < 1e-12 && (same.ari() - 1.0).abs() < 1e-12);
        }
    }
}
