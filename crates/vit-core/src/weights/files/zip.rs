//! The directory of a zip file: which member stands where. It is read here and not by a library, because tensors are
//! read in place: that needs the position of a member's bytes, and refusals of members that share a name or bytes.

use super::super::WeightsError;
use super::place::Packing;
use super::source::Source;
use flate2::read::DeflateDecoder;
use std::collections::BTreeMap;
use std::io::Read;

/// The longest end record: 22 bytes and a comment.
const MAX_END_BYTES: u64 = 22 + 0xffff;

/// The longest directory read: some hundred thousand members.
const MAX_DIRECTORY_BYTES: u64 = 1 << 25;

/// Deflate makes at most 258 bytes of two bits.
const MAX_RATIO: u64 = 1032;

/// One member, as the directory has it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Its bytes, unpacked.
    pub(super) bytes: u64,
    /// The checksum of its bytes.
    pub(super) crc: u32,
    /// How it is packed.
    pub(super) packing: Packing,
    header_start: u64,
    packed_bytes: u64,
}

/// A zip file's directory.
#[derive(Debug)]
pub(super) struct Zip {
    members: BTreeMap<String, Member>,
    directory_start: u64,
}

impl Zip {
    /// Reads the directory; members must have readable, different names, and bytes of their own.
    pub(super) fn open(source: &Source) -> Result<Self, WeightsError> {
        let End { n_members, directory_bytes, directory_start, end_start } = end(source)?;
        let stop = directory_start.checked_add(directory_bytes);
        if stop.is_none_or(|stop| stop > end_start) || directory_bytes > MAX_DIRECTORY_BYTES {
            let expected =
                format!("a zip directory of at most {MAX_DIRECTORY_BYTES} bytes before byte {end_start}");
            let found = format!("{directory_bytes} bytes from byte {directory_start}");
            return Err(source.malformed(expected, found));
        }
        let directory = source.bytes("the zip directory", directory_start, directory_bytes)?;
        let (mut members, mut rest) = (BTreeMap::new(), Fields(&directory));
        while !rest.0.is_empty() {
            let (name, member) = member(source, &mut rest)?;
            if members.contains_key(&name) {
                return Err(WeightsError::Duplicate { name, path: source.path().to_owned() });
            }
            members.insert(name, member);
        }
        if members.len() as u64 != n_members {
            let expected = format!("{n_members} members in the zip directory, as its end says");
            return Err(source.malformed(expected, members.len().to_string()));
        }
        let zip = Self { members, directory_start };
        zip.refuse_shared_bytes(source)?;
        Ok(zip)
    }

    /// All members' names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// A member by name.
    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }

    /// Where a member's packed bytes begin, by its own header, which must agree with the directory.
    pub(super) fn start(&self, source: &Source, name: &str, member: &Member) -> Result<u64, WeightsError> {
        let fixed = source.bytes("a zip member's header", member.header_start, 30)?;
        let mut fields = Fields(&fixed);
        let signature = fields.u32();
        fields.0 = &fixed[26..];
        let (name_bytes, extra_bytes) = (u64::from(fields.u16()), u64::from(fields.u16()));
        let own_name = source.bytes("a zip member's name", member.header_start + 30, name_bytes)?;
        if signature != 0x0403_4b50 || own_name != name.as_bytes() {
            let expected = format!("the header of zip member `{name}` at byte {}", member.header_start);
            let found = format!("signature {signature:08x}, name `{}`", String::from_utf8_lossy(&own_name));
            return Err(source.malformed(expected, found));
        }
        let start = member.header_start + 30 + name_bytes + extra_bytes;
        if start.checked_add(member.packed_bytes).is_none_or(|end| end > self.directory_start) {
            let expected =
                format!("zip member `{name}` before the directory at byte {}", self.directory_start);
            return Err(
                source.malformed(expected, format!("{} bytes from byte {start}", member.packed_bytes))
            );
        }
        Ok(start)
    }

    /// The first bytes of a member, unpacked: at most `limit`.
    pub(super) fn head(&self, source: &Source, name: &str, limit: u64) -> Result<Vec<u8>, WeightsError> {
        let Some(member) = self.member(name) else {
            return Err(source.malformed(format!("a zip member `{name}`"), "none"));
        };
        let start = self.start(source, name, member)?;
        let n = limit.min(member.bytes);
        let section = source.section(start, member.packed_bytes);
        let mut bytes = Vec::new();
        match member.packing {
            Packing::Stored => section.take(n).read_to_end(&mut bytes),
            Packing::Deflated(_) => DeflateDecoder::new(section).take(n).read_to_end(&mut bytes),
        }
        .map_err(|error| source.malformed(format!("the bytes of zip member `{name}`"), error.to_string()))?;
        if bytes.len() as u64 != n {
            let expected = format!("{n} bytes in zip member `{name}`");
            return Err(source.malformed(expected, bytes.len().to_string()));
        }
        Ok(bytes)
    }

    fn refuse_shared_bytes(&self, source: &Source) -> Result<(), WeightsError> {
        let spans = self.members.iter().map(|(name, member)| {
            let least = member.packed_bytes.saturating_add(30 + name.len() as u64);
            (member.header_start, member.header_start.saturating_add(least), name)
        });
        let mut spans: Vec<_> = spans.collect();
        spans.sort_unstable();
        for pair in spans.windows(2) {
            if pair[0].1 > pair[1].0 {
                let expected = format!("zip members `{}` and `{}` apart", pair[0].2, pair[1].2);
                return Err(source.malformed(expected, "bytes that belong to both"));
            }
        }
        match spans.last() {
            Some(last) if last.1 > self.directory_start => {
                let expected =
                    format!("zip member `{}` before the directory at byte {}", last.2, self.directory_start);
                Err(source.malformed(expected, format!("its end at byte {}", last.1)))
            }
            _ => Ok(()),
        }
    }
}

/// What the end record says.
struct End {
    n_members: u64,
    directory_bytes: u64,
    directory_start: u64,
    end_start: u64,
}

fn end(source: &Source) -> Result<End, WeightsError> {
    let tail_bytes = source.len().min(MAX_END_BYTES);
    let tail_start = source.len() - tail_bytes;
    let tail = source.bytes("the end of a zip file", tail_start, tail_bytes)?;
    let is_end = |at: &usize| {
        let record = &tail[*at..];
        record.starts_with(b"PK\x05\x06") && usize::from(Fields(&record[20..]).u16()) + 22 == record.len()
    };
    let Some(at) = (0..tail.len().saturating_sub(21)).rev().find(is_end) else {
        return Err(source.malformed("a zip directory at the end of the file", "none: the file is cut short"));
    };
    let mut fields = Fields(&tail[at + 4..]);
    let (disk, directory_disk) = (fields.u16(), fields.u16());
    let (_, n_members) = (fields.u16(), fields.u16());
    let (directory_bytes, directory_start) = (fields.u32(), fields.u32());
    let end_start = tail_start + at as u64;
    if n_members == u16::MAX || directory_bytes == u32::MAX || directory_start == u32::MAX {
        return end_of_large(source, end_start);
    }
    if disk != 0 || directory_disk != 0 {
        return Err(source.malformed("a zip file in one part", "several"));
    }
    Ok(End {
        n_members: n_members.into(),
        directory_bytes: directory_bytes.into(),
        directory_start: directory_start.into(),
        end_start,
    })
}

/// The end record of files and directories that need 64 bits.
fn end_of_large(source: &Source, end_start: u64) -> Result<End, WeightsError> {
    let lost = |found: String| source.malformed("the 64-bit end record of a zip file", found);
    let Some(locator_start) = end_start.checked_sub(20) else {
        return Err(lost("nothing".into()));
    };
    let locator = source.bytes("a zip locator", locator_start, 20)?;
    let mut fields = Fields(&locator);
    let signature = fields.u32();
    if signature != 0x0706_4b50 {
        return Err(lost(format!("signature {signature:08x}")));
    }
    let (_disk, start) = (fields.u32(), fields.u64());
    let record = source.bytes("the 64-bit end record of a zip file", start, 56)?;
    let mut fields = Fields(&record);
    let signature = fields.u32();
    if signature != 0x0606_4b50 {
        return Err(lost(format!("signature {signature:08x}")));
    }
    fields.0 = &record[32..];
    let (n_members, directory_bytes, directory_start) = (fields.u64(), fields.u64(), fields.u64());
    Ok(End { n_members, directory_bytes, directory_start, end_start: start })
}

/// One record of the directory.
fn member(source: &Source, rest: &mut Fields) -> Result<(String, Member), WeightsError> {
    let cut = |n: usize| source.malformed("a whole record in the zip directory", format!("{n} bytes"));
    let record = rest.take(46).ok_or_else(|| cut(rest.0.len()))?;
    let mut fields = Fields(record);
    let signature = fields.u32();
    if signature != 0x0201_4b50 {
        return Err(source.malformed("a record of the zip directory", format!("signature {signature:08x}")));
    }
    let (_made_by, _needs, flags, method) = (fields.u16(), fields.u16(), fields.u16(), fields.u16());
    let (_time, _date, crc) = (fields.u16(), fields.u16(), fields.u32());
    let (packed, unpacked) = (fields.u32(), fields.u32());
    let (name_bytes, extra_bytes, comment_bytes) = (fields.u16(), fields.u16(), fields.u16());
    let (_disk, _inside, _outside, start) = (fields.u16(), fields.u16(), fields.u32(), fields.u32());
    let name = rest.take(name_bytes.into()).ok_or_else(|| cut(rest.0.len()))?;
    let extra = rest.take(extra_bytes.into()).ok_or_else(|| cut(rest.0.len()))?;
    rest.take(comment_bytes.into()).ok_or_else(|| cut(rest.0.len()))?;
    let name = std::str::from_utf8(name)
        .map_err(|_| source.malformed("a zip member's name in UTF-8", String::from_utf8_lossy(name)))?
        .to_owned();
    let [bytes, packed_bytes, header_start] = wide(extra, [unpacked, packed, start])
        .ok_or_else(|| source.malformed(format!("64-bit sizes of zip member `{name}`"), "none"))?;
    if flags & 1 != 0 {
        return Err(source.malformed(format!("zip member `{name}` in the clear"), "an encrypted one"));
    }
    let packing = match method {
        0 if bytes == packed_bytes => Packing::Stored,
        8 if bytes <= packed_bytes.saturating_mul(MAX_RATIO) => Packing::Deflated(packed_bytes),
        0 | 8 => {
            let expected = format!("zip member `{name}` of a size that {packed_bytes} packed bytes can have");
            return Err(source.malformed(expected, format!("{bytes} bytes")));
        }
        other => {
            let expected = format!("zip member `{name}` stored or deflated");
            return Err(source.malformed(expected, format!("method {other}")));
        }
    };
    Ok((name, Member { bytes, crc, packing, header_start, packed_bytes }))
}

/// Sizes and place of a member: those that do not fit 32 bits stand in the extra field numbered 1, in this order.
fn wide(extra: &[u8], narrow: [u32; 3]) -> Option<[u64; 3]> {
    let mut fields = Fields(extra);
    let mut large: &[u8] = &[];
    while fields.0.len() >= 4 {
        let (kind, n) = (fields.u16(), fields.u16());
        let Some(content) = fields.take(n.into()) else { break };
        if kind == 1 {
            large = content;
        }
    }
    let mut large = Fields(large);
    let mut values = [0; 3];
    for (value, narrow) in values.iter_mut().zip(narrow) {
        *value = match narrow {
            u32::MAX => {
                let eight = large.take(8)?;
                Fields(eight).u64()
            }
            narrow => narrow.into(),
        };
    }
    Some(values)
}

/// Little-endian fields, one after the other; those past the end are 0, so lengths are checked first.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> u64 {
        let bytes = self.take(N).unwrap_or_default();
        bytes.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte))
    }

    fn u16(&mut self) -> u16 {
        self.number::<2>() as u16
    }

    fn u32(&mut self) -> u32 {
        self.number::<4>() as u32
    }

    fn u64(&mut self) -> u64 {
        self.number::<8>()
    }
}
