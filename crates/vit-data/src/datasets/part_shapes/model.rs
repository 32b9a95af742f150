//! An object before it is posed: layers of named parts, back to front, and named points.

use super::draws::{Draws, mix};
use super::names::{Part, Point};
use super::shape::{Bounds, Shape, Similarity, Xy};
use super::{animals, things, vehicles};

/// What a part is painted with: one of the palette's colours, or a dark tone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The object's first colour, textured.
    Main,
    /// The second, textured.
    Second,
    /// The third, textured.
    Third,
    /// The fourth, plain: panes, eyes, hubs.
    Detail,
    /// A dark tone of the fourth, plain: pupils.
    Dark,
}

/// One part, the union of its shapes.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) part: Part,
    pub(super) slot: Slot,
    pub(super) shapes: Vec<Shape>,
}

/// A named point that belongs to a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Landmark {
    pub(super) point: Point,
    pub(super) part: Part,
    pub(super) xy: Xy,
}

/// The parts of an object, back to front, about within `[−1, 1]²`.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) layers: Vec<Layer>,
    pub(super) landmarks: Vec<Landmark>,
}

/// What tells two objects of a class apart: eight numbers in `[0, 1)`, read as proportions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Genes([f64; 8]);

impl Genes {
    pub(super) fn draw(draws: &mut Draws) -> Genes {
        Genes(std::array::from_fn(|_| draws.uniform(0.0, 1.0)))
    }

    /// Gene `idx` as a proportion between `low` and `high`.
    pub(super) fn at(&self, idx: usize, low: f64, high: f64) -> f64 {
        mix(low, high, self.0[idx])
    }

    /// Gene `idx` as one of `n` choices.
    pub(super) fn pick(&self, idx: usize, n: usize) -> usize {
        ((self.0[idx] * n as f64) as usize).min(n - 1)
    }
}

/// Whether objects of the class face a side, so that mirroring them means something.
pub(super) fn faces_a_side(class: usize) -> bool {
    matches!(class, 0 | 1 | 2 | 6 | 9 | 10 | 11)
}

/// Builds an object of `class`; `swing` in `[−1, 1]` moves its limbs.
pub(super) fn model(class: usize, genes: &Genes, swing: f64) -> Model {
    match class {
        0 => vehicles::car(genes),
        1 => vehicles::boat(genes, swing),
        2 => vehicles::airplane(genes),
        3 => things::house(genes),
        4 => things::tree(genes),
        5 => things::flower(genes, swing),
        6 => things::mug(genes),
        7 => things::lamp(genes, swing),
        8 => animals::person(genes, swing),
        9 => animals::cat(genes, swing),
        10 => animals::bird(genes, swing),
        _ => animals::fish(genes, swing),
    }
}

impl Model {
    /// Adds a part in front of those before it.
    pub(super) fn part(&mut self, part: Part, slot: Slot, shapes: &[Shape]) {
        self.layers.push(Layer { part, slot, shapes: shapes.to_vec() });
    }

    /// Names a point of `part`.
    pub(super) fn point(&mut self, point: Point, part: Part, xy: Xy) {
        self.landmarks.push(Landmark { point, part, xy });
    }

    /// The model moved by `map`.
    pub(super) fn mapped(&self, map: &Similarity, thinnest: f64) -> Model {
        let layers = self.layers.iter().map(|layer| Layer {
            part: layer.part,
            slot: layer.slot,
            shapes: layer.shapes.iter().map(|shape| shape.mapped(map, thinnest)).collect(),
        });
        let landmarks = self.landmarks.iter().map(|mark| Landmark { xy: map.point(mark.xy), ..*mark });
        Model { layers: layers.collect(), landmarks: landmarks.collect() }
    }

    /// The box around all parts.
    pub(super) fn bounds(&self) -> Bounds {
        self.layers.iter().map(Layer::bounds).fold(Bounds::EMPTY, Bounds::union)
    }
}

impl Layer {
    /// The signed distance to the union of the shapes.
    pub(super) fn distance(&self, p: Xy) -> f64 {
        self.shapes.iter().fold(1e9, |nearest: f64, shape| nearest.min(shape.distance(p)))
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.shapes.iter().map(Shape::bounds).fold(Bounds::EMPTY, Bounds::union)
    }
}
