//! The built binary, as a user runs it: commands, files, exit codes, and what it says about bad input.

mod desk;

use desk::{Answer, Desk, TINY};
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

fn metric<'a>(report: &'a Value, name: &str) -> &'a Value {
    let metrics = report["metrics"].as_array().expect("metrics");
    metrics.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("a metric {name}"))
}

#[test]
fn list_names_everything_and_says_it_as_json() {
    let desk = Desk::new();
    let all = desk.run(&["list"]).done().stdout;
    for name in
        ["supervised", "mae", "knn", "attention-distance", "vit-nano/PATCH", "part-shapes", "mae-part-shapes"]
    {
        assert!(all.contains(name), "{name} in {all}");
    }
    let probes = desk.run(&["list", "probes", "--json"]).done().stdout;
    let probes: Value = serde_json::from_str(&probes).expect("one document");
    assert_eq!(probes[0]["name"], "knn");
    for key in ["kind", "name", "line", "source"] {
        assert!(probes[0][key].is_string(), "{key}");
    }
    desk.run(&["completions", "bash"]).done();
    for verb in ["compare", "pretrain", "probe", "analyze", "embed", "list", "completions"] {
        let help = desk.run(&[verb, "--help"]).done().stdout;
        assert!(help.contains("Examples:") && help.contains(&format!("vitscope {verb}")), "{help}");
    }
    assert_eq!(desk.run(&["probe", "--no-such-option"]).code, Some(2));
}

#[test]
fn the_help_of_a_probe_says_its_protocol_in_words_and_the_options_with_their_defaults() {
    let desk = Desk::new();
    let help = desk.run(&["probe", "knn", "--help"]).done().stdout;
    for words in ["vote for their class with weight exp(similarity / T)", "dino", "ibot", "headline_k = 20"] {
        assert!(help.contains(words), "{words} in {help}");
    }
    let probes = desk.run(&["list", "probes", "--json"]).done().stdout;
    let probes: Value = serde_json::from_str(&probes).expect("one document");
    for probe in probes.as_array().expect("probes") {
        let name = probe["name"].as_str().expect("a name");
        let help = desk.run(&["probe", name, "--help"]).done().stdout;
        assert!(help.starts_with(name) && help.contains("Options and their defaults"), "{help}");
    }
}

#[test]
fn a_protocol_pins_the_options_and_the_report_carries_its_digest() {
    let desk = Desk::new();
    let data = ["--data", "part-shapes:clips", "--limit", "32", "--layers", "last", "--no-floor"];
    let base =
        [&["probe", "label-propagation", "--weights", TINY, "--normalize", "half"][..], &data[..]].concat();
    for out in ["one", "two"] {
        let threads = if out == "one" { "1" } else { "2" };
        desk.run(&[&base[..], &["--protocol", "crw", "--threads", threads, "--out", out]].concat()).done();
    }
    let read = |out: &str| -> Value {
        let text = std::fs::read_to_string(desk.path(out).join("report.json")).expect("a report");
        serde_json::from_str(&text).expect("JSON")
    };
    let (one, two) = (read("one"), read("two"));
    assert_eq!(one["metrics"], two["metrics"], "one and two threads");
    assert_eq!(one["provenance"]["extra"]["protocol"]["name"], "crw");
    assert_eq!(one["provenance"]["extra"]["protocol"]["sha256"].as_str().expect("a digest").len(), 64);
    assert_eq!(one["provenance"]["recipe"]["options"]["neighborhood"], "circle");
    let best = metric(&one, "best.j_and_f")["value"].as_f64().expect("a number");
    assert!(best > 0.0 && best < 1.0, "{best}");
    // What is saved says the protocol too, and runs again.
    desk.run(&["probe", "one/recipe.toml", "--out", "again"]).done();
    assert_eq!(read("again")["metrics"], one["metrics"]);
}

#[test]
fn embed_writes_every_array_with_labels_and_ids() {
    let desk = Desk::new().with_pixels();
    let base = ["embed", "--weights", TINY, "--data", "pixels:pixels.safetensors", "--select"];
    let embed =
        |select: &str, out: &str| desk.run(&[&base[..], &[select, "--out", out, "--batch", "5"]].concat());

    let answer = embed("block*.cls,norm.patches", "all.safetensors").done();
    assert_eq!(answer.last_line(), "all.safetensors");
    let bytes = std::fs::read(desk.path("all.safetensors")).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let names: BTreeSet<&str> = file.names().into_iter().collect();
    assert_eq!(names, BTreeSet::from(["block0.cls", "block1.cls", "labels", "norm.patches"]));
    assert_eq!(file.tensor("block0.cls").expect("cls").shape(), [12, 32]);
    assert_eq!(file.tensor("norm.patches").expect("patches").shape(), [12, 16, 32]);
    let labels = file.tensor("labels").expect("labels");
    assert_eq!((labels.dtype(), &labels.data()[8..16]), (Dtype::I64, &1i64.to_le_bytes()[..]));
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let ids = &header.metadata().as_ref().expect("metadata")["ids"];
    let ids: Vec<String> = serde_json::from_str(ids).expect("a list");
    assert_eq!((ids.len(), ids[0].as_str()), (12, "pixels/0"));
    let cls: Vec<f32> = file
        .tensor("block1.cls")
        .expect("cls")
        .data()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();

    embed("block1.cls", "one.npy").done();
    let npy = std::fs::read(desk.path("one.npy")).expect("a file");
    let npy = npyz::NpyFile::new(&npy[..]).expect("npy");
    assert_eq!(npy.shape(), [12, 32]);
    assert_eq!(npy.into_vec::<f32>().expect("values"), cls);

    embed("block1.cls,norm.mean", "both.npz").done();
    let mut npz = npyz::npz::NpzArchive::open(desk.path("both.npz")).expect("npz");
    let names: BTreeSet<String> = npz.array_names().map(str::to_owned).collect();
    assert_eq!(names, ["block1.cls", "ids", "labels", "norm.mean"].map(str::to_owned).into());
    let ids = npz.by_name("ids").expect("npz").expect("ids").into_vec::<String>().expect("strings");
    assert_eq!(ids[11], "pixels/11");

    embed("block1.cls", "table.csv").done();
    let csv = std::fs::read_to_string(desk.path("table.csv")).expect("a file");
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 13);
    assert!(rows[0].starts_with("id,label,block1.cls.0,block1.cls.1,"), "{}", rows[0]);
    assert!(rows[2].starts_with(&format!("pixels/1,1,{}", cls[32])), "{}", rows[2]);

    embed("norm.patches", "no.csv").refused(&["vectors", "norm.patches"]);
    embed("block*.cls", "no.npy").refused(&["one array", "block1.cls"]);
    embed("norm.cls", "no.parquet").refused(&[".safetensors, .npz, .npy or .csv", "`.parquet`"]);
    embed("block7.cls", "no.npz").refused(&["a block from 0 to 1", "block7.cls"]);
    embed("norm.banana", "no.npz").refused(&["select: expected", "norm.banana"]);
    embed("norm.cls", "one.npy").refused(&["--overwrite", "one.npy"]);
    assert!(!desk.path("no.npz").exists() && !desk.path("no.csv").exists());
    let left: Vec<String> = std::fs::read_dir(desk.path(""))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(left, [""; 0], "nothing half written stays");
}

#[test]
fn embed_reads_a_folder_of_pictures() {
    let desk = Desk::new().with_photos();
    let args = [
        "embed",
        "--weights",
        TINY,
        "--data",
        "folder:photos",
        "--split",
        "all",
        "--out",
        "photos.csv",
        "--json",
    ];
    let answer = desk.run(&args).done();
    let document: Value = serde_json::from_str(&answer.stdout).expect("one document");
    assert_eq!(document["kind"], "embed");
    assert_eq!(metric(&document, "n_samples")["value"], 10.0);
    let csv = std::fs::read_to_string(desk.path("photos.csv")).expect("a file");
    assert_eq!(csv.lines().count(), 11);
    assert!(csv.contains("\n\"a/0, picture.png\",0,"), "{csv}");
}

#[test]
fn probe_shows_chance_raw_pixels_and_the_untrained_model() {
    let desk = Desk::new().with_pixels();
    let base = ["probe", "knn", "--weights", TINY, "--data", "pixels:pixels.safetensors"];
    let options = ["--set", "ks=[1, 5]", "--set", "headline_k=5", "--expect", "best.top1>=0.0"];
    let answer = desk.run(&[&base[..], &options].concat()).done();
    assert_eq!(answer.last_line(), "runs/probe-1");
    let report = desk.json("runs/probe-1/report.json");
    assert_eq!((&report["study"], &report["kind"]), (&"knn".into(), &"probe".into()));
    assert!((metric(&report, "chance")["value"].as_f64().expect("a number") - 1.0 / 3.0).abs() < 1e-9);
    assert_eq!(metric(&report, "raw_pixels")["unit"], "ratio");
    // The weights are random, so the model is its own floor.
    assert_eq!(metric(&report, "untrained")["value"], metric(&report, "best.top1")["value"]);
    assert_eq!(report["provenance"]["recipe"]["options"]["ks"], serde_json::json!([1, 5]));
    assert_eq!(report["provenance"]["weights_sha256"].as_str().map(str::len), Some(64));
    assert!(report["tables"].as_array().expect("tables").iter().any(|table| table["name"] == "floors"));
    assert!(desk.path("runs/probe-1/report.md").is_file());

    // The saved recipe repeats the run.
    desk.run(&["probe", "runs/probe-1/recipe.toml", "--no-floor"]).done();
    let again = desk.json("runs/probe-2/report.json");
    assert_eq!(metric(&again, "best.top1"), metric(&report, "best.top1"));
    assert!(!again["metrics"].to_string().contains("raw_pixels"));

    let expect =
        |what: &str| desk.run(&[&base[..], &options[..4], &["--no-floor", "--expect", what]].concat());
    expect("best.top1>1").stopped(1, &["expected best.top1>1", "found best.top1["]);
    expect("top1[layer=1,k=1]>=0").done();
    expect("best.top2>=0").refused(&["best.top2", "nearest: best.top1"]);
    expect("best.top1").refused(&["--expect: expected NAME"]);
}

#[test]
fn reports_are_the_same_for_one_thread_and_two() {
    let desk = Desk::new().with_pixels();
    let report = |verb: &[&str], threads: &str, out: &str| {
        let rest =
            ["--weights", TINY, "--data", "pixels:pixels.safetensors", "--threads", threads, "--out", out];
        desk.run(&[verb, &rest].concat()).done();
        let text = std::fs::read_to_string(desk.path(out).join("report.json")).expect("a report");
        let lines = text.lines().filter(|line| !line.contains("elapsed_secs"));
        lines.collect::<Vec<_>>().join("\n")
    };
    for verb in [["probe", "knn"], ["analyze", "attention-distance"], ["analyze", "cka"]] {
        let (one, two) = (format!("{}-1", verb[1]), format!("{}-2", verb[1]));
        assert_eq!(report(&verb, "1", &one), report(&verb, "2", &two), "{verb:?}");
    }
}

#[test]
fn analyze_puts_several_models_beside_one_another() {
    let desk = Desk::new().with_pixels();
    let other = "vit:dim=32,depth=1,heads=2,patch=16,image=32";
    let data = ["--data", "pixels:pixels.safetensors", "--out", "both"];
    let args =
        [&["analyze", "attention-distance", "--weights", TINY, "--weights", other][..], &data].concat();
    let answer = desk.run(&args).done();
    assert_eq!(answer.last_line(), "both");
    let report = desk.json("both/report.json");
    let models: BTreeSet<&str> = report["metrics"]
        .as_array()
        .expect("metrics")
        .iter()
        .map(|metric| metric["params"]["model"].as_str().expect("a model"))
        .collect();
    assert_eq!(models, BTreeSet::from([TINY, other]));
    assert_eq!(report["tables"][0]["columns"][0], "model");
    assert_eq!(report["tables"][0]["rows"].as_array().map(Vec::len), Some(2 * 4 + 2));
    let folders = std::fs::read_dir(desk.path("both")).expect("a folder").flatten();
    let reports = folders.filter(|entry| entry.path().join("report.json").is_file()).count();
    assert_eq!(reports, 2);

    desk.run(&args).refused(&["--out", "--overwrite", "not empty", "both"]);
    desk.run(&[&args[..], &["--overwrite", "--limit", "3"]].concat()).done();
}

#[test]
fn analyze_cka_compares_layers_within_a_model_and_between_two() {
    let desk = Desk::new().with_pixels();
    let other = "vit:dim=16,depth=3,heads=2,patch=16,image=32";
    let analyze = |weights: &[&str], rest: &[&str], out: &str| {
        let weights: Vec<&str> = weights.iter().flat_map(|&model| ["--weights", model]).collect();
        let data = ["--data", "pixels:pixels.safetensors", "--out", out, "--set", "batch=6"];
        desk.run(&[&["analyze", "cka"][..], &weights, &data, rest].concat())
    };
    let matrix = |out: &str, name: &str| -> (Vec<usize>, Vec<f32>) {
        let bytes = std::fs::read(desk.path(out).join("arrays.safetensors")).expect("arrays");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let array = file.tensor(name).expect(name);
        let values = array.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        (array.shape().to_vec(), values.collect())
    };
    analyze(&[TINY], &[], "one").done();
    for name in ["cka_minibatch", "cka_full"] {
        let (shape, values) = matrix("one", name);
        assert_eq!((shape, values[0], values[3]), (vec![2, 2], 1.0, 1.0));
        assert_eq!(values[1], values[2]);
    }
    analyze(&[TINY, other], &["--batch", "5"], "two").done();
    assert_eq!(matrix("two", "cka_full").0, [2, 3]);
    assert_eq!(matrix("two", "cka_full-1-1").0, [3, 3]);
    let (within, alone) = (matrix("two", "cka_minibatch-0-0").1, matrix("one", "cka_minibatch").1);
    assert!(within.iter().zip(&alone).all(|(x, y)| (x - y).abs() < 1e-6), "{within:?} and {alone:?}");
    let report = desk.json("two/report.json");
    assert_eq!(report["model"], format!("{TINY}, {other}"));
    assert_eq!(
        report["provenance"]["extra"]["weights_sha256_by_model"].as_object().map(|digests| digests.len()),
        Some(2)
    );

    analyze(&[TINY], &["--set", "tokens=patches", "--set", "full_limit_mb=0"], "none").refused(&[
        "cka",
        "at most 0 MiB for the full estimator (full_limit_mb)",
        "1 MiB for tokens = \"patches\" of 2 layers and 12 images",
    ]);
    assert!(!desk.path("none/report.json").exists());
}

const RECIPE: &str = r#"
objective = "mae"
model = "vit:dim=32,depth=2,heads=4,patch=8,image=32"
data = "pixels:pixels.safetensors"

[views]
size_px = 32
scale = [1.0, 1.0]

[train]
epochs = 2
batch = 8
warmup_epochs = 0
log_every_steps = 1
checkpoint_every_steps = 2

[options]
decoder_width = 16
decoder_depth = 1
decoder_heads = 2
"#;

#[test]
fn pretrain_leaves_a_run_that_can_be_probed_and_resumed() {
    let desk = Desk::new().with_pixels();
    std::fs::write(desk.path("tiny.toml"), RECIPE).expect("a recipe");
    let answer = desk.run(&["pretrain", "tiny.toml", "--out", "run", "--set", "train.base_lr=1e-3"]).done();
    assert_eq!(answer.last_line(), "run");
    for file in [
        "recipe.toml",
        "metrics.jsonl",
        "backbone.safetensors",
        "report.json",
        "report.md",
        "checkpoints/step-6",
    ] {
        assert!(desk.path("run").join(file).exists(), "{file}");
    }
    let report = desk.json("run/report.json");
    assert_eq!((&report["kind"], &report["study"]), (&"pretrain".into(), &"mae".into()));
    assert_eq!(report["provenance"]["recipe"]["train"]["base_lr"], 1e-3);
    assert!(metric(&report, "loss")["value"].as_f64().expect("a number") > 0.0);
    assert!(report["figures"].to_string().contains("preview"), "{}", report["figures"]);

    let knn = [
        "probe",
        "knn",
        "--weights",
        "run",
        "--data",
        "pixels:pixels.safetensors",
        "--no-floor",
        "--out",
        "knn",
    ];
    desk.run(&knn).done();
    let probed = desk.json("knn/report.json");
    assert_eq!(probed["provenance"]["weights_sha256"], report["provenance"]["weights_sha256"]);

    // Going on with a run: the same recipe is needed, and what is done is not done again.
    let log = std::fs::read_to_string(desk.path("run/metrics.jsonl")).expect("a log");
    let base = ["pretrain", "tiny.toml", "--out", "run"];
    desk.run(&base).refused(&["not empty", "run"]);
    desk.run(&[&base[..], &["--resume"]].concat()).refused(&["checkpoint", "base_lr"]);
    desk.run(&[&base[..], &["--resume", "--set", "train.base_lr=1e-3", "--limit", "8"]].concat()).refused(&[
        "--resume",
        "n_samples = 24",
        "n_samples = 8",
    ]);
    desk.run(&[&base[..], &["--resume", "--set", "train.base_lr=1e-3"]].concat()).done();
    assert_eq!(std::fs::read_to_string(desk.path("run/metrics.jsonl")).expect("a log"), log);

    // Weights that are cut short are refused, with the file's name.
    let whole = std::fs::read(desk.path("run/backbone.safetensors")).expect("weights");
    std::fs::write(desk.path("cut.safetensors"), &whole[..whole.len() - 100]).expect("a file");
    let cut = ["--weights", "cut.safetensors", "--data", "pixels:pixels.safetensors"];
    desk.run(&[&["probe", "knn"][..], &cut].concat()).refused(&["malformed weights", "cut.safetensors"]);
    std::fs::write(desk.path("junk.safetensors"), b"not weights at all").expect("a file");
    let junk = ["--weights", "junk.safetensors", "--data", "pixels:pixels.safetensors"];
    desk.run(&[&["analyze", "attention-distance"][..], &junk].concat()).refused(&["junk.safetensors"]);
}

#[test]
fn supervised_training_says_its_accuracy() {
    let desk = Desk::new().with_pixels();
    let recipe = RECIPE.split("[options]").next().expect("text").replace("mae", "supervised");
    std::fs::write(desk.path("tiny.toml"), recipe).expect("a recipe");
    let args = ["pretrain", "tiny.toml", "--json", "-q", "--set", "train.epochs=0.4", "--expect", "top1>=0"];
    let answer = desk.run(&args).done();
    let document: Value = serde_json::from_str(&answer.stdout).expect("one document");
    assert!((0.0..=1.0).contains(&metric(&document, "top1")["value"].as_f64().expect("a number")));
    assert_eq!(answer.stderr, "", "-q is silent");
    assert_eq!(document, desk.json("runs/pretrain-1/report.json"));
}

#[test]
fn bad_input_is_told_in_one_line_and_leaves_nothing() {
    let desk = Desk::new().with_pixels();
    std::fs::write(desk.path("tiny.toml"), RECIPE).expect("a recipe");
    std::fs::write(desk.path("broken.toml"), "objective = ").expect("a recipe");
    let probe = |weights: &str, data: &str| desk.run(&["probe", "knn", "--weights", weights, "--data", data]);
    probe(TINY, "photos").refused(&["unknown data set", "part-shapes", "`photos`"]);
    probe(TINY, "pixels:nothing.safetensors").refused(&["nothing.safetensors"]);
    probe(TINY, "folder:nothing").refused(&["folder", "nothing"]);
    probe("nothing.safetensors", "part-shapes").refused(&["weights file", "nothing.safetensors"]);
    probe("vit-xl/16", "part-shapes").refused(&["vit-nano/PATCH", "vit-xl/16"]);
    probe("vit:dim=32,depth=2,heads=5,patch=8,image=32", "part-shapes").refused(&["heads"]);
    let tiny = ["--weights", TINY, "--data", "pixels:pixels.safetensors"];
    let with = |verb: &[&str], more: &[&str]| desk.run(&[verb, &tiny[..], more].concat());
    with(&["probe", "knnn"], &[]).refused(&["probe: expected one of knn", "did you mean `knn`?"]);
    with(&["analyze", "nothing"], &[]).refused(&["analysis: expected one of attention-distance"]);
    with(&["probe", "knn"], &["--layers", "9"]).refused(&["layers from 0 to 1", "9"]);
    with(&["probe", "knn"], &["--layers", "some"]).refused(&["all", "some"]);
    with(&["probe", "knn"], &["--set", "kss=[1]"]).refused(&["kss", "did you mean `options.ks`?"]);
    with(&["probe", "knn"], &["--set", "ks"]).refused(&["KEY=VALUE"]);
    with(&["probe", "knn"], &["--size", "33"]).refused(&["multiple of the patch (8 px)", "33"]);
    with(&["probe", "knn"], &["--device", "cuda:0"]).refused(&["--features cuda"]);
    with(&["probe", "knn"], &["--device", "toaster"]).refused(&["toaster"]);
    let pretrain = |args: &[&str]| desk.run(&[&["pretrain"][..], args].concat());
    pretrain(&["mae-part-shape"]).refused(&["did you mean `mae-part-shapes`?"]);
    pretrain(&["nothing.toml"]).refused(&["cannot read recipe", "nothing.toml"]);
    pretrain(&["broken.toml"]).refused(&["not valid TOML", "broken.toml", "line 1"]);
    pretrain(&["tiny.toml", "--set", "train.epoch=1"])
        .refused(&["train.epoch", "did you mean `train.epochs`?"]);
    pretrain(&["tiny.toml", "--set", "objective=mea"]).refused(&["did you mean `mae`?"]);
    pretrain(&["tiny.toml", "--set", "options.mask_ratio=2"]).refused(&["mask_ratio"]);
    pretrain(&["tiny.toml", "--batch", "1000"]).refused(&["at least one batch of 1000"]);
    pretrain(&["tiny.toml", "--out", "empty", "--resume"]).refused(&["--resume", "empty"]);
    assert!(!Path::exists(&desk.path("runs")), "nothing was left");
    assert!(!Path::exists(&desk.path("empty")), "nothing was left");
}

#[test]
fn a_loss_that_is_not_finite_is_exit_code_1() {
    let desk = Desk::new().with_pixels();
    std::fs::write(desk.path("tiny.toml"), RECIPE).expect("a recipe");
    let args = ["pretrain", "tiny.toml", "--set", "train.base_lr=1e38", "--set", "train.epochs=5"];
    desk.run(&args).stopped(1, &["loss term `mse`", "finite"]);
}

/// Ctrl-C while training: exit code 130, and the command that goes on does.
#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let desk = Desk::new().with_pixels();
    std::fs::write(desk.path("tiny.toml"), RECIPE).expect("a recipe");
    let args = ["pretrain", "tiny.toml", "--out", "run", "--set", "train.epochs=100000"];
    let child =
        desk.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let log = desk.path("run/metrics.jsonl");
    while std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > 3).eq(&false) {
        std::thread::yield_now();
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let answer = Answer::of(child.wait_with_output().expect("it ends"));
    let command = "go on with: vitscope pretrain tiny.toml --out run --set train.epochs=100000 --resume";
    answer.stopped(130, &["interrupted; saved after step", command]);
    assert!(desk.path("run/checkpoints").is_dir());
}
