//! Kinds of bad input, each answered by one line that says what, expected, found and where, with exit code 2, and with
//! nothing lost of what was there.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests may read `VITSCOPE_*`, and print"
)]

mod desk;

use desk::{Desk, TINY};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

/// One kind: its name, the command line, and words that the answer must hold.
type Case = (&'static str, &'static str, &'static [&'static str]);

const DATA: &[Case] = &[
    (
        "an unknown data set",
        "probe knn --weights @ --data photos",
        &["unknown data set", "part-shapes", "`photos`"],
    ),
    (
        "an unknown split",
        "probe knn --weights @ --data part-shapes:half",
        &["part-shapes", "half", "cue-conflict"],
    ),
    ("no pixels file", "probe knn --weights @ --data pixels:none.safetensors", &["none.safetensors"]),
    (
        "a pixels file cut short",
        "probe knn --weights @ --data pixels:cut.safetensors",
        &["expected", "found", "cut.safetensors"],
    ),
    (
        "a pixels file of junk",
        "probe knn --weights @ --data pixels:junk.bin",
        &["expected", "found", "junk.bin"],
    ),
    (
        "a pixels file without pixels",
        "probe knn --weights @ --data pixels:labels_only.safetensors",
        &["pixels", "labels_only.safetensors"],
    ),
    (
        "pixels of three dimensions",
        "probe knn --weights @ --data pixels:flat.safetensors",
        &["[n, 3, H, W]", "flat.safetensors"],
    ),
    (
        "pixels in double precision",
        "probe knn --weights @ --data pixels:double.safetensors",
        &["F32", "F64", "double.safetensors"],
    ),
    (
        "a pixel that is not a number",
        "embed --weights @ --data pixels:nan.safetensors --out x.npz",
        &["finite", "NaN", "nan.safetensors"],
    ),
    (
        "fewer labels than pixels",
        "probe knn --weights @ --data pixels:few_labels.safetensors",
        &["labels", "few_labels.safetensors"],
    ),
    (
        "a negative label",
        "probe knn --weights @ --data pixels:negative.safetensors",
        &["label", "-1", "negative.safetensors"],
    ),
    (
        "nothing to learn from",
        "probe knn --weights @ --data pixels:no_train.safetensors",
        &["train_pixels", "no_train.safetensors"],
    ),
    (
        "no classes",
        "probe knn --weights @ --data pixels:no_labels.safetensors",
        &["class", "no_labels.safetensors"],
    ),
    ("no folder", "probe knn --weights @ --data folder:nowhere", &["folder", "nowhere"]),
    ("a file for a folder", "probe knn --weights @ --data folder:junk.bin", &["folder", "junk.bin"]),
    (
        "a folder without pictures",
        "probe knn --weights @ --data folder:empty",
        &["expected", "found", "empty"],
    ),
    (
        "classes without pictures",
        "probe knn --weights @ --data folder:hollow",
        &["expected", "found", "hollow"],
    ),
    ("pictures that are no pictures", "probe knn --weights @ --data folder:spoiled", &["spoiled"]),
    ("no folder of idx files", "probe knn --weights @ --data fashion-mnist:nowhere", &["nowhere"]),
    ("a missing idx file", "probe knn --weights @ --data mnist:empty", &["t10k-images-idx3-ubyte", "empty"]),
    (
        "an idx file with another magic number",
        "probe knn --weights @ --data mnist:idx_magic",
        &["expected", "found", "idx_magic"],
    ),
    (
        "an idx file cut short",
        "probe knn --weights @ --data mnist:idx_cut",
        &["expected", "found", "idx_cut"],
    ),
    (
        "idx labels for another number of images",
        "probe knn --weights @ --data mnist:idx_count",
        &["expected", "found", "idx_count"],
    ),
    (
        "an idx label beyond the classes",
        "probe knn --weights @ --data mnist:idx_label",
        &["expected", "found", "idx_label"],
    ),
    ("an idx file that is not gzip", "probe knn --weights @ --data mnist:idx_gzip", &["idx_gzip"]),
    (
        "no folder of records",
        "probe knn --weights @ --data cifar10:nowhere",
        &["test_batch.bin", "binary version", "nowhere"],
    ),
    (
        "a file of records cut short",
        "probe knn --weights @ --data cifar100:cifar_cut",
        &["multiple of 3074", "3080", "test.bin"],
    ),
    (
        "a record of a class beyond the last",
        "probe knn --weights @ --data cifar10:cifar_class",
        &["classes below 10", "200 in record 0", "test_batch.bin"],
    ),
    (
        "records of other classes",
        "probe knn --weights @ --data cifar10:cifar_names",
        &["`airplane`", "`zebra`", "batches.meta.txt"],
    ),
    (
        "more unreadable pictures than allowed",
        "embed --weights @ --data folder:one_spoiled --out x.npz --split all",
        &["at most 0 of 8", "cut short", "b/0.jpg"],
    ),
    (
        "a share of unreadable samples above one",
        "probe knn --weights @ --data # --max-unreadable 2",
        &["--max-unreadable", "from 0 to 1", "`2`"],
    ),
    ("nothing to show", "data show folder:empty --out x.png", &["expected", "found", "empty"]),
    ("a sheet of another kind", "data show part-shapes --out x.gif", &[".png or .html", "x.gif"]),
    (
        "a sheet in the place of something",
        "data show part-shapes --out weights.png",
        &["--overwrite", "weights.png"],
    ),
    ("a sheet of no samples", "data show part-shapes --samples 0 --out x.png", &["--samples", "0"]),
    (
        "colors of normalized values",
        "data show # --set views.gray_prob=0.5 --out x.png",
        &["8-bit", "normalized already"],
    ),
    ("a check of nothing", "data check folder:nowhere", &["folder", "nowhere"]),
];

const MODELS: &[Case] = &[
    ("an unknown size", "probe knn --weights vit-xl/16 --data #", &["vit-nano/PATCH", "vit-xl/16"]),
    ("no patch", "probe knn --weights vit-s/x --data #", &["patch", "`x`"]),
    (
        "heads that do not divide",
        "probe knn --weights vit:dim=32,depth=2,heads=5,patch=8,image=32 --data #",
        &["heads (5)", "32"],
    ),
    ("a missing size", "probe knn --weights vit:dim=32,depth=2,heads=4,patch=8 --data #", &["image"]),
    (
        "an unknown key of an architecture",
        "probe knn --weights vit:dim=32,depth=2,heads=4,patch=8,image=32,color=3 --data #",
        &["registers", "`color`"],
    ),
    (
        "a size that is no number",
        "probe knn --weights vit:dim=big,depth=2,heads=4,patch=8,image=32 --data #",
        &["dim", "big"],
    ),
    (
        "an image that is not cut evenly",
        "probe knn --weights vit:dim=32,depth=2,heads=4,patch=7,image=32 --data #",
        &["multiple of the patch (7 px)", "32"],
    ),
    (
        "images of another size",
        "probe knn --weights @ --data # --size 33",
        &["multiple of the patch (8 px)", "33"],
    ),
    ("no weights", "probe knn --weights none.safetensors --data #", &["weights file", "none.safetensors"]),
    (
        "a run folder without weights",
        "probe knn --weights empty --data #",
        &["backbone.safetensors", "empty"],
    ),
    (
        "weights cut short",
        "probe knn --weights weights_cut.safetensors --data #",
        &["malformed weights", "weights_cut.safetensors"],
    ),
    ("weights of junk", "probe knn --weights junk.bin --data #", &["malformed weights", "junk.bin"]),
    (
        "weights that do not say their model",
        "probe knn --weights nan.safetensors --data #",
        &["Vision Transformer", "names that are known", "nan.safetensors"],
    ),
    (
        "weights without one parameter",
        "probe knn --weights weights_missing.safetensors --data #",
        &["missing weight `norm.bias`", "weights_missing.safetensors"],
    ),
    (
        "weights of another shape",
        "probe knn --weights weights_shape.safetensors --data #",
        &["weight `norm.bias`", "[32]", "[31]", "weights_shape.safetensors"],
    ),
    (
        "weights too many",
        "probe knn --weights weights_more.safetensors --data #",
        &["unexpected weight `extra`", "weights_more.safetensors"],
    ),
    (
        "a weight that is not a number",
        "probe knn --weights weights_nan.safetensors --data #",
        &["weight `norm.bias`", "finite", "NaN", "weights_nan.safetensors"],
    ),
    (
        "an architecture for nothing",
        "probe knn --weights @ --arch vit-s/16 --data #",
        &["--arch vit-s/16", "weights file"],
    ),
];

const STUDIES: &[Case] = &[
    ("an unknown probe", "probe knnn --weights @ --data #", &["did you mean `knn`?"]),
    (
        "an unknown analysis",
        "analyze nothing --weights @ --data #",
        &["analysis: expected one of", "`nothing`"],
    ),
    ("a layer beyond the last", "probe knn --weights @ --data # --layers 9", &["layers from 0 to 1", "9"]),
    ("layers in words", "probe knn --weights @ --data # --layers some", &["all", "some"]),
    (
        "an unknown option",
        "probe knn --weights @ --data # --set kss=[1]",
        &["kss", "did you mean `options.ks`?"],
    ),
    ("an option without a value", "probe knn --weights @ --data # --set ks", &["KEY=VALUE", "--set ks"]),
    ("an option of another type", "probe knn --weights @ --data # --set ks=many", &["ks", "many"]),
    ("no neighbors", "probe knn --weights @ --data # --set ks=[0]", &["ks", "at least 1"]),
    (
        "a solver that is not there",
        "probe linear --weights @ --data # --set solver.kind=adam",
        &["adam", "ridge"],
    ),
    (
        "a key of another solver",
        "probe linear --weights @ --data # --set solver.kind=ridge --set solver.epochs=3",
        &["epochs", "log2_lambdas"],
    ),
    (
        "a learning rate of nothing",
        "probe linear --weights @ --data # --set solver.base_lrs=[0]",
        &["solver.base_lrs", "above 0"],
    ),
    (
        "a protocol that is not there",
        "probe knn --weights @ --data # --protocol mae",
        &["--protocol", "dino, ibot", "mae"],
    ),
    (
        "an option beside a protocol",
        "probe knn --weights @ --data # --protocol dino --set headline_k=10",
        &["--protocol dino", "headline_k", "10", "pins every option"],
    ),
    (
        "label propagation where nothing is marked",
        "probe label-propagation --weights @ --data #",
        &["label-propagation", "part masks"],
    ),
    (
        "a facet that is not there",
        "probe correspondence --weights @ --data # --set facets=[\"mood\"]",
        &["facets", "mood", "query"],
    ),
    ("one episode", "probe few-shot --weights @ --data # --set n_episodes=1", &["n_episodes", "at least 2"]),
    (
        "a headline that is not asked",
        "probe knn --weights @ --data # --set headline_k=7",
        &["headline_k", "7"],
    ),
    (
        "a temperature of nothing",
        "probe knn --weights @ --data # --set temperatures=[0.0]",
        &["temperatures", "above 0"],
    ),
    (
        "an unknown select",
        "embed --weights @ --data # --select block0.head --out x.npz",
        &["block{i}.cls", "block0.head"],
    ),
    (
        "a select of a block that is not there",
        "embed --weights @ --data # --select block7.cls --out x.npz",
        &["block7"],
    ),
    ("an ending that is no format", "embed --weights @ --data # --out x.tiff", &["safetensors", "x.tiff"]),
    (
        "a map in a table of vectors",
        "embed --weights @ --data # --select norm.patches --out x.csv",
        &["norm.patches", ".csv"],
    ),
    (
        "an expectation that is none",
        "probe knn --weights @ --data # --expect top1~0.5",
        &["--expect", "top1~0.5"],
    ),
];

const RECIPES: &[Case] = &[
    ("an unknown recipe", "pretrain mae-part-shape", &["did you mean `mae-part-shapes`?"]),
    ("no recipe file", "pretrain none.toml", &["cannot read recipe", "none.toml"]),
    ("a recipe that is not TOML", "pretrain broken.toml", &["not valid TOML", "broken.toml", "line 1"]),
    ("a recipe of nothing", "pretrain nothing.toml", &["objective", "nothing.toml"]),
    (
        "an unknown key",
        "pretrain tiny.toml --set train.epoch=1",
        &["train.epoch", "did you mean `train.epochs`?"],
    ),
    ("an unknown objective", "pretrain tiny.toml --set objective=mea", &["did you mean `mae`?"]),
    ("a share above one", "pretrain tiny.toml --set options.mask_ratio=2", &["mask_ratio", "0 up to 1", "2"]),
    (
        "a mask that leaves nothing",
        "pretrain tiny.toml --set options.mask_ratio=0.99",
        &["mask ratio", "0 kept"],
    ),
    ("no epochs", "pretrain tiny.toml --set train.epochs=0", &["train.epochs", "above 0", "0"]),
    (
        "no accumulation",
        "pretrain tiny.toml --set train.accumulate=0",
        &["train.accumulate", "at least 1", "0"],
    ),
    (
        "a layer decay of nothing",
        "pretrain tiny.toml --set train.layer_decay=0.0",
        &["train.layer_decay", "above 0 up to 1", "0"],
    ),
    ("an unknown clipping", "pretrain tiny.toml --set train.clip.kind=hard", &["hard", "per_tensor"]),
    (
        "clipping to nothing",
        "pretrain tiny.toml --set train.clip={kind=\"global\",max_norm=0.0}",
        &["max_norm", "above 0", "0"],
    ),
    ("an unknown normalization", "pretrain tiny.toml --set views.normalize=max", &["imagenet", "max"]),
    (
        "a probability of jitter above one",
        "pretrain tiny.toml --set views.jitter.prob=1.5",
        &["jitter.prob in 0–1", "1.5"],
    ),
    (
        "an unknown key of a jitter",
        "pretrain tiny.toml --set views.jitter.color=0.4",
        &["views.jitter.color"],
    ),
    (
        "a blur of nothing",
        "pretrain tiny.toml --set views.blur.sigma_px=[0.0,2.0]",
        &["blur.sigma_px", "0 < low", "(0.0, 2.0)"],
    ),
    (
        "a threshold that is no byte",
        "pretrain tiny.toml --set views.solarize.threshold=300",
        &["threshold", "300"],
    ),
    (
        "an area to erase that is out of order",
        "pretrain tiny.toml --set views.erase.area=[0.5,0.1]",
        &["erase.area", "(0.5, 0.1)"],
    ),
    ("an unknown filter", "pretrain tiny.toml --set views.filter=cubic", &["filter", "cubic", "bicubic"]),
    (
        "a scale out of order",
        "pretrain tiny.toml --set views.scale=[0.9,0.2]",
        &["scale with 0 < low", "(0.9, 0.2)"],
    ),
    (
        "colors of normalized values in training",
        "pretrain tiny.toml --set views.jitter.prob=0.8",
        &["8-bit images", "normalized already", "pixels.safetensors"],
    ),
    (
        "smoothing of everything",
        "pretrain tiny.toml --set objective=supervised --set options={label_smoothing=1.0}",
        &["label_smoothing", "0 up to 1", "1"],
    ),
    (
        "mixing of nothing",
        "pretrain tiny.toml --set objective=supervised --set options={mixing={prob=1.0,mixup_alpha=0.0,cutmix_alpha=0.0}}",
        &["mixing.mixup_alpha", "above 0"],
    ),
    (
        "more in a batch than there is",
        "pretrain tiny.toml --batch 1000",
        &["at least one batch of 1000", "24"],
    ),
    (
        "classes that are not there",
        "pretrain tiny.toml --set objective=supervised --set options={} --data pixels:no_labels.safetensors",
        &["class", "no_labels.safetensors"],
    ),
    (
        "a start from another width",
        "pretrain tiny.toml --init-from weights.safetensors --set model=vit:dim=64,depth=2,heads=4,patch=8,image=32",
        &["init_from", "dim: expected 64", "found 32"],
    ),
    ("a start from nothing", "pretrain tiny.toml --init-from vit-ti/16", &["init_from", "vit-ti/16"]),
    ("a comparison of an unknown objective", "compare --recipe compare.toml", &["objective", "`nothing`"]),
    (
        "a comparison with a model that is not there",
        "compare mine=none.safetensors --data #",
        &["none.safetensors"],
    ),
    ("two models of one name", "compare a=@ a=@ --data #", &["`a`"]),
];

const PLACES: &[Case] = &[
    (
        "a file for an output folder",
        "probe knn --weights @ --data # --out junk.bin",
        &["--out", "folder", "junk.bin"],
    ),
    (
        "an output folder with something in it",
        "probe knn --weights @ --data # --out hollow",
        &["--out", "not empty", "hollow"],
    ),
    ("an output below a file", "probe knn --weights @ --data # --out junk.bin/x", &["junk.bin/x"]),
    (
        "a run to go on with that is none",
        "pretrain tiny.toml --out nowhere --resume",
        &["--resume", "nowhere"],
    ),
    (
        "a folder to go on with that is no run",
        "pretrain tiny.toml --out hollow --resume",
        &["--resume", "hollow"],
    ),
    (
        "an unknown device",
        "probe knn --weights @ --data # --device toaster",
        &["cpu, ndarray, wgpu or cuda[:N]", "`toaster`"],
    ),
    (
        "a device that is not compiled in",
        "probe knn --weights @ --data # --device cuda:0",
        &["--features cuda"],
    ),
    ("no threads", "probe knn --weights @ --data # --threads 0", &["--threads", "at least 1", "`0`"]),
    ("an unknown flag", "probe knn --weights @ --data # --wieghts x", &["--wieghts"]),
    ("an unknown verb", "prob knn", &["prob", "probe"]),
    ("a missing flag", "probe knn --data #", &["--weights"]),
];

/// Everything below a folder, by path.
fn everything(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                found.insert(path.display().to_string(), Vec::new());
                open.push(path);
            } else {
                found.insert(path.display().to_string(), std::fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

/// Each kind is refused as it should be, and everything that was there is there, and nothing else.
fn all_refused(cases: &[Case]) {
    let desk = spoiled_desk();
    let before = everything(&desk.path(""));
    let mut wrong = Vec::new();
    for (kind, line, says) in cases {
        let line = line.replace('@', TINY).replace('#', "pixels:pixels.safetensors");
        let args: Vec<&str> = line.split(' ').collect();
        let answer = desk.run(&args);
        let errors: Vec<&str> = answer.stderr.lines().filter(|line| line.starts_with("error:")).collect();
        let is_last = answer.stderr.lines().last() == errors.last().copied();
        let is_said = errors.len() == 1 && says.iter().all(|what| errors[0].contains(what));
        if answer.code != Some(2) || !is_last || !is_said || !answer.stdout.is_empty() {
            wrong.push(format!("{kind}: code {:?}, {says:?} in:\n{}", answer.code, answer.stderr));
        }
        if std::env::var_os("VITSCOPE_TEST_SHOW").is_some() {
            println!("{kind}:\n    {}", answer.stderr.trim());
        }
        let after = everything(&desk.path(""));
        if after != before {
            let paths = |of: &BTreeMap<String, Vec<u8>>| of.keys().cloned().collect::<Vec<_>>();
            wrong.push(format!(
                "{kind}: changed what was there: {:?} to {:?}",
                paths(&before),
                paths(&after)
            ));
            break;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_are_sixty_kinds_and_more() {
    assert!([DATA, MODELS, STUDIES, RECIPES, PLACES].iter().map(|cases| cases.len()).sum::<usize>() >= 60);
}

#[test]
fn bad_data_is_refused() {
    all_refused(DATA);
}

#[test]
fn bad_models_are_refused() {
    all_refused(MODELS);
}

#[test]
fn bad_questions_are_refused() {
    all_refused(STUDIES);
}

#[test]
fn bad_recipes_are_refused() {
    all_refused(RECIPES);
}

#[test]
fn bad_places_and_command_lines_are_refused() {
    all_refused(PLACES);
}

/// A disk with no room: the run stops with the file's name, and the checkpoint that was there still goes on.
#[cfg(unix)]
#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let desk = spoiled_desk();
    let args = "pretrain tiny.toml --out run --set train.checkpoint_every_steps=2 --set train.epochs=1";
    desk.run(&args.split(' ').collect::<Vec<_>>()).done();
    let before = everything(&desk.path("run"));
    // No file may grow beyond 40 blocks of 512 bytes, and the signal for it is ignored: writing fails, as on a full disk.
    let binary = env!("CARGO_BIN_EXE_vitscope");
    let script = format!("trap '' XFSZ; ulimit -f 40; exec {binary} pretrain tiny.toml --out full");
    let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(desk.path("")).output();
    let output = output.expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(error.starts_with("error:") && error.contains("full") && error.contains("checkpoints"), "{said}");
    let script = format!(
        "trap '' XFSZ; ulimit -f 40; exec {binary} {args} --resume --set train.checkpoint_every_steps=2"
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(desk.path("")).output();
    assert_eq!(output.expect("a shell").status.code(), Some(2), "the weights cannot be written either");
    let after = everything(&desk.path("run"));
    let kept = before
        .keys()
        .filter(|path| path.contains("checkpoints"))
        .all(|path| after.get(path) == before.get(path));
    assert!(kept, "checkpoints are as they were");
    desk.run(&[&args.split(' ').collect::<Vec<_>>()[..], &["--resume"]].concat()).done();
}

const TINY_RECIPE: &str = r#"
objective = "mae"
model = "vit:dim=32,depth=2,heads=4,patch=8,image=32"
data = "pixels:pixels.safetensors"

[views]
size_px = 32
normalize = "none"

[train]
epochs = 1.0
batch = 8

[options]
decoder_width = 16
decoder_depth = 1
decoder_heads = 2
"#;

const COMPARE_RECIPE: &str = r#"
data = "part-shapes"
model = "vit:dim=16,depth=2,heads=2,patch=16,image=64"
size_px = 64
raw_pixels_px = 16
normalize = "half"
batch = 16
seed = 0
n_seeds = 1
n_previews = 0
probes = []
analyses = []

[[train]]
name = "nothing"
objective = "nothing"
views = {}
train = {}
options = {}
"#;

/// A png of 2 × 1 px.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x01\x01\x03\0\0\0\xce\xec\xed\xc9\0\0\0\x06PLTE\n\x14\x1e\xc8d2w\xa0\xb3\
\x9c\0\0\0\x02tRNS\xff\0\xe5\xb70J\0\0\0\nIDATx\xdacp\0\0\0B\0A\x84\xbf\x8eb\0\0\0\0IEND\xaeB`\x82";

/// A tensor of a file: name, type, shape and bytes.
type Raw = (&'static str, Dtype, Vec<usize>, Vec<u8>);

fn write_tensors(path: &Path, tensors: &[Raw], metadata: Option<&str>) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"))
    });
    let metadata = metadata.map(|text| [("vitscope".to_owned(), text.to_owned())].into());
    safetensors::serialize_to_file(views, metadata, path).expect("a file");
}

fn pixels(n: usize, first: f32) -> Raw {
    let values = std::iter::once(first).chain(std::iter::repeat_n(0.5, n * 3 * 32 * 32 - 1));
    ("pixels", Dtype::F32, vec![n, 3, 32, 32], values.flat_map(f32::to_le_bytes).collect())
}

fn labels(name: &'static str, of: &[i64]) -> Raw {
    (name, Dtype::I64, vec![of.len()], of.iter().flat_map(|label| label.to_le_bytes()).collect())
}

/// A desk full of things that are not as they should be.
fn spoiled_desk() -> Desk {
    let desk = Desk::new().with_pixels();
    let write = |name: &str, bytes: &[u8]| {
        let path = desk.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    };
    write("tiny.toml", TINY_RECIPE.as_bytes());
    write("compare.toml", COMPARE_RECIPE.as_bytes());
    write("broken.toml", b"objective = ");
    write("nothing.toml", b"");
    write("junk.bin", b"this is not what it should be, whatever it should be");
    std::fs::create_dir_all(desk.path("empty")).expect("made");
    std::fs::create_dir_all(desk.path("hollow/a")).expect("made");
    std::fs::create_dir_all(desk.path("hollow/b")).expect("made");
    for at in 0..4 {
        write(&format!("spoiled/a/{at}.png"), b"not a picture");
        write(&format!("spoiled/b/{at}.jpg"), b"\xff\xd8\xff\xe0 cut");
    }
    let whole = std::fs::read(desk.path("pixels.safetensors")).expect("pixels");
    write("cut.safetensors", &whole[..whole.len() / 2]);

    let file = |name: &str, tensors: &[Raw]| write_tensors(&desk.path(name), tensors, None);
    file("labels_only.safetensors", &[labels("labels", &[0, 1])]);
    file("flat.safetensors", &[("pixels", Dtype::F32, vec![2, 3, 4], vec![0; 96])]);
    file("double.safetensors", &[("pixels", Dtype::F64, vec![1, 3, 2, 2], vec![0; 96])]);
    file("nan.safetensors", &[pixels(2, f32::NAN)]);
    file("few_labels.safetensors", &[pixels(3, 0.0), labels("labels", &[0, 1])]);
    file("negative.safetensors", &[pixels(2, 0.0), labels("labels", &[0, -1])]);
    file("no_train.safetensors", &[pixels(2, 0.0), labels("labels", &[0, 1])]);
    let (_, dtype, shape, bytes) = pixels(24, 0.0);
    file("no_labels.safetensors", &[pixels(4, 0.0), ("train_pixels", dtype, shape, bytes)]);

    idx_folders(&write);
    write("cifar_cut/test.bin", &[0; 3080]);
    let record = |class: u8| [&[class][..], &[7; 3072]].concat();
    write("cifar_class/test_batch.bin", &record(200));
    write("cifar_names/test_batch.bin", &record(2));
    write("cifar_names/batches.meta.txt", b"zebra\n");
    write("weights.png", b"something");
    for at in 0..4 {
        write(&format!("one_spoiled/a/{at}.png"), PIXEL);
        write(
            &format!("one_spoiled/b/{at}.{}", if at == 0 { "jpg" } else { "png" }),
            if at == 0 { b"\xff\xd8\xff\xe0 cut" } else { PIXEL },
        );
    }
    weights(&desk);
    desk
}

/// Folders of idx files, each wrong in one way.
fn idx_folders(write: &dyn Fn(&str, &[u8])) {
    let images = |magic: u32, n: u32, bytes: usize| -> Vec<u8> {
        let header = [magic, n, 28, 28].into_iter().flat_map(u32::to_be_bytes);
        header.chain(std::iter::repeat_n(7, bytes)).collect()
    };
    let labels = |n: u32, label: u8| -> Vec<u8> {
        [0x801_u32, n]
            .into_iter()
            .flat_map(u32::to_be_bytes)
            .chain(std::iter::repeat_n(label, n as usize))
            .collect()
    };
    let folder = |name: &str, images: Vec<u8>, labels: Vec<u8>| {
        for side in ["train", "t10k"] {
            write(&format!("{name}/{side}-images-idx3-ubyte"), &images);
            write(&format!("{name}/{side}-labels-idx1-ubyte"), &labels);
        }
    };
    folder("idx_magic", images(0x999, 4, 4 * 784), labels(4, 1));
    folder("idx_cut", images(0x803, 4, 3 * 784), labels(4, 1));
    folder("idx_count", images(0x803, 4, 4 * 784), labels(3, 1));
    folder("idx_label", images(0x803, 4, 4 * 784), labels(4, 10));
    for side in ["train", "t10k"] {
        write(&format!("idx_gzip/{side}-images-idx3-ubyte.gz"), b"not gzip at all");
        write(&format!("idx_gzip/{side}-labels-idx1-ubyte.gz"), b"not gzip at all");
    }
}

/// Weights as training leaves them, and the same spoiled in several ways.
fn weights(desk: &Desk) {
    let train = "pretrain tiny.toml --out trained -q --set train.epochs=0.4";
    desk.run(&train.split(' ').collect::<Vec<_>>()).done();
    let bytes = std::fs::read(desk.path("trained/backbone.safetensors")).expect("weights");
    std::fs::remove_dir_all(desk.path("trained")).expect("removed");
    std::fs::write(desk.path("weights.safetensors"), &bytes).expect("written");
    std::fs::write(desk.path("weights_cut.safetensors"), &bytes[..bytes.len() - 100]).expect("written");
    let whole = safetensors::SafeTensors::deserialize(&bytes).expect("weights");
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
    let config = header.metadata().as_ref().expect("metadata")["vitscope"].clone();
    let tensors = || -> Vec<(String, Dtype, Vec<usize>, Vec<u8>)> {
        let all = whole.tensors().into_iter();
        all.map(|(name, view)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec())).collect()
    };
    let write = |file: &str, tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>| {
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"))
        });
        let metadata = Some([("vitscope".to_owned(), config.clone())].into());
        safetensors::serialize_to_file(views, metadata, &desk.path(file)).expect("a file");
    };
    let with_bias = |change: &dyn Fn(&mut Vec<usize>, &mut Vec<u8>)| {
        let mut tensors = tensors();
        let bias = tensors.iter_mut().find(|(name, ..)| name == "norm.bias").expect("a bias");
        change(&mut bias.2, &mut bias.3);
        tensors
    };
    write(
        "weights_missing.safetensors",
        tensors().into_iter().filter(|(name, ..)| name != "norm.bias").collect(),
    );
    write(
        "weights_shape.safetensors",
        with_bias(&|shape, bytes| {
            shape[0] = 31;
            bytes.truncate(4 * 31);
        }),
    );
    write(
        "weights_nan.safetensors",
        with_bias(&|_, bytes| bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes())),
    );
    let extra = ("extra".to_owned(), Dtype::F32, vec![1], vec![0; 4]);
    write("weights_more.safetensors", tensors().into_iter().chain([extra]).collect());
}
