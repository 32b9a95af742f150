//! Pickles, parsed as data: the operations build a graph of inert nodes. A class is a pair of names, a call is a node
//! that says what would have been called, and nothing is ever called. Weights files and annotations of data sets are read
//! through it.
//!
//! Nodes stand in one list and refer to each other by index, so that a pickle which nests or repeats without end costs
//! no more than its bytes, and is dropped without recursion.

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

/// The bytes that a pickle stands in.
pub trait Source {
    /// What is said where they cannot be read or are no pickle.
    type Error;
    /// How many there are.
    fn n_bytes(&self) -> u64;
    /// `n` of them from `offset`, which `what` names in an error.
    ///
    /// # Errors
    /// When they are not there.
    fn bytes(&self, what: &str, offset: u64, n: u64) -> Result<Vec<u8>, Self::Error>;
    /// The error of bytes that are not what they should be.
    fn malformed(&self, expected: String, found: String) -> Self::Error;
}

/// The index of a node.
pub type Id = u32;

/// A run of the pickle's own bytes.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    start: u32,
    end: u32,
}

/// A value.
#[derive(Debug)]
pub enum Node {
    /// `None`
    None,
    /// A truth value.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A number.
    Float(f64),
    /// An integer of more than 64 bits, little-endian.
    Long(Span),
    /// A text.
    Text(Span),
    /// Bytes.
    Bytes(Span),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list or a set.
    List(Vec<Id>),
    /// A dictionary, its keys as they came.
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
pub struct Made {
    /// What would have been called.
    pub class: Id,
    /// With which arguments, a tuple.
    pub args: Id,
    /// What would have been set in the result.
    pub state: Option<Id>,
    /// What would have been appended to it.
    pub items: Vec<Id>,
    /// Keys and values that would have been put into it.
    pub pairs: Vec<(Id, Id)>,
}

/// A parsed pickle.
#[derive(Debug)]
pub struct Pickle {
    bytes: Vec<u8>,
    nodes: Vec<Node>,
    /// The value itself.
    pub root: Id,
    /// The first byte of the file after it.
    pub end: u64,
}

impl Pickle {
    /// Parses the pickle that begins at `start` and has at most `limit` bytes.
    ///
    /// # Errors
    /// When the bytes cannot be read, are no pickle of protocols 2 to 5, or are one beyond all measure.
    pub fn parse<S: Source>(source: &S, start: u64, limit: u64) -> Result<Self, S::Error> {
        let limit = limit.min(MAX_PICKLE_BYTES);
        let tape = Tape { source, start, limit, bytes: Vec::new(), at: 0 };
        let mut machine =
            Machine { tape, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        let root = machine.run()?;
        let Machine { tape, nodes, .. } = machine;
        Ok(Self { root, nodes, end: start + tape.at as u64, bytes: tape.bytes })
    }

    /// A node.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The bytes of a text, bytes, or long integer.
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// A short text that is a key or a name: others are never asked for what they say.
    pub fn short_text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(span) if span.end - span.start <= MAX_KEY_BYTES => self.text(id),
            _ => None,
        }
    }

    /// A text, where a node is one and in UTF-8.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(span) => std::str::from_utf8(self.bytes(*span)).ok(),
            _ => None,
        }
    }

    /// An integer, where a node is one.
    pub fn int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// Module and name of a class or function.
    pub fn class(&self, id: Id) -> Option<(&str, &str)> {
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
struct Tape<'a, S> {
    source: &'a S,
    start: u64,
    limit: u64,
    bytes: Vec<u8>,
    at: usize,
}

impl<S: Source> Tape<'_, S> {
    fn fail(&self, expected: impl Into<String>, found: impl Into<String>) -> S::Error {
        let place = format!("{} at byte {} of the pickle", found.into(), self.at);
        self.source.malformed(expected.into(), place)
    }

    fn span(&mut self, n: u64) -> Result<Span, S::Error> {
        let end = (self.at as u64).checked_add(n).filter(|&end| end <= self.limit);
        let Some(end) = end else {
            return Err(self.fail(format!("{n} bytes more"), format!("an end after {} bytes", self.limit)));
        };
        let have = self.bytes.len() as u64;
        if end > have {
            let more = (end - have).max(CHUNK_BYTES).min(self.limit - have);
            let left = self.source.n_bytes().saturating_sub(self.start.saturating_add(have));
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

    fn take<const N: usize>(&mut self) -> Result<[u8; N], S::Error> {
        let span = self.span(N as u64)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.bytes[span.start as usize..span.end as usize]);
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, S::Error> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, S::Error> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, S::Error> {
        self.take().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Result<i32, S::Error> {
        self.take().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, S::Error> {
        self.take().map(u64::from_le_bytes)
    }

    /// A line without its end.
    fn line(&mut self) -> Result<Span, S::Error> {
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
struct Machine<'a, S> {
    tape: Tape<'a, S>,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<S: Source> Machine<'_, S> {
    fn run(&mut self) -> Result<Id, S::Error> {
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

    fn number(&mut self, op: u8) -> Result<(), S::Error> {
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

    fn text_or_bytes(&mut self, op: u8) -> Result<(), S::Error> {
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

    fn append(&mut self, op: u8) -> Result<(), S::Error> {
        let new = if op == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
        let top = self.top()?;
        match &mut self.nodes[top as usize] {
            Node::List(items) => items.extend(new),
            Node::Made(made) => made.items.extend(new),
            _ => return Err(self.tape.fail("a list to append to", "something else")),
        }
        Ok(())
    }

    fn set(&mut self, op: u8) -> Result<(), S::Error> {
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

    fn global(&mut self, op: u8) -> Result<(), S::Error> {
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

    fn make(&mut self, op: u8) -> Result<(), S::Error> {
        let state = if op == 0x92 { Some(self.pop()?) } else { None };
        let (args, class) = (self.pop()?, self.pop()?);
        if !matches!(self.nodes[args as usize], Node::Tuple(_)) {
            return Err(self.tape.fail("a tuple of arguments", "something else"));
        }
        self.push(Node::Made(Box::new(Made { class, args, state, items: Vec::new(), pairs: Vec::new() })))
    }

    fn build(&mut self) -> Result<(), S::Error> {
        let state = self.pop()?;
        let top = self.top()?;
        if let Node::Made(made) = &mut self.nodes[top as usize] {
            made.state = Some(state);
        }
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<(), S::Error> {
        if self.nodes.len() >= MAX_NODES {
            return Err(self.tape.fail(format!("at most {MAX_NODES} values"), "more"));
        }
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(node);
        Ok(())
    }

    /// The topmost value above the last mark.
    fn top(&self) -> Result<Id, S::Error> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.get(floor..).and_then(<[Id]>::last) {
            Some(&id) => Ok(id),
            None => Err(self.tape.fail("a value on the stack", "none")),
        }
    }

    fn pop(&mut self) -> Result<Id, S::Error> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn last(&mut self, n: usize) -> Result<Vec<Id>, S::Error> {
        let mut items = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        Ok(items)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, S::Error> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.tape.fail("a mark on the stack", "none")),
        }
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>, S::Error> {
        let (pairs, rest) = items.as_chunks::<2>();
        match rest {
            [] => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
            _ => Err(self.tape.fail("a value for every key", "a key alone")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct InMemory<'a>(&'a [u8]);

    impl Source for InMemory<'_> {
        type Error = String;
        fn n_bytes(&self) -> u64 {
            self.0.len() as u64
        }
        fn bytes(&self, what: &str, offset: u64, n: u64) -> Result<Vec<u8>, String> {
            let range = offset as usize..(offset + n) as usize;
            self.0.get(range).map(<[u8]>::to_vec).ok_or_else(|| what.to_owned())
        }
        fn malformed(&self, expected: String, found: String) -> String {
            format!("expected {expected}; found {found}")
        }
    }

    fn parse(bytes: &[u8]) -> Result<Pickle, String> {
        Pickle::parse(&InMemory(bytes), 0, bytes.len() as u64)
    }

    #[test]
    fn a_dictionary_of_lists_is_read_and_remembered_values_are_shared() {
        // {'a': [1, -2], 'b': the same list}, protocol 2
        let pickle = parse(
            b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffeX\x01\x00\x00\x00bh\x02u.",
        )
        .expect("a pickle");
        let Node::Dict(pairs) = pickle.node(pickle.root) else { panic!("a dictionary") };
        assert_eq!(pairs.iter().map(|pair| pickle.text(pair.0)).collect::<Vec<_>>(), [Some("a"), Some("b")]);
        assert_eq!(pairs[0].1, pairs[1].1);
        let items = pickle.items(pairs[0].1).expect("a list");
        assert_eq!(items.iter().map(|&item| pickle.int(item)).collect::<Vec<_>>(), [Some(1), Some(-2)]);
    }

    #[test]
    fn a_call_is_a_node_and_what_is_no_pickle_is_refused() {
        // os.system('x'), protocol 2: never called.
        let pickle = parse(b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00x\x85R.").expect("a pickle");
        let Node::Made(made) = pickle.node(pickle.root) else { panic!("a call") };
        assert_eq!(pickle.class(made.class), Some(("os", "system")));
        for (bytes, complaint) in [
            (&b"\x80\x09N."[..], "protocol 2 to 5"),
            (b"\x80\x02X\xff\xff\xff\xffa", "bytes more"),
            (b"\x80\x02h\x07.", "remembered as 7"),
            (b"\x80\x02.", "a value on the stack"),
            (b"\x80\x02\xfe", "an operation"),
            (b"", "bytes more"),
        ] {
            let message = parse(bytes).expect_err("a refusal");
            assert!(message.contains(complaint), "{message}");
        }
    }
}
