//! Features on disk: the second question about a model and pictures that were seen before costs no forward.
//!
//! What is kept belongs to one model and one batch of views, bit for bit: the folder is named after the model (its
//! configuration, its weights, the device and the kernels), the file after the numbers of the views that went in. What the data
//! set is called, which of its samples were chosen, how they were cut and normalized, in batches of what size: all of that is in
//! those numbers, and pictures that changed under an old name are other pictures.

use crate::study::Arrays;
use crate::{Select, StudyError};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vit_data::HostView;

/// How every file begins; a later form would begin in another way.
const MAGIC: &[u8; 8] = b"VITFEAT1";

/// Bytes of the digest at the end of a file.
const DIGEST_BYTES: usize = 32;

/// Hexadecimal digits of a digest in names.
const NAME_DIGITS: usize = 32;

/// How the names of files begin that are being written.
const PARTIAL: &str = ".part-";

/// A folder of features: of several models, one select of one batch in each file.
///
/// A file appears whole or not at all, is made of its contents and their digest, and is never changed. So a run that was
/// stopped leaves what it had made for the next one, several runs may use one folder at the same time, and a damaged file is
/// noticed, remembered by its name, and made again.
pub struct Cache {
    folder: PathBuf,
    tally: Mutex<Tally>,
}

/// What became of the batches that passed by a cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Samples whose features were all there: no forward.
    pub n_read: usize,
    /// Samples that passed the model, and of which something was kept.
    pub n_made: usize,
    /// Files that were not what they should be, and were made again.
    pub damaged: Vec<PathBuf>,
    /// Studies that look inside the model, for which there was a forward whatever was kept, and nothing was read or kept; and those
    /// with passes of their own, which no cache spares.
    pub look_inside: BTreeSet<&'static str>,
}

impl Cache {
    /// A cache in a folder, which is made where it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self, StudyError> {
        fs::create_dir_all(folder).map_err(|source| failed("make", folder, source))?;
        Ok(Self { folder: folder.to_owned(), tally: Mutex::default() })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The features of one model. `identity` says all that decides what comes out for given views: weights, configuration,
    /// device and kernels; it is kept beside them for people to read.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn shelf(self: &Arc<Self>, identity: &str) -> Result<Shelf, StudyError> {
        let folder = self.folder.join(name_of(Sha256::digest(identity).as_slice()));
        let about = folder.join("about.txt");
        if !about.exists() {
            write_whole(&about, identity.as_bytes())?;
        }
        Ok(Shelf { cache: Arc::clone(self), folder })
    }

    /// What happened since the last time this was asked.
    pub fn take_tally(&self) -> Tally {
        std::mem::take(&mut self.tally())
    }

    /// Notes that a study looks inside the model.
    pub(crate) fn looked_inside(&self, study: &'static str) {
        self.tally().look_inside.insert(study);
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Counts stay counts, whatever another thread met.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a cache holds of one model.
#[derive(Clone)]
pub struct Shelf {
    cache: Arc<Cache>,
    folder: PathBuf,
}

impl Shelf {
    /// The cache that it stands in.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The place of the features of some views.
    pub(crate) fn place(&self, view: &HostView) -> ShelfPlace<'_> {
        let mut digest = Sha256::new();
        for side in view.shape {
            digest.update((side as u64).to_le_bytes());
        }
        // By pieces, so that no second copy of a batch of large pictures is made.
        for piece in view.pixels.chunks(1 << 16) {
            digest.update(bytes_of(piece));
        }
        let name = format!("{}.features", name_of(digest.finalize().as_slice()));
        ShelfPlace { shelf: self, name, n_samples: view.shape[0] }
    }
}

/// The place of the features of one batch of views.
pub(crate) struct ShelfPlace<'a> {
    shelf: &'a Shelf,
    name: String,
    n_samples: usize,
}

impl ShelfPlace<'_> {
    /// Puts what is there into `features` and hands back the selects of which there is nothing. What is there but damaged
    /// counts as missing, and is remembered.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn read(
        &self,
        wanted: &BTreeSet<Select>,
        features: &mut Arrays,
    ) -> Result<BTreeSet<Select>, StudyError> {
        let mut missing = BTreeSet::new();
        for &select in wanted {
            let path = self.path(select);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    missing.insert(select);
                    continue;
                }
                Err(source) => return Err(failed("read", &path, source)),
            };
            match decoded(&bytes).filter(|(shape, _)| shape.first() == Some(&self.n_samples)) {
                Some(found) => {
                    features.insert(select, found);
                }
                None => {
                    self.shelf.cache.tally().damaged.push(path);
                    missing.insert(select);
                }
            }
        }
        if missing.is_empty() {
            self.shelf.cache.tally().n_read += self.n_samples;
        }
        Ok(missing)
    }

    /// Keeps features that were made, each in the place of what may have stood there.
    ///
    /// # Errors
    /// When they cannot be written; what was kept before is untouched.
    pub(crate) fn keep(&self, made: &BTreeSet<Select>, features: &Arrays) -> Result<(), StudyError> {
        for &select in made {
            if let Some((shape, values)) = features.get(&select) {
                write_whole(&self.path(select), &encoded(shape, values))?;
            }
        }
        self.shelf.cache.tally().n_made += self.n_samples;
        Ok(())
    }

    fn path(&self, select: Select) -> PathBuf {
        self.shelf.folder.join(select.to_string()).join(&self.name)
    }
}

/// `MAGIC`, rank, sizes, values, and the digest of all of that; numbers in little endian.
fn encoded(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let n_bytes = MAGIC.len() + 8 * (1 + shape.len()) + size_of_val(values) + DIGEST_BYTES;
    let mut bytes = Vec::with_capacity(n_bytes);
    bytes.extend_from_slice(MAGIC);
    for size in std::iter::once(&shape.len()).chain(shape) {
        bytes.extend_from_slice(&(*size as u64).to_le_bytes());
    }
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(digest.as_slice());
    bytes
}

/// Shape and values; nothing of what is cut short, changed, or no such file at all.
fn decoded(bytes: &[u8]) -> Option<(Vec<usize>, Vec<f32>)> {
    let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    if Sha256::digest(body).as_slice() != digest {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC.as_slice())?;
    let mut size = || {
        let (eight, after) = rest.split_first_chunk::<8>()?;
        rest = after;
        usize::try_from(u64::from_le_bytes(*eight)).ok()
    };
    let rank = size().filter(|rank| (1..=3).contains(rank))?;
    let shape: Vec<usize> = (0..rank).map(|_| size()).collect::<Option<_>>()?;
    let n_values = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
    if Some(rest.len()) != n_values.checked_mul(size_of::<f32>()) {
        return None;
    }
    let four = rest.chunks_exact(size_of::<f32>());
    Some((shape, four.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()))
}

/// Writes a file under another name in its folder, then renames it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StudyError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let write = || {
        fs::create_dir_all(parent)?;
        let mut file = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(parent)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)
    };
    write().map(drop).map_err(|source| failed("write", path, source))
}

fn failed(action: &'static str, path: &Path, source: std::io::Error) -> StudyError {
    StudyError::Cache { action, path: path.to_owned(), source }
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn name_of(digest: &[u8]) -> String {
    digest.iter().take(NAME_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vit_data::CropBox;

    fn view(first: f32) -> HostView {
        let pixels = (0..12).map(|at| first + at as f32).collect();
        let whole = CropBox { x: 0.0, y: 0.0, w: 2.0, h: 2.0, flipped: false };
        HostView { pixels, shape: [1, 3, 2, 2], boxes: vec![whole] }
    }

    fn features(value: f32) -> Arrays {
        Arrays::from([(Select::PIXELS, (vec![1, 2], vec![value, f32::MIN_POSITIVE / 2.0]))])
    }

    #[test]
    fn what_was_kept_is_found_for_the_same_views_of_the_same_model_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Arc::new(Cache::open(&folder.path().join("new/one")).expect("a cache"));
        let (one, other) = (cache.shelf("one").expect("one"), cache.shelf("other").expect("other"));
        let wanted = BTreeSet::from([Select::PIXELS]);
        one.place(&view(0.0)).keep(&wanted, &features(0.5)).expect("room");
        let read = |shelf: &Shelf, view: HostView| {
            let mut found = Arrays::new();
            let missing = shelf.place(&view).read(&wanted, &mut found).expect("readable");
            (found, missing)
        };
        assert_eq!(read(&one, view(0.0)), (features(0.5), BTreeSet::new()), "bit for bit");
        for (shelf, view) in [(&one, view(1.0)), (&other, view(0.0))] {
            assert_eq!(read(shelf, view), (Arrays::new(), wanted.clone()));
        }
        // As many numbers in another form are other views.
        let wide = HostView { shape: [1, 3, 1, 4], ..view(0.0) };
        assert_eq!(read(&one, wide).1, wanted);
        let tally = cache.take_tally();
        assert_eq!((tally.n_read, tally.n_made, tally.damaged.len()), (1, 1, 0));
        assert_eq!(cache.take_tally(), Tally::default());
    }

    #[test]
    fn a_damaged_file_is_named_and_made_again_and_one_that_was_never_finished_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Arc::new(Cache::open(folder.path()).expect("a cache"));
        let shelf = cache.shelf("one").expect("one");
        let (views, wanted) = (view(0.0), BTreeSet::from([Select::PIXELS]));
        let place = shelf.place(&views);
        place.keep(&wanted, &features(0.5)).expect("room");
        let path = place.path(Select::PIXELS);
        let whole = fs::read(&path).expect("a file");
        let mut changed = whole.clone();
        changed[30] ^= 1;
        for damaged in [&changed[..], &whole[..whole.len() - 1], &[]] {
            fs::write(&path, damaged).expect("written");
            let mut found = Arrays::new();
            assert_eq!(place.read(&wanted, &mut found).expect("readable"), wanted);
            assert!(found.is_empty());
            assert_eq!(cache.take_tally().damaged, std::slice::from_ref(&path));
            place.keep(&wanted, &features(0.5)).expect("room");
            assert_eq!(fs::read(&path).expect("a file"), whole);
        }
        // What a run that was killed leaves is never read.
        fs::write(path.with_file_name(".part-x"), &whole).expect("written");
        fs::remove_file(&path).expect("there");
        assert_eq!(place.read(&wanted, &mut Arrays::new()).expect("readable"), wanted);
    }

    #[test]
    fn where_nothing_can_be_written_one_sentence_says_where_and_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "not a folder").expect("written");
        let error = Cache::open(&file.join("below")).err().expect("a refusal").to_string();
        assert!(error.contains("cannot make") && error.contains("below"), "{error}");
        let cache = Arc::new(Cache::open(folder.path()).expect("a cache"));
        let shelf = cache.shelf("one").expect("one");
        fs::write(shelf.folder.join("pixels"), "not a folder").expect("written");
        let (views, wanted) = (view(0.0), BTreeSet::from([Select::PIXELS]));
        let error = shelf.place(&views).keep(&wanted, &features(0.5)).expect_err("a refusal").to_string();
        assert!(error.contains("cannot write") && error.contains(".features"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_bit_for_bit_and_a_changed_bit_is_noticed(
            bits in prop::collection::vec(any::<u32>(), 1..40),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let values: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
            let mut bytes = encoded(&[1, values.len()], &values);
            let (shape, found) = decoded(&bytes).expect("whole");
            prop_assert_eq!(shape, vec![1, values.len()]);
            prop_assert_eq!(found.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), bits);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decoded(&bytes).is_none());
        }
    }
}
