//! Why a study cannot be done.

use report::RecipeError;
use std::path::PathBuf;
use vit_data::DataError;

/// Why a study cannot be done: what, expected, found, where.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// Its options are not sound.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model does not have what the study needs.
    #[error("`{study}` needs {needs}; found {found}: {model}")]
    Model {
        /// The study.
        study: String,
        /// What it needs of a model.
        needs: String,
        /// What the model has.
        found: String,
        /// The model.
        model: String,
    },
    /// The data does not offer what the study needs.
    #[error("`{study}` needs {needs}; the data offers none: {data}")]
    Offers {
        /// The study.
        study: String,
        /// What it needs of the data.
        needs: String,
        /// The data set.
        data: String,
    },
    /// A select is not written as selects are, or names what the model does not have.
    #[error("select: expected {expected}; found `{found}`")]
    Select {
        /// How it is written, or what there is.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A number that cannot be.
    #[error("`{study}`: expected {expected}; found {found}")]
    Value {
        /// The study.
        study: String,
        /// What was expected.
        expected: String,
        /// What came.
        found: String,
    },
    /// There is less to ask than the study can do with; other data, or more of it, would do.
    #[error("`{study}`: expected {expected}; found {found}")]
    TooFew {
        /// The study.
        study: String,
        /// How much it wants.
        expected: String,
        /// How much there is.
        found: String,
    },
    /// What was accumulated cannot be saved or read again.
    #[error("`{study}`: cannot {action} what was accumulated: {reason}")]
    Accumulated {
        /// The study.
        study: String,
        /// Write or read.
        action: &'static str,
        /// Why.
        reason: String,
    },
    /// The features on disk.
    #[error("cache of features: cannot {action} {}: {source}; what was kept before is whole", path.display())]
    Cache {
        /// Make, read or write.
        action: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The temporary file of features that do not fit in memory.
    #[error("`{study}`: cannot keep features in a temporary file: {source}")]
    TemporaryFile {
        /// The study.
        study: String,
        /// Why.
        source: std::io::Error,
    },
}

impl StudyError {
    /// The refusal of data that is too little for a study.
    pub fn too_few(study: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::TooFew { study: study.into(), expected: expected.into(), found: found.into() }
    }
}
