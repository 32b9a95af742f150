//! A canvas of pixels: rectangles, pictures, lines, dots and words.

use font8x8::UnicodeFonts;

/// Width and height of a letter in pixels, at scale 1.
pub(super) const LETTER_PX: usize = 8;

/// A color.
pub(super) type Rgb = [u8; 3];

/// A canvas.
pub(super) struct Canvas {
    /// Columns.
    pub(super) width: usize,
    /// Rows.
    pub(super) height: usize,
    /// `[height, width, 3]`
    pub(super) rgb: Vec<u8>,
}

impl Canvas {
    /// A canvas of one color.
    pub(super) fn new(width: usize, height: usize, color: Rgb) -> Self {
        Self { width, height, rgb: color.repeat(width * height) }
    }

    /// Colors a pixel; one outside is left out.
    pub(super) fn dot(&mut self, x: i64, y: i64, color: Rgb) {
        if (0..self.width as i64).contains(&x) && (0..self.height as i64).contains(&y) {
            let at = 3 * (y as usize * self.width + x as usize);
            self.rgb[at..at + 3].copy_from_slice(&color);
        }
    }

    /// Mixes a color into a pixel; `share` of it, 0–1.
    pub(super) fn tint(&mut self, x: usize, y: usize, color: Rgb, share: f64) {
        let at = 3 * (y * self.width + x);
        for (value, ink) in self.rgb[at..at + 3].iter_mut().zip(color) {
            *value = (f64::from(*value) * (1.0 - share) + f64::from(ink) * share).round() as u8;
        }
    }

    /// A filled rectangle.
    pub(super) fn fill(&mut self, left: i64, top: i64, width: i64, height: i64, color: Rgb) {
        for y in top..top + height {
            for x in left..left + width {
                self.dot(x, y, color);
            }
        }
    }

    /// The outline of a rectangle, `thick` pixels inwards from its corners.
    pub(super) fn frame(&mut self, (left, top, right, bottom): (i64, i64, i64, i64), thick: i64, color: Rgb) {
        let (width, height) = (right - left, bottom - top);
        self.fill(left, top, width, thick, color);
        self.fill(left, bottom - thick, width, thick, color);
        self.fill(left, top, thick, height, color);
        self.fill(right - thick, top, thick, height, color);
    }

    /// A disk.
    pub(super) fn disk(&mut self, (x, y): (f64, f64), radius: f64, color: Rgb) {
        let reach = radius.ceil() as i64 + 1;
        let (cx, cy) = (x as i64, y as i64);
        for py in cy - reach..=cy + reach {
            for px in cx - reach..=cx + reach {
                let (dx, dy) = (px as f64 + 0.5 - x, py as f64 + 0.5 - y);
                if dx * dx + dy * dy <= radius * radius {
                    self.dot(px, py, color);
                }
            }
        }
    }

    /// Puts a canvas onto this one.
    pub(super) fn put(&mut self, left: usize, top: usize, other: &Canvas) {
        for y in 0..other.height {
            let from = 3 * y * other.width;
            let to = 3 * ((top + y) * self.width + left);
            self.rgb[to..to + 3 * other.width].copy_from_slice(&other.rgb[from..from + 3 * other.width]);
        }
    }

    /// Words in a line, cut off with `..` where they would be wider than `room` pixels.
    pub(super) fn words(
        &mut self,
        left: usize,
        top: usize,
        room: usize,
        text: &str,
        scale: usize,
        color: Rgb,
    ) {
        let fits = room / (LETTER_PX * scale);
        let mut letters: Vec<char> = text.chars().collect();
        if letters.len() > fits {
            letters.truncate(fits.saturating_sub(2));
            letters.extend("..".chars());
        }
        for (i, letter) in letters.into_iter().enumerate() {
            let glyph = font8x8::BASIC_FONTS.get(letter).or_else(|| font8x8::LATIN_FONTS.get(letter));
            let glyph = glyph.or_else(|| font8x8::BASIC_FONTS.get('?')).unwrap_or([0; 8]);
            for (row, bits) in glyph.into_iter().enumerate() {
                for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                    let x = left + (i * LETTER_PX + column) * scale;
                    let y = top + row * scale;
                    self.fill(x as i64, y as i64, scale as i64, scale as i64, color);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_stays_on_the_canvas_and_where_it_belongs() {
        let mut canvas = Canvas::new(6, 4, [0; 3]);
        canvas.frame((1, 1, 5, 4), 1, [9; 3]);
        let lit =
            |canvas: &Canvas| canvas.rgb.chunks(3).map(|pixel| u8::from(pixel[0] > 0)).collect::<Vec<_>>();
        assert_eq!(lit(&canvas), [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1, 1, 0]);
        canvas.disk((-3.0, 9.0), 20.0, [7; 3]);
        canvas.words(0, 0, 100, "ñ\u{4e00}x", 1, [5; 3]);
        assert_eq!(canvas.rgb.len(), 6 * 4 * 3);
    }

    #[test]
    fn words_that_are_too_long_are_cut() {
        let mut short = Canvas::new(40, 8, [0; 3]);
        short.words(0, 0, 40, "abc..", 1, [1; 3]);
        let mut long = Canvas::new(40, 8, [0; 3]);
        long.words(0, 0, 40, "abcdefgh", 1, [1; 3]);
        assert_eq!(short.rgb, long.rgb);
    }
}
