//! A checkpoint of any layout, audited, and the model in it.

use super::audit::Audit;
use super::files::{Dtype, TensorFile};
use super::layouts::{Hints, NoPlan, Piece, Plan, plan};
use super::{WeightsError, assign};
use crate::Vit;
use burn::tensor::Device;
use serde_json::Value;
use std::path::Path;

/// Files beside a checkpoint that say what it is.
const BESIDE: [&str; 2] = ["config.json", "preprocessor_config.json"];

/// A file with the audit of what is in it; no value of it has been read yet.
#[derive(Debug)]
pub struct Checkpoint {
    file: TensorFile,
    plan: Plan,
}

impl Checkpoint {
    /// Opens a file, finds the layout of its names, and accounts for every tensor in it. What stands beside it in
    /// `config.json` and `preprocessor_config.json` is read too.
    ///
    /// # Errors
    /// When the file is damaged, holds no Vision Transformer, or the hints contradict themselves. A file that is not
    /// complete is no error here: the audit says so.
    pub fn open(path: &Path, hints: &Hints) -> Result<Self, WeightsError> {
        Self::of(TensorFile::open(path)?, hints)
    }

    /// The same for a file that is open already.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of(file: TensorFile, hints: &Hints) -> Result<Self, WeightsError> {
        let mut hints = hints.clone();
        let folder = file.path().parent().map(Path::to_owned).unwrap_or_default();
        for name in BESIDE {
            let path = folder.join(name);
            if path.is_file() {
                hints.beside.push((name.to_owned(), read_json(&path)?));
            }
        }
        let malformed = |expected: &str, found: String| WeightsError::Malformed {
            expected: expected.to_owned(),
            found,
            path: file.path().to_owned(),
        };
        match plan(&file, &hints) {
            Ok(plan) => Ok(Self { file, plan }),
            Err(NoPlan::Wrong(problem)) => Err(malformed("a configuration that fits together", problem)),
            Err(NoPlan::Unknown) => {
                let some: Vec<&str> = file.entries().iter().take(4).map(|e| e.name.as_str()).collect();
                let found = format!("{} tensors such as {}", file.entries().len(), some.join(", "));
                Err(malformed("the tensors of a Vision Transformer under names that are known", found))
            }
        }
    }

    /// What was found.
    pub fn audit(&self) -> &Audit {
        &self.plan.audit
    }

    /// The file.
    pub fn file(&self) -> &TensorFile {
        &self.file
    }

    /// The model, read tensor by tensor: never more than the parameters and one tensor in memory.
    ///
    /// # Errors
    /// When the audit is not complete, or a tensor cannot be read or is not finite.
    pub fn load(&self, device: &Device) -> Result<Vit, WeightsError> {
        if !self.audit().is_complete() {
            let (problems, path) = (self.audit().summary(), self.file.path().to_owned());
            return Err(WeightsError::Incomplete { problems, path });
        }
        assign(self.audit().config.blank(device), |name, shape| self.read(name, shape))
    }

    /// One parameter under our name, in our shape.
    ///
    /// # Errors
    /// When it is not in the file, or cannot be read.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        self.read_pieces(self.plan.pieces.get(name), name, shape)
    }

    /// One parameter of MAE's decoder, under MAE's name (`decoder_embed.weight`, `decoder_blocks.0.attn.qkv.weight`,
    /// `mask_token`), whatever its name in the file.
    ///
    /// # Errors
    /// When it is not in the file, is of another shape, or cannot be read.
    pub fn read_decoder(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        self.read_pieces(self.plan.decoder.get(name), name, shape)
    }

    /// Whether MAE's decoder stands with the encoder.
    pub fn has_decoder(&self) -> bool {
        !self.plan.decoder.is_empty()
    }

    fn read_pieces(
        &self,
        pieces: Option<&Vec<Piece>>,
        name: &str,
        shape: &[usize],
    ) -> Result<Vec<f32>, WeightsError> {
        let path = || self.file.path().to_owned();
        let Some(pieces) = pieces else {
            return Err(WeightsError::Missing {
                name: name.to_owned(),
                expected: shape.to_vec(),
                path: path(),
            });
        };
        let mut values = Vec::new();
        for piece in in_order(pieces) {
            let mut part = shape.to_vec();
            part[0] /= piece.part().1;
            let read = piece.to_ours(self.file.read_f32(&piece.source)?, &part);
            // A parameter in one piece is not copied.
            if pieces.len() == 1 {
                values = read;
            } else {
                values.reserve_exact(if values.is_empty() { shape.iter().product() } else { 0 });
                values.extend(read);
            }
        }
        if values.len() != shape.iter().product::<usize>() {
            let found = vec![values.len()];
            return Err(WeightsError::Shape {
                name: name.to_owned(),
                expected: shape.to_vec(),
                found,
                path: path(),
            });
        }
        Ok(values)
    }

    /// The type in which a parameter's numbers are stored; single precision where its pieces differ.
    pub fn dtype(&self, name: &str) -> Dtype {
        let mut dtypes = self
            .plan
            .pieces
            .get(name)
            .into_iter()
            .flatten()
            .filter_map(|piece| self.file.entry(&piece.source).map(|entry| entry.dtype));
        match dtypes.next() {
            Some(first @ (Dtype::F16 | Dtype::Bf16)) if dtypes.all(|dtype| dtype == first) => first,
            _ => Dtype::F32,
        }
    }

    /// Tensors of a head or decoder that stands with the encoder, by the rest of their names after `prefix`: for a DINO
    /// checkpoint `head.` gives `mlp.0.weight` and the others of the branch that was chosen. The parts of a
    /// weight-normed layer are named `weight_g` and `weight_v`, whatever the version that wrote them.
    pub fn beside(&self, prefix: &str) -> Vec<(String, Vec<usize>)> {
        let found = self.places(prefix).into_iter();
        found.filter_map(|(rest, full)| Some((rest, self.file.shape(&full)?))).collect()
    }

    /// One of these tensors.
    ///
    /// # Errors
    /// When it is not in the file, or cannot be read.
    pub fn read_beside(&self, prefix: &str, rest: &str) -> Result<Vec<f32>, WeightsError> {
        let found = self.places(prefix).into_iter().find(|(name, _)| name == rest);
        match found {
            Some((_, full)) => self.file.read_f32(&full),
            None => {
                let (name, path) = (format!("{prefix}{rest}"), self.file.path().to_owned());
                Err(WeightsError::Missing { name, expected: Vec::new(), path })
            }
        }
    }

    /// `(rest of the name, full name)` of what stands below the encoder's root, or beside it.
    fn places(&self, prefix: &str) -> Vec<(String, String)> {
        let root = self.audit().root.as_str();
        let trimmed = root.trim_end_matches('.');
        let parent = trimmed.rfind('.').map_or("", |at| &trimmed[..=at]);
        let mut found = Vec::new();
        for start in [root, parent] {
            let full = format!("{start}{prefix}");
            for entry in self.file.entries() {
                if let Some(rest) = entry.name.strip_prefix(&full) {
                    let rest = rest
                        .replace("parametrizations.weight.original0", "weight_g")
                        .replace("parametrizations.weight.original1", "weight_v");
                    found.push((rest, entry.name.clone()));
                }
            }
            if !found.is_empty() {
                break;
            }
        }
        found
    }
}

/// The pieces from the first part on.
fn in_order(pieces: &[Piece]) -> Vec<&Piece> {
    let mut pieces: Vec<&Piece> = pieces.iter().collect();
    pieces.sort_by_key(|piece| piece.part().0);
    pieces
}

fn read_json(path: &Path) -> Result<Value, WeightsError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| WeightsError::Io { source, path: path.to_owned() })?;
    serde_json::from_str(&text).map_err(|error| WeightsError::Malformed {
        expected: "a JSON document beside the weights".into(),
        found: error.to_string(),
        path: path.to_owned(),
    })
}
