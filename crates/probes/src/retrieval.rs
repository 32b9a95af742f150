//! Retrieval: do images of the class of a query come before the others, ranked by the likeness of their features?

use crate::by_layer::{candidates, check_tokens};
use crate::scores::{self, ChosenBy, Score, Words};
use measure::interval::{mean, t_interval};
use measure::nearest::l2_normalize_rows;
use measure::retrieval::{Kind, average_precision, precision_at, ranks_of_positives};
use ndarray::{Array2, ArrayView2};
use rand::RngExt;
use rayon::prelude::*;
use report::{Info, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use vit_data::Seed;
use vit_features::{Accumulate, Bank, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// The options of [`Retrieval`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrievalConfig {
    /// Tokens asked at every layer: `cls`, `mean`, or both.
    pub tokens: Vec<String>,
    /// Queries, spread evenly over the test side, or over the queries that the data names.
    pub n_queries: usize,
    /// Whether one query in four chooses the layer and does not count; published numbers count all.
    pub hold_out: bool,
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
            hold_out: true,
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

/// Every query ranks the other test samples by the cosine of their features. Where the data has classes, those of its class belong to
/// it; where it has queries of its own, as revisited Oxford and Paris, their lists say what does, and queries are not ranked. Told are
/// the mean of the average precisions, and the mean precision of the first places.
///
/// # Source
/// Radenović et al., Revisiting Oxford and Paris; Caron et al., DINO. *Differs*: every layer is asked, and by default the best one is
/// chosen by one query in four, which then does not count.
pub struct Retrieval;

/// The test side's features.
///
/// Memory: `samples · selects · D · 4` bytes, at most `memory_mib` of it in memory.
#[derive(Serialize, Deserialize)]
pub struct RetrievalAcc {
    wanted: Vec<Select>,
    test: Bank,
    /// The queries that the data names, each with its place in the bank.
    queries: Vec<Listed>,
}

/// A query with lists of what belongs to it, by the indices of the data set.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Listed {
    row: usize,
    easy: Vec<u32>,
    hard: Vec<u32>,
    junk: Vec<u32>,
}

fn value_error(expected: impl Into<String>, found: impl Into<String>) -> StudyError {
    StudyError::Value { study: Retrieval::INFO.name.into(), expected: expected.into(), found: found.into() }
}

impl Accumulate for RetrievalAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        match taken.info.role {
            Role::Train => Ok(()),
            Role::Test => {
                for (image, truth) in taken.info.truths.iter().enumerate() {
                    if let Some(query) = &truth.query {
                        let (easy, hard, junk) = (query.easy.clone(), query.hard.clone(), query.junk.clone());
                        self.queries.push(Listed { row: self.test.len() + image, easy, hard, junk });
                    }
                }
                self.test.push_any(taken, &self.wanted)
            }
        }
    }

    fn merge(&mut self, later: Self) {
        let before = self.test.len();
        self.queries
            .extend(later.queries.into_iter().map(|query| Listed { row: before + query.row, ..query }));
        self.test.append(later.test);
    }
}

impl Study for Retrieval {
    const INFO: Info = Info {
        name: "retrieval",
        line: "images of the query's class, or those that it lists, ranked before the others, at every layer: mean average precision",
        source: "Radenovic et al. 2018 (revisited Oxford and Paris); Caron et al. 2021 (DINO)",
    };
    const PROTOCOL: &'static str = "\
Every query, a test sample, ranks the other test samples by the cosine of their features; those of its class belong to it.
Where the data names its queries (roxford5k, rparis6k), only the database is ranked and lists say what belongs. Medium:
easy and hard images belong and junk is passed over; hard: hard ones belong, easy ones and junk are passed over; easy: easy
ones belong, hard ones and junk are passed over. Average precision is summed by trapezes as in revisited Oxford and Paris,
over queries to which something belongs; precision at k divides by k or by the last positive's place where that is less.
One query in four chooses the layer and does not count, unless hold_out is false.";
    type Config = RetrievalConfig;
    type Acc = RetrievalAcc;

    fn needs(config: &RetrievalConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let selects = candidates(Self::INFO.name, &config.tokens, shapes)?;
        Ok(Needs { selects, company: true, ..Needs::default() })
    }

    fn protocols() -> Vec<(&'static str, &'static str, RetrievalConfig)> {
        let dino =
            RetrievalConfig { tokens: vec!["cls".into()], hold_out: false, ..RetrievalConfig::default() };
        vec![(
            "dino",
            "Caron et al. 2021: class token, one scale, no whitening, medium and hard, precision at 1, 5 and 10, every query counts; \
             norm.cls is the published layer",
            dino,
        )]
    }

    fn open(config: &RetrievalConfig, shapes: &Shapes) -> RetrievalAcc {
        let wanted = candidates(Self::INFO.name, &config.tokens, shapes).unwrap_or_default();
        let test = Bank::new(Self::INFO.name, config.memory_mib << 20);
        RetrievalAcc { wanted, test, queries: Vec::new() }
    }

    fn finish(config: &RetrievalConfig, shapes: &Shapes, acc: RetrievalAcc) -> Result<Findings, StudyError> {
        let RetrievalAcc { wanted, test, queries } = acc;
        let asked = match queries.is_empty() {
            true => by_class(test.labels(), config.n_queries)?,
            false => by_lists(&queries, test.indices(), config.n_queries),
        };
        let (held_out, counting) = scores::halves(&asked.questions, config.hold_out);
        if held_out.is_empty() || counting.len() < 2 {
            let expected = "at least 3 queries to which another sample belongs";
            return Err(StudyError::too_few(Self::INFO.name, expected, asked.questions.len().to_string()));
        }
        let mut findings = Findings::default();
        let mut scored = Vec::new();
        for select in wanted {
            let (width, values) = test.features(select)?;
            let rows = ArrayView2::from_shape((test.len(), width), &values)
                .map_err(|error| value_error("as many features as samples", error.to_string()))?;
            let rows = l2_normalize_rows(rows);
            let ranking = |question: &Question| ranking(&rows, question.row, &asked.database);
            let chosen_by = Answers::of(&held_out, &asked.setups, ranking);
            let found = Answers::of(&counting, &asked.setups, ranking);
            let precisions = found.average_precisions(0);
            scored.push(Score {
                select,
                held_out: mean(&chosen_by.average_precisions(0)),
                test: mean(&precisions),
                interval: t_interval(&precisions),
                beside: found.beside(&config.precisions_at),
            });
        }
        let seed = Seed(shapes.seed);
        let by_chance = Answers::of(&counting, &asked.setups, |question| {
            let mut stream = seed.stream("retrieval-chance", &[question.row as u64]);
            let mut order = others(question.row, &asked.database);
            for i in (1..order.len()).rev() {
                order.swap(i, stream.random_range(0..=i));
            }
            order
        });
        let names = beside_names(&asked.setups, &config.precisions_at);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (n_others, caption) = match queries.is_empty() {
            true => (asked.database.len() - 1, OF_CLASSES),
            false => (asked.database.len(), OF_LISTS),
        };
        let words = Words {
            study: Self::INFO.name,
            metric: "map",
            title: "Retrieval",
            caption,
            settings: format!("{} queries, each ranked against {n_others} samples", counting.len()),
            beside: &names,
            chance: mean(&by_chance.average_precisions(0)),
            ceiling: 1.0,
        };
        scores::tell_as(&words, ChosenBy::of(config.hold_out), shapes, &scored, &mut findings)?;
        Ok(findings)
    }
}

const OF_CLASSES: &str = "Mean average precision: 1 where all images of the query's class come before all others. It asks for the order of \
                          all neighbors, near and far, where kNN asks for the nearest few.";
const OF_LISTS: &str = "Mean average precision (medium): 1 where all images that show what the query shows come before all others; those that \
                        nobody can decide are passed over.";

/// Who is asked, and what belongs.
struct Asked {
    questions: Vec<Question>,
    /// The names of the setups; the first one is the headline's.
    setups: Vec<&'static str>,
    /// The rows that are ranked, ascending; a query among them is not ranked itself.
    database: Vec<u32>,
}

/// A query and what is what for it.
struct Question {
    /// Its place in the bank.
    row: usize,
    /// In each setup, whatever is not negative, by rows, ascending.
    kinds: Vec<Vec<(u32, Kind)>>,
}

/// Every sample asks for its class, where another one has it.
fn by_class(labels: &[u32], n_queries: usize) -> Result<Asked, StudyError> {
    if let Some(row) = labels.iter().position(|&label| label == Bank::UNLABELED) {
        return Err(value_error("a class for every sample, or queries", format!("neither for sample {row}")));
    }
    let question = |row: usize| {
        let others = (0..labels.len()).filter(|&other| other != row && labels[other] == labels[row]);
        Question { row, kinds: vec![others.map(|other| (other as u32, Kind::Positive)).collect()] }
    };
    let questions = spread(labels.len(), n_queries).map(question).filter(Question::has_company);
    Ok(Asked {
        questions: questions.collect(),
        setups: vec![""],
        database: (0..labels.len() as u32).collect(),
    })
}

/// Every query asks for what it lists, of the samples that are there: medium, hard, easy.
fn by_lists(queries: &[Listed], indices: &[usize], n_queries: usize) -> Asked {
    let row_of: HashMap<usize, u32> =
        indices.iter().enumerate().map(|(row, &index)| (index, row as u32)).collect();
    let question = |query: &Listed| {
        let setup = |positive: [&[u32]; 2], junk: [&[u32]; 2]| {
            let of = |lists: [&[u32]; 2], kind: Kind| -> Vec<(u32, Kind)> {
                let rows = lists.concat().into_iter().filter_map(|index| row_of.get(&(index as usize)));
                rows.map(|&row| (row, kind)).collect()
            };
            // What a list calls junk is junk, whatever another one says.
            let mut kinds = of(junk, Kind::Junk);
            kinds.extend(of(positive, Kind::Positive));
            kinds.sort_by_key(|&(row, _)| row);
            kinds.dedup_by_key(|(row, _)| *row);
            kinds
        };
        let (easy, hard, junk) = (&query.easy[..], &query.hard[..], &query.junk[..]);
        let kinds = vec![
            setup([easy, hard], [junk, &[]]),
            setup([hard, &[]], [junk, easy]),
            setup([easy, &[]], [junk, hard]),
        ];
        Question { row: query.row, kinds }
    };
    let is_query: HashSet<usize> = queries.iter().map(|query| query.row).collect();
    Asked {
        questions: spread(queries.len(), n_queries)
            .map(|at| question(&queries[at]))
            .filter(Question::has_company)
            .collect(),
        setups: vec!["medium", "hard", "easy"],
        database: (0..indices.len()).filter(|row| !is_query.contains(row)).map(|row| row as u32).collect(),
    }
}

/// At most `n` of `len` places, at even distances.
fn spread(len: usize, n: usize) -> impl Iterator<Item = usize> {
    let n = n.min(len);
    (0..n).map(move |i| (2 * i + 1) * len / (2 * n))
}

impl Question {
    /// Whether something belongs to it in the first setup.
    fn has_company(&self) -> bool {
        has_positive(&self.kinds[0])
    }
}

fn has_positive(kinds: &[(u32, Kind)]) -> bool {
    kinds.iter().any(|(_, kind)| *kind == Kind::Positive)
}

/// The ranks of what belongs to each query, setup by setup; queries to which nothing belongs are left out of a setup.
struct Answers {
    by_setup: Vec<Vec<Vec<usize>>>,
}

impl Answers {
    fn of(questions: &[&Question], setups: &[&str], ranking: impl Fn(&Question) -> Vec<u32> + Sync) -> Self {
        let of_question = |question: &&Question| -> Vec<Option<Vec<usize>>> {
            let ranking = ranking(question);
            let ranks = |kinds: &Vec<(u32, Kind)>| {
                let kind = |item: u32| match kinds.binary_search_by_key(&item, |&(row, _)| row) {
                    Ok(at) => kinds[at].1,
                    Err(_) => Kind::Negative,
                };
                has_positive(kinds).then(|| ranks_of_positives(&ranking, kind))
            };
            question.kinds.iter().map(ranks).collect()
        };
        let of_questions: Vec<Vec<Option<Vec<usize>>>> = questions.par_iter().map(of_question).collect();
        let of_setup = |setup: usize| of_questions.iter().filter_map(|ranks| ranks[setup].clone()).collect();
        Self { by_setup: (0..setups.len()).map(of_setup).collect() }
    }

    fn average_precisions(&self, setup: usize) -> Vec<f64> {
        self.by_setup[setup].iter().map(|ranks| average_precision(ranks)).collect()
    }

    /// What is told beside the headline, in the order of [`beside_names`].
    fn beside(&self, precisions_at: &[usize]) -> Vec<f64> {
        let mut beside = Vec::new();
        for (setup, ranks) in self.by_setup.iter().enumerate() {
            if self.by_setup.len() > 1 {
                beside.push(mean_or_zero(&self.average_precisions(setup)));
            }
            let at = |&k: &usize| {
                mean_or_zero(&ranks.iter().map(|ranks| precision_at(ranks, k)).collect::<Vec<_>>())
            };
            beside.extend(precisions_at.iter().map(at));
        }
        beside
    }
}

/// The mean; 0 where there is no query of a setup.
fn mean_or_zero(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { mean(values) }
}

/// `map_SETUP` and `precision_at_K_SETUP`; without setups only `precision_at_K`.
fn beside_names(setups: &[&str], precisions_at: &[usize]) -> Vec<String> {
    let mut names = Vec::new();
    for setup in setups {
        let after = if setup.is_empty() { String::new() } else { format!("_{setup}") };
        if setups.len() > 1 {
            names.push(format!("map{after}"));
        }
        names.extend(precisions_at.iter().map(|k| format!("precision_at_{k}{after}")));
    }
    names
}

fn others(query: usize, database: &[u32]) -> Vec<u32> {
    database.iter().copied().filter(|&item| item as usize != query).collect()
}

/// The database from the most to the least similar, equals in their order.
fn ranking(rows: &Array2<f32>, query: usize, database: &[u32]) -> Vec<u32> {
    let own = rows.row(query);
    let mut order = others(query, database);
    let similarity: Vec<f32> = rows.rows().into_iter().map(|row| row.dot(&own)).collect();
    order.sort_by(|&a, &b| similarity[b as usize].total_cmp(&similarity[a as usize]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{noise, show, value};
    use vit_data::{Query, Truth};

    /// Asks samples with these truths.
    fn asked(config: &RetrievalConfig, truths: &[Truth], feature: impl Fn(usize) -> [f32; 4]) -> Findings {
        let shapes = Shapes { n_classes: 3, ..Shapes::of_pixels(1) };
        let acc_of = |range: std::ops::Range<usize>| {
            let mut acc = Retrieval::open(config, &shapes);
            let values = range.clone().flat_map(&feature).collect();
            show(&mut acc, (Role::Test, range.start), &truths[range], 1.0, (Select::PIXELS, &[4], values));
            acc
        };
        // In two parts, which join to the whole.
        let mut acc = acc_of(0..truths.len() / 2);
        acc.merge(acc_of(truths.len() / 2..truths.len()));
        Retrieval::finish(config, &shapes, acc).expect("findings")
    }

    /// 60 samples of three classes.
    fn of_classes(feature: impl Fn(usize, u32) -> [f32; 4]) -> Findings {
        let config = RetrievalConfig { n_queries: 40, ..RetrievalConfig::default() };
        let truths: Vec<Truth> = (0..60).map(|i| Truth { label: Some(i % 3), ..Truth::default() }).collect();
        asked(&config, &truths, |i| feature(i, i as u32 % 3))
    }

    #[test]
    fn the_class_itself_is_perfect_and_noise_is_chance() {
        let perfect = of_classes(|_, class| {
            let mut row = [0.0; 4];
            row[class as usize] = 1.0;
            row
        });
        assert_eq!(value(&perfect, "best.map"), 1.0);
        assert_eq!(value(&perfect, "precision_at_10"), 1.0);
        let noise = of_classes(|i, _| std::array::from_fn(|d| noise(i * 4 + d)));
        let (found, chance) = (value(&noise, "best.map"), value(&noise, "chance"));
        // 19 of 59 belong to a query.
        assert!((chance - 0.36).abs() < 0.06, "{chance}");
        assert!((found - chance).abs() < 0.08, "{found} and {chance}");
    }

    #[test]
    fn queries_with_lists_rank_the_database_alone() {
        // Eight photographs at growing angles from both queries, and the queries, which are like each other.
        let query = |easy: &[u32], hard: &[u32], junk: &[u32]| {
            let [easy, hard, junk] = [easy, hard, junk].map(<[u32]>::to_vec);
            Truth { query: Some(Query { easy, hard, junk }), ..Truth::default() }
        };
        let mut truths = vec![Truth::default(); 8];
        truths.extend([query(&[1], &[3], &[0]), query(&[0, 2], &[], &[1])]);
        let angle = |i: usize| if i < 8 { 0.1 * (i + 1) as f32 } else { 0.0 };
        let config = RetrievalConfig { hold_out: false, ..RetrievalConfig::default() };
        let found = asked(&config, &truths, |i| [angle(i).cos(), angle(i).sin(), 0.0, 0.0]);
        // The ranking is 0, 1, … for both. First query: medium, without 0, ranks 0 and 2; hard, without 0 and 1, rank 1; easy, without 0
        // and 3, rank 0. Second: medium and easy, without 1, ranks 0 and 1; it has nothing hard.
        let ap = |ranks: &[usize]| average_precision(ranks);
        let close = |name: &str, expected: f64| {
            assert!((value(&found, name) - expected).abs() < 1e-12, "{name}: {}", value(&found, name));
        };
        close("map_medium", 0.5 * (ap(&[0, 2]) + ap(&[0, 1])));
        close("map", value(&found, "map_medium"));
        close("map_hard", ap(&[1]));
        close("map_easy", 1.0);
        close("precision_at_1_medium", 1.0);
        // Two of the first three, where the last positive stands; then both of two.
        close("precision_at_5_medium", 0.5 * (2.0 / 3.0 + 1.0));
        close("precision_at_5_hard", 0.5);
        let note = &found.tables[0].note;
        assert!(note.contains("2 queries, each ranked against 8 samples"), "{note}");
        assert!(note.contains("the best on what counts"), "{note}");
    }

    #[test]
    fn too_few_queries_and_samples_that_nothing_is_known_of_are_refused() {
        let finish = |truths: &[Truth]| {
            let shapes = Shapes::of_pixels(1);
            let config = RetrievalConfig::default();
            let mut acc = Retrieval::open(&config, &shapes);
            let values = vec![1.0; 4 * truths.len()];
            show(&mut acc, (Role::Test, 0), truths, 1.0, (Select::PIXELS, &[4], values));
            Retrieval::finish(&config, &shapes, acc).expect_err("refused")
        };
        let of = |label: Option<u32>| Truth { label, ..Truth::default() };
        assert!(matches!(finish(&[of(Some(0)), of(Some(0)), of(Some(1))]), StudyError::TooFew { .. }));
        let message = finish(&[of(Some(0)), of(None)]).to_string();
        assert!(
            message.contains("a class for every sample, or queries; found neither for sample 1"),
            "{message}"
        );
    }
}
