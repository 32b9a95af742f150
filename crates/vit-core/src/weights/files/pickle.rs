//! Pickles, parsed as data: the operations build a graph of inert nodes. A class is a pair of names, a call is a node
//! that says what would have been called, and nothing is ever called.
//!
//! Nodes stand in one list and refer to each other by index, so that a pickle which nests or repeats without end costs
//! no more than its bytes, and is dropped without recursion.

use super::super::WeightsError;
use super::source::Source;
use std::collections::HashMap;

/// The longest pickle read. Those of large models have some hundred thousand bytes: numbers stand elsewhere.
const MAX_PICKLE_BYTES: u64 = 1 << 25;

/// The most nodes kept, and the most on the stack.
const MAX_NODES: usize = 1 << 21;

/// The longest name of a module or class.
const MAX_LINE_BYTES: usize = 1 << 12;

/// The longest key of a dictionary or storage.
const MAX_KEY_BYTES: u32 = 1 << 10;

/// How much is read from the file at a time.
const CHUNK_BYTES: u64 = 1 << 16;

/// The index of a node.
pub(super) type Id = u32;

/// A run of the pickle's own bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

/// A value.
#[derive(Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// An integer of more than 64 bits, little-endian.
    Long(Span),
    Text(Span),
    Bytes(Span),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function: the names of its module and its own.
    Global(Id, Id),
    /// What stands outside the pickle, such as a storage.
    Persistent(Id),
    /// What a call would have made.
    Made(Box<Made>),
}

/// A call that was not made, and what would have been put into its result.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) class: Id,
    pub(super) args: Id,
    pub(super) state: Option<Id>,
    pub(super) items: Vec<Id>,
    pub(super) pairs: Vec<(Id, Id)>,
}

/// A parsed pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    bytes: Vec<u8>,
    nodes: Vec<Node>,
    /// The value itself.
    pub(super) root: Id,
    /// The first byte of the file after it.
    pub(super) end: u64,
}

impl Pickle {
    /// Parses the pickle that begins at `start` and has at most `limit` bytes.
    pub(super) fn parse(source: &Source, start: u64, limit: u64) -> Result<Self, WeightsError> {
        let limit = limit.min(MAX_PICKLE_BYTES);
        let tape = Tape { source, start, limit, bytes: Vec::new(), at: 0 };
        let mut machine =
            Machine { tape, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        let root = machine.run()?;
        let Machine { tape, nodes, .. } = machine;
        Ok(Self { root, nodes, end: start + tape.at as u64, bytes: tape.bytes })
    }

    /// A node.
    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// All nodes.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The bytes of a text, bytes, or long integer.
    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// A short text that is a key or a name: others are never asked for what they say.
    pub(super) fn short_text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(span) if span.end - span.start <= MAX_KEY_BYTES => self.text(id),
            _ => None,
        }
    }

    /// A text, where a node is one and in UTF-8.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(span) => std::str::from_utf8(self.bytes(*span)).ok(),
            _ => None,
        }
    }

    /// An integer, where a node is one.
    pub(super) fn int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// Module and name of a class or function.
    pub(super) fn class(&self, id: Id) -> Option<(&str, &str)> {
        match self.node(id) {
            Node::Global(module, name) => Some((self.text(*module)?, self.text(*name)?)),
            // A class that was saved together with its source text.
            Node::Persistent(pid) => match self.items(*pid)? {
                [kind, class, ..] if self.text(*kind) == Some("module") => match self.node(*class) {
                    Node::Global(module, name) => Some((self.text(*module)?, self.text(*name)?)),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }
}

/// The bytes, read as far as they are needed.
struct Tape<'a> {
    source: &'a Source,
    start: u64,
    limit: u64,
    bytes: Vec<u8>,
    at: usize,
}

impl Tape<'_> {
    fn fail(&self, expected: impl Into<String>, found: impl Into<String>) -> WeightsError {
        let place = format!("{} at byte {} of the pickle", found.into(), self.at);
        self.source.malformed(expected, place)
    }

    fn span(&mut self, n: u64) -> Result<Span, WeightsError> {
        let end = (self.at as u64).checked_add(n).filter(|&end| end <= self.limit);
        let Some(end) = end else {
            return Err(self.fail(format!("{n} bytes more"), format!("an end after {} bytes", self.limit)));
        };
        let have = self.bytes.len() as u64;
        if end > have {
            let more = (end - have).max(CHUNK_BYTES).min(self.limit - have);
            let left = self.source.len().saturating_sub(self.start.saturating_add(have));
            if left < end - have {
                return Err(self.fail(format!("{n} bytes more"), "the end of the file"));
            }
            let more = self.source.bytes("a pickle", self.start + have, more.min(left))?;
            self.bytes.extend_from_slice(&more);
        }
        let span = Span { start: self.at as u32, end: end as u32 };
        self.at = end as usize;
        Ok(span)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WeightsError> {
        let span = self.span(N as u64)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.bytes[span.start as usize..span.end as usize]);
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, WeightsError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, WeightsError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, WeightsError> {
        self.take().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Result<i32, WeightsError> {
        self.take().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WeightsError> {
        self.take().map(u64::from_le_bytes)
    }

    /// A line without its end.
    fn line(&mut self) -> Result<Span, WeightsError> {
        let start = self.at as u32;
        for _ in 0..MAX_LINE_BYTES {
            if self.u8()? == b'\n' {
                return Ok(Span { start, end: self.at as u32 - 1 });
            }
        }
        Err(self.fail(format!("a name of at most {MAX_LINE_BYTES} bytes"), "a longer one"))
    }
}

/// The stack machine.
struct Machine<'a> {
    tape: Tape<'a>,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Id, WeightsError> {
        loop {
            if self.stack.len() > MAX_NODES || self.marks.len() > MAX_NODES {
                return Err(self.tape.fail(format!("at most {MAX_NODES} values on the stack"), "more"));
            }
            let op = self.tape.u8()?;
            match op {
                b'.' => return self.pop(),
                0x80 => {
                    let protocol = self.tape.u8()?;
                    if !(2..=5).contains(&protocol) {
                        return Err(self.tape.fail("pickle protocol 2 to 5", protocol.to_string()));
                    }
                }
                0x95 => drop(self.tape.u64()?), // FRAME: how much to read ahead
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_to_mark()?),
                b'2' => {
                    let top = self.top()?;
                    self.stack.push(top);
                }
                b'N' | 0x88 | 0x89 | b'J' | b'K' | b'M' | 0x8a | 0x8b | b'G' => self.number(op)?,
                b'X' | 0x8c | 0x8d | b'T' | b'U' | b'B' | b'C' | 0x8e | 0x96 => self.text_or_bytes(op)?,
                b')' | 0x85 | 0x86 | 0x87 | b't' => {
                    let items = match op {
                        b't' => self.pop_to_mark()?,
                        b')' => Vec::new(),
                        op => self.last(usize::from(op - 0x84))?,
                    };
                    self.push(Node::Tuple(items))?;
                }
                b']' | 0x8f => self.push(Node::List(Vec::new()))?, // a set is a list here
                b'l' | 0x91 => {
                    let items = self.pop_to_mark()?;
                    self.push(Node::List(items))?;
                }
                b'}' => self.push(Node::Dict(Vec::new()))?,
                b'd' => {
                    let items = self.pop_to_mark()?;
                    let pairs = self.pairs(&items)?;
                    self.push(Node::Dict(pairs))?;
                }
                b'a' | b'e' | 0x90 => self.append(op)?,
                b's' | b'u' => self.set(op)?,
                b'c' | 0x93 => self.global(op)?,
                b'Q' => {
                    let id = self.pop()?;
                    self.push(Node::Persistent(id))?;
                }
                b'R' | 0x81 | 0x92 => self.make(op)?,
                b'b' => self.build()?,
                b'q' | b'r' | 0x94 => {
                    let key = match op {
                        b'q' => self.tape.u8()?.into(),
                        b'r' => self.tape.u32()?,
                        _ => self.memo.len() as u32,
                    };
                    let top = self.top()?;
                    self.memo.insert(key, top);
                }
                b'h' | b'j' => {
                    let key = if op == b'h' { self.tape.u8()?.into() } else { self.tape.u32()? };
                    let Some(&id) = self.memo.get(&key) else {
                        return Err(self.tape.fail(format!("a value remembered as {key}"), "none"));
                    };
                    self.stack.push(id);
                }
                other => {
                    return Err(self.tape.fail("an operation of protocols 2 to 5", format!("{other:#04x}")));
                }
            }
        }
    }

    fn number(&mut self, op: u8) -> Result<(), WeightsError> {
        let node = match op {
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'J' => Node::Int(self.tape.i32()?.into()),
            b'K' => Node::Int(self.tape.u8()?.into()),
            b'M' => Node::Int(self.tape.u16()?.into()),
            b'G' => Node::Float(self.tape.take().map(f64::from_be_bytes)?),
            0x8a | 0x8b => {
                let n = if op == 0x8a { self.tape.u8()?.into() } else { self.tape.u32()? };
                let span = self.tape.span(n.into())?;
                match &self.tape.bytes[span.start as usize..span.end as usize] {
                    [] => Node::Int(0),
                    bytes @ [.., last] if bytes.len() <= 8 => {
                        let mut wide = [if last & 0x80 == 0 { 0 } else { 0xff }; 8];
                        wide[..bytes.len()].copy_from_slice(bytes);
                        Node::Int(i64::from_le_bytes(wide))
                    }
                    _ => Node::Long(span),
                }
            }
            _ => Node::None,
        };
        self.push(node)
    }

    fn text_or_bytes(&mut self, op: u8) -> Result<(), WeightsError> {
        let n = match op {
            0x8c | b'U' | b'C' => self.tape.u8()?.into(),
            0x8d | 0x8e | 0x96 => self.tape.u64()?,
            _ => self.tape.u32()?.into(),
        };
        let span = self.tape.span(n)?;
        match op {
            // Texts, those of Python 2 included.
            b'X' | 0x8c | 0x8d | b'T' | b'U' => self.push(Node::Text(span)),
            _ => self.push(Node::Bytes(span)),
        }
    }

    fn append(&mut self, op: u8) -> Result<(), WeightsError> {
        let new = if op == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
        let top = self.top()?;
        match &mut self.nodes[top as usize] {
            Node::List(items) => items.extend(new),
            Node::Made(made) => made.items.extend(new),
            _ => return Err(self.tape.fail("a list to append to", "something else")),
        }
        Ok(())
    }

    fn set(&mut self, op: u8) -> Result<(), WeightsError> {
        let new = if op == b's' { self.last(2)? } else { self.pop_to_mark()? };
        let new = self.pairs(&new)?;
        let top = self.top()?;
        match &mut self.nodes[top as usize] {
            Node::Dict(pairs) => pairs.extend(new),
            Node::Made(made) => made.pairs.extend(new),
            _ => return Err(self.tape.fail("a dictionary to set keys of", "something else")),
        }
        Ok(())
    }

    fn global(&mut self, op: u8) -> Result<(), WeightsError> {
        if op == b'c' {
            for _ in 0..2 {
                let line = self.tape.line()?;
                self.push(Node::Text(line))?;
            }
        }
        let (name, module) = (self.pop()?, self.pop()?);
        let is_name = |id: Id| match &self.nodes[id as usize] {
            Node::Text(span) => (span.end - span.start) as usize <= MAX_LINE_BYTES,
            _ => false,
        };
        if !is_name(name) || !is_name(module) {
            let expected = format!("names of a module and a class, at most {MAX_LINE_BYTES} bytes each");
            return Err(self.tape.fail(expected, "something else"));
        }
        self.push(Node::Global(module, name))
    }

    fn make(&mut self, op: u8) -> Result<(), WeightsError> {
        let state = if op == 0x92 { Some(self.pop()?) } else { None };
        let (args, class) = (self.pop()?, self.pop()?);
        if !matches!(self.nodes[args as usize], Node::Tuple(_)) {
            return Err(self.tape.fail("a tuple of arguments", "something else"));
        }
        self.push(Node::Made(Box::new(Made { class, args, state, items: Vec::new(), pairs: Vec::new() })))
    }

    fn build(&mut self) -> Result<(), WeightsError> {
        let state = self.pop()?;
        let top = self.top()?;
        if let Node::Made(made) = &mut self.nodes[top as usize] {
            made.state = Some(state);
        }
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<(), WeightsError> {
        if self.nodes.len() >= MAX_NODES {
            return Err(self.tape.fail(format!("at most {MAX_NODES} values"), "more"));
        }
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(node);
        Ok(())
    }

    /// The topmost value above the last mark.
    fn top(&self) -> Result<Id, WeightsError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.get(floor..).and_then(<[Id]>::last) {
            Some(&id) => Ok(id),
            None => Err(self.tape.fail("a value on the stack", "none")),
        }
    }

    fn pop(&mut self) -> Result<Id, WeightsError> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn last(&mut self, n: usize) -> Result<Vec<Id>, WeightsError> {
        let mut items = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        Ok(items)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, WeightsError> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.tape.fail("a mark on the stack", "none")),
        }
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>, WeightsError> {
        let (pairs, rest) = items.as_chunks::<2>();
        match rest {
            [] => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
            _ => Err(self.tape.fail("a value for every key", "a key alone")),
        }
    }
}
