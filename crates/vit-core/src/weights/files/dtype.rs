//! Types of numbers in files, and what each number is as f32.

use half::{bf16, f16};

/// The type of a tensor's numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// Double precision.
    F64,
    /// Single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
    /// Signed, 64 bits.
    I64,
    /// Signed, 32 bits.
    I32,
    /// Signed, 16 bits.
    I16,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 64 bits.
    U64,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 8 bits.
    U8,
    /// A byte that is 0 or not.
    Bool,
    /// A type that is listed under its name and not read: complex, quantized, eight bits and fewer.
    Other(&'static str),
}

impl Dtype {
    /// Its short name, as safetensors writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
            Self::Other(name) => name,
        }
    }

    /// Bytes of one number; 0 where that is not known.
    pub fn n_bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Other(_) => 0,
        }
    }

    /// Whether its numbers can be read as f32.
    pub fn is_readable(self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// Appends every number in `bytes` as the nearest f32; types that are not readable give none.
    pub(super) fn decode(self, bytes: &[u8], order: Order, into: &mut Vec<f32>) {
        match self {
            Self::F64 => each(bytes, order, into, |b| f64::from_le_bytes(b) as f32),
            Self::F32 => each(bytes, order, into, f32::from_le_bytes),
            Self::F16 => each(bytes, order, into, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => each(bytes, order, into, |b| bf16::from_le_bytes(b).to_f32()),
            Self::I64 => each(bytes, order, into, |b| i64::from_le_bytes(b) as f32),
            Self::I32 => each(bytes, order, into, |b| i32::from_le_bytes(b) as f32),
            Self::I16 => each(bytes, order, into, |b| f32::from(i16::from_le_bytes(b))),
            Self::I8 => each(bytes, order, into, |b| f32::from(i8::from_le_bytes(b))),
            Self::U64 => each(bytes, order, into, |b| u64::from_le_bytes(b) as f32),
            Self::U32 => each(bytes, order, into, |b| u32::from_le_bytes(b) as f32),
            Self::U16 => each(bytes, order, into, |b| f32::from(u16::from_le_bytes(b))),
            Self::U8 => each(bytes, order, into, |[b]: [u8; 1]| f32::from(b)),
            Self::Bool => each(bytes, order, into, |[b]: [u8; 1]| f32::from(u8::from(b != 0))),
            Self::Other(_) => {}
        }
    }
}

/// Which byte of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The least significant.
    Little,
    /// The most significant.
    Big,
}

fn each<const N: usize>(bytes: &[u8], order: Order, into: &mut Vec<f32>, number: impl Fn([u8; N]) -> f32) {
    let (numbers, _) = bytes.as_chunks::<N>();
    match order {
        Order::Little => into.extend(numbers.iter().map(|&bytes| number(bytes))),
        Order::Big => into.extend(numbers.iter().map(|&(mut bytes)| {
            bytes.reverse();
            number(bytes)
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(dtype: Dtype, little: &[u8]) -> Vec<f32> {
        let (mut low, mut high) = (Vec::new(), Vec::new());
        dtype.decode(little, Order::Little, &mut low);
        let big: Vec<u8> = little.chunks(dtype.n_bytes()).flat_map(|b| b.iter().rev().copied()).collect();
        dtype.decode(&big, Order::Big, &mut high);
        assert_eq!(low, high, "{dtype:?}");
        low
    }

    #[test]
    fn numbers_of_every_type_are_the_same_in_both_orders() {
        assert_eq!(decoded(Dtype::F64, &[1.5f64.to_le_bytes(), (-2f64).to_le_bytes()].concat()), [1.5, -2.0]);
        assert_eq!(decoded(Dtype::F32, &0.1f32.to_le_bytes()), [0.1]);
        // 0x3e00 = 0 01111 1000000000 = 1.5; 0x0001 is the smallest, 2^-24.
        assert_eq!(decoded(Dtype::F16, &[0x00, 0x3e, 0x01, 0x00]), [1.5, 2f32.powi(-24)]);
        // 0xbfc0 is the upper half of -1.5.
        assert_eq!(decoded(Dtype::Bf16, &[0xc0, 0xbf]), [-1.5]);
        assert_eq!(decoded(Dtype::I64, &(-7i64).to_le_bytes()), [-7.0]);
        assert_eq!(decoded(Dtype::I32, &(-7i32).to_le_bytes()), [-7.0]);
        assert_eq!(decoded(Dtype::I16, &(-7i16).to_le_bytes()), [-7.0]);
        assert_eq!(decoded(Dtype::I8, &[249]), [-7.0]);
        assert_eq!(decoded(Dtype::U64, &7u64.to_le_bytes()), [7.0]);
        assert_eq!(decoded(Dtype::U32, &7u32.to_le_bytes()), [7.0]);
        assert_eq!(decoded(Dtype::U16, &7u16.to_le_bytes()), [7.0]);
        assert_eq!(decoded(Dtype::U8, &[200]), [200.0]);
        assert_eq!(decoded(Dtype::Bool, &[0, 1, 2]), [0.0, 1.0, 1.0]);
        assert!(!Dtype::Other("C64").is_readable());
    }
}
