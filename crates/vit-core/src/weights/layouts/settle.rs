//! From what is said, seen and published to one configuration, each value with where it came from.

use super::super::audit::Decision;
use super::super::input::InputTransform;
use super::dims::{Dim, PARAMS, dims_of, expand};
use super::family::Family;
use super::plan::Hints;
use super::values::Said;
use crate::presets::config_of;
use crate::{Given, PRESETS, Pool, Positions, RelativePositions, VitConfig};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the tensors themselves say.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Our parameters that are there, at least in part, by pattern.
    pub(super) patterns: BTreeSet<&'static str>,
    /// The symbols' values by vote.
    pub(super) symbols: BTreeMap<char, usize>,
    /// Blocks.
    pub(super) depth: usize,
    /// Whether its authors' files always have a mask token.
    pub(super) always_masks: bool,
}

/// The configuration and how it came about.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) config: VitConfig,
    pub(super) decisions: Vec<Decision>,
    pub(super) input: Option<InputTransform>,
    /// What could not be decided, with how to give it.
    pub(super) undecided: Vec<String>,
}

struct Settler<'a> {
    hints: &'a Hints,
    said: &'a [Said],
    fits: &'a [&'static Family],
    decisions: Vec<Decision>,
    given: Given,
}

/// Decides everything, in this order: `--arch` and `--family`, a file beside the weights, metadata and the checkpoint's
/// own arguments, the tensors' shapes, the family that their names tell, the table of published sizes.
pub(super) fn settle(
    hints: &Hints,
    said: &[Said],
    fits: &[&'static Family],
    always: &[&str],
    seen: &Seen,
) -> Result<Settled, String> {
    let mut s = Settler { hints, said, fits, decisions: Vec::new(), given: Given::new() };
    let mut undecided = Vec::new();
    let has = |pattern: &str| seen.patterns.contains(pattern) || always.contains(&pattern);
    let symbol = |symbol: char| seen.symbols.get(&symbol).copied();
    let default = VitConfig::default();

    let width = s.count("width", symbol('D')).unwrap_or(default.width);
    let depth = s.count("depth", Some(seen.depth.max(1))).unwrap_or(default.depth);
    let patch_px = s.count("patch_px", symbol('P')).unwrap_or(default.patch_px);
    if s.count("n_heads", symbol('h')).is_none() {
        match published_heads(width, depth, s.fits) {
            Some((heads, from)) => s.put("n_heads", heads.into(), from),
            None => {
                undecided.push(
                    "heads: expected --arch vit:heads=…, or a config.json beside the file; found nothing that tells them"
                        .to_owned(),
                );
                s.decisions.push(Decision::open("n_heads", "--arch vit:heads=…, or config.json"));
                // One head fits every width; the shapes of all parameters are then the true ones.
                s.given.insert("n_heads".into(), 1.into());
            }
        }
    }

    // What is there.
    let partial_bias = has("blocks.{i}.attn.q_bias") || has("blocks.{i}.attn.v_bias");
    let relative = match (
        has("blocks.{i}.attn.relative_position_bias_table"),
        has("rel_pos_bias.relative_position_bias_table"),
    ) {
        (true, _) => RelativePositions::PerBlock,
        (false, true) => RelativePositions::Shared,
        // BEiT's bias of queries and values without a position table: the table that all blocks share is gone.
        (false, false) if partial_bias && !has("pos_embed") => RelativePositions::Shared,
        (false, false) => RelativePositions::None,
    };
    s.seen("relative_positions", word(relative));
    let registers = s.count("n_registers", symbol('R').or(Some(0))).unwrap_or(0);
    let distilled = has("dist_token") || has("head_dist.weight") || has("head_dist.bias");
    let distilled = s.flag("distilled", distilled);
    let square = |n: usize| n > 0 && n.isqrt().pow(2) == n;
    let rows = symbol('T');
    let tokens_before = registers + usize::from(distilled);
    let class_is_told =
        rows.is_some_and(|t| !square(t) && t > tokens_before && square(t - tokens_before - 1));
    // Without a norm for the mean, the class token stands for the image, and is missed where it is not there; tables of
    // relative positions have rows for it.
    let class_is_read = relative != RelativePositions::None || !has("fc_norm.weight") && !has("fc_norm.bias");
    let class_token = s.flag("class_token", has("cls_token") || class_is_told || class_is_read);
    let positions = match (has("pos_embed"), relative) {
        (false, RelativePositions::PerBlock | RelativePositions::Shared) => Positions::None,
        _ => Positions::Learned,
    };
    s.seen("positions", word(positions));
    let qkv_bias = has("blocks.{i}.attn.qkv.bias");
    s.flag("qkv_bias", qkv_bias || partial_bias);
    s.flag("key_bias", qkv_bias || !partial_bias);
    let pre_norm = s.flag("pre_norm", has("norm_pre.weight") || has("norm_pre.bias"));
    s.flag("patch_bias", has("patch_embed.proj.bias") || !pre_norm);
    let scales = ["blocks.{i}.ls1.gamma", "blocks.{i}.ls2.gamma"].iter().any(|name| has(name));
    if scales {
        s.seen("layer_scale", 1.0.into());
    }
    s.flag("mask_token", has("mask_token") || seen.always_masks);
    let pool = match (has("fc_norm.weight") || has("fc_norm.bias"), class_token) {
        (true, _) => Pool::Mean,
        (false, true) => Pool::Class,
        (false, false) => Pool::NormedMean,
    };
    s.seen("pool", word(pool));
    let any_head =
        ["head.weight", "head.bias", "head_dist.weight", "head_dist.bias"].iter().any(|name| has(name));
    s.seen("n_classes", if any_head { symbol('K').unwrap_or(1) } else { 0 }.into());
    let projection = has("head.weight") && !has("head.bias") && pre_norm;
    s.seen("head_bias", (!projection).into());
    let (inner, hidden) = (symbol('M').unwrap_or(4 * width), symbol('H').unwrap_or(4 * width));
    s.seen("swiglu", (inner == 2 * hidden).into());
    s.seen("mlp_ratio", (hidden as f64 / width.max(1) as f64).into());

    // Rows of the position table: of the prefix, or of a part of it, or of patches alone.
    let class_rows = usize::from(class_token) + usize::from(distilled);
    let known_image = s.find("image_px");
    let n_known = known_image.as_ref().and_then(|(value, _)| {
        let image = value.as_u64()? as usize;
        (patch_px > 0).then(|| (image / patch_px).pow(2))
    });
    let is_grid = |n: usize| n_known.map_or(square(n), |known| known == n);
    let dinov2 = s.fits.iter().any(|family| family.name.contains("dinov2"));
    let mut ways = vec![(true, true, class_rows + registers), (true, false, class_rows), (false, true, 0)];
    if dinov2 {
        ways.swap(0, 1);
    }
    // Tables of patches alone beside a class token: timm's models with registers, and DeiT III, which has LayerScale.
    // Elsewhere such a table is more likely one that lost its first row.
    let of_timm = s.fits.iter().any(|family| matches!(family.name, "timm" | "deit"));
    let alone = class_rows == 0 || of_timm && (registers > 0 || scales);
    ways.retain(|way| (registers > 0 || way.1) && (way.0 || alone));
    let fitting = rows.and_then(|t| ways.iter().find(|way| t >= way.2 && is_grid(t - way.2)));
    let &(of_class, of_registers, n_prefix) = fitting.unwrap_or(&ways[0]);
    s.seen("position_of_class", of_class.into());
    s.seen("position_of_registers", of_registers.into());
    let side = match relative {
        RelativePositions::None => rows.map(|t| t.saturating_sub(n_prefix).isqrt()),
        _ => symbol('B').map(|b| b.saturating_sub(3).isqrt().div_ceil(2)),
    };
    let image = side.filter(|side| *side > 0).map(|side| side * patch_px);
    if s.count("image_px", image).is_none() {
        s.put("image_px", (14 * patch_px).into(), "assumed: 14 × 14 patches".into());
    }

    // What the family's code says.
    let eps = s.of_family("eps", |family| family.eps.into());
    let activation = s.of_family("activation", |family| word(family.activation));
    let resample = s.of_family("resample", |family| word(family.resample));
    for (name, done) in [("eps", eps), ("activation", activation)] {
        if !done {
            undecided.push(format!(
                "{name}: expected --arch vit:{name}=… or --family; found families that differ"
            ));
        }
    }
    if positions == Positions::None {
        s.decisions.retain(|decision| decision.what != "resample");
    } else if !resample {
        s.decisions.push(Decision::open("resample", "families differ: --family, or --arch vit:resample=…"));
    }
    let input = s.input();
    // The rest of what `--arch` says, such as `drop_path`.
    for (field, value) in &hints.given {
        if !s.given.contains_key(field) {
            s.put(field, value.clone(), "--arch".into());
        }
    }
    let config = config_of(s.given.clone())?;
    Ok(Settled { config, decisions: s.decisions, input, undecided })
}

/// A value in JSON, a single-precision number in its few digits (0.485, not 0.48500001430511475).
pub(crate) fn word<T: serde::Serialize>(value: T) -> Value {
    let text = serde_json::to_string(&value);
    text.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null)
}

impl Settler<'_> {
    /// The first who says something of an option: `--arch`, then those beside and inside the file.
    fn find(&self, field: &str) -> Option<(Value, String)> {
        let arch = self.hints.given.get(field).map(|value| (value.clone(), "--arch".to_owned()));
        arch.or_else(|| {
            let said = self.said.iter().find_map(|said| Some((said.given.get(field)?, &said.by)))?;
            Some((said.0.clone(), said.1.clone()))
        })
    }

    fn put(&mut self, field: &str, value: Value, from: String) {
        self.decisions.push(Decision::made(field, &value, from));
        self.given.insert(field.to_owned(), value);
    }

    /// What is said, else what is seen.
    fn seen(&mut self, field: &str, seen: Value) {
        match self.find(field) {
            Some((value, from)) => self.put(field, value, from),
            None => self.put(field, seen, "the tensors".into()),
        }
    }

    fn flag(&mut self, field: &str, seen: bool) -> bool {
        self.seen(field, seen.into());
        self.given.get(field).and_then(Value::as_bool).unwrap_or(seen)
    }

    fn count(&mut self, field: &str, seen: Option<usize>) -> Option<usize> {
        match (self.find(field), seen) {
            (Some((value, from)), _) => self.put(field, value, from),
            (None, Some(seen)) => self.put(field, seen.into(), "the tensors".into()),
            (None, None) => return None,
        }
        self.given.get(field).and_then(Value::as_u64).map(|count| count as usize)
    }

    /// What is said, else what every family that fits says alike.
    fn of_family(&mut self, field: &str, of: impl Fn(&Family) -> Value) -> bool {
        if let Some((value, from)) = self.find(field) {
            self.put(field, value, from);
            return true;
        }
        let values: Vec<Value> = self.fits.iter().map(|family| of(family)).collect();
        let alike = values.first().filter(|first| values.iter().all(|value| value == *first)).cloned();
        let Some(value) = alike else { return false };
        let from = self.told_by_family();
        self.put(field, value, from);
        true
    }

    fn told_by_family(&self) -> String {
        match self.fits {
            [only] if self.hints.family.is_some() => format!("--family {}", only.name),
            [only] => format!("family {}", only.name),
            _ => "every family that fits".into(),
        }
    }

    fn input(&mut self) -> Option<InputTransform> {
        let by_name = self.hints.family.and_then(|family| family.input);
        let said = self.said.iter().find_map(|said| Some((said.input?, said.by.clone())));
        let first = self.fits.first().and_then(|family| family.input);
        let alike = first.filter(|input| self.fits.iter().all(|family| family.input == Some(*input)));
        let found = match (by_name, said, alike) {
            (Some(input), _, _) => Some((input, self.told_by_family())),
            (None, Some(said), _) => Some(said),
            (None, None, Some(input)) => Some((input, self.told_by_family())),
            (None, None, None) => None,
        };
        match &found {
            Some((input, from)) => self.decisions.push(Decision::made("input", &word(input), from.clone())),
            None => self.decisions.push(Decision::open("input", "families differ: --family, or --normalize")),
        }
        found.map(|(input, _)| input)
    }
}

/// Heads by the table of published sizes; MoCo-v3's small model has twice as many.
fn published_heads(width: usize, depth: usize, fits: &[&Family]) -> Option<(usize, String)> {
    if let [family] = fits
        && family.name == "moco-v3"
        && (width, depth) == (384, 12)
    {
        return Some((12, "published sizes: MoCo-v3 ViT-S".into()));
    }
    if (width, depth) == (1536, 40) {
        return Some((24, "published sizes: DINOv2 ViT-g".into()));
    }
    let preset = PRESETS.iter().find(|preset| preset.width == width && preset.depth == depth)?;
    Some((preset.n_heads, format!("published sizes: {}", preset.name)))
}

/// Every parameter that a configuration has, with its shape, in the module's order.
pub(super) fn expected_of(config: &VitConfig) -> Vec<(String, Vec<usize>)> {
    let mut expected = Vec::new();
    let grid = config.grid();
    let inner = if config.swiglu { 2 * config.hidden() } else { config.hidden() };
    let symbols = BTreeMap::from([
        ('D', config.width),
        ('M', inner),
        ('H', config.hidden()),
        ('P', config.patch_px),
        ('T', config.n_position_prefix() + grid.n_patches()),
        ('R', config.n_registers),
        ('K', config.n_classes),
        ('B', (2 * grid.rows - 1) * (2 * grid.columns - 1) + 3),
        ('h', config.n_heads),
    ]);
    let shape_of = |pattern: &str| -> Vec<usize> {
        let dims: Vec<Dim> = dims_of(pattern).unwrap_or_default();
        dims.into_iter().filter_map(|dim| dim.number(&symbols)).collect()
    };
    let blocks: Vec<&str> =
        PARAMS.iter().map(|(name, _)| *name).filter(|name| name.contains("{i}")).collect();
    let mut blocks_done = false;
    for (name, _) in PARAMS {
        if !name.contains("{i}") {
            if is_present(name, config) {
                expected.push(((*name).to_owned(), shape_of(name)));
            }
        } else if !blocks_done {
            blocks_done = true;
            for block in 0..config.depth {
                for pattern in blocks.iter().filter(|pattern| is_present(pattern, config)) {
                    expected.push((expand(pattern, Some(block)), shape_of(pattern)));
                }
            }
        }
    }
    expected
}

fn is_present(pattern: &str, config: &VitConfig) -> bool {
    let has_head = config.n_classes > 0;
    match pattern {
        "cls_token" => config.class_token,
        "dist_token" => config.distilled,
        "reg_token" => config.n_registers > 0,
        "pos_embed" => config.positions != Positions::None,
        "mask_token" => config.mask_token,
        "patch_embed.proj.bias" => config.patch_bias,
        "norm_pre.weight" | "norm_pre.bias" => config.pre_norm,
        "rel_pos_bias.relative_position_bias_table" => config.relative_positions == RelativePositions::Shared,
        "blocks.{i}.attn.relative_position_bias_table" => {
            config.relative_positions == RelativePositions::PerBlock
        }
        "blocks.{i}.attn.qkv.bias" => config.qkv_bias && config.key_bias,
        "blocks.{i}.attn.q_bias" | "blocks.{i}.attn.v_bias" => config.qkv_bias && !config.key_bias,
        "blocks.{i}.ls1.gamma" | "blocks.{i}.ls2.gamma" => config.layer_scale.is_some(),
        "norm.weight" | "norm.bias" => config.pool != Pool::Mean,
        "fc_norm.weight" | "fc_norm.bias" => config.pool == Pool::Mean,
        "head.weight" => has_head,
        "head.bias" => has_head && config.head_bias,
        "head_dist.weight" => has_head && config.distilled,
        "head_dist.bias" => has_head && config.distilled && config.head_bias,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::names;

    #[test]
    fn what_a_configuration_is_expected_to_have_is_what_its_module_has() {
        let tiny =
            VitConfig { image_px: 16, patch_px: 8, width: 8, depth: 2, n_heads: 2, ..VitConfig::default() };
        let configs = [
            tiny.clone(),
            VitConfig {
                n_registers: 2,
                position_of_registers: false,
                mask_token: true,
                n_classes: 3,
                ..tiny.clone()
            },
            VitConfig { distilled: true, n_classes: 3, swiglu: true, layer_scale: Some(0.1), ..tiny.clone() },
            VitConfig { pre_norm: true, patch_bias: false, head_bias: false, n_classes: 3, ..tiny.clone() },
            VitConfig {
                positions: Positions::None,
                relative_positions: RelativePositions::PerBlock,
                key_bias: false,
                pool: Pool::Mean,
                ..tiny.clone()
            },
            VitConfig { relative_positions: RelativePositions::Shared, qkv_bias: false, ..tiny },
        ];
        for config in configs {
            let module = names(&config.blank(&vit_ops::cpu_device()));
            let mut module: Vec<_> = module.into_iter().map(|param| (param.name, param.shape)).collect();
            let mut expected = expected_of(&config);
            module.sort();
            expected.sort();
            assert_eq!(module, expected, "{config:?}");
        }
    }
}
