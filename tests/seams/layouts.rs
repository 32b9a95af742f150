//! Damage: one tensor deleted, renamed, transposed or cut short in any golden checkpoint is found and named.

use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use testkit::golden::{Case, cases};
use vit_core::weights::{Checkpoint, Entry, Hints, TensorFile};
use vit_core::{Given, PRESETS};

const KINDS: [&str; 7] = ["vit", "mae", "clip_vision", "beit", "dinov2_hf", "wrapped_vit", "dino_checkpoint"];

/// Tensors of MoCo's case that stand alone as specimens of a projector, a predictor and a second encoder: nothing in
/// the file tells that they should be there, or in which shape.
const SPECIMENS: [&str; 3] =
    ["base_encoder.head.0.weight", "momentum_encoder.cls_token", "predictor.0.weight"];

/// Tensors that other files of the same layout do without.
const OPTIONAL: [(&str, &str); 4] = [
    ("clip_vision_hf", "visual_projection.weight"),
    ("beit_shared_hf", "embeddings.mask_token"),
    ("dinov2", "mask_token"),
    ("simmim", "model.encoder.rel_pos_bias.relative_position_index"),
];

/// A safetensors file of these tensors; an audit reads no values, so there are none, only room for them.
fn sparse(entries: &[Entry], path: &Path) {
    let mut header = Map::new();
    let mut at = 0;
    for entry in entries {
        let end = at + entry.shape.iter().product::<usize>() * 4;
        header.insert(
            entry.name.clone(),
            json!({"dtype": "F32", "shape": entry.shape, "data_offsets": [at, end]}),
        );
        at = end;
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + at) as u64).unwrap();
}

fn weights_of(case: &Case) -> PathBuf {
    let names = ["weights.safetensors", "weights.pth", "weights.npz"];
    names.iter().map(|name| case.folder.join(name)).find(|file| file.exists()).unwrap()
}

fn entries_of(case: &Case) -> Vec<Entry> {
    TensorFile::open(&weights_of(case)).unwrap().entries().to_vec()
}

fn hints_of(case: &Case) -> Hints {
    let fields = [
        ("img_size", "image_px"),
        ("patch_size", "patch_px"),
        ("embed_dim", "width"),
        ("depth", "depth"),
        ("num_heads", "n_heads"),
        ("reg_tokens", "n_registers"),
        ("mlp_ratio", "mlp_ratio"),
        ("qkv_bias", "qkv_bias"),
        ("class_token", "class_token"),
    ];
    let config = &case.meta.config;
    let given =
        fields.iter().filter_map(|(theirs, ours)| Some(((*ours).to_owned(), config.get(*theirs)?.clone())));
    Hints { given: given.collect(), ..Hints::default() }
}

/// What an audit says is wrong with these tensors; damage can make an architecture impossible, which is an error.
fn problems(entries: &[Entry], hints: &Hints, path: &Path) -> Vec<String> {
    sparse(entries, path);
    match Checkpoint::open(path, hints) {
        Ok(checkpoint) => checkpoint.audit().problems(),
        Err(error) => vec![error.to_string()],
    }
}

/// Whether a tensor stands in a block other than the second: one block stands for all.
fn in_another_block(name: &str) -> bool {
    let parts: Vec<&str> = name.split(['.', '/']).collect();
    let block = parts.windows(2).find_map(|pair| match pair[0] {
        "blocks" | "decoder_blocks" | "decoder_layers" | "layer" | "layers" | "resblocks" => {
            pair[1].parse::<usize>().ok()
        }
        _ => pair[0].strip_prefix("encoderblock_").and_then(|block| block.parse().ok()),
    });
    block.is_some_and(|block| block != 1)
}

#[test]
fn one_damaged_tensor_in_any_golden_checkpoint_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.safetensors");
    for case in KINDS.into_iter().flat_map(cases) {
        let (entries, hints) = (entries_of(&case), hints_of(&case));
        assert_eq!(problems(&entries, &hints, &path), Vec::<String>::new(), "{}: whole", case.name);
        for at in 0..entries.len() {
            let name = entries[at].name.clone();
            let optional = OPTIONAL.contains(&(case.name.as_str(), name.as_str()));
            if optional
                || in_another_block(&name)
                || SPECIMENS.iter().any(|specimen| name.ends_with(specimen))
            {
                continue;
            }
            let damaged = |damage: &str, change: &dyn Fn(&mut Vec<Entry>)| {
                let mut entries = entries.clone();
                change(&mut entries);
                let found = problems(&entries, &hints, &path);
                let named = found.iter().any(|problem| problem.contains(&name));
                assert!(named, "{}: {name} {damage}: {found:?}", case.name);
            };
            damaged("deleted", &|entries| {
                entries.remove(at);
            });
            damaged("renamed", &|entries| entries[at].name.push_str("_x"));
            let shape = &entries[at].shape;
            let turned: Vec<usize> = shape.iter().rev().copied().collect();
            let same = |a: &[usize], b: &[usize]| {
                let ones = |s: &[usize]| s.iter().copied().filter(|n| *n != 1).collect::<Vec<_>>();
                ones(a) == ones(b)
            };
            if !same(&turned, shape) {
                damaged("transposed", &|entries| entries[at].shape = turned.clone());
            }
            if !shape.is_empty() {
                let axis = shape.iter().position(|n| *n > 1).unwrap_or(0);
                damaged("cut short", &|entries| entries[at].shape[axis] -= 1);
            }
        }
    }
}

#[test]
fn a_damaged_file_is_an_error_wherever_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    for case in ["beit", "mae", "dino_checkpoint"].into_iter().flat_map(cases) {
        let bytes = fs::read(weights_of(&case)).unwrap();
        let path = dir.path().join("cut");
        for length in [0, 7, 100, bytes.len() / 3, bytes.len() - 100] {
            fs::write(&path, &bytes[..length]).unwrap();
            Checkpoint::open(&path, &hints_of(&case)).expect_err("a refusal");
        }
    }
}

#[test]
fn heads_of_published_sizes_come_from_the_table_and_others_must_be_given() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let case = &cases("clip_vision")[0];
    let entries = entries_of(case);
    let found = problems(&entries, &Hints::default(), &path);
    assert!(found.len() == 1 && found[0].contains("--arch vit:heads=…"), "{found:?}");
    // The same names in the size of ViT-B.
    let preset = PRESETS.iter().find(|preset| preset.name == "vit-b").unwrap();
    let scaled = |n: &usize| match n {
        32 => preset.width,
        96 => 3 * preset.width,
        128 => 4 * preset.width,
        n => *n,
    };
    let mut large = Vec::new();
    for entry in &entries {
        for block in 0..if entry.name.contains("resblocks.0.") { preset.depth } else { 1 } {
            let name = entry.name.replace("resblocks.0.", &format!("resblocks.{block}."));
            if block < 1 || !large.iter().any(|other: &Entry| other.name == name) {
                large.push(Entry { name, shape: entry.shape.iter().map(scaled).collect(), ..entry.clone() });
            }
        }
    }
    large.sort_by(|a, b| a.name.cmp(&b.name));
    large.dedup_by(|a, b| a.name == b.name);
    sparse(&large, &path);
    let checkpoint = Checkpoint::open(&path, &Hints::default()).unwrap();
    assert_eq!(checkpoint.audit().problems(), Vec::<String>::new());
    assert_eq!(checkpoint.audit().config.n_heads, preset.n_heads);
    let from = checkpoint.audit().decisions.iter().find(|decision| decision.what == "n_heads").unwrap();
    assert_eq!(from.from, "published sizes: vit-b");
}

#[test]
fn what_is_given_goes_before_what_is_beside_and_that_before_the_family() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    sparse(&entries_of(&cases("clip_vision")[0]), &path);
    let eps = |given: Given| {
        let checkpoint = Checkpoint::open(&path, &Hints { given, ..Hints::default() }).unwrap();
        let decision = checkpoint.audit().decisions.iter().find(|d| d.what == "eps").cloned().unwrap();
        (decision.value.as_f64().unwrap(), decision.from)
    };
    assert_eq!(eps(Given::new()), (1e-5, "family clip".into()));
    let config = json!({"layer_norm_eps": 2e-5, "num_attention_heads": 4});
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    assert_eq!(eps(Given::new()), (2e-5, "config.json".into()));
    assert_eq!(eps(Given::from_iter([("eps".into(), json!(3e-5))])), (3e-5, "--arch".into()));
}
