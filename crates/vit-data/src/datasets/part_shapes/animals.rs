//! What lives: person, cat, bird, fish. Those with a side face right.

use super::model::{Genes, Model, Slot};
use super::names::{Part, Point};
use super::shape::{Shape, disc, ellipse, limb, polar, polygon};

/// A quarter turn, in radians.
const QUARTER: f64 = std::f64::consts::FRAC_PI_2;

pub(super) fn person(genes: &Genes, swing: f64) -> Model {
    let head = genes.at(0, 0.22, 0.27);
    let shoulder = genes.at(1, 0.27, 0.35);
    let hip = genes.at(2, 0.17, 0.26);
    let stride = genes.at(3, 0.10, 0.26);
    let arms = [genes.at(4, 0.15, 1.9), genes.at(5, 0.15, 1.9)];
    let elbow = genes.at(6, -0.6, 0.5);
    let girth = genes.at(7, 0.105, 0.135);
    let (neck, waist) = (-0.46, 0.22);
    let mut model = Model::default();
    for (idx, side) in [-1.0, 1.0].into_iter().enumerate() {
        let lift = stride * (1.0 + 0.6 * side * swing);
        let root = (side * hip * 0.55, waist);
        let knee = polar(root, QUARTER - side * lift, 0.36);
        let foot = polar(knee, QUARTER - side * lift * 0.4, 0.38);
        let toe = (foot.0 + side * 0.10, foot.1);
        let leg = [limb(root, knee, girth * 1.2, girth), limb(knee, foot, girth, girth * 0.9)];
        model.part(Part::Leg, Slot::Second, &leg);
        model.part(Part::Leg, Slot::Detail, &[limb(foot, toe, girth * 0.95, girth * 0.85)]);
        model.point(if idx == 0 { Point::LeftFoot } else { Point::RightFoot }, Part::Leg, foot);
        let raise = arms[idx] + 0.25 * swing * side;
        let root = (side * (shoulder - 0.02), neck + 0.09);
        let bend = polar(root, QUARTER - side * raise, 0.30);
        let hand = polar(bend, QUARTER - side * (raise + elbow), 0.30);
        let arm = [limb(root, bend, girth, girth * 0.85), limb(bend, hand, girth * 0.85, girth * 0.75)];
        model.part(Part::Arm, Slot::Main, &arm);
        model.part(Part::Arm, Slot::Third, &[disc(hand, girth * 0.95)]);
        model.point(if idx == 0 { Point::LeftHand } else { Point::RightHand }, Part::Arm, hand);
    }
    let torso = [
        (-shoulder + 0.06, neck + 0.06),
        (shoulder - 0.06, neck + 0.06),
        (hip - 0.04, waist),
        (0.04 - hip, waist),
    ];
    model.part(Part::Body, Slot::Main, &[polygon(&torso, 0.07)]);
    let face = (0.0, neck - head * 0.95);
    model.part(Part::Head, Slot::Third, &[ellipse(face, (head * 0.92, head), 0.0)]);
    let eyes = [disc((-head * 0.36, face.1), 0.035), disc((head * 0.36, face.1), 0.035)];
    model.part(Part::Eye, Slot::Dark, &eyes);
    model.point(Point::HeadTop, Part::Head, (0.0, face.1 - head * 0.95));
    model
}

pub(super) fn cat(genes: &Genes, swing: f64) -> Model {
    let length = genes.at(0, 0.44, 0.56);
    let girth = genes.at(1, 0.22, 0.29);
    let leg = genes.at(2, 0.40, 0.54);
    let head = genes.at(3, 0.28, 0.33);
    let ear = genes.at(4, 0.20, 0.30);
    let curl = genes.at(5, 0.15, 0.75) + 0.2 * swing;
    let raise = genes.at(6, 0.16, 0.34);
    let thick = genes.at(7, 0.085, 0.11);
    let mut model = Model::default();
    let floor = girth * 0.5 + leg;
    let root = (-length, -girth * 0.4);
    let first = polar(root, -2.0 * QUARTER + 0.7, 0.26);
    let second = polar(first, -QUARTER - 0.1 + curl * 0.3, 0.28);
    let tip = polar(second, -QUARTER + curl, 0.24);
    let tail =
        [limb(root, first, 0.085, 0.08), limb(first, second, 0.08, 0.075), limb(second, tip, 0.075, 0.06)];
    model.part(Part::Tail, Slot::Second, &tail);
    model.point(Point::TailTip, Part::Tail, tip);
    let step = 0.14 * swing;
    let legs_at =
        |x: f64, step: f64| -> Shape { limb((x, girth * 0.4), (x + step, floor), thick, thick * 0.9) };
    model.part(Part::Leg, Slot::Third, &[legs_at(-length * 0.50, -step), legs_at(length * 0.95, -step)]);
    model.part(Part::Body, Slot::Main, &[ellipse((0.0, 0.0), (length + 0.14, girth), -0.06)]);
    let near = [legs_at(-length * 0.82, step), legs_at(length * 0.62, step)];
    model.part(Part::Leg, Slot::Main, &near);
    model.point(Point::BackFoot, Part::Leg, (-length * 0.82 + step, floor));
    model.point(Point::FrontFoot, Part::Leg, (length * 0.62 + step, floor));
    let face = (length + 0.14, -girth * 0.55 - raise);
    for (angle, point) in [(-QUARTER - 0.62, Point::BackEar), (-QUARTER + 0.62, Point::FrontEar)] {
        let tip = polar(face, angle, head + ear);
        let corners = [tip, polar(face, angle - 0.52, head * 0.85), polar(face, angle + 0.52, head * 0.85)];
        model.part(Part::Ear, Slot::Second, &[polygon(&corners, 0.02)]);
        model.point(point, Part::Ear, tip);
    }
    model.part(Part::Head, Slot::Main, &[ellipse(face, (head * 1.06, head), 0.0)]);
    let nose = (face.0 + head * 0.30, face.1 + head * 0.36);
    model.part(Part::Head, Slot::Detail, &[ellipse(nose, (head * 0.44, head * 0.32), 0.0)]);
    let eyes = [
        ellipse((face.0 - head * 0.22, face.1 - head * 0.16), (0.045, 0.06), 0.0),
        ellipse((face.0 + head * 0.58, face.1 - head * 0.16), (0.045, 0.06), 0.0),
        disc((nose.0, nose.1 - head * 0.12), 0.04),
    ];
    model.part(Part::Eye, Slot::Dark, &eyes);
    model.point(Point::Nose, Part::Head, nose);
    model
}

pub(super) fn bird(genes: &Genes, swing: f64) -> Model {
    let length = genes.at(0, 0.50, 0.60);
    let girth = genes.at(1, 0.30, 0.38);
    let tilt = -genes.at(2, 0.20, 0.50);
    let head = genes.at(3, 0.21, 0.27);
    let beak = genes.at(4, 0.22, 0.38);
    let leg = genes.at(5, 0.30, 0.44);
    let tail = genes.at(6, 0.44, 0.62);
    let wing = genes.at(7, 0.40, 0.50);
    let mut model = Model::default();
    let floor = girth * 0.75 + leg;
    for (x, slide, point) in [(-0.12, -0.06, Point::BackFoot), (0.12, 0.06, Point::FrontFoot)] {
        let foot = (x + slide * swing, floor);
        let shank = [
            limb((x, girth * 0.5), foot, 0.045, 0.04),
            limb((foot.0 - 0.03, floor), (foot.0 + 0.16, floor), 0.04, 0.035),
        ];
        model.part(Part::Leg, Slot::Third, &shank);
        model.point(point, Part::Leg, foot);
    }
    let back = 2.0 * QUARTER + tilt * 0.5;
    let rump = polar((0.0, 0.0), 2.0 * QUARTER + tilt, length * 0.75);
    let fan = [
        (rump.0 + 0.06, rump.1 - 0.10),
        polar(rump, back + 0.20, tail),
        polar(rump, back - 0.20, tail),
        (rump.0 + 0.10, rump.1 + 0.10),
    ];
    model.part(Part::Tail, Slot::Second, &[polygon(&fan, 0.03)]);
    model.point(Point::TailTip, Part::Tail, polar(rump, back, tail * 0.97));
    let face = polar((0.0, -girth * 0.35), tilt * 1.1, length * 1.02);
    let bill = [
        (face.0 + head * 0.75, face.1 - head * 0.34),
        (face.0 + head + beak, face.1 + head * 0.12),
        (face.0 + head * 0.72, face.1 + head * 0.45),
    ];
    model.part(Part::Beak, Slot::Third, &[polygon(&bill, 0.015)]);
    model.point(Point::Nose, Part::Beak, (face.0 + head + beak - 0.02, face.1 + head * 0.12));
    model.part(Part::Body, Slot::Main, &[ellipse((0.0, 0.0), (length, girth), tilt)]);
    model.part(Part::Head, Slot::Main, &[disc(face, head)]);
    let eye = (face.0 + head * 0.26, face.1 - head * 0.18);
    model.part(Part::Eye, Slot::Detail, &[disc(eye, 0.085)]);
    model.part(Part::Eye, Slot::Dark, &[disc((eye.0 + 0.012, eye.1), 0.048)]);
    model.point(Point::Eye, Part::Eye, eye);
    let shoulder = (length * 0.28, -girth * 0.18);
    let angle = 2.0 * QUARTER + tilt * 0.6 + 0.10 + 0.45 * swing.max(-0.5);
    let plume = [
        ellipse(polar(shoulder, angle, wing * 0.66), (wing * 0.72, girth * 0.46), angle),
        ellipse(polar(shoulder, angle, wing * 0.95), (wing * 0.56, girth * 0.24), angle),
    ];
    model.part(Part::Wing, Slot::Second, &plume);
    model.point(Point::WingTip, Part::Wing, polar(shoulder, angle, wing * 1.46));
    model
}

pub(super) fn fish(genes: &Genes, swing: f64) -> Model {
    let length = genes.at(0, 0.60, 0.72);
    let girth = genes.at(1, 0.34, 0.48);
    let fork = genes.at(2, 0.34, 0.50);
    let notch = genes.at(3, 0.06, 0.22);
    let dorsal = genes.at(4, 0.20, 0.34);
    let rear = genes.at(5, -0.34, -0.10);
    let flap = genes.at(6, 0.20, 0.30);
    let eye_r = genes.at(7, 0.085, 0.11);
    let mut model = Model::default();
    let sway = 0.14 * swing;
    let root = 0.12 - length;
    let tail = [
        (root + 0.16, -0.06),
        (-1.0, sway - fork),
        (-1.0 + notch, sway),
        (-1.0, sway + fork),
        (root + 0.16, 0.06),
    ];
    model.part(Part::Tail, Slot::Second, &[polygon(&tail, 0.03)]);
    model.point(Point::TailTip, Part::Tail, (-1.0, sway - fork));
    let crest = [
        (rear, -girth * 0.75),
        (rear - 0.10, -girth - dorsal),
        (0.22, -girth - dorsal * 0.55),
        (0.42, -girth * 0.7),
    ];
    model.part(Part::Fin, Slot::Third, &[polygon(&crest, 0.03)]);
    model.point(Point::FinTip, Part::Fin, (rear - 0.10, -girth - dorsal));
    let keel = [(-0.05, girth * 0.8), (-0.22, girth + dorsal * 0.8), (0.22, girth * 0.85)];
    model.part(Part::Fin, Slot::Third, &[polygon(&keel, 0.03)]);
    model.part(Part::Body, Slot::Main, &[ellipse((0.15, 0.0), (length, girth), 0.0)]);
    let root = (0.24, girth * 0.22);
    let angle = 2.0 * QUARTER - 0.45 + 0.3 * swing;
    model.part(
        Part::Fin,
        Slot::Second,
        &[ellipse(polar(root, angle, flap * 0.7), (flap * 0.8, flap * 0.42), angle)],
    );
    let eye = (0.15 + length * 0.62, -girth * 0.22);
    model.part(Part::Eye, Slot::Detail, &[disc(eye, eye_r)]);
    model.part(Part::Eye, Slot::Dark, &[disc((eye.0 + 0.015, eye.1), eye_r * 0.55)]);
    model.point(Point::Eye, Part::Eye, eye);
    model.point(Point::Nose, Part::Body, (0.12 + length, 0.0));
    model
}
