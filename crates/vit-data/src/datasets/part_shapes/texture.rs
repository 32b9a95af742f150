//! The twelve textures: light and dark over an object, never a hue, so that colours do not tell them.

use super::draws::{Draws, hash_of_cell, noise};
use super::shape::Xy;

/// A texture with its free parameters, attached to the axes of the object.
#[derive(Clone, Debug)]
pub(super) struct Texture {
    /// Index into [`super::TEXTURES`].
    pub(super) kind: usize,
    /// Relative size of the pattern, about 1.
    stretch: f64,
    /// How much lighter and darker, as a ratio of the colour.
    depth: f64,
    phase: Xy,
    key: u64,
}

impl Texture {
    pub(super) fn draw(draws: &mut Draws, kind: usize) -> Texture {
        Texture {
            kind,
            stretch: draws.uniform(0.88, 1.14),
            depth: draws.uniform(0.22, 0.34),
            phase: (draws.uniform(0.0, 1.0), draws.uniform(0.0, 1.0)),
            key: draws.key(),
        }
    }

    /// The factor on a colour at `xy` (pixels along the axes of the object, from its middle); about 1 on average.
    ///
    /// `period_px` is the length of one repeat before the texture's own stretch.
    pub(super) fn tone(&self, xy: Xy, period_px: f64) -> f64 {
        let unit = 1.0 / (period_px * self.stretch);
        let (u, v) = (xy.0 * unit + self.phase.0, xy.1 * unit + self.phase.1);
        let value = match self.kind {
            1 => square(v),
            2 => square(u * 0.72) * square(v * 0.72),
            3 => bricks(self.key, u * 0.5, v * 0.8),
            4 => square(v * 0.85 + 0.55 * (1.0 + triangle(u * 0.5))),
            5 => {
                let (x, y) = (u - 2.0 * self.phase.0 + 0.5, v - 2.0 * self.phase.1 + 0.5);
                square((x * x + y * y).sqrt() * 0.9)
            }
            6 => mesh(u * 0.85, v * 0.85),
            7 => square(u),
            8 => {
                let n =
                    0.65 * noise(self.key, u * 0.75, v * 0.75) + 0.35 * noise(self.key ^ 1, u * 1.6, v * 1.6);
                ((n - 0.5) * 6.0).clamp(-1.0, 1.0)
            }
            9 => square((u + v) * 0.72),
            10 => square(v * 0.85 + 0.3 * libm::sin(u * 3.4)),
            11 => dots(u * 0.95, v * 0.95),
            _ => 1.3 * triangle(0.16 * (u - self.phase.0) + 0.30 * (v - self.phase.1) * 0.5 + 0.25),
        };
        1.0 + self.depth * value
    }
}

/// A triangle wave of period 1 in `[−1, 1]`.
fn triangle(x: f64) -> f64 {
    ((x - x.floor()) - 0.5).abs() * 4.0 - 1.0
}

/// A square wave of period 1 with soft flanks.
fn square(x: f64) -> f64 {
    (triangle(x) * 2.2).clamp(-1.0, 1.0)
}

/// Thin dark lines both ways; the light between them balances the mean.
fn mesh(u: f64, v: f64) -> f64 {
    let line = triangle(u).max(triangle(v));
    0.75 - 2.1 * ((line - 0.45) * 2.6).clamp(0.0, 1.0)
}

/// Light discs on every other cell of a lattice, half of the area.
fn dots(u: f64, v: f64) -> f64 {
    let row = v.floor();
    let shift = if (row as i64) & 1 == 0 { 0.0 } else { 0.5 };
    let (x, y) = (u + shift - (u + shift).floor() - 0.5, v - row - 0.5);
    ((0.37 - (x * x + y * y).sqrt()) * 8.0).clamp(-0.9, 1.2)
}

/// Courses of bricks, each of its own tone, with dark joints.
fn bricks(key: u64, u: f64, v: f64) -> f64 {
    let row = v.floor();
    let shift = if (row as i64) & 1 == 0 { 0.0 } else { 0.5 };
    let column = (u + shift).floor();
    let (x, y) = (u + shift - column, v - row);
    let joint = ((0.5 - (x - 0.5).abs()) * 2.0).min(0.5 - (y - 0.5).abs());
    let tone = 0.9 * hash_of_cell(key, column as i64, row as i64);
    mix_to_joint(tone, joint)
}

fn mix_to_joint(tone: f64, joint: f64) -> f64 {
    let t = ((joint - 0.05) * 8.0).clamp(0.0, 1.0);
    -1.4 + (tone + 1.4) * t
}
