//! Features in a file: safetensors, npz, npy or csv, from pieces kept on disk, written whole or not at all.

use anyhow::{Context, anyhow, bail};
use npyz::WriterBuilder;
use npyz::zip::{CompressionMethod, DateTime, ZipWriter, write::FileOptions};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use vit_features::{Features, Select};

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Safetensors,
    Npy,
    Npz,
    Csv,
}

impl Format {
    /// What a file may end in.
    pub(crate) const ENDINGS: &'static str = ".safetensors, .npz, .npy or .csv";

    /// The form that a file's ending asks for.
    ///
    /// # Errors
    /// When there is no such form.
    pub(crate) fn of(out: &Path) -> anyhow::Result<Self> {
        match out.extension().and_then(|ending| ending.to_str()) {
            Some("safetensors") => Ok(Self::Safetensors),
            Some("npy") => Ok(Self::Npy),
            Some("npz") => Ok(Self::Npz),
            Some("csv") => Ok(Self::Csv),
            other => {
                let found = other.map_or("none".to_owned(), |ending| format!("`.{ending}`"));
                bail!(
                    "--out: expected a file that ends in {}; found {found}: {}",
                    Self::ENDINGS,
                    out.display()
                )
            }
        }
    }

    /// Whether the form has room for these.
    ///
    /// # Errors
    /// When it has not.
    pub(crate) fn check(self, selects: &[Select]) -> anyhow::Result<()> {
        let map = selects.iter().find(|select| !select.is_vector());
        match (self, selects, map) {
            (Self::Npy, [_, second, ..], _) => {
                bail!(
                    "--select: expected one array for .npy (.npz and .safetensors hold several); found `{second}` as well"
                )
            }
            (Self::Csv, _, Some(map)) => bail!(
                "--select: expected vectors (cls or mean) for .csv (.npz and .safetensors hold maps); found `{map}`"
            ),
            _ => Ok(()),
        }
    }

    /// Writes the file under a temporary name and renames it.
    ///
    /// # Errors
    /// When it cannot be written; what stood there before is then untouched.
    pub(crate) fn write(self, mut spill: Spill, selects: &[Select], out: &Path) -> anyhow::Result<()> {
        let partial = spill.dir.join("whole");
        let context = || format!("cannot write {}", out.display());
        let mut file = BufWriter::new(File::create(&partial).with_context(context)?);
        match self {
            Self::Safetensors => write_safetensors(&mut spill, &mut file),
            Self::Npy => write_npy_select(&mut spill, selects[0], &mut file),
            Self::Npz => write_npz(&mut spill, selects, &mut file),
            Self::Csv => write_csv(&mut spill, selects, &mut file),
        }
        .with_context(context)?;
        let file = file.into_inner().map_err(|error| anyhow!("{error}")).with_context(context)?;
        file.sync_all().with_context(context)?;
        std::fs::rename(&partial, out).with_context(context)
    }
}

/// Features of which the arrays lie on disk, one file per select.
pub(crate) struct Spill {
    dir: PathBuf,
    columns: BTreeMap<Select, Column>,
    labels: Vec<Option<u32>>,
    ids: Vec<String>,
}

struct Column {
    /// `[n, D]` or `[n, tokens, D]`
    shape: Vec<usize>,
    /// Values in little endian, row-major.
    file: BufWriter<File>,
}

impl Drop for Spill {
    fn drop(&mut self) {
        // Best effort: an error of writing was told already.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Spill {
    /// An empty one in a folder beside the file that is to be written.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn beside(out: &Path) -> anyhow::Result<Self> {
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let dir = out.with_file_name(format!(".{name}.{}.parts", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot write beside {}", out.display()))?;
        Ok(Self { dir, columns: BTreeMap::new(), labels: Vec::new(), ids: Vec::new() })
    }

    /// Appends the features of later samples.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn append(&mut self, features: Features) -> anyhow::Result<()> {
        for (select, (shape, values)) in features.arrays {
            let path = self.dir.join(select.to_string());
            let context = || format!("cannot write {}", path.display());
            let column = match self.columns.entry(select) {
                std::collections::btree_map::Entry::Occupied(entry) => {
                    let column = entry.into_mut();
                    column.shape[0] += shape[0];
                    column
                }
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
                    entry.insert(Column { shape, file: BufWriter::new(file.with_context(context)?) })
                }
            };
            for value in values {
                column.file.write_all(&value.to_le_bytes()).with_context(context)?;
            }
        }
        self.labels.extend(features.labels);
        self.ids.extend(features.ids);
        Ok(())
    }

    /// Names and shapes of the arrays.
    pub(crate) fn arrays(&self, selects: &[Select]) -> Vec<(String, Vec<usize>)> {
        let shape =
            |select| self.columns.get(select).map(|column| (select.to_string(), column.shape.clone()));
        selects.iter().filter_map(shape).collect()
    }

    /// The class of each sample, −1 where there is none.
    fn labels(&self) -> impl Iterator<Item = i64> {
        self.labels.iter().map(|label| label.map_or(-1, i64::from))
    }

    /// An array from its start.
    fn column(&mut self, select: Select) -> anyhow::Result<(Vec<usize>, BufReader<File>)> {
        let Some(column) = self.columns.get_mut(&select) else {
            bail!("expected features of {select}; found none");
        };
        column.file.flush()?;
        let mut file = column.file.get_ref().try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok((column.shape.clone(), BufReader::with_capacity(1 << 20, file)))
    }
}

fn next_f32(reader: &mut impl Read) -> std::io::Result<f32> {
    let mut bytes = [0u8; 4];
    reader.read_exact(&mut bytes)?;
    Ok(f32::from_le_bytes(bytes))
}

/// Header by hand, in a fixed order: the same features give the same bytes. `ids` is a JSON list in the metadata,
/// since the format has no strings.
fn write_safetensors(spill: &mut Spill, file: &mut impl Write) -> anyhow::Result<()> {
    let n = spill.labels.len();
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "ids": serde_json::to_string(&spill.ids)? }));
    header.insert("labels".into(), json!({ "dtype": "I64", "shape": [n], "data_offsets": [0, 8 * n] }));
    let mut at = 8 * n;
    for (select, column) in &spill.columns {
        let end = at + 4 * column.shape.iter().product::<usize>();
        let entry = json!({ "dtype": "F32", "shape": column.shape, "data_offsets": [at, end] });
        header.insert(select.to_string(), entry);
        at = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    file.write_all(&(text.len() as u64).to_le_bytes())?;
    file.write_all(&text)?;
    for label in spill.labels() {
        file.write_all(&label.to_le_bytes())?;
    }
    let selects: Vec<Select> = spill.columns.keys().copied().collect();
    for select in selects {
        std::io::copy(&mut spill.column(select)?.1, file)?;
    }
    Ok(())
}

fn write_npy_select(spill: &mut Spill, select: Select, file: &mut impl Write) -> anyhow::Result<()> {
    let (shape, mut values) = spill.column(select)?;
    let shape: Vec<u64> = shape.iter().map(|&size| size as u64).collect();
    let mut writer =
        npyz::WriteOptions::<f32>::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
    for _ in 0..shape.iter().product::<u64>() {
        writer.push(&next_f32(&mut values)?)?;
    }
    Ok(writer.finish()?)
}

/// One `.npy` a select, `labels`, and `ids` as numpy's unicode strings, which it reads without pickle.
fn write_npz(spill: &mut Spill, selects: &[Select], file: &mut (impl Write + Seek)) -> anyhow::Result<()> {
    // Without the time of day: the same features are the same bytes.
    let options = FileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(true)
        .last_modified_time(DateTime::default());
    let mut zip = ZipWriter::new(file);
    for &select in selects {
        zip.start_file(format!("{select}.npy"), options)?;
        write_npy_select(spill, select, &mut zip)?;
    }
    let n = spill.labels.len() as u64;
    zip.start_file("labels.npy", options)?;
    let mut labels =
        npyz::WriteOptions::<i64>::new().default_dtype().shape(&[n]).writer(&mut zip).begin_nd()?;
    labels.extend(spill.labels())?;
    labels.finish()?;
    zip.start_file("ids.npy", options)?;
    let width = spill.ids.iter().map(|id| id.chars().count()).max().unwrap_or(0).max(1);
    let dtype = npyz::DType::Plain(format!("<U{width}").parse()?);
    let mut ids = npyz::WriteOptions::<str>::new().dtype(dtype).shape(&[n]).writer(&mut zip).begin_nd()?;
    for id in &spill.ids {
        ids.push(id.as_str())?;
    }
    ids.finish()?;
    zip.finish()?;
    Ok(())
}

/// One row a sample: `id`, `label`, then `SELECT.0`, `SELECT.1`, ….
fn write_csv(spill: &mut Spill, selects: &[Select], file: &mut impl Write) -> anyhow::Result<()> {
    let mut columns = Vec::with_capacity(selects.len());
    let mut header = vec!["id".to_owned(), "label".to_owned()];
    for &select in selects {
        let (shape, values) = spill.column(select)?;
        header.extend((0..shape[1]).map(|at| format!("{select}.{at}")));
        columns.push((shape[1], values));
    }
    writeln!(file, "{}", header.join(","))?;
    for (id, label) in spill.ids.iter().zip(spill.labels()) {
        write!(file, "{},{label}", quoted(id))?;
        for (width, values) in &mut columns {
            for _ in 0..*width {
                write!(file, ",{}", next_f32(values)?)?;
            }
        }
        writeln!(file)?;
    }
    Ok(())
}

/// A field of a csv file.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
