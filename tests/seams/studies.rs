//! Studies: one forward for all of them, merging, and refusing by name.

use analysis::{ANALYSES, AttentionDistanceConfig};
use probes::PROBES;
use report::Info;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use testkit::conformance::{StudyTrial, assert_same_findings};
use testkit::tiny::{self, TinyData};
use toml::Table;
use vit_core::{Seen, Site};
use vit_data::Dataset;
use vit_features::{
    Accumulate, BatchInfo, Findings, Lab, Layers, Needs, Opened, Passage, Role, Shapes, Source, Study,
    StudyEntry, StudyError, Taken, observe, open_study,
};

/// What witnesses saw, in the order in which they saw it.
pub(super) type Events = Arc<Mutex<Vec<String>>>;

/// A study that writes down everything it is shown.
pub(super) struct Witness {
    name: &'static str,
    /// Of each model that it looks at.
    needs: Vec<Needs>,
    events: Events,
}

impl Witness {
    pub(super) fn boxed(name: &'static str, needs: Needs, events: &Events) -> Box<dyn Opened> {
        Self::of_models(name, vec![needs], events)
    }

    pub(super) fn of_models(name: &'static str, needs: Vec<Needs>, events: &Events) -> Box<dyn Opened> {
        Box::new(Self { name, needs, events: Arc::clone(events) })
    }

    fn write(&self, event: String) {
        self.events.lock().unwrap().push(format!("{} {event}", self.name));
    }
}

impl Opened for Witness {
    fn needs(&self) -> &Needs {
        &self.needs[0]
    }
    fn needs_of(&self, model: usize) -> Option<&Needs> {
        self.needs.get(model)
    }
    fn info(&self) -> Info {
        Info { name: self.name, line: "writes down what it sees", source: "this test" }
    }
    fn see(&mut self, site: Site, seen: &Seen, info: &BatchInfo) -> Result<(), StudyError> {
        let n_tokens = seen.clone().tokens().dims()[1];
        self.write(format!("{site} of model {}, {n_tokens} tokens", info.model));
        Ok(())
    }
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        self.write(format!("batch from {}", taken.info.first));
        Ok(())
    }
    fn merge(&mut self, _: Box<dyn Opened>) {}
    fn finish(self: Box<Self>) -> Result<Findings, StudyError> {
        Ok(Findings::default())
    }
    fn border(&self) -> usize {
        1
    }
    fn save(&self, _: &mut dyn Write) -> Result<(), StudyError> {
        Ok(())
    }
    fn load(&mut self, _: &mut dyn Read) -> Result<(), StudyError> {
        Ok(())
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

pub(super) fn passage(role: Role, data: &Arc<TinyData>) -> Passage {
    Passage { role, data: data.clone(), indices: Arc::new((0..data.len()).collect()) }
}

#[test]
fn two_studies_are_fed_by_one_forward_per_batch() {
    let model = tiny::vit(&tiny::vit_config(), 0);
    let data = Arc::new(TinyData::stripes(8, 2, 0));
    let lab = Lab {
        source: Source::Model(&model),
        plan: tiny::plan(),
        batch: 4,
        n_threads: 0,
        device: vit_ops::cpu_device(),
        shelf: None,
    };
    let events = Events::default();
    let sites = |blocks: &[usize]| Needs {
        sites: blocks.iter().map(|&i| Site::Block(i)).collect(),
        ..Needs::default()
    };
    let mut studies =
        [Witness::boxed("a", sites(&[0, 2]), &events), Witness::boxed("b", sites(&[0, 1, 2]), &events)];
    let mut ticks = Vec::new();
    let mut tick = |n: usize| {
        ticks.push(n);
        Ok(())
    };
    observe(&lab, &passage(Role::Test, &data), &mut studies, &mut tick).unwrap();

    // Were there a forward for each study, one would see all of its blocks before the other saw any.
    let forward = ["a block0", "b block0", "b block1", "a block2", "b block2"]
        .map(|site| format!("{site} of model 0, 17 tokens"));
    let mut expected: Vec<String> = Vec::new();
    for first in [0, 4] {
        expected.extend(forward.clone());
        expected.extend(["a", "b"].map(|name| format!("{name} batch from {first}")));
    }
    assert_eq!(*events.lock().unwrap(), expected);
    assert_eq!(ticks, [4, 4]);
    assert_eq!(data.n_reads(), 8, "every sample is decoded once");
}

#[test]
fn the_training_side_costs_nothing_when_nobody_learns_from_it() {
    let model = tiny::vit(&tiny::vit_config(), 0);
    let data = Arc::new(TinyData::stripes(8, 2, 0));
    let lab = Lab {
        source: Source::Model(&model),
        plan: tiny::plan(),
        batch: 4,
        n_threads: 0,
        device: vit_ops::cpu_device(),
        shelf: None,
    };
    let events = Events::default();
    let mut studies =
        [Witness::boxed("a", Needs { sites: vec![Site::Block(0)], ..Needs::default() }, &events)];
    observe(&lab, &passage(Role::Train, &data), &mut studies, &mut |_| Ok(())).unwrap();
    assert!(events.lock().unwrap().is_empty());
    assert_eq!(data.n_reads(), 0);
}

#[test]
fn studies_asked_together_find_what_each_finds_alone() {
    let trial = StudyTrial::new();
    let rows: Vec<&StudyEntry> = PROBES.iter().chain(ANALYSES).collect();
    let mut together: Vec<Box<dyn Opened>> = rows.iter().map(|row| trial.open(row, &Table::new())).collect();
    trial.show(&mut together, (0, 1), 16, 0);
    for (row, study) in rows.into_iter().zip(together) {
        let alone = trial.findings(row, &Table::new(), 16, 0);
        // Attention is made step by step where somebody looks at it, so features may differ in their last digits, by which
        // a few patches of a clip may be given another label.
        let of_clips = ["label-propagation", "fused-propagation"].contains(&row.info.name);
        let abs = if of_clips { 1e-2 } else { 1e-6 };
        assert_same_findings(row.info.name, &study.finish().unwrap(), &alone, abs);
    }
}

#[test]
fn halves_of_the_data_that_were_merged_equal_the_whole() {
    let trial = StudyTrial::new();
    for row in PROBES.iter().chain(ANALYSES) {
        let whole = trial.findings(row, &Table::new(), 8, 0);
        let [mut first, second] = [0, 1].map(|half| {
            let mut studies = [trial.open(row, &Table::new())];
            trial.show(&mut studies, (half, 2), 8, 0);
            let [study] = studies;
            study
        });
        first.merge(second);
        // Sums of f64 in another order.
        assert_same_findings(row.info.name, &first.finish().unwrap(), &whole, 1e-12);
    }
}

#[test]
#[should_panic(expected = "merge: expected another `knn`")]
fn a_study_cannot_be_merged_with_one_of_another_kind() {
    let trial = StudyTrial::new();
    let open = |rows: &'static [StudyEntry], name: &str| {
        trial.open(rows.iter().find(|row| row.info.name == name).unwrap(), &Table::new())
    };
    open(PROBES, "knn").merge(open(ANALYSES, "attention-distance"));
}

/// A study that needs keys and does not check the model itself.
struct Keys;

#[derive(Serialize, Deserialize)]
struct Nothing;

impl Accumulate for Nothing {
    fn batch(&mut self, _: &Taken) -> Result<(), StudyError> {
        Ok(())
    }
    fn merge(&mut self, _: Self) {}
}

impl Study for Keys {
    const INFO: Info = Info { name: "keys", line: "looks at keys", source: "this test" };
    type Config = AttentionDistanceConfig;
    type Acc = Nothing;

    fn needs(_: &Self::Config, _: &Shapes) -> Result<Needs, StudyError> {
        Ok(Needs { sites: vec![Site::Key(0)], ..Needs::default() })
    }
    fn open(_: &Self::Config, _: &Shapes) -> Nothing {
        Nothing
    }
    fn finish(_: &Self::Config, _: &Shapes, _: Nothing) -> Result<Findings, StudyError> {
        Ok(Findings::default())
    }
}

#[test]
fn a_convolutional_encoder_refuses_a_study_of_attention_by_name() {
    let shapes = Shapes::of(&tiny::conv(0), "convnet:tiny", tiny::IMAGE_PX, &Layers::All).unwrap();
    let row = ANALYSES.iter().find(|row| row.info.name == "attention-distance").unwrap();
    let by_row = (row.open)(&Table::new(), &shapes).err().expect("a refusal");
    let by_check = open_study::<Keys>(&AttentionDistanceConfig::default(), &shapes).err().expect("a refusal");
    for (error, name) in [(by_row, "attention-distance"), (by_check, "keys")] {
        let sentence = error.to_string();
        assert!(
            matches!(&error, StudyError::Model { study, model, .. } if study == name && model == "convnet:tiny")
        );
        for word in [name, "convnet:tiny", "attention"] {
            assert!(sentence.contains(word), "{sentence}");
        }
    }
}

#[test]
fn a_convolutional_encoder_answers_a_study_that_needs_no_attention() {
    let trial = StudyTrial { model: tiny::conv(0), ..StudyTrial::new() };
    let knn = PROBES.iter().find(|row| row.info.name == "knn").unwrap();
    let options = "ks = [5]\nheadline_k = 5".parse().unwrap();
    let found = trial.findings(knn, &options, 16, 0);
    assert!(
        found.metrics.iter().any(|metric| metric.name == "top1" && metric.value > 0.5),
        "{:?}",
        found.metrics
    );
}
