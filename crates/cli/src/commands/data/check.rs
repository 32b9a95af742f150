//! `data check`: every sample is read, and what is missing or malformed is said.

use super::survey::Survey;
use crate::args::Saying;
use crate::names::{self, Names};
use crate::outcome::{Done, Stop};
use crate::progress;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vit_data::{DataError, Dataset, Split};

/// What `--help` shows below the options.
pub(super) const EXAMPLES: &str = "\
Malformed or missing, exit code 2: a sample that cannot be read, a label that is no class, truth of another size than
its picture, a visible point outside it, two samples of one name, a class without training samples.
Worth knowing, exit code 0: the same picture twice, within a split or in both.

Examples:
  vitscope data check folder:photos
  vitscope data check cifar10:cifar --split test --json";

/// How many faults are printed; all of them are in the JSON document.
const N_PRINTED: usize = 20;

/// The options of `data check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The data, as a URI
    #[arg(value_name = "DATA", value_parser = Names(names::datasets), hide_possible_values = true)]
    data: String,
    /// Which samples
    #[arg(long, value_name = "SPLIT", value_parser = ["train", "test", "all"], default_value = "all")]
    split: String,
    /// Seed of a split that has to be made, and of generated data
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Threads that decode [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// How it is said.
    #[command(flatten)]
    pub(super) saying: Saying,
}

/// One split that was looked at.
struct Checked {
    name: String,
    split: &'static str,
    classes: Vec<String>,
    survey: Survey,
}

/// Reads everything; the second is the sentence to fail with, where something is malformed.
pub(super) fn run(args: &Args) -> anyhow::Result<(Done, Option<String>)> {
    let n_threads = match args.threads {
        Some(n_threads) => usize::from(n_threads),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let wanted: &[(&str, Split)] = match args.split.as_str() {
        "train" => &[("train", Split::Train)],
        "test" => &[("test", Split::Test)],
        _ => &[("train", Split::Train), ("test", Split::Test)],
    };
    let (mut checked, mut lines) = (Vec::new(), Vec::new());
    for &(split_name, split) in wanted {
        let data = match vit_data::open(&args.data, split, args.seed) {
            Ok(data) => data,
            // A data set may have one of the two only; that both are absent is an error.
            Err(error @ DataError::Missing { .. }) if args.split == "all" => {
                lines.push(format!("{split_name}: none ({error})"));
                if lines.len() == wanted.len() {
                    return Err(error.into());
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let mut survey = read_all(data.as_ref(), n_threads);
        if progress::interrupted() {
            return Err(Stop::again("nothing was written").into());
        }
        survey.finish();
        // A small class has nothing to hold out; without a training sample it is no class.
        if split == Split::Train {
            survey.finish_classes(data.classes());
        }
        checked.push(Checked {
            name: data.name(),
            split: split_name,
            classes: data.classes().to_vec(),
            survey,
        });
    }
    let Saying { quiet, verbose, .. } = args.saying;
    let n_printed = if verbose { usize::MAX } else { N_PRINTED };
    for one in &checked {
        lines.extend(describe(one));
        if verbose {
            lines.extend(classes_of(one));
        }
    }
    let twice = twice(&checked);
    for ids in twice.iter().take(n_printed) {
        lines.push(format!("the same picture: {}", ids.join(", ")));
    }
    if twice.len() > n_printed {
        lines.push(format!("and {} more pictures that occur twice", twice.len() - n_printed));
    }
    let faults: Vec<String> = checked
        .iter()
        .flat_map(|one| {
            one.survey.faults.iter().map(|fault| format!("{}: {}: {}", one.split, fault.sample, fault.reason))
        })
        .collect();
    if quiet {
        lines.clear();
    }
    lines.extend(faults.iter().take(n_printed).map(|fault| format!("malformed: {fault}")));
    if faults.len() > n_printed {
        lines.push(format!("and {} more", faults.len() - n_printed));
    }
    let n: usize = checked.iter().map(|one| one.survey.n).sum();
    if faults.is_empty() && !quiet {
        lines.push(format!("sound: {n} samples"));
    }
    let json = json!({
        "data": args.data,
        "sound": faults.is_empty(),
        "n_samples": n,
        "splits": checked.iter().map(json_of).collect::<Vec<_>>(),
        "same_picture": twice,
    });
    let failed = faults.first().map(|first| {
        format!(
            "data: expected nothing missing or malformed; found {} in {n} samples, first {first}: {}",
            faults.len(),
            args.data
        )
    });
    Ok((Done { path: None, lines, json, metrics: Vec::new() }, failed))
}

/// Every sample, by several threads, each with a run of samples; joined in their order.
fn read_all(data: &dyn Dataset, n_threads: usize) -> Survey {
    let n = data.len();
    let share = n.div_ceil(n_threads).max(1);
    let starts: Vec<usize> = (0..n).step_by(share).collect();
    std::thread::scope(|scope| {
        let parts: Vec<_> = starts
            .iter()
            .map(|&start| {
                scope.spawn(move || Survey::of(data, start..(start + share).min(n), progress::interrupted))
            })
            .collect();
        let mut whole = Survey::default();
        for part in parts {
            match part.join() {
                Ok(survey) => whole.join(survey),
                Err(payload) => std::panic::resume_unwind(payload),
            }
        }
        whole
    })
}

/// Lines about a split: samples, classes, sizes.
fn describe(checked: &Checked) -> Vec<String> {
    let Checked { name, classes, survey, .. } = checked;
    let mut lines = vec![format!("{name}: {} samples, {} classes", survey.n, classes.len())];
    let counts: Vec<usize> =
        survey.of_class.iter().filter(|(label, _)| label.is_some()).map(|(_, &n)| n).collect();
    if let (Some(fewest), Some(most)) = (counts.iter().min(), counts.iter().max()) {
        lines.push(format!("  samples of a class: {fewest} to {most}"));
    }
    let mut sizes: Vec<(&(usize, usize), &usize)> = survey.of_size.iter().collect();
    sizes.sort_by(|a, b| b.1.cmp(a.1));
    let shown: Vec<String> = sizes.iter().take(4).map(|((w, h), n)| format!("{w} × {h} px ({n})")).collect();
    let more = if sizes.len() > 4 { format!(" and {} other sizes", sizes.len() - 4) } else { String::new() };
    lines.push(format!("  pictures: {}{more}", shown.join(", ")));
    lines
}

/// Every class with how many samples it has.
fn classes_of(checked: &Checked) -> Vec<String> {
    let name = |label: &Option<u32>| match label {
        Some(label) => checked.classes.get(*label as usize).cloned().unwrap_or_else(|| label.to_string()),
        None => "without a class".to_owned(),
    };
    checked.survey.of_class.iter().map(|(label, n)| format!("    {}: {n}", name(label))).collect()
}

/// Names of samples that show the same picture, split and all.
fn twice(checked: &[Checked]) -> Vec<Vec<String>> {
    let mut of_picture: BTreeMap<[u8; 16], Vec<String>> = BTreeMap::new();
    for one in checked {
        for (picture, ids) in &one.survey.of_picture {
            let named = ids.iter().map(|id| {
                if id.starts_with(one.split) { id.clone() } else { format!("{}: {id}", one.split) }
            });
            of_picture.entry(*picture).or_default().extend(named);
        }
    }
    let mut twice: Vec<Vec<String>> = of_picture.into_values().filter(|ids| ids.len() > 1).collect();
    twice.sort();
    twice
}

fn json_of(checked: &Checked) -> Value {
    let Checked { name, split, classes, survey } = checked;
    let class_of = |label: Option<u32>| label.and_then(|label| classes.get(label as usize).cloned());
    json!({
        "name": name,
        "split": split,
        "n_samples": survey.n,
        "classes": survey.of_class.iter().map(|(label, n)| json!({"label": label, "name": class_of(*label), "n": n})).collect::<Vec<_>>(),
        "sizes": survey.of_size.iter().map(|((w, h), n)| json!({"width_px": w, "height_px": h, "n": n})).collect::<Vec<_>>(),
        "faults": survey.faults.iter().map(|fault| json!({"sample": fault.sample, "reason": fault.reason})).collect::<Vec<_>>(),
    })
}
