//! Things that stand: house, tree, flower, mug, lamp.

use super::model::{Genes, Model, Slot};
use super::names::{Part, Point};
use super::shape::{Shape, disc, ellipse, limb, polar, polygon, ring, slab};

/// A quarter turn, in radians.
const QUARTER: f64 = std::f64::consts::FRAC_PI_2;

pub(super) fn house(genes: &Genes) -> Model {
    let half = genes.at(0, 0.62, 0.80);
    let eave = genes.at(1, -0.22, 0.0);
    let floor = genes.at(2, 0.66, 0.84);
    let apex = -genes.at(3, 0.82, 1.0);
    let over = genes.at(4, 0.10, 0.20);
    let side = if genes.pick(5, 2) == 0 { -1.0 } else { 1.0 };
    let door_x = side * genes.at(6, 0.26, 0.40) * half;
    let mut model = Model::default();
    let chimney_x = -side * half * 0.56;
    model.part(
        Part::Chimney,
        Slot::Third,
        &[slab((chimney_x - 0.11, apex + 0.05), (chimney_x + 0.11, eave), 0.03)],
    );
    model.part(Part::Body, Slot::Main, &[slab((-half, eave - 0.05), (half, floor), 0.03)]);
    let gable = [(-half - over, eave), (0.0, apex), (half + over, eave)];
    model.part(Part::Roof, Slot::Second, &[polygon(&gable, 0.04)]);
    let door = slab((door_x - 0.16, floor - genes.at(7, 0.44, 0.56)), (door_x + 0.16, floor - 0.01), 0.03);
    model.part(Part::Door, Slot::Third, &[door]);
    let window_y = eave + 0.34;
    let window = slab((-door_x - 0.19, window_y - 0.15), (-door_x + 0.19, window_y + 0.17), 0.02);
    model.part(Part::Window, Slot::Detail, &[window]);
    model.part(Part::Window, Slot::Detail, &[disc((0.0, (apex + eave) * 0.5 + 0.10), 0.12)]);
    model.point(Point::RoofApex, Part::Roof, (0.0, apex));
    model.point(Point::LeftEave, Part::Roof, (-half - over, eave));
    model.point(Point::RightEave, Part::Roof, (half + over, eave));
    model.point(Point::LeftCorner, Part::Body, (0.02 - half, floor - 0.02));
    model.point(Point::RightCorner, Part::Body, (half - 0.02, floor - 0.02));
    model.point(Point::Door, Part::Door, (door_x, floor - 0.24));
    model
}

pub(super) fn tree(genes: &Genes) -> Model {
    let n_tiers = 3 + genes.pick(0, 2);
    let half = genes.at(1, 0.56, 0.74);
    let bottom = genes.at(2, 0.50, 0.64);
    let trunk = genes.at(3, 0.09, 0.14);
    let taper = genes.at(4, 0.40, 0.52);
    let lean = genes.at(5, -0.06, 0.06);
    let droop = genes.at(6, 0.02, 0.12);
    let mut model = Model::default();
    let stump = [(-trunk, bottom - 0.1), (trunk, bottom - 0.1), (trunk * 1.25, 1.0), (-trunk * 1.25, 1.0)];
    model.part(Part::Trunk, Slot::Second, &[polygon(&stump, 0.02)]);
    let step = (bottom + 1.0) / (n_tiers as f64 + 0.35);
    for tier in 0..n_tiers {
        let up = tier as f64;
        let width = half * (1.0 - taper * up / (n_tiers - 1) as f64);
        let base = bottom - step * up;
        let x = lean * up;
        let top = (base - step * 1.42).max(-1.0);
        let bough = [(x - width, base), (x + lean, top), (x + width, base), (x, base - droop)];
        let slot = if tier % 2 == 0 { Slot::Main } else { Slot::Third };
        model.part(Part::Crown, slot, &[polygon(&bough, 0.035)]);
        if tier + 1 == n_tiers {
            model.point(Point::TreeTop, Part::Crown, (x + lean, top + 0.02));
        }
    }
    model.point(Point::LeftBough, Part::Crown, (0.02 - half, bottom));
    model.point(Point::RightBough, Part::Crown, (half - 0.02, bottom));
    model.point(Point::TrunkFoot, Part::Trunk, (0.0, 0.97));
    model
}

pub(super) fn flower(genes: &Genes, swing: f64) -> Model {
    let n_petals = 5 + genes.pick(0, 4);
    let reach = genes.at(1, 0.40, 0.50);
    let heart_y = -genes.at(2, 0.38, 0.50);
    let heart = genes.at(3, 0.17, 0.23);
    let bend = genes.at(4, -0.14, 0.14) + 0.08 * swing;
    let turn = genes.at(5, 0.0, 1.0);
    let leaf = genes.at(6, 0.34, 0.44);
    let lift = genes.at(7, 0.35, 0.75) + 0.15 * swing;
    let mut model = Model::default();
    let (joint, foot) = ((bend, 0.30), (0.0, 1.0));
    let stem = [limb((0.0, heart_y), joint, 0.06, 0.06), limb(joint, foot, 0.06, 0.07)];
    model.part(Part::Stem, Slot::Second, &stem);
    for (side, point) in [(-1.0, Point::LeftLeafTip), (1.0, Point::RightLeafTip)] {
        let angle = if side > 0.0 { -lift } else { 2.0 * QUARTER + lift };
        let root = (bend * 0.7, 0.55 + 0.06 * side);
        model.part(
            Part::Leaf,
            Slot::Second,
            &[ellipse(polar(root, angle, leaf * 0.8), (leaf * 0.8, 0.15), angle)],
        );
        model.point(point, Part::Leaf, polar(root, angle, leaf * 1.57));
    }
    let center = (0.0, heart_y);
    let girth = (reach * 2.6 / n_petals as f64).min(0.24);
    for petal in 0..n_petals {
        let angle = (petal as f64 + turn) / n_petals as f64 * 4.0 * QUARTER;
        let slot = if n_petals.is_multiple_of(2) && petal % 2 == 1 { Slot::Third } else { Slot::Main };
        model.part(
            Part::Petal,
            slot,
            &[ellipse(polar(center, angle, reach * 0.70), (reach * 0.5, girth), angle)],
        );
    }
    model.part(Part::Head, Slot::Detail, &[disc(center, heart)]);
    model.point(Point::Blossom, Part::Head, center);
    model.point(Point::StemFoot, Part::Stem, (0.0, 1.0));
    model
}

pub(super) fn mug(genes: &Genes) -> Model {
    let half = genes.at(0, 0.50, 0.62);
    let foot = half * genes.at(1, 0.78, 1.0);
    let top = -genes.at(2, 0.60, 0.74);
    let bottom = genes.at(3, 0.60, 0.78);
    let lip = genes.at(4, 0.13, 0.19);
    let radius = genes.at(5, 0.28, 0.36);
    let pen = genes.at(6, 0.07, 0.10);
    let handle_y = genes.at(7, -0.10, 0.08);
    let mut model = Model::default();
    let handle_x = -half - radius * 0.35;
    model.part(Part::Handle, Slot::Second, &[ring((handle_x, handle_y), radius, pen)]);
    let wall = [(-half, top), (half, top), (foot - 0.06, bottom - 0.06), (0.06 - foot, bottom - 0.06)];
    let cup = [polygon(&wall, 0.0), ellipse((0.0, bottom - 0.07), (foot - 0.05, lip * 0.75), 0.0)];
    model.part(Part::Body, Slot::Main, &cup);
    model.part(Part::Rim, Slot::Third, &[ellipse((0.0, top), (half, lip), 0.0)]);
    model.part(Part::Rim, Slot::Detail, &[ellipse((0.0, top + 0.02), (half - 0.09, lip - 0.06), 0.0)]);
    model.point(Point::Handle, Part::Handle, (handle_x - radius, handle_y));
    model.point(Point::FrontRim, Part::Rim, (half - 0.03, top));
    model.point(Point::BackRim, Part::Rim, (0.03 - half, top));
    model.point(Point::FrontBase, Part::Body, (foot - 0.08, bottom - 0.08));
    model.point(Point::BackBase, Part::Body, (0.08 - foot, bottom - 0.08));
    model
}

pub(super) fn lamp(genes: &Genes, swing: f64) -> Model {
    let crown = genes.at(0, 0.22, 0.34);
    let skirt = genes.at(1, 0.56, 0.72);
    let shade_y = genes.at(2, -0.16, 0.04);
    let foot = genes.at(3, 0.36, 0.48);
    let pole = genes.at(4, 0.05, 0.075);
    let knob = genes.at(5, 0.10, 0.17);
    let knob_y = genes.at(6, 0.42, 0.62);
    let mut model = Model::default();
    let cord_x = genes.at(7, 0.22, 0.34) + 0.06 * swing;
    let cord_end = (cord_x, shade_y + 0.30);
    model.part(
        Part::Handle,
        Slot::Detail,
        &[limb((0.28, shade_y - 0.05), cord_end, 0.02, 0.02), disc(cord_end, 0.055)],
    );
    let stand: [Shape; 2] =
        [limb((0.0, -0.5), (0.0, 0.9), pole, pole), ellipse((0.0, knob_y), (knob, knob * 1.3), 0.0)];
    model.part(Part::Stem, Slot::Second, &stand);
    model.part(
        Part::Foot,
        Slot::Third,
        &[ellipse((0.0, 0.92), (foot, 0.10), 0.0), ellipse((0.0, 0.84), (foot * 0.55, 0.12), 0.0)],
    );
    let shade = [(-crown, -0.96), (crown, -0.96), (skirt, shade_y), (-skirt, shade_y)];
    model.part(Part::Shade, Slot::Main, &[polygon(&shade, 0.04)]);
    let band = [
        (-skirt, shade_y - 0.06),
        (skirt, shade_y - 0.06),
        (skirt + 0.02, shade_y + 0.02),
        (-skirt - 0.02, shade_y + 0.02),
    ];
    model.part(Part::Shade, Slot::Third, &[polygon(&band, 0.03)]);
    model.point(Point::ShadeTop, Part::Shade, (0.0, -0.97));
    model.point(Point::LeftShade, Part::Shade, (-skirt, shade_y));
    model.point(Point::RightShade, Part::Shade, (skirt, shade_y));
    model.point(Point::LampFoot, Part::Foot, (0.0, 0.95));
    model
}
