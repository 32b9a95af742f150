//! Few-shot classification: how much can be told from a handful of labeled samples a class, layer by layer?

mod config;

pub use config::{Classifier, FewShotConfig, Normalize, Prototypes, Regression};

use crate::by_layer::{self, Scored, Words, at, candidates};
use measure::interval::{mean, t_interval};
use measure::linear::logistic::{Stop, fit};
use measure::linear::{Linear, Samples, ranking};
use measure::nearest::l2_normalized;
use ndarray::{Array2, Axis};
use rand::RngExt;
use rayon::prelude::*;
use report::{Block, Cell, Info, Metric, Table, short_number};
use serde::{Deserialize, Serialize};
use vit_data::{Seed, Stream};
use vit_features::{Accumulate, Bank, Findings, Needs, Role, Select, Shapes, Study, StudyError, Taken};

/// Classification from a few labeled samples a class, many times over.
///
/// An episode draws classes, `shots` labeled samples of each from the training side, and queries from the test side; its
/// score is the share of queries that a classifier of the labeled samples gets right. Told are the mean over
/// episodes and Student's 95 % interval. Episodes depend on the seed and the labels alone: every layer and every model
/// is asked the same ones.
///
/// # Source
/// Snell et al. (prototypes); Wang et al., SimpleShot (centering and length); Tian et al. (logistic regression).
/// *Differs*: the best layer is chosen by queries from the training side that are not among an episode's labeled samples.
pub struct FewShot;

impl Classifier {
    /// Learns the classes `labels` of the rows `of`.
    fn learn(&self, rows: &Array2<f32>, labels: &[u32], of: &[usize], n_ways: usize) -> Linear {
        match self {
            Self::Prototypes(_) => prototypes(rows, labels, of, n_ways),
            Self::Logistic(regression) => {
                let stop = Stop { gradient: regression.tolerance, max_steps: regression.max_steps };
                let lambda = 1.0 / (of.len() as f64 * regression.c);
                let samples = Samples { rows: rows.view(), labels, of };
                fit(&samples, lambda, Linear::zeros(n_ways, rows.ncols()), stop)
            }
        }
    }
}

/// The nearest mean is the largest of `2 m_c · x − ‖m_c‖²`: a linear classifier.
fn prototypes(rows: &Array2<f32>, labels: &[u32], of: &[usize], n_ways: usize) -> Linear {
    let mut linear = Linear::zeros(n_ways, rows.ncols());
    let mut counts = vec![0usize; n_ways];
    for &i in of {
        let class = labels[i] as usize;
        counts[class] += 1;
        linear.weights.row_mut(class).zip_mut_with(&rows.row(i), |sum, &x| *sum += f64::from(x));
    }
    for ((mut mean, bias), count) in linear.weights.rows_mut().into_iter().zip(&mut linear.bias).zip(counts) {
        mean /= count.max(1) as f64;
        *bias = -mean.iter().map(|x| x * x).sum::<f64>();
        mean *= 2.0;
    }
    linear
}

/// Features of both sides.
///
/// Memory: `samples · selects · D · 4` bytes, of each side at most `memory_mib`; what is beyond goes to temporary files.
#[derive(Serialize, Deserialize)]
pub struct FewShotAcc {
    wanted: Vec<Select>,
    train: Bank,
    test: Bank,
}

fn value_error(expected: impl Into<String>, found: String) -> StudyError {
    StudyError::Value { study: FewShot::INFO.name.into(), expected: expected.into(), found }
}

impl Accumulate for FewShotAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        let side = match taken.info.role {
            Role::Train => &mut self.train,
            Role::Test => &mut self.test,
        };
        side.push(taken, &self.wanted)
    }

    fn merge(&mut self, later: Self) {
        self.train.append(later.train);
        self.test.append(later.test);
    }
}

/// One draw of classes, labeled samples and queries.
struct Episode {
    /// The classes, in the order in which the classifier counts them.
    classes: Vec<usize>,
    /// Labeled samples of the training side.
    support: Vec<usize>,
    /// Samples of the training side that are asked about, none of them labeled.
    held_out: Vec<usize>,
    /// Samples of the test side that are asked about.
    test: Vec<usize>,
}

/// `n` of them, drawn without return; all where there are fewer. The drawn ones leave `from`.
fn draw(stream: &mut Stream, from: &mut Vec<usize>, n: usize) -> Vec<usize> {
    let n = n.min(from.len());
    (0..n)
        .map(|_| {
            let at = stream.random_range(0..from.len() as u64) as usize;
            from.swap_remove(at)
        })
        .collect()
}

impl Episode {
    fn draw(
        stream: &mut Stream,
        config: &FewShotConfig,
        shots: usize,
        train: &[Vec<usize>],
        test: &[Vec<usize>],
    ) -> Self {
        // Only classes that can be asked about.
        let mut classes: Vec<usize> = (0..train.len()).filter(|&class| !test[class].is_empty()).collect();
        if config.n_ways > 0 {
            classes = draw(stream, &mut classes, config.n_ways);
            classes.sort_unstable();
        }
        let mut episode = Self { classes, support: Vec::new(), held_out: Vec::new(), test: Vec::new() };
        for &class in &episode.classes {
            let mut rest = train[class].clone();
            episode.support.extend(draw(stream, &mut rest, shots));
            episode.held_out.extend(draw(stream, &mut rest, config.n_queries));
            episode.test.extend(draw(stream, &mut test[class].clone(), config.n_queries));
        }
        episode
    }
}

/// The samples of each class, in the order of the data.
fn by_class(labels: &[u32], n_classes: usize) -> Vec<Vec<usize>> {
    let mut by_class = vec![Vec::new(); n_classes];
    for (i, &label) in labels.iter().enumerate() {
        by_class[label as usize].push(i);
    }
    by_class
}

/// Accuracies of every episode with a number of labeled samples, at one select.
struct Answer {
    shots: usize,
    held_out: Vec<f64>,
    test: Vec<f64>,
}

impl Study for FewShot {
    const INFO: Info = Info {
        name: "few-shot",
        line: "classification from a few labeled samples a class, at every layer",
        source: "Snell et al. 2017; Wang et al. 2019 (SimpleShot); Tian et al. 2020",
    };
    const PROTOCOL: &'static str = "\
An episode draws n labeled training samples of each class and asks test samples of the same classes; episodes depend on the
seed and the labels alone, so that every layer and model is asked the same ones. The score is the mean over episodes with
Student's 95 % interval. The best layer is chosen by queries from the training side.";
    type Config = FewShotConfig;
    type Acc = FewShotAcc;

    fn protocols() -> Vec<(&'static str, &'static str, FewShotConfig)> {
        FewShotConfig::protocols()
    }

    fn needs(config: &FewShotConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let selects = candidates(Self::INFO.name, &config.tokens, shapes)?;
        Ok(Needs { sites: Vec::new(), selects, train: true, labels: true, ..Needs::default() })
    }

    fn open(config: &FewShotConfig, shapes: &Shapes) -> FewShotAcc {
        // What the model cannot have was refused by `needs`.
        let wanted = candidates(Self::INFO.name, &config.tokens, shapes).unwrap_or_default();
        let bank = || Bank::new(Self::INFO.name, config.memory_mib.saturating_mul(1 << 20));
        FewShotAcc { wanted, train: bank(), test: bank() }
    }

    fn small() -> FewShotConfig {
        FewShotConfig { shots: vec![1, 5], n_queries: 4, n_episodes: 8, ..FewShotConfig::default() }
    }

    fn finish(config: &FewShotConfig, shapes: &Shapes, acc: FewShotAcc) -> Result<Findings, StudyError> {
        let FewShotAcc { wanted, train, test } = acc;
        let n_classes = by_layer::n_classes(shapes, &train, &test);
        let (of_train, of_test) = (by_class(train.labels(), n_classes), by_class(test.labels(), n_classes));
        let n_askable = of_test.iter().filter(|samples| !samples.is_empty()).count();
        if n_askable < config.n_ways.max(2) {
            let expected = format!("test samples of at least {} classes", config.n_ways.max(2));
            return Err(StudyError::too_few(Self::INFO.name, expected, format!("of {n_askable}")));
        }
        let most = config.shots.iter().copied().max().unwrap_or(1);
        for (class, samples) in of_train.iter().enumerate().filter(|(class, _)| !of_test[*class].is_empty()) {
            if samples.len() <= most {
                let expected = format!("more than {most} training samples of every class (shots)");
                let class = by_layer::class_name(shapes, class);
                let found = format!("{} of {class}", samples.len());
                return Err(StudyError::too_few(Self::INFO.name, expected, found));
            }
        }
        let episodes: Vec<(usize, Vec<Episode>)> = config
            .shots
            .iter()
            .map(|&shots| {
                let one = |episode: usize| {
                    let counters = [shots as u64, episode as u64];
                    let mut stream = Seed(shapes.seed).stream("few-shot", &counters);
                    Episode::draw(&mut stream, config, shots, &of_train, &of_test)
                };
                (shots, (0..config.n_episodes).map(one).collect())
            })
            .collect();
        let mut answers = Vec::with_capacity(wanted.len());
        for select in wanted {
            answers.push((select, ask(config, select, (&train, &test), &episodes)?));
        }
        let n_ways = if config.n_ways > 0 { config.n_ways } else { n_askable };
        findings(config, shapes, &answers, n_ways)
    }
}

/// Features of both sides, normalized alike.
fn features(
    config: &FewShotConfig,
    select: Select,
    (train, test): (&Bank, &Bank),
) -> Result<[Array2<f32>; 2], StudyError> {
    let matrix = |bank: &Bank| {
        let (width, values) = bank.features(select)?;
        Array2::from_shape_vec((bank.len(), width), values)
            .map_err(|error| value_error("as many features as labels", error.to_string()))
    };
    let mut sides = [matrix(train)?, matrix(test)?];
    if config.normalize == Normalize::CenteredL2 {
        let mut center = vec![0.0f64; sides[0].ncols()];
        for row in sides[0].rows() {
            center.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        center.iter_mut().for_each(|sum| *sum /= sides[0].nrows() as f64);
        for side in &mut sides {
            for mut row in side.axis_iter_mut(Axis(0)) {
                row.iter_mut().zip(&center).for_each(|(x, center)| *x = (f64::from(*x) - center) as f32);
            }
        }
    }
    Ok(match config.normalize {
        Normalize::None => sides,
        Normalize::L2 | Normalize::CenteredL2 => sides.map(l2_normalized),
    })
}

fn ask(
    config: &FewShotConfig,
    select: Select,
    (train, test): (&Bank, &Bank),
    episodes: &[(usize, Vec<Episode>)],
) -> Result<Vec<Answer>, StudyError> {
    let [train_rows, test_rows] = features(config, select, (train, test))?;
    let score = |episode: &Episode| -> (f64, f64) {
        // Classes as the episode counts them; what is not in it is not asked.
        let place = |label: u32| episode.classes.binary_search(&(label as usize)).unwrap_or(0) as u32;
        let labels: Vec<u32> = train.labels().iter().map(|&label| place(label)).collect();
        let n_ways = episode.classes.len();
        let classifier = config.classifier.learn(&train_rows, &labels, &episode.support, n_ways);
        let accuracy = |rows: &Array2<f32>, of: &[usize], bank: &Bank| {
            let ranking = ranking(classifier.scores(rows.view(), of).view(), 1);
            let predicted = ranking.column(0);
            let right = predicted.iter().zip(of).filter(|(class, i)| **class == place(bank.labels()[**i]));
            right.count() as f64 / of.len().max(1) as f64
        };
        (accuracy(&train_rows, &episode.held_out, train), accuracy(&test_rows, &episode.test, test))
    };
    let answer = |(shots, episodes): &(usize, Vec<Episode>)| {
        let (held_out, test) = episodes.par_iter().map(score).unzip();
        Answer { shots: *shots, held_out, test }
    };
    Ok(episodes.iter().map(answer).collect())
}

fn findings(
    config: &FewShotConfig,
    shapes: &Shapes,
    answers: &[(Select, Vec<Answer>)],
    n_ways: usize,
) -> Result<Findings, StudyError> {
    let mut findings = Findings::default();
    let kind = config.classifier.kind();
    let mut scored = Vec::new();
    let mut columns = vec!["features".to_owned()];
    columns.extend(config.shots.iter().flat_map(|shots| [format!("{shots}-shot top-1"), "±".to_owned()]));
    let mut table = Table::new("by_shots", "Accuracy by the number of labeled samples", columns);
    for (select, answers) in answers {
        let mut row = vec![Cell::from(select.to_string())];
        for Answer { shots, held_out, test } in answers {
            let (top1, interval) = (mean(test), t_interval(test));
            for (name, value) in [("top1", top1), ("top1_low", interval.low), ("top1_high", interval.high)] {
                let metric = at(Metric::new(name, value, "ratio"), *select, shapes);
                findings.metrics.push(metric.param("shots", *shots as u64).param("classifier", kind));
            }
            row.extend([Cell::from(top1), Cell::from(0.5 * (interval.high - interval.low))]);
            if *shots == config.headline_shots {
                let params = vec![("shots", (*shots as u64).into()), ("classifier", kind.into())];
                scored.push(Scored {
                    select: *select,
                    held_out: mean(held_out),
                    test: top1,
                    interval,
                    params,
                    right: None,
                });
            }
        }
        table.push(row);
    }
    let classifier = match &config.classifier {
        Classifier::Prototypes(_) => "the nearest class mean".to_owned(),
        Classifier::Logistic(regression) => {
            format!("logistic regression with C = {}", short_number(regression.c))
        }
    };
    let settings = format!(
        "{n_ways} classes, {} labeled samples of each, {classifier}, {} episodes with up to {} queries a class",
        config.headline_shots, config.n_episodes, config.n_queries
    );
    let words = Words {
        study: FewShot::INFO.name,
        title: "Few-shot",
        caption: format!(
            "Mean share of queries that {classifier} gets right after {} labeled samples of each of {n_ways} classes, \
             over {} episodes. It asks how little it takes to name what the features already tell apart, not what \
             a classifier could learn from many samples.",
            config.headline_shots, config.n_episodes
        ),
        settings,
        intervals: "Intervals are Student's over episodes: they speak of other draws of labeled samples, not of other models",
        chosen: None,
    };
    by_layer::tell(&words, shapes, n_ways, &scored, &mut findings)?;
    findings.tables.push(table.note("±: half of Student's 95 % interval of the mean over episodes."));
    findings.story.push(Block::Table("by_shots".into()));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_nearest_mean_by_hand() {
        // Means (1, 0) of rows 0 and 1, (0, 3) of row 2. The point (.6, .9): distances² .97 and 4.77.
        let rows = array![[0.0f32, 0.0], [2.0, 0.0], [0.0, 3.0], [0.6, 0.9], [0.0, 2.0]];
        let linear = prototypes(&rows, &[0, 0, 1, 0, 0], &[0, 1, 2], 2);
        assert_eq!(
            (linear.weights.clone(), linear.bias.clone()),
            (array![[2.0, 0.0], [0.0, 6.0]], array![-1.0, -9.0])
        );
        let ranking = ranking(linear.scores(rows.view(), &[3, 4]).view(), 1);
        assert_eq!(ranking, array![[0], [1]]);
    }

    #[test]
    fn episodes_repeat_have_the_shots_asked_for_and_never_ask_about_what_was_labeled() {
        let labels: Vec<u32> = (0..80).map(|i| i % 4).collect();
        let classes = by_class(&labels, 4);
        let config = FewShotConfig { n_ways: 3, n_queries: 4, ..FewShotConfig::default() };
        let episode = |counter: u64| {
            let mut stream = Seed(0).stream("few-shot", &[5, counter]);
            Episode::draw(&mut stream, &config, 5, &classes, &classes)
        };
        let mut ways = std::collections::BTreeSet::new();
        for counter in 0..20 {
            let Episode { classes, support, held_out, test } = episode(counter);
            assert_eq!((support.len(), held_out.len(), test.len()), (15, 12, 12));
            for (place, class) in classes.iter().enumerate() {
                assert!(support[5 * place..5 * place + 5].iter().all(|&i| labels[i] as usize == *class));
            }
            assert!(held_out.iter().all(|i| !support.contains(i)));
            assert_eq!(episode(counter).support, support);
            ways.insert(classes);
        }
        assert_eq!(ways.len(), 4, "every choice of three of four classes comes up");
    }
}
