//! `inspect`: what is in a checkpoint, every tensor accounted for.

use crate::args::Saying;
use crate::models::{self, Words};
use crate::outcome::{Done, Stop};
use anyhow::bail;
use serde_json::json;
use std::collections::BTreeMap;
use vit_core::weights::{self, Audit, Checkpoint, ModelConfig, TensorFile};

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
WEIGHTS is a .safetensors file (or the index of a sharded one), a PyTorch file (.pth, .pt, .bin, TorchScript), an .npz
of JAX code, or a folder with one of them. Exit code 0 only if every parameter was found and every other tensor is
explained, 1 if not, 2 if the file is damaged. With -v every tensor of the file is listed with what became of it, with
-q only what is wrong.

Examples:
  vitscope inspect dino_deitsmall16_pretrain_full_checkpoint.pth --branch teacher
  vitscope inspect vit.safetensors --arch vit-b/16 --family mae
  vitscope inspect ViT-B-32.pt --json
  vitscope inspect model.safetensors -v | grep qkv";

/// The options of `inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The checkpoint
    #[arg(value_name = "WEIGHTS")]
    weights: String,
    /// What it does not say itself.
    #[command(flatten)]
    words: Words,
    /// How it is said.
    #[command(flatten)]
    pub(crate) saying: Saying,
}

/// Inspects; the second is the verdict, which comes after the result was printed.
pub(crate) fn run(args: &Args) -> anyhow::Result<(Done, anyhow::Result<()>)> {
    let Some(path) = models::weights_file(&args.weights)? else {
        bail!("weights: expected a file or a folder with weights; found none: {}", args.weights);
    };
    let file = TensorFile::open(&path)?;
    let own: Option<ModelConfig> = file.metadata().and_then(|text| serde_json::from_str(text).ok());
    if let Some(config @ ModelConfig::Conv(_)) = own {
        // Only we write these; loading holds them to their configuration name by name.
        weights::load(&path, None, &vit_ops::cpu_device())?;
        let lines = vec![format!("file       {}", path.display()), "complete".into()];
        let json = json!({"file": path.display().to_string(), "complete": true, "layout": "vitscope", "config": config});
        return Ok((Done { path: None, lines, json, metrics: Vec::new() }, Ok(())));
    }
    let checkpoint = Checkpoint::of(file, &args.words.hints()?)?;
    let audit = checkpoint.audit();
    let lines = match args.saying {
        Saying { quiet: true, .. } => audit.problems(),
        Saying { verbose, .. } => {
            let mut lines: Vec<String> = audit.to_string().lines().map(str::to_owned).collect();
            let verdict = lines.pop();
            if verbose {
                lines.extend(every_tensor(audit, checkpoint.file()));
            }
            lines.into_iter().chain(verdict).collect()
        }
    };
    let done = Done { path: None, lines, json: audit.to_json(), metrics: Vec::new() };
    let verdict = match audit.is_complete() {
        true => Ok(()),
        false => Err(Stop::NotHeld(format!("not complete: {}: {}", audit.summary(), path.display())).into()),
    };
    Ok((done, verdict))
}

/// A line for every tensor of the file: its type, its shape, and what became of it; then one for what is missing.
fn every_tensor(audit: &Audit, file: &TensorFile) -> Vec<String> {
    let mut became: BTreeMap<&str, String> = BTreeMap::new();
    for matched in &audit.matched {
        let how = if matched.reshaped { " (reshaped)" } else { "" };
        let n_parts = matched.from.len();
        for (i, name) in matched.from.iter().enumerate() {
            let part = if n_parts > 1 { format!(" (part {} of {n_parts})", i + 1) } else { how.to_owned() };
            became.insert(name, format!("→ {}{part}", matched.name));
        }
    }
    for (why, names) in &audit.leftovers {
        became.extend(names.iter().map(|name| (name.as_str(), format!("left: {why}"))));
    }
    became.extend(audit.unexpected.iter().map(|name| (name.as_str(), "unexpected".to_owned())));
    for tensor in &audit.misshapen {
        became.insert(&tensor.name, format!("misshapen: expected {:?}", tensor.expected));
    }
    let mut lines = vec![format!("every tensor ({})", file.entries().len())];
    for entry in file.entries() {
        let what = became.get(entry.name.as_str()).map_or("unused", String::as_str);
        lines.push(format!("  {} {} {:?} {what}", entry.name, entry.dtype.name(), entry.shape));
    }
    lines.extend(audit.missing.iter().map(|name| format!("  {name} missing")));
    lines
}
