//! The picture while it is painted: colours, and which part shows at each pixel.

use super::SIZE_PX;
use super::model::Layer;
use super::palette::{Rgb, blend, toned};
use super::shape::{Similarity, Xy};
use super::texture::Texture;

/// How far before the edge the outline begins, in pixels.
const OUTLINE_PX: f64 = 1.15;
/// The colour of an outline, as a ratio of the part's colour.
const OUTLINE_TONE: f64 = 0.40;
/// How far the rounding of an edge reaches into a part, in pixels.
const BEVEL_PX: f64 = 5.0;

/// Colours `[64, 64]` in display space, and part ids (0 where no object shows).
pub(super) struct Canvas {
    pub(super) colors: Vec<Rgb>,
    pub(super) parts: Vec<u8>,
}

/// How a layer is painted.
pub(super) struct Finish<'a> {
    pub(super) color: Rgb,
    /// The unit vector towards the light.
    pub(super) light: Xy,
    /// The texture, the axes it is attached to, and its period in pixels.
    pub(super) texture: Option<(&'a Texture, &'a Similarity, f64)>,
    /// What the part map holds afterwards: a part's id, or 0 for a piece that belongs to no object.
    pub(super) part_id: u8,
}

impl Canvas {
    pub(super) fn new() -> Canvas {
        Canvas { colors: vec![[0.0; 3]; SIZE_PX * SIZE_PX], parts: vec![0; SIZE_PX * SIZE_PX] }
    }

    /// Paints one layer over what is there: shaded towards the light, outlined, its edge one pixel soft.
    pub(super) fn paint(&mut self, layer: &Layer, finish: &Finish) {
        let bounds = layer.bounds();
        let (center, half) = (bounds.center(), bounds.half());
        let reach = 1.0 / half.0.max(half.1).max(1.0);
        let thickness = layer.shapes.iter().fold(0.0, |thick: f64, shape| thick.max(shape.half_thickness()));
        let outline = OUTLINE_PX.min(thickness * 0.45);
        let (columns, rows) = (pixels(bounds.low.0, bounds.high.0), pixels(bounds.low.1, bounds.high.1));
        for row in rows {
            for column in columns.clone() {
                let p = (column as f64 + 0.5, row as f64 + 0.5);
                let distance = layer.distance(p);
                let cover = (0.5 - distance).clamp(0.0, 1.0);
                if cover <= 0.0 {
                    continue;
                }
                let slant = (p.0 - center.0) * finish.light.0 + (p.1 - center.1) * finish.light.1;
                let mut tone = 1.0 + 0.13 * slant * reach;
                if distance > -BEVEL_PX {
                    let lit = layer.distance((p.0 + finish.light.0, p.1 + finish.light.1)) - distance;
                    let near_edge = 1.0 + distance.min(0.0) / BEVEL_PX;
                    tone += 0.20 * lit.clamp(-1.0, 1.0) * near_edge;
                }
                if let Some((texture, axes, period_px)) = finish.texture {
                    tone *= texture.tone(axes.unturned(p), period_px);
                }
                let color = toned(finish.color, tone);
                let edge = ((distance + outline + 0.5).clamp(0.0, 1.0)) * (outline / OUTLINE_PX);
                let color = blend(color, toned(finish.color, OUTLINE_TONE), edge);
                let idx = row * SIZE_PX + column;
                self.colors[idx] = blend(self.colors[idx], color, cover);
                if cover >= 0.5 {
                    self.parts[idx] = finish.part_id;
                }
            }
        }
    }

    /// Darkens what lies behind an object, softly and away from the light.
    pub(super) fn shadow(&mut self, layers: &[Layer], light: Xy, depth: f64) {
        let shift = (-2.2 * light.0, 2.2);
        let mut nearest = vec![1e9_f64; SIZE_PX * SIZE_PX];
        for layer in layers {
            let bounds = layer.bounds();
            for row in pixels(bounds.low.1 + shift.1 - 3.0, bounds.high.1 + shift.1 + 3.0) {
                for column in pixels(bounds.low.0 + shift.0 - 3.0, bounds.high.0 + shift.0 + 3.0) {
                    let value = &mut nearest[row * SIZE_PX + column];
                    if *value > -3.0 {
                        let p = (column as f64 + 0.5 - shift.0, row as f64 + 0.5 - shift.1);
                        *value = value.min(layer.distance(p));
                    }
                }
            }
        }
        for (color, distance) in self.colors.iter_mut().zip(&nearest) {
            let shade = ((3.0 - distance) / 6.0).clamp(0.0, 1.0);
            if shade > 0.0 {
                *color = toned(*color, 1.0 - depth * shade);
            }
        }
    }
}

/// The pixels whose centers may be covered between two edges, kept within the image.
fn pixels(low: f64, high: f64) -> std::ops::Range<usize> {
    let start = (low - 1.0).clamp(0.0, SIZE_PX as f64) as usize;
    let end = (high + 2.0).clamp(0.0, SIZE_PX as f64) as usize;
    start..end
}
