//! The ground truth of revisited Oxford and Paris: a pickle of Python, or the same as JSON.
//!
//! `{imlist: [name, …], qimlist: [name, …], gnd: [{bbx: [x0, y0, x1, y1], easy: [i, …], hard: […], junk: […]}, …]}`; lists of
//! numbers may be NumPy's arrays.

use std::{fs, path::Path};

use pickle::{Id, Made, Node, Pickle, Source};
use serde::Deserialize;

use crate::{DataError, read_at::FileAt};

/// What is malformed where a ground truth is.
const GROUND_TRUTH: &str = "ground truth";

/// The longest pickle.
const MOST_BYTES: u64 = 32 << 20;

/// What is asked, and of what.
#[derive(Debug, PartialEq)]
pub(super) struct GroundTruth {
    /// The names of the photographs.
    pub(super) database: Vec<String>,
    /// The queries.
    pub(super) queries: Vec<Asked>,
}

/// One query.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) name: String,
    /// Left, top, right, bottom in pixels.
    pub(super) bounds: [f64; 4],
    /// Places in the database, below its length.
    pub(super) easy: Vec<u32>,
    pub(super) hard: Vec<u32>,
    pub(super) junk: Vec<u32>,
}

/// As it is written.
#[derive(Deserialize)]
struct Written {
    imlist: Vec<String>,
    qimlist: Vec<String>,
    gnd: Vec<WrittenQuery>,
}

#[derive(Deserialize)]
struct WrittenQuery {
    bbx: Vec<f64>,
    easy: Vec<f64>,
    hard: Vec<f64>,
    junk: Vec<f64>,
}

/// Reads a ground truth from JSON.
///
/// # Errors
/// When it cannot be read, or is none.
pub(super) fn of_json(path: &Path) -> Result<GroundTruth, DataError> {
    let text = fs::read_to_string(path).map_err(|source| DataError::Io { source, path: path.to_owned() })?;
    let written: Written = serde_json::from_str(&text)
        .map_err(|error| malformed(path, "JSON with imlist, qimlist and gnd".into(), error.to_string()))?;
    checked(written, path)
}

/// Reads a ground truth from a pickle. Nothing in it is called.
///
/// # Errors
/// When it cannot be read, or is none.
pub(super) fn of_pickle(path: &Path) -> Result<GroundTruth, DataError> {
    let file = FileAt::open(path)?;
    let pickle = Pickle::parse(&file, 0, file.n_bytes.min(MOST_BYTES))?;
    let reader = Reader { pickle: &pickle, path };
    let root = pickle.root;
    let imlist = reader.names(reader.value(root, "imlist")?, "imlist")?;
    let qimlist = reader.names(reader.value(root, "qimlist")?, "qimlist")?;
    let Some(queries) = pickle.items(reader.value(root, "gnd")?) else {
        return Err(malformed(path, "a list under gnd".into(), "something else".into()));
    };
    let gnd = queries.iter().map(|&query| {
        let numbers = |key: &str| reader.numbers(reader.value(query, key)?, key);
        Ok(WrittenQuery {
            bbx: numbers("bbx")?,
            easy: numbers("easy")?,
            hard: numbers("hard")?,
            junk: numbers("junk")?,
        })
    });
    checked(Written { imlist, qimlist, gnd: gnd.collect::<Result<_, DataError>>()? }, path)
}

fn malformed(path: &Path, expected: String, found: String) -> DataError {
    DataError::Malformed { what: GROUND_TRUTH, expected, found, path: path.to_owned() }
}

/// A query for every name, boxes of four numbers, places in the database.
fn checked(written: Written, path: &Path) -> Result<GroundTruth, DataError> {
    let Written { imlist, qimlist, gnd } = written;
    if imlist.is_empty() || qimlist.is_empty() {
        return Err(malformed(
            path,
            "at least one photograph and one query".into(),
            format!("{} and {}", imlist.len(), qimlist.len()),
        ));
    }
    if qimlist.len() != gnd.len() {
        let expected = format!("{} queries in gnd, as in qimlist", qimlist.len());
        return Err(malformed(path, expected, gnd.len().to_string()));
    }
    let places = |name: &str, key: &str, listed: Vec<f64>| {
        let place = |at: f64| {
            let is_place = at >= 0.0 && at < imlist.len() as f64 && at.fract() == 0.0;
            is_place.then_some(at as u32).ok_or_else(|| {
                let expected = format!("places below {} in {key} of {name}", imlist.len());
                malformed(path, expected, at.to_string())
            })
        };
        listed.into_iter().map(place).collect::<Result<Vec<u32>, DataError>>()
    };
    let queries = qimlist.into_iter().zip(gnd).map(|(name, query)| {
        let bounds = <[f64; 4]>::try_from(query.bbx.as_slice());
        let Some(bounds) = bounds.ok().filter(|bounds| bounds.iter().all(|side| side.is_finite())) else {
            return Err(malformed(
                path,
                format!("four numbers in bbx of {name}"),
                format!("{:?}", query.bbx),
            ));
        };
        Ok(Asked {
            bounds,
            easy: places(&name, "easy", query.easy)?,
            hard: places(&name, "hard", query.hard)?,
            junk: places(&name, "junk", query.junk)?,
            name,
        })
    });
    let queries = queries.collect::<Result<_, DataError>>()?;
    Ok(GroundTruth { database: imlist, queries })
}

impl Source for FileAt {
    type Error = DataError;

    fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    fn bytes(&self, what: &str, offset: u64, n: u64) -> Result<Vec<u8>, DataError> {
        let end = offset.checked_add(n).filter(|&end| end <= self.n_bytes);
        let (Some(_), Ok(n)) = (end, usize::try_from(n)) else {
            let found = format!("a file of {} bytes", self.n_bytes);
            return Err(Source::malformed(self, format!("{what}: {n} bytes from byte {offset}"), found));
        };
        let mut bytes = vec![0; n];
        self.read_exact_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn malformed(&self, expected: String, found: String) -> DataError {
        malformed(&self.path, expected, found)
    }
}

struct Reader<'a> {
    pickle: &'a Pickle,
    path: &'a Path,
}

impl Reader<'_> {
    /// What a dictionary has under a key.
    fn value(&self, dict: Id, key: &str) -> Result<Id, DataError> {
        let found = match self.pickle.node(dict) {
            Node::Dict(pairs) => {
                pairs.iter().rev().find(|(known, _)| self.pickle.short_text(*known) == Some(key))
            }
            _ => None,
        };
        let found = found.map(|(_, value)| *value);
        found.ok_or_else(|| {
            malformed(self.path, format!("a dictionary with `{key}`"), "none of that key".into())
        })
    }

    fn names(&self, list: Id, key: &str) -> Result<Vec<String>, DataError> {
        let names = self.pickle.items(list).and_then(|items| {
            items.iter().map(|&item| self.pickle.text(item).map(str::to_owned)).collect::<Option<_>>()
        });
        names.ok_or_else(|| {
            malformed(self.path, format!("a list of names under {key}"), "something else".into())
        })
    }

    /// The numbers of a list, or of an array of NumPy.
    fn numbers(&self, list: Id, key: &str) -> Result<Vec<f64>, DataError> {
        let numbers = match self.pickle.node(list) {
            Node::List(items) | Node::Tuple(items) => items.iter().map(|&item| self.number(item)).collect(),
            Node::Made(made) => self.array(made),
            _ => None,
        };
        numbers.ok_or_else(|| {
            malformed(self.path, format!("a list of numbers under {key}"), "something else".into())
        })
    }

    fn number(&self, id: Id) -> Option<f64> {
        match self.pickle.node(id) {
            Node::Int(value) => Some(*value as f64),
            Node::Float(value) => Some(*value),
            // A scalar of NumPy: its type and its bytes.
            Node::Made(made) if self.is_numpy(made.class, "scalar") => {
                let [dtype, bytes] = self.pickle.items(made.args)? else { return None };
                let values = self.decoded(*dtype, &self.bytes(*bytes)?)?;
                (values.len() == 1).then(|| values[0])
            }
            _ => None,
        }
    }

    /// An array of NumPy: `_reconstruct` with the state `(version, shape, type, by columns, bytes)`.
    fn array(&self, made: &Made) -> Option<Vec<f64>> {
        if !self.is_numpy(made.class, "_reconstruct") {
            return None;
        }
        let [_version, shape, dtype, _by_columns, bytes] = self.pickle.items(made.state?)? else {
            return None;
        };
        let [n] = self.pickle.items(*shape)? else { return None };
        let values = self.decoded(*dtype, &self.bytes(*bytes)?)?;
        (self.pickle.int(*n) == i64::try_from(values.len()).ok()).then_some(values)
    }

    fn is_numpy(&self, class: Id, name: &str) -> bool {
        let modules = ["numpy.core.multiarray", "numpy._core.multiarray"];
        self.pickle.class(class).is_some_and(|(module, found)| modules.contains(&module) && found == name)
    }

    /// Bytes, which protocol 2 writes as a text whose letters are they.
    fn bytes(&self, id: Id) -> Option<Vec<u8>> {
        match self.pickle.node(id) {
            Node::Bytes(span) | Node::Text(span) => Some(self.pickle.bytes(*span).to_vec()),
            Node::Made(made) if self.pickle.class(made.class) == Some(("_codecs", "encode")) => {
                let text = self.pickle.text(*self.pickle.items(made.args)?.first()?)?;
                text.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect()
            }
            // No bytes at all are a call without arguments.
            Node::Made(made) => {
                let is_none =
                    matches!(self.pickle.class(made.class), Some(("__builtin__" | "builtins", "bytes")))
                        && self.pickle.items(made.args)?.is_empty();
                is_none.then(Vec::new)
            }
            _ => None,
        }
    }

    /// Numbers of a type of NumPy: integers of 32 or 64 bits, or floats.
    fn decoded(&self, dtype: Id, bytes: &[u8]) -> Option<Vec<f64>> {
        let Node::Made(made) = self.pickle.node(dtype) else { return None };
        let kind = self.pickle.short_text(*self.pickle.items(made.args)?.first()?)?;
        let order = self.pickle.short_text(*self.pickle.items(made.state?)?.get(1)?)?;
        fn all<const N: usize>(bytes: &[u8], is_big: bool, of: fn([u8; N]) -> f64) -> Option<Vec<f64>> {
            let (numbers, rest) = bytes.as_chunks::<N>();
            let number = |number: &[u8; N]| {
                let mut number = *number;
                if is_big {
                    number.reverse();
                }
                of(number)
            };
            rest.is_empty().then(|| numbers.iter().map(number).collect())
        }
        let is_big = order == ">";
        match kind {
            "i4" => all(bytes, is_big, |x| i32::from_le_bytes(x).into()),
            "i8" => all(bytes, is_big, |x| i64::from_le_bytes(x) as f64),
            "f4" => all(bytes, is_big, |x| f32::from_le_bytes(x).into()),
            "f8" => all(bytes, is_big, f64::from_le_bytes),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The same ground truth as Python wrote it: lists in protocols 2 and 4, and NumPy's arrays and scalars in protocol 2.
    pub(in super::super) const OF_PYTHON: [(&str, &[u8]); 3] = [
        ("protocol 2", include_bytes!("../../tests/gnd-protocol-2.pkl")),
        ("protocol 4", include_bytes!("../../tests/gnd-protocol-4.pkl")),
        ("numpy", include_bytes!("../../tests/gnd-numpy.pkl")),
    ];

    fn read(bytes: &[u8], end: &str) -> Result<GroundTruth, DataError> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(format!("gnd_roxford5k.{end}"));
        fs::write(&path, bytes).expect("written");
        if end == "pkl" { of_pickle(&path) } else { of_json(&path) }
    }

    fn expected() -> GroundTruth {
        let names = ["all_souls_1", "b_2", "c_3", "d_4", "e_5"];
        let asked = |name: &str, bounds, easy: &[u32], hard: &[u32], junk: &[u32]| Asked {
            name: name.to_owned(),
            bounds,
            easy: easy.to_vec(),
            hard: hard.to_vec(),
            junk: junk.to_vec(),
        };
        GroundTruth {
            database: names.map(str::to_owned).to_vec(),
            queries: vec![
                asked("q_1", [4.0, 1.0, 7.6, 5.0], &[0, 3], &[1], &[4]),
                asked("q_2", [0.0, 0.0, 8.0, 6.0], &[], &[2], &[]),
            ],
        }
    }

    const JSON: &str = r#"{"imlist": ["all_souls_1", "b_2", "c_3", "d_4", "e_5"], "qimlist": ["q_1", "q_2"], "gnd": [
        {"bbx": [4, 1, 7.6, 5], "easy": [0, 3], "hard": [1], "junk": [4]},
        {"bbx": [0, 0, 8, 6], "easy": [], "hard": [2], "junk": []}]}"#;

    #[test]
    fn python_s_pickles_and_json_say_the_same() {
        for (name, bytes) in OF_PYTHON {
            assert_eq!(read(bytes, "pkl").expect(name), expected(), "{name}");
        }
        assert_eq!(read(JSON.as_bytes(), "json").expect("reads"), expected());
    }

    #[test]
    fn what_is_no_ground_truth_is_refused() {
        let refusal = |text: String| read(text.as_bytes(), "json").expect_err("refused").to_string();
        for (from, to, complaint) in [
            ("[1]", "[5]", "places below 5 in hard of q_1; found 5"),
            ("[1]", "[1.5]", "found 1.5"),
            ("[1]", "[-1]", "found -1"),
            ("[0, 0, 8, 6]", "[0, 0, 8]", "four numbers in bbx of q_2; found [0.0, 0.0, 8.0]"),
            (", \"q_2\"]", "]", "1 queries in gnd, as in qimlist; found 2"),
            ("\"imlist\"", "\"images\"", "missing field `imlist`"),
        ] {
            assert!(JSON.contains(from), "{from}");
            let message = refusal(JSON.replace(from, to));
            assert!(message.contains(complaint), "{message}");
        }
        // A call in the place of a list, and lists of lists: protocol 2.
        for (bytes, complaint) in [
            (&b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R."[..], "a dictionary with `imlist`"),
            (b"\x80\x02}X\x06\x00\x00\x00imlist]]as.", "a list of names under imlist"),
            (b"\x80\x02}.", "a dictionary with `imlist`"),
            (b"", "bytes more"),
        ] {
            let message = read(bytes, "pkl").expect_err("refused").to_string();
            assert!(message.contains(complaint), "{message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_change_of_a_pickle_is_read_or_refused(which in 0usize..3, at in 0usize..1 << 12, to: u8) {
            let mut bytes = OF_PYTHON[which].1.to_vec();
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = read(&bytes, "pkl");
        }
    }
}
