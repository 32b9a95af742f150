//! How long two vectors are, one beside what leads to the other.

/// `‖z‖` and `‖x − z‖`, of squares summed in eight lanes.
///
/// # Shapes
/// `z` and `x`: `[D]`
///
/// # Panics
/// If they have another length.
///
/// # Source
/// Definition.
pub fn lengths(z: &[f32], x: &[f32]) -> (f64, f64) {
    assert_eq!(z.len(), x.len(), "lengths of {} and {} numbers", z.len(), x.len());
    let (mut own, mut between) = ([0.0f64; LANES], [0.0f64; LANES]);
    let mut add = |z: &[f32], x: &[f32]| {
        for ((own, between), (&z, &x)) in own.iter_mut().zip(&mut between).zip(z.iter().zip(x)) {
            let (z, x) = (f64::from(z), f64::from(x));
            *own += z * z;
            *between += (x - z) * (x - z);
        }
    };
    let ((z_chunks, z_rest), (x_chunks, x_rest)) = (z.as_chunks::<LANES>(), x.as_chunks::<LANES>());
    z_chunks.iter().zip(x_chunks).for_each(|(z, x)| add(z, x));
    add(z_rest, x_rest);
    (own.iter().sum::<f64>().sqrt(), between.iter().sum::<f64>().sqrt())
}

/// The lanes in which sums are kept.
const LANES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_by_hand() {
        // ‖(3, 4)‖ = 5; from there to (3, 9) it is 5, in whichever lanes they lie.
        assert_eq!(lengths(&[3.0, 4.0], &[3.0, 9.0]), (5.0, 5.0));
        let (mut z, mut x) = ([0.0f32; 19], [0.0f32; 19]);
        (z[2], z[17], x[2], x[17]) = (3.0, 4.0, 3.0, 9.0);
        assert_eq!(lengths(&z, &x), (5.0, 5.0));
    }
}
