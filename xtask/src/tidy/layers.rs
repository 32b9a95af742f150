//! Arrows point down only: which crate may depend on which, as `ARCHITECTURE.md` draws it.

use super::finding::Finding;
use super::manifest::{dependencies, inherits_lints, package_name};
use super::tree::Tree;

/// One crate's place in the picture.
struct Layer {
    name: &'static str,
    /// Its height: tests may use what stands at the same height or below.
    height: usize,
    may_use: &'static [&'static str],
}

const BELOW_TRAIN: &[&str] = &["vit-core", "vit-ops", "vit-data", "measure", "report"];
const BELOW_OBJECTIVES: &[&str] = &["vit-train", "vit-core", "vit-ops", "vit-data", "measure", "report"];
const BELOW_STUDIES: &[&str] = &["vit-features", "vit-core", "vit-ops", "vit-data", "measure", "report"];
/// Everything below the command line.
const ALL: &[&str] = &[
    "vit-ops",
    "vit-core",
    "vit-data",
    "measure",
    "report",
    "vit-train",
    "vit-features",
    "ssl-pretrain",
    "probes",
    "analysis",
];

const LAYERS: &[Layer] = &[
    Layer { name: "vit-ops", height: 0, may_use: &[] },
    Layer { name: "pickle", height: 0, may_use: &[] },
    Layer { name: "vit-core", height: 1, may_use: &["vit-ops", "pickle"] },
    Layer { name: "vit-data", height: 1, may_use: &["pickle"] },
    Layer { name: "measure", height: 1, may_use: &[] },
    Layer { name: "report", height: 1, may_use: &[] },
    Layer { name: "vit-train", height: 2, may_use: BELOW_TRAIN },
    Layer { name: "vit-features", height: 2, may_use: BELOW_TRAIN },
    Layer { name: "ssl-pretrain", height: 3, may_use: BELOW_OBJECTIVES },
    Layer { name: "probes", height: 3, may_use: BELOW_STUDIES },
    Layer { name: "analysis", height: 3, may_use: BELOW_STUDIES },
    Layer { name: "cli", height: 4, may_use: ALL },
    // Outside the picture: nothing that is shipped depends on these.
    Layer { name: TESTKIT, height: 5, may_use: ALL },
    Layer { name: "bench", height: 5, may_use: ALL },
    Layer { name: "vitscope-tests", height: 5, may_use: ALL },
    Layer { name: "xtask", height: 5, may_use: &[] },
];

const TESTKIT: &str = "testkit";
/// The only crate that may write blocks whose safety the compiler cannot check, so the only one with lints of its own.
pub(crate) const OPS: &str = "vit-ops";

/// What is built by itself and belongs to no layer: the targets of cargo-fuzz, and the benches of single kernels, whose
/// library would change what the others are built with.
const OUTSIDE: [&str; 2] = ["fuzz/", "crates/bench/kernels/"];

fn layer(name: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.name == name)
}

pub(crate) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, manifest) in tree
        .under("", "Cargo.toml")
        .filter(|(path, _)| !OUTSIDE.iter().any(|outside| path.starts_with(outside)))
    {
        let Some(name) = package_name(manifest) else { continue };
        // The command line's package carries the product's name.
        let name = if path == "crates/cli/Cargo.toml" { "cli" } else { name };
        let Some(own) = layer(name) else {
            findings.push(Finding::new(
                path,
                1,
                format!("crate `{name}` has no place in xtask/src/tidy/layers.rs"),
            ));
            continue;
        };
        if name != OPS && !inherits_lints(manifest) {
            findings.push(Finding::new(path, 1, "`[lints] workspace = true` is missing"));
        }
        for dependency in dependencies(manifest) {
            if let Some(what) = edge_fault(own, &dependency.package, dependency.is_dev) {
                findings.push(Finding::new(path, dependency.line, what));
            }
        }
    }
}

/// Why `own` may not use `package`.
fn edge_fault(own: &Layer, package: &str, is_dev: bool) -> Option<String> {
    let own_name = own.name;
    if package == "anyhow" && !["cli", "xtask"].contains(&own_name) {
        return Some(format!("`{own_name}` → `anyhow`: only `cli` uses it; libraries have typed errors"));
    }
    let other = layer(package)?;
    let allowed = if package == TESTKIT {
        is_dev || own.height == layer(TESTKIT)?.height
    } else {
        own.may_use.contains(&package) || (is_dev && other.height <= own.height && package != own_name)
    };
    (!allowed).then(|| {
        let kind = if is_dev { "for tests, " } else { "" };
        format!("`{own_name}` → `{package}`: {kind}this edge is not in the picture of ARCHITECTURE.md")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, manifest: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(&Tree::of(&[(path, manifest)]), &mut findings);
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn edges_upward_and_sideways_are_found() {
        let head = "[package]\nname = \"probes\"\n[lints]\nworkspace = true\n";
        let fine = format!(
            "{head}[dependencies]\nvit-features = 1\n[dev-dependencies]\ntestkit = 1\nvit-train = 1\n"
        );
        assert_eq!(faults("crates/probes/Cargo.toml", &fine), [""; 0]);
        let sideways =
            format!("{head}[dependencies]\nanalysis = 1\ntestkit = 1\nvit-train = 1\nanyhow = 1\n");
        let found = faults("crates/probes/Cargo.toml", &sideways);
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(
            found[0],
            "crates/probes/Cargo.toml:6: `probes` → `analysis`: this edge is not in the picture of ARCHITECTURE.md"
        );
    }

    #[test]
    fn a_crate_without_a_place_or_lints_is_found() {
        assert!(faults("crates/x/Cargo.toml", "[package]\nname = \"x\"\n")[0].contains("no place"));
        assert!(faults("crates/report/Cargo.toml", "[package]\nname = \"report\"\n")[0].contains("[lints]"));
    }

    #[test]
    fn plain_edges_point_down() {
        for own in LAYERS {
            for used in own.may_use {
                assert!(layer(used).expect("listed").height < own.height, "{} → {used}", own.name);
            }
        }
    }
}
