//! What was measured on: processor, threads, and the commit.

use std::path::Path;
use std::process::Command;

/// One line that says machine and commit.
pub(crate) fn described(root: &Path, n_threads: usize) -> String {
    let commit = Command::new("git").current_dir(root).args(["rev-parse", "--short=10", "HEAD"]).output();
    let commit = commit.ok().filter(|output| output.status.success());
    let commit =
        commit.map_or("unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    format!("Measured on {} with {n_threads} threads, at commit {commit}.", model_of(&processor))
}

/// The model and the widest vectors of a Linux `cpuinfo`.
fn model_of(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim())
    };
    let has = |flag: &str| field("flags").is_some_and(|flags| flags.split(' ').any(|found| found == flag));
    let vectors = if has("avx512f") {
        "AVX-512"
    } else if has("avx2") {
        "AVX2"
    } else {
        "no AVX2"
    };
    format!("{} ({vectors})", field("model name").unwrap_or("an unknown processor"))
}

#[cfg(test)]
mod tests {
    use super::model_of;

    #[test]
    fn processors_are_named_with_their_vectors() {
        assert_eq!(model_of("model name\t: Some CPU\nflags\t\t: fpu avx2 fma\n"), "Some CPU (AVX2)");
        assert_eq!(model_of(""), "an unknown processor (no AVX2)");
    }
}
