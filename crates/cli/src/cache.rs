//! Features that outlive a run: `--cache`, what decides their place, and what the user is told of them.

use crate::models;
use crate::progress::Progress;
use crate::settings::Settings;
use std::path::PathBuf;
use vit_core::Backbone;
use vit_core::weights::ModelConfig;
use vit_features::{Lab, Shelf, Tally};

/// The option of verbs that pass pictures through frozen models.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct KeepFeatures {
    /// Keep features in this folder, and take from it what is there: the same pictures pass the same model once
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
}

/// The place of a model's features, where they are kept: all that decides what comes out for given views.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn shelf(
    model: &Backbone,
    stride_px: Option<usize>,
    settings: &Settings,
) -> anyhow::Result<Option<Shelf>> {
    let Some(cache) = &settings.cache else { return Ok(None) };
    let config = serde_json::to_string(&ModelConfig::of(model))?;
    let stride = stride_px.map_or("that of the patches".into(), |stride_px| format!("{stride_px} px"));
    let identity = format!(
        "vitscope {}\nparameters (sha256) {}\nmodel {config}\nwindows' stride {stride}\ndevice {}\nkernels {}\n",
        env!("CARGO_PKG_VERSION"),
        models::sha256_of_params(model),
        settings.device_name,
        settings.kernel_path(),
    );
    Ok(Some(cache.shelf(&identity)?))
}

/// Says what was there, what was made, and for whom there was a forward all the same; nothing where nothing is kept.
pub(crate) fn tell(labs: &[Lab], progress: &Progress) {
    // All of them stand in one cache.
    let Some(shelf) = labs.iter().find_map(|lab| lab.shelf.as_ref()) else { return };
    let Tally { n_read, n_made, damaged, look_inside } = shelf.cache().take_tally();
    let folder = shelf.cache().folder().display();
    for file in damaged {
        progress.say(&format!("cache: damaged, so made again: {}", file.display()));
    }
    if n_read + n_made > 0 {
        progress.say(&format!(
            "cache: features of {n_read} images were there, those of {n_made} were made and kept: {folder}"
        ));
    }
    if !look_inside.is_empty() {
        let studies: Vec<&str> = look_inside.into_iter().collect();
        progress.say(&format!(
            "cache: passes through the model all the same, for what looks inside: {}",
            studies.join(", ")
        ));
    }
}
