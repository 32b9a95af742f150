//! Which numbers stand on an axis, and how they are written.

use crate::render::number::{fixed, minus};

/// Round numbers at equal steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ticks {
    pub(crate) values: Vec<f64>,
    pub(crate) step: f64,
}

/// Ticks inside `[low, high]`, about `n_wanted` of them, at a step of 1, 2, 2.5 or 5 times a power of ten.
pub(crate) fn inside(low: f64, high: f64, n_wanted: usize, whole: bool) -> Ticks {
    let step = step_for(high - low, n_wanted, whole);
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    Ticks { values: multiples(first, last, step), step }
}

/// Ticks whose first and last enclose `[low, high]`.
pub(crate) fn enclosing(low: f64, high: f64, n_wanted: usize) -> Ticks {
    let step = step_for(high - low, n_wanted, false);
    let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
    Ticks { values: multiples(first, last.max(first + 1.0), step), step }
}

/// Least and greatest of some numbers; apart even if they are equal, 0 to 1 if there are none.
pub(crate) fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    if high - low > 1e-12 * low.abs().max(high.abs()) {
        return (low, high);
    }
    let room = if low == 0.0 { 0.5 } else { low.abs() * 0.1 };
    (low - room, high + room)
}

impl Ticks {
    /// As they stand on the axis: common decimals, thousands as `k`, millions as `M`.
    pub(crate) fn labels(&self) -> Vec<String> {
        let greatest = self.values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        if self.step < 1e-5 || greatest >= 1e10 {
            return self
                .values
                .iter()
                .map(|value| if *value == 0.0 { "0".to_owned() } else { minus(format!("{value:e}")) })
                .collect();
        }
        let (unit, suffix) = match () {
            () if greatest >= 1e6 && self.step >= 1e4 => (1e6, "M"),
            () if greatest >= 1e4 && self.step >= 100.0 => (1e3, "k"),
            () => (1.0, ""),
        };
        let step = self.step / unit;
        let decimals = (0..9).find(|decimals| is_whole(step * 10_f64.powi(*decimals))).unwrap_or(9);
        let label = |value: &f64| match *value {
            0.0 => "0".to_owned(),
            value => minus(format!("{}{suffix}", fixed(value / unit, decimals))),
        };
        self.values.iter().map(label).collect()
    }
}

fn step_for(span: f64, n_wanted: usize, whole: bool) -> f64 {
    let raw = (span / n_wanted.max(1) as f64).max(f64::MIN_POSITIVE * 1e10);
    let power = 10_f64.powf(raw.log10().floor());
    let factor =
        [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|factor| factor * power >= raw * 0.999).unwrap_or(10.0);
    let step = factor * power;
    if !whole {
        return step;
    }
    if step <= 1.0 { 1.0 } else { step.ceil() }
}

/// `first·step … last·step`, each rounded to the decimals of the step so that 0.3 is 0.3.
fn multiples(first: f64, last: f64, step: f64) -> Vec<f64> {
    let n_values = (last - first).clamp(0.0, 1000.0) as usize + 1;
    let text = |idx: usize| format!("{:.12e}", (first + idx as f64) * step);
    (0..n_values).map(|idx| text(idx).parse().unwrap_or(0.0)).map(|value: f64| value + 0.0).collect()
}

fn is_whole(value: f64) -> bool {
    (value - value.round()).abs() < 1e-6 * value.abs().max(1e-300)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(inside(0.0, 11.0, 12, true).values, (0..=11).map(f64::from).collect::<Vec<_>>());
        assert_eq!(inside(0.0, 1.0, 5, false).values, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(enclosing(0.07, 0.93, 5).values, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(enclosing(-3.0, 12.0, 4).values, [-5.0, 0.0, 5.0, 10.0, 15.0]);
        assert_eq!(inside(0.0, 23.0, 8, true).step, 5.0);
    }

    #[test]
    fn labels_share_decimals_and_shorten_thousands() {
        let labels = |low, high, n| inside(low, high, n, false).labels();
        assert_eq!(labels(0.0, 1.0, 4), ["0", "0.25", "0.50", "0.75", "1.00"]);
        assert_eq!(labels(0.0, 300_000.0, 3), ["0", "100k", "200k", "300k"]);
        assert_eq!(labels(-2.0, 2.0, 4), ["−2", "−1", "0", "1", "2"]);
        assert_eq!(labels(0.0, 4e-6, 2), ["0", "2e-6", "4e-6"]);
    }

    #[test]
    fn an_extent_is_never_empty() {
        assert_eq!(extent([].into_iter()), (0.0, 1.0));
        assert_eq!(extent([0.0].into_iter()), (-0.5, 0.5));
        assert_eq!(extent([2.0, 2.0].into_iter()), (1.8, 2.2));
    }

    proptest! {
        #[test]
        fn enclosing_ticks_enclose(low in -1e6_f64..1e6, span in 1e-6_f64..1e6, n in 2_usize..10) {
            let ticks = enclosing(low, low + span, n);
            let (first, last) = (ticks.values[0], ticks.values[ticks.values.len() - 1]);
            let slack = 1e-6 * ticks.step;
            prop_assert!(first <= low + slack && last >= low + span - slack);
            prop_assert!(ticks.values.len() <= n + 3, "{:?}", ticks);
        }
    }
}
