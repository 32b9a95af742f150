//! Colours: OKLCH in, display RGB out, and palettes whose hues and lightnesses go together.

use super::draws::{Draws, mix};

/// A colour in display space, each channel in `[0, 1]`.
pub(super) type Rgb = [f64; 3];

/// The colours of the object: one per slot of its parts.
pub(super) const N_SLOTS: usize = 4;

/// The background's colours and the object's, drawn without knowledge of the class.
#[derive(Clone, Debug)]
pub(super) struct Palette {
    /// Far to near colours of the background.
    pub(super) backdrop: [Rgb; 4],
    /// The lightness around which the background was drawn.
    lightness: f64,
}

impl Palette {
    pub(super) fn draw(draws: &mut Draws) -> Palette {
        let hue = draws.uniform(0.0, 1.0);
        let spread = draws.uniform(0.03, 0.14) * draws.sign();
        let lightness = draws.uniform(0.30, 0.52);
        let chroma = draws.uniform(0.02, 0.08);
        let accent = if draws.chance(0.4) { 0.5 } else { 0.0 };
        let backdrop = std::array::from_fn(|idx| {
            let step = idx as f64 - 1.5;
            let turn = hue + spread * step + if idx == 3 { accent } else { 0.0 };
            let light = lightness + draws.uniform(-0.06, 0.06);
            rgb_from_oklch(light, chroma * draws.uniform(0.6, 1.4), turn)
        });
        Palette { backdrop, lightness }
    }

    /// Draws the colours of an object that is lighter than this background.
    ///
    /// One polarity: a small model then learns shapes from tens of thousands of pictures instead of millions, while
    /// size and place keep the raw pixels from telling the class.
    pub(super) fn draw_object(&self, draws: &mut Draws) -> [Rgb; N_SLOTS] {
        let (low, high) = (self.lightness + 0.20, 0.95);
        let hue = draws.uniform(0.0, 1.0);
        let step = [0.08, 0.33, 0.42, 0.5][draws.index(4)] * draws.sign();
        let first = mix(low, high, draws.uniform(0.1, 1.0));
        std::array::from_fn(|idx| {
            let apart = if idx == 0 { 0.0 } else { draws.uniform(0.07, 0.17) * draws.sign() };
            let light = (first + apart).clamp(0.40, 0.93);
            rgb_from_oklch(light, draws.uniform(0.04, 0.16), hue + step * idx as f64)
        })
    }

    /// Draws a colour for a stray piece: any hue, near or far from the background.
    pub(super) fn draw_stray(&self, draws: &mut Draws) -> Rgb {
        rgb_from_oklch(draws.uniform(0.28, 0.93), draws.uniform(0.03, 0.16), draws.uniform(0.0, 1.0))
    }
}

/// The colour between `a` and `b`.
pub(super) fn blend(a: Rgb, b: Rgb, t: f64) -> Rgb {
    [mix(a[0], b[0], t), mix(a[1], b[1], t), mix(a[2], b[2], t)]
}

/// The colour with every channel multiplied.
pub(super) fn toned(color: Rgb, factor: f64) -> Rgb {
    [color[0] * factor, color[1] * factor, color[2] * factor]
}

/// OKLCH (hue in turns) to display RGB.
///
/// # Source
/// Ottosson, *A perceptual color space for image processing*, 2020. *Differs*: the display curve is a square root,
/// because that is the same bits everywhere.
pub(super) fn rgb_from_oklch(lightness: f64, chroma: f64, turn: f64) -> Rgb {
    let angle = turn * std::f64::consts::TAU;
    let (a, b) = (chroma * libm::cos(angle), chroma * libm::sin(angle));
    let l = lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b;
    let m = lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b;
    let s = lightness - 0.089_484_177_5 * a - 1.291_485_548 * b;
    let (l, m, s) = (l * l * l, m * m * m, s * s * s);
    let linear = [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701 * s,
    ];
    linear.map(|channel| channel.clamp(0.0004, 1.0).sqrt())
}
