//! A line of a layout: where a parameter of ours stands in a file, and what must be done to its values.

use super::dims::{Dim, block_number, capture, dims_of, expand};

/// How a tensor of a file becomes (a part of) one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Same,
    /// A matrix, transposed.
    Transposed,
    /// A convolution's kernel as JAX has it: `[P, P, 3, D]`.
    KernelLast,
    /// A projection to heads as JAX has it: `[D, heads, d]`.
    IntoHeads,
    /// The bias of that: `[heads, d]`.
    HeadsBias,
    /// A projection from heads: `[heads, d, D]`.
    FromHeads,
}

/// One line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// Our parameter, `{i}` for the block.
    pub(crate) ours: &'static str,
    /// What stands before its name in the file, with the block's `{i}`; nothing for names that say it themselves.
    stem: &'static str,
    /// Its name in the file, below the layout's root and the stem.
    pub(crate) theirs: &'static str,
    /// Which of how many equal parts along the first axis it is.
    pub(crate) part: (usize, usize),
    /// What is done to it.
    pub(crate) form: Form,
}

/// Named as ours.
pub(crate) const fn same(name: &'static str) -> Line {
    named(name, name)
}

/// Another name.
pub(crate) const fn named(ours: &'static str, theirs: &'static str) -> Line {
    formed(ours, theirs, (0, 1), Form::Same)
}

/// One of several parts along the first axis.
pub(crate) const fn part(ours: &'static str, theirs: &'static str, part: (usize, usize)) -> Line {
    formed(ours, theirs, part, Form::Same)
}

/// Another form.
pub(crate) const fn formed(
    ours: &'static str,
    theirs: &'static str,
    part: (usize, usize),
    form: Form,
) -> Line {
    Line { ours, stem: "", theirs, part, form }
}

/// Lines of a block, below what names the block.
pub(crate) const fn below<const N: usize>(stem: &'static str, mut lines: [Line; N]) -> [Line; N] {
    let mut at = 0;
    while at < N {
        lines[at].stem = stem;
        at += 1;
    }
    lines
}

impl Line {
    /// The block's number of a tensor in the file, if its name is this line's: `Some(None)` outside the blocks.
    pub(crate) fn capture(&self, name: &str) -> Option<Option<usize>> {
        let Some((before, after)) = self.stem.split_once("{i}") else {
            return capture(self.theirs.trim_start_matches('^'), name);
        };
        let inner = name.strip_prefix(before)?;
        let (number, rest) = inner.split_at(inner.bytes().take_while(u8::is_ascii_digit).count());
        let block = block_number(number)?;
        (rest.strip_prefix(after)? == self.theirs).then_some(Some(block))
    }

    /// Its name in the file for a block, below the layout's root.
    pub(crate) fn name(&self, block: Option<usize>) -> String {
        format!("{}{}", expand(self.stem, block), expand(self.theirs.trim_start_matches('^'), block))
    }

    /// Whether it stands beside the encoder's root, not below it.
    pub(crate) fn is_beside(&self) -> bool {
        self.theirs.starts_with('^')
    }

    /// What the dimensions of the file's tensor stand for.
    pub(crate) fn dims(&self) -> Vec<Dim> {
        let Some(mut dims) = dims_of(self.ours) else { return Vec::new() };
        dims[0] = dims[0].part(self.part.1);
        self.form.dims_in_file(&dims)
    }
}

impl Form {
    fn dims_in_file(self, ours: &[Dim]) -> Vec<Dim> {
        let (heads, d) = (Dim::read("h"), Dim::read("d"));
        match (self, ours) {
            (Self::Transposed, &[o, i]) => vec![i, o],
            (Self::KernelLast, &[o, c, y, x]) => vec![y, x, c, o],
            (Self::IntoHeads, &[_, i]) => vec![i, heads, d],
            (Self::HeadsBias, _) => vec![heads, d],
            (Self::FromHeads, &[o, _]) => vec![heads, d, o],
            _ => ours.to_vec(),
        }
    }

    /// The values in our order; `shape` is that of our part.
    pub(crate) fn to_ours(self, values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        match (self, shape) {
            (Self::Transposed | Self::IntoHeads | Self::FromHeads, &[o, i]) => transposed(&values, i, o),
            (Self::KernelLast, &[o, c, y, x]) => {
                // [y, x, c, o] as [y·x, c·o] → [c·o, y·x], then each [c, o] → [o, c].
                let planes = transposed(&values, y * x, c * o); // [c, o, y, x]
                let mut out = vec![0.0; values.len()];
                for (at, plane) in planes.chunks_exact(y * x).enumerate() {
                    let (channel, kernel) = (at / o, at % o);
                    out[(kernel * c + channel) * y * x..][..y * x].copy_from_slice(plane);
                }
                out
            }
            _ => values,
        }
    }

    /// The values in the file's order; the inverse of [`Form::to_ours`] for the forms that are written.
    pub(crate) fn to_theirs(self, values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        match (self, shape) {
            (Self::Transposed, &[o, i]) => transposed(&values, o, i),
            _ => values,
        }
    }
}

/// `[rows, columns]` → `[columns, rows]`
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| values[row * columns + column]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_with_its_outputs_last_is_turned() {
        // [y=1, x=2, c=3, o=2] counted 0..12; ours [o, c, y, x]: o=0: c0: (0, 6), c1: (2, 8), c2: (4, 10); o=1: + 1.
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let ours = Form::KernelLast.to_ours(values, &[2, 3, 1, 2]);
        assert_eq!(ours, [0., 6., 2., 8., 4., 10., 1., 7., 3., 9., 5., 11.]);
    }

    #[test]
    fn a_line_below_a_stem_finds_the_block_and_writes_its_name() {
        let [line] = below("encoder.layer.{i}.", [named("blocks.{i}.norm1.bias", "layernorm_before.bias")]);
        assert_eq!(line.capture("encoder.layer.11.layernorm_before.bias"), Some(Some(11)));
        for name in [
            "encoder.layer.011.layernorm_before.bias",
            "encoder.layer..layernorm_before.bias",
            "layernorm_before.bias",
        ] {
            assert_eq!(line.capture(name), None, "{name}");
        }
        assert_eq!(line.name(Some(3)), "encoder.layer.3.layernorm_before.bias");
        let beside = named("head.bias", "^classifier.bias");
        assert_eq!((beside.capture("classifier.bias"), beside.is_beside()), (Some(None), true));
        assert_eq!(beside.name(None), "classifier.bias");
    }

    #[test]
    fn transposing_there_and_back_changes_nothing() {
        let values: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let there = Form::Transposed.to_ours(values.clone(), &[2, 3]);
        assert_eq!(there, [0., 2., 4., 1., 3., 5.]);
        assert_eq!(Form::Transposed.to_theirs(there, &[2, 3]), values);
    }
}
