//! How wide a map of dependence on pixels is.

/// How a map of weights lies around the patch of its token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Root mean square distance from the middle of the patch, in pixels.
    pub radius_px: f64,
    /// The share of the weight inside a square of 1, 3 and 5 patches around it.
    pub shares: [(usize, f64); 3],
}

impl Spread {
    /// `radius² = Σ w r² / Σ w` over pixels, `r` from the middle of the patch to the middle of the pixel. A map without
    /// weight has a radius of 0 and shares of 0.
    ///
    /// # Shapes
    /// `map`: `[height, width]`, at least 0; `center`: row and column of the patch, counted from 0.
    ///
    /// # Panics
    /// If the map has another number of pixels.
    ///
    /// # Source
    /// Luo et al. 2016 (the map); these numbers are ours.
    pub fn of(
        map: &[f64],
        (height_px, width_px): (usize, usize),
        center: (usize, usize),
        patch_px: usize,
    ) -> Self {
        assert_eq!(map.len(), height_px * width_px, "spread: a map of {height_px}×{width_px} px");
        let middle = |patch: usize| (patch as f64 + 0.5) * patch_px as f64;
        let (y0, x0) = (middle(center.0), middle(center.1));
        let (mut mass, mut squares, mut inside) = (0.0, 0.0, [0.0; 3]);
        for (at, &weight) in map.iter().enumerate() {
            let (dy, dx) = ((at / width_px) as f64 + 0.5 - y0, (at % width_px) as f64 + 0.5 - x0);
            mass += weight;
            squares += weight * (dy * dy + dx * dx);
            let farthest = dy.abs().max(dx.abs());
            for (sum, n) in inside.iter_mut().zip(SQUARES) {
                if farthest < n as f64 / 2.0 * patch_px as f64 {
                    *sum += weight;
                }
            }
        }
        let share = |part: f64| if mass > 0.0 { part / mass } else { 0.0 };
        Self { radius_px: share(squares).sqrt(), shares: [0, 1, 2].map(|i| (SQUARES[i], share(inside[i]))) }
    }
}

/// Sides of the squares in patches.
const SQUARES: [usize; 3] = [1, 3, 5];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_of_patches_by_hand() {
        // Three patches of 2 px in one row of 2 px; the middle patch is around x = 3, y = 1.
        let mut map = vec![0.0; 12];
        map[2] = 1.0; // x = 2.5, y = 0.5: squared distance 0.5
        map[6] = 3.0; // x = 0.5, y = 1.5: 6.25 + 0.25
        let spread = Spread::of(&map, (2, 6), (0, 1), 2);
        assert!((spread.radius_px - ((0.5 + 3.0 * 6.5) / 4.0f64).sqrt()).abs() < 1e-12);
        assert_eq!(spread.shares, [(1, 0.25), (3, 1.0), (5, 1.0)]);
        assert_eq!(Spread::of(&[0.0; 12], (2, 6), (0, 1), 2).radius_px, 0.0);
    }

    #[test]
    fn an_even_map_has_the_share_of_the_area() {
        // 9 × 9 patches of 4 px, the middle one: 1, 9 and 25 of 81 patches.
        let spread = Spread::of(&vec![2.0; 36 * 36], (36, 36), (4, 4), 4);
        for ((_, share), patches) in spread.shares.iter().zip([1.0, 9.0, 25.0]) {
            assert!((share - patches / 81.0).abs() < 1e-12);
        }
        // Of n pixels of side 1 the mean square of one coordinate is (n² − 1) / 12.
        assert!((spread.radius_px - (2.0 * (36.0f64 * 36.0 - 1.0) / 12.0).sqrt()).abs() < 1e-9);
    }
}
