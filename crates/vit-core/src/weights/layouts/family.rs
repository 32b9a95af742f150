//! Families: what a layout's names cannot tell, but the authors' code can.

use super::super::input::{Framing, InputTransform, Interpolation};
use crate::{Activation, Resample};

/// A family of published models.
#[derive(Debug)]
pub struct Family {
    /// Its name, for `--family`.
    pub name: &'static str,
    /// The layout whose names it uses.
    pub layout: &'static str,
    /// LayerNorm's ε.
    pub eps: f64,
    /// The MLP's activation.
    pub activation: Activation,
    /// How positions are resampled.
    pub resample: Resample,
    /// Its input transform; none where it differs from model to model.
    pub input: Option<InputTransform>,
    /// Whether it is assumed only when it is asked for by name.
    pub by_name_only: bool,
}

const fn timm(name: &'static str, resample: Resample, input: Option<InputTransform>) -> Family {
    let (eps, activation) = (1e-6, Activation::Gelu);
    Family { name, layout: "timm", eps, activation, resample, input, by_name_only: false }
}

const fn hf(name: &'static str, layout: &'static str, eps: f64, input: Option<InputTransform>) -> Family {
    let (activation, resample) = (Activation::Gelu, Resample::Size);
    Family { name, layout, eps, activation, resample, input, by_name_only: false }
}

const IMAGENET: Option<InputTransform> = Some(InputTransform::IMAGENET);

/// Every family.
///
/// # Source
/// The evaluation code of the authors; for `hf-…` the defaults of transformers.
pub const FAMILIES: &[Family] = &[
    timm("timm", Resample::Antialias, None),
    timm("deit", Resample::Size, IMAGENET),
    timm("dino", Resample::Offset, IMAGENET),
    timm("ibot", Resample::Offset, IMAGENET),
    timm("attmask", Resample::Offset, IMAGENET),
    timm("sit", Resample::Offset, IMAGENET),
    timm("leopart", Resample::Offset, IMAGENET),
    timm("mae", Resample::Size, IMAGENET),
    timm("milan", Resample::Size, IMAGENET),
    timm(
        "moco-v3",
        Resample::Antialias,
        Some(InputTransform { interpolation: Interpolation::Bilinear, ..InputTransform::IMAGENET }),
    ),
    timm("simmim", Resample::Size, IMAGENET),
    timm("beit", Resample::Size, Some(InputTransform::HALF)),
    timm("dinov2", Resample::Offset, IMAGENET),
    timm("dinov2-registers", Resample::Antialias, IMAGENET),
    Family {
        name: "clip",
        layout: "clip",
        eps: 1e-5,
        activation: Activation::QuickGelu,
        resample: Resample::Size,
        input: Some(InputTransform::CLIP),
        by_name_only: false,
    },
    Family {
        name: "open-clip",
        layout: "clip",
        eps: 1e-5,
        activation: Activation::Gelu,
        resample: Resample::Antialias,
        input: Some(InputTransform::CLIP),
        by_name_only: true,
    },
    Family {
        name: "hf-clip",
        layout: "hf-clip",
        eps: 1e-5,
        activation: Activation::QuickGelu,
        resample: Resample::Size,
        input: Some(InputTransform::CLIP),
        by_name_only: false,
    },
    Family {
        name: "augreg",
        layout: "jax",
        eps: 1e-6,
        activation: Activation::GeluTanh,
        resample: Resample::Corner,
        input: Some(InputTransform {
            interpolation: Interpolation::Bilinear,
            framing: Framing::Squash,
            ..InputTransform::HALF
        }),
        by_name_only: false,
    },
    hf("hf-vit", "hf-vit", 1e-12, None),
    hf("hf-dino", "hf-vit", 1e-12, IMAGENET),
    hf("hf-vit-mae", "hf-vit", 1e-12, IMAGENET),
    hf("hf-deit", "hf-vit", 1e-12, IMAGENET),
    hf("hf-beit", "hf-beit", 1e-12, Some(InputTransform::HALF)),
    hf("hf-dinov2", "hf-dinov2", 1e-6, IMAGENET),
    Family { resample: Resample::Antialias, ..hf("hf-dinov2-registers", "hf-dinov2", 1e-6, IMAGENET) },
];

/// What was seen of a file that tells families apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Traces {
    /// The layout's name.
    pub(super) layout: &'static str,
    /// What stands before the names.
    pub(super) root: String,
    /// Whether there is a decoder, and whether its attention has separate queries.
    pub(super) decoder: Option<bool>,
    /// Whether any block or the encoder has relative positions.
    pub(super) relative: bool,
    /// Whether there is a distillation token.
    pub(super) distilled: bool,
    /// Whether there are register tokens under DINOv2's or transformers' name.
    pub(super) registers: bool,
    /// Whether there is a mask token, and LayerScale as `ls1`.
    pub(super) dinov2: bool,
    /// Whether iBOT's mask token or loss is there.
    pub(super) ibot: bool,
    /// Whether there is SiT's reconstruction head.
    pub(super) sit: bool,
    /// Whether there is Leopart's projection head.
    pub(super) leopart: bool,
    /// Whether there is LayerScale.
    pub(super) layer_scale: bool,
    /// What the file, or a file beside it, says of its kind, in lower case.
    pub(super) said: String,
}

/// The families that fit, most likely first.
pub(super) fn fitting(traces: &Traces) -> Vec<&'static Family> {
    let layout = traces.layout.trim_end_matches("-5");
    let of = |names: &[&str]| -> Vec<&'static Family> {
        FAMILIES.iter().filter(|family| names.contains(&family.name)).collect()
    };
    let said = |word: &str| traces.said.contains(word);
    match layout {
        "clip" | "hf-clip" | "jax" | "hf-beit" => {
            FAMILIES.iter().filter(|family| family.layout == layout && !family.by_name_only).collect()
        }
        "hf-dinov2" if traces.registers => of(&["hf-dinov2-registers"]),
        "hf-dinov2" => of(&["hf-dinov2"]),
        "hf-vit" if said("vit_mae") || traces.decoder.is_some() => of(&["hf-vit-mae"]),
        "hf-vit" if said("deit") || traces.distilled => of(&["hf-deit"]),
        "hf-vit" if said("dino") => of(&["hf-dino"]),
        "hf-vit" => of(&["hf-vit", "hf-dino", "hf-vit-mae", "hf-deit"]),
        _ => of_timm(traces, &of, &said),
    }
}

fn of_timm(
    traces: &Traces,
    of: &dyn Fn(&[&str]) -> Vec<&'static Family>,
    said: &dyn Fn(&str) -> bool,
) -> Vec<&'static Family> {
    let under = |part: &str| traces.root.split('.').any(|component| component == part);
    let distilling = under("student") || under("teacher");
    match () {
        () if traces.relative && under("encoder") => of(&["simmim"]),
        () if traces.relative => of(&["beit"]),
        () if traces.registers || said("dinov2") && said("reg") => of(&["dinov2-registers"]),
        () if traces.dinov2 || said("dinov2") => of(&["dinov2"]),
        () if traces.decoder == Some(true) => of(&["milan"]),
        () if traces.decoder == Some(false) || said("mae") => of(&["mae"]),
        () if under("base_encoder") || under("momentum_encoder") => of(&["moco-v3"]),
        () if traces.sit => of(&["sit"]),
        () if traces.leopart => of(&["leopart"]),
        () if traces.ibot => of(&["ibot", "attmask"]),
        () if distilling && under("backbone") => of(&["dino"]),
        () if distilling => of(&["leopart", "dino"]),
        () if under("encoder") => of(&["simmim"]),
        () if traces.distilled || said("deit") || traces.layer_scale => of(&["deit", "timm"]),
        () if said("dino") => of(&["dino"]),
        () if said("ibot") => of(&["ibot"]),
        () => of(&["timm", "deit", "dino", "ibot", "attmask", "leopart", "mae", "milan", "moco-v3"]),
    }
}

/// The family of that name, spelled as in `--family`.
///
/// # Errors
/// One sentence that names every family.
pub fn family(name: &str) -> Result<&'static Family, String> {
    FAMILIES.iter().find(|family| family.name == name).ok_or_else(|| {
        let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        format!("family: expected one of {}; found `{name}`", names.join(", "))
    })
}
