//! Pixels of an image as runs, as COCO writes masks: drawn from polygons, read from run lengths, painted into a map.

use crate::LabelMap;

/// A set of pixels of an image: runs column by column, outside and inside in turn, the first one outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Width of the image in pixels.
    pub width_px: usize,
    /// Height of the image in pixels.
    pub height_px: usize,
    /// Lengths; their sum is `width · height`.
    runs: Vec<u32>,
}

/// How many times finer than a pixel the edges of polygons are followed.
const STEPS: f64 = 5.0;

impl Region {
    /// The union of polygons, each filled by the even–odd rule.
    ///
    /// Edges are followed in steps of a fifth of a pixel. Where an edge passes the middle of a column, a pixel of it lies
    /// below the edge when its center does.
    ///
    /// # Shapes
    /// - `polygons`: each `x, y, x, y, …` in pixels of the image, whose corner is `(0, 0)`
    ///
    /// # Source
    /// The masks are those of pycocotools' `frPyObjects` and `merge`, to the pixel.
    pub fn of_polygons(polygons: &[Vec<f64>], width_px: usize, height_px: usize) -> Self {
        let mut inside = vec![false; width_px * height_px]; // column by column
        for polygon in polygons {
            for (column, mut rows) in crossings(polygon, width_px, height_px) {
                rows.sort_unstable();
                for pair in rows.chunks(2) {
                    let to = pair.get(1).copied().unwrap_or(height_px);
                    inside[column * height_px + pair[0]..column * height_px + to].fill(true);
                }
            }
        }
        Self::of_columns(&inside, width_px, height_px)
    }

    /// Runs as they are written in full; none when they do not fill the image.
    pub fn of_runs(runs: Vec<u32>, width_px: usize, height_px: usize) -> Option<Self> {
        let n_pixels = runs.iter().try_fold(0u64, |sum, &run| sum.checked_add(u64::from(run)))?;
        (n_pixels == (width_px * height_px) as u64).then_some(Self { width_px, height_px, runs })
    }

    /// Runs in COCO's text; none when it is not such, or they do not fill the image.
    ///
    /// Every run is a number of base 32 from its lowest digit on, digit `d` written as the character `48 + d`, plus 32
    /// where another follows; the last digit's bit 16 is the sign. From the fourth run on, the number is the difference
    /// to the run before the last one.
    pub fn of_text(text: &str, width_px: usize, height_px: usize) -> Option<Self> {
        let mut runs: Vec<i64> = Vec::new();
        let mut digits = text.bytes();
        while let Some(mut digit) = digits.next() {
            let (mut number, mut shift) = (0i64, 0);
            loop {
                let code = i64::from(digit.checked_sub(48).filter(|&code| code < 64)?);
                if shift > 30 {
                    return None;
                }
                number |= (code & 31) << shift;
                shift += 5;
                if code & 32 == 0 {
                    if code & 16 != 0 {
                        number -= 1 << shift;
                    }
                    break;
                }
                digit = digits.next()?;
            }
            if runs.len() > 2 {
                number += runs[runs.len() - 2];
            }
            runs.push(number);
        }
        let runs = runs.into_iter().map(|run| u32::try_from(run).ok()).collect::<Option<_>>()?;
        Self::of_runs(runs, width_px, height_px)
    }

    fn of_columns(inside: &[bool], width_px: usize, height_px: usize) -> Self {
        let mut runs = vec![0u32];
        let mut current = false;
        for &is_inside in inside {
            if is_inside != current {
                current = is_inside;
                runs.push(0);
            }
            if let Some(run) = runs.last_mut() {
                *run += 1;
            }
        }
        Self { width_px, height_px, runs }
    }

    /// The runs.
    pub fn runs(&self) -> &[u32] {
        &self.runs
    }

    /// The number of pixels.
    pub fn area_px(&self) -> usize {
        self.runs.iter().skip(1).step_by(2).map(|&run| run as usize).sum()
    }

    /// Writes `id` at every pixel of the region.
    ///
    /// # Panics
    /// When the map is of another size.
    pub fn paint(&self, map: &mut LabelMap, id: u8) {
        let sizes = [(self.width_px, self.height_px), (map.width_px, map.height_px)];
        assert!(sizes[0] == sizes[1], "paint: a region of {:?} px in a map of {:?}", sizes[0], sizes[1]);
        let mut at = 0;
        for (place, &run) in self.runs.iter().enumerate() {
            let to = at + run as usize;
            if place % 2 == 1 {
                for pixel in at..to {
                    map.ids[pixel % self.height_px * self.width_px + pixel / self.height_px] = id;
                }
            }
            at = to;
        }
    }
}

/// For every column, the rows from which on the polygon's inside and outside change.
fn crossings(
    polygon: &[f64],
    width_px: usize,
    height_px: usize,
) -> std::collections::BTreeMap<usize, Vec<usize>> {
    let fine: Vec<(i64, i64)> = polygon
        .chunks_exact(2)
        .map(|xy| ((STEPS * xy[0] + 0.5) as i64, (STEPS * xy[1] + 0.5) as i64))
        .collect();
    let mut edge: Vec<(i64, i64)> = Vec::new();
    for (i, &from) in fine.iter().enumerate() {
        follow(from, fine[(i + 1) % fine.len()], &mut edge);
    }
    let mut rows_of = std::collections::BTreeMap::<usize, Vec<usize>>::new();
    for pair in edge.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        if x0 == x1 {
            continue;
        }
        // Between two fine columns, the left one is the place; only every fifth is the middle of a pixel.
        let left = if x1 < x0 { x1 } else { x1 - 1 };
        let column = (left as f64 + 0.5) / STEPS - 0.5;
        if column.floor() != column || column < 0.0 || column > width_px as f64 - 1.0 {
            continue;
        }
        let row = ((y0.min(y1) as f64 + 0.5) / STEPS - 0.5).clamp(0.0, height_px as f64).ceil();
        rows_of.entry(column as usize).or_default().push(row as usize);
    }
    rows_of
}

/// The fine points from one corner to the next, both included, one for each step along the longer side.
fn follow(from: (i64, i64), to: (i64, i64), edge: &mut Vec<(i64, i64)>) {
    let (dx, dy) = ((to.0 - from.0).abs(), (to.1 - from.1).abs());
    let by_column = dx >= dy;
    let is_backward = if by_column { from.0 > to.0 } else { from.1 > to.1 };
    // Rounding is that of the forward direction, whichever way the edge runs.
    let (start, end) = if is_backward { (to, from) } else { (from, to) };
    let n = dx.max(dy);
    let slope = match (by_column, n) {
        (_, 0) => 0.0,
        (true, _) => (end.1 - start.1) as f64 / dx as f64,
        (false, _) => (end.0 - start.0) as f64 / dy as f64,
    };
    for step in 0..=n {
        let t = if is_backward { n - step } else { step };
        let along = |start: i64| (start as f64 + slope * t as f64 + 0.5) as i64;
        edge.push(if by_column { (start.0 + t, along(start.1)) } else { (along(start.0), start.1 + t) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(serde::Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    /// One case of pycocotools.
    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        width: usize,
        height: usize,
        polygons: Vec<Vec<f64>>,
        text: String,
        runs: Vec<u32>,
        area: usize,
    }

    #[test]
    fn polygons_are_filled_and_texts_are_read_as_pycocotools_does() {
        let golden: Golden = serde_json::from_str(include_str!("../tests/coco_masks.json")).expect("json");
        assert_eq!(golden.cases.len(), 20);
        for case in golden.cases {
            let (w, h) = (case.width, case.height);
            let expected = Region::of_runs(case.runs, w, h).expect("fills the image");
            assert_eq!(Region::of_polygons(&case.polygons, w, h), expected, "{}", case.name);
            assert_eq!(Region::of_text(&case.text, w, h), Some(expected.clone()), "{}", case.name);
            assert_eq!(expected.area_px(), case.area, "{}", case.name);
        }
    }

    #[test]
    fn a_square_is_painted_where_it_lies() {
        // Columns 1 and 2, rows 1 to 3, of 4 × 5 pixels: 1 + 5 outside, 3 in, 2 out, 3 in, then 6 out.
        let region = Region::of_polygons(&[vec![1.0, 1.0, 3.0, 1.0, 3.0, 4.0, 1.0, 4.0]], 4, 5);
        assert_eq!(region.runs(), [6, 3, 2, 3, 6]);
        let mut map = LabelMap { width_px: 4, height_px: 5, ids: vec![0; 20] };
        region.paint(&mut map, 7);
        assert_eq!(map.ids, [0, 0, 0, 0, 0, 7, 7, 0, 0, 7, 7, 0, 0, 7, 7, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn runs_that_do_not_fill_the_image_and_texts_that_are_none_are_refused() {
        assert_eq!(Region::of_runs(vec![3, 4], 2, 4), None);
        assert_eq!(Region::of_runs(vec![u32::MAX, u32::MAX], 2, 4), None);
        // `8` is 8, `P` wants another digit, a blank is none, and `O` is negative: 31 with its sign.
        assert_eq!(Region::of_text("8", 2, 4).map(|region| region.area_px()), Some(0));
        for text in ["P", "8 ", "O", "88", "PPPPPPPPPPPPPPPPP0", "é"] {
            assert_eq!(Region::of_text(text, 2, 4), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_polygon_beyond_any_image_is_drawn_without_harm(
            polygon in proptest::collection::vec(-50.0f64..90.0, 6..40),
            (width, height) in (1usize..40, 1usize..40),
        ) {
            let region = Region::of_polygons(std::slice::from_ref(&polygon), width, height);
            let n: u32 = region.runs().iter().sum();
            prop_assert_eq!(n as usize, width * height);
            prop_assert_eq!(Region::of_runs(region.runs().to_vec(), width, height), Some(region));
        }
    }
}
