//! Prints the values of a pickle, one a line: `cargo run -p pickle --example parse -- FILE.pkl`.
#![allow(clippy::disallowed_macros)] // an example prints what it found

use pickle::{Pickle, Source};

struct InMemory(Vec<u8>);

impl Source for InMemory {
    type Error = String;

    fn n_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn bytes(&self, what: &str, offset: u64, n: u64) -> Result<Vec<u8>, String> {
        let (start, end) = (offset as usize, offset.saturating_add(n) as usize);
        self.0.get(start..end).map(<[u8]>::to_vec).ok_or_else(|| format!("{what} ends early"))
    }

    fn malformed(&self, expected: String, found: String) -> String {
        format!("expected {expected}; found {found}")
    }
}

fn main() -> Result<(), String> {
    let file = std::env::args().nth(1).ok_or("a file")?;
    let source = InMemory(std::fs::read(&file).map_err(|error| format!("{error}: {file}"))?);
    let pickle = Pickle::parse(&source, 0, source.n_bytes())?;
    println!("root: {}", pickle.root);
    for (id, node) in pickle.nodes().iter().enumerate() {
        match pickle.text(id as u32) {
            Some(text) => println!("{id}: {text:?}"),
            None => println!("{id}: {node:?}"),
        }
    }
    Ok(())
}
