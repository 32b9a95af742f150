//! Things that carry: car, boat, airplane. They face right.

use super::model::{Genes, Model, Slot};
use super::names::{Part, Point};
use super::shape::{disc, ellipse, limb, polygon, slab};

pub(super) fn car(genes: &Genes) -> Model {
    let half = genes.at(0, 0.88, 1.06);
    let bottom = genes.at(1, 0.34, 0.44);
    let top = -genes.at(2, 0.40, 0.58);
    let shift = genes.at(3, -0.22, 0.02);
    let wheel = genes.at(4, 0.21, 0.27);
    let slope = genes.at(5, 0.12, 0.30);
    let (rear, front) = (shift - genes.at(6, 0.42, 0.56), shift + genes.at(7, 0.34, 0.46));
    let mut model = Model::default();
    let cabin = [(rear - 0.10, 0.02), (rear + 0.06, top), (front, top), (front + slope, 0.02)];
    model.part(Part::Roof, Slot::Second, &[polygon(&cabin, 0.06)]);
    let middle = (rear + front) * 0.5;
    let sill = -0.06;
    let pane = top + 0.09;
    let panes = [
        polygon(
            &[(rear + 0.02, sill), (rear + 0.10, pane), (middle - 0.05, pane), (middle - 0.05, sill)],
            0.02,
        ),
        polygon(
            &[
                (middle + 0.06, sill),
                (middle + 0.06, pane),
                (front - 0.02, pane),
                (front + slope * 0.75, sill),
            ],
            0.02,
        ),
    ];
    model.part(Part::Window, Slot::Detail, &panes);
    let body = [
        (-half, 0.02),
        (front, -0.02),
        (half - 0.04, 0.06),
        (half, bottom * 0.55),
        (half - 0.02, bottom),
        (0.04 - half, bottom),
    ];
    model.part(Part::Body, Slot::Main, &[polygon(&body, 0.06)]);
    model.part(Part::Light, Slot::Detail, &[ellipse((half - 0.04, 0.15), (0.09, 0.07), 0.0)]);
    let (back_x, front_x) = (-half * 0.60, half * 0.58);
    let hub = bottom + 0.04;
    model.part(Part::Wheel, Slot::Third, &[disc((back_x, hub), wheel), disc((front_x, hub), wheel)]);
    let caps = [disc((back_x, hub), wheel * 0.42), disc((front_x, hub), wheel * 0.42)];
    model.part(Part::Wheel, Slot::Detail, &caps);
    model.point(Point::FrontWheel, Part::Wheel, (front_x, hub));
    model.point(Point::BackWheel, Part::Wheel, (back_x, hub));
    model.point(Point::FrontBumper, Part::Body, (half, bottom * 0.8));
    model.point(Point::BackBumper, Part::Body, (-half, bottom * 0.6));
    model.point(Point::RoofMiddle, Part::Roof, (middle, top));
    model
}

pub(super) fn boat(genes: &Genes, swing: f64) -> Model {
    let half = genes.at(0, 0.70, 0.90);
    let deck = genes.at(1, 0.42, 0.52);
    let keel = deck + genes.at(2, 0.30, 0.42);
    let mast_x = genes.at(3, -0.12, 0.10);
    let top = -genes.at(4, 0.86, 1.0);
    let boom = mast_x - genes.at(5, 0.52, 0.68) * (1.0 - 0.12 * swing);
    let jib = mast_x + genes.at(6, 0.48, 0.66) * (1.0 + 0.12 * swing);
    let mut model = Model::default();
    model.part(Part::Mast, Slot::Third, &[limb((mast_x, top), (mast_x, deck), 0.045, 0.055)]);
    let flag = [(mast_x, top - 0.02), (mast_x - 0.24, top + 0.07), (mast_x, top + 0.16)];
    model.part(Part::Flag, Slot::Detail, &[polygon(&flag, 0.015)]);
    let low = deck - 0.12;
    let main = [(mast_x - 0.07, top + 0.22), (mast_x - 0.07, low), (boom, low)];
    model.part(Part::Sail, Slot::Main, &[polygon(&main, 0.03)]);
    let fore = [(mast_x + 0.09, top + 0.12), (mast_x + 0.09, low), (jib, low)];
    model.part(Part::Sail, Slot::Main, &[polygon(&fore, 0.03)]);
    let (aft, fore) = (half * 0.62, half * 0.55);
    let hull = [(-half, deck), (half + 0.08, deck - 0.02), (fore, keel), (-aft, keel)];
    model.part(Part::Hull, Slot::Second, &[polygon(&hull, 0.05)]);
    let n_windows = 2 + genes.pick(7, 3);
    let y = deck + (keel - deck) * 0.42;
    let panes: Vec<_> = (0..n_windows)
        .map(|idx| disc(((idx as f64 - (n_windows - 1) as f64 * 0.5) * 0.24, y), 0.065))
        .collect();
    model.part(Part::Window, Slot::Detail, &panes);
    model.point(Point::MastTop, Part::Mast, (mast_x, top));
    model.point(Point::Bow, Part::Hull, (half + 0.06, deck));
    model.point(Point::Stern, Part::Hull, (-half, deck + 0.02));
    model
}

pub(super) fn airplane(genes: &Genes) -> Model {
    let girth = genes.at(0, 0.13, 0.18);
    let span = genes.at(1, 0.72, 0.92);
    let sweep = genes.at(2, 0.20, 0.50);
    let root = genes.at(3, 0.36, 0.50);
    let tip = genes.at(4, 0.12, 0.20);
    let lead = genes.at(5, 0.24, 0.38);
    let tail_span = genes.at(6, 0.30, 0.42);
    let mut model = Model::default();
    for side in [-1.0, 1.0] {
        let wing = [
            (lead, side * girth * 0.5),
            (lead - sweep, side * span),
            (lead - sweep - tip, side * span),
            (lead - root, side * girth * 0.5),
        ];
        model.part(Part::Wing, Slot::Second, &[polygon(&wing, 0.035)]);
        let engine_x = lead - sweep * 0.5;
        model.part(
            Part::Body,
            Slot::Third,
            &[limb((engine_x + 0.10, side * span * 0.5), (engine_x - 0.10, side * span * 0.5), 0.07, 0.06)],
        );
        let fin = [
            (-0.66, side * girth * 0.3),
            (-0.86, side * tail_span),
            (-1.0, side * tail_span),
            (-0.94, side * girth * 0.3),
        ];
        model.part(Part::Tail, Slot::Second, &[polygon(&fin, 0.03)]);
    }
    let hull =
        [ellipse((0.62, 0.0), (0.36, girth), 0.0), limb((0.60, 0.0), (-0.90, 0.0), girth, girth * 0.42)];
    model.part(Part::Body, Slot::Main, &hull);
    let n_windows = 3 + genes.pick(7, 3);
    let panes: Vec<_> = (0..n_windows).map(|idx| disc((0.42 - 0.20 * idx as f64, 0.0), 0.05)).collect();
    model.part(Part::Window, Slot::Detail, &panes);
    model.part(Part::Window, Slot::Detail, &[slab((0.66, -0.085), (0.78, 0.085), 0.04)]);
    model.point(Point::Nose, Part::Body, (0.95, 0.0));
    model.point(Point::TailTip, Part::Body, (-0.93, 0.0));
    model.point(Point::UpperWingTip, Part::Wing, (lead - sweep - tip * 0.5, -span));
    model.point(Point::LowerWingTip, Part::Wing, (lead - sweep - tip * 0.5, span));
    model
}
