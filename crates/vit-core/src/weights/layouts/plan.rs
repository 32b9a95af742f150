//! From the names and shapes in a file to a plan of how every parameter is read.

use super::super::audit::{Audit, Matched, Misshapen};
use super::super::decoder::decoder;
use super::super::files::TensorFile;
use super::super::heads;
use super::Layout;
use super::branches;
use super::detect::{Candidate, Placed, candidates, chosen, depth_of, parent_of, place};
use super::dims::{Dim, Voter, capture, expand, squeezed, vote};
use super::family::{Family, Traces, fitting};
use super::leftover::reason;
use super::line::{Form, Line};
use super::settle::{Seen, Settled, expected_of, settle};
use super::values::Said;
use crate::{Given, VitConfig};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is known from outside the file.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// What `--arch` gives.
    pub given: Given,
    /// What `--family` gives.
    pub family: Option<&'static Family>,
    /// The student's weights or the teacher's, where a file holds both.
    pub branch: Option<Branch>,
    /// JSON documents beside the file, with their names.
    pub beside: Vec<(String, Value)>,
}

/// Which network of a file that holds two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// The one that is trained.
    Student,
    /// The moving average.
    Teacher,
}

/// Who says what our own metadata says.
const OWN: &str = "the file's own configuration";

/// Where the values of one parameter come from.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// The tensor in the file.
    pub(crate) source: String,
    /// Which of how many equal parts along the first axis.
    pub(crate) part: (usize, usize),
    pub(crate) form: Form,
}

impl Piece {
    /// Which of how many equal parts along the first axis it fills.
    pub(crate) fn part(&self) -> (usize, usize) {
        self.part
    }

    /// The values in our order, from those in the file's; `shape` is that of the part.
    pub(crate) fn to_ours(&self, values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        self.form.to_ours(values, shape)
    }
}

/// How a model is read from a file.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What was found.
    pub(crate) audit: Audit,
    /// Every parameter of ours and its pieces.
    pub(crate) pieces: BTreeMap<String, Vec<Piece>>,
    /// The same of MAE's decoder, under MAE's names.
    pub(crate) decoder: BTreeMap<String, Vec<Piece>>,
}

/// Why there is no plan.
#[derive(Debug)]
pub(crate) enum NoPlan {
    /// No layout fits.
    Unknown,
    /// What was given contradicts itself.
    Wrong(String),
}

/// Finds layout and root, settles the configuration, and accounts for every tensor.
pub(crate) fn plan(file: &TensorFile, hints: &Hints) -> Result<Plan, NoPlan> {
    let candidates = candidates(file.entries());
    let layout = candidates.first().ok_or(NoPlan::Unknown)?.layout;
    let best = candidates[0].score;
    let roots: Vec<&Candidate> =
        candidates.iter().filter(|c| c.layout.name == layout.name && 2 * c.score > best).collect();
    let root = chosen(&roots, hints.branch).map_err(NoPlan::Wrong)?;
    let placed = place(file.entries(), layout, root);
    let taken: BTreeSet<&str> = placed.iter().map(|placed| placed.entry.name.as_str()).collect();
    let depth = depth_of(&placed);
    let (placed, beyond): (Vec<Placed>, Vec<Placed>) =
        placed.into_iter().partition(|placed| placed.block.is_none_or(|block| block < depth));

    let said = said(file, hints);
    let traces = traces(file, layout, root, &placed, &said);
    let fits = match hints.family {
        Some(family) => vec![family],
        None => fitting(&traces),
    };
    // MAE's mask token is its decoder's.
    let (placed, of_decoder): (Vec<Placed>, Vec<Placed>) =
        placed.into_iter().partition(|placed| placed.line.ours != "mask_token" || traces.decoder.is_none());

    let (symbols, voted_by) = symbols(&placed);
    let patterns = placed.iter().map(|placed| placed.line.ours).collect();
    // Pre-training files of SimMIM, and DINOv2 with registers under its authors' names, have a mask token.
    let always_masks = traces.registers || matches!(fits.as_slice(), [only] if only.name == "simmim");
    let seen = Seen { patterns, symbols, depth, always_masks };
    let own = own_config(file);
    let mut said = said;
    if let Some(config) = &own
        && let Ok(Value::Object(given)) = serde_json::to_value(config)
    {
        let given = given.into_iter().filter(|(_, value)| !value.is_null()).collect();
        said.insert(0, Said { by: OWN.to_owned(), given, ..Said::default() });
    }
    let settled = match own {
        Some(config) if hints.given.is_empty() => of_own(config, file),
        _ => settle(hints, &said, &fits, layout.always, &seen).map_err(NoPlan::Wrong)?,
    };
    if let Err(problem) = settled.config.check() {
        return Err(NoPlan::Wrong(problem));
    }
    let mut audit = Audit {
        path: file.path().to_owned(),
        format: file.format().name(),
        layout: layout.name,
        root: root.to_owned(),
        other_roots: roots.iter().map(|c| c.root.clone()).filter(|other| other != root).collect(),
        families: fits.iter().map(|family| family.name).collect(),
        input: settled.input,
        decisions: settled.decisions,
        undecided: settled.undecided,
        matched: Vec::new(),
        missing: Vec::new(),
        unexpected: beyond.iter().map(|placed| placed.entry.name.clone()).collect(),
        misshapen: Vec::new(),
        leftovers: BTreeMap::new(),
        dtypes: BTreeMap::new(),
        config: settled.config,
    };
    for placed in &placed {
        *audit.dtypes.entry(placed.entry.dtype.name()).or_default() += 1;
    }
    let pieces = pieces(layout, root, placed, &voted_by, &mut audit);
    for entry in file.entries().iter().filter(|entry| !taken.contains(entry.name.as_str())) {
        let inner = entry.name.strip_prefix(root);
        let other = audit.other_roots.iter().any(|other| entry.name.starts_with(other.as_str()));
        let why = if other && inner.is_none() {
            Some("another branch")
        } else {
            reason(&entry.name, inner).or_else(|| sibling(&entry.name, root))
        };
        match why {
            Some(why) => audit.leftovers.entry(why).or_default().push(entry.name.clone()),
            None => audit.unexpected.push(entry.name.clone()),
        }
    }
    for placed in of_decoder {
        audit.leftovers.entry("decoder").or_default().push(placed.entry.name.clone());
    }
    let decoder = decoder(file, root, &mut audit);
    heads::audit(file, &decoder.tensors, &mut audit);
    branches::audit(file, root, &mut audit);
    Ok(Plan { audit, pieces, decoder: decoder.pieces })
}

/// The symbols by vote, and for each the tensor that gave it where only one did.
fn symbols<'a>(placed: &[Placed<'a>]) -> (BTreeMap<char, usize>, BTreeMap<char, &'a str>) {
    let voters: Vec<Voter> = placed
        .iter()
        .filter_map(|placed| {
            let (dims, shape) = squeezed(&placed.line.dims(), &placed.entry.shape)?;
            Some(Voter { name: &placed.entry.name, dims, shape })
        })
        .collect();
    let voted = vote(&voters);
    let alone = |symbol: &char| matches!(symbol, 'K' | 'B' | 'T' | 'R' | 'P');
    let values = voted.iter().map(|(symbol, (value, _))| (*symbol, *value)).collect();
    let by = voted.into_iter().filter(|(symbol, _)| alone(symbol)).map(|(s, (_, name))| (s, name)).collect();
    (values, by)
}

/// Everything that is said of the model, in the order in which it counts.
fn said(file: &TensorFile, hints: &Hints) -> Vec<Said> {
    let mut said: Vec<Said> = hints.beside.iter().map(|(name, json)| Said::of_json(name, json)).collect();
    let meta = file.meta();
    said.push(Said::of_json("the file's own values", meta));
    for part in ["args", "config", "hyper_parameters"] {
        if let Some(args) = meta.get(part) {
            said.push(Said::of_json(&format!("the file's own {part}"), args));
        }
    }
    // The file's kind tells nothing of sizes: an `arch` of `vit_small` may be of another width.
    said
}

fn traces(
    file: &TensorFile,
    layout: &'static Layout,
    root: &str,
    placed: &[Placed],
    said: &[Said],
) -> Traces {
    let has = |pattern: &str| placed.iter().any(|placed| placed.line.ours == pattern);
    let theirs = |name: &str| placed.iter().any(|placed| placed.line.theirs == name);
    let names = || file.entries().iter().map(|entry| entry.name.as_str());
    let decoder = names().any(|name| name.contains("decoder_embed.") || name.contains("decoder_pred."));
    let separate = names().any(|name| name.contains("decoder_blocks.") && name.contains(".attn.kv."));
    let mask_row = placed.iter().any(|p| p.line.theirs == "mask_token" && p.entry.shape.len() == 2);
    Traces {
        layout: layout.name,
        root: root.to_owned(),
        decoder: decoder.then_some(separate),
        relative: has("rel_pos_bias.relative_position_bias_table")
            || has("blocks.{i}.attn.relative_position_bias_table"),
        distilled: has("dist_token"),
        registers: theirs("register_tokens") || theirs("embeddings.register_tokens"),
        dinov2: theirs("blocks.{i}.ls1.gamma") && mask_row,
        ibot: names().any(|name| name.starts_with("ibot_loss") || name.ends_with("masked_embed")),
        sit: names().any(|name| name.contains("head_recons.")),
        leopart: names().any(|name| name.contains("projection_head.")),
        layer_scale: has("blocks.{i}.ls1.gamma"),
        said: said.iter().map(|said| said.kind.as_str()).collect::<Vec<_>>().join(" "),
    }
}

/// The configuration in our own metadata.
fn own_config(file: &TensorFile) -> Option<VitConfig> {
    match serde_json::from_str(file.metadata()?) {
        Ok(super::super::ModelConfig::Vit(config)) => Some(config),
        _ => None,
    }
}

fn of_own(config: VitConfig, file: &TensorFile) -> Settled {
    let input = super::super::input_of(file);
    let json = serde_json::to_value(&config).unwrap_or(Value::Null);
    let decisions = json.as_object().into_iter().flatten();
    let decision =
        |(what, value): (&String, &Value)| super::super::audit::Decision::made(what, value, OWN.to_owned());
    let decisions = decisions.filter(|(_, value)| !value.is_null()).map(decision).collect();
    Settled { config, decisions, input, undecided: Vec::new() }
}

/// Pieces of every parameter that is whole; the audit hears of the others.
fn pieces(
    layout: &'static Layout,
    root: &str,
    placed: Vec<Placed>,
    voted_by: &BTreeMap<char, &str>,
    audit: &mut Audit,
) -> BTreeMap<String, Vec<Piece>> {
    let config = audit.config.clone();
    let mut styles: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_name: BTreeMap<String, Vec<Placed>> = BTreeMap::new();
    for placed in placed {
        *styles.entry(placed.line.theirs).or_default() += 1;
        by_name.entry(expand(placed.line.ours, placed.block)).or_default().push(placed);
    }
    // Where no tensor of that name is left to tell, DINOv2's authors call them so.
    if audit.families.iter().any(|family| family.starts_with("dinov2")) {
        *styles.entry("register_tokens").or_default() += 1;
    }
    let mut pieces = BTreeMap::new();
    for (name, shape) in expected_of(&config) {
        let found = by_name.remove(&name).unwrap_or_default();
        let wanted = wanted_lines(layout, &name, &styles, &found);
        let mut made = Vec::new();
        let mut whole = true;
        let mut reshaped = false;
        for (line, block) in wanted {
            let Some(placed) = found.iter().find(|placed| std::ptr::eq(placed.line, line)) else {
                audit.missing.push(theirs(root, line, block));
                whole = false;
                continue;
            };
            match fit(placed, &shape, config.n_heads) {
                Ok(changed) => {
                    reshaped |= changed;
                    let source = placed.entry.name.clone();
                    made.push(Piece { source, part: line.part, form: line.form });
                }
                Err(expected) => {
                    whole = false;
                    let by = disagreeing(placed, voted_by);
                    let (name, found) = (placed.entry.name.clone(), placed.entry.shape.clone());
                    audit.misshapen.push(Misshapen { name, expected, found, by });
                }
            }
        }
        let strangers = found.iter().filter(|p| !made.iter().any(|piece| piece.source == p.entry.name));
        let known: BTreeSet<&String> = audit.misshapen.iter().map(|tensor| &tensor.name).collect();
        let strangers: Vec<String> =
            strangers.map(|p| p.entry.name.clone()).filter(|name| !known.contains(name)).collect();
        audit.unexpected.extend(strangers);
        if whole {
            let from = made.iter().map(|piece| piece.source.clone()).collect();
            audit.matched.push(Matched { name: name.clone(), from, reshaped });
            pieces.insert(name, made);
        }
    }
    audit.unexpected.extend(by_name.into_values().flatten().map(|placed| placed.entry.name.clone()));
    pieces
}

/// The lines that must give a parameter: of several ways to name it the one that the file uses here, or most.
fn wanted_lines(
    layout: &'static Layout,
    name: &str,
    styles: &BTreeMap<&str, usize>,
    found: &[Placed],
) -> Vec<(&'static Line, Option<usize>)> {
    let lines: Vec<(&'static Line, Option<usize>)> =
        layout.lines().filter_map(|line| Some((line, capture(line.ours, name)?))).collect();
    // Ways: each whole line alone, and all lines of parts that begin together.
    let mut ways: Vec<Vec<(&'static Line, Option<usize>)>> = Vec::new();
    for line in lines {
        match ways.last_mut() {
            Some(way) if line.0.part.0 > 0 && line.0.part.1 == way[0].0.part.1 => way.push(line),
            _ => ways.push(vec![line]),
        }
    }
    let use_of = |way: &Vec<(&'static Line, Option<usize>)>| -> (usize, usize) {
        let here = way.iter().filter(|(line, _)| found.iter().any(|p| std::ptr::eq(p.line, *line))).count();
        (here, way.iter().map(|(line, _)| styles.get(line.theirs).copied().unwrap_or(0)).sum())
    };
    let most = ways.iter().map(use_of).max().unwrap_or_default();
    ways.iter().find(|way| use_of(way) == most).cloned().unwrap_or_default()
}

fn theirs(root: &str, line: &Line, block: Option<usize>) -> String {
    let root = if line.is_beside() { parent_of(root) } else { root };
    format!("{root}{}", line.name(block))
}

/// Whether a tensor's shape is what its part of a parameter needs: whether it changes on the way, or the shape expected.
fn fit(placed: &Placed, shape: &[usize], n_heads: usize) -> Result<bool, Vec<usize>> {
    let line = placed.line;
    let mut ours = shape.to_vec();
    ours[0] /= line.part.1;
    let expected = match (line.form, ours.as_slice()) {
        (Form::Transposed, &[o, i]) => vec![i, o],
        (Form::KernelLast, &[o, c, y, x]) => vec![y, x, c, o],
        (Form::IntoHeads, &[o, i]) => vec![i, n_heads, o / n_heads],
        (Form::HeadsBias, &[o]) => vec![n_heads, o / n_heads],
        (Form::FromHeads, &[o, i]) => vec![n_heads, i / n_heads, o],
        _ => ours.clone(),
    };
    let found = &placed.entry.shape;
    let without_ones = |shape: &[usize]| shape.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
    // A patch projection kept as a matrix has the same values in the same order: channel, row, column.
    let as_matrix = line.ours == "patch_embed.proj.weight"
        && line.form == Form::Same
        && found.len() == 2
        && found[..] == [expected[0], expected[1..].iter().product()];
    if *found == expected {
        return Ok(line.form != Form::Same || line.part.1 > 1);
    }
    if without_ones(found) == without_ones(&expected) || as_matrix {
        return Ok(true);
    }
    Err(expected)
}

/// The tensor that outvoted this one, where it stood alone.
fn disagreeing(placed: &Placed, voted_by: &BTreeMap<char, &str>) -> Option<String> {
    placed.line.dims().iter().find_map(|dim| match dim {
        Dim::Of { symbol, .. } => {
            voted_by.get(symbol).filter(|by| **by != placed.entry.name).map(|by| (*by).to_owned())
        }
        Dim::Number(_) => None,
    })
}

/// A tensor of a network beside the encoder's, such as a momentum encoder of which only parts are kept.
fn sibling(name: &str, root: &str) -> Option<&'static str> {
    let network = |name: &str| {
        let words = ["student", "teacher", "base_encoder", "momentum_encoder", "model_ema", "model"];
        name.split('.').find(|part| words.contains(part)).map(str::to_owned)
    };
    let (of_name, of_root) = (network(name)?, network(root)?);
    (of_name != of_root).then_some("another branch")
}
