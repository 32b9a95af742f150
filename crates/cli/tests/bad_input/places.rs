//! Places that are taken, and command lines that mean nothing.

use super::Case;

pub(super) const PLACES: &[Case] = &[
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
