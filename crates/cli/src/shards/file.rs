//! The file of one part: written whole or not at all, and read only when it is whole.
//!
//! It is one line that says what it is, the length of a header, the header as JSON, what was accumulated (one
//! MessagePack value for each section), the length of all that, and its SHA-256.

use super::{Header, Shard};
use crate::models::hexadecimal;
use crate::study_recipe::StudyRecipe;
use anyhow::{Context, anyhow, bail};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use vit_features::Opened;

/// The first bytes of a file.
const MAGIC: &[u8] = b"vitscope accumulators 1\n";
/// The length of what is digested, then the digest.
const TRAILER_BYTES: u64 = 8 + 32;
/// A header is far shorter: it says what was looked at, not what was seen.
const MOST_HEADER_BYTES: u64 = 64 << 20;

/// Counts and digests what passes.
struct Digesting<W> {
    into: W,
    digest: Sha256,
    n_bytes: u64,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.into.write(bytes)?;
        self.digest.update(&bytes[..n]);
        self.n_bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

/// Writes a part to a temporary file beside `path`, then renames it.
///
/// # Errors
/// When something cannot be written; there is no file then, or the former one.
pub(crate) fn write(path: &Path, header: &Header, studies: &[Box<dyn Opened>]) -> anyhow::Result<()> {
    let context = || format!("cannot write --save: {}", path.display());
    let Some(name) = path.file_name() else { bail!("--save: expected a file; found {}", path.display()) };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(context)?;
    }
    let temporary = path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = write_through(&temporary, header, studies)
        .and_then(|()| std::fs::rename(&temporary, path).map_err(anyhow::Error::from));
    written.with_context(|| {
        let _ = std::fs::remove_file(&temporary); // The first error is the one to tell.
        context()
    })
}

fn write_through(path: &Path, header: &Header, studies: &[Box<dyn Opened>]) -> anyhow::Result<()> {
    let file = BufWriter::new(File::create(path)?);
    let mut into = Digesting { into: file, digest: Sha256::new(), n_bytes: 0 };
    let text = serde_json::to_vec(header)?;
    into.write_all(&[MAGIC, &(text.len() as u64).to_le_bytes(), &text].concat())?;
    for study in studies {
        study.save(&mut into)?;
    }
    let Digesting { mut into, digest, n_bytes } = into;
    into.write_all(&n_bytes.to_le_bytes())?;
    into.write_all(&digest.finalize())?;
    let file = into.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(file.sync_all()?)
}

/// A file of a part, open where the first accumulator begins.
pub(crate) struct Part {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it says of itself.
    pub(crate) header: Header,
    from: io::Take<BufReader<File>>,
}

impl Part {
    /// Opens a file after its length and its digest were found to be as they are written in it.
    ///
    /// # Errors
    /// When it is none, or not whole.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let context = || format!("cannot read what was accumulated: {shown}");
        let mut file = File::open(path).with_context(context)?;
        let n_bytes = file.metadata().with_context(context)?.len();
        let mut magic = [0; MAGIC.len()];
        if n_bytes < MAGIC.len() as u64 || file.read_exact(&mut magic).is_err() || magic != MAGIC {
            bail!("merge: expected a file that `--shard I/N --save FILE` wrote; found another: {shown}");
        }
        let cut_off =
            || anyhow!("merge: expected a whole file; found one that was cut off ({n_bytes} bytes): {shown}");
        let n_digested = n_bytes.checked_sub(TRAILER_BYTES).filter(|&n| n >= MAGIC.len() as u64 + 8);
        let n_digested = n_digested.ok_or_else(cut_off)?;
        let mut number = [0; 8];
        let mut expected = [0; 32];
        file.seek(SeekFrom::Start(n_digested)).with_context(context)?;
        file.read_exact(&mut number).with_context(context)?;
        file.read_exact(&mut expected).with_context(context)?;
        if u64::from_le_bytes(number) != n_digested {
            return Err(cut_off());
        }
        file.seek(SeekFrom::Start(0)).with_context(context)?;
        let mut all = Digesting { into: io::sink(), digest: Sha256::new(), n_bytes: 0 };
        io::copy(&mut (&file).take(n_digested), &mut all).with_context(context)?;
        let found = all.digest.finalize();
        if found[..] != expected {
            bail!(
                "merge: expected the digest {} of its bytes; found {}, so it was changed: {shown}",
                hexadecimal(&expected),
                hexadecimal(&found)
            );
        }
        file.seek(SeekFrom::Start(MAGIC.len() as u64)).with_context(context)?;
        file.read_exact(&mut number).with_context(context)?;
        let n_header = u64::from_le_bytes(number);
        if n_header > MOST_HEADER_BYTES || n_header > n_digested {
            bail!("merge: expected a header of at most {n_digested} bytes; found {n_header}: {shown}");
        }
        let mut text = vec![0; n_header as usize];
        file.read_exact(&mut text).with_context(context)?;
        let header = serde_json::from_slice(&text)
            .with_context(|| format!("merge: expected the header of this version; found another: {shown}"))?;
        let n_read = MAGIC.len() as u64 + 8 + n_header;
        Ok(Self { path: path.to_owned(), header, from: BufReader::new(file).take(n_digested - n_read) })
    }

    /// Reads the next accumulator into a study that was opened for it.
    ///
    /// # Errors
    /// When it is of another kind.
    pub(crate) fn load(&mut self, study: &mut dyn Opened) -> anyhow::Result<()> {
        study.load(&mut self.from).with_context(|| format!("merge: {}", self.path.display()))
    }
}

/// Opens the parts of one run, in the order of the data.
///
/// # Errors
/// When they are not of one run, or one is missing or there twice.
pub(crate) fn open_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Part>> {
    let mut parts = paths.iter().map(|path| Part::open(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let Some((first, others)) = parts.split_first() else {
        bail!("merge: expected the files of all parts; found none");
    };
    for other in others {
        if let Some((what, expected, found)) = difference(&first.header, &other.header) {
            bail!(
                "merge: expected {what} of {}, {expected}; found {found}: {}",
                first.path.display(),
                other.path.display()
            );
        }
    }
    let of = first.header.shard.of;
    parts.sort_by_key(|part| part.header.shard.part);
    for pair in parts.windows(2) {
        if pair[0].header.shard == pair[1].header.shard {
            bail!(
                "merge: expected every part once; found part {} twice: {}, {}",
                pair[0].header.shard,
                pair[0].path.display(),
                pair[1].path.display()
            );
        }
    }
    let missing: Vec<String> = (1..=of)
        .filter(|&part| parts.iter().all(|other| other.header.shard.part != part))
        .map(|part| Shard { part, of }.to_string())
        .collect();
    if !missing.is_empty() {
        bail!("merge: expected {of} parts; found {}, without {}", parts.len(), missing.join(", "));
    }
    Ok(parts)
}

/// What two parts of one run must have in common and have not: what it is, the one, the other.
fn difference(a: &Header, b: &Header) -> Option<(&'static str, String, String)> {
    let digests = |header: &Header| -> String {
        let all: Vec<&str> =
            header.sections.iter().flat_map(|section| &section.weights_sha256).map(String::as_str).collect();
        all.join(", ")
    };
    let side = |header: &Header| -> String {
        let all = header
            .sides
            .iter()
            .map(|side| format!("{} samples of {} ({})", side.n_samples, side.name, side.sha256));
        all.collect::<Vec<_>>().join(", ")
    };
    // Where weights lie does not matter: their digests are compared.
    let recipe = |header: &Header| {
        let recipe = StudyRecipe { weights: Vec::new(), ..header.recipe.clone() };
        report::recipe::resolved(&recipe).replace('\n', "; ")
    };
    let sections = |header: &Header| -> String {
        let all = header.sections.iter().map(|section| (section.whose, &section.views));
        format!("{:?}", all.collect::<Vec<_>>())
    };
    type Word<'a> = &'a dyn Fn(&Header) -> String;
    let words: [(&'static str, Word); 10] = [
        ("the version", &|header| header.version.clone()),
        ("the study", &|header| header.recipe.study.clone()),
        ("the data", &|header| header.recipe.data.clone()),
        ("the seed", &|header| header.recipe.seed.to_string()),
        ("the recipe", &recipe),
        ("the weights", &digests),
        ("the samples", &side),
        ("the views", &sections),
        ("the batch", &|header| header.batch.to_string()),
        ("the number of parts", &|header| header.shard.of.to_string()),
    ];
    words.iter().map(|(what, of)| (*what, of(a), of(b))).find(|(_, a, b)| a != b)
}
