//! Medians, ratios, and the table in the book.

use super::rows::{ROWS, Row};
use super::side::Run;

/// What a row gave.
pub(crate) struct Measured {
    name: &'static str,
    /// The cells after the name, or why there are none.
    cells: Result<Cells, String>,
    work: &'static str,
    against: &'static str,
    target: f64,
    versions: String,
}

struct Cells {
    ours: Run,
    peer: Run,
    our_peak: u64,
    peer_peak: u64,
    difference: f64,
}

impl Measured {
    pub(crate) fn of(
        row: &'static Row,
        (ours, our_peak): (&[Run], u64),
        (peer, peer_peak): (&[Run], u64),
        difference: f64,
        versions: String,
    ) -> Self {
        let cells = Cells { ours: medians(ours), peer: medians(peer), our_peak, peer_peak, difference };
        let Row { name, work, against, target, .. } = *row;
        Self { name, cells: Ok(cells), work, against, target, versions }
    }

    pub(crate) fn absent(row: &'static Row, library: String) -> Self {
        let Row { name, work, against, target, .. } = *row;
        Self {
            name,
            cells: Err(format!("peer not installed: {library}")),
            work,
            against,
            target,
            versions: String::new(),
        }
    }

    /// The row of the table.
    pub(crate) fn line(&self) -> String {
        let Self { name, work, against, target, .. } = self;
        match &self.cells {
            Err(why) => format!("| `{name}` | {work} | {against} | – | – | {why} | ≥ {target} | – | – | – |"),
            Ok(Cells { ours, peer, our_peak, peer_peak, difference }) => format!(
                "| `{name}` | {work} | {against} | {} | {} | **{:.2}** | ≥ {target} | {} | {} | {difference:.0e} |",
                secs(ours.wall_secs),
                secs(peer.wall_secs),
                peer.wall_secs / ours.wall_secs,
                ratio(peer.cpu_secs / ours.cpu_secs),
                peaks(*our_peak, *peer_peak),
            ),
        }
    }
}

/// The median of each time.
fn medians(runs: &[Run]) -> Run {
    let median = |of: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
    };
    Run { wall_secs: median(|run| run.wall_secs), cpu_secs: median(|run| run.cpu_secs) }
}

fn secs(secs: f64) -> String {
    if secs < 1.0 { format!("{:.0} ms", 1e3 * secs) } else { format!("{secs:.2} s") }
}

fn ratio(value: f64) -> String {
    if value.is_finite() { format!("{value:.2}") } else { "–".into() }
}

fn peaks(ours: u64, peer: u64) -> String {
    if ours == 0 || peer == 0 { "–".into() } else { format!("{} / {} MB", ours >> 20, peer >> 20) }
}

const BEGIN: &str = "<!-- cargo xtask bench writes from here -->";
const END: &str = "<!-- to here -->";
const HEAD: &str = "| row | work | against | ours | peer | peer / ours | target | the same in CPU time | peak memory, ours / peer | outputs differ by |\n\
                    |---|---|---|---|---|---|---|---|---|---|";

/// The page with the rows measured now, and those of before that were not measured again.
///
/// # Errors
/// When the page has no place for the table.
pub(crate) fn written(page: &str, measured: &[Measured], machine: &str) -> Result<String, String> {
    let place = || -> Option<(usize, usize)> {
        let from = page.find(BEGIN)? + BEGIN.len();
        Some((from, from + page[from..].find(END)?))
    };
    let (from, to) = place().ok_or(format!("performance.md: expected `{BEGIN}` and `{END}`; found none"))?;
    let before: Vec<&str> = page[from..to].lines().collect();
    let kept = |name: &str| before.iter().find(|line| line.starts_with(&format!("| `{name}` |")));
    let mut lines = vec![String::new(), machine.to_owned()];
    let mut versions: Vec<&str> = measured.iter().flat_map(|row| row.versions.split(',')).collect();
    versions.retain(|version| !version.is_empty());
    versions.sort_unstable();
    versions.dedup();
    if !versions.is_empty() {
        lines.push(format!("The other side: {}.", versions.join(", ").replace('=', " ")));
    }
    lines.extend([String::new(), HEAD.to_owned()]);
    for row in &ROWS {
        match (measured.iter().find(|found| found.name == row.name), kept(row.name)) {
            (Some(found), _) => lines.push(found.line()),
            (None, Some(line)) => lines.push((*line).to_owned()),
            (None, None) => {}
        }
    }
    lines.push(String::new());
    Ok(format!("{}{}\n{}", &page[..from], lines.join("\n"), &page[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(wall_secs: f64) -> Run {
        Run { wall_secs, cpu_secs: 2.0 * wall_secs }
    }

    #[test]
    fn medians_are_of_the_middle() {
        assert_eq!(medians(&[run(3.0), run(1.0), run(2.0)]), run(2.0));
        assert_eq!(medians(&[run(3.0), run(1.0)]), run(2.0));
    }

    #[test]
    fn rows_measured_again_take_the_place_of_the_old() {
        let page = format!("# Page\n{BEGIN}\n{END}\nend\n");
        let (first, second) = (&ROWS[0], &ROWS[1]);
        let measured = |row, ours: f64| {
            Measured::of(row, (&[run(ours)], 1 << 20), (&[run(3.0)], 2 << 20), 1e-6, "a=1".into())
        };
        let page =
            written(&page, &[measured(first, 1.0), measured(second, 2.0)], "Machine.").expect("has a place");
        assert!(
            page.contains("**3.00**") && page.contains("**1.50**") && page.contains("1 / 2 MB"),
            "{page}"
        );
        let page = written(&page, &[measured(first, 6.0)], "Machine.").expect("has a place");
        assert!(
            page.contains("**0.50**") && page.contains("**1.50**") && !page.contains("**3.00**"),
            "{page}"
        );
        assert!(page.ends_with("end\n") && page.contains("a 1."));
        assert!(written("# Page", &[], "").is_err());
    }
}
