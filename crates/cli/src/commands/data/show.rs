//! `data show`: a contact sheet.

use super::sheet::{self, Row};
use crate::args::Saying;
use crate::builtin;
use crate::names::{self, Names};
use crate::outcome::{Done, OutDir};
use anyhow::{Context, anyhow, bail};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use report::recipe;
use report::store::write_file;
use serde_json::{Value, json};
use ssl_pretrain::OBJECTIVES;
use std::path::{Path, PathBuf};
use vit_data::{Dataset, Seed, Split, ViewPlan, cut, spread_over_classes};
use vit_train::PretrainRecipe;

/// What `--help` shows below the options.
pub(super) const EXAMPLES: &str = "\
Each row is a sample: its picture, its truth where there is more than a class (parts in colors, the object's
outline, points; hollow where hidden), the boxes of its views, and the views as the recipe draws them in an epoch.

Examples:
  vitscope data show part-shapes --out shapes.png
  vitscope data show part-shapes:cue-conflict --samples 12 --out conflict.html
  vitscope data show folder:photos --recipe mae-part-shapes --size 224 --out views.png
  vitscope data show part-shapes --set views.jitter.prob=0.8 --set views.blur.prob=0.5 --out jitter.png";

/// The options of `data show`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The data, as a URI
    #[arg(value_name = "DATA", value_parser = Names(names::datasets), hide_possible_values = true)]
    data: String,
    /// A pretraining recipe whose views are drawn [default: random resized crops and flips]
    #[arg(long, value_name = "RECIPE", value_parser = Names(names::pretrain_recipes), hide_possible_values = true)]
    recipe: Option<String>,
    /// Samples, spread evenly over the classes
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=500))]
    samples: u16,
    /// Draws of a view where the recipe has only one: those of the first N epochs
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    draws: u8,
    /// Which samples
    #[arg(long, value_name = "SPLIT", value_parser = ["train", "test", "all"], default_value = "train")]
    split: String,
    /// Side of the views in pixels [default: the recipe's; the data's own without one, at most 224]
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u16).range(1..=4096))]
    size: Option<u16>,
    /// Seed of every draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Change one value of the recipe, e.g. views.jitter.prob=0.8; may be given again
    #[arg(long, value_name = "KEY=VALUE", value_parser = Names(names::keys), hide_possible_values = true)]
    set: Vec<String>,
    /// A file that ends in .png or .html [default: runs/data-N/sheet.png]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
    /// How it is said.
    #[command(flatten)]
    pub(super) saying: Saying,
}

/// Draws and writes the sheet.
pub(super) fn run(args: &Args) -> anyhow::Result<Done> {
    if let Some(out) = &args.out {
        check_out(out, args.overwrite)?;
    }
    let split = match args.split.as_str() {
        "test" => Split::Test,
        "all" => Split::All,
        _ => Split::Train,
    };
    let data = vit_data::open(&args.data, split, args.seed)?;
    let plan = plan(args, data.as_ref())?;
    let repeats = if plan.views.len() == 1 { u64::from(args.draws) } else { 1 };
    let mut rows = Vec::new();
    for index in spread_over_classes(data.as_ref(), usize::from(args.samples)) {
        let sample = data.sample(index)?;
        if matches!(sample.picture, vit_data::Picture::Normalized { .. }) && plan.changes_bytes() {
            bail!(
                "views: expected 8-bit images where they jitter, turn gray, blur or solarize; found values that are \
                 normalized already: {}",
                args.data
            );
        }
        let mut views = Vec::new();
        for epoch in 0..repeats {
            for (view_idx, spec) in plan.views.iter().enumerate() {
                let counters = [epoch, index as u64, view_idx as u64];
                views.push(cut(&sample.picture, spec, &mut Seed(args.seed).stream("view", &counters)));
            }
        }
        let class = sample.truth.label.and_then(|label| data.classes().get(label as usize).cloned());
        rows.push(Row { sample, class: class.unwrap_or_default(), views });
    }
    let shown = ViewPlan { views: plan.views.repeat(repeats as usize) };
    let title = data.name();
    let drawn = if repeats > 1 { format!("; views of the first {repeats} epochs") } else { String::new() };
    let subtitle =
        format!("{} of {} samples, {} classes{drawn}", rows.len(), data.len(), data.classes().len());
    let canvas = sheet::draw(&title, &subtitle, &rows, &shown, plan.views[0].normalize);
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&canvas.rgb, canvas.width as u32, canvas.height as u32, ExtendedColorType::Rgb8)
        .context("cannot encode the sheet")?;
    // A folder that was claimed is removed again if nothing comes into it.
    let claimed = if args.out.is_none() { Some(OutDir::claim(None, "data", false, false)?) } else { None };
    let out = match (&args.out, &claimed) {
        (Some(out), _) => out.clone(),
        (None, Some(claimed)) => claimed.path().join("sheet.png"),
        (None, None) => bail!("--out: expected a file; found none"),
    };
    match ending(&out) {
        "html" => write_file(&out, page(&title, &subtitle, &png, (canvas.width, canvas.height)).as_bytes())?,
        _ => write_file(&out, &png)?,
    }
    let json = json!({
        "data": title,
        "n_samples": data.len(),
        "classes": data.classes(),
        "file": out.display().to_string(),
        "views": shown.views,
        "samples": rows.iter().map(describe).collect::<Vec<_>>(),
    });
    let mut lines = Vec::new();
    if args.saying.verbose {
        let line = |row: &Row| {
            format!(
                "{}: {}, {} views",
                row.sample.id,
                if row.class.is_empty() { "no class" } else { &row.class },
                row.views.len()
            )
        };
        lines.extend(rows.iter().map(line));
    }
    if !args.saying.quiet {
        lines.push(subtitle);
    }
    Ok(Done { path: Some(out), lines, json, metrics: Vec::new() })
}

fn describe(row: &Row) -> Value {
    let truth = &row.sample.truth;
    json!({
        "id": row.sample.id,
        "label": truth.label,
        "class": row.class,
        "n_keypoints": truth.keypoints.len(),
        "has_mask": truth.mask.is_some(),
        "has_parts": truth.parts.is_some(),
        "has_classes_by_pixel": truth.semantic.is_some(),
        "n_objects": truth.objects.len(),
        "boxes": row.views.iter().map(|view| view.crop_from_image).collect::<Vec<_>>(),
    })
}

/// The views of the recipe, or those of a plain one.
fn plan(args: &Args, data: &dyn Dataset) -> anyhow::Result<ViewPlan> {
    let native = data.native_size_px().unwrap_or(224).clamp(1, 224);
    let plain = format!(
        "objective = \"supervised\"\nmodel = \"vit-nano/8\"\ndata = \"part-shapes\"\n[views]\nsize_px = {native}\n"
    );
    let (text, origin) = match &args.recipe {
        Some(word) => builtin::read("pretrain", word)?,
        None => (plain, "--set".to_owned()),
    };
    let mut table = recipe::parse_table(&text, &origin)?;
    for key_value in &args.set {
        recipe::set(&mut table, key_value)?;
    }
    let mut recipe: PretrainRecipe = recipe::from_table(table, &origin)?;
    if let Some(size_px) = args.size {
        recipe.views.size_px = usize::from(size_px);
    }
    let method = OBJECTIVES.iter().find(|method| method.info.name == recipe.objective);
    let method = method
        .ok_or_else(|| anyhow!("objective: found `{}`, which is unknown: {origin}", recipe.objective))?;
    (method.views)(&recipe).map_err(|error| error.at(&origin).into())
}

fn ending(out: &Path) -> &str {
    out.extension().and_then(|ending| ending.to_str()).unwrap_or_default()
}

fn check_out(out: &Path, overwrite: bool) -> anyhow::Result<()> {
    if !["png", "html"].contains(&ending(out)) {
        bail!("--out: expected a file that ends in .png or .html; found another: {}", out.display());
    }
    if out.is_dir() {
        bail!("--out: expected a file; found a folder: {}", out.display());
    }
    if out.exists() && !overwrite {
        bail!("--out: expected a new file, or --overwrite; found one that is there: {}", out.display());
    }
    Ok(())
}

/// One offline page with the sheet in it.
fn page(title: &str, subtitle: &str, png: &[u8], (width, height): (usize, usize)) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let (title, subtitle) = (escape(title), escape(subtitle));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <style>body{{margin:0;background:#fafaf8}}div{{overflow:auto}}img{{display:block;margin:0 auto}}</style></head>\n\
         <body><div><img width=\"{width}\" height=\"{height}\" alt=\"{title}: {subtitle}\" \
         src=\"data:image/png;base64,{}\"></div></body></html>\n",
        BASE64_STANDARD.encode(png)
    )
}
