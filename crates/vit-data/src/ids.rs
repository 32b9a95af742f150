//! Class maps from PNG files: the numbers in the file, not the colors that stand for them.

use crate::{DataError, LabelMap};
use png::{BitDepth, ColorType, Decoder, Limits, Transformations};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// The most bytes a decoder may take: a file of a few bytes can claim four billion pixels.
const MOST_BYTES: usize = 256 << 20;

/// Reads the index of every pixel of a palette PNG, or the gray value of a gray one.
///
/// # Errors
/// When the file cannot be read, is damaged, or has colors or 16 bits, which are no ids.
pub(crate) fn read_ids(path: &Path) -> Result<LabelMap, DataError> {
    let malformed = |found: String| DataError::Malformed {
        what: "class map",
        expected: "a PNG of ids: a palette, or gray of at most 8 bits".into(),
        found,
        path: path.to_owned(),
    };
    let file = File::open(path).map_err(|source| DataError::Io { source, path: path.to_owned() })?;
    let mut decoder = Decoder::new_with_limits(BufReader::new(file), Limits { bytes: MOST_BYTES });
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|error| malformed(error.to_string()))?;
    let info = reader.info();
    let (width_px, height_px) = (info.width as usize, info.height as usize);
    let (color, depth) = (info.color_type, info.bit_depth);
    if !matches!(color, ColorType::Indexed | ColorType::Grayscale) || depth == BitDepth::Sixteen {
        return Err(malformed(format!("{color:?} of {} bits", depth as u8)));
    }
    let n_bytes = reader.output_buffer_size().filter(|&n| n <= MOST_BYTES);
    let mut bytes = vec![0; n_bytes.ok_or_else(|| malformed(format!("{width_px} × {height_px} px")))?];
    let frame = reader.next_frame(&mut bytes).map_err(|error| malformed(error.to_string()))?;
    let n_bits = depth as usize;
    let mask = ((1u16 << n_bits) - 1) as u8;
    let mut ids = Vec::with_capacity(width_px * height_px);
    for line in bytes.chunks_exact(frame.line_size).take(height_px) {
        let id = |x: usize| {
            let bit = x * n_bits;
            line[bit / 8] >> (8 - n_bits - bit % 8) & mask
        };
        ids.extend((0..width_px).map(id));
    }
    Ok(LabelMap { width_px, height_px, ids })
}

/// The same of a map that belongs to a picture.
///
/// # Errors
/// As [`read_ids`], and when its size, width and height, is another one.
pub(crate) fn read_ids_of(path: &Path, (width_px, height_px): (usize, usize)) -> Result<LabelMap, DataError> {
    let map = read_ids(path)?;
    if (map.width_px, map.height_px) == (width_px, height_px) {
        return Ok(map);
    }
    Err(DataError::Malformed {
        what: "class map",
        expected: format!("{width_px} × {height_px} px as the picture"),
        found: format!("{} × {} px", map.width_px, map.height_px),
        path: path.to_owned(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::BufWriter;

    /// Writes ids as a palette or gray PNG.
    pub(crate) fn write_ids(path: &Path, map: &LabelMap, color: ColorType, depth: BitDepth) {
        let file = BufWriter::new(File::create(path).expect("a file"));
        let mut encoder = png::Encoder::new(file, map.width_px as u32, map.height_px as u32);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            // Colors that repeat: they do not tell the ids.
            encoder.set_palette((0..=255u8).flat_map(|id| [id % 3, 0, 0]).collect::<Vec<u8>>());
        }
        let n_bits = depth as usize;
        let mut bytes = Vec::new();
        for row in map.ids.chunks_exact(map.width_px) {
            let mut line = vec![0u8; (map.width_px * n_bits).div_ceil(8)];
            for (x, id) in row.iter().enumerate() {
                line[x * n_bits / 8] |= id << (8 - n_bits - x * n_bits % 8);
            }
            bytes.extend(line);
        }
        let mut writer = encoder.write_header().expect("a header");
        writer.write_image_data(&bytes).expect("pixels");
    }

    #[test]
    fn ids_are_read_from_palettes_and_grays_of_every_depth() {
        let dir = tempfile::tempdir().expect("a folder");
        for (depth, most) in
            [(BitDepth::One, 1), (BitDepth::Two, 3), (BitDepth::Four, 15), (BitDepth::Eight, 255u8)]
        {
            let ids: Vec<u8> = (0..5 * 3u16).map(|i| (i * 37 % (u16::from(most) + 1)) as u8).collect();
            let map = LabelMap { width_px: 5, height_px: 3, ids };
            for color in [ColorType::Grayscale, ColorType::Indexed] {
                let depth_of = depth;
                let path = dir.path().join("map.png");
                // A palette of 256 colors needs 8 bits.
                if color == ColorType::Indexed && depth != BitDepth::Eight {
                    continue;
                }
                write_ids(&path, &map, color, depth_of);
                assert_eq!(read_ids(&path).expect("reads"), map, "{color:?} {depth:?}");
            }
        }
    }

    #[test]
    fn colors_and_damage_are_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("map.png");
        image::RgbImage::new(2, 2).save(&path).expect("saved");
        let message = read_ids(&path).expect_err("refused").to_string();
        assert!(
            message.contains("class map") && message.contains("Rgb") && message.ends_with("map.png"),
            "{message}"
        );
        std::fs::write(&path, b"\x89PNG\r\n\x1a\nno").expect("written");
        assert!(matches!(read_ids(&path), Err(DataError::Malformed { .. })));
        assert!(matches!(read_ids(&dir.path().join("none.png")), Err(DataError::Io { .. })));
    }
}
