//! One offline HTML file: no request leaves it, it reads on a phone, on paper and in the dark.

mod numbers;
mod page;
mod picture;
mod table;

use super::escape::xml;
use super::number::short;
use super::{slug, svg};
use crate::{Block, Card, Figure, FigureData, Report, Series};

/// Type, room and color of the page.
const STYLE: &str = include_str!("page.css");
/// Words at the pointer, and tables that sort.
const SCRIPT: &str = include_str!("page.js");

/// Numbers of figures and tables run through the page; sections have an id each.
#[derive(Default)]
struct Counters {
    n_figures: usize,
    n_tables: usize,
}

impl Report {
    /// The whole report as one HTML document without any external reference.
    pub fn to_html(&self) -> String {
        let (summary, story) = split_summary(self);
        let mut counters = Counters::default();
        let mut body = String::new();
        let mut contents: Vec<(String, String)> = Vec::new();
        for block in &story {
            if let Block::Heading(text) = block {
                let id = format!("s{}-{}", contents.len() + 1, slug(text));
                if !contents.is_empty() {
                    body.push_str("</section>\n");
                }
                body.push_str(&format!("<section>\n<h2 id=\"{id}\">{}</h2>\n", xml(text)));
                contents.push((id, text.clone()));
                continue;
            }
            body.push_str(&self.block(block, &mut counters));
        }
        if !contents.is_empty() {
            body.push_str("</section>\n");
        }
        if !self.metrics.is_empty() {
            body.push_str(&table::all_metrics(&self.metrics));
            contents.push(("all-metrics".to_owned(), "All metrics".to_owned()));
        }
        contents.push(("provenance".to_owned(), "Provenance".to_owned()));
        page::page(self, &self.cards(&summary), &contents, &body)
    }

    fn block(&self, block: &Block, counters: &mut Counters) -> String {
        match block {
            Block::Heading(_) => String::new(),
            Block::Subheading(text) => format!("<h3>{}</h3>\n", xml(text)),
            Block::Text(text) => prose(text),
            Block::Numbers(cards) => self.cards(cards),
            Block::Table(name) => self.table(name).map_or(String::new(), |table| {
                counters.n_tables += 1;
                table::table(table, counters.n_tables)
            }),
            Block::Figure(name) => self.figure(name).map_or(String::new(), |figure| {
                counters.n_figures += 1;
                figure_element(figure, counters.n_figures)
            }),
        }
    }

    /// Big numbers, each leading to where it comes from.
    fn cards(&self, cards: &[Card]) -> String {
        if cards.is_empty() {
            return String::new();
        }
        let mut out = String::from("<dl class=\"numbers\">\n");
        for Card { label, value, note, table } in cards {
            let (label, value, note) = (xml(label), xml(value), xml(note));
            let value = match (table.is_empty(), self.metrics.is_empty()) {
                (false, _) => format!("<a href=\"#table-{}\">{value}</a>", slug(table)),
                (true, false) => format!("<a href=\"#all-metrics\">{value}</a>"),
                (true, true) => value,
            };
            let note = if note.is_empty() { note } else { format!("<dd class=\"note\">{note}</dd>") };
            out.push_str(&format!("<div><dt>{label}</dt><dd class=\"value\">{value}</dd>{note}</div>\n"));
        }
        out.push_str("</dl>\n");
        out
    }
}

/// The cards for the head of the page, and the story without them: those that stand before the first heading, else
/// up to four metrics that belong to no layer.
fn split_summary(report: &Report) -> (Vec<Card>, Vec<Block>) {
    let mut story = report.reading_order();
    let before_heading = story.iter().take_while(|block| !matches!(block, Block::Heading(_)));
    let first = before_heading.enumerate().find(|(_, block)| matches!(block, Block::Numbers(_)));
    if let Some(idx) = first.map(|(idx, _)| idx)
        && let Block::Numbers(cards) = story.remove(idx)
    {
        return (cards, story);
    }
    if story.iter().any(|block| matches!(block, Block::Numbers(_))) {
        return (Vec::new(), story);
    }
    let overall = report.metrics.iter().filter(|metric| metric.layer.is_none() && metric.head.is_none());
    let cards = overall.take(4).map(|metric| Card::new(&metric.name, short(metric.value), &metric.unit));
    (cards.collect(), story)
}

/// Paragraphs between empty lines, `code` between backquotes.
fn prose(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
    paragraphs.map(|paragraph| format!("<p>{}</p>\n", inline_code(paragraph))).collect()
}

fn inline_code(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let closes = parts.len() % 2 == 1;
    let mut out = String::new();
    for (idx, part) in parts.iter().enumerate() {
        match (idx % 2 == 1, closes || idx + 1 < parts.len()) {
            (true, true) => out.push_str(&format!("<code>{}</code>", xml(part))),
            (true, false) => out.push_str(&format!("`{}", xml(part))),
            (false, _) => out.push_str(&xml(part)),
        }
    }
    out
}

fn figure_element(figure: &Figure, number: usize) -> String {
    let drawing = match &figure.data {
        FigureData::Image(grid) => picture::grid(grid),
        _ => svg::inline(figure),
    };
    // What is drawn leads to its numbers.
    let (drawing, table) = match numbers::below(figure, number) {
        Some(table) => {
            (format!("<a class=\"drawing\" href=\"#{}\">{drawing}</a>", numbers::id(figure)), table)
        }
        None => (drawing, String::new()),
    };
    let id = slug(&figure.name);
    let keys = match &figure.data {
        FigureData::Line(plot) => keys(&plot.series),
        _ => String::new(),
    };
    let (title, caption) = (xml(&figure.title), inline_code(&figure.caption));
    let (described, caption) = match caption.is_empty() {
        true => (String::new(), caption),
        false => (
            format!(" aria-describedby=\"how-{id}\""),
            format!("<p class=\"caption\" id=\"how-{id}\">{caption}</p>\n"),
        ),
    };
    format!(
        "<figure class=\"figure\" id=\"figure-{id}\">\n<figcaption><b>Figure {number}.</b> {title}</figcaption>\n\
         {keys}<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{title}\"{described}>{drawing}</div>\n\
         {caption}{table}</figure>\n"
    )
}

/// Names and colors of lines above a narrow page's drawing, where those at the ends of the lines are out of sight.
fn keys(series: &[Series]) -> String {
    let name = |(idx, one): (usize, &Series)| {
        let (class, _) = svg::series_color(idx);
        format!("<li class=\"{class}\"><i></i>{}</li>", xml(&one.name))
    };
    format!("<ul class=\"keys\">{}</ul>\n", series.iter().enumerate().map(name).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cell, Kind, LinePlot, Metric, Provenance, Table};
    use proptest::prelude::*;

    fn report(word: &str) -> Report {
        let provenance = Provenance {
            recipe: serde_json::json!({ word: word }),
            device: word.into(),
            ..Provenance::default()
        };
        let mut report = Report::new(word, Kind::Probe, word, word, word, provenance);
        report.metrics.push(Metric::new(word, 0.5, word).select(word).param(word, word));
        report.tables.push(Table::new("t", word, [word]).row([Cell::from(word)]).note(word));
        let plot = LinePlot {
            x_label: word.into(),
            y_label: word.into(),
            series: vec![Series::new(word, vec![(0.0, 1.0), (1.0, 2.0)])],
            reference_lines: vec![(word.into(), 1.5)],
        };
        report.figures.push(Figure::new("f", word, word, FigureData::Line(plot)));
        report
    }

    #[test]
    fn the_page_asks_the_network_for_nothing() {
        let html = report("plain").to_html();
        assert!(!html.contains("http://") && !html.contains("https://"));
        assert!(!html.contains("@import") && !html.contains("url(") && !html.contains("<script src"));
        for reference in html.split("href=\"").skip(1).chain(html.split("src=\"").skip(1)) {
            assert!(reference.starts_with("data:") || reference.starts_with('#'), "{:.40}", reference);
        }
        assert!(html.contains("<meta charset=\"utf-8\">") && html.contains("name=\"viewport\""));
        assert!(html.contains("<link rel=\"icon\" href=\"data:,\">"));
    }

    #[test]
    fn cards_before_the_first_heading_stand_in_the_head() {
        let mut report = report("x");
        let cards = vec![Card::new("best", "0.9", "")];
        report.story = vec![Block::Numbers(cards.clone()), Block::Heading("H".into())];
        assert_eq!(split_summary(&report), (cards, vec![Block::Heading("H".into())]));
        report.story.clear();
        assert_eq!(split_summary(&report).0, [Card::new("x", "0.5", "x")]);
    }

    #[test]
    fn cards_and_figures_lead_to_their_numbers() {
        let mut report = report("x");
        report.story = vec![
            Block::Numbers(vec![Card::new("best", "0.9", "").from_table("t"), Card::new("other", "0.8", "")]),
            Block::Figure("f".into()),
            Block::Table("t".into()),
        ];
        let html = report.to_html();
        assert!(
            html.contains("<a href=\"#table-t\">0.9</a>")
                && html.contains("<a href=\"#all-metrics\">0.8</a>")
        );
        assert!(
            html.contains("<a class=\"drawing\" href=\"#numbers-f\">") && html.contains("id=\"numbers-f\"")
        );
        assert!(html.contains("data-r=\"1\"") && html.contains("data-v=\"2\">2"), "{html}");
        report.story = vec![Block::Numbers(vec![Card::new("best", "0.9", "").from_table("none")])];
        assert!(report.check().is_err());
    }

    #[test]
    fn prose_has_paragraphs_and_code() {
        assert_eq!(prose("a `b<` c\n\nd ` e"), "<p>a <code>b&lt;</code> c</p>\n<p>d ` e</p>\n");
    }

    #[test]
    fn ids_and_targets_agree() {
        let html = report("x").to_html();
        for target in html.split("href=\"#").skip(1) {
            let id = target.split('"').next().unwrap_or_default();
            assert!(html.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        // A pair of backquotes becomes `<code>`, which is meant: see `prose_has_paragraphs_and_code`.
        fn no_text_becomes_markup(tail in "[^`\\p{C}]{0,8}") {
            let n_tags = |html: &str| html.matches('<').count();
            let word = format!("<img src=x onerror=alert(1)>\"'&</script>{tail}");
            let html = report(&word).to_html();
            prop_assert!(!html.contains("<img"));
            prop_assert_eq!(html.matches("</script>").count(), 1);
            prop_assert_eq!(n_tags(&html), n_tags(&report("word").to_html()));
        }
    }
}
