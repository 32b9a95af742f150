//! Retrieval: do images of the class of a query come before the others, ranked by the likeness of their features?

use crate::by_layer::{candidates, check_tokens};
use crate::patches::is_held_out;
use crate::scores::{self, Score, Words};
use measure::interval::{mean, t_interval};
use measure::nearest::l2_normalize_rows;
use measure::retrieval::{Kind, average_precision, precision_at, ranks_of_positives};
use ndarray::{Array2, ArrayView2};
use rand::RngExt;
use rayon::prelude::*;
use report::{Info, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_data::Seed;
use vit_features::{Accumulate, Bank, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// The options of [`Retrieval`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrievalConfig {
    /// Tokens asked at every layer: `cls`, `mean`, or both.
    pub tokens: Vec<String>,
    /// Queries, spread evenly over the test side; one in four chooses the layer. Each is ranked against all other test samples.
    pub n_queries: usize,
    /// Numbers of first places whose precision is told; 1, 5 and 10 in revisited Oxford and Paris.
    pub precisions_at: Vec<usize>,
    /// Features beyond this many MiB are kept in temporary files; changes no number.
    pub memory_mib: usize,
}

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self {
            tokens: vec!["cls".into(), "mean".into()],
            n_queries: 600,
            precisions_at: vec![1, 5, 10],
            memory_mib: 2048,
        }
    }
}

impl Recipe for RetrievalConfig {
    fn check(&self) -> Result<(), RecipeError> {
        check_tokens(&self.tokens)?;
        if self.n_queries < 4 {
            return Err(RecipeError::value("n_queries", "at least 4", self.n_queries.to_string()));
        }
        if self.precisions_at.contains(&0) {
            let found = format!("{:?}", self.precisions_at);
            return Err(RecipeError::value("precisions_at", "numbers of at least 1", found));
        }
        Ok(())
    }
}

/// Every query ranks the other test samples by the cosine of their features; those of its class belong to it. The mean of the
/// average precisions, and the mean precision of the first places, as revisited Oxford and Paris count them.
///
/// # Source
/// Radenović et al., Revisiting Oxford and Paris; Caron et al., DINO. *Differs*: the class is what belongs together, nothing is junk;
/// every layer is asked, and the best one is chosen by one query in four, which then does not count.
pub struct Retrieval;

/// The test side's features.
///
/// Memory: `samples · selects · D · 4` bytes, at most `memory_mib` of it in memory.
#[derive(Serialize, Deserialize)]
pub struct RetrievalAcc {
    wanted: Vec<Select>,
    test: Bank,
}

fn value_error(expected: impl Into<String>, found: impl Into<String>) -> StudyError {
    StudyError::Value { study: Retrieval::INFO.name.into(), expected: expected.into(), found: found.into() }
}

impl Accumulate for RetrievalAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        match taken.info.role {
            Role::Train => Ok(()),
            Role::Test => self.test.push(taken, &self.wanted),
        }
    }

    fn merge(&mut self, later: Self) {
        self.test.append(later.test);
    }
}

impl Study for Retrieval {
    const INFO: Info = Info {
        name: "retrieval",
        line: "images of the query's class ranked before the others, at every layer: mean average precision",
        source: "Radenovic et al. 2018 (revisited Oxford and Paris); Caron et al. 2021 (DINO)",
    };
    const PROTOCOL: &'static str = "\
Every query, a test sample, ranks all other test samples by the cosine of their features; those of its class belong to it.
Average precision is summed by trapezes as in revisited Oxford and Paris, and precision at k divides by k or by the last
positive's place where that is less. One query in four chooses the layer and does not count.";
    type Config = RetrievalConfig;
    type Acc = RetrievalAcc;

    fn needs(config: &RetrievalConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let selects = candidates(Self::INFO.name, &config.tokens, shapes)?;
        Ok(Needs { selects, labels: true, ..Needs::default() })
    }

    fn open(config: &RetrievalConfig, shapes: &Shapes) -> RetrievalAcc {
        let wanted = candidates(Self::INFO.name, &config.tokens, shapes).unwrap_or_default();
        RetrievalAcc { wanted, test: Bank::new(Self::INFO.name, config.memory_mib << 20) }
    }

    fn finish(config: &RetrievalConfig, shapes: &Shapes, acc: RetrievalAcc) -> Result<Findings, StudyError> {
        let RetrievalAcc { wanted, test } = acc;
        let labels = test.labels();
        let has_company = |&i: &usize| labels.iter().filter(|&&label| label == labels[i]).count() > 1;
        let n = config.n_queries.min(labels.len());
        let queries: Vec<usize> =
            (0..n).map(|i| (2 * i + 1) * labels.len() / (2 * n)).filter(has_company).collect();
        let (held_out, asked): (Vec<_>, Vec<_>) =
            queries.into_iter().enumerate().partition(|(rank, _)| is_held_out(*rank));
        if held_out.is_empty() || asked.len() < 2 {
            let found = format!("{}", held_out.len() + asked.len());
            return Err(value_error("at least 3 queries that share their class with another sample", found));
        }
        let only =
            |ranked: Vec<(usize, usize)>| ranked.into_iter().map(|(_, query)| query).collect::<Vec<_>>();
        let (held_out, asked) = (only(held_out), only(asked));
        let mut findings = Findings::default();
        let mut scored = Vec::new();
        for select in wanted {
            let (width, values) = test.features(select)?;
            let rows = ArrayView2::from_shape((labels.len(), width), &values)
                .map_err(|error| value_error("as many features as labels", error.to_string()))?;
            let rows = l2_normalize_rows(rows);
            let chosen_by = ranks(&held_out, labels, |query| ranking(&rows, query));
            let found = ranks(&asked, labels, |query| ranking(&rows, query));
            let precisions = averages(&found);
            let at = |k: &usize| mean(&found.iter().map(|ranks| precision_at(ranks, *k)).collect::<Vec<_>>());
            scored.push(Score {
                select,
                held_out: mean(&averages(&chosen_by)),
                test: mean(&precisions),
                interval: t_interval(&precisions),
                beside: config.precisions_at.iter().map(at).collect(),
            });
        }
        let seed = Seed(shapes.seed);
        let by_chance = ranks(&asked, labels, |query| {
            let mut stream = seed.stream("retrieval-chance", &[query as u64]);
            let mut order = others(labels.len(), query);
            for i in (1..order.len()).rev() {
                order.swap(i, stream.random_range(0..=i));
            }
            order
        });
        let names: Vec<String> = config.precisions_at.iter().map(|k| format!("precision_at_{k}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let words = Words {
            study: Self::INFO.name,
            metric: "map",
            title: "Retrieval",
            caption: "Mean average precision: 1 where all images of the query's class come before all others. It asks for the order of all \
                      neighbors, near and far, where kNN asks for the nearest few.",
            settings: format!("{} queries, each ranked against {} samples", asked.len(), labels.len() - 1),
            beside: &names,
            chance: mean(&averages(&by_chance)),
            ceiling: 1.0,
        };
        scores::tell(&words, shapes, &scored, &mut findings)?;
        Ok(findings)
    }
}

fn averages(ranks: &[Vec<usize>]) -> Vec<f64> {
    ranks.iter().map(|ranks| average_precision(ranks)).collect()
}

/// The ranks of the samples of each query's class.
fn ranks(queries: &[usize], labels: &[u32], ranking: impl Fn(usize) -> Vec<u32> + Sync) -> Vec<Vec<usize>> {
    queries
        .par_iter()
        .map(|&query| {
            let kind = |item: u32| {
                if labels[item as usize] == labels[query] { Kind::Positive } else { Kind::Negative }
            };
            ranks_of_positives(&ranking(query), kind)
        })
        .collect()
}

fn others(n: usize, query: usize) -> Vec<u32> {
    (0..n as u32).filter(|&item| item as usize != query).collect()
}

/// All other samples from the most to the least similar, equals in their order.
fn ranking(rows: &Array2<f32>, query: usize) -> Vec<u32> {
    let own = rows.row(query);
    let similarity: Vec<f32> = rows.rows().into_iter().map(|row| row.dot(&own)).collect();
    let mut order = others(rows.nrows(), query);
    order.sort_by(|&a, &b| similarity[b as usize].total_cmp(&similarity[a as usize]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use vit_features::BatchInfo;

    /// A number that looks random, in −0.5 to 0.5.
    fn noise(of: usize) -> f32 {
        let mut z = (of as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }

    /// 60 samples of three classes.
    fn asked(feature: impl Fn(usize, u32) -> [f32; 4]) -> Findings {
        let config = RetrievalConfig { n_queries: 40, ..RetrievalConfig::default() };
        let shapes = Shapes { n_classes: 3, ..Shapes::of_pixels(1) };
        let mut acc = Retrieval::open(&config, &shapes);
        let labels: Vec<Option<u32>> = (0..60).map(|i| Some(i % 3)).collect();
        let indices: Vec<usize> = (0..60).collect();
        let values = (0..60).flat_map(|i| feature(i, i as u32 % 3)).collect();
        let features = BTreeMap::from([(Select::PIXELS, (vec![60, 4], values))]);
        let info = BatchInfo {
            model: 0,
            role: Role::Test,
            first: 0,
            labels: &labels,
            indices: &indices,
            truths: &[],
            boxes: &[],
        };
        acc.batch(&Taken { info, features: &features }).expect("taken");
        Retrieval::finish(&config, &shapes, acc).expect("findings")
    }

    fn value(findings: &Findings, name: &str) -> f64 {
        findings.metrics.iter().find(|metric| metric.name == name).expect(name).value
    }

    #[test]
    fn the_class_itself_is_perfect_and_noise_is_chance() {
        let perfect = asked(|_, class| {
            let mut row = [0.0; 4];
            row[class as usize] = 1.0;
            row
        });
        assert_eq!(value(&perfect, "best.map"), 1.0);
        assert_eq!(value(&perfect, "precision_at_10"), 1.0);
        let noise = asked(|i, _| std::array::from_fn(|d| noise(i * 4 + d)));
        let (found, chance) = (value(&noise, "best.map"), value(&noise, "chance"));
        // 19 of 59 belong to a query.
        assert!((chance - 0.36).abs() < 0.06, "{chance}");
        assert!((found - chance).abs() < 0.08, "{found} and {chance}");
    }
}
