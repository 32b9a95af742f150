//! Models and weights that are not there, not whole or not said.

use super::Case;

pub(super) const MODELS: &[Case] = &[
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
    (
        "a word for a model that is not compared",
        "compare a=weights.safetensors --family b=mae",
        &["--family b=mae", "a given model (a)", "`b`"],
    ),
    (
        "a word for models that all say it themselves",
        "compare a=weights.safetensors --arch vit-s/16",
        &["--arch vit-s/16", "a given model with a weights file"],
    ),
    (
        "two words for one model",
        "compare a=weights.safetensors --arch a=vit-s/16 --arch a=vit:heads=6",
        &["--arch a=vit:heads=6", "once"],
    ),
];
