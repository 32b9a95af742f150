//! The report in a real browser: drawn, touched, measured on a phone and on a desk, in the light and in the dark.
//!
//! It needs a Chromium in `PATH`; where there is none, it says that it was left out.

#[path = "../examples/tour.rs"]
#[allow(dead_code, reason = "an example has a main")]
mod tour;

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Measures a page and leaves what it found as JSON.
const CHECK: &str = include_str!("browser/check.js");

/// Room for rounding, in pixels.
const ROUNDING_PX: f64 = 1.0;
/// The least contrast of text, as the Web Content Accessibility Guidelines ask for.
const LEAST_CONTRAST: f64 = 4.5;

/// The first Chromium of the usual names.
fn chromium() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        let mut command = Command::new(name);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// Says it past the capture of test output, so that a test that was left out is seen.
fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}"); // Nobody to tell when that fails.
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Light,
    Dark,
}

/// What the browser saw.
struct Seen {
    /// What the check found.
    found: Value,
    /// Lines of the console.
    console: Vec<String>,
    /// Addresses that were asked for, but for the file itself.
    requests: Vec<String>,
}

/// Opens a page in the browser and checks it; nothing where there is no browser.
fn look(html: &str, scheme: Scheme) -> Option<Seen> {
    let Some(browser) = chromium() else {
        say(
            "left out: no Chromium (chromium, chromium-browser or google-chrome) in PATH; the report was not looked at",
        );
        return None;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let page = dir.path().join("check.html");
    // No `</script>` may end the string early.
    let report = Value::from(html).to_string().replace("</", "<\\/").replace("<!--", "<\\!--");
    let text = format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<body>\n<script>const REPORT = {report};\n{CHECK}</script>\n"
    );
    std::fs::write(&page, text).expect("a page");
    let net_log = dir.path().join("net.json");
    let output = browse(browser, dir.path(), &page, &net_log, scheme);
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let result = dom.split_once("<pre id=\"result\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let Some((result, _)) = result else { panic!("the browser did not finish: {dom:.2000}\n{stderr}") };
    let result =
        result.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&");
    let found: Value = serde_json::from_str(&result).expect("JSON from the check");
    assert_eq!(found["failed"], Value::Null, "{}", found["failed"]);
    let console = stderr.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    Some(Seen { found, console, requests: requests(&net_log) })
}

fn browse(browser: &str, dir: &Path, page: &Path, net_log: &Path, scheme: Scheme) -> std::process::Output {
    let scheme = if scheme == Scheme::Dark { 0 } else { 1 };
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--disable-dev-shm-usage", "--enable-logging=stderr", "--dump-dom"]);
    // Nothing may reach a network, whatever a page asks for.
    command.arg("--host-resolver-rules=MAP * ~NOTFOUND");
    command.arg("--window-size=1400,1000").arg("--virtual-time-budget=60000");
    command.arg(format!("--blink-settings=preferredColorScheme={scheme}"));
    command.arg(format!("--user-data-dir={}", dir.join("profile").display()));
    command.arg(format!("--log-net-log={}", net_log.display()));
    command.arg(format!("file://{}", page.display()));
    command.stdin(Stdio::null()).output().expect("the browser runs")
}

/// Every address that a page asked for, by the browser's own log of its network: events that say which origin began
/// them. What the browser asks for on its own account (its clock, its updates) begins at none.
fn requests(net_log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(net_log).expect("a log of the network");
    let value = |line: &str, key: &str| {
        let (_, rest) = line.split_once(&format!("\"{key}\":\""))?;
        rest.split('"').next().map(str::to_owned)
    };
    // The browser may be gone before its log is closed; every event stands on a line of its own.
    let begun = text.lines().filter_map(|line| Some((value(line, "initiator")?, value(line, "url")?)));
    let mut all: Vec<String> =
        begun.filter(|(initiator, _)| initiator != "not an origin").map(|(_, address)| address).collect();
    all.sort();
    all.dedup();
    all
}

/// Relative luminance of `rgb(r, g, b)`.
fn luminance(color: &Value) -> f64 {
    let text = color.as_str().expect("a color");
    let inner = text.trim_start_matches("rgb(").trim_end_matches(')');
    let channels: Vec<f64> = inner.split(',').map(|part| part.trim().parse().expect("a channel")).collect();
    let linear = |channel: f64| {
        let c = channel / 255.0;
        if c <= 0.03928 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(channels[0]) + 0.7152 * linear(channels[1]) + 0.0722 * linear(channels[2])
}

fn contrast(a: &Value, b: &Value) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// What a person may expect of a page, in one scheme.
fn reads_well(seen: &Seen, scheme: Scheme, figures: &[(&str, bool)]) {
    assert!(seen.console.is_empty(), "the console is silent: {:?}", seen.console);
    assert!(seen.requests.is_empty(), "nothing is asked for: {:?}", seen.requests);
    let pages = seen.found["pages"].as_array().expect("two widths");
    assert_eq!(
        pages.iter().map(|page| page["width"].as_f64()).collect::<Vec<_>>(),
        [Some(390.0), Some(1280.0)]
    );
    for page in pages {
        let width = &page["width"];
        assert!(
            page["overflow_px"].as_f64().expect("a number") <= 0.0,
            "{width} px: {}",
            page["overflow_px"]
        );
        for nothing in ["beyond_the_edge", "collisions", "requests", "dangling"] {
            assert_eq!(page[nothing], Value::Array(Vec::new()), "{width} px: {nothing}");
        }
        assert_eq!(page["contents"]["in_sight_at_the_end"].as_bool(), Some(width.as_f64() > Some(1000.0)));
        assert!(page["contents"]["links"].as_u64() >= Some(2), "{}", page["contents"]);
        for table in page["tables"].as_array().expect("tables") {
            assert!(table["scrolls"] == "auto" && table["wider_than_page"] == false, "{width} px: {table}");
        }
        assert_ne!(page["sorts"]["before"], page["sorts"]["after"], "a click on a head sorts");
        let drawn = page["figures"].as_array().expect("figures");
        let ids: Vec<&str> = drawn.iter().filter_map(|figure| figure["id"].as_str()).collect();
        assert_eq!(
            ids,
            figures.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            "every figure is there, in order"
        );
        for (figure, (id, speaks)) in drawn.iter().zip(figures) {
            is_a_figure(figure, &format!("{width} px, {id}"), *speaks);
        }
        let colors = &page["colors"];
        assert_eq!(luminance(&colors["background"]) < 0.1, scheme == Scheme::Dark, "{colors}");
        for text in ["ink", "soft", "link"] {
            let contrast = contrast(&colors[text], &colors["background"]);
            assert!(contrast >= LEAST_CONTRAST, "{scheme:?}: {text} has a contrast of {contrast:.2}");
        }
    }
}

/// A figure has a size, names itself, and says its values to the pointer and to the keyboard.
fn is_a_figure(figure: &Value, place: &str, speaks: bool) {
    let side = |name: &str| figure[name].as_f64().expect("a number");
    assert!(side("width") >= 100.0 && side("height") >= 60.0, "{place}: {figure}");
    assert!(side("width") <= 1280.0 + ROUNDING_PX, "{place}: {}", figure["width"]);
    assert_eq!(figure["images"], figure["images_shown"], "{place}: pictures are shown");
    assert_eq!(figure["unnamed"], 0, "{place}: everything has a name for those who do not see it");
    if !speaks {
        assert!(figure["images"].as_u64() > Some(0), "{place}: pictures");
        return;
    }
    let hovers = figure["hovers"].as_array().expect("hovers");
    assert_eq!(hovers.len(), 3, "{place}");
    for hover in hovers {
        let shown = hover["shown"].as_str().unwrap_or_else(|| panic!("{place}: {hover}"));
        assert!(shown.chars().any(|c| c.is_ascii_digit()), "{place}: a value in `{shown}`");
        assert_eq!(hover["inside"], true, "{place}: the words stay inside the page: {hover}");
    }
    // Where marks lie over one another the nearest one to be seen answers; the first and the last stand alone.
    assert!(hovers.iter().any(|hover| hover["shown"] == hover["wanted"]), "{place}: {hovers:?}");
    assert_eq!(figure["rests"], true, "{place}: the words go when the pointer goes");
    assert_eq!(figure["leads"], true, "{place}: a click on a mark opens its numbers");
    let keys = figure["keys"].as_array().expect("keys");
    assert_eq!(figure["focused"], true, "{place}: the figure takes the focus");
    assert!(keys[..3].iter().all(Value::is_string) && keys[3].is_null(), "{place}: {keys:?}");
    assert_ne!(keys[0], keys[1], "{place}: the arrow goes on to the next value");
}

/// The figures of the example report, and whether values stand in them.
const FIGURES: [(&str, bool); 5] = [
    ("figure-knn-by-layer", true),
    ("figure-by-class", true),
    ("figure-attention-distance", true),
    ("figure-distance-by-head", true),
    ("figure-reconstructions", false),
];

#[test]
fn the_report_reads_well_in_the_light() {
    if let Some(seen) = look(&tour::tour().to_html(), Scheme::Light) {
        reads_well(&seen, Scheme::Light, &FIGURES);
    }
}

#[test]
fn the_report_reads_well_in_the_dark() {
    if let Some(seen) = look(&tour::tour().to_html(), Scheme::Dark) {
        reads_well(&seen, Scheme::Dark, &FIGURES);
    }
}

/// What the check would say of a page that breaks every promise: otherwise its silence would mean nothing.
#[test]
fn the_check_sees_what_is_wrong_with_a_page() {
    let spoiled = tour::tour()
        .to_html()
        .replace("Content-Security-Policy", "X-None")
        .replace(
            "<main>",
            "<main><div style=\"width:2000px\">wide</div><img src=\"http://127.0.0.1:9/pixel.png\" alt=\"\">",
        )
        .replace(
            "\"use strict\";\n(() =>",
            "\"use strict\";console.log(\"a word\");throw new Error(\"broken\");\n(() =>",
        );
    let Some(seen) = look(&spoiled, Scheme::Light) else { return };
    assert!(seen.console.iter().any(|line| line.contains("a word")), "{:?}", seen.console);
    assert!(seen.console.iter().any(|line| line.contains("broken")), "{:?}", seen.console);
    assert!(seen.requests.iter().any(|address| address.contains("127.0.0.1")), "{:?}", seen.requests);
    let page = &seen.found["pages"][0];
    assert!(page["overflow_px"].as_f64() > Some(1000.0), "{page}");
    assert_ne!(page["beyond_the_edge"], Value::Array(Vec::new()));
    assert_eq!(
        page["figures"][0]["hovers"][0]["shown"],
        Value::Null,
        "without its script the page shows nothing"
    );
}
