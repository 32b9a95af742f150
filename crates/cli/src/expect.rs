//! `--expect 'top1[layer=11,k=20]>=0.7'`: what is stated of the numbers, and whether it holds.

use crate::outcome::Stop;
use anyhow::{anyhow, bail};
use report::recipe::letters_apart;
use report::{Metric, short_number};
use serde_json::Value;
use std::collections::BTreeSet;

/// How a number is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    AtLeast,
    AtMost,
    Below,
    Above,
    Equal,
}

/// Longer signs first, so that `>=` is not read as `>`.
const OPS: &[(&str, Op)] =
    &[(">=", Op::AtLeast), ("<=", Op::AtMost), ("==", Op::Equal), ("<", Op::Below), (">", Op::Above)];

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expectation {
    text: String,
    name: String,
    /// `layer`, `head`, `select`, or a parameter, with its value.
    index: Vec<(String, String)>,
    op: Op,
    bound: f64,
}

const SYNTAX: &str =
    "NAME[KEY=VALUE,…] with >=, <=, <, > or == and a number, such as top1[layer=11,k=20]>=0.7";

/// Reads statements, before anything is computed.
///
/// # Errors
/// When one is not written as they are.
pub(crate) fn parse(texts: &[String]) -> anyhow::Result<Vec<Expectation>> {
    texts
        .iter()
        .map(|text| one(text).ok_or_else(|| anyhow!("--expect: expected {SYNTAX}; found `{text}`")))
        .collect()
}

fn one(text: &str) -> Option<Expectation> {
    // The operator stands after the index, whose `=` are not meant.
    let from = text.find(']').map_or(0, |at| at + 1);
    let (at, sign, op) = text.char_indices().filter(|(at, _)| *at >= from).find_map(|(at, _)| {
        OPS.iter().find(|(sign, _)| text[at..].starts_with(sign)).map(|(sign, op)| (at, *sign, *op))
    })?;
    let bound: f64 = text[at + sign.len()..].trim().parse().ok().filter(|bound: &f64| bound.is_finite())?;
    let place = text[..at].trim();
    let (name, index) = match place.split_once('[') {
        Some((name, index)) => (name, index.strip_suffix(']')?),
        None => (place, ""),
    };
    let pairs = index.split(',').filter(|pair| !pair.trim().is_empty());
    let pairs =
        pairs.map(|pair| pair.split_once('=').map(|(key, value)| (key.trim().into(), value.trim().into())));
    let index = pairs.collect::<Option<Vec<(String, String)>>>()?;
    (!name.trim().is_empty()).then(|| Expectation {
        text: text.to_owned(),
        name: name.trim().to_owned(),
        index,
        op,
        bound,
    })
}

/// Checks every statement against the numbers.
///
/// # Errors
/// When no number fits one (the nearest names are told); [`Stop::NotHeld`] when one does not hold.
pub(crate) fn check(expectations: &[Expectation], metrics: &[Metric]) -> anyhow::Result<()> {
    for expectation in expectations {
        let meant: Vec<&Metric> = metrics.iter().filter(|metric| expectation.means(metric)).collect();
        if meant.is_empty() {
            bail!(
                "--expect: expected a number of the report; found none for `{}`; {}",
                expectation.text,
                nearest(expectation, metrics)
            );
        }
        if let Some(metric) = meant.iter().find(|metric| !expectation.holds(metric.value)) {
            let found = format!("{} = {}", place(metric), metric.value);
            return Err(Stop::NotHeld(format!("expected {}; found {found}", expectation.text)).into());
        }
    }
    Ok(())
}

impl Expectation {
    fn means(&self, metric: &Metric) -> bool {
        metric.name == self.name && self.index.iter().all(|(key, value)| has(metric, key, value))
    }

    fn holds(&self, value: f64) -> bool {
        match self.op {
            Op::AtLeast => value >= self.bound,
            Op::AtMost => value <= self.bound,
            Op::Below => value < self.bound,
            Op::Above => value > self.bound,
            Op::Equal => value == self.bound,
        }
    }
}

fn has(metric: &Metric, key: &str, value: &str) -> bool {
    let number = |found: Option<usize>| found.is_some_and(|found| value.parse() == Ok(found));
    match key {
        "layer" => number(metric.layer),
        "head" => number(metric.head),
        "select" => metric.select.as_deref() == Some(value),
        _ => match metric.params.get(key) {
            Some(Value::Number(found)) => found.as_f64() == value.parse().ok(),
            Some(Value::String(found)) => found == value,
            Some(Value::Bool(found)) => value.parse() == Ok(*found),
            _ => false,
        },
    }
}

/// A number's name as a statement writes it.
pub(crate) fn place(metric: &Metric) -> String {
    let mut at: Vec<String> = Vec::new();
    at.extend(metric.layer.map(|layer| format!("layer={layer}")));
    at.extend(metric.head.map(|head| format!("head={head}")));
    at.extend(metric.select.as_ref().map(|select| format!("select={select}")));
    for (key, value) in &metric.params {
        at.push(match value {
            Value::String(text) => format!("{key}={text}"),
            other => format!("{key}={other}"),
        });
    }
    if at.is_empty() { metric.name.clone() } else { format!("{}[{}]", metric.name, at.join(",")) }
}

/// The numbers spelled most alike: of the same name if there are any, else the names there are.
fn nearest(expectation: &Expectation, metrics: &[Metric]) -> String {
    let same: Vec<&Metric> = metrics.iter().filter(|metric| metric.name == expectation.name).collect();
    let mut known: Vec<String> = if same.is_empty() {
        metrics.iter().map(|metric| metric.name.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    } else {
        same.into_iter().map(place).collect()
    };
    let asked = expectation.text.split(['>', '<']).next().unwrap_or_default();
    known.sort_by_key(|name| letters_apart(asked, name));
    known.dedup();
    match known.len() {
        0 => "the report has no numbers".to_owned(),
        _ => format!("nearest: {}", known[..known.len().min(4)].join(", ")),
    }
}

/// A line about a number for people.
pub(crate) fn line(metric: &Metric) -> String {
    let unit = if metric.unit == "ratio" || metric.unit == metric.name {
        String::new()
    } else {
        format!(" {}", metric.unit)
    };
    format!("{} = {}{unit}", place(metric), short_number(metric.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Vec<Metric> {
        vec![
            Metric::new("top1", 0.75, "ratio").layer(11).select("block11.cls").param("k", 20u64),
            Metric::new("top1", 0.65, "ratio").layer(11).select("block11.mean").param("k", 20u64),
            Metric::new("best.top1", 0.75, "ratio"),
        ]
    }

    fn check_one(text: &str) -> Result<(), String> {
        let parsed = parse(&[text.to_owned()]).map_err(|error| error.to_string())?;
        check(&parsed, &metrics()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_number_that_fits_must_hold() {
        assert_eq!(check_one("top1[layer=11,k=20,select=block11.cls]>=0.7"), Ok(()));
        assert_eq!(check_one("top1[layer=11, k=20] >= 0.6"), Ok(()));
        let error = check_one("top1[layer=11,k=20]>=0.7").expect_err("0.65 is below");
        assert!(error.contains("select=block11.mean,k=20] = 0.65"), "{error}");
        assert_eq!(check_one("best.top1>=0.5"), Ok(()));
        assert_eq!(check_one("best.top1==0.75"), Ok(()));
        assert_eq!(check_one("best.top1<1"), Ok(()));
        assert!(check_one("best.top1>0.75").is_err());
        assert!(check_one("best.top1<=0.74").is_err());
    }

    #[test]
    fn a_number_that_is_not_there_is_named_with_its_neighbors() {
        assert!(check_one("top1[layer=12]>=0").expect_err("no layer 12").contains("top1[layer=11"));
        assert!(check_one("best.top2>=0").expect_err("no top2").contains("nearest: best.top1"));
    }

    #[test]
    fn what_is_not_a_statement_is_refused() {
        for text in ["top1", "top1>=", "top1>=x", ">=1", "top1[layer]>=1", "top1[layer=1>=1", "topé[ü=1≥2"]
        {
            assert!(check_one(text).expect_err(text).contains("--expect: expected NAME"), "{text}");
        }
    }
}
