//! What analyses accumulate does not grow with the number of images.

use analysis::ANALYSES;
use std::sync::Arc;
use testkit::conformance::StudyTrial;
use testkit::tiny::TinyData;
use vit_features::StudyEntry;

/// They keep features of every image, by design: in banks, of which little is in memory (see the tests of `Bank`).
const WITH_BANKS: [&str; 2] = ["clustering", "skip-removal"];

/// A longer number, a fuller group that waits: not one feature of each of the 576 images more.
const SMALL_BYTES: usize = 4096;

#[test]
fn ten_times_as_many_images_leave_as_much_behind() {
    let rows: Vec<&StudyEntry> = ANALYSES.iter().filter(|row| !WITH_BANKS.contains(&row.info.name)).collect();
    let saved = |n: usize| -> Vec<usize> {
        let trial = StudyTrial { test: Arc::new(TinyData::stripes(n, 4, 3)), ..StudyTrial::new() };
        let mut studies: Vec<_> = rows.iter().map(|row| trial.open(row, &super::small(row))).collect();
        trial.show(&mut studies, (0, 1), 64, 0);
        let mut sizes = Vec::new();
        for study in &studies {
            let mut bytes = Vec::new();
            study.save(&mut bytes).unwrap_or_else(|error| panic!("{error}"));
            sizes.push(bytes.len());
        }
        sizes
    };
    let (few, many) = (saved(64), saved(640));
    for (row, (few, many)) in rows.iter().zip(few.into_iter().zip(many)) {
        let grown = many.saturating_sub(few);
        assert!(
            grown <= SMALL_BYTES,
            "`{}`: {few} bytes of 64 images, {many} of 640: it should keep sums",
            row.info.name
        );
    }
}
