//! Data that is not there, not whole or not what it says.

use super::Case;

pub(super) const DATA: &[Case] = &[
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
