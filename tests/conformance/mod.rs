//! Every row of every registry keeps its contract: one loop per registry.

mod memory;
mod scaffolds;

use analysis::ANALYSES;
use probes::PROBES;
use report::Info;
use ssl_pretrain::{AttMask, Dino, Ibot, Mae, OBJECTIVES, Supervised, WithObjective, with_every_objective};
use std::sync::Arc;
use testkit::conformance::{
    StudyTrial, assert_same_findings, objective_keeps_its_contract, options_are_strict, rows_are_sayable,
    study_keeps_its_contract,
};
use testkit::tiny::{self, TinyData, small_options};
use toml::Table;
use vit_features::{Models, StudyEntry};
use vit_train::{Objective, PretrainRecipe, Request, StepReport, Watch};

/// Asks every objective to keep its contract.
struct Contracts {
    n_asked: usize,
}

impl WithObjective for Contracts {
    fn with<O: Objective>(&mut self) {
        self.n_asked += 1;
        objective_keeps_its_contract::<O>(&small_options(O::INFO.name));
    }
}

#[test]
fn names_are_kebab_case_and_unique_and_every_row_says_what_it_is() {
    let infos = |rows: &[StudyEntry]| -> Vec<Info> { rows.iter().map(|row| row.info).collect() };
    rows_are_sayable(&OBJECTIVES.iter().map(|row| row.info).collect::<Vec<_>>());
    rows_are_sayable(&infos(PROBES));
    rows_are_sayable(&infos(ANALYSES));
}

#[test]
fn options_refuse_unknown_keys_and_resolve_to_what_parses_back() {
    for row in PROBES.iter().chain(ANALYSES) {
        options_are_strict(row.info.name, &row.resolve);
    }
    for row in OBJECTIVES {
        options_are_strict(row.info.name, &|options: &Table| {
            let recipe = PretrainRecipe { options: options.clone(), ..tiny::recipe(row.info.name, "", 1.0) };
            Ok(toml::to_string_pretty(&(row.resolve)(&recipe)?.options).unwrap())
        });
    }
}

#[test]
fn every_probe_says_its_protocol_in_words_and_the_published_ones_are_sound() {
    for row in PROBES {
        assert!(row.protocol.split_whitespace().count() > 30, "`{}`: {:?}", row.info.name, row.protocol);
        for protocol in (row.protocols)() {
            let options: Table = protocol.options.parse().unwrap();
            let resolved =
                (row.resolve)(&options).unwrap_or_else(|error| panic!("{}: {error}", row.info.name));
            assert_eq!(
                resolved, protocol.options,
                "`{}`: protocol {} resolves to itself",
                row.info.name, protocol.name
            );
        }
    }
}

#[test]
fn every_objective_keeps_the_contract_of_objectives() {
    let mut contracts = Contracts { n_asked: 0 };
    with_every_objective(&mut contracts);
    assert_eq!(contracts.n_asked, OBJECTIVES.len());
}

#[test]
fn supervised_training_on_the_class_token_keeps_the_contract_too() {
    objective_keeps_its_contract::<Supervised>("pool = \"class\"");
}

#[test]
fn masked_autoencoding_of_raw_pixels_keeps_the_contract_too() {
    let options =
        "decoder_width = 16\ndecoder_depth = 1\ndecoder_heads = 2\nnorm_pix = false\nmask_ratio = 0.5";
    objective_keeps_its_contract::<Mae>(options);
}

#[test]
fn self_distillation_keeps_the_contract_in_all_its_forms() {
    let small =
        "[crops]\nn_locals = 1\nlocal_size_px = 8\n[head]\nhidden = 16\nbottleneck = 8\nout_dim = 32\n";
    let with = |more: &str| format!("{small}{more}");
    objective_keeps_its_contract::<Dino>(&with(
        "norm_last_layer = false\n[teacher]\ncentering = { kind = \"sinkhorn_knopp\", n_rounds = 3 }",
    ));
    objective_keeps_its_contract::<Ibot>(&with("[patch]\nown_out_dim = 24\n[mask]\nshape = \"random\""));
    objective_keeps_its_contract::<AttMask>(&format!("base = \"dino\"\n{small}[mask]\nstrategy = \"hint\""));
}

/// Remembers every loss.
#[derive(Default)]
struct Losses(Vec<f64>);

impl Watch for Losses {
    fn step(&mut self, report: &StepReport) -> vit_train::Flow {
        self.0.push(report.loss);
        vit_train::Flow::Continue
    }
}

#[test]
fn a_row_trains_the_same_encoder_from_the_same_recipe_with_any_number_of_threads() {
    for row in OBJECTIVES {
        let name = row.info.name;
        let train = |n_threads: usize| {
            let recipe = tiny::recipe(name, &small_options(name), 2.0);
            let request = Request {
                recipe: &recipe,
                data: Arc::new(TinyData::stripes(24, 3, 0)),
                indices: None,
                held_out: Some(Arc::new(TinyData::stripes(9, 3, 1))),
                n_previews: 2,
                device: vit_ops::cpu_device(),
                run_dir: None,
                resume: false,
                n_threads,
                init_from: None,
                clock: || 0.0,
            };
            let mut losses = Losses::default();
            let outcome =
                (row.run)(&request, &mut losses).unwrap_or_else(|error| panic!("`{name}`: {error}"));
            let tokens = outcome.backbone.infer(tiny::sines([2, 3, 16, 16], 0.3, &vit_ops::cpu_device()));
            (losses.0, testkit::HostTensor::of(tokens.all), outcome.held_out_top1, outcome.preview)
        };
        let (alone, threaded) = (train(0), train(2));
        assert_eq!(alone.0.len(), 6, "`{name}`: two epochs of three steps");
        assert!(alone == threaded, "`{name}`: two runs of one recipe differ");
    }
}

/// Options that suit 96 samples to learn from, as the study itself names them.
fn small(row: &StudyEntry) -> Table {
    (row.small)().parse().unwrap()
}

#[test]
fn every_probe_and_analysis_keeps_the_contract_of_studies() {
    let trial = StudyTrial::new();
    for row in PROBES.iter().chain(ANALYSES) {
        study_keeps_its_contract(&trial, row, &small(row));
    }
}

#[test]
fn every_probe_and_analysis_keeps_the_contract_of_studies_beside_a_second_model() {
    let (alone, trial) = (StudyTrial::new(), StudyTrial::new().with_another_model());
    for row in PROBES.iter().chain(ANALYSES) {
        let options = small(row);
        match row.models {
            Models::Together => study_keeps_its_contract(&trial, row, &options),
            // A study of one model sees the first, whatever stands beside it.
            Models::Each => {
                let [beside, alone] = [&trial, &alone].map(|trial| trial.findings(row, &options, 12, 0));
                assert_same_findings(row.info.name, &beside, &alone, 0.0);
            }
        }
    }
}

#[test]
fn every_probe_and_analysis_studies_a_model_without_class_token_and_one_with_registers() {
    let without =
        vit_core::VitConfig { class_token: false, pool: vit_core::Pool::Mean, ..tiny::vit_config() };
    let registers = vit_core::VitConfig { n_registers: 2, position_of_class: false, ..tiny::vit_config() };
    for config in [without, registers] {
        let trial = StudyTrial { model: tiny::vit(&config, 6), ..StudyTrial::new() };
        for row in PROBES.iter().chain(ANALYSES) {
            let found = trial.findings(row, &small(row), 16, 0);
            assert!(found.metrics.iter().all(|metric| metric.value.is_finite()), "`{}`", row.info.name);
        }
    }
}

#[test]
fn every_figure_of_an_analysis_says_how_it_is_read_and_what_it_cannot_tell() {
    let trial = StudyTrial::new();
    let says_two_things = |caption: &str| caption.ends_with('.') && caption.contains(". ");
    for row in ANALYSES {
        let found = trial.findings(row, &small(row), 16, 0);
        let figures = found.figures.iter().map(|figure| (&figure.name, &figure.caption));
        let pictures = found.showcases.iter().map(|showcase| (&showcase.name, &showcase.caption));
        for (name, caption) in figures.chain(pictures) {
            assert!(says_two_things(caption), "`{}`, figure `{name}`: {caption}", row.info.name);
        }
        assert!(found.tables.iter().all(|table| !table.columns.is_empty()), "`{}`", row.info.name);
    }
}

/// The accuracies that a probe finds on the test side.
fn top1s(trial: &StudyTrial, row: &StudyEntry) -> Vec<f64> {
    let findings = trial.findings(row, &small(row), 16, 0);
    findings.metrics.iter().filter(|metric| metric.name == "top1").map(|metric| metric.value).collect()
}

#[test]
fn shuffled_labels_leave_every_probe_at_chance() {
    let stripes = |n: usize, seed: u64| TinyData::stripes(n, 4, seed);
    let clean =
        StudyTrial { train: Arc::new(stripes(240, 0)), test: Arc::new(stripes(240, 1)), ..StudyTrial::new() };
    let shuffled = StudyTrial {
        train: Arc::new(stripes(240, 0).with_shuffled_labels(7)),
        test: Arc::new(stripes(240, 1).with_shuffled_labels(8)),
        ..StudyTrial::new()
    };
    for row in PROBES {
        let name = row.info.name;
        // Four classes, 128 questions or more: chance is 0.25 with a standard deviation of 0.038; four are allowed.
        for top1 in top1s(&shuffled, row) {
            assert!((top1 - 0.25).abs() < 0.153, "`{name}`: {top1} with labels that say nothing");
        }
        let clean = top1s(&clean, row);
        if clean.is_empty() {
            continue; // it scores no classes: its own tests hold it to chance and ceiling
        }
        let best = clean.into_iter().fold(0.0, f64::max);
        assert!(best > 0.9, "`{name}`: the images are easy to tell apart, but the best layer has {best}");
    }
}

#[test]
fn every_solver_and_classifier_keeps_the_contract_too() {
    let trial = StudyTrial::new();
    let row = PROBES.iter().find(|row| row.info.name == "linear").expect("the linear row");
    for options in [
        "solver = { kind = \"sgd\", input = \"as-is\", base_lrs = [0.01], epochs = 4, batch = 16 }",
        "solver = { kind = \"lars\", base_lrs = [0.1, 1.0], epochs = 12, batch = 32, warmup_epochs = 2.0 }",
        "solver = { kind = \"ridge\", log2_lambdas = [-12, 2] }",
        "solver = { kind = \"logistic\", lambdas = [1e-2, 1e-3] }",
        "ensemble = { last = 2, mean = true }\nsolver = { kind = \"ridge\", log2_lambdas = [-12, 2] }",
    ] {
        let options = format!("n_held_out = 24\nmemory_mib = 1\n{options}").parse().unwrap();
        study_keeps_its_contract(&trial, row, &options);
    }
    let regression =
        "shots = [2]\nheadline_shots = 2\nn_episodes = 4\nn_ways = 3\nclassifier = { kind = \"logistic\" }";
    let row = PROBES.iter().find(|row| row.info.name == "few-shot").expect("the few-shot row");
    study_keeps_its_contract(&trial, row, &regression.parse().unwrap());
}

#[test]
fn every_published_protocol_of_probes_of_patches_keeps_the_contract_too() {
    let trial = StudyTrial::new();
    let names = [
        "correspondence",
        "best-buddies",
        "co-segmentation",
        "part-co-segmentation",
        "segmentation",
        "foreground",
        "label-propagation",
    ];
    for row in PROBES.iter().filter(|row| names.contains(&row.info.name)) {
        for protocol in (row.protocols)() {
            study_keeps_its_contract(&trial, row, &protocol.options.parse().unwrap());
        }
    }
    let row = PROBES.iter().find(|row| row.info.name == "segmentation").expect("the segmentation row");
    for target in ["object", "class"] {
        let options = format!("target = \"{target}\"\nlog2_lambdas = [-8, -4]");
        study_keeps_its_contract(&trial, row, &options.parse().unwrap());
    }
    let row = PROBES.iter().find(|row| row.info.name == "part-co-segmentation").expect("the row");
    for foreground in ["truth", "everywhere"] {
        let options =
            format!("foreground = \"{foreground}\"\nn_parts = 2\n[object]\nset_size = 3\nn_starts = 1");
        study_keeps_its_contract(&trial, row, &options.parse().unwrap());
    }
    let row = PROBES.iter().find(|row| row.info.name == "communities").expect("the communities row");
    for foreground in ["truth", "everywhere"] {
        let options =
            format!("foreground = \"{foreground}\"\nn_clusters = 6\nn_seeds = 2\nneighbors = \"leopart\"");
        study_keeps_its_contract(&trial, row, &options.parse().unwrap());
    }
}
