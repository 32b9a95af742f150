//! A perceptually uniform color scale: lightness in OKLab rises by equal steps, hue runs from violet over teal to yellow.
//!
//! OKLab: Björn Ottosson, "A perceptual color space for image processing", 2020.

/// (OKLab lightness, a, b) at equal steps of the value; lightness is linear in it.
const STOPS: [[f64; 3]; 7] = [
    [0.25, 0.045, -0.085],
    [0.36, 0.020, -0.112],
    [0.47, -0.035, -0.085],
    [0.58, -0.080, -0.030],
    [0.69, -0.115, 0.035],
    [0.80, -0.100, 0.110],
    [0.91, -0.030, 0.155],
];

/// The color of a share in `[0, 1]`; what lies outside gets the color of the end.
pub(crate) fn rgb_at(share: f64) -> [u8; 3] {
    let place = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let below = (place as usize).min(STOPS.len() - 2);
    let t = place - below as f64;
    let mix = |channel: usize| STOPS[below][channel] * (1.0 - t) + STOPS[below + 1][channel] * t;
    rgb_from_oklab(mix(0), mix(1), mix(2))
}

/// Whether dark text reads better on the color of a share.
pub(crate) fn wants_dark_text(share: f64) -> bool {
    let [r, g, b] = rgb_at(share).map(|c| (f64::from(c) / 255.0).powf(2.2));
    // Black and white have the same WCAG contrast at this luminance.
    0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179
}

/// `#rrggbb`.
pub(crate) fn hex_at(share: f64) -> String {
    let [r, g, b] = rgb_at(share);
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn rgb_from_oklab(lightness: f64, a: f64, b: f64) -> [u8; 3] {
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    let linear = [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ];
    linear.map(|c| {
        let c = c.clamp(0.0, 1.0);
        let c = if c <= 0.003_130_8 { 12.92 * c } else { 1.055 * c.powf(1.0 / 2.4) - 0.055 };
        (c * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oklab_white_and_black_are_white_and_black() {
        assert_eq!(rgb_from_oklab(1.0, 0.0, 0.0), [255; 3]);
        assert_eq!(rgb_from_oklab(0.0, 0.0, 0.0), [0; 3]);
    }

    #[test]
    fn lightness_rises_along_the_scale() {
        let luminance = |share: f64| {
            let [r, g, b] = rgb_at(share).map(f64::from);
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        for step in 0..50 {
            let (here, next) = (f64::from(step) / 50.0, f64::from(step + 1) / 50.0);
            assert!(luminance(here) < luminance(next), "{here}");
        }
        assert_eq!(hex_at(-1.0), hex_at(0.0));
        assert_eq!(hex_at(2.0), hex_at(1.0));
    }
}
