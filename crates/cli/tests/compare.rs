//! `vitscope compare` from nothing: trained, asked, one offline page; resumed, refused, and without training.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A comparison small enough for a test.
const RECIPE: &str = r#"
data = "part-shapes"
model = "vit:dim=16,depth=2,heads=2,patch=16,image=64,positions=sin-cos"
size_px = 64
raw_pixels_px = 16
normalize = "half"
batch = 16
n_previews = 3

[[train]]
name = "supervised"
objective = "supervised"
views = { scale = [1.0, 1.0], flip_prob = 0.0 }
train = { epochs = 1.0, batch = 12, base_lr = 1e-3, warmup_epochs = 0.0, log_every_steps = 1 }
options = { pool = "mean" }

[[train]]
name = "mae"
objective = "mae"
data_share = 0.5
views = { scale = [0.6, 1.0], flip_prob = 0.5 }
train = { epochs = 1.0, batch = 12, base_lr = 1e-3, warmup_epochs = 0.0, log_every_steps = 1 }
options = { decoder_width = 16, decoder_depth = 1, decoder_heads = 2 }

[[probes]]
study = "knn"
options = { ks = [1, 5], headline_k = 5 }

[[probes]]
study = "linear"
options = { n_held_out = 12, solver = { kind = "ridge" } }

[[analyses]]
study = "attention-distance"

[[analyses]]
study = "cka"
options = { batch = 16 }
"#;

fn run(dir: &TempDir, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitscope"));
    command.args(args).current_dir(dir.path()).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn desk() -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("small.toml"), RECIPE).expect("a recipe");
    dir
}

fn json(file: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).expect("a report")).expect("JSON")
}

fn without_time(mut report: Value) -> Value {
    report["provenance"]["elapsed_secs"] = Value::Null;
    report
}

const COMPARE: [&str; 7] = ["compare", "--recipe", "small.toml", "--limit", "48", "--out", "out"];

#[test]
fn compare_trains_asks_and_writes_one_offline_page_and_resume_gives_the_same() {
    let dir = desk();
    let first = run(&dir, &COMPARE);
    let stderr = String::from_utf8_lossy(&first.stderr).into_owned();
    assert_eq!(first.status.code(), Some(0), "{stderr}");
    let stdout = String::from_utf8_lossy(&first.stdout).into_owned();
    assert_eq!(stdout.lines().last(), Some("out/report.html"));
    assert!(stderr.contains("[4/5] mae"), "progress names the stages: {stderr}");

    let page = std::fs::read_to_string(dir.path().join("out/report.html")).expect("a page");
    for what in [
        "raw-pixels",
        "untrained",
        "supervised",
        "mae",
        "chance",
        "What MAE restores",
        "Which layers are alike, within a model and between models",
    ] {
        assert!(page.contains(what), "the page speaks of {what}");
    }
    let outside = page.replace("http://www.w3.org/", "");
    assert!(
        !outside.contains("http://") && !outside.contains("https://"),
        "the page asks nobody for anything"
    );

    let report = json(&dir.path().join("out/report.json"));
    assert_eq!(report["kind"], "compare");
    let best = |model: &str| {
        let metrics = report["metrics"].as_array().expect("metrics");
        metrics.iter().any(|m| m["name"] == "best.top1" && m["params"]["model"] == model)
    };
    assert!(["raw-pixels", "untrained", "untrained-mae", "supervised", "mae"].into_iter().all(best));
    // Each is measured against the weights that it began with.
    let is_measured = |model: &str, against: &str| {
        let metrics = report["metrics"].as_array().expect("metrics");
        metrics.iter().any(|m| {
            m["name"] == "difference.top1"
                && m["params"]["model"] == model
                && m["params"]["against"] == against
        })
    };
    assert!(is_measured("mae", "untrained-mae") && is_measured("supervised", "untrained"));
    assert!(!is_measured("mae", "untrained"));
    let tables = report["tables"].as_array().expect("tables");
    for probe in ["knn", "linear"] {
        let name = format!("{probe}_best_layers");
        assert!(tables.iter().any(|table| table["name"] == name.as_str()), "{name}");
    }
    // A group of bars for each question, a color for each model.
    let figures = report["figures"].as_array().expect("figures");
    let bars = figures.iter().find(|figure| figure["name"] == "best_layers").expect("bars");
    let bars = &bars["data"]["bar"];
    assert_eq!(bars["labels"], serde_json::json!(["kNN (top-1)", "Linear (top-1)"]));
    let colors: Vec<_> =
        bars["series"].as_array().expect("series").iter().map(|one| one["name"].as_str()).collect();
    let models = ["raw-pixels", "untrained", "untrained-mae", "supervised", "mae", "chance"];
    assert!(models.iter().all(|model| colors.contains(&Some(model))) && colors.len() == 6, "{colors:?}");
    // Four models of two blocks: within each and between each two.
    let pairs = report["metrics"].as_array().expect("metrics").iter();
    let pairs = pairs.filter(|m| m["name"] == "cka_full").map(|m| {
        (
            m["params"]["model"].as_str().expect("a model"),
            m["params"]["other_model"].as_str().expect("a model"),
        )
    });
    let pairs: std::collections::BTreeMap<_, usize> = pairs.fold(Default::default(), |mut counts, pair| {
        *counts.entry(pair).or_default() += 1;
        counts
    });
    assert_eq!(pairs[&("mae", "mae")], 1);
    assert_eq!(pairs[&("untrained", "mae")], 4);
    assert_eq!(pairs.len(), 10);
    assert!(dir.path().join("out/all-models/cka/arrays.safetensors").exists());
    for file in [
        "mae/knn/report.json",
        "mae/linear/report.json",
        "mae/linear/figures/worst_samples.png",
        "mae/attention-distance/report.md",
        "mae/run/backbone.safetensors",
    ] {
        assert!(dir.path().join("out").join(file).exists(), "{file}");
    }

    // Half of the 48 samples are two steps of 12, all of them four; steps count from 0.
    let last_step = |model: &str| {
        let log = std::fs::read_to_string(dir.path().join(format!("out/{model}/run/metrics.jsonl")))
            .expect("a log");
        let line: Value = serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
        line["step"].as_u64()
    };
    assert_eq!((last_step("supervised"), last_step("mae")), (Some(3), Some(1)));

    // What is finished is taken up: another way to the same report.
    let again = run(&dir, &[&COMPARE[..], &["--resume"]].concat());
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(without_time(json(&dir.path().join("out/report.json"))), without_time(report));

    // And one that was cut off before the last model is brought to the same end.
    let report = json(&dir.path().join("out/report.json"));
    std::fs::remove_dir_all(dir.path().join("out/mae")).expect("removed");
    let rest = run(&dir, &[&COMPARE[..], &["--resume"]].concat());
    assert_eq!(rest.status.code(), Some(0), "{}", String::from_utf8_lossy(&rest.stderr));
    assert_eq!(without_time(json(&dir.path().join("out/report.json"))), without_time(report));
}

/// A pretraining recipe with the encoder and the data of [`RECIPE`].
const PRETRAIN: &str = r#"
objective = "supervised"
model = "vit:dim=16,depth=1,heads=2,patch=16,image=64"
data = "part-shapes"
options = { pool = "mean" }
views = { size_px = 64, scale = [1.0, 1.0], normalize = "half" }
train = { epochs = 1.0, batch = 12, base_lr = 1e-3, warmup_epochs = 0.0, log_every_steps = 1 }
"#;

#[test]
fn compare_trains_a_model_that_is_given_by_its_recipe() {
    let dir = desk();
    std::fs::write(dir.path().join("one.toml"), PRETRAIN).expect("a recipe");
    let common = ["--recipe", "small.toml", "--limit", "48"];
    let ours = ["compare", "ours=recipe:one.toml", "random=vit:dim=16,depth=2,heads=2,patch=16,image=64"];
    let one = run(&dir, &[&ours[..], &common, &["--out", "one"]].concat());
    let stderr = String::from_utf8_lossy(&one.stderr).into_owned();
    assert_eq!(one.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("ours: training, then questions"), "{stderr}");
    assert!(stderr.contains("ours: 4 steps of training, too few to learn much"), "{stderr}");
    assert_eq!(json(&dir.path().join("one/report.json"))["model"], "ours, random");
    let resolved = std::fs::read_to_string(dir.path().join("one/recipe.toml")).expect("a recipe");
    assert!(resolved.contains("depth=1"), "the recipe's encoder is the comparison's: {resolved}");

    let other = PRETRAIN.replace("depth=1", "depth=2");
    std::fs::write(dir.path().join("two.toml"), other).expect("a recipe");
    let refused = |models: &[&str], more: &[&str], says: &str| {
        let output = run(&dir, &[&["compare"], models, &common[..], more, &["--out", "x"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(says), "`{says}` in: {stderr}");
    };
    refused(&["a=recipe:one.toml", "b=recipe:two.toml"], &[], "model b: expected the model of a");
    refused(&["a=recipe:one.toml", "a=vit-nano/8"], &[], "found `a` twice");
    refused(&["a=recipe:none"], &[], "recipe: expected a file or one of");
    refused(&["a=recipe:one.toml"], &["--set", "train.0.train.batch=96"], "--set train.0.train.batch=");
}

#[test]
fn compare_takes_models_that_are_there_and_refuses_what_cannot_be() {
    let dir = desk();
    let given = "small=vit:dim=16,depth=2,heads=2,patch=16,image=64";
    // Four samples of a class are too few for five shots: the rest is asked, and the cell says why, after a resume too.
    let linear = "study = \"linear\"\noptions = { n_held_out = 12, solver = { kind = \"ridge\" } }";
    let few = RECIPE.replace(linear, "study = \"few-shot\"");
    assert_ne!(few, RECIPE);
    std::fs::write(dir.path().join("few.toml"), few).expect("a recipe");
    for more in [&[][..], &["--resume"]] {
        let args = ["compare", given, "--recipe", "few.toml", "--limit", "48", "--out", "given"];
        let two = run(&dir, &[&args[..], more].concat());
        assert_eq!(two.status.code(), Some(0), "{}", String::from_utf8_lossy(&two.stderr));
        let report = json(&dir.path().join("given/report.json"));
        assert_eq!(report["model"], "small");
        let cells = serde_json::to_string(&report["tables"]).expect("JSON");
        assert!(
            cells.contains("too little data: expected more than 10 training samples of every class"),
            "{cells}"
        );
    }

    let refused = |args: &[&str], says: &str| {
        let output = run(&dir, args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(says), "`{says}` in: {stderr}");
    };
    refused(&["compare", given, "--recipe", "small.toml", "--limit", "48", "--out", "given"], "not empty");
    refused(&["compare", "untrained=vit-nano/8", "--recipe", "small.toml", "--out", "x"], "not a floor's");
    refused(&["compare", "--recipe", "none.toml", "--out", "x"], "found none: none.toml");
    refused(&["compare", "--recipe", "small.toml", "--set", "probes.0.study=no", "--out", "x"], "found `no`");
    refused(&["compare", "--recipe", "small.toml", "--set", "sise_px=3", "--out", "x"], "sise_px");
    assert!(!dir.path().join("x").exists(), "nothing is left of what was refused");
}

/// A file of timm's names that does not say its heads: 4 of width 8.
fn undecided() -> String {
    let golden =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/vit_plain/weights.safetensors");
    golden.display().to_string()
}

#[test]
fn compare_takes_the_words_for_files_that_do_not_say_all() {
    let dir = desk();
    let given = format!("theirs={}", undecided());
    let base =
        ["compare", &given, "random=vit:dim=16,depth=2,heads=2,patch=16,image=64", "--recipe", "small.toml"];
    let asked = |words: &[&str], out: &str| {
        let less = ["--limit", "48", "--out", out];
        run(&dir, &[&base[..], &less, words].concat())
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let silent = asked(&[], "x");
    assert_eq!(silent.status.code(), Some(1), "{}", said(&silent));
    assert!(
        said(&silent).contains("model theirs") && said(&silent).contains("--arch vit:heads="),
        "{}",
        said(&silent)
    );
    for (words, says) in [
        (&["--arch", "thiers=vit:heads=4"][..], "expected the name of a given model (theirs, random)"),
        (
            &["--arch", "theirs=vit:heads=4", "--arch", "random=vit:heads=4"],
            "model random: --arch vit:heads=4: expected a weights file",
        ),
        (&["--branch", "theirs=both"], "expected student or teacher; found `both`"),
        (&["--family", "theirs=dinno"], "found `dinno`"),
    ] {
        let output = asked(words, "x");
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(says), "`{says}` in: {}", said(&output));
    }
    assert!(!dir.path().join("x").exists(), "nothing is left of what was refused");
    // By name, and for all that do not say it: the same numbers.
    let numbers = |words: &[&str], out: &str| {
        let output = asked(words, out);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        json(&dir.path().join(out).join("theirs/attention-distance/report.json"))["metrics"].clone()
    };
    let by_name = numbers(&["--arch", "theirs=vit:heads=4", "--family", "theirs=dino"], "one");
    assert_eq!(by_name, numbers(&["--arch", "vit:heads=4", "--family", "dino"], "all"));
    assert_ne!(
        by_name,
        numbers(&["--arch", "vit:heads=4", "--family", "beit"], "other"),
        "a family's own transform"
    );
}

#[test]
fn a_question_that_does_not_apply_to_a_model_is_said_in_its_cell_and_the_others_are_asked() {
    let dir = desk();
    let with_class_tokens =
        RECIPE.replace("options = { batch = 16 }", "options = { batch = 16, tokens = \"cls\" }");
    let overlay = "\n[[analyses]]\nstudy = \"attention-overlay\"\n\n[[analyses]]\nstudy = \"token-pca\"\n";
    std::fs::write(dir.path().join("families.toml"), with_class_tokens + overlay).expect("a recipe");
    let with = "vit:dim=16,depth=2,heads=2,patch=16,image=64";
    let without = format!("without={with},class_token=false,pool=mean");
    let (a, b) = (format!("a={with}"), format!("b={with},registers=2"));
    let compare = ["compare", &a, &b, &without, "--recipe", "families.toml", "--limit", "48", "--out", "out"];
    let answer = run(&dir, &compare);
    assert_eq!(answer.status.code(), Some(0), "{}", String::from_utf8_lossy(&answer.stderr));
    let report = json(&dir.path().join("out/report.json"));
    let tables = report["tables"].as_array().expect("tables");
    let overview = tables.iter().find(|table| table["name"] == "overview").expect("an overview");
    assert_eq!(
        overview["columns"],
        serde_json::json!(["question", "raw-pixels", "untrained", "a", "b", "without"])
    );
    let rows = overview["rows"].as_array().expect("rows");
    let row = |start: &str| {
        let is_it = |row: &&Value| row[0].as_str().is_some_and(|question| question.starts_with(start));
        rows.iter().find(is_it).unwrap_or_else(|| panic!("a row {start}: {overview}"))
    };
    let cka = row("CKA");
    assert!(cka[3].is_number() && cka[4].is_number(), "{cka}");
    assert!(cka[5].as_str().is_some_and(|why| why.contains("needs a class token")), "{cka}");
    let knn = row("kNN: top-1");
    assert!((1..6).all(|column| knn[column].is_number()), "{knn}");
    let overlay = row("Attention overlay");
    assert!(overlay[1] == "no layers" && overlay[5].is_number(), "{overlay}");
    // Every row leads to a table that is there, and every model has its pictures.
    let links = overview["links"].as_array().expect("links");
    assert_eq!(links.len(), rows.len());
    assert!(links.iter().all(|link| tables.iter().any(|table| table["name"] == *link)), "{links:?}");
    let figures = report["figures"].as_array().expect("figures");
    for model in ["untrained", "a", "b", "without"] {
        for name in ["attention-overlay_attention_overlay", "token-pca_token_colors"] {
            let name = format!("{name}_{model}");
            assert!(figures.iter().any(|figure| figure["name"] == name.as_str()), "{name}");
        }
    }
    let page = std::fs::read_to_string(dir.path().join("out/report.html")).expect("a page");
    assert!(page.contains("<a href=\"#table-knn_best_layers\">"), "numbers lead to their tables");
    let again = run(&dir, &[&compare[..], &["--resume"]].concat());
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(without_time(json(&dir.path().join("out/report.json"))), without_time(report));
}
