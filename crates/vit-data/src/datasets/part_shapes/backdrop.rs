//! Backgrounds: six kinds of scenery, drawn before the class is looked at.

use super::SIZE_PX;
use super::canvas::Canvas;
use super::draws::{Draws, hash_of_cell, mix, noise, smooth};
use super::palette::{Palette, Rgb, blend, toned};
use super::shape::Xy;

/// How many kinds of scenery there are.
const N_KINDS: usize = 6;

/// A background without its stray pieces.
#[derive(Clone, Debug)]
pub(super) struct Backdrop {
    kind: usize,
    colors: [Rgb; 4],
    key: u64,
    /// The unit vector along which patterns run.
    along: Xy,
    /// Size of the pattern, in pixels.
    grain_px: f64,
    /// Height of the horizon, in pixels from above.
    horizon_px: f64,
    blobs: Vec<Blob>,
}

/// A soft spot of colour.
#[derive(Clone, Debug)]
struct Blob {
    center: Xy,
    radius_px: f64,
    soft_px: f64,
    color: Rgb,
    cover: f64,
}

impl Backdrop {
    pub(super) fn draw(draws: &mut Draws, palette: &Palette) -> Backdrop {
        let kind = draws.index(N_KINDS);
        let angle = draws.uniform(0.0, std::f64::consts::TAU);
        let side = SIZE_PX as f64;
        let n_blobs = if kind == 1 { 9 + draws.index(8) } else { 2 + draws.index(5) };
        let blobs = (0..n_blobs).map(|_| {
            let bright = draws.uniform(0.88, 1.12);
            Blob {
                center: (draws.uniform(0.0, side), draws.uniform(0.0, side)),
                radius_px: draws.uniform(3.0, 11.0),
                soft_px: draws.uniform(1.0, 6.0),
                color: toned(palette.backdrop[draws.index(4)], bright),
                cover: draws.uniform(0.25, 0.65),
            }
        });
        Backdrop {
            kind,
            blobs: blobs.collect(),
            colors: palette.backdrop,
            key: draws.key(),
            along: (libm::cos(angle), libm::sin(angle)),
            grain_px: draws.uniform(7.0, 14.0),
            horizon_px: draws.uniform(0.3, 0.75) * side,
        }
    }

    /// Covers the canvas; `drift` moves the scenery, in pixels.
    pub(super) fn paint(&self, canvas: &mut Canvas, drift: Xy) {
        let ridges = if self.kind == 0 { self.ridges(drift) } else { vec![[0.0; 3]; SIZE_PX] };
        for row in 0..SIZE_PX {
            for (column, heights) in ridges.iter().enumerate() {
                let p = (column as f64 + 0.5 + drift.0, row as f64 + 0.5 + drift.1);
                canvas.colors[row * SIZE_PX + column] = match self.kind {
                    0 => self.hills(p, heights),
                    1 => self.slope(p),
                    2 => self.foliage(p),
                    3 => self.planks(p),
                    4 => self.tiles(p),
                    _ => self.dunes(p),
                };
            }
        }
        for blob in &self.blobs {
            blob.paint(canvas, drift);
        }
    }

    /// The heights of three ridges in every column.
    fn ridges(&self, drift: Xy) -> Vec<[f64; 3]> {
        let heights = (0..SIZE_PX).map(|column| {
            let x = column as f64 + 0.5 + drift.0;
            std::array::from_fn(|idx| {
                let wave = noise(self.key ^ idx as u64, x / 17.0, 0.0) * 14.0
                    + noise(self.key ^ idx as u64, x / 5.0, 9.0) * 4.0;
                self.horizon_px + 11.0 * idx as f64 - wave
            })
        });
        heights.collect()
    }

    /// Sky with clouds above hills, the nearer the darker.
    fn hills(&self, p: Xy, ridges: &[f64; 3]) -> Rgb {
        let cloud = smooth(noise(self.key ^ 7, p.0 / 14.0, p.1 / 6.0) * 2.2 - 0.9);
        let sky = toned(blend(self.colors[3], self.colors[0], p.1 / SIZE_PX as f64), 1.06 + 0.12 * cloud);
        ridges.iter().enumerate().fold(sky, |color, (idx, ridge)| {
            let below = p.1 - ridge;
            let ground = toned(self.colors[idx], 0.98 - 0.09 * idx as f64 - 0.002 * below);
            blend(color, ground, (below + 0.5).clamp(0.0, 1.0))
        })
    }

    /// A plain slope of colour.
    fn slope(&self, p: Xy) -> Rgb {
        let middle = SIZE_PX as f64 * 0.5;
        let t = ((p.0 - middle) * self.along.0 + (p.1 - middle) * self.along.1) / SIZE_PX as f64 + 0.5;
        blend(toned(self.colors[0], 0.92), toned(self.colors[2], 1.08), smooth(t))
    }

    /// Patches of four colours, as of leaves.
    fn foliage(&self, p: Xy) -> Rgb {
        let (x, y) = (p.0 / self.grain_px, p.1 / self.grain_px);
        let n = 0.62 * noise(self.key, x, y) + 0.38 * noise(self.key ^ 1, x * 2.6, y * 2.6);
        let step = ((n - 0.2) * 5.0).clamp(0.0, 2.999);
        let idx = step as usize;
        let t = smooth((step - idx as f64 - 0.5) * 3.0 + 0.5);
        let leaf = blend(self.colors[idx], self.colors[idx + 1], t);
        toned(blend(leaf, self.colors[1], 0.35), 0.84 + 0.32 * n)
    }

    /// Boards side by side, with grain.
    fn planks(&self, p: Xy) -> Rgb {
        let across = (p.0 * self.along.1 - p.1 * self.along.0) / self.grain_px;
        let length = p.0 * self.along.0 + p.1 * self.along.1;
        let board = across.floor();
        let tone = hash_of_cell(self.key, board as i64, 0);
        let grain = noise(self.key ^ 3, length / 9.0, across * 4.0) - 0.5;
        let seam = smooth((0.5 - (across - board - 0.5).abs()) * self.grain_px * 0.7);
        let color = blend(self.colors[(board as i64 & 1) as usize], self.colors[2], tone);
        toned(color, (1.0 + 0.14 * grain) * mix(0.68, 1.0, seam))
    }

    /// A wall of tiles in shifted rows.
    fn tiles(&self, p: Xy) -> Rgb {
        let u = (p.0 * self.along.0 + p.1 * self.along.1) / (self.grain_px * 1.5);
        let v = (p.1 * self.along.0 - p.0 * self.along.1) / self.grain_px;
        let row = v.floor();
        let u = u + 0.37 * row;
        let column = u.floor();
        let tone = hash_of_cell(self.key, column as i64, row as i64);
        let joint = ((0.5 - (u - column - 0.5).abs()) * 1.5).min(0.5 - (v - row - 0.5).abs()) * self.grain_px;
        let stain = noise(self.key ^ 5, p.0 / 11.0, p.1 / 11.0) - 0.5;
        let color = blend(self.colors[0], self.colors[1], tone);
        toned(blend(toned(self.colors[2], 0.8), color, smooth(joint * 0.7)), 1.0 + 0.22 * stain)
    }

    /// Wavering bands, as of sand or water.
    fn dunes(&self, p: Xy) -> Rgb {
        let across = (p.0 * self.along.1 - p.1 * self.along.0) / (self.grain_px * 1.3);
        let waver = noise(self.key, p.0 / 15.0, p.1 / 15.0) * 2.4;
        let x = across + waver;
        let wave = ((x - x.floor()) - 0.5).abs() * 2.0;
        let color = blend(self.colors[0], self.colors[1], smooth(wave));
        toned(
            blend(color, self.colors[3], 0.35 * noise(self.key ^ 2, p.0 / 21.0, p.1 / 21.0)),
            0.90 + 0.2 * wave,
        )
    }
}

impl Blob {
    fn paint(&self, canvas: &mut Canvas, drift: Xy) {
        let center = (self.center.0 - drift.0, self.center.1 - drift.1);
        let reach = self.radius_px + self.soft_px;
        let inside = |middle: f64| {
            let side = SIZE_PX as f64;
            let low = (middle - reach).clamp(0.0, side) as usize;
            let high = (middle + reach + 1.0).clamp(0.0, side) as usize;
            low..high
        };
        for row in inside(center.1) {
            for column in inside(center.0) {
                let (dx, dy) = (column as f64 + 0.5 - center.0, row as f64 + 0.5 - center.1);
                let distance = (dx * dx + dy * dy).sqrt();
                let cover = self.cover * smooth((self.radius_px - distance) / self.soft_px + 0.5);
                let color = &mut canvas.colors[row * SIZE_PX + column];
                *color = blend(*color, self.color, cover);
            }
        }
    }
}
