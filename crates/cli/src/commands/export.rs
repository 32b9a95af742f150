//! `export`: a checkpoint's model as safetensors under the names that other libraries read.

use crate::args::Saying;
use crate::models::{self, Words};
use crate::outcome::Done;
use anyhow::bail;
use serde_json::json;
use std::path::PathBuf;
use vit_core::weights::{self, Checkpoint, Names, TensorFile};

/// What `--help` shows below the options.
pub(crate) const EXAMPLES: &str = "\
Every tensor keeps the type that it has in the checkpoint: half precision stays half. With --names hf, config.json (and
preprocessor_config.json, where the transform is known) are written beside the file where there are none. With -v the
account of the checkpoint is printed and every tensor that was written, with -q only the path.

Examples:
  vitscope export dino.pth --out dino.safetensors --family dino
  vitscope export runs/mae --out hf/model.safetensors --names hf";

/// The options of `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The checkpoint: a file or a run folder
    #[arg(value_name = "WEIGHTS")]
    weights: String,
    /// What it does not say itself.
    #[command(flatten)]
    words: Words,
    /// Where the model goes
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
    /// Whose names are written
    #[arg(long, value_name = "NAMES", value_enum, default_value_t = NamesArg::Timm)]
    names: NamesArg,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
    /// How it is said.
    #[command(flatten)]
    pub(crate) saying: Saying,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum NamesArg {
    /// timm's, which most authors use
    Timm,
    /// transformers'
    Hf,
}

/// Exports.
pub(crate) fn run(args: &Args) -> anyhow::Result<Done> {
    let Some(path) = models::weights_file(&args.weights)? else {
        bail!("weights: expected a file or a folder with weights; found none: {}", args.weights);
    };
    let out = args.out.display();
    if args.out.extension().is_none_or(|ending| ending != "safetensors") {
        bail!("--out: expected a file that ends in .safetensors; found another: {out}");
    }
    if args.out.exists() && !args.overwrite {
        bail!("--out: expected a new file, or --overwrite; found one that is there: {out}");
    }
    let checkpoint = Checkpoint::open(&path, &args.words.hints()?)?;
    if let Some(parent) = args.out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let names = match args.names {
        NamesArg::Timm => Names::Timm,
        NamesArg::Hf => Names::Hf,
    };
    let files = weights::export(&checkpoint, names, &args.out)?;
    let beside: Vec<String> = files.iter().skip(1).map(|file| file.display().to_string()).collect();
    let json = json!({"file": out.to_string(), "beside": beside, "audit": checkpoint.audit().to_json()});
    let mut lines = Vec::new();
    if args.saying.verbose {
        lines.extend(checkpoint.audit().to_string().lines().map(str::to_owned));
        for entry in TensorFile::open(&args.out)?.entries() {
            lines.push(format!("wrote {} {} {:?}", entry.name, entry.dtype.name(), entry.shape));
        }
    }
    if !args.saying.quiet {
        lines.extend(beside.iter().map(|file| format!("also {file}")));
    }
    Ok(Done { path: Some(args.out.clone()), lines, json, metrics: Vec::new() })
}
