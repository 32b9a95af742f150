//! As much of a `Cargo.toml` as the layer rules need.

/// One line of a dependency table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The package, after any renaming.
    pub(crate) package: String,
    /// Whether it stands under `[dev-dependencies]`.
    pub(crate) is_dev: bool,
    /// From 1.
    pub(crate) line: usize,
}

/// Reads the dependencies of all tables: plain, dev, build, and those of a target.
pub(crate) fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found = Vec::new();
    let mut table = String::new();
    for (line, text) in (1..).zip(manifest.lines()) {
        let text = text.trim();
        if let Some(header) = text.strip_prefix('[') {
            table = header.split(']').next().unwrap_or_default().to_owned();
            // `[dependencies.name]` names its dependency in the header.
            if let Some((owner, name)) = table.clone().rsplit_once('.')
                && let Some(is_dev) = dev_table(owner)
            {
                found.push(Dependency { package: unquoted(name), is_dev, line });
            }
            continue;
        }
        let Some(is_dev) = dev_table(&table) else { continue };
        let Some((key, value)) = text.split_once('=').filter(|_| !text.starts_with('#')) else { continue };
        let renamed = value.split_once("package").and_then(|(_, rest)| rest.split('"').nth(1));
        let name = key.trim().split('.').next().unwrap_or_default();
        found.push(Dependency {
            package: renamed.map_or_else(|| unquoted(name), str::to_owned),
            is_dev,
            line,
        });
    }
    found
}

/// The value of `name` under `[package]`.
pub(crate) fn package_name(manifest: &str) -> Option<&str> {
    let package = manifest.split("[package]").nth(1)?;
    let line = package.lines().find(|line| line.trim_start().starts_with("name"))?;
    line.split('"').nth(1)
}

/// Whether the crate takes over `[workspace.lints]`.
pub(crate) fn inherits_lints(manifest: &str) -> bool {
    let lints = manifest.split("[lints]").nth(1).unwrap_or_default();
    lints
        .lines()
        .take_while(|line| !line.starts_with('['))
        .any(|line| line.replace(' ', "") == "workspace=true")
}

/// Whether a table holds dependencies, and if so, whether those of tests.
fn dev_table(table: &str) -> Option<bool> {
    match table.rsplit('.').next()? {
        "dependencies" | "build-dependencies" if !table.starts_with("workspace") => Some(false),
        "dev-dependencies" => Some(true),
        _ => None,
    }
}

fn unquoted(name: &str) -> String {
    name.trim().trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_dependency_is_read() {
        let manifest = "[package]\nname = \"probes\"\n\n[lints]\nworkspace = true\n\n[dependencies]\n\
            # a comment = here\nrayon.workspace = true\n\"vit-core\" = { path = \"../vit-core\" }\n\
            other = { package = \"measure\", path = \"x\" }\n[dev-dependencies]\ntestkit.workspace = true\n\
            [dependencies.report]\npath = \"../report\"\n[target.'cfg(unix)'.dependencies]\nvit-ops = \"1\"\n\
            [features]\nx = []\n";
        let found: Vec<_> =
            dependencies(manifest).into_iter().map(|d| (d.package, d.is_dev, d.line)).collect();
        let expected = [
            ("rayon", false, 9),
            ("vit-core", false, 10),
            ("measure", false, 11),
            ("testkit", true, 13),
            ("report", false, 14),
            ("vit-ops", false, 17),
        ];
        assert_eq!(found, expected.map(|(name, is_dev, line)| (name.to_owned(), is_dev, line)));
        assert_eq!(package_name(manifest), Some("probes"));
        assert!(inherits_lints(manifest));
        assert!(!inherits_lints("[lints.rust]\nx = 1\n"));
    }
}
