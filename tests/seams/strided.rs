//! Patches that overlap: a finer grid from a model as it is.

use probes::PROBES;
use std::sync::Arc;
use testkit::conformance::{StudyTrial, assert_same_findings};
use testkit::tiny;
use toml::Table;
use vit_features::{Findings, Lab, Passage, Role, Shapes, Source, observe};

#[test]
fn windows_that_do_not_overlap_are_the_patches_and_finer_ones_find_points_more_exactly() {
    let trial = StudyTrial::new();
    let row = PROBES.iter().find(|row| row.info.name == "correspondence").unwrap();
    let found = |source: Source, shapes: Shapes| -> Findings {
        let lab = Lab {
            source,
            plan: tiny::plan(),
            batch: 16,
            n_threads: 0,
            device: vit_ops::cpu_device(),
            shelf: None,
        };
        let indices = Arc::new((0..48).collect());
        let passage = Passage { role: Role::Test, data: Arc::clone(&trial.test), indices };
        let mut studies = [(row.open)(&Table::new(), &shapes).unwrap()];
        observe(&lab, &passage, &mut studies, &mut |_| Ok(())).unwrap();
        let [study] = studies;
        study.finish().unwrap()
    };
    let (model, shapes) = (&trial.model, trial.shapes());
    let plain = found(Source::Model(model), shapes.clone());
    let whole = found(Source::Strided { model, stride_px: 4 }, shapes.clone().strided(4));
    assert_same_findings("windows that do not overlap", &whole, &plain, 0.0);
    // 13 × 13 windows of 4 px, 1 apart, of 16: the middle nearest to a point is at most half a pixel off.
    let finer = shapes.strided(1);
    assert_eq!((finer.grid.rows, finer.grid.columns, finer.patch_px), (13, 13, 1));
    let fine = found(Source::Strided { model, stride_px: 1 }, finer);
    let ceiling =
        |of: &Findings| of.metrics.iter().find(|metric| metric.name == "ceiling").expect("a ceiling").value;
    assert!(ceiling(&fine) > ceiling(&plain), "{} and {}", ceiling(&fine), ceiling(&plain));
}
