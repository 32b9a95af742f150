//! One scene: scenery, stray pieces and an object, each drawn independently, and how it looks at a moment.

use super::backdrop::Backdrop;
use super::canvas::{Canvas, Finish};
use super::draws::{Draws, hash, mix, smooth};
use super::model::{Genes, Model, Slot, faces_a_side, model};
use super::palette::{N_SLOTS, Palette, Rgb, toned};
use super::shape::{Similarity, Xy};
use super::stray::Stray;
use super::texture::Texture;
use super::{SIZE_PX, TEXTURES};
use crate::{Image, Keypoint, LabelMap};

/// The largest turn of an object either way, in radians (25°).
const LARGEST_TURN: f64 = 0.436;
/// The longer side of the object's box, as ratios of the image's side.
const BOX_RATIOS: (f64, f64) = (0.34, 0.66);
/// How far an object may reach over the frame, in pixels.
const OVERHANG_PX: f64 = 2.0;
/// A named point shows if a pixel of its part shows within this distance, in pixels.
const SHOWS_WITHIN_PX: f64 = 1.6;
/// Half the width of the thinnest limb, in pixels.
const THINNEST_PX: f64 = 0.8;

/// Which texture an object gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wearing {
    /// Its own with probability 1/2, otherwise any.
    MostlyItsOwn,
    /// Any but its own.
    Another,
}

/// Everything that was drawn for a picture or a clip.
pub(super) struct Scene {
    palette: Palette,
    backdrop: Backdrop,
    behind: Vec<Stray>,
    before: Vec<Stray>,
    light: Xy,
    grain_key: u64,
    grain: f64,
    drift: Xy,
    object: Option<Object>,
}

/// The object and its two ends of a motion; a still picture shows the first.
struct Object {
    model_class: usize,
    genes: Genes,
    colors: [Rgb; N_SLOTS],
    texture: Texture,
    mirrored: bool,
    shadow: f64,
    poses: [Pose; 2],
}

/// Where an object is and how it stands.
#[derive(Clone, Copy, Debug)]
struct Pose {
    turn: f64,
    box_px: f64,
    /// The place within the room that is left, ratios 0–1.
    place: Xy,
    swing: f64,
}

/// A picture with its truth.
pub(super) struct Rendering {
    pub(super) image: Image,
    pub(super) mask: LabelMap,
    pub(super) parts: LabelMap,
    pub(super) keypoints: Vec<Keypoint>,
}

impl Scene {
    /// Draws scenery alone; what follows in the stream is the object's.
    pub(super) fn draw_scenery(draws: &mut Draws) -> Scene {
        let palette = Palette::draw(draws);
        let backdrop = Backdrop::draw(draws, &palette);
        let n_behind = 3 + draws.index(5);
        let behind = (0..n_behind).map(|_| Stray::draw(draws, &palette)).collect();
        let n_before = if draws.chance(0.35) { 1 } else { 0 };
        let before = (0..n_before).map(|_| Stray::draw(draws, &palette)).collect();
        let tilt = draws.uniform(-0.9, 0.9);
        Scene {
            palette,
            backdrop,
            behind,
            before,
            light: (libm::sin(tilt), -libm::cos(tilt)),
            grain_key: draws.key(),
            grain: draws.uniform(0.0, 0.04),
            drift: (draws.uniform(-3.0, 3.0), draws.uniform(-1.5, 1.5)),
            object: None,
        }
    }

    /// Puts an object of `class` into the scenery.
    pub(super) fn draw_object(mut self, draws: &mut Draws, class: usize, wearing: Wearing) -> Scene {
        let n = TEXTURES.len();
        let kind = match wearing {
            Wearing::MostlyItsOwn if draws.chance(0.5) => class,
            Wearing::MostlyItsOwn => draws.index(n),
            Wearing::Another => (class + 1 + draws.index(n - 1)) % n,
        };
        let mut pose = || Pose {
            turn: LARGEST_TURN * draws.peaked(-1.0, 1.0),
            box_px: draws.uniform(BOX_RATIOS.0, BOX_RATIOS.1) * SIZE_PX as f64,
            place: (draws.uniform(0.0, 1.0), draws.uniform(0.0, 1.0)),
            swing: draws.uniform(-1.0, 1.0),
        };
        let poses = [pose(), pose()];
        self.object = Some(Object {
            model_class: class,
            poses,
            genes: Genes::draw(draws),
            colors: self.palette.draw_object(draws),
            texture: Texture::draw(draws, kind),
            mirrored: draws.chance(0.5) && faces_a_side(class),
            shadow: draws.uniform(0.12, 0.34),
        });
        self
    }

    /// The texture the object wears.
    pub(super) fn texture(&self) -> Option<u32> {
        self.object.as_ref().map(|object| object.texture.kind as u32)
    }

    /// Paints the scene at `time` in `[0, 1]` between the two ends of the motion; `frame` varies the grain.
    pub(super) fn render(&self, time: f64, frame: u64) -> Rendering {
        let mut canvas = Canvas::new();
        let drift = (self.drift.0 * time, self.drift.1 * time);
        self.backdrop.paint(&mut canvas, drift);
        for stray in &self.behind {
            stray.paint(&mut canvas, self.light, drift);
        }
        let posed = self.object.as_ref().map(|object| object.paint(&mut canvas, self.light, time));
        for stray in &self.before {
            stray.paint(&mut canvas, self.light, drift);
        }
        let keypoints = posed.map_or_else(Vec::new, |posed| keypoints(&posed, &canvas.parts));
        let mask = canvas.parts.iter().map(|&id| u8::from(id > 0)).collect();
        Rendering {
            image: self.develop(&canvas, frame),
            mask: LabelMap { width_px: SIZE_PX, height_px: SIZE_PX, ids: mask },
            parts: LabelMap { width_px: SIZE_PX, height_px: SIZE_PX, ids: canvas.parts },
            keypoints,
        }
    }

    /// Adds grain and rounds to bytes.
    fn develop(&self, canvas: &Canvas, frame: u64) -> Image {
        let key = hash(self.grain_key, frame);
        let mut rgb = Vec::with_capacity(SIZE_PX * SIZE_PX * 3);
        for (idx, color) in canvas.colors.iter().enumerate() {
            let bits = hash(key, idx as u64);
            let shared = (bits & 0xffff) as f64 / 65_536.0 - 0.5;
            for (channel, value) in color.iter().enumerate() {
                let own = ((bits >> (16 * (channel + 1))) & 0xffff) as f64 / 65_536.0 - 0.5;
                let value = value + self.grain * (shared + 0.5 * own);
                rgb.push((value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8);
            }
        }
        Image { width_px: SIZE_PX, height_px: SIZE_PX, rgb }
    }
}

impl Object {
    /// Paints the object as it stands at `time` and returns its model in pixels.
    fn paint(&self, canvas: &mut Canvas, light: Xy, time: f64) -> Model {
        let pose = Pose::between(&self.poses[0], &self.poses[1], smooth(time));
        let map = self.image_from_model(&pose);
        let posed = model(self.model_class, &self.genes, pose.swing).mapped(&map, THINNEST_PX);
        canvas.shadow(&posed.layers, light, self.shadow);
        let axes = Similarity { origin: posed.bounds().center(), ..map };
        let period_px = 2.6 + 0.075 * pose.box_px;
        for layer in &posed.layers {
            let (color, textured) = match layer.slot {
                Slot::Main => (self.colors[0], true),
                Slot::Second => (self.colors[1], true),
                Slot::Third => (self.colors[2], true),
                Slot::Detail => (self.colors[3], false),
                Slot::Dark => (toned(self.colors[3], 0.30), false),
            };
            let texture = textured.then_some((&self.texture, &axes, period_px));
            canvas.paint(layer, &Finish { color, light, texture, part_id: layer.part.id() });
        }
        posed
    }

    /// The map that gives the object, its limbs at rest, the pose's size and place.
    fn image_from_model(&self, pose: &Pose) -> Similarity {
        let turn = (libm::cos(pose.turn), libm::sin(pose.turn));
        let unit = Similarity { origin: (0.0, 0.0), scale: 1.0, turn, mirrored: self.mirrored };
        let bounds = model(self.model_class, &self.genes, 0.0).mapped(&unit, 0.0).bounds();
        let (center, half) = (bounds.center(), bounds.half());
        let scale = 0.5 * pose.box_px / half.0.max(half.1);
        let put = |half: f64, place: f64| {
            let low = half * scale - OVERHANG_PX;
            mix(low, SIZE_PX as f64 - low, place)
        };
        let (x, y) = (put(half.0, pose.place.0), put(half.1, pose.place.1));
        Similarity { origin: (x - scale * center.0, y - scale * center.1), scale, ..unit }
    }
}

impl Pose {
    fn between(a: &Pose, b: &Pose, t: f64) -> Pose {
        Pose {
            turn: mix(a.turn, b.turn, t),
            box_px: mix(a.box_px, b.box_px, t),
            place: (mix(a.place.0, b.place.0, t), mix(a.place.1, b.place.1, t)),
            swing: mix(a.swing, b.swing, t),
        }
    }
}

/// The named points in pixels; one shows if its part shows beside it.
fn keypoints(posed: &Model, parts: &[u8]) -> Vec<Keypoint> {
    let side = SIZE_PX as f64;
    let keypoint = |mark: &super::model::Landmark| {
        let (x, y) = mark.xy;
        let within_frame = x >= 0.0 && y >= 0.0 && x < side && y < side;
        let shows = |idx: usize| {
            let (dx, dy) = ((idx % SIZE_PX) as f64 + 0.5 - x, (idx / SIZE_PX) as f64 + 0.5 - y);
            dx * dx + dy * dy <= SHOWS_WITHIN_PX * SHOWS_WITHIN_PX
        };
        let visible =
            within_frame && parts.iter().enumerate().any(|(idx, &id)| id == mark.part.id() && shows(idx));
        Keypoint { name_idx: mark.point as usize, xy_in_image_px: (x as f32, y as f32), visible }
    };
    posed.landmarks.iter().map(keypoint).collect()
}
