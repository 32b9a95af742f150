//! Stray pieces: small shaded shapes that look like lost parts and know nothing of the class.

use super::SIZE_PX;
use super::canvas::{Canvas, Finish};
use super::draws::Draws;
use super::model::{Layer, Slot};
use super::names::Part;
use super::palette::{Palette, Rgb};
use super::shape::{Shape, Similarity, Xy, disc, ellipse, limb, polar, polygon, ring, slab};
use super::texture::Texture;

/// The largest half extent of a piece, in pixels: at most 15 % of the image's side from end to end.
const LARGEST_PX: f64 = 4.8;

/// One piece.
#[derive(Clone, Debug)]
pub(super) struct Stray {
    shapes: Vec<Shape>,
    middle: Xy,
    color: Rgb,
    texture: Option<Texture>,
}

impl Stray {
    pub(super) fn draw(draws: &mut Draws, palette: &Palette) -> Stray {
        let size = draws.uniform(2.4, LARGEST_PX);
        let side = SIZE_PX as f64;
        let middle = (draws.uniform(0.0, side), draws.uniform(0.0, side));
        let angle = draws.uniform(0.0, std::f64::consts::TAU);
        let thin = draws.uniform(0.22, 0.45) * size;
        let (from, to) = (polar(middle, angle, size - thin), polar(middle, angle, thin - size));
        let corner = |turn: f64| polar(middle, angle + turn, size);
        let shapes = match draws.index(8) {
            0 => vec![limb(from, to, thin, thin * 0.8)],
            1 => vec![disc(middle, size * 0.85)],
            2 => vec![ellipse(middle, (size, thin * 1.2), angle)],
            3 => vec![polygon(&[corner(0.0), corner(2.3), corner(4.0)], 0.0)],
            4 => vec![polygon(&[corner(0.5), corner(2.64), corner(3.64), corner(5.78)], 0.0)],
            5 => vec![ring(middle, size * 0.7, size * 0.22)],
            6 => vec![slab(
                (middle.0 - size * 0.6, middle.1 - size),
                (middle.0 + size * 0.6, middle.1 + size),
                0.6,
            )],
            _ => vec![
                limb(from, middle, thin, thin * 0.8),
                limb(middle, polar(middle, angle + 2.0, size - thin), thin * 0.8, thin * 0.7),
            ],
        };
        let kind = draws.index(24);
        let texture = Texture::draw(draws, kind % 12);
        let color = palette.draw_stray(draws);
        Stray { shapes, middle, color, texture: (kind < 12).then_some(texture) }
    }

    pub(super) fn paint(&self, canvas: &mut Canvas, light: Xy, drift: Xy) {
        let map = Similarity { origin: (-drift.0, -drift.1), scale: 1.0, turn: (1.0, 0.0), mirrored: false };
        let shapes = self.shapes.iter().map(|shape| shape.mapped(&map, 0.0)).collect();
        let layer = Layer { part: Part::Body, slot: Slot::Main, shapes };
        let axes = Similarity { origin: map.point(self.middle), ..map };
        let texture = self.texture.as_ref().map(|texture| (texture, &axes, 4.5));
        canvas.paint(&layer, &Finish { color: self.color, light, texture, part_id: 0 });
    }
}
