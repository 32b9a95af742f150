//! Published checkpoints through the command line: the numbers of the golden cases, and what `inspect` and `export` say.

mod desk;

use desk::Desk;
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Cases with one encoder whose blocks or tokens are known.
const CASES: [&str; 22] = [
    "vit_plain",
    "vit_registers_layerscale",
    "vit_dist_free_qkv_bias_off",
    "vit_gap",
    "clip_vision",
    "clip_vision_hf",
    "beit",
    "beit_shared_hf",
    "dinov2",
    "dinov2_giant_registers",
    "dinov2_registers_hf",
    "dinov2_swiglu_hf",
    "dinov2_swiglu_hf_state_dict",
    "moco_v3",
    "vit_hf",
    "vit_hf_state_dict",
    "augreg_npz",
    "deit_distilled",
    "simmim",
    "sit",
    "leopart",
    "milan",
];

/// Cases whose tensors tell the heads: tables of relative positions have a column each, JAX's kernels an axis.
const WITH_HEADS: [&str; 4] = ["beit", "beit_shared_hf", "simmim", "augreg_npz"];

fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(case)
}

fn weights(case: &str) -> String {
    let folder = golden(case);
    let file = ["weights.safetensors", "weights.pth", "weights.npz"].map(|name| folder.join(name));
    file.into_iter().find(|file| file.is_file()).expect("weights").display().to_string()
}

fn meta(case: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(case).join("meta.json")).expect("meta.json")).expect("JSON")
}

/// The words of `--arch` for a case.
fn arch(case: &str) -> String {
    let meta = meta(case);
    let words = [
        ("embed_dim", "dim"),
        ("depth", "depth"),
        ("num_heads", "heads"),
        ("patch_size", "patch"),
        ("img_size", "image"),
        ("reg_tokens", "registers"),
        ("mlp_ratio", "mlp_ratio"),
        ("qkv_bias", "qkv_bias"),
        ("class_token", "class_token"),
        ("eps", "eps"),
    ];
    let given = words.iter().filter_map(|(key, word)| Some(format!("{word}={}", meta["config"].get(*key)?)));
    format!("vit:{}", given.collect::<Vec<_>>().join(","))
}

fn floats(file: &SafeTensors, name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = file.tensor(name).expect(name);
    assert_eq!(tensor.dtype(), Dtype::F32);
    let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    (tensor.shape().to_vec(), values.collect())
}

/// Embeds a case and compares class tokens of every block, and patches after the norm, with the golden numbers.
fn embeds_as_the_reference(desk: &Desk, case: &str, weights: &str, words: &[&str]) {
    let io = golden(case).join("io.safetensors");
    let bytes = std::fs::read(&io).expect("io");
    let io_file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let has = |name: &str| io_file.names().contains(&name);
    let has_class = !case.contains("gap");
    let has_norm = has("tokens") && has_class && case != "beit";
    let part = if has_class { "cls" } else { "patches" };
    let mut selects = vec![format!("block*.{part}")];
    if has_norm {
        selects.push("norm.patches".into());
    }
    let data = format!("pixels:{}", io.display());
    let select = selects.join(",");
    let base =
        ["embed", "--weights", weights, "--data", &data, "--select", &select, "--out", "out.safetensors"];
    desk.run(&[&base[..], &["--overwrite", "-q"], words].concat()).done();
    let out = std::fs::read(desk.path("out.safetensors")).expect("embedded");
    let out = SafeTensors::deserialize(&out).expect("safetensors");
    let n_prefix = 1
        + usize::from(case.contains("distilled"))
        + meta(case)["config"].get("reg_tokens").and_then(Value::as_u64).unwrap_or(0) as usize;
    let mut n = 0;
    for block in 0..3 {
        let name = format!("block.{block}");
        if has(&name) {
            let tokens = if has_class { 0..1 } else { 0..usize::MAX };
            near(
                case,
                &name,
                floats(&io_file, &name),
                tokens,
                &floats(&out, &format!("block{block}.{part}")).1,
            );
            n += 1;
        }
    }
    if has_norm {
        near(
            case,
            "tokens",
            floats(&io_file, "tokens"),
            n_prefix..usize::MAX,
            &floats(&out, "norm.patches").1,
        );
        n += 1;
    }
    assert!(n > 0, "{case}: nothing was compared");
}

/// Compares some tokens of `[B, T, D]` with ours, within the cases' own tolerance.
fn near(
    case: &str,
    name: &str,
    (shape, expected): (Vec<usize>, Vec<f32>),
    tokens: std::ops::Range<usize>,
    ours: &[f32],
) {
    let (t, d) = (shape[1], shape[2]);
    let tokens = tokens.start..tokens.end.min(t);
    let expected: Vec<f32> =
        expected.chunks(t * d).flat_map(|image| image[tokens.start * d..tokens.end * d].to_vec()).collect();
    assert_eq!(ours.len(), expected.len(), "{case}: {name}");
    for (ours, expected) in ours.iter().zip(&expected) {
        assert!(
            (ours - expected).abs() <= 2e-5 + 1e-4 * expected.abs(),
            "{case}: {name}: {ours}, {expected}"
        );
    }
}

#[test]
fn every_golden_checkpoint_embeds_as_its_reference_with_its_architecture_in_words() {
    let desk = Desk::new();
    for case in CASES {
        embeds_as_the_reference(&desk, case, &weights(case), &["--arch", &arch(case)]);
    }
}

#[test]
fn a_config_json_beside_the_file_says_the_architecture_too() {
    let desk = Desk::new();
    for case in CASES {
        let folder = desk.path(case);
        std::fs::create_dir_all(&folder).expect("a folder");
        let source = PathBuf::from(weights(case));
        let copy = folder.join(source.file_name().expect("a name"));
        std::fs::copy(&source, &copy).expect("copied");
        let config = meta(case)["config"].clone();
        std::fs::write(folder.join("config.json"), config.to_string()).expect("written");
        embeds_as_the_reference(&desk, case, &copy.display().to_string(), &[]);
        // In the words of transformers.
        let hf = json!({"hidden_size": config["embed_dim"], "num_hidden_layers": config["depth"],
            "num_attention_heads": config["num_heads"], "image_size": config["img_size"],
            "patch_size": config["patch_size"], "layer_norm_eps": config["eps"], "num_register_tokens": config.get("reg_tokens").unwrap_or(&json!(0))});
        std::fs::write(folder.join("config.json"), hf.to_string()).expect("written");
        embeds_as_the_reference(&desk, case, &copy.display().to_string(), &[]);
    }
}

#[test]
fn inspect_says_what_is_there_and_answers_with_its_exit_code() {
    let desk = Desk::new();
    for case in CASES.into_iter().chain(["mae", "vit_mae_hf", "vit_mae_hf_state_dict", "dino_checkpoint"]) {
        let (weights, arch) = (weights(case), arch(case));
        let text = desk.run(&["inspect", &weights, "--arch", &arch]).done().stdout;
        assert_eq!(text.lines().last(), Some("complete"), "{case}: {text}");
        assert!(text.contains("n_heads") && text.contains("(--arch)"), "{case}: {text}");
        let json = desk.run(&["inspect", &weights, "--arch", &arch, "--json"]).done().stdout;
        let json: Value = serde_json::from_str(&json).expect("one document");
        assert_eq!(json["complete"], true, "{case}");
        // Without a word the heads are told by nothing, but for BEiT, whose tables have a column each.
        let answer = desk.run(&["inspect", &weights]);
        match case {
            case if WITH_HEADS.contains(&case) => {
                assert_eq!(answer.code, Some(0), "{case}: {}", answer.stderr)
            }
            _ => answer.stopped(1, &["heads", "--arch vit:heads="]),
        }
    }
    let both =
        desk.run(&["inspect", &weights("dino_checkpoint"), "--arch", &arch("dino_checkpoint"), "--json"]);
    let both: Value = serde_json::from_str(&both.done().stdout).expect("one document");
    assert_eq!(both["root"], "teacher.backbone.");
    let student = ["--branch", "student", "--json"];
    let student = desk.run(
        &[&["inspect", &weights("dino_checkpoint"), "--arch", &arch("dino_checkpoint")][..], &student]
            .concat(),
    );
    let student: Value = serde_json::from_str(&student.done().stdout).expect("one document");
    assert_eq!(student["root"], "student.module.backbone.");
}

#[test]
fn a_damaged_checkpoint_is_refused_with_its_exit_code() {
    let desk = Desk::new();
    let bytes = std::fs::read(weights("beit")).expect("weights");
    std::fs::write(desk.path("cut.safetensors"), &bytes[..bytes.len() - 10]).expect("written");
    desk.run(&["inspect", "cut.safetensors"]).refused(&["cut.safetensors"]);
    // One letter of one name, of the same length.
    let mut renamed = bytes.clone();
    let name = b"\"blocks.1.norm2.bias\"";
    let at = renamed.windows(name.len()).position(|window| window == name).expect("a name");
    renamed[at + 1] = b'q';
    std::fs::write(desk.path("renamed.safetensors"), &renamed).expect("written");
    desk.run(&["inspect", "renamed.safetensors"]).stopped(1, &["blocks.1.norm2.bias", "qlocks.1.norm2.bias"]);
    let embed = ["embed", "--weights", "renamed.safetensors", "--data", "part-shapes", "--out", "x.npz"];
    desk.run(&embed).stopped(1, &["blocks.1.norm2.bias"]);
}

#[test]
fn what_is_exported_comes_back_bit_by_bit_under_either_names() {
    let desk = Desk::new();
    for case in CASES {
        for names in ["timm", "hf"] {
            if names == "hf" && ["vit_gap", "vit_registers_layerscale"].contains(&case) {
                continue; // no model of transformers has these parts
            }
            let out = format!("{case}-{names}/model.safetensors");
            let again = format!("{case}-{names}/again.safetensors");
            desk.run(&["export", &weights(case), "--arch", &arch(case), "--names", names, "--out", &out])
                .done();
            desk.run(&["export", &out, "--names", "timm", "--out", &again]).done();
            let first = format!("{case}-{names}/first.safetensors");
            desk.run(&["export", &weights(case), "--arch", &arch(case), "--out", &first]).done();
            let (first, again) = (
                std::fs::read(desk.path(&first)).expect("a file"),
                std::fs::read(desk.path(&again)).expect("a file"),
            );
            let tensors = |bytes: &[u8]| -> Vec<(String, Vec<u8>)> {
                let file = SafeTensors::deserialize(bytes).expect("safetensors");
                let mut all: Vec<_> =
                    file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
                all.sort();
                all
            };
            assert!(tensors(&first) == tensors(&again), "{case} as {names}");
            if names == "hf" {
                assert!(desk.path(&format!("{case}-hf/config.json")).is_file(), "{case}");
            }
        }
    }
}

#[test]
fn inspect_says_less_and_more_when_it_is_asked_to() {
    let desk = Desk::new();
    let (weights, arch) = (weights("vit_hf"), arch("vit_hf"));
    let quiet = desk.run(&["inspect", &weights, "--arch", &arch, "-q"]).done();
    assert_eq!(quiet.stdout, "", "nothing is wrong");
    let answer = desk.run(&["inspect", &weights, "-q"]);
    assert!(
        answer.stdout.starts_with("undecided heads") && answer.stdout.lines().count() == 1,
        "{}",
        answer.stdout
    );
    let text = desk.run(&["inspect", &weights, "--arch", &arch, "-v"]).done().stdout;
    let key = "encoder.layer.1.attention.attention.key.weight F32 [32, 32] → blocks.1.attn.qkv.weight (part 2 of 3)";
    assert!(text.contains(key), "{text}");
    assert_eq!(text.lines().last(), Some("complete"));
    let n_tensors = text.lines().filter(|line| line.contains(" F32 [")).count();
    assert!(text.contains(&format!("every tensor ({n_tensors})")), "{text}");
}

#[test]
fn export_says_what_it_wrote_when_it_is_asked_to() {
    let desk = Desk::new();
    let (weights, arch) = (weights("vit_hf"), arch("vit_hf"));
    let export = |out: &str, how: &str| {
        desk.run(&["export", &weights, "--arch", &arch, "--names", "hf", "--out", out, how]).done().stdout
    };
    assert_eq!(export("a/model.safetensors", "-q"), "a/model.safetensors\n");
    let text = export("b/model.safetensors", "-v");
    assert!(text.contains("wrote encoder.layer.0.attention.attention.query.bias F32 [32]"), "{text}");
    assert!(text.contains("complete") && text.ends_with("b/model.safetensors\n"), "{text}");
}

/// A recipe for one step of DINO at a learning rate of 0, with a teacher that stands still: it changes nothing.
const STANDING: &str = r#"
objective = "dino"
model = "vit:dim=32,depth=3,heads=4,patch=8,image=32"
data = "part-shapes"

[views]
size_px = 32
normalize = "half"

[train]
epochs = 1
batch = 8
warmup_epochs = 1
checkpoint_every_steps = 1
log_every_steps = 1
monitor = { n_train = 0 }

[options.crops]
n_locals = 1
local_size_px = 16

[options.head]
hidden = 40
bottleneck = 24
out_dim = 64

[options.teacher]
momentum = 1.0
centering = { kind = "mean", momentum = 1.0 }
"#;

/// The tensors of a safetensors file, by name.
fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    file.names().into_iter().map(|name| (name.to_owned(), floats(&file, name).1)).collect()
}

#[test]
fn a_training_checkpoint_goes_on_with_its_heads_and_an_encoder_alone_with_fresh_ones() {
    let desk = Desk::new();
    std::fs::write(desk.path("standing.toml"), STANDING).expect("a recipe");
    let from = weights("dino_checkpoint");
    let begin = |out: &str, words: &[&str]| {
        let words = [&["pretrain", "standing.toml", "--limit", "8", "--out", out][..], words].concat();
        desk.run(&words).done()
    };
    let said = begin("continued", &["--init-from", &from, "--set", "init=continue"]).stderr;
    assert!(said.contains("began at 0: center"), "{said}");
    let theirs = vit_core::weights::TensorFile::open(Path::new(&from)).expect("the checkpoint");
    let state = |run: &str| tensors(&desk.path(run).join("checkpoints/step-1/objective.safetensors"));
    let continued = state("continued");
    let mut n_heads = 0;
    for (name, ours) in &continued {
        let full = match name.strip_prefix("teacher.") {
            Some(rest) => format!("teacher.{rest}"),
            None if name == "center" => {
                assert!(ours.iter().all(|&value| value == 0.0));
                continue;
            }
            None => format!("student.module.{name}"),
        };
        n_heads += usize::from(full.contains(".head."));
        assert_eq!(ours, &theirs.read_f32(&full).expect(&full), "{full}");
    }
    assert_eq!((continued.len(), n_heads), (2 * 50 + 1, 2 * 8));
    // The teacher is what is exported.
    let teacher: BTreeMap<String, Vec<f32>> = continued
        .iter()
        .filter_map(|(name, values)| {
            Some((name.strip_prefix("teacher.backbone.")?.to_owned(), values.clone()))
        })
        .collect();
    let exported = |run: &str| tensors(&desk.path(run).join("backbone.safetensors"));
    assert_eq!(exported("continued"), teacher);

    // An encoder is a start as well, of student and teacher, with fresh heads.
    begin("fresh", &["--init-from", &from]);
    assert_eq!(exported("fresh"), teacher);
    assert_ne!(state("fresh")["head.mlp.0.weight"], continued["head.mlp.0.weight"]);

    // One of our own runs goes on likewise, center included.
    begin("again", &["--init-from", "continued", "--set", "init=continue"]);
    assert_eq!(state("again"), continued);

    let other = ["--init-from", &from, "--set", "init=continue", "--set", "options.head.hidden=48"];
    let words = [&["pretrain", "standing.toml", "--limit", "8", "--out", "other"][..], &other].concat();
    desk.run(&words).refused(&["head.mlp.0.weight", "[48, 32]", "[40, 32]"]);
    let words = ["pretrain", "standing.toml", "--limit", "8", "--out", "other", "--set", "init=continue"];
    desk.run(&words).refused(&["init", "init_from"]);
}
