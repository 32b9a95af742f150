//! A checkpoint that training goes on from with everything in it: student, teacher, heads and centers.

use crate::models::{heads_of, sha256_of_file, weights_file};
use anyhow::bail;
use std::cell::RefCell;
use std::path::Path;
use vit_core::weights::{Branch, Checkpoint, Hints, TensorFile, WeightsError};
use vit_train::latest_checkpoint;

/// What a checkpoint of one of our runs holds of its objective.
const OWN_STATE: &str = "objective.safetensors";

/// Centers by the names of our state, and the last parts of the names that the published checkpoints give them.
const CENTERS: [(&str, &str); 2] = [("center", "center"), ("patch_center", "center2")];

/// Where the tensors are.
enum Place {
    /// Under the names of our own state.
    Own(TensorFile),
    /// Student and teacher of a published layout, below roots of their own in one file.
    Imported { student: Box<Checkpoint>, teacher: Box<Checkpoint> },
}

/// Everything that an objective keeps, read by the names of its state.
pub(crate) struct Continued {
    place: Place,
    sha256: String,
    /// Centers that the file does not have, and that begin at 0.
    absent: RefCell<Vec<String>>,
}

impl Continued {
    /// Opens a training checkpoint of an architecture, or the newest one of a run folder.
    ///
    /// # Errors
    /// When there is none, or the file holds no student and teacher.
    pub(crate) fn open(text: &str, architecture: &str) -> anyhow::Result<Self> {
        let path = Path::new(text);
        let own = match latest_checkpoint(path) {
            Some(newest) => newest.join(OWN_STATE),
            None => path.join(OWN_STATE),
        };
        if own.is_file() {
            let (file, sha256) = (TensorFile::open(&own)?, sha256_of_file(&own)?);
            return Ok(Self { place: Place::Own(file), sha256, absent: RefCell::default() });
        }
        let Some(file) = weights_file(text)? else {
            bail!("init_from: expected a training checkpoint or a run folder; found none: {text}")
        };
        let branch = |branch: Branch| -> anyhow::Result<Box<Checkpoint>> {
            let hints = Hints { branch: Some(branch), ..heads_of(architecture)?.hints()? };
            let checkpoint = Checkpoint::open(&file, &hints)?;
            if !checkpoint.audit().is_complete() {
                let (problems, path) = (checkpoint.audit().summary(), file.clone());
                return Err(WeightsError::Incomplete { problems, path }.into());
            }
            Ok(Box::new(checkpoint))
        };
        let place = Place::Imported { student: branch(Branch::Student)?, teacher: branch(Branch::Teacher)? };
        Ok(Self { place, sha256: sha256_of_file(&file)?, absent: RefCell::default() })
    }

    /// The digest of the file.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Centers that were asked for and are not in the file.
    pub(crate) fn absent(&self) -> Vec<String> {
        self.absent.borrow().clone()
    }

    /// One tensor of an objective's state, by its name and shape there.
    ///
    /// # Errors
    /// When it is not in the file, has another shape, or cannot be read; a center may be absent, and is 0 then.
    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let (student, teacher) = match &self.place {
            Place::Own(file) => return file.read(name, shape),
            Place::Imported { student, teacher } => (student, teacher),
        };
        if let Some((_, theirs)) = CENTERS.iter().find(|(ours, _)| *ours == name) {
            return self.center(student.file(), (name, theirs), shape);
        }
        let (checkpoint, rest) = match name.strip_prefix("teacher.") {
            Some(rest) => (teacher, rest),
            None => (student, name),
        };
        let Some(of_head) = rest.strip_prefix("head.") else {
            return checkpoint.read(rest.strip_prefix("backbone.").unwrap_or(rest), shape);
        };
        let found = checkpoint.beside("head.").into_iter().find(|(known, _)| known == of_head);
        match found {
            Some((_, found)) if found != shape => Err(self.shape(checkpoint.file(), name, shape, found)),
            _ => checkpoint.read_beside("head.", of_head),
        }
    }

    /// A center, wherever the file keeps it: as a tensor of its loss, `[1, K]` or `[1, 1, K]`.
    fn center(
        &self,
        file: &TensorFile,
        (ours, theirs): (&str, &str),
        shape: &[usize],
    ) -> Result<Vec<f32>, WeightsError> {
        let n = shape.iter().product::<usize>();
        let entry = file.entries().iter().find(|entry| entry.name.rsplit('.').next() == Some(theirs));
        let Some(entry) = entry else {
            self.absent.borrow_mut().push(ours.to_owned());
            return Ok(vec![0.0; n]);
        };
        if entry.shape.iter().product::<usize>() != n {
            return Err(self.shape(file, ours, shape, entry.shape.clone()));
        }
        file.read_f32(&entry.name)
    }

    fn shape(&self, file: &TensorFile, name: &str, expected: &[usize], found: Vec<usize>) -> WeightsError {
        WeightsError::Shape {
            name: name.to_owned(),
            expected: expected.to_vec(),
            found,
            path: file.path().to_owned(),
        }
    }
}
