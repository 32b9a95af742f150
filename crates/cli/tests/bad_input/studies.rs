//! Questions that cannot be asked so.

use super::Case;

pub(super) const STUDIES: &[Case] = &[
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
        &["label-propagation", "frames of clips"],
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
