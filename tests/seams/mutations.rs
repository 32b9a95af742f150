//! Hostile checkpoints: whatever bytes a file has, it is read or refused, and never more is held than it could fill.
//!
//! Every file of `tests/checkpoints` is cut at every place and changed in thousands of ways, always the same; what once
//! was read wrongly stands in `tests/checkpoints/hostile` and is tried again.

use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use vit_core::weights::{TensorFile, WeightsError};

/// Numbers that a small file may be said to hold: it can repeat what it has, and deflate shrinks a thousandfold.
const MAX_NUMBERS: usize = 1 << 24;

fn checkpoints() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints")
}

/// The small files that the mutations begin with.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let names = [
        "zip.pth",
        "legacy.pth",
        "module.pth",
        "script.pt",
        "big.pth",
        "stored.npz",
        "deflated.npz",
        "sharded/model-00002-of-00002.safetensors",
    ];
    names.iter().map(|name| (name.to_string(), fs::read(checkpoints().join(name)).unwrap())).collect()
}

/// A file that is written again and again, in its place: a new one each time would cost more than reading it.
struct Bench {
    _dir: TempDir,
    path: PathBuf,
    file: fs::File,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hostile");
        let file = fs::File::create(&path).unwrap();
        Self { _dir: dir, path, file }
    }

    /// Opens the bytes as a checkpoint and reads every tensor of it. Gives the tensors that could be read.
    fn try_bytes(&self, bytes: &[u8]) -> Result<usize, WeightsError> {
        let mut file = &self.file;
        file.rewind().unwrap();
        file.write_all(bytes).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        let file = TensorFile::open(&self.path)?;
        let mut n_read = 0;
        for entry in file.entries() {
            let n = entry.shape.iter().product::<usize>();
            assert!(n <= MAX_NUMBERS || !entry.dtype.is_readable(), "{} has {n} numbers", entry.name);
            match file.read_f32(&entry.name) {
                Ok(values) => {
                    assert_eq!(values.len(), n, "{}", entry.name);
                    n_read += 1;
                }
                Err(error) => assert!(error.to_string().contains(&entry.name), "a name in: {error}"),
            }
        }
        Ok(n_read)
    }
}

/// Numbers that are the same in every run (a linear congruence, its upper half).
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// One change of the kinds that fuzzers make.
fn mutate(bytes: &mut Vec<u8>, draws: &mut Draws) {
    let at = draws.below(bytes.len());
    match draws.below(7) {
        0 => bytes[at] ^= 1 << draws.below(8),
        1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'(', b'.', b'h'][draws.below(8)],
        2 => {
            let value = [0u32, 1, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX][draws.below(6)];
            let end = bytes.len().min(at + 4);
            bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        }
        3 => bytes.truncate(at.max(1)),
        4 => drop(bytes.remove(at)),
        5 => {
            let end = bytes.len().min(at + 1 + draws.below(32));
            let piece = bytes[at..end].to_vec();
            let to = draws.below(bytes.len());
            bytes.splice(to..to, piece);
        }
        _ => {
            let (from, n) = (draws.below(bytes.len()), 1 + draws.below(16));
            for i in 0..n.min(bytes.len() - at.max(from)) {
                bytes[at + i] = bytes[from + i];
            }
        }
    }
    if bytes.is_empty() {
        bytes.push(0);
    }
}

#[test]
fn the_files_as_they_are_are_read_whole() {
    let bench = Bench::new();
    for (name, bytes) in corpus() {
        assert!(bench.try_bytes(&bytes).unwrap() >= 2, "{name}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bench = Bench::new();
    for (name, bytes) in corpus() {
        for length in 0..bytes.len() {
            let cut = bench.try_bytes(&bytes[..length]);
            let error = cut.expect_err(&format!("{name} cut to {length} bytes"));
            assert!(error.to_string().ends_with("hostile"), "where, last: {error}");
        }
    }
}

#[test]
fn a_changed_file_is_read_or_refused_and_nothing_else() {
    let bench = Bench::new();
    let mut draws = Draws(4);
    for (name, whole) in corpus() {
        let (mut n_read, mut n_refused) = (0, 0);
        for _ in 0..1000 {
            let mut bytes = whole.clone();
            for _ in 0..=draws.below(4) {
                mutate(&mut bytes, &mut draws);
            }
            match bench.try_bytes(&bytes) {
                Ok(_) => n_read += 1,
                Err(_) => n_refused += 1,
            }
        }
        // Changed numbers are numbers; changed structure is not structure. Both kinds must have been met.
        assert!(n_read > 10 && n_refused > 200, "{name}: {n_read} read, {n_refused} refused");
    }
}

#[test]
fn every_byte_of_a_structure_may_be_any_of_a_few_others() {
    let bench = Bench::new();
    for (name, mut bytes) in corpus() {
        // Every fifth byte keeps this within seconds.
        for at in (0..bytes.len()).step_by(5) {
            let old = bytes[at];
            for value in [0, 0xff, old ^ 1] {
                bytes[at] = value;
                let _either = bench.try_bytes(&bytes).map_err(|error| assert!(!error.to_string().is_empty()));
            }
            bytes[at] = old;
        }
        assert!(bench.try_bytes(&bytes).is_ok(), "{name} is whole again");
    }
}

#[test]
fn what_once_was_or_might_be_read_wrongly_stays_in_bounds() {
    let bench = Bench::new();
    let mut paths: Vec<_> =
        fs::read_dir(checkpoints().join("hostile")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let error = bench.try_bytes(&fs::read(&path).unwrap()).expect_err(&path.display().to_string());
        // The file's name says a word of the refusal.
        let word = path.file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().to_owned();
        assert!(error.to_string().contains(&word), "{word} in: {error}");
    }
}

#[test]
fn a_small_file_that_shows_its_values_again_and_again_is_refused_early() {
    // Found by fuzzing: 250 bytes that stand for a billion values were looked at a million times, for seconds.
    let bytes = fs::read(checkpoints().join("hostile/laughs-again.pth")).unwrap();
    let error = Bench::new().try_bytes(&bytes).expect_err("refused").to_string();
    let limit = error.split("at most ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    assert!(limit.is_some_and(|limit| limit < 200_000), "{error}");
}
