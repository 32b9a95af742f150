//! What probes that learn from one side and are asked about the other keep: vectors of both.

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use vit_features::{Accumulate, Bank, Role, Select, StudyError, Taken};

/// Labeled features of both sides.
///
/// Memory: `samples · selects · D · 4` bytes, of each side at most what the probe allows; what is beyond goes to temporary files.
#[derive(Serialize, Deserialize)]
pub struct TwoSides {
    pub(crate) wanted: Vec<Select>,
    pub(crate) train: Bank,
    pub(crate) test: Bank,
}

impl TwoSides {
    /// Nothing yet.
    pub(crate) fn new(study: &'static str, wanted: Vec<Select>, memory_bytes: usize) -> Self {
        let bank = || Bank::new(study, memory_bytes);
        Self { wanted, train: bank(), test: bank() }
    }

    /// Refuses to finish with less than can be learned from and asked.
    ///
    /// # Errors
    /// When there are fewer than 2 training samples or no test sample.
    pub(crate) fn needs_samples(&self, study: &str) -> Result<(), StudyError> {
        if self.train.len() >= 2 && !self.test.is_empty() {
            return Ok(());
        }
        Err(StudyError::Value {
            study: study.into(),
            expected: "at least 2 training samples and 1 test sample".into(),
            found: format!("{} and {}", self.train.len(), self.test.len()),
        })
    }
}

impl Accumulate for TwoSides {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        let side = match taken.info.role {
            Role::Train => &mut self.train,
            Role::Test => &mut self.test,
        };
        side.push(taken, &self.wanted)
    }

    fn merge(&mut self, later: Self) {
        self.train.append(later.train);
        self.test.append(later.test);
    }
}

/// The features of one select, a row for each sample.
///
/// # Errors
/// When there are none for every sample, or a temporary file cannot be read.
pub(crate) fn matrix(study: &str, bank: &Bank, select: Select) -> Result<Array2<f32>, StudyError> {
    let (width, values) = bank.features(select)?;
    Array2::from_shape_vec((bank.len(), width), values).map_err(|error| StudyError::Value {
        study: study.into(),
        expected: "as many features as labels".into(),
        found: error.to_string(),
    })
}
