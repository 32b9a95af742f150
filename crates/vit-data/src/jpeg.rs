//! What has to be known of the layout of a jpeg file: where it ends, and how to end it early.

/// Whether the scans of a jpeg end with its end marker: the decoder fills what is missing with gray and says nothing.
///
/// Segments are stepped over by their lengths, so that the end of a thumbnail inside one is not taken for it.
pub(crate) fn ends(bytes: &[u8]) -> bool {
    let mut at = 2; // after the start marker
    while at + 1 < bytes.len() {
        // What lies between are coded pixels.
        match memchr::memchr(0xff, &bytes[at..]) {
            Some(further) => at += further,
            None => return false,
        }
        match bytes.get(at + 1) {
            Some(0xd9) => return true,
            Some(0xff) => at += 1,                      // padding
            Some(0x00 | 0x01 | 0xd0..=0xd8) => at += 2, // a coded 255, and markers without a segment
            _ => match u16_at(bytes, at + 2) {
                Some(n_bytes) => at += 2 + n_bytes,
                None => return false,
            },
        }
    }
    false
}

/// The number in the two bytes at a place; `None` where the file ends before.
fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    let two = bytes.get(at..at + 2)?;
    Some(usize::from(u16::from_be_bytes([two[0], two[1]])))
}

/// A file that says it ends a little below its first `n_rows` rows, so that a decoder stops there.
///
/// Rows of blocks follow one another in the file, and each is decoded for itself but for colors at half resolution, which are
/// interpolated with the row of blocks below; so one more is kept. `None` where that saves nothing, in progressive files and in
/// those with a scan for each color, whose rows lie all over the file.
pub(crate) fn shortened(bytes: &[u8], n_rows: usize) -> Option<Vec<u8>> {
    let frame = Frame::of(bytes)?;
    let n_kept = (n_rows.div_ceil(frame.block_px) + 1) * frame.block_px;
    (n_kept < frame.height_px).then(|| {
        let mut shortened = bytes.to_vec();
        shortened[frame.height_at..frame.height_at + 2].copy_from_slice(&(n_kept as u16).to_be_bytes());
        shortened
    })
}

/// The header of a picture that is coded row of blocks by row of blocks.
struct Frame {
    /// Where its height is written, in two bytes.
    height_at: usize,
    height_px: usize,
    /// The height of a row of blocks.
    block_px: usize,
}

impl Frame {
    /// Steps over segments by their lengths to the header and on to the first scan; `None` where rows do not follow one another, or
    /// the file is not as it should be, which the decoder is to say.
    fn of(bytes: &[u8]) -> Option<Self> {
        let (mut at, mut found) = (2, None); // after the start marker
        loop {
            let marker = *bytes.get(at + 1).filter(|_| bytes[at] == 0xff)?;
            if marker == 0xff {
                at += 1; // padding
                continue;
            }
            let n_bytes = u16_at(bytes, at + 2)?;
            let segment = bytes.get(at + 4..at + 2 + n_bytes)?;
            match (marker, &found) {
                // Sequential, baseline or extended: precision, height, width, the number of colors, and three bytes for each.
                (0xc0 | 0xc1, None) => {
                    let height_px = u16_at(segment, 1)?;
                    let n_colors = usize::from(*segment.get(5)?);
                    let blocks = segment.get(6..6 + 3 * n_colors)?.chunks_exact(3).map(|color| color[1] & 15);
                    let block_px = 8 * usize::from(blocks.max()?.max(1));
                    found = Some((Self { height_at: at + 5, height_px, block_px }, n_colors));
                }
                (0xda, _) => {
                    let (frame, n_colors) = found?;
                    return (usize::from(*segment.first()?) == n_colors).then_some(frame);
                }
                (0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf, _) => return None,
                _ => {}
            }
            at += 2 + n_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end() {
        // Start, a segment of 6 bytes that holds an end marker, a scan, and nothing.
        let mut bytes =
            vec![0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xd9, 1, 2, 0xff, 0xda, 0, 2, 0x11, 0xff, 0x00];
        assert!(!ends(&bytes));
        bytes.extend([0xff, 0xd9]);
        assert!(ends(&bytes));
    }

    #[test]
    fn a_scan_for_each_color_is_not_shortened() {
        // Start; a header: 8 bits, 64 × 16 px, three colors in blocks of 8 px; a scan of one color or of all three.
        let file = |n_colors: u8| {
            let mut bytes =
                vec![0xff, 0xd8, 0xff, 0xc0, 0, 17, 8, 0, 64, 0, 16, 3, 1, 0x11, 0, 2, 0x11, 1, 3, 0x11, 1];
            bytes.extend([0xff, 0xda, 0, 6 + 2 * n_colors, n_colors]);
            bytes.extend(vec![0; 3 + 2 * usize::from(n_colors)]);
            bytes
        };
        // Three rows of blocks hold 17 rows; one more is kept.
        let found = shortened(&file(3), 17).expect("is shortened");
        assert_eq!((&found[..7], &found[7..9], &found[9..]), (&file(3)[..7], &[0, 32][..], &file(3)[9..]));
        assert_eq!((shortened(&file(3), 49), shortened(&file(1), 17)), (None, None));
        assert_eq!(shortened(&file(3)[..12], 17), None);
    }
}
