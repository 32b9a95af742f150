//! The primitives parts are made of, each with its signed distance (negative inside).

/// A point or vector, `(x, y)`, y down.
pub(super) type Xy = (f64, f64);

/// The most corners a polygon has.
const MAX_CORNERS: usize = 8;

/// One primitive.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// An ellipse; `axis` is the unit vector of the first radius.
    Ellipse { center: Xy, axis: Xy, radii: Xy },
    /// A polygon of `n` corners grown by `round`.
    Polygon { corners: [Xy; MAX_CORNERS], n: usize, round: f64 },
    /// A limb: the hull of two discs.
    Limb { from: Xy, to: Xy, r_from: f64, r_to: f64 },
    /// A circle drawn with a thick pen.
    Ring { center: Xy, radius: f64, half_width: f64 },
}

/// `x' = origin + scale · R · (mirror x, y)`, with `R` the rotation of unit vector `turn`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Similarity {
    pub(super) origin: Xy,
    pub(super) scale: f64,
    pub(super) turn: Xy,
    pub(super) mirrored: bool,
}

/// An axis-aligned box, `[low, high]` per axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) low: Xy,
    pub(super) high: Xy,
}

pub(super) fn disc(center: Xy, radius: f64) -> Shape {
    Shape::Ellipse { center, axis: (1.0, 0.0), radii: (radius, radius) }
}

pub(super) fn ellipse(center: Xy, radii: Xy, angle: f64) -> Shape {
    Shape::Ellipse { center, axis: (libm::cos(angle), libm::sin(angle)), radii }
}

pub(super) fn limb(from: Xy, to: Xy, r_from: f64, r_to: f64) -> Shape {
    Shape::Limb { from, to, r_from, r_to }
}

pub(super) fn ring(center: Xy, radius: f64, half_width: f64) -> Shape {
    Shape::Ring { center, radius, half_width }
}

/// # Panics
/// With more than eight corners.
pub(super) fn polygon(points: &[Xy], round: f64) -> Shape {
    assert!(
        points.len() <= MAX_CORNERS,
        "a polygon has at most {MAX_CORNERS} corners; found {}",
        points.len()
    );
    let mut corners = [(0.0, 0.0); MAX_CORNERS];
    corners[..points.len()].copy_from_slice(points);
    Shape::Polygon { corners, n: points.len(), round }
}

/// An upright box from corner to corner, its corners rounded inwards by `round`.
pub(super) fn slab(low: Xy, high: Xy, round: f64) -> Shape {
    let (x0, y0, x1, y1) = (low.0 + round, low.1 + round, high.0 - round, high.1 - round);
    polygon(&[(x0, y0), (x1, y0), (x1, y1), (x0, y1)], round)
}

/// The point at `angle` (radians, 0 to the right, clockwise on screen) and `radius` of `origin`.
pub(super) fn polar(origin: Xy, angle: f64, radius: f64) -> Xy {
    (origin.0 + radius * libm::cos(angle), origin.1 + radius * libm::sin(angle))
}

impl Shape {
    /// The signed distance of `p`; exact but for ellipses and tapering limbs, which are right near their edge.
    pub(super) fn distance(&self, p: Xy) -> f64 {
        match self {
            Shape::Ellipse { center, axis, radii } => {
                let (dx, dy) = (p.0 - center.0, p.1 - center.1);
                let x = (dx * axis.0 + dy * axis.1) / radii.0;
                let y = (dy * axis.0 - dx * axis.1) / radii.1;
                let k = (x * x + y * y).sqrt();
                let (gx, gy) = (x / radii.0, y / radii.1);
                let slope = (gx * gx + gy * gy).sqrt();
                if slope < 1e-9 { -radii.0.min(radii.1) } else { k * (k - 1.0) / slope }
            }
            Shape::Polygon { corners, n, round } => distance_to_polygon(&corners[..*n], p) - round,
            Shape::Limb { from, to, r_from, r_to } => {
                let (t, distance) = onto_segment(*from, *to, p);
                distance.sqrt() - (r_from + (r_to - r_from) * t)
            }
            Shape::Ring { center, radius, half_width } => {
                let (dx, dy) = (p.0 - center.0, p.1 - center.1);
                ((dx * dx + dy * dy).sqrt() - radius).abs() - half_width
            }
        }
    }

    /// The shape moved by `map`; nothing becomes thinner than `thinnest`, a half width in the new units.
    pub(super) fn mapped(&self, map: &Similarity, thinnest: f64) -> Shape {
        let s = map.scale;
        match *self {
            Shape::Ellipse { center, axis, radii } => Shape::Ellipse {
                center: map.point(center),
                axis: map.direction(axis),
                radii: ((radii.0 * s).max(thinnest), (radii.1 * s).max(thinnest)),
            },
            Shape::Polygon { mut corners, n, round } => {
                for corner in &mut corners[..n] {
                    *corner = map.point(*corner);
                }
                Shape::Polygon { corners, n, round: round * s }
            }
            Shape::Limb { from, to, r_from, r_to } => Shape::Limb {
                from: map.point(from),
                to: map.point(to),
                r_from: (r_from * s).max(thinnest),
                r_to: (r_to * s).max(thinnest),
            },
            Shape::Ring { center, radius, half_width } => Shape::Ring {
                center: map.point(center),
                radius: radius * s,
                half_width: (half_width * s).max(thinnest),
            },
        }
    }

    /// The tight box of the shape.
    pub(super) fn bounds(&self) -> Bounds {
        match self {
            Shape::Ellipse { center, axis, radii } => {
                let (a, b) = (radii.0 * axis.0, radii.1 * axis.1);
                let (c, d) = (radii.0 * axis.1, radii.1 * axis.0);
                Bounds::around(*center, (a * a + b * b).sqrt(), (c * c + d * d).sqrt())
            }
            Shape::Polygon { corners, n, round } => {
                let boxes = corners[..*n].iter().map(|&corner| Bounds::around(corner, *round, *round));
                boxes.fold(Bounds::EMPTY, Bounds::union)
            }
            Shape::Limb { from, to, r_from, r_to } => {
                Bounds::around(*from, *r_from, *r_from).union(Bounds::around(*to, *r_to, *r_to))
            }
            Shape::Ring { center, radius, half_width } => {
                Bounds::around(*center, radius + half_width, radius + half_width)
            }
        }
    }

    /// About how far the middle of the shape is from its edge.
    pub(super) fn half_thickness(&self) -> f64 {
        match self {
            Shape::Ellipse { radii, .. } => radii.0.min(radii.1),
            Shape::Polygon { .. } => {
                let half = self.bounds().half();
                0.5 * half.0.min(half.1)
            }
            Shape::Limb { r_from, r_to, .. } => r_from.max(*r_to),
            Shape::Ring { half_width, .. } => *half_width,
        }
    }
}

impl Similarity {
    pub(super) fn point(&self, p: Xy) -> Xy {
        let d = self.direction(p);
        (self.origin.0 + self.scale * d.0, self.origin.1 + self.scale * d.1)
    }

    pub(super) fn direction(&self, v: Xy) -> Xy {
        let x = if self.mirrored { -v.0 } else { v.0 };
        (self.turn.0 * x - self.turn.1 * v.1, self.turn.1 * x + self.turn.0 * v.1)
    }

    /// The inverse of [`Similarity::point`], but for the scale: object axes, image units.
    pub(super) fn unturned(&self, p: Xy) -> Xy {
        let (dx, dy) = (p.0 - self.origin.0, p.1 - self.origin.1);
        let x = self.turn.0 * dx + self.turn.1 * dy;
        (if self.mirrored { -x } else { x }, self.turn.0 * dy - self.turn.1 * dx)
    }
}

impl Bounds {
    /// The box of nothing, neutral under union.
    pub(super) const EMPTY: Bounds = Bounds { low: (1e9, 1e9), high: (-1e9, -1e9) };

    pub(super) fn around(center: Xy, half_width: f64, half_height: f64) -> Bounds {
        Bounds {
            low: (center.0 - half_width, center.1 - half_height),
            high: (center.0 + half_width, center.1 + half_height),
        }
    }

    pub(super) fn union(self, other: Bounds) -> Bounds {
        Bounds {
            low: (self.low.0.min(other.low.0), self.low.1.min(other.low.1)),
            high: (self.high.0.max(other.high.0), self.high.1.max(other.high.1)),
        }
    }

    pub(super) fn center(&self) -> Xy {
        ((self.low.0 + self.high.0) * 0.5, (self.low.1 + self.high.1) * 0.5)
    }

    pub(super) fn half(&self) -> Xy {
        ((self.high.0 - self.low.0) * 0.5, (self.high.1 - self.low.1) * 0.5)
    }
}

/// The place of the nearest point along the segment, in `[0, 1]`, and the squared distance to it.
fn onto_segment(from: Xy, to: Xy, p: Xy) -> (f64, f64) {
    let (ex, ey) = (to.0 - from.0, to.1 - from.1);
    let (dx, dy) = (p.0 - from.0, p.1 - from.1);
    let t = ((dx * ex + dy * ey) / (ex * ex + ey * ey).max(1e-12)).clamp(0.0, 1.0);
    let (rx, ry) = (dx - ex * t, dy - ey * t);
    (t, rx * rx + ry * ry)
}

/// The nearest edge, signed by the parity of edges crossed by a ray.
fn distance_to_polygon(corners: &[Xy], p: Xy) -> f64 {
    let mut nearest = 1e18;
    let mut inside = false;
    let mut from = corners[corners.len() - 1];
    for &to in corners {
        let (_, squared) = onto_segment(from, to, p);
        if squared < nearest {
            nearest = squared;
        }
        if (from.1 > p.1) != (to.1 > p.1) {
            let x = from.0 + (p.1 - from.1) / (to.1 - from.1) * (to.0 - from.0);
            inside ^= p.0 < x;
        }
        from = to;
    }
    if inside { -nearest.sqrt() } else { nearest.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_simple_shapes_are_right_by_hand() {
        assert!((disc((0.0, 0.0), 2.0).distance((5.0, 0.0)) - 3.0).abs() < 1e-12);
        assert!((slab((-1.0, -1.0), (1.0, 1.0), 0.0).distance((0.0, 0.25)) + 0.75).abs() < 1e-12);
        assert!((limb((0.0, 0.0), (4.0, 0.0), 1.0, 1.0).distance((2.0, 3.0)) - 2.0).abs() < 1e-12);
        assert!((ring((0.0, 0.0), 3.0, 0.5).distance((0.0, 3.0)) + 0.5).abs() < 1e-12);
        assert!((ellipse((0.0, 0.0), (2.0, 1.0), 0.3).distance(polar((0.0, 0.0), 0.3, 2.0))).abs() < 1e-12);
    }

    #[test]
    fn a_similarity_is_undone_by_its_inverse() {
        let map = Similarity { origin: (3.0, 4.0), scale: 1.0, turn: (0.6, 0.8), mirrored: true };
        let back = map.unturned(map.point((1.0, 2.0)));
        assert!((back.0 - 1.0).abs() < 1e-12 && (back.1 - 2.0).abs() < 1e-12);
    }
}
