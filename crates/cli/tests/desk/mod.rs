//! A folder of its own in which the built binary runs, and what it answers.
#![allow(dead_code, reason = "each test binary uses what it needs")]

use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A model that takes no time.
pub(crate) const TINY: &str = "vit:dim=32,depth=2,heads=4,patch=8,image=32";

/// Classes of [`Desk::with_pixels`].
const N_CLASSES: usize = 3;

/// A folder of its own, with data, in which the binary runs.
pub(crate) struct Desk {
    dir: TempDir,
}

/// What the binary answered.
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    pub(crate) fn last_line(&self) -> &str {
        self.stdout.lines().last().expect("a line")
    }

    /// Exit code 2 and one line on stderr that says all of these.
    pub(crate) fn refused(self, says: &[&str]) {
        self.stopped(2, says);
    }

    pub(crate) fn stopped(self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        let errors: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error:")).collect();
        let [line] = errors[..] else { panic!("one line of error: {}", self.stderr) };
        assert_eq!(self.stderr.lines().last(), Some(line), "the error comes last: {}", self.stderr);
        for what in says {
            assert!(line.contains(what), "`{what}` in: {line}");
        }
    }
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitscope"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        Answer::of(self.command(args).output().expect("the binary runs"))
    }

    pub(crate) fn json(&self, file: &str) -> Value {
        let text = std::fs::read_to_string(self.path(file)).expect(file);
        serde_json::from_str(&text).expect(file)
    }

    /// `pixels.safetensors`: pictures of noise, brighter with the class, and twice as many to learn from.
    pub(crate) fn with_pixels(self) -> Self {
        let floats = |n: usize, salt: usize| -> Vec<u8> {
            let value = |at: usize| {
                let class = (at / (3 * 32 * 32)) % N_CLASSES;
                ((at * 7919 + salt) % 1000) as f32 / 1000.0 + class as f32
            };
            (0..n * 3 * 32 * 32).flat_map(|at| value(at).to_le_bytes()).collect()
        };
        let labels =
            |n: usize| -> Vec<u8> { (0..n).flat_map(|at| ((at % N_CLASSES) as i64).to_le_bytes()).collect() };
        let (test, train) = ((floats(12, 0), labels(12)), (floats(24, 500), labels(24)));
        let view = |dtype, shape: Vec<usize>, bytes| TensorView::new(dtype, shape, bytes).expect("a tensor");
        let tensors = [
            ("pixels", view(Dtype::F32, vec![12, 3, 32, 32], &test.0)),
            ("labels", view(Dtype::I64, vec![12], &test.1)),
            ("train_pixels", view(Dtype::F32, vec![24, 3, 32, 32], &train.0)),
            ("train_labels", view(Dtype::I64, vec![24], &train.1)),
        ];
        let path = self.path("pixels.safetensors");
        safetensors::serialize_to_file(tensors, None, &path).expect("a pixels file");
        self
    }

    /// `photos/{a,b}/0.png …`: five pictures a class, one of them left to test.
    pub(crate) fn with_photos(self) -> Self {
        for (class, red) in [("a", 0u8), ("b", 200)] {
            let dir = self.path("photos").join(class);
            std::fs::create_dir_all(&dir).expect("a folder");
            for n in 0..5u8 {
                let picture =
                    image::RgbImage::from_fn(40, 36, |x, y| image::Rgb([red, x as u8 * n, y as u8]));
                picture.save(dir.join(format!("{n}, picture.png"))).expect("a picture");
            }
        }
        self
    }
}
