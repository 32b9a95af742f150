//! The page around the story: head, contents, provenance.

use super::{SCRIPT, STYLE};
use crate::render::escape::xml;
use crate::render::number::duration;
use crate::render::svg;
use crate::{Kind, Report};
use serde_json::Value;

/// What the browser is told to refuse: every request, whatever the page says.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'";

/// The whole document.
pub(super) fn page(report: &Report, summary: &str, contents: &[(String, String)], body: &str) -> String {
    let title = xml(&report.title);
    let links: String =
        contents.iter().map(|(id, text)| format!("<li><a href=\"#{id}\">{}</a></li>\n", xml(text))).collect();
    let figure_style = svg::STYLE;
    let head = format!(
        "<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{figure_style}{STYLE}</style>\n"
    );
    let models = if report.kind == Kind::Compare { "Models" } else { "Model" };
    let facts = format!(
        "<dl class=\"facts\">\n<div><dt>{models}</dt><dd>{}</dd></div>\n<div><dt>Data</dt><dd>{}</dd></div>\n</dl>\n",
        xml(&report.model),
        xml(&report.data)
    );
    let mut kicker = vec!["vitscope", report.kind.name(), report.study.as_str()];
    kicker.dedup();
    let head_block = format!(
        "<header>\n<p class=\"kind\">{}</p>\n<h1>{title}</h1>\n{facts}{summary}</header>\n",
        xml(&kicker.join(" · "))
    );
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n{head}</head>\n<body>\n<div class=\"page\">\n{head_block}\
         <nav aria-label=\"Contents\">\n<p>Contents</p>\n<ol>\n{links}</ol>\n</nav>\n<main>\n{body}</main>\n{}</div>\n\
         <div id=\"tip\" role=\"status\" hidden></div>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        footer(report)
    )
}

fn footer(report: &Report) -> String {
    let from = &report.provenance;
    let mut facts = vec![
        ("Version", from.version.clone()),
        ("Seed", from.seed.to_string()),
        ("Device", from.device.clone()),
        ("Kernels", from.kernel_path.clone()),
        ("Time", duration(from.elapsed_secs)),
        ("Weights", from.weights_sha256.clone().map_or(String::new(), |digest| format!("sha256 {digest}"))),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    let mut out = String::from("<footer>\n<h2 id=\"provenance\">Provenance</h2>\n<dl class=\"facts\">\n");
    for (name, value) in facts {
        out.push_str(&format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", xml(&value)));
    }
    for (name, value) in &from.extra {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        out.push_str(&format!("<div><dt>{}</dt><dd>{}</dd></div>\n", xml(name), xml(&value)));
    }
    out.push_str("</dl>\n");
    if from.recipe != Value::Null {
        let text = recipe_text(&from.recipe);
        out.push_str(&format!(
            "<details>\n<summary>Recipe</summary>\n<pre>{}</pre>\n</details>\n",
            xml(&text)
        ));
    }
    out.push_str("</footer>\n");
    out
}

/// The recipe as TOML, which is how it is written; as JSON where TOML cannot say it.
fn recipe_text(recipe: &Value) -> String {
    let as_toml =
        toml::Table::try_from(without_nulls(recipe)).and_then(|table| toml::to_string_pretty(&table));
    as_toml.unwrap_or_else(|_| serde_json::to_string_pretty(recipe).unwrap_or_default())
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_shown_as_toml_where_it_can_be() {
        let recipe = serde_json::json!({"epochs": 3, "mask": {"ratio": 0.75, "none": null}});
        assert_eq!(recipe_text(&recipe), "epochs = 3\n\n[mask]\nratio = 0.75\n");
        assert_eq!(recipe_text(&serde_json::json!([1])), "[\n  1\n]");
    }
}
