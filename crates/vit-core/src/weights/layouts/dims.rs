//! The shapes of every parameter in symbols, and which numbers a file's tensors vote for.
//!
//! A tensor that was cut or transposed is outvoted by its neighbors, so that it alone is named, not all the others.

use std::collections::BTreeMap;

/// A parameter of ours by pattern (`{i}` is a block's number) and its shape in symbols: `D` width, `M` rows of the MLP's
/// first layer, `H` columns of its second, `P` patch, `T` positions, `R` registers, `K` classes, `B` rows of a relative
/// position table, `h` heads.
pub(crate) type Param = (&'static str, &'static [&'static str]);

/// Every parameter that a Vision Transformer can have, in the module's order.
pub(crate) const PARAMS: &[Param] = &[
    ("cls_token", &["1", "1", "D"]),
    ("dist_token", &["1", "1", "D"]),
    ("reg_token", &["1", "R", "D"]),
    ("pos_embed", &["1", "T", "D"]),
    ("mask_token", &["1", "1", "D"]),
    ("patch_embed.proj.weight", &["D", "3", "P", "P"]),
    ("patch_embed.proj.bias", &["D"]),
    ("norm_pre.weight", &["D"]),
    ("norm_pre.bias", &["D"]),
    ("rel_pos_bias.relative_position_bias_table", &["B", "h"]),
    ("blocks.{i}.norm1.weight", &["D"]),
    ("blocks.{i}.norm1.bias", &["D"]),
    ("blocks.{i}.attn.qkv.weight", &["3D", "D"]),
    ("blocks.{i}.attn.qkv.bias", &["3D"]),
    ("blocks.{i}.attn.q_bias", &["D"]),
    ("blocks.{i}.attn.v_bias", &["D"]),
    ("blocks.{i}.attn.relative_position_bias_table", &["B", "h"]),
    ("blocks.{i}.attn.proj.weight", &["D", "D"]),
    ("blocks.{i}.attn.proj.bias", &["D"]),
    ("blocks.{i}.ls1.gamma", &["D"]),
    ("blocks.{i}.norm2.weight", &["D"]),
    ("blocks.{i}.norm2.bias", &["D"]),
    ("blocks.{i}.mlp.fc1.weight", &["M", "D"]),
    ("blocks.{i}.mlp.fc1.bias", &["M"]),
    ("blocks.{i}.mlp.fc2.weight", &["D", "H"]),
    ("blocks.{i}.mlp.fc2.bias", &["D"]),
    ("blocks.{i}.ls2.gamma", &["D"]),
    ("norm.weight", &["D"]),
    ("norm.bias", &["D"]),
    ("fc_norm.weight", &["D"]),
    ("fc_norm.bias", &["D"]),
    ("head.weight", &["K", "D"]),
    ("head.bias", &["K"]),
    ("head_dist.weight", &["K", "D"]),
    ("head_dist.bias", &["K"]),
];

/// One dimension: `times·symbol/over`, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dim {
    /// A fixed number.
    Number(usize),
    /// A share of a symbol.
    Of {
        /// The symbol.
        symbol: char,
        /// Numerator.
        times: usize,
        /// Denominator.
        over: usize,
    },
}

impl Dim {
    /// Reads `3D`, `D` or `3`.
    pub(crate) fn read(text: &str) -> Self {
        let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
        let times = digits.parse().unwrap_or(1);
        match text.chars().last().filter(|c| c.is_alphabetic()) {
            Some(symbol) => Self::Of { symbol, times, over: 1 },
            None => Self::Number(times),
        }
    }

    /// One of `n` equal parts.
    pub(crate) fn part(self, n: usize) -> Self {
        match self {
            Self::Number(number) => Self::Number(number / n),
            Self::Of { symbol, times, over } if times.is_multiple_of(n) => {
                Self::Of { symbol, times: times / n, over }
            }
            Self::Of { symbol, times, over } => Self::Of { symbol, times, over: over * n },
        }
    }

    /// Its number under these values of the symbols.
    pub(crate) fn number(self, values: &BTreeMap<char, usize>) -> Option<usize> {
        match self {
            Self::Number(number) => Some(number),
            Self::Of { symbol, times, over } => Some(values.get(&symbol)? * times / over),
        }
    }
}

/// The dimensions of one of our parameters by its name; its block's number is taken out.
pub(crate) fn dims_of(pattern: &str) -> Option<Vec<Dim>> {
    let (_, dims) = PARAMS.iter().find(|(name, _)| *name == pattern)?;
    Some(dims.iter().map(|dim| Dim::read(dim)).collect())
}

/// A tensor that takes part in the vote: its name, what its dimensions stand for, and their numbers. Ones are left out.
pub(crate) struct Voter<'a> {
    /// The tensor's name in the file.
    pub(crate) name: &'a str,
    /// What its dimensions stand for.
    pub(crate) dims: Vec<Dim>,
    /// Their numbers.
    pub(crate) shape: Vec<usize>,
}

/// Both lists without ones, where they are then of one length.
pub(crate) fn squeezed(dims: &[Dim], shape: &[usize]) -> Option<(Vec<Dim>, Vec<usize>)> {
    let dims: Vec<Dim> = dims.iter().copied().filter(|dim| *dim != Dim::Number(1)).collect();
    if dims.len() == shape.len() {
        return Some((dims, shape.to_vec()));
    }
    let shape: Vec<usize> = shape.iter().copied().filter(|&n| n != 1).collect();
    (dims.len() == shape.len()).then_some((dims, shape))
}

/// The symbols' values by majority, the symbol with most votes first; a tensor that contradicts a decided symbol has no
/// vote on the next ones. With each value comes a tensor that voted for it.
pub(crate) fn vote<'a>(voters: &[Voter<'a>]) -> BTreeMap<char, (usize, &'a str)> {
    let mut decided: BTreeMap<char, (usize, &str)> = BTreeMap::new();
    loop {
        let mut votes: BTreeMap<char, BTreeMap<usize, (usize, &str)>> = BTreeMap::new();
        for voter in voters {
            let pairs = || voter.dims.iter().zip(&voter.shape);
            let contradicts = pairs().any(|(dim, &n)| match *dim {
                Dim::Number(number) => number != n,
                Dim::Of { symbol, times, over } => {
                    n * over % times != 0
                        || decided.get(&symbol).is_some_and(|&(value, _)| value * times / over != n)
                }
            });
            if contradicts {
                continue;
            }
            for (dim, &n) in pairs() {
                if let Dim::Of { symbol, times, over } = *dim
                    && !decided.contains_key(&symbol)
                {
                    let count = votes.entry(symbol).or_default();
                    count.entry(n * over / times).or_insert((0, voter.name)).0 += 1;
                }
            }
        }
        let total = |counts: &BTreeMap<usize, (usize, &str)>| counts.values().map(|(n, _)| n).sum::<usize>();
        let next = votes.iter().max_by_key(|(_, counts)| total(counts));
        let Some((&symbol, counts)) = next else { return decided };
        let winner = counts.iter().max_by_key(|(_, (n, _))| *n);
        if let Some((&value, &(_, name))) = winner {
            decided.insert(symbol, (value, name));
        }
    }
}

/// The block's number of `name`, if it fits `pattern`: `Some(None)` where the pattern has no `{i}`.
pub(crate) fn capture(pattern: &str, name: &str) -> Option<Option<usize>> {
    let Some((before, after)) = pattern.split_once("{i}") else {
        return (pattern == name).then_some(None);
    };
    let number = name.strip_prefix(before)?.strip_suffix(after)?;
    block_number(number).map(Some)
}

/// A block's number as names have it: a few digits, without a zero before them.
pub(super) fn block_number(text: &str) -> Option<usize> {
    let plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let plain = plain && (text.len() == 1 || !text.starts_with('0')) && text.len() < 5;
    if plain { text.parse().ok() } else { None }
}

/// The pattern with a block's number in place of `{i}`.
pub(crate) fn expand(pattern: &str, block: Option<usize>) -> String {
    match block {
        Some(block) => pattern.replace("{i}", &block.to_string()),
        None => pattern.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter<'a>(name: &'a str, dims: &[&str], shape: &[usize]) -> Voter<'a> {
        Voter { name, dims: dims.iter().map(|dim| Dim::read(dim)).collect(), shape: shape.to_vec() }
    }

    #[test]
    fn a_transposed_tensor_is_outvoted() {
        let voters = [
            voter("norm", &["D"], &[32]),
            voter("bias", &["K"], &[10]),
            voter("head", &["K", "D"], &[32, 10]),
            voter("qkv", &["3D", "D"], &[96, 32]),
        ];
        let decided = vote(&voters);
        assert_eq!((decided[&'D'].0, decided[&'K'].0), (32, 10));
    }

    #[test]
    fn patterns_capture_the_block() {
        assert_eq!(capture("blocks.{i}.norm1.bias", "blocks.11.norm1.bias"), Some(Some(11)));
        assert_eq!(capture("blocks.{i}.norm1.bias", "blocks.1.1.norm1.bias"), None);
        assert_eq!(capture("norm.bias", "norm.bias"), Some(None));
        assert_eq!(expand("blocks.{i}.x", Some(3)), "blocks.3.x");
    }
}
