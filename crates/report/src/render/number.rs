//! Digits for people: three or four that matter, the same number of decimals down a column.

use crate::Cell;

/// A number in three (below 1) or four significant digits, without trailing zeros: `0.913`, `12.35`, `1.2e-5`.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return value.to_string();
    }
    if size.fract() == 0.0 && size < 1e7 {
        return minus(format!("{value:.0}"));
    }
    if !(1e-4..1e7).contains(&size) {
        let (digits, power) = split_power(&format!("{value:.2e}"));
        return minus(format!("{}e{power}", trim_zeros(&digits)));
    }
    let n_digits = if size < 1.0 { 3 } else { 4 };
    let decimals = (n_digits - 1 - magnitude(size)).clamp(0, 9);
    minus(trim_zeros(&fixed(value, decimals)).to_owned())
}

/// How many decimals a column wants so that its largest number shows three or four digits.
pub(crate) fn decimals_of(values: impl Iterator<Item = f64>) -> i32 {
    let greatest =
        values.filter(|value| value.is_finite()).fold(0.0_f64, |most, value| most.max(value.abs()));
    if greatest == 0.0 {
        return 0;
    }
    // Ratios keep three decimals from 0.02 on, so that small ones line up with the large ones of the next column.
    if (0.02..1.0).contains(&greatest) {
        return 3;
    }
    let n_digits = if greatest < 1.0 { 3 } else { 4 };
    (n_digits - 1 - magnitude(greatest)).clamp(0, 5)
}

/// A column's cells as text: numbers with common decimals, whatever would lose all its digits in [`short`] form.
pub(crate) fn column(cells: &[&Cell]) -> Vec<String> {
    let numbers = cells.iter().filter_map(|cell| match cell {
        Cell::Number(value) => Some(*value),
        _ => None,
    });
    let decimals = decimals_of(numbers);
    let floor = 10_f64.powi(-decimals);
    let text = |cell: &&Cell| match cell {
        Cell::Number(value) if *value != 0.0 && (value.abs() < floor || value.abs() >= 1e7) => short(*value),
        Cell::Number(value) => minus(fixed(*value, decimals)),
        Cell::Int(value) => minus(value.to_string()),
        Cell::Text(text) => text.clone(),
        Cell::Empty => "–".to_owned(),
    };
    cells.iter().map(text).collect()
}

/// With that many decimals; negative zero is zero.
pub(crate) fn fixed(value: f64, decimals: i32) -> String {
    let text = format!("{value:.*}", usize::try_from(decimals).unwrap_or(0));
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|c| matches!(c, b'0' | b'.')) => rest.to_owned(),
        _ => text,
    }
}

/// A typographic minus.
pub(crate) fn minus(text: String) -> String {
    match text.strip_prefix('-') {
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

/// A duration: `0.8 s`, `42 s`, `3 min 05 s`, `2 h 07 min`.
pub(crate) fn duration(secs: f64) -> String {
    if secs < 10.0 {
        return format!("{} s", fixed(secs, 1));
    }
    let whole = secs.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// ⌊log₁₀ size⌋, from the printed exponent and so without rounding trouble.
fn magnitude(size: f64) -> i32 {
    split_power(&format!("{size:.3e}")).1
}

fn split_power(scientific: &str) -> (String, i32) {
    let (digits, power) = scientific.split_once('e').unwrap_or((scientific, "0"));
    (digits.to_owned(), power.parse().unwrap_or(0))
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_keeps_the_digits_that_matter() {
        for (value, expected) in [
            (0.0, "0"),
            (0.9134, "0.913"),
            (0.5, "0.5"),
            (1.0, "1"),
            (12.3456, "12.35"),
            (1234.56, "1235"),
            (48000.0, "48000"),
            (0.99996, "1"),
            (0.000_123_4, "0.000123"),
            (0.000_012_34, "1.23e-5"),
            (2.5e9, "2.5e9"),
            (-0.25, "−0.25"),
        ] {
            assert_eq!(short(value), expected, "{value}");
        }
    }

    #[test]
    fn a_column_shares_its_decimals() {
        let cells =
            [Cell::Number(0.9134), 0.5.into(), Cell::Number(0.0), 0.00042.into(), Cell::Empty, 3.into()];
        let text = column(&cells.iter().collect::<Vec<_>>());
        assert_eq!(text, ["0.913", "0.500", "0.000", "0.00042", "–", "3"]);
        let cells = [Cell::Number(1.0), Cell::Number(0.0834)];
        assert_eq!(column(&cells.iter().collect::<Vec<_>>()), ["1.000", "0.083"]);
        let cells = [Cell::Number(0.0587), Cell::Number(-0.0063), Cell::Number(0.0003)];
        assert_eq!(column(&cells.iter().collect::<Vec<_>>()), ["0.059", "−0.006", "0.0003"]);
        let cells = [Cell::Number(0.0042), Cell::Number(0.0180)];
        assert_eq!(column(&cells.iter().collect::<Vec<_>>()), ["0.0042", "0.0180"]);
        let cells = [Cell::Number(1234.5), Cell::Number(-2.25)];
        assert_eq!(column(&cells.iter().collect::<Vec<_>>()), ["1234", "−2"]);
    }

    #[test]
    fn durations_read_like_a_clock() {
        assert_eq!(
            [duration(0.84), duration(42.4), duration(185.0), duration(7630.0)],
            ["0.8 s", "42 s", "3 min 05 s", "2 h 07 min"]
        );
    }

    proptest! {
        #[test]
        fn short_is_close_to_the_value(value in -1e12_f64..1e12) {
            let read: f64 = short(value).replace('−', "-").parse().expect("a number");
            prop_assert!((read - value).abs() <= 0.006 * value.abs());
        }
    }
}
