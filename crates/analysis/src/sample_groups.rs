//! Samples in groups of a fixed size, in the order of the data, whatever the batches in which they come.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// Columns of features whose samples wait until a group is full.
///
/// Memory: one group, `size · Σ widths · 4` bytes.
#[derive(Serialize, Deserialize)]
pub(crate) struct SampleGroups {
    size: usize,
    /// Width and waiting values of each column.
    columns: Vec<(usize, Vec<f32>)>,
    /// Samples in groups that are closed.
    pub(crate) n_closed: usize,
    /// How often parts were joined inside a group, so that groups are others than in one run.
    pub(crate) n_off_border: usize,
}

impl SampleGroups {
    /// Nothing waits.
    pub(crate) fn new(size: usize, widths: impl IntoIterator<Item = usize>) -> Self {
        let columns = widths.into_iter().map(|width| (width, Vec::new())).collect();
        Self { size, columns, n_closed: 0, n_off_border: 0 }
    }

    /// Adds the values of some samples to a column.
    pub(crate) fn push(&mut self, column: usize, values: &[f32]) {
        self.columns[column].1.extend_from_slice(values);
    }

    /// Samples of which every column is there.
    fn n_waiting(&self) -> usize {
        self.columns.iter().map(|(width, values)| values.len() / width).min().unwrap_or(0)
    }

    /// Hands over every group that is full, `[size, width]` of each column.
    pub(crate) fn close_full(&mut self, close: &mut dyn FnMut(&[ArrayView2<f32>])) {
        while self.n_waiting() >= self.size {
            self.close(self.size, close);
        }
    }

    /// Hands over what is left as a last group.
    pub(crate) fn close_rest(&mut self, close: &mut dyn FnMut(&[ArrayView2<f32>])) {
        self.close(self.n_waiting(), close);
    }

    fn close(&mut self, n: usize, close: &mut dyn FnMut(&[ArrayView2<f32>])) {
        if n == 0 {
            return;
        }
        let mut views = Vec::with_capacity(self.columns.len());
        for (width, values) in &self.columns {
            match ArrayView2::from_shape((n, *width), &values[..n * width]) {
                Ok(view) => views.push(view),
                Err(error) => unreachable!("{n} samples of {width} numbers: {error}"),
            }
        }
        close(&views);
        self.n_closed += n;
        for (width, values) in &mut self.columns {
            values.drain(..n * *width);
        }
    }

    /// Joins later samples: exact where this part ends at the border of a group, or the later one has no full group yet.
    /// Elsewhere what waits becomes a smaller group of its own.
    pub(crate) fn merge(&mut self, later: Self, close: &mut dyn FnMut(&[ArrayView2<f32>])) {
        if later.n_closed > 0 {
            let n = self.n_waiting();
            self.n_off_border += usize::from(n > 0);
            self.close(n, close);
        }
        self.n_closed += later.n_closed;
        self.n_off_border += later.n_off_border;
        for ((_, ours), (_, later)) in self.columns.iter_mut().zip(later.columns) {
            ours.extend(later);
        }
        self.close_full(close);
    }

    /// What to say of parts that were joined inside a group.
    pub(crate) fn seams(&self) -> String {
        match self.n_off_border {
            0 => String::new(),
            n => format!(
                " {n} parts were joined inside a group: the groups there are smaller than in one run, and the estimate is \
                 another one of the same quantity."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_the_same_whatever_the_batches() {
        for batches in [vec![7], vec![1; 7], vec![3, 4]] {
            let (mut groups, mut seen) = (SampleGroups::new(3, [1, 2]), Vec::new());
            let mut close = |views: &[ArrayView2<f32>]| {
                seen.push((views[0].iter().copied().collect::<Vec<_>>(), views[1].dim()));
            };
            let mut at = 0;
            for n in batches {
                for i in at..at + n {
                    groups.push(0, &[i as f32]);
                    groups.push(1, &[i as f32; 2]);
                }
                at += n;
                groups.close_full(&mut close);
            }
            groups.close_rest(&mut close);
            let expected =
                [(vec![0.0, 1.0, 2.0], (3, 2)), (vec![3.0, 4.0, 5.0], (3, 2)), (vec![6.0], (1, 2))];
            assert_eq!(seen, expected);
            assert_eq!(groups.n_closed, 7);
        }
    }
}
