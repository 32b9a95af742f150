//! `cargo xtask new KIND NAME`: a method that trains or answers from its first minute, with everything that tidy asks for.
//!
//! The templates are code that is compiled and held to the contract of every method by the conformance tests, so what
//! is scaffolded passes them too.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// What can be added.
struct Kind {
    word: &'static str,
    template: &'static str,
    /// Where the file goes.
    folder: &'static str,
    /// The file with the `mod` lines.
    modules: &'static str,
    module_line: &'static str,
    /// The crate's root with the registry.
    registry: &'static str,
    recipes: &'static str,
    pages: &'static str,
    /// The heading of `SUMMARY.md` under which its page stands.
    heading: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        word: "objective",
        template: include_str!("../templates/objective.rs"),
        folder: "crates/ssl-pretrain/src/objectives",
        modules: "crates/ssl-pretrain/src/objectives/mod.rs",
        module_line: "pub(crate) mod ",
        registry: "crates/ssl-pretrain/src/lib.rs",
        recipes: "recipes/pretrain",
        pages: "objectives",
        heading: "# Objectives",
    },
    Kind {
        word: "probe",
        template: include_str!("../templates/probe.rs"),
        folder: "crates/probes/src",
        modules: "crates/probes/src/lib.rs",
        module_line: "mod ",
        registry: "crates/probes/src/lib.rs",
        recipes: "recipes/probe",
        pages: "probes",
        heading: "# Probes",
    },
    Kind {
        word: "analysis",
        template: include_str!("../templates/analysis.rs"),
        folder: "crates/analysis/src",
        modules: "crates/analysis/src/lib.rs",
        module_line: "mod ",
        registry: "crates/analysis/src/lib.rs",
        recipes: "recipes/analyze",
        pages: "analyses",
        heading: "# Analyses",
    },
];

/// Adds a method to the workspace in `root`.
pub(crate) fn run(root: &Path, kind: &str, name: &str) -> ExitCode {
    let Some(kind) = KINDS.iter().find(|known| known.word == kind) else {
        eprintln!("new: expected objective, probe or analysis; found `{kind}`");
        return ExitCode::from(2);
    };
    match add(root, kind, name) {
        Ok(written) => {
            for path in written {
                println!("{path}");
            }
            println!("now: cargo fmt --all && cargo xtask ci");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("new: {problem}");
            ExitCode::from(2)
        }
    }
}

/// Everything that is written or changed, by path from the root: worked out first, written at the end.
fn add(root: &Path, kind: &Kind, name: &str) -> Result<Vec<String>, String> {
    let words: Vec<&str> = name.split('-').collect();
    let is_word =
        |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !words.iter().all(is_word) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(format!("expected a name in kebab-case, such as my-method; found `{name}`"));
    }
    let stem = words.join("_");
    let type_name: String =
        words.iter().map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..])).collect();
    let read = |path: &str| {
        fs::read_to_string(root.join(path)).map_err(|error| format!("cannot read: {error}: {path}"))
    };
    let file = format!("{}/{stem}.rs", kind.folder);
    if root.join(&file).exists() {
        return Err(format!("expected a new name; found one that is taken: {file}"));
    }
    let code = kind.template.replace("TEMPLATE: ", "").replace("Template", &type_name);
    let code = code.replace("\"template\"", &format!("\"{name}\""));
    let mut changes = vec![(file, code)];

    let modules =
        insert_after_last(&read(kind.modules)?, kind.module_line, &format!("{}{stem};", kind.module_line))?;
    if kind.modules == kind.registry {
        changes.push((kind.registry.into(), registered(kind, &modules, &stem, &type_name)?));
    } else {
        changes.push((kind.modules.into(), modules));
        changes.push((kind.registry.into(), registered(kind, &read(kind.registry)?, &stem, &type_name)?));
    }
    let (recipe, text) = match kind.word {
        "objective" => (format!("{name}-part-shapes"), pretrain_recipe(name)),
        verb => (name.to_owned(), study_recipe(verb, name)),
    };
    changes.push((format!("{}/{recipe}.toml", kind.recipes), text));
    changes.push((format!("docs/src/{}/{name}.md", kind.pages), page(name)));
    let summary = read("docs/src/SUMMARY.md")?;
    changes.push(("docs/src/SUMMARY.md".into(), listed(kind, &summary, name)?));
    for (path, text) in &changes {
        fs::write(root.join(path), text).map_err(|error| format!("cannot write: {error}: {path}"))?;
    }
    Ok(changes.into_iter().map(|(path, _)| path).collect())
}

/// Puts a line after the last one that begins with `prefix`.
fn insert_after_last(text: &str, prefix: &str, line: &str) -> Result<String, String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().rposition(|known| known.starts_with(prefix));
    let last = last.ok_or_else(|| format!("expected a line that begins with `{prefix}`; found none"))?;
    lines.insert(last + 1, line);
    Ok(lines.join("\n") + "\n")
}

/// The crate's root with the method's types made public and its row in the registry.
fn registered(kind: &Kind, text: &str, stem: &str, type_name: &str) -> Result<String, String> {
    if kind.word == "objective" {
        let public = format!("pub use objectives::{stem}::{{{type_name}, {type_name}Config}};");
        let text = insert_after_last(text, "pub use objectives::", &public)?;
        let (before, list) =
            text.split_once("\nobjectives! {\n").ok_or("expected the list `objectives! {`; found none")?;
        let (list, after) =
            list.split_once("\n}").ok_or("expected the end of `objectives! {`; found none")?;
        return Ok(format!("{before}\nobjectives! {{\n{list}\n    {type_name},\n}}{after}"));
    }
    let public = format!("pub use {stem}::{{{type_name}, {type_name}Acc, {type_name}Config}};");
    let text = insert_after_last(text, "pub use ", &public)?;
    let (before, list) =
        text.split_once(": &[StudyEntry] = &[").ok_or("expected the registry of `StudyEntry`; found none")?;
    let (list, after) = list.split_once("];").ok_or("expected the end of the registry; found none")?;
    let list = list.trim().trim_end_matches(',');
    Ok(format!("{before}: &[StudyEntry] = &[{list}, study::<{type_name}>()];{after}"))
}

/// `SUMMARY.md` with the page at the end of its part.
fn listed(kind: &Kind, summary: &str, name: &str) -> Result<String, String> {
    let mut lines: Vec<String> = summary.lines().map(str::to_owned).collect();
    let heading = lines.iter().position(|line| line == kind.heading);
    let heading = heading.ok_or_else(|| format!("expected `{}` in SUMMARY.md; found none", kind.heading))?;
    let part = lines[heading + 1..].iter().position(|line| line.starts_with('#'));
    let end = part.map_or(lines.len(), |part| heading + 1 + part);
    let last = lines[..end].iter().rposition(|line| line.starts_with("- ")).unwrap_or(heading);
    lines.insert(last + 1, format!("- [{name}]({}/{name}.md)", kind.pages));
    Ok(lines.join("\n") + "\n")
}

fn pretrain_recipe(name: &str) -> String {
    format!(
        "# Say what is trained, on what.\n#\n# Command: vitscope pretrain {name}-part-shapes --out runs/{name}\n\
         # Time: say how long it takes, on what machine.\n# Result: say what to expect, beside chance (1/12).\n\
         # Source: name the paper whose values these are.\n\n\
         objective = \"{name}\"\n\
         model = \"vit:dim=96,depth=3,heads=4,patch=8,image=32,positions=sin-cos,init=mae\"\n\
         data = \"part-shapes\"\nseed = 0\ndrop_path = 0.0\n\n\
         [views]\nsize_px = 32\nscale = [0.6, 1.0]\nratio = [0.75, 1.3333333333333333]\nflip_prob = 0.5\n\
         normalize = \"half\"\n\n\
         [train]\nepochs = 4.0\nbatch = 64\nbase_lr = 4e-3\nmin_lr = 0.0\nwarmup_epochs = 0.4\nweight_decay = 0.05\n\
         beta1 = 0.9\nbeta2 = 0.95\neps = 1e-8\nlog_every_steps = 10\ncheckpoint_every_steps = 500\n\
         keep_checkpoints = 2\n\n[options]\n"
    )
}

fn study_recipe(kind: &str, name: &str) -> String {
    let (verb, side) =
        if kind == "analysis" { ("analyze", "split = \"test\"") } else { (kind, "floor = true") };
    format!(
        "# Say what is asked.\n#\n# Command: vitscope {verb} {name} --weights MODEL --data part-shapes\n\
         # Time: say how long it takes, on what machine.\n# Result: say what to expect.\n\
         # Source: name the paper whose values these are.\n\nstudy = \"{name}\"\ndata = \"part-shapes\"\nlayers = \"all\"\nseed = 0\n{side}\n\n\
         [options]\n"
    )
}

fn page(name: &str) -> String {
    format!(
        "# {name}\n\nSay in one sentence what it is for.\n\n## What it computes\n\nThe formula, with the names of the paper.\n\n\
         ## Options\n\n| key | meaning | usual value |\n|---|---|---|\n\n## How to read it\n\nWhat a good and a bad number look \
         like, and beside what to read it.\n\n## What it cannot tell\n\n- Say it.\n\n## Sources\n\n- Name them.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of the workspace that a scaffold changes, in a folder of their own.
    fn copy_of_the_workspace() -> std::path::PathBuf {
        let from = crate::workspace_root();
        let to = std::env::temp_dir().join(format!("vitscope-new-{}", std::process::id()));
        for kind in &KINDS {
            for path in [kind.modules, kind.registry, "docs/src/SUMMARY.md"] {
                let target = to.join(path);
                fs::create_dir_all(target.parent().expect("a folder")).expect("made");
                fs::copy(from.join(path), target).expect("copied");
            }
            for folder in [kind.recipes.to_owned(), format!("docs/src/{}", kind.pages)] {
                fs::create_dir_all(to.join(folder)).expect("made");
            }
        }
        to
    }

    #[test]
    fn a_scaffold_is_a_file_a_registry_line_a_recipe_and_a_page() {
        let root = copy_of_the_workspace();
        for kind in &KINDS {
            let written = add(&root, kind, "my-method-2").expect(kind.word);
            let text = |path: &str| fs::read_to_string(root.join(path)).expect(path);
            let code = text(&written[0]);
            assert!(written[0].ends_with("/my_method_2.rs"), "{written:?}");
            assert!(code.contains("name: \"my-method-2\"") && code.contains("struct MyMethod2"), "{code}");
            assert!(
                !code.contains("emplate") && !code.contains("TEMPLATE"),
                "nothing of the template's name is left"
            );
            let registry = text(kind.registry);
            assert!(
                registry.contains("MyMethod2,\n}") || registry.contains("study::<MyMethod2>()];"),
                "{registry}"
            );
            assert!(text(kind.modules).contains(&format!("{}my_method_2;", kind.module_line)));
            let summary = text("docs/src/SUMMARY.md");
            assert!(
                summary.contains(&format!("- [my-method-2]({}/my-method-2.md)", kind.pages)),
                "{summary}"
            );
            let refused = add(&root, kind, "my-method-2").expect_err("taken");
            assert!(refused.contains("taken"), "{refused}");
        }
        fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn a_name_that_cannot_be_typed_is_refused() {
        for name in ["MyMethod", "my_method", "-x", "x-", "2d", ""] {
            assert!(add(Path::new("nowhere"), &KINDS[0], name).expect_err(name).contains("kebab-case"));
        }
    }
}
