//! The contact sheet: a row for each sample, with its picture, its truth, the boxes of its views, and the views.

use super::ink::{Canvas, LETTER_PX, Rgb};
use vit_data::transform::{Filter, Normalize, PixelRect, resize};
use vit_data::{CropBox, Image, LabelMap, Picture, Sample, Truth, VOID, View, ViewPlan};

/// Side of a cell in pixels.
const CELL_PX: usize = 144;
/// Room between cells.
const GAP_PX: usize = 12;
/// Room around everything.
const MARGIN_PX: usize = 20;
const PAPER: Rgb = [250, 250, 248];
const INK: Rgb = [34, 38, 46];
const FAINT: Rgb = [112, 118, 130];
const WELL: Rgb = [232, 233, 236];

/// Colors that can be told apart, by people with color blindness too (Okabe and Ito, and lighter ones of the same hues).
const COLORS: [Rgb; 10] = [
    [230, 159, 0],
    [86, 180, 233],
    [0, 158, 115],
    [240, 228, 66],
    [213, 94, 0],
    [204, 121, 167],
    [0, 114, 178],
    [160, 220, 120],
    [150, 110, 220],
    [250, 170, 160],
];

/// A sample with what was cut from it.
pub(super) struct Row {
    /// The sample.
    pub(super) sample: Sample,
    /// The name of its class.
    pub(super) class: String,
    /// One view for each of the plan.
    pub(super) views: Vec<View>,
}

/// Draws the sheet.
pub(super) fn draw(
    title: &str,
    subtitle: &str,
    rows: &[Row],
    plan: &ViewPlan,
    normalize: Normalize,
) -> Canvas {
    let has_truth = rows.iter().any(|row| has_shape(&row.sample.truth));
    let mut heads = vec!["sample".to_owned()];
    if has_truth {
        heads.push("truth".into());
    }
    heads.push("crop boxes".into());
    heads.extend(
        plan.views.iter().enumerate().map(|(i, view)| format!("view {}, {} px", i + 1, view.size_px)),
    );
    let top = MARGIN_PX + 2 * LETTER_PX + 8 + LETTER_PX + 20 + LETTER_PX + 8;
    let row_px = CELL_PX + 6 + 2 * (LETTER_PX + 4) + GAP_PX;
    let width = 2 * MARGIN_PX + heads.len() * (CELL_PX + GAP_PX) - GAP_PX;
    let height = top + rows.len() * row_px + MARGIN_PX - GAP_PX;
    let mut canvas = Canvas::new(width, height, PAPER);
    let room = width - 2 * MARGIN_PX;
    canvas.words(MARGIN_PX, MARGIN_PX, room, title, 2, INK);
    canvas.words(MARGIN_PX, MARGIN_PX + 2 * LETTER_PX + 8, room, subtitle, 1, FAINT);
    let left = |column: usize| MARGIN_PX + column * (CELL_PX + GAP_PX);
    for (column, head) in heads.iter().enumerate() {
        canvas.words(left(column), top - LETTER_PX - 8, CELL_PX, head, 1, INK);
    }
    for (i, row) in rows.iter().enumerate() {
        let y = top + i * row_px;
        let picture = Fitted::of(&image_of(&row.sample.picture, normalize));
        let mut cells = vec![picture.cell()];
        if has_truth {
            cells.push(truth_cell(&picture, &row.sample.truth));
        }
        cells.push(boxes_cell(&picture, &row.views));
        for (view_idx, view) in row.views.iter().enumerate() {
            let spec = &plan.views[view_idx];
            let mut cell = Fitted::of(&image_of_view(&view.pixels, spec.size_px, spec.normalize)).cell();
            let side = CELL_PX as i64;
            cell.frame((0, 0, side, side), 3, COLORS[view_idx % COLORS.len()]);
            cells.push(cell);
        }
        for (column, cell) in cells.iter().enumerate() {
            canvas.put(left(column), y, cell);
        }
        let below = y + CELL_PX + 6;
        canvas.words(left(0), below, CELL_PX, &row.class, 1, INK);
        canvas.words(left(0), below + LETTER_PX + 4, CELL_PX, &row.sample.id, 1, FAINT);
        let (w, h) = picture.size_px;
        canvas.words(left(usize::from(has_truth) + 1), below, CELL_PX, &format!("{w} x {h} px"), 1, FAINT);
        if has_truth {
            canvas.words(left(1), below, CELL_PX, &truth_words(&row.sample.truth), 1, FAINT);
        }
        let first = heads.len() - row.views.len();
        for (view_idx, view) in row.views.iter().enumerate() {
            let CropBox { w, h, flipped, .. } = view.crop_from_image;
            let words = format!("{w:.0} x {h:.0}{}", if flipped { ", flipped" } else { "" });
            canvas.words(left(first + view_idx), below, CELL_PX, &words, 1, FAINT);
        }
    }
    canvas
}

/// Whether there is something to draw beside the class.
fn has_shape(truth: &Truth) -> bool {
    let maps = [&truth.mask, &truth.parts, &truth.semantic, &truth.tracked];
    let has_map = maps.iter().any(|map| map.is_some());
    has_map || !truth.objects.is_empty() || !truth.keypoints.is_empty()
}

fn truth_words(truth: &Truth) -> String {
    let mut words = Vec::new();
    let maps = [(&truth.parts, "parts"), (&truth.semantic, "classes"), (&truth.tracked, "objects")];
    for (map, what) in maps {
        let Some(map) = map else { continue };
        let mut ids: Vec<u8> = map.ids.iter().copied().filter(|&id| id > 0 && id != VOID).collect();
        ids.sort_unstable();
        ids.dedup();
        words.push(format!("{} {what}", ids.len()));
    }
    if !truth.objects.is_empty() {
        words.push(format!("{} objects", truth.objects.len()));
    }
    if !truth.keypoints.is_empty() {
        words.push(format!("{} points", truth.keypoints.len()));
    }
    if let Some(query) = &truth.query {
        words.push(format!(
            "query: {} easy, {} hard, {} junk",
            query.easy.len(),
            query.hard.len(),
            query.junk.len()
        ));
    }
    words.join(", ")
}

/// A picture in the size in which it fits into a cell.
struct Fitted {
    image: Image,
    /// Of the picture itself.
    size_px: (usize, usize),
    /// Pixels of the cell for one of the picture.
    scale: f64,
    /// Where it begins in the cell.
    left: usize,
    top: usize,
}

impl Fitted {
    fn of(image: &Image) -> Self {
        let size_px = (image.width_px, image.height_px);
        let longer = size_px.0.max(size_px.1).max(1);
        let all = PixelRect { left_px: 0, top_px: 0, width_px: size_px.0, height_px: size_px.1 };
        let (scale, image) = if longer > CELL_PX {
            let scale = CELL_PX as f64 / longer as f64;
            let fit = |side: usize| ((side as f64 * scale).round() as usize).max(1);
            (scale, resize(image, all, fit(size_px.0), fit(size_px.1), Filter::Lanczos))
        } else {
            let scale = CELL_PX / longer; // whole pixels, without smoothing
            (scale as f64, resize(image, all, size_px.0 * scale, size_px.1 * scale, Filter::Box))
        };
        let (left, top) = ((CELL_PX - image.width_px) / 2, (CELL_PX - image.height_px) / 2);
        Self { image, size_px, scale, left, top }
    }

    fn cell(&self) -> Canvas {
        let mut cell = Canvas::new(CELL_PX, CELL_PX, WELL);
        let Image { width_px: width, height_px: height, rgb } = &self.image;
        cell.put(self.left, self.top, &Canvas { width: *width, height: *height, rgb: rgb.clone() });
        cell
    }

    /// A place of the picture in the cell.
    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.left as f64 + x * self.scale, self.top as f64 + y * self.scale)
    }

    /// The class of a map at a pixel of the cell, where the picture is.
    fn id_at(&self, map: &LabelMap, x: usize, y: usize) -> Option<u8> {
        let (x, y) = (x.checked_sub(self.left)?, y.checked_sub(self.top)?);
        if x >= self.image.width_px || y >= self.image.height_px {
            return None;
        }
        let column = ((x as f64 + 0.5) / self.scale) as usize;
        let row = ((y as f64 + 0.5) / self.scale) as usize;
        map.ids.get(row.min(map.height_px - 1) * map.width_px + column.min(map.width_px - 1)).copied()
    }
}

/// Parts, classes or objects in colors, what nobody knows in black, the object's outline in white on black, points as disks, hollow where hidden.
fn truth_cell(picture: &Fitted, truth: &Truth) -> Canvas {
    let mut cell = picture.cell();
    let pixels = || (0..CELL_PX).flat_map(|y| (0..CELL_PX).map(move |x| (x, y)));
    let objects = (!truth.objects.is_empty()).then(|| objects_map(truth));
    let maps = [truth.parts.as_ref(), truth.semantic.as_ref(), truth.tracked.as_ref(), objects.as_ref()];
    if let Some(map) = maps.into_iter().flatten().next() {
        for (x, y) in pixels() {
            match picture.id_at(map, x, y) {
                Some(VOID) => cell.tint(x, y, [0; 3], 0.6),
                Some(id) if id > 0 => cell.tint(x, y, COLORS[usize::from(id - 1) % COLORS.len()], 0.6),
                _ => {}
            }
        }
    }
    if let Some(mask) = &truth.mask {
        let is_object = |x: usize, y: usize| picture.id_at(mask, x, y).is_some_and(|id| id > 0);
        let near = |x: usize, y: usize, reach: usize| {
            let (xs, ys) = (x.saturating_sub(reach)..=x + reach, y.saturating_sub(reach)..=y + reach);
            ys.flat_map(|y| xs.clone().map(move |x| (x, y))).any(|(x, y)| is_object(x, y))
        };
        for (x, y) in pixels().filter(|&(x, y)| picture.id_at(mask, x, y).is_some() && !is_object(x, y)) {
            if near(x, y, 1) {
                cell.dot(x as i64, y as i64, [255; 3]);
            } else if near(x, y, 2) {
                cell.dot(x as i64, y as i64, [0; 3]);
            }
        }
    }
    for point in &truth.keypoints {
        let (x, y) = point.xy_in_image_px;
        let at = picture.place((f64::from(x), f64::from(y)));
        let color = COLORS[point.name_idx % COLORS.len()];
        cell.disk(at, 4.2, [0; 3]);
        cell.disk(at, 3.2, if point.visible { [255; 3] } else { color });
        cell.disk(at, 2.2, if point.visible { color } else { [0; 3] });
    }
    cell
}

/// A number for each object, later ones over earlier ones; crowds are void.
fn objects_map(truth: &Truth) -> LabelMap {
    let size = truth.objects.first().map(|object| (object.region.width_px, object.region.height_px));
    let (width_px, height_px) = size.unwrap_or_default();
    let mut map = LabelMap { width_px, height_px, ids: vec![0; width_px * height_px] };
    for (place, object) in truth.objects.iter().enumerate() {
        let id = if object.crowd { VOID } else { (place % (usize::from(VOID) - 1)) as u8 + 1 };
        object.region.paint(&mut map, id);
    }
    map
}

/// The picture, dimmed, with the box of each view.
fn boxes_cell(picture: &Fitted, views: &[View]) -> Canvas {
    let mut cell = picture.cell();
    for y in 0..CELL_PX {
        for x in 0..CELL_PX {
            cell.tint(x, y, PAPER, 0.35);
        }
    }
    for (view_idx, view) in views.iter().enumerate() {
        let CropBox { x, y, w, h, .. } = view.crop_from_image;
        let (left, top) = picture.place((x, y));
        let (right, bottom) = picture.place((x + w, y + h));
        let round = |value: f64| value.round() as i64;
        let edges = (round(left), round(top), round(right), round(bottom));
        cell.frame(edges, 3, INK);
        cell.frame(edges, 2, COLORS[view_idx % COLORS.len()]);
    }
    cell
}

/// A picture as bytes; values that are normalized already are taken back by `normalize`.
fn image_of(picture: &Picture, normalize: Normalize) -> Image {
    match picture {
        Picture::Image(image) => image.clone(),
        Picture::Normalized { height_px, width_px, values } => {
            let rgb = bytes(values, normalize);
            Image { width_px: *width_px, height_px: *height_px, rgb }
        }
    }
}

fn image_of_view(values: &[f32], size_px: usize, normalize: Normalize) -> Image {
    Image { width_px: size_px, height_px: size_px, rgb: bytes(values, normalize) }
}

/// `255 · (value · std + mean)` of three planes, pixel by pixel.
fn bytes(values: &[f32], normalize: Normalize) -> Vec<u8> {
    let plane = values.len() / 3;
    let mut rgb = Vec::with_capacity(values.len());
    for i in 0..plane {
        for channel in 0..3 {
            let value = values[channel * plane + i] * normalize.std[channel] + normalize.mean[channel];
            rgb.push((255.0 * value).round().clamp(0.0, 255.0) as u8);
        }
    }
    rgb
}

#[cfg(test)]
mod tests {
    use super::*;
    use vit_data::{Seed, Split, ViewSpec, cut};

    #[test]
    fn normalization_is_taken_back() {
        let image = Image { width_px: 2, height_px: 1, rgb: vec![0, 128, 255, 7, 77, 200] };
        let spec = ViewSpec::plain(vit_data::Crop::Whole, 1, Normalize::IMAGENET);
        let mut planes = vec![0.0; 6];
        vit_data::transform::planes_from_image(&image, &spec.normalize, false, &mut planes);
        assert_eq!(bytes(&planes, spec.normalize), image.rgb);
    }

    #[test]
    fn a_sheet_has_a_row_for_each_sample_and_a_column_for_each_view() {
        let data = vit_data::open("part-shapes", Split::Test, 0).expect("opens");
        let plan = ViewPlan::whole(32, Normalize::HALF);
        let row = |index: usize| {
            let sample = data.sample(index).expect("draws");
            let views = vec![cut(&sample.picture, &plan.views[0], &mut Seed(0).stream("view", &[]))];
            Row { sample, class: "a class".into(), views }
        };
        let one = draw("title", "subtitle", &[row(0)], &plan, Normalize::HALF);
        let two = draw("title", "subtitle", &[row(0), row(1)], &plan, Normalize::HALF);
        assert_eq!(one.width, 2 * MARGIN_PX + 4 * CELL_PX + 3 * GAP_PX);
        assert_eq!(one.width, two.width);
        assert!(two.height > one.height + CELL_PX && two.rgb.len() == 3 * two.width * two.height);
    }
}
