//! Puts every recipe of the folder `recipes` into the binary: one row each, with nothing to register.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a build script speaks to cargo by its environment and its output; no result depends on it"
)]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

const KINDS: [&str; 4] = ["pretrain", "probe", "analyze", "compare"];

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where the output goes"));
    let mut rows = String::from(
        "/// Every recipe in the binary: one row each.\npub(crate) const BUILTINS: &[Builtin] = &[\n",
    );
    for kind in KINDS {
        let folder = here.join("../../recipes").join(kind);
        println!("cargo::rerun-if-changed={}", folder.display());
        for path in toml_files(&folder) {
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a recipe's name is text");
            let path = path.canonicalize().expect("the recipe is there");
            println!("cargo::rerun-if-changed={}", path.display());
            writeln!(rows, "    Builtin {{ kind: {kind:?}, name: {name:?}, text: include_str!({path:?}) }},")
                .expect("writing to a string");
        }
    }
    rows.push_str("];\n");
    fs::write(out.join("builtins.rs"), rows).expect("the output folder can be written");
}

fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry of the folder").path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    files.sort();
    files
}
