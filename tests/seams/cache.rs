//! Features on disk: the same findings with and without, no forward where everything is there, and what is left of a run that
//! was stopped.

use super::studies::passage;
use analysis::ANALYSES;
use probes::PROBES;
use std::path::Path;
use std::sync::Arc;
use testkit::conformance::{StudyTrial, assert_same_findings};
use testkit::tiny::{self, TinyData};
use vit_core::Backbone;
use vit_features::{
    Cache, Findings, Lab, Passage, Role, Shelf, Source, StudyEntry, StudyError, extract, observe,
    parse_selects,
};

fn row(name: &str) -> &'static StudyEntry {
    let mut rows = PROBES.iter().chain(ANALYSES);
    rows.find(|row| row.info.name == name).expect("a row")
}

fn lab(model: &Backbone, shelf: Option<Shelf>) -> Lab<'_> {
    let (source, device) = (Source::Model(model), vit_ops::cpu_device());
    Lab { source, plan: tiny::plan(), batch: 12, n_threads: 0, device, shelf }
}

/// What studies find on both sides of the trial's data, seen by a model and a shelf.
fn found(trial: &StudyTrial, model: &Backbone, names: &[&str], shelf: Option<Shelf>) -> Vec<Findings> {
    let lab = lab(model, shelf);
    let open = |name: &&str| trial.open(row(name), &(row(name).small)().parse().unwrap());
    let mut studies: Vec<_> = names.iter().map(open).collect();
    for (role, data) in [(Role::Train, &trial.train), (Role::Test, &trial.test)] {
        let indices = Arc::new((0..data.len()).collect());
        let passage = Passage { role, data: Arc::clone(data), indices };
        observe(&lab, &passage, &mut studies, &mut |_| Ok(())).unwrap();
    }
    studies.into_iter().map(|study| study.finish().unwrap()).collect()
}

fn cache(folder: &Path) -> Arc<Cache> {
    Arc::new(Cache::open(folder).unwrap())
}

#[test]
fn a_cold_cache_a_warm_one_and_none_give_the_same_and_the_second_probe_passes_nothing() {
    let (trial, folder) = (StudyTrial::new(), tempfile::tempdir().unwrap());
    let cache = cache(folder.path());
    let shelf = || Some(cache.shelf("the trial's model").unwrap());
    let without = found(&trial, &trial.model, &["knn", "linear"], None);
    let cold = found(&trial, &trial.model, &["knn"], shelf());
    let n = trial.train.len() + trial.test.len();
    let tally = cache.take_tally();
    assert_eq!((tally.n_read, tally.n_made), (0, n));
    // Were there a forward, it would be of other weights.
    let another = tiny::vit(&tiny::vit_config(), 77);
    let warm = found(&trial, &another, &["knn"], shelf());
    assert_eq!(cache.take_tally().n_read, n);
    assert_same_findings("cold", &cold[0], &without[0], 0.0);
    assert_same_findings("warm", &warm[0], &without[0], 0.0);
    // Another probe over the same model: what the first one left is enough.
    let linear = found(&trial, &another, &["linear"], shelf());
    let tally = cache.take_tally();
    assert_eq!((tally.n_read, tally.n_made), (n, 0));
    assert_same_findings("the second probe", &linear[0], &without[1], 0.0);
}

#[test]
fn what_only_one_study_wants_is_made_and_the_rest_is_read() {
    let (trial, folder) = (StudyTrial::new(), tempfile::tempdir().unwrap());
    let cache = cache(folder.path());
    let shelf = || Some(cache.shelf("the trial's model").unwrap());
    let both = ["knn", "segmentation"];
    let without = found(&trial, &trial.model, &both, None);
    found(&trial, &trial.model, &["knn"], shelf());
    let together = found(&trial, &trial.model, &both, shelf());
    for (name, (found, without)) in both.iter().zip(together.iter().zip(&without)) {
        assert_same_findings(name, found, without, 0.0);
    }
}

#[test]
fn a_run_that_was_stopped_leaves_its_whole_batches_and_the_next_goes_on_from_there() {
    let (trial, folder) = (StudyTrial::new(), tempfile::tempdir().unwrap());
    let cache = cache(folder.path());
    let lab = lab(&trial.model, Some(cache.shelf("the trial's model").unwrap()));
    let data = Arc::new(TinyData::stripes(60, 4, 0));
    let mut n_batches = 0;
    let mut stop_in_the_third = |_: usize| {
        n_batches += 1;
        let stopped = || StudyError::too_few("the test", "time", "none");
        if n_batches == 3 { Err(stopped()) } else { Ok(()) }
    };
    let selects = parse_selects("block*.mean", &trial.model).unwrap();
    let side = passage(Role::Test, &data);
    assert!(extract(&lab, &side, &selects, &mut stop_in_the_third).is_err());
    assert_eq!(cache.take_tally().n_made, 36);
    let again = extract(&lab, &side, &selects, &mut |_| Ok(())).unwrap();
    let tally = cache.take_tally();
    assert_eq!((tally.n_read, tally.n_made), (36, 24));
    let without = Lab { shelf: None, ..lab };
    let expected = extract(&without, &side, &selects, &mut |_| Ok(())).unwrap();
    assert_eq!((again.arrays, again.ids), (expected.arrays, expected.ids));
}

#[test]
fn what_looks_inside_passes_by_the_cache_and_is_named() {
    let (trial, folder) = (StudyTrial::new(), tempfile::tempdir().unwrap());
    let cache = cache(folder.path());
    let names = ["knn", "attention-distance", "saliency-iou"];
    let without = found(&trial, &trial.model, &names, None);
    let with = found(&trial, &trial.model, &names, Some(cache.shelf("the trial's model").unwrap()));
    for (name, (with, without)) in names.iter().zip(with.iter().zip(&without)) {
        assert_same_findings(name, with, without, 0.0);
    }
    let tally = cache.take_tally();
    assert!(
        tally.look_inside.contains("attention-distance") && !tally.look_inside.contains("knn"),
        "{tally:?}"
    );
    // The training side is asked by kNN alone.
    assert_eq!((tally.n_read, tally.n_made), (0, trial.train.len()));
}

#[test]
fn runs_at_the_same_time_do_not_disturb_one_another() {
    let (trial, folder) = (StudyTrial::new(), tempfile::tempdir().unwrap());
    let expected = found(&trial, &trial.model, &["knn"], None);
    std::thread::scope(|scope| {
        let run = || {
            let shelf = cache(folder.path()).shelf("the trial's model").unwrap();
            found(&trial, &trial.model, &["knn"], Some(shelf))
        };
        let runs = [scope.spawn(run), scope.spawn(run)];
        for run in runs {
            assert_same_findings("beside another", &run.join().unwrap()[0], &expected[0], 0.0);
        }
    });
    let left = std::fs::read_dir(folder.path()).unwrap().flatten();
    let partial = left.filter(|entry| entry.file_name().to_string_lossy().starts_with(".part-"));
    assert_eq!(partial.count(), 0);
}
