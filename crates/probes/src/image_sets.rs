//! Images of a class that are looked at together, and the clusters of their patches that are salient in most of them.

use crate::attended::Attended;
use crate::dense::{Kept, Reading};
use crate::patches::is_held_out;
use crate::random_field::{Pictures, Refine, nearest_squared};
use measure::kmeans::{KMeans, elbow};
use measure::nearest::l2_normalize_rows;
use ndarray::{Array2, ArrayView1, Axis, Slice, concatenate};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vit_core::{Seen, Site};
use vit_features::{BatchInfo, Select, Shapes, StudyError, Taken};

/// How what images have in common is found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Common {
    pub(crate) every: usize,
    pub(crate) max_clusters: usize,
    pub(crate) elbow: f64,
    pub(crate) saliency: f64,
    pub(crate) votes: f64,
    pub(crate) n_starts: usize,
    pub(crate) seed: u64,
}

/// The patches, the truth and the attention of the test side.
#[derive(Serialize, Deserialize)]
pub(crate) struct ImageSets {
    pub(crate) reading: Reading,
    pub(crate) wanted: Vec<Select>,
    pub(crate) test: Kept,
    attended: Attended,
    /// Where borders are refined.
    pictures: Option<Pictures>,
}

/// What the images of a set have in common.
pub(crate) struct Salient {
    /// `[images · N]` of the set.
    pub(crate) marked: Vec<bool>,
    pub(crate) n_clusters: usize,
    /// `[clusters, D]`, the centers of clusters that have patches, of rows of length 1.
    pub(crate) centers: Array2<f64>,
    /// Whether each of them had the votes of most images.
    pub(crate) is_salient: Vec<bool>,
}

impl Salient {
    /// How far a patch is from the nearest cluster that is salient, or from the nearest that is not.
    pub(crate) fn squared_to(&self, row: ArrayView1<f32>, salient: bool) -> f64 {
        let centers = self.centers.rows().into_iter().zip(&self.is_salient);
        nearest_squared(row, centers.filter(|(_, is)| **is == salient).map(|(center, _)| center))
    }
}

/// Sets by which a layer is chosen, and those that count.
pub(crate) struct PerSet<T> {
    pub(crate) choosing: Vec<T>,
    pub(crate) counting: Vec<T>,
}

impl<T> PerSet<T> {
    /// One in four chooses.
    pub(crate) fn split(all: impl Iterator<Item = T>) -> Self {
        let (choosing, counting): (Vec<_>, Vec<_>) =
            all.enumerate().partition(|(rank, _)| is_held_out(*rank));
        let only = |ranked: Vec<(usize, T)>| ranked.into_iter().map(|(_, one)| one).collect();
        Self { choosing: only(choosing), counting: only(counting) }
    }
}

impl ImageSets {
    pub(crate) fn new(
        study: &'static str,
        reading: Reading,
        wanted: Vec<Select>,
        (memory_bytes, refine): (usize, Refine),
        shapes: &Shapes,
    ) -> Self {
        let pictures = (refine == Refine::Crf).then(|| Pictures::new(reading.eval_px, shapes.normalize));
        Self {
            reading,
            wanted,
            test: Kept::new(study, memory_bytes),
            attended: Attended::new(shapes),
            pictures,
        }
    }

    pub(crate) fn see(
        &mut self,
        study: &str,
        site: Site,
        seen: &Seen,
        info: &BatchInfo,
    ) -> Result<(), StudyError> {
        self.attended.see(study, site, seen, info)
    }

    /// Keeps the images of a batch.
    pub(crate) fn push(&mut self, study: &str, taken: &Taken) -> Result<(), StudyError> {
        for image in 0..taken.info.indices.len() {
            let eval = (self.reading.eval_px, self.reading.eval_px);
            let truth = self.reading.truth(study, &taken.info, image, eval)?;
            self.test.push(study, taken, image, &truth, &self.wanted)?;
            if let (Some(pictures), Some((shape, values))) =
                (&mut self.pictures, taken.features.get(&Select::PIXELS))
            {
                pictures.push(&values[image * shape[1]..(image + 1) * shape[1]]);
            }
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, later: Self) {
        self.test.append(later.test);
        self.attended.append(later.attended);
        if let (Some(pictures), Some(later)) = (&mut self.pictures, later.pictures) {
            pictures.append(later);
        }
    }

    /// Whether borders are refined.
    pub(crate) fn refines(&self) -> bool {
        self.pictures.is_some()
    }

    /// The label of every pixel of the images of a set, where borders are refined; of a single label there is nothing to refine.
    ///
    /// # Shapes
    /// `unary`: `[images · N, labels]`; the result is `[images · pixels]`.
    pub(crate) fn refined(&self, set: &[usize], unary: &Array2<f64>) -> Option<Vec<usize>> {
        let (pictures, n, cells) = (self.pictures.as_ref()?, self.reading.n_patches(), self.reading.cells());
        let of_image = |(at, &image): (usize, &usize)| {
            let own = unary.slice_axis(Axis(0), Slice::from(at * n..(at + 1) * n));
            pictures.labels(image, own, &cells)
        };
        Some(set.iter().enumerate().flat_map(of_image).collect())
    }

    /// The truth of an image, by its rank.
    pub(crate) fn truth(&self, image: usize) -> &[u8] {
        let n = self.reading.n_pixels();
        &self.test.truths[image * n..(image + 1) * n]
    }

    /// Images of a class, up to `set_size` at a time, by their ranks; sets of a single image are left out.
    ///
    /// # Errors
    /// When there are fewer than 2 sets.
    pub(crate) fn by_class(&self, study: &str, set_size: usize) -> Result<Vec<Vec<usize>>, StudyError> {
        let mut of_class: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (image, label) in self.test.labels.iter().enumerate() {
            of_class.entry(label.unwrap_or(0)).or_default().push(image);
        }
        let sets: Vec<Vec<usize>> =
            of_class.values().flat_map(|images| images.chunks(set_size)).map(<[usize]>::to_vec).collect();
        let sets: Vec<Vec<usize>> = sets.into_iter().filter(|set| set.len() > 1).collect();
        match sets.len() {
            ..2 => Err(StudyError::Value {
                study: study.into(),
                expected:
                    "at least 2 sets of 2 or more images of a class, one in four of which chooses the layer"
                        .into(),
                found: sets.len().to_string(),
            }),
            _ => Ok(sets),
        }
    }

    /// The patches of the images of a set, each of length 1, `[images · N, D]`; only they are read.
    ///
    /// # Errors
    /// When features cannot be read.
    pub(crate) fn patches_of(&self, select: Select, set: &[usize]) -> Result<Array2<f32>, StudyError> {
        let n = self.reading.n_patches();
        let images = set.iter().map(|&image| self.test.patches_of(select, image, n));
        let images = images.collect::<Result<Vec<_>, _>>()?;
        let views: Vec<_> = images.iter().map(|image| image.view()).collect();
        match concatenate(Axis(0), &views) {
            Ok(rows) => Ok(l2_normalize_rows(rows.view())),
            Err(error) => panic!("images of one width: {error}"),
        }
    }

    /// The clusters of each set that are salient in most of its images.
    ///
    /// # Errors
    /// When features cannot be read.
    pub(crate) fn salient(
        &self,
        select: Select,
        sets: &[Vec<usize>],
        how: &Common,
    ) -> Result<Vec<Salient>, StudyError> {
        let (n, saliency) = (self.reading.n_patches(), self.attended.scaled(&self.reading));
        let of_set = |set: &Vec<usize>| {
            let rows = self.patches_of(select, set)?;
            let drawn: Vec<usize> = (0..rows.nrows()).step_by(how.every).collect();
            let fit = KMeans { n_starts: how.n_starts, ..KMeans::new(1, how.seed) };
            let found =
                elbow(rows.select(Axis(0), &drawn).view(), rows.view(), how.max_clusters, how.elbow, &fit);
            let k = found.centers.nrows();
            let mut votes = vec![0usize; k];
            for (at, &image) in set.iter().enumerate() {
                let own = &found.of[at * n..(at + 1) * n];
                for cluster in voted(own, &saliency[image * n..(image + 1) * n], k, how.saliency) {
                    votes[cluster] += 1;
                }
            }
            let needed = (how.votes * set.len() as f64).ceil() as usize;
            let is_salient: Vec<bool> = votes.iter().map(|&votes| votes >= needed.max(1)).collect();
            let marked = found.of.iter().map(|&cluster| is_salient[cluster as usize]).collect();
            // A cluster without patches lies wherever it began, on another at times, and speaks for nothing.
            let filled: Vec<usize> = (0..k).filter(|&cluster| found.of.contains(&(cluster as u32))).collect();
            let centers = found.centers.select(Axis(0), &filled);
            let is_salient = filled.iter().map(|&cluster| is_salient[cluster]).collect();
            Ok(Salient { marked, n_clusters: k, centers, is_salient })
        };
        sets.par_iter().map(of_set).collect()
    }
}

/// The clusters whose mean saliency in an image is above a threshold.
fn voted(clusters: &[u32], saliency: &[f32], k: usize, threshold: f64) -> Vec<usize> {
    let (mut sums, mut n) = (vec![0.0; k], vec![0usize; k]);
    for (&cluster, &saliency) in clusters.iter().zip(saliency) {
        sums[cluster as usize] += f64::from(saliency);
        n[cluster as usize] += 1;
    }
    (0..k).filter(|&cluster| n[cluster] > 0 && sums[cluster] / n[cluster] as f64 > threshold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_by_hand() {
        // Means 0.3, 0.05, and nothing of cluster 2.
        assert_eq!(voted(&[0, 0, 1, 1], &[0.5, 0.1, 0.1, 0.0], 3, 0.065), [0]);
        let split = PerSet::split(0..6);
        assert_eq!((split.choosing, split.counting), (vec![1, 5], vec![0, 2, 3, 4]));
    }
}
