//! The same tables the other way round: where parameters stand under other libraries' names.

use super::dims::capture;
use super::line::{Form, Line};
use super::settle::expected_of;
use super::{Layout, hf_beit, hf_dinov2, hf_vit};
use crate::{Positions, RelativePositions, VitConfig};

/// Where (a part of) one of our parameters is written.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Our name.
    pub(crate) ours: String,
    /// Our shape.
    pub(crate) ours_shape: Vec<usize>,
    /// Which of how many equal parts along the first axis.
    pub(crate) part: (usize, usize),
    /// Its name there.
    pub(crate) theirs: String,
    /// Its shape there.
    pub(crate) shape: Vec<usize>,
    form: Form,
    part_shape: Vec<usize>,
}

impl Place {
    /// The values of the part in the order of the file.
    pub(crate) fn to_theirs(&self, values: Vec<f32>) -> Vec<f32> {
        self.form.to_theirs(values, &self.part_shape)
    }
}

/// timm's names: ours, but for BEiT's LayerScale and the registers of DINOv2, whose position table timm's own loader
/// turns into its form.
pub(crate) fn timm_places(config: &VitConfig) -> Vec<Place> {
    let name = |ours: &str| -> String {
        match ours {
            "reg_token" if !config.position_of_registers => "register_tokens".into(),
            _ if config.relative_positions != RelativePositions::None => {
                ours.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2")
            }
            _ => ours.into(),
        }
    };
    let place = |(ours, shape): (String, Vec<usize>)| Place {
        theirs: name(&ours),
        ours,
        ours_shape: shape.clone(),
        part: (0, 1),
        shape: shape.clone(),
        form: Form::Same,
        part_shape: shape,
    };
    expected_of(config).into_iter().map(place).collect()
}

/// The layout of transformers that a configuration fits.
pub(crate) fn hf_kind(config: &VitConfig) -> &'static str {
    match config {
        VitConfig { pre_norm: true, .. } => "hf-clip",
        VitConfig { relative_positions: RelativePositions::PerBlock | RelativePositions::Shared, .. } => {
            "hf-beit"
        }
        VitConfig { positions: Positions::None, .. } => "hf-beit",
        VitConfig { layer_scale: Some(_), .. } => "hf-dinov2",
        _ => "hf-vit",
    }
}

/// The names of transformers' published files.
///
/// # Errors
/// The name of a parameter for which none of its models has a place.
pub(crate) fn hf_places(config: &VitConfig) -> Result<Vec<Place>, String> {
    let classes = config.n_classes > 0;
    let (layout, root): (&Layout, &str) = match hf_kind(config) {
        "hf-clip" => (&super::clip::HF_CLIP, "vision_model."),
        "hf-beit" => (&hf_beit::HF_BEIT, if classes { "beit." } else { "" }),
        "hf-dinov2" => (&hf_dinov2::HF_DINOV2, ""),
        _ => (
            &hf_vit::HF_VIT,
            if config.distilled && classes {
                "deit."
            } else if classes {
                "vit."
            } else {
                ""
            },
        ),
    };
    let is_deit = config.distilled && classes;
    // There every table has a row for the class token, and none for registers.
    let with_class = config.class_token && config.position_of_class;
    let without_registers = config.n_registers == 0 || !config.position_of_registers;
    if config.positions != Positions::None && !(with_class && without_registers) {
        return Err("pos_embed".to_owned());
    }
    let mut places = Vec::new();
    for (ours, shape) in expected_of(config) {
        let fits = |line: &&Line| capture(line.ours, &ours).is_some();
        let gated = |line: &&Line| config.swiglu == line.theirs.contains("mlp.weights_");
        let of_deit =
            |line: &&Line| !line.ours.starts_with("head.") || line.theirs.contains("cls_") == is_deit;
        let mut lines: Vec<&Line> = layout.lines().filter(fits).collect();
        if layout.name == "hf-dinov2" && ours.contains(".mlp.") {
            lines.retain(gated);
        }
        if layout.name == "hf-vit" {
            lines.retain(of_deit);
        }
        let Some(first) = lines.first() else { return Err(ours) };
        lines.truncate(first.part.1);
        for line in lines {
            let block = capture(line.ours, &ours).flatten();
            let theirs =
                if line.is_beside() { line.name(block) } else { format!("{root}{}", line.name(block)) };
            let mut part_shape = shape.clone();
            part_shape[0] /= line.part.1;
            places.push(Place {
                ours: ours.clone(),
                ours_shape: shape.clone(),
                part: line.part,
                theirs,
                shape: shape_there(layout.name, line, &part_shape),
                form: line.form,
                part_shape,
            });
        }
    }
    Ok(places)
}

/// Some tensors have fewer dimensions there.
fn shape_there(layout: &str, line: &Line, part: &[usize]) -> Vec<usize> {
    match (layout, line.theirs) {
        (_, "embeddings.class_embedding") => part[2..].to_vec(),
        (_, "embeddings.position_embedding.weight") => part[1..].to_vec(),
        ("hf-dinov2", "embeddings.mask_token") => part[1..].to_vec(),
        _ => part.to_vec(),
    }
}
