//! Recipes that are no recipes.

use super::Case;

pub(super) const RECIPES: &[Case] = &[
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
    (
        "more than all of the data",
        "compare --recipe part-shapes --set train.0.data_share=1.5",
        &["train.supervised.data_share", "above 0, at most 1", "1.5"],
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
