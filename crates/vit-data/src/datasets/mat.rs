//! MATLAB's files of level 5: one array of numbers, by its name.

use std::{fs, io::Read, path::Path};

use crate::DataError;

/// The most bytes of a file, and of an array in it once it is inflated.
const MOST_BYTES: usize = 64 << 20;

/// The most arrays of a file that are looked at.
const MOST_ARRAYS: usize = 1 << 12;

const HEADER_BYTES: usize = 128;

/// What stands in a file: the types of elements that are asked for.
const INT8: u32 = 1;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// An array of real numbers, its first axis the fastest.
#[derive(Debug, PartialEq)]
pub(super) struct Numbers {
    /// The length of every axis.
    pub(super) shape: Vec<usize>,
    /// As many as the shape has places.
    pub(super) values: Vec<f64>,
}

/// Reads the array of a name.
///
/// # Errors
/// When the file cannot be read, is none of level 5, is damaged, or has no such array of real numbers.
pub(super) fn read(path: &Path, name: &str) -> Result<Numbers, DataError> {
    let io = |source| DataError::Io { source, path: path.to_owned() };
    let n_bytes = fs::metadata(path).map_err(io)?.len();
    let malformed = |(expected, found): Refusal| DataError::Malformed {
        what: "MATLAB file",
        expected,
        found,
        path: path.to_owned(),
    };
    if n_bytes > MOST_BYTES as u64 {
        return Err(malformed((format!("at most {MOST_BYTES} bytes"), n_bytes.to_string())));
    }
    find(&fs::read(path).map_err(io)?, name).map_err(malformed)
}

/// What was expected and what was found instead.
type Refusal = (String, String);

fn refuse<T>(expected: impl Into<String>, found: impl Into<String>) -> Result<T, Refusal> {
    Err((expected.into(), found.into()))
}

fn find(bytes: &[u8], name: &str) -> Result<Numbers, Refusal> {
    let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else {
        return refuse("a file of level 5", format!("{} bytes", bytes.len()));
    };
    // `MI` as a number of 16 bits, so that it reads `IM` where the lower byte comes first.
    let is_little = match &header[126..] {
        b"IM" => true,
        b"MI" => false,
        _ => return refuse("a file of level 5 (saved with -v6 or -v7)", "another header"),
    };
    let mut tape = Tape { bytes: body, is_little };
    for _ in 0..MOST_ARRAYS {
        if tape.bytes.is_empty() {
            return refuse(format!("an array `{name}`"), "none of that name");
        }
        let (kind, content) = tape.element()?;
        let found = match kind {
            MATRIX => matrix(Tape { bytes: content, is_little }, name)?,
            COMPRESSED => {
                let inflated = inflate(content)?;
                let (kind, content) = Tape { bytes: &inflated, is_little }.element()?;
                if kind == MATRIX { matrix(Tape { bytes: content, is_little }, name)? } else { None }
            }
            _ => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    refuse(format!("an array `{name}` among the first {MOST_ARRAYS}"), "others")
}

fn inflate(content: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut inflated = Vec::new();
    let mut reader = flate2::read::ZlibDecoder::new(content).take(MOST_BYTES as u64 + 1);
    match reader.read_to_end(&mut inflated) {
        Err(error) => refuse("a compressed array", error.to_string()),
        Ok(n) if n > MOST_BYTES => refuse(format!("arrays of at most {MOST_BYTES} bytes"), "a larger one"),
        Ok(_) => Ok(inflated),
    }
}

/// The array, where it is the one of the name.
fn matrix(mut tape: Tape, name: &str) -> Result<Option<Numbers>, Refusal> {
    // An array without anything is written so.
    if tape.bytes.is_empty() {
        return Ok(None);
    }
    let (UINT32, flags @ [_, _, _, _, ..]) = tape.element()? else {
        return refuse("flags of an array", "something else");
    };
    let flags = tape.u32_of(flags);
    let (INT32, shape) = tape.element()? else { return refuse("the shape of an array", "something else") };
    let shape: Vec<usize> = shape.chunks_exact(4).map(|axis| tape.u32_of(axis) as usize).collect();
    let (INT8, found) = tape.element()? else { return refuse("the name of an array", "something else") };
    if found != name.as_bytes() {
        return Ok(None);
    }
    let (class, is_complex) = (flags & 0xff, flags & 0x0800 != 0);
    if !(6..=15).contains(&class) || is_complex {
        let kind = if is_complex { "complex numbers".to_owned() } else { format!("class {class}") };
        return refuse(format!("real numbers in `{name}`"), kind);
    }
    let (kind, content) = tape.element()?;
    let values = tape.numbers(kind, content)?;
    let n = shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
    if n != Some(values.len()) {
        return refuse(format!("as many numbers as {shape:?} has"), values.len().to_string());
    }
    Ok(Some(Numbers { shape, values }))
}

/// Elements one after another.
struct Tape<'a> {
    bytes: &'a [u8],
    is_little: bool,
}

impl<'a> Tape<'a> {
    fn u32_of(&self, bytes: &[u8]) -> u32 {
        let four = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if self.is_little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) }
    }

    /// The type of the next element and what it holds.
    fn element(&mut self) -> Result<(u32, &'a [u8]), Refusal> {
        let Some((tag, rest)) = self.bytes.split_at_checked(8) else {
            return refuse("an element of 8 bytes or more", format!("{} bytes", self.bytes.len()));
        };
        let first = self.u32_of(tag);
        // At most four bytes stand within the tag.
        let n_small = first >> 16;
        if n_small > 0 {
            self.bytes = rest;
            return match tag[4..].get(..n_small as usize) {
                Some(content) => Ok((first & 0xffff, content)),
                None => refuse("at most 4 bytes within a tag", n_small.to_string()),
            };
        }
        let n = self.u32_of(&tag[4..]) as usize;
        let Some((content, rest)) = rest.split_at_checked(n) else {
            return refuse(format!("an element of {n} bytes"), format!("an end after {}", rest.len()));
        };
        // Elements begin at multiples of eight bytes, but for compressed ones.
        let padding = if first == COMPRESSED { 0 } else { n.next_multiple_of(8) - n };
        self.bytes = rest.get(padding..).unwrap_or_default();
        Ok((first, content))
    }

    /// Numbers of any type in which they are written.
    fn numbers(&self, kind: u32, content: &[u8]) -> Result<Vec<f64>, Refusal> {
        fn all<const N: usize>(content: &[u8], is_little: bool, of: fn([u8; N]) -> f64) -> Option<Vec<f64>> {
            let (numbers, rest) = content.as_chunks::<N>();
            let number = |number: &[u8; N]| {
                let mut number = *number;
                if !is_little {
                    number.reverse();
                }
                of(number)
            };
            rest.is_empty().then(|| numbers.iter().map(number).collect())
        }
        let little = self.is_little;
        let values = match kind {
            1 => all(content, little, |x| i8::from_le_bytes(x).into()),
            2 => all(content, little, |x| u8::from_le_bytes(x).into()),
            3 => all(content, little, |x| i16::from_le_bytes(x).into()),
            4 => all(content, little, |x| u16::from_le_bytes(x).into()),
            INT32 => all(content, little, |x| i32::from_le_bytes(x).into()),
            UINT32 => all(content, little, |x| u32::from_le_bytes(x).into()),
            7 => all(content, little, |x| f32::from_le_bytes(x).into()),
            9 => all(content, little, f64::from_le_bytes),
            12 => all(content, little, |x| i64::from_le_bytes(x) as f64),
            13 => all(content, little, |x| u64::from_le_bytes(x) as f64),
            other => return refuse("a type of numbers", other.to_string()),
        };
        values.ok_or_else(|| ("whole numbers".into(), format!("{} bytes of type {kind}", content.len())))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn element(kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = [kind.to_le_bytes(), (content.len() as u32).to_le_bytes()].concat();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// A file with one array, not compressed.
    pub(in super::super) fn file_of(name: &str, shape: &[usize], values: &[f64]) -> Vec<u8> {
        let mut bytes = vec![b' '; 124];
        bytes.extend([0, 1, b'I', b'M']);
        let shape: Vec<u8> = shape.iter().flat_map(|&axis| (axis as i32).to_le_bytes()).collect();
        let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let content = [
            element(UINT32, &[6, 0, 0, 0, 0, 0, 0, 0]),
            element(INT32, &shape),
            element(INT8, name.as_bytes()),
            element(9, &values),
        ];
        bytes.extend(element(MATRIX, &content.concat()));
        bytes
    }

    /// Files that SciPy wrote: `pos_img` of 2 × 15 × 2, `3 x + 0.25` in their order, beside a text and an array of another name;
    /// plain, compressed, and with whole numbers, which are written in few bytes.
    const OF_SCIPY: [(&str, &[u8]); 2] = [
        ("plain", include_bytes!("../../tests/joints-plain.mat")),
        ("compressed", include_bytes!("../../tests/joints-compressed.mat")),
    ];

    #[test]
    fn arrays_are_read_as_scipy_writes_them() {
        for (name, bytes) in OF_SCIPY {
            let found = find(bytes, "pos_img").expect(name);
            assert_eq!(found.shape, [2, 15, 2], "{name}");
            // The first axis is the fastest: value (i, j, t) stands at i + 2 j + 30 t.
            let expected: Vec<f64> = (0..60).map(|i| 3.0 * f64::from(i) + 0.25).collect();
            assert_eq!(found.values, expected, "{name}");
            let whole = find(bytes, "whole").expect(name);
            assert_eq!(whole, Numbers { shape: vec![1, 3], values: vec![1.0, 200.0, 3.0] });
            assert!(find(bytes, "scale").expect_err("none").1.contains("none of that name"));
            assert!(find(bytes, "viewpoint").expect_err("a text").0.contains("real numbers"));
        }
    }

    #[test]
    fn damage_is_refused_and_nothing_beyond_measure_is_made() {
        let sound = file_of("pos_img", &[2, 1, 1], &[3.0, 4.0]);
        assert_eq!(find(&sound, "pos_img").expect("sound").values, [3.0, 4.0]);
        for n in 0..sound.len() {
            assert!(find(&sound[..n], "pos_img").is_err(), "cut after {n} bytes");
        }
        let changed = |at: usize, to: u8| {
            let mut bytes = sound.clone();
            bytes[at] = to;
            find(&bytes, "pos_img").expect_err("damaged").0
        };
        assert!(changed(126, b'X').contains("level 5"));
        // The header, the tag of the array, its flags, then the tag of its shape and the shape itself.
        assert!(changed(160, 9).contains("as many numbers"));
        assert!(changed(163, 0x7f).contains("as many numbers"));
        assert!(changed(145, 8).contains("real numbers"));
        // A bomb: 100 MB of zeros in a few kilobytes.
        let mut zip = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::repeat(0).take(100 << 20), &mut zip).expect("zeros");
        let mut bytes = sound[..HEADER_BYTES].to_vec();
        bytes.extend(element(COMPRESSED, &zip.finish().expect("zip")));
        assert!(find(&bytes, "pos_img").expect_err("a bomb").1.contains("larger"));
    }

    proptest::proptest! {
        #[test]
        fn any_change_is_read_or_refused(at in 0usize..232, to: u8) {
            let mut bytes = file_of("pos_img", &[2, 1, 2], &[3.0, 4.0, 5.0, 6.0]);
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = find(&bytes, "pos_img");
        }
    }
}
