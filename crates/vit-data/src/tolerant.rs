//! A data set in which a few samples may be unreadable: each is replaced, counted and named.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{DataError, Dataset, Frame, Offers, RowsSeen, Sample, dataset::all_rows};

/// A sample that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its index in the data set.
    pub index: usize,
    /// Why, with the file.
    pub reason: String,
}

/// How many of the first unreadable samples an error names.
const N_NAMED: usize = 3;

/// The data set, with up to `max_share · len()` of its samples allowed to be unreadable.
///
/// In the place of an unreadable sample stands the next readable one of the same class (the first of the class comes
/// after the last), with its own truth and name. So what is delivered is a pure function of the files, and
/// order and draws stay what they are. When more samples than allowed turned out to be unreadable, reading fails with
/// the first of them. [`Dataset::unreadable`] names those found so far.
///
/// # Panics
/// When `max_share` is not in 0–1.
///
/// # Example
/// ```no_run
/// use std::sync::Arc;
/// use vit_data::{Split, tolerate};
/// let dataset = tolerate(Arc::from(vit_data::open("folder:photos", Split::Train, 0)?), 0.01);
/// # Ok::<(), vit_data::DataError>(())
/// ```
pub fn tolerate(dataset: Arc<dyn Dataset>, max_share: f64) -> Arc<dyn Dataset> {
    assert!((0.0..=1.0).contains(&max_share), "a share of unreadable samples of {max_share}");
    let max_unreadable = (max_share * dataset.len() as f64) as usize;
    Arc::new(Tolerant { dataset, max_unreadable, found: Mutex::new(BTreeMap::new()) })
}

struct Tolerant {
    dataset: Arc<dyn Dataset>,
    max_unreadable: usize,
    /// Index → reason.
    found: Mutex<BTreeMap<usize, String>>,
}

impl Tolerant {
    /// Remembers an unreadable sample.
    ///
    /// # Errors
    /// When there are more than allowed.
    fn remember(&self, index: usize, error: &DataError) -> Result<(), DataError> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(index, error.to_string());
        if found.len() <= self.max_unreadable {
            return Ok(());
        }
        Err(DataError::TooManyUnreadable {
            expected: self.max_unreadable,
            len: self.dataset.len(),
            first: found.values().take(N_NAMED).cloned().collect::<Vec<_>>().join("; "),
            data: self.dataset.name(),
        })
    }
}

impl Dataset for Tolerant {
    fn name(&self) -> String {
        self.dataset.name()
    }

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn classes(&self) -> &[String] {
        self.dataset.classes()
    }

    fn part_names(&self) -> &[String] {
        self.dataset.part_names()
    }

    fn object_classes(&self) -> &[String] {
        self.dataset.object_classes()
    }
    fn frame(&self, index: usize) -> Option<Frame> {
        self.dataset.frame(index)
    }

    fn group(&self, index: usize) -> Option<usize> {
        self.dataset.group(index)
    }

    fn offers(&self) -> Offers {
        self.dataset.offers()
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.dataset.label(index)
    }

    fn native_size_px(&self) -> Option<usize> {
        self.dataset.native_size_px()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        self.sample_rows(index, &all_rows)
    }

    fn sample_rows(&self, index: usize, n_rows: RowsSeen) -> Result<Sample, DataError> {
        // Another frame or another side of a pair is no stand-in: the group would lie.
        if self.dataset.group(index).is_some() {
            return self.dataset.sample_rows(index, n_rows);
        }
        let label = self.label(index);
        let n = self.len();
        let after = (1..n).map(|step| (index + step) % n).filter(|&other| self.label(other) == label);
        let mut last = None;
        for candidate in std::iter::once(index).chain(after) {
            match self.dataset.sample_rows(candidate, n_rows) {
                Ok(mut sample) => {
                    // What stands in for another sample asks nothing of its own.
                    sample.truth.query = sample.truth.query.filter(|_| candidate == index);
                    return Ok(sample);
                }
                Err(error) if error.is_of_one_sample() => {
                    self.remember(candidate, &error)?;
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        // No sample of the class can be read.
        Err(last.unwrap_or_else(|| unreachable!("the sample itself was tried")))
    }

    fn unreadable(&self) -> Vec<Unreadable> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.iter().map(|(&index, reason)| Unreadable { index, reason: reason.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, Loader, LoaderOptions, Order, Picture, Truth, ViewPlan, transform::Normalize};

    /// 200 samples of 2 classes; those listed cannot be read.
    struct Damaged(Vec<usize>);

    impl Dataset for Damaged {
        fn name(&self) -> String {
            "damaged".into()
        }
        fn len(&self) -> usize {
            200
        }
        fn classes(&self) -> &[String] {
            &[]
        }
        fn offers(&self) -> Offers {
            Offers { labels: true, ..Offers::default() }
        }
        fn label(&self, index: usize) -> Option<u32> {
            Some(index as u32 % 2)
        }
        fn native_size_px(&self) -> Option<usize> {
            Some(1)
        }
        fn sample(&self, index: usize) -> Result<Sample, DataError> {
            if self.0.contains(&index) {
                let (expected, found) = ("a picture".into(), "junk".into());
                let path = format!("{index}.png").into();
                return Err(DataError::Malformed { what: "picture", expected, found, path });
            }
            let picture = Picture::Image(Image { width_px: 1, height_px: 1, rgb: vec![index as u8; 3] });
            let truth = Truth { label: self.label(index), ..Truth::default() };
            Ok(Sample { picture, truth, id: index.to_string() })
        }
    }

    fn ids(data: &Arc<dyn Dataset>, threads: usize) -> Result<Vec<String>, DataError> {
        let options = LoaderOptions { batch: 16, threads, ..LoaderOptions::default() };
        let plan = ViewPlan::whole(1, Normalize::NONE);
        let loader = Loader::new(Arc::clone(data), Order::Shuffled, plan, options);
        loader.map(|batch| Ok(batch?.ids)).collect::<Result<Vec<_>, _>>().map(|ids| ids.concat())
    }

    #[test]
    fn an_unreadable_sample_is_replaced_by_the_next_of_its_class() {
        // 1 % of 200 is 2. After 5 comes 7; after 199 comes 1.
        let data = tolerate(Arc::new(Damaged(vec![5, 199])), 0.01);
        assert_eq!(data.sample(5).expect("replaced").id, "7");
        assert_eq!(data.sample(199).expect("replaced").truth.label, Some(1));
        assert_eq!(data.sample(199).expect("replaced").id, "1");
        assert_eq!(data.sample(4).expect("reads").id, "4");
        let found = data.unreadable();
        assert_eq!(found.iter().map(|one| one.index).collect::<Vec<_>>(), [5, 199]);
        assert!(found[0].reason.ends_with("5.png"), "{}", found[0].reason);
        // One after the other: 9 is tried for 5 when 7 is damaged too.
        let data = tolerate(Arc::new(Damaged(vec![5, 7])), 0.01);
        assert_eq!(data.sample(5).expect("replaced").id, "9");
        assert_eq!(data.unreadable().len(), 2);
    }

    /// The same as pairs of neighbors.
    struct Paired(Damaged);

    impl Dataset for Paired {
        fn name(&self) -> String {
            self.0.name()
        }
        fn len(&self) -> usize {
            self.0.len()
        }
        fn classes(&self) -> &[String] {
            &[]
        }
        fn group(&self, index: usize) -> Option<usize> {
            Some(index / 2)
        }
        fn offers(&self) -> Offers {
            self.0.offers()
        }
        fn label(&self, index: usize) -> Option<u32> {
            self.0.label(index)
        }
        fn native_size_px(&self) -> Option<usize> {
            None
        }
        fn sample(&self, index: usize) -> Result<Sample, DataError> {
            self.0.sample(index)
        }
    }

    #[test]
    fn nothing_stands_in_for_one_side_of_a_pair() {
        let data = tolerate(Arc::new(Paired(Damaged(vec![5]))), 0.01);
        assert!(data.sample(5).expect_err("no stand-in").to_string().ends_with("5.png"));
        assert_eq!((data.sample(4).expect("reads").id.as_str(), data.group(5)), ("4", Some(2)));
    }

    #[test]
    fn order_and_batches_are_the_same_for_every_number_of_threads() {
        let whole = ids(&tolerate(Arc::new(Damaged(vec![])), 0.0), 0).expect("reads");
        let of = |threads| {
            let data = tolerate(Arc::new(Damaged(vec![20, 33])), 0.01);
            (ids(&data, threads).expect("reads"), data.unreadable())
        };
        let (one, found) = of(1);
        assert_eq!((one.clone(), found), of(3));
        let expected: Vec<String> = whole
            .into_iter()
            .map(|id| match id.as_str() {
                "20" => "22".into(),
                "33" => "35".into(),
                _ => id,
            })
            .collect();
        assert_eq!(one, expected);
    }

    #[test]
    fn beyond_the_limit_the_first_are_named() {
        let data = tolerate(Arc::new(Damaged(vec![3, 8, 11])), 0.01);
        let message = ids(&data, 0).expect_err("too many").to_string();
        for part in ["at most 2 of 200", "3.png", "8.png", "11.png", "damaged"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let strict = tolerate(Arc::new(Damaged(vec![3])), 0.0);
        assert!(strict.sample(3).is_err());
    }
}
