//! Clips one after another: which frame of which clip a sample is.

use crate::Frame;

/// Where clips begin among the samples.
pub(super) struct Clips {
    /// The first sample of every clip, and the number of samples.
    starts: Vec<usize>,
}

impl Clips {
    /// Clips of these lengths.
    pub(super) fn of_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        for length in lengths {
            end += length;
            starts.push(end);
        }
        Self { starts }
    }

    /// The number of samples.
    pub(super) fn n_samples(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The place of a sample.
    ///
    /// # Panics
    /// When there is no such sample.
    pub(super) fn locate(&self, index: usize) -> Frame {
        assert!(index < self.n_samples(), "sample {index} of {}", self.n_samples());
        let clip = self.starts.partition_point(|&start| start <= index) - 1;
        Frame { clip, frame: index - self.starts[clip] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_in_their_clips() {
        let clips = Clips::of_lengths([2, 0, 3]);
        let places: Vec<_> = (0..clips.n_samples()).map(|index| clips.locate(index)).collect();
        let at = |clip, frame| Frame { clip, frame };
        assert_eq!(places, [at(0, 0), at(0, 1), at(2, 0), at(2, 1), at(2, 2)]);
        assert_eq!(Clips::of_lengths([]).n_samples(), 0);
    }
}
