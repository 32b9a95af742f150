//! What a parsed pickle says of tensors and of the plain values beside them.
//!
//! A handful of functions and classes is understood by name: those that PyTorch, NumPy and Python write for tensors,
//! ordered dictionaries, namespaces and scalars. Everything else stays what it is, a name with arguments; where it has a
//! state or items, these are looked into, so that a pickled module or a TorchScript archive shows its parameters.

use super::super::WeightsError;
use super::source::Source;
use super::{Dtype, place::refusal};
use pickle::{Id, Made, Node, Pickle};
use serde_json::{Map, Value};

/// The deepest nesting that is followed.
const MAX_DEPTH: usize = 100;

/// The most values that are visited: four times those that the pickle has, and this many more. Values that are shown
/// again count again; a few kilobytes can show the same ones a billion times.
const MAX_VISITS_MORE: usize = 1 << 17;

/// The most bytes of tensors' names and facts.
const MAX_TENSOR_BYTES: usize = 1 << 24;

/// The most bytes of plain values that are kept; what comes after them is left out.
const MAX_META_BYTES: usize = 1 << 23;

/// The longest list of plain values that is kept.
const MAX_META_ITEMS: usize = 1 << 10;

/// The longest path of files that is kept.
const MAX_PATH_PARTS: usize = 64;

/// A storage that stands outside the pickle.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// Its key in the file.
    pub(super) key: String,
    /// The type of its numbers; none for bytes whose type the tensor says.
    pub(super) dtype: Option<Dtype>,
    /// How many numbers it has.
    pub(super) n: u64,
    /// The number in the file's storage that is number 0 here.
    pub(super) view_offset: u64,
}

/// A tensor on a storage.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) storage: Storage,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<u64>,
    pub(super) offset: u64,
}

/// What a pickle holds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) tensors: Vec<Tensor>,
    pub(super) meta: Value,
}

/// Looks through a pickle.
pub(super) fn find(pickle: &Pickle, source: &Source) -> Result<Found, WeightsError> {
    let mut walk = Walk {
        pickle,
        source,
        path: String::new(),
        is_open: vec![false; pickle.nodes().len()],
        depth: 0,
        n_visits: 0,
        tensor_bytes: 0,
        meta_bytes: 0,
        tensors: Vec::new(),
    };
    let meta = walk.value(pickle.root)?.unwrap_or(Value::Null);
    Ok(Found { tensors: walk.tensors, meta })
}

/// A storage as a persistent id names it: `("storage", class, key, device, n)`, and a view of it in old files.
pub(super) fn storage(pickle: &Pickle, id: Id) -> Option<Storage> {
    let Node::Persistent(pid) = pickle.node(id) else { return None };
    let [kind, class, key, _device, n, view @ ..] = pickle.items(*pid)? else { return None };
    if pickle.short_text(*kind)? != "storage" {
        return None;
    }
    let (_, class) = pickle.class(*class)?;
    let dtype = match class {
        "UntypedStorage" => None,
        class => Some(number_type(class.strip_suffix("Storage")?)),
    };
    let key = match pickle.node(*key) {
        Node::Int(key) => key.to_string(),
        _ => pickle.short_text(*key)?.to_owned(),
    };
    let n = u64::try_from(pickle.int(*n)?).ok()?;
    let view_offset = match view.first().map(|view| pickle.node(*view)) {
        Some(Node::Tuple(view)) => u64::try_from(pickle.int(*view.get(1)?)?).ok()?,
        _ => 0,
    };
    Some(Storage { key, dtype, n, view_offset })
}

/// `Float` of `torch.FloatStorage`, or `float32` of `torch.float32`.
fn number_type(name: &str) -> Dtype {
    match name {
        "Double" | "float64" => Dtype::F64,
        "Float" | "float32" => Dtype::F32,
        "Half" | "float16" => Dtype::F16,
        "BFloat16" | "bfloat16" => Dtype::Bf16,
        "Long" | "int64" => Dtype::I64,
        "Int" | "int32" => Dtype::I32,
        "Short" | "int16" => Dtype::I16,
        "Char" | "int8" => Dtype::I8,
        "uint64" => Dtype::U64,
        "uint32" => Dtype::U32,
        "uint16" => Dtype::U16,
        "Byte" | "uint8" => Dtype::U8,
        "Bool" | "bool" => Dtype::Bool,
        "ComplexFloat" | "complex64" => Dtype::Other("C64"),
        "ComplexDouble" | "complex128" => Dtype::Other("C128"),
        "float8_e4m3fn" => Dtype::Other("F8_E4M3"),
        "float8_e5m2" => Dtype::Other("F8_E5M2"),
        _ => Dtype::Other("unknown"),
    }
}

struct Walk<'a> {
    pickle: &'a Pickle,
    source: &'a Source,
    path: String,
    is_open: Vec<bool>,
    depth: usize,
    n_visits: usize,
    tensor_bytes: usize,
    meta_bytes: usize,
    tensors: Vec<Tensor>,
}

impl Walk<'_> {
    fn fail(&self, expected: impl Into<String>, found: &str) -> WeightsError {
        let place = if self.path.is_empty() { "the top" } else { &self.path };
        let place: String = place.chars().take(200).collect();
        self.source.malformed(expected, format!("{found} at `{place}`"))
    }

    /// The plain value of a node; none for tensors and what has nothing plain in it.
    fn value(&mut self, id: Id) -> Result<Option<Value>, WeightsError> {
        self.n_visits += 1;
        let pickle = self.pickle;
        let max_visits = 4 * pickle.nodes().len() + MAX_VISITS_MORE;
        if self.n_visits > max_visits {
            return Err(self.fail(format!("at most {max_visits} values"), "more, by values shown again"));
        }
        let is_full = self.meta_bytes > MAX_META_BYTES;
        match pickle.node(id) {
            Node::Tuple(items) | Node::List(items) => self.inside(id, |walk| walk.list(items)),
            Node::Dict(pairs) => self.inside(id, |walk| walk.dict(pairs)),
            Node::Made(made) => self.inside(id, |walk| walk.made(made)),
            _ if is_full => Ok(None),
            Node::None => Ok(self.plain(Value::Null)),
            Node::Bool(value) => Ok(self.plain((*value).into())),
            Node::Int(value) => Ok(self.plain((*value).into())),
            Node::Float(value) => Ok(self.plain(float(*value))),
            Node::Text(_) => {
                let text = pickle.text(id).unwrap_or("<text that is not UTF-8>");
                Ok(self.plain_text(text))
            }
            Node::Long(_) => Ok(self.plain_text("<a long integer>")),
            Node::Bytes(span) => {
                let text = format!("<{} bytes>", pickle.bytes(*span).len());
                Ok(self.plain_text(&text))
            }
            Node::Global(..) => {
                let name = class_name(pickle, id);
                Ok(self.plain_text(&name))
            }
            Node::Persistent(_) => Ok(self.plain_text("<a storage>")),
        }
    }

    fn inside<T>(
        &mut self,
        id: Id,
        look: impl FnOnce(&mut Self) -> Result<T, WeightsError>,
    ) -> Result<T, WeightsError> {
        if self.is_open[id as usize] {
            return Err(self.fail("values that do not hold themselves", "a cycle"));
        }
        if self.depth == MAX_DEPTH {
            return Err(self.fail(format!("values nested at most {MAX_DEPTH} deep"), "a deeper one"));
        }
        self.is_open[id as usize] = true;
        self.depth += 1;
        let looked = look(self)?;
        self.depth -= 1;
        self.is_open[id as usize] = false;
        Ok(looked)
    }

    fn list(&mut self, items: &[Id]) -> Result<Option<Value>, WeightsError> {
        let mut kept = Vec::new();
        for (index, &item) in items.iter().enumerate() {
            let value = self.under(&index.to_string(), item)?;
            if items.len() <= MAX_META_ITEMS {
                kept.extend(value);
            }
        }
        if items.len() > MAX_META_ITEMS {
            return Ok(self.plain_text(&format!("<{} items>", items.len())));
        }
        // A list that held nothing but tensors is not a plain value.
        if kept.is_empty() && !items.is_empty() { Ok(None) } else { Ok(self.plain(kept.into())) }
    }

    fn dict(&mut self, pairs: &[(Id, Id)]) -> Result<Option<Value>, WeightsError> {
        let mut kept = Map::new();
        self.pairs(pairs, &mut kept)?;
        if kept.is_empty() && !pairs.is_empty() { Ok(None) } else { Ok(self.plain(kept.into())) }
    }

    fn pairs(&mut self, pairs: &[(Id, Id)], kept: &mut Map<String, Value>) -> Result<(), WeightsError> {
        for (index, &(key, value)) in pairs.iter().enumerate() {
            let key = match self.pickle.node(key) {
                Node::Text(_) => match self.pickle.short_text(key) {
                    Some(key) => key.to_owned(),
                    None => return Err(self.fail("keys in UTF-8, of at most 1024 bytes", "another")),
                },
                Node::Int(key) => key.to_string(),
                Node::Bool(key) => if *key { "True" } else { "False" }.to_owned(),
                _ => format!("#{index}"),
            };
            if let Some(value) = self.under(&key, value)? {
                kept.insert(key, value);
            }
        }
        Ok(())
    }

    /// A value one key further.
    fn under(&mut self, key: &str, id: Id) -> Result<Option<Value>, WeightsError> {
        let length = self.path.len();
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(key);
        let value = self.value(id)?;
        self.path.truncate(length);
        Ok(value)
    }

    fn made(&mut self, made: &Made) -> Result<Option<Value>, WeightsError> {
        let pickle = self.pickle;
        let args = pickle.items(made.args).unwrap_or_default();
        let class = pickle.class(made.class).unwrap_or_default();
        match (class, args) {
            (
                ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2"),
                [storage, offset, size, stride, ..],
            ) => {
                self.tensor(*storage, None, [*offset, *size, *stride])?;
                Ok(None)
            }
            (("torch._utils", "_rebuild_tensor_v3"), [storage, offset, size, stride, _, _, dtype, ..]) => {
                let dtype = pickle.class(*dtype).map(|(_, name)| number_type(name));
                self.tensor(*storage, dtype, [*offset, *size, *stride])?;
                Ok(None)
            }
            (("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state"), [data, ..]) => {
                self.value(*data)
            }
            (("torch._tensor", "_rebuild_from_type_v2"), [function, _class, args, ..]) => {
                let inner =
                    Made { class: *function, args: *args, state: None, items: Vec::new(), pairs: Vec::new() };
                self.nested(&inner)
            }
            (("torch", "Size"), [items]) => self.value(*items),
            (("torch", "device"), [kind, ..]) => self.value(*kind),
            (("torch.jit._pickle", _), [items, ..]) => self.value(*items),
            (("numpy.core.multiarray" | "numpy._core.multiarray", "scalar"), [dtype, bytes]) => {
                match numpy_scalar(pickle, *dtype, *bytes) {
                    Some(value) => Ok(self.plain(value)),
                    None => Ok(self.plain_text("<numpy scalar>")),
                }
            }
            (("pathlib" | "pathlib._local", _), parts) if (1..=MAX_PATH_PARTS).contains(&parts.len()) => {
                let parts: Vec<&str> = parts.iter().filter_map(|part| pickle.short_text(*part)).collect();
                let path = parts.join("/");
                Ok(self.plain_text(path.strip_prefix('/').filter(|p| p.starts_with('/')).unwrap_or(&path)))
            }
            (("collections", "OrderedDict" | "defaultdict" | "Counter"), _) => {
                self.dict(&self.pairs_of(made))
            }
            (("builtins" | "__builtin__", "set" | "frozenset" | "list" | "tuple"), [items]) => {
                self.value(*items)
            }
            _ => self.object(class, made),
        }
    }

    /// The pairs of a dictionary, which Python 2 gave an ordered one as a list in its arguments.
    fn pairs_of(&self, made: &Made) -> Vec<(Id, Id)> {
        let listed = match self.pickle.items(made.args) {
            Some([listed]) if made.pairs.is_empty() => self.pickle.items(*listed).unwrap_or_default(),
            _ => return made.pairs.clone(),
        };
        let pair = |pair: &Id| match self.pickle.items(*pair) {
            Some([key, value]) => Some((*key, *value)),
            _ => None,
        };
        listed.iter().filter_map(pair).collect()
    }

    /// A further call under the same name, counted as a nesting.
    fn nested(&mut self, made: &Made) -> Result<Option<Value>, WeightsError> {
        if self.depth == MAX_DEPTH {
            return Err(self.fail(format!("values nested at most {MAX_DEPTH} deep"), "a deeper one"));
        }
        self.depth += 1;
        let value = self.made(made)?;
        self.depth -= 1;
        Ok(value)
    }

    /// Something that is not known: its items and its state are looked into.
    fn object(&mut self, class: (&str, &str), made: &Made) -> Result<Option<Value>, WeightsError> {
        let pickle = self.pickle;
        let n_tensors = self.tensors.len();
        let mut kept = Map::new();
        for (index, &item) in made.items.iter().enumerate() {
            if let Some(value) = self.under(&index.to_string(), item)? {
                kept.insert(index.to_string(), value);
            }
        }
        self.pairs(&made.pairs, &mut kept)?;
        let state = match made.state.map(|state| pickle.node(state)) {
            // With slots, a state is a pair: the dictionary and the slots.
            Some(Node::Tuple(both)) => both.iter().map(|part| pickle.node(*part)).collect(),
            Some(state) => vec![state],
            None => Vec::new(),
        };
        let is_script = class.0.starts_with("__torch__");
        for state in state {
            let Node::Dict(pairs) = state else { continue };
            let is_inside = |key: &str| matches!(key, "_parameters" | "_buffers" | "_modules");
            let key = |(key, _): &(Id, Id)| pickle.short_text(*key);
            if !is_script && pairs.iter().filter_map(key).filter(|key| is_inside(key)).count() < 3 {
                self.pairs(pairs, &mut kept)?;
                continue;
            }
            // A module: parameters, buffers and modules stand under its own name; how it works is not kept.
            for pair in pairs {
                match (key(pair), pickle.node(pair.1)) {
                    (Some(key), Node::Dict(inner)) if is_inside(key) => self.pairs(inner, &mut kept)?,
                    (Some(key), Node::Made(inner)) if is_inside(key) => {
                        self.pairs(&inner.pairs, &mut kept)?
                    }
                    (Some("training"), _) => {}
                    (Some(key), _) if key.starts_with('_') => {}
                    _ => self.pairs(std::slice::from_ref(pair), &mut kept)?,
                }
            }
        }
        if !kept.is_empty() {
            return Ok(self.plain(kept.into()));
        }
        if is_script || self.tensors.len() > n_tensors {
            return Ok(None);
        }
        let what = match (class, pickle.items(made.args)) {
            // How Python writes an object, and NumPy an array: the class is the first argument.
            ((_, "_reconstructor" | "_reconstruct"), Some([class, ..])) => *class,
            _ => made.class,
        };
        let name = class_name(pickle, what);
        Ok(self.plain_text(&format!("<{name}>")))
    }

    fn tensor(
        &mut self,
        at: Id,
        dtype: Option<Dtype>,
        [offset, size, stride]: [Id; 3],
    ) -> Result<(), WeightsError> {
        let pickle = self.pickle;
        let name = if self.path.is_empty() { "tensor" } else { &self.path };
        let refuse = |expected: &str, found: String| {
            Err(refusal(name, expected.to_owned(), found, self.source.path()))
        };
        let Some(storage) = storage(pickle, at) else {
            return refuse("a storage", "something else".to_owned());
        };
        let Some(dtype) = dtype.or(storage.dtype) else {
            return refuse("a type of numbers", "bytes alone".to_owned());
        };
        let sizes = self.whole_numbers(size);
        let shape = sizes.and_then(|sizes| sizes.into_iter().map(|n| usize::try_from(n).ok()).collect());
        let offset = pickle.int(offset).and_then(|offset| u64::try_from(offset).ok());
        let (Some(shape), Some(strides), Some(offset)) = (shape, self.whole_numbers(stride), offset) else {
            return refuse(
                "offset, shape and strides of at most 64 whole numbers",
                "something else".to_owned(),
            );
        };
        let Some(offset) = offset.checked_add(storage.view_offset) else {
            return refuse("an offset inside the storage", format!("{offset}"));
        };
        let name = name.to_owned();
        self.tensor_bytes += 256 + name.len() + storage.key.len() + 16 * strides.len();
        if self.tensor_bytes > MAX_TENSOR_BYTES {
            return Err(self.fail(format!("tensors' names of at most {MAX_TENSOR_BYTES} bytes"), "more"));
        }
        self.tensors.push(Tensor { name, storage, dtype, shape, strides, offset });
        Ok(())
    }

    fn whole_numbers(&self, id: Id) -> Option<Vec<u64>> {
        let id = match self.pickle.node(id) {
            Node::Made(made) if self.pickle.class(made.class) == Some(("torch", "Size")) => {
                *self.pickle.items(made.args)?.first()?
            }
            _ => id,
        };
        let items = self.pickle.items(id).filter(|items| items.len() <= 64)?;
        items.iter().map(|item| u64::try_from(self.pickle.int(*item)?).ok()).collect()
    }

    fn plain(&mut self, value: Value) -> Option<Value> {
        self.meta_bytes += 128;
        (self.meta_bytes <= MAX_META_BYTES).then_some(value)
    }

    fn plain_text(&mut self, text: &str) -> Option<Value> {
        self.meta_bytes += text.len();
        if self.meta_bytes > MAX_META_BYTES { None } else { self.plain(text.into()) }
    }
}

fn class_name(pickle: &Pickle, id: Id) -> String {
    match pickle.class(id) {
        Some((module, name)) => format!("{module}.{name}"),
        None => "unnamed".to_owned(),
    }
}

/// JSON has no infinity and no NaN: those are texts.
fn float(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}

/// `scalar(dtype("f8"), bytes)`, with the byte order in the dtype's state.
fn numpy_scalar(pickle: &Pickle, dtype: Id, bytes: Id) -> Option<Value> {
    let Node::Made(dtype) = pickle.node(dtype) else { return None };
    let kind = pickle.short_text(*pickle.items(dtype.args)?.first()?)?;
    let order = dtype.state.and_then(|state| pickle.short_text(*pickle.items(state)?.get(1)?));
    let mut bytes = match pickle.node(bytes) {
        Node::Bytes(span) | Node::Text(span) if pickle.bytes(*span).len() <= 8 => {
            pickle.bytes(*span).to_vec()
        }
        // Protocol 2 has no bytes: they are a text whose characters are all below 256.
        Node::Made(encoded) if pickle.class(encoded.class) == Some(("_codecs", "encode")) => {
            let text = pickle.short_text(*pickle.items(encoded.args)?.first()?)?;
            text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>()?
        }
        _ => return None,
    };
    if order == Some(">") {
        bytes.reverse();
    }
    let word = |n: usize| -> Option<u64> {
        (bytes.len() == n).then(|| bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)))
    };
    Some(match kind.trim_start_matches(['<', '>', '|', '=']) {
        "f8" => float(f64::from_bits(word(8)?)),
        "f4" => float(f32::from_bits(word(4)? as u32).into()),
        "f2" => float(half::f16::from_bits(word(2)? as u16).into()),
        "i8" => (word(8)? as i64).into(),
        "i4" => (word(4)? as i32).into(),
        "i2" => (word(2)? as i16).into(),
        "i1" => (word(1)? as i8).into(),
        "u8" => word(8)?.into(),
        "u4" => word(4)?.into(),
        "u2" => word(2)?.into(),
        "u1" => word(1)?.into(),
        "b1" => (word(1)? != 0).into(),
        _ => return None,
    })
}
