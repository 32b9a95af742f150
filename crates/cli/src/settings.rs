//! From what was typed to what the program needs: device, threads, seed, clock.

use crate::args::Common;
use crate::cache::KeepFeatures;
use burn::tensor::Device;
use report::Provenance;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use vit_features::Cache;

/// Samples in a batch of a study where nobody says otherwise.
const BATCH: usize = 64;

/// What every verb that computes needs.
pub(crate) struct Settings {
    /// A device without autodiff.
    pub(crate) device: Device,
    /// Its name in reports.
    pub(crate) device_name: String,
    /// Threads that decode and compute.
    pub(crate) n_threads: usize,
    /// From which every draw follows.
    pub(crate) seed: u64,
    /// The share of samples that may be unreadable.
    pub(crate) max_unreadable: f64,
    /// Where features are kept on disk, where they are.
    pub(crate) cache: Option<Arc<Cache>>,
    batch: Option<usize>,
    started: Instant,
}

/// Threads that decode and compute: as many as asked for, or as the machine has.
pub(crate) fn n_threads(common: &Common) -> usize {
    common.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

impl Settings {
    /// Resolves the common options.
    pub(crate) fn of(common: &Common) -> anyhow::Result<Self> {
        let device = vit_ops::device(&common.device)?;
        Ok(Self {
            device,
            device_name: common.device.clone(),
            n_threads: n_threads(common),
            seed: common.seed.unwrap_or(0),
            max_unreadable: common.max_unreadable,
            cache: None,
            batch: common.batch,
            started: Instant::now(),
        })
    }

    /// The same with the seed of a recipe.
    pub(crate) fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same with features kept on disk, where that was asked for.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn keeping(self, features: &KeepFeatures) -> anyhow::Result<Self> {
        let cache = features.cache.as_deref().map(Cache::open).transpose()?;
        Ok(Self { cache: cache.map(Arc::new), ..self })
    }

    /// Samples in a batch of a study.
    pub(crate) fn batch(&self) -> usize {
        self.batch.unwrap_or(BATCH)
    }

    /// Which kernels compute.
    pub(crate) fn kernel_path(&self) -> &str {
        match self.device_name.as_str() {
            "cpu" => vit_ops::kernel_path(),
            other => other,
        }
    }

    /// Seconds since the start.
    pub(crate) fn elapsed_secs(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Where the numbers come from.
    pub(crate) fn provenance(&self, weights_sha256: Option<String>, recipe: Value) -> Provenance {
        Provenance {
            version: env!("CARGO_PKG_VERSION").into(),
            seed: self.seed,
            weights_sha256,
            device: self.device_name.clone(),
            kernel_path: self.kernel_path().into(),
            recipe,
            elapsed_secs: self.elapsed_secs(),
            ..Provenance::default()
        }
    }
}

/// Seconds since 1970, for the times that TensorBoard shows.
pub(crate) fn secs_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
