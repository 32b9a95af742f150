//! From the bytes of a picture file to 8-bit color.

use std::{fs, io::Cursor, path::Path};

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, metadata::Orientation};

use crate::{DataError, Image, RowsSeen, dataset::all_rows, error::PICTURE, jpeg};

/// The most pixels decoded; Pillow refuses beyond it too. A file of a few bytes can claim four billion.
const MAX_PIXELS: u64 = 178_956_970;

/// Decodes a png, jpeg or webp file to 8-bit color.
///
/// The format is told by the content, and the orientation that a camera wrote (EXIF) is applied.
///
/// | in the file | becomes |
/// |---|---|
/// | palette | its colors |
/// | 16 bits | 8, rounded to the nearest |
/// | gray | three equal channels |
/// | transparency | dropped, and the color under it kept |
/// | CMYK and YCCK jpeg | `(255 - C)(255 - K) / 255` and so on, values inverted as Adobe writes them, with its marker or not |
/// | animation | its first frame |
///
/// All of it is what PIL's `convert("RGB")` in torchvision's `ImageFolder` does, so that published evaluations repeat;
/// only 16 bits are cut off there.
///
/// # Errors
/// When the file cannot be read, is none of the three, is damaged or cut short, or has more than 178,956,970 pixels.
pub(crate) fn decode_file(path: &Path) -> Result<Image, DataError> {
    decode_rows(path, &all_rows)
}

/// Decodes the first rows of a picture, as many as `n_rows(width_px, height_px)` says of its size as shown.
///
/// The picture keeps its size; rows beyond are black or what they are. Rows are saved where the format allows: in a jpeg that is
/// neither progressive nor turned on its side. Those decoded are equal to those of [`decode_file`], bit by bit.
///
/// # Errors
/// As [`decode_file`]; damage below the rows that are decoded is not noticed, but for a missing end.
pub(crate) fn decode_rows(path: &Path, n_rows: RowsSeen) -> Result<Image, DataError> {
    let bytes = fs::read(path).map_err(|source| DataError::Io { source, path: path.to_owned() })?;
    decode(bytes, n_rows).map_err(|(expected, found)| DataError::Malformed {
        what: PICTURE,
        expected: expected.into(),
        found,
        path: path.to_owned(),
    })
}

/// What was expected and what was found instead.
type Refusal = (&'static str, String);

fn decode(bytes: Vec<u8>, n_rows: RowsSeen) -> Result<Image, Refusal> {
    let refused = |error: ImageError| ("a png, jpeg or webp file that can be decoded", error.to_string());
    if bytes.is_empty() {
        return Err(("a png, jpeg or webp file that can be decoded", "an empty file".into()));
    }
    let is_jpeg = image::guess_format(&bytes).ok() == Some(ImageFormat::Jpeg);
    if is_jpeg && !jpeg::ends(&bytes) {
        return Err(("a jpeg with its end", format!("a file cut short after {} bytes", bytes.len())));
    }
    let mut shortened = None;
    let mut decoder = open(&bytes).map_err(refused)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(("at most 178956970 pixels", format!("{width} × {height}")));
    }
    let orientation = decoder.orientation().map_err(refused)?;
    // Where the rows of the file are those that are shown.
    let is_upright = matches!(orientation, Orientation::NoTransforms | Orientation::FlipHorizontal);
    if is_jpeg && is_upright {
        shortened = jpeg::shortened(&bytes, n_rows(width as usize, height as usize));
    }
    if let Some(shortened) = &shortened {
        decoder = open(shortened).map_err(refused)?;
    }
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(refused)?;
    decoded.apply_orientation(orientation);
    let rgb = decoded.into_rgb8();
    let (width_px, height_px) = (rgb.width() as usize, rgb.height() as usize);
    let mut rgb = rgb.into_raw();
    let height_px = if shortened.is_some() { height as usize } else { height_px };
    rgb.resize(3 * width_px * height_px, 0);
    Ok(Image { width_px, height_px, rgb })
}

/// A decoder by the content of a file.
fn open(bytes: &[u8]) -> Result<impl ImageDecoder, ImageError> {
    ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.into_decoder()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, ImageEncoder, Luma, LumaA, Rgb, Rgba, codecs::jpeg::JpegEncoder};

    fn from_hex(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
        (0..text.len()).step_by(2).map(digit).collect()
    }

    /// 8 × 8 px of C, M, Y, K = 40, 120, 200, 30 with Adobe's marker; no pixel differs from another.
    const CMYK: &str = "ffd8ffee000e41646f626500640000000000ffdb00430002010101010102010101020202020204030202020205040403\
        04060506060605060606070908060709070606080b08090a0a0a0a0a06080b0c0b0a0c090a0a0affc000140800080008\
        044311004d11005911004b1100ffc4001500010100000000000000000000000000000905ffc400141001000000000000\
        00000000000000000000ffda000e0443004d0059004b00003f00571706d9847fffd9";
    /// 8 × 8 px of gray 77, progressive.
    const GRAY: &str = "ffd8ffe000104a46494600010100000100010000ffdb0043000201010101010201010102020202020403020202020504\
        040304060506060605060606070908060709070606080b08090a0a0a0a0a06080b0c0b0a0c090a0a0affc2000b080008\
        000801011100ffc40014000100000000000000000000000000000007ffda000801010000000119ffc400141001000000\
        00000000000000000000000000ffda00080101000105027fffc40014100100000000000000000000000000000000ffda\
        0008010100063f027fffc40014100100000000000000000000000000000000ffda0008010100013f217fffda00080101\
        000000107fffc40014100100000000000000000000000000000000ffda0008010100013f107fffd9";
    /// 2 × 1 px, palette of (10, 20, 30) and (200, 100, 50), the second transparent.
    const PALETTE: &str = "89504e470d0a1a0a0000000d4948445200000002000000010103000000ceecedc900000006504c54450a141ec8643277\
        a0b39c0000000274524e53ff00e5b7304a0000000a4944415478da637000000042004184bf8e620000000049454e44ae\
        426082";
    /// 4 × 4 px of about (180, 60, 20), lossy.
    const WEBP: &str = "524946463a00000057454250565038202e000000d001009d012a0400040001402625a00274ba01f80003b000fef01bdf\
        ff304afc8376a1ffd701f9c07e701fcac000";
    /// 2 × 2 px of (180, 60, 20), lossless, all transparent.
    const CLEAR_WEBP: &str = "524946461c000000574542505650384c100000002f0140001007509ed296220211d1ff00";

    fn pixels(bytes: Vec<u8>) -> Vec<[u8; 3]> {
        let image = decode(bytes, &all_rows).expect("decodes");
        assert_eq!(image.rgb.len(), 3 * image.width_px * image.height_px);
        image.rgb.chunks(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
    }

    fn near(found: &[[u8; 3]], expected: [u8; 3]) {
        for pixel in found {
            assert!((0..3).all(|c| pixel[c].abs_diff(expected[c]) <= 2), "{pixel:?}, not {expected:?}");
        }
    }

    #[test]
    fn inks_become_the_colors_that_pillow_gives_them() {
        let cmyk = from_hex(CMYK);
        // (255 - 40)(255 - 30) / 255 = 189.7, (255 - 120) · 225 / 255 = 119.1, 55 · 225 / 255 = 48.5.
        let found = pixels(cmyk.clone());
        assert_eq!(found.len(), 64);
        near(&found, [190, 119, 49]);
        // The same file said to be YCCK: Pillow 13 gives (125, 0, 25).
        let marker = cmyk.windows(5).position(|bytes| bytes == b"Adobe").expect("the marker");
        let mut ycck = cmyk.clone();
        ycck[marker + 11] = 2;
        near(&pixels(ycck), [125, 0, 25]);
        // Without the marker, Pillow takes values for inverted too.
        let plain = [&cmyk[..marker - 4], &cmyk[marker + 12..]].concat();
        near(&pixels(plain), [190, 119, 49]);
    }

    #[test]
    fn palettes_gray_and_webp_become_three_channels() {
        assert_eq!(pixels(from_hex(PALETTE)), [[10, 20, 30], [200, 100, 50]]);
        near(&pixels(from_hex(GRAY)), [77; 3]);
        near(&pixels(from_hex(WEBP)), [179, 60, 18]);
        assert_eq!(pixels(from_hex(CLEAR_WEBP)), [[180, 60, 20]; 4]);
    }

    #[test]
    fn depths_and_alpha_of_png_are_as_stated() {
        let of = |write: &dyn Fn(&mut Cursor<Vec<u8>>)| {
            let mut file = Cursor::new(Vec::new());
            write(&mut file);
            pixels(file.into_inner())
        };
        const PNG: ImageFormat = ImageFormat::Png;
        let one = |found: Vec<[u8; 3]>| found[0];
        let gray = of(&|f| ImageBuffer::from_pixel(1, 1, Luma([7u8])).write_to(f, PNG).expect("writes"));
        let clear = of(&|f| ImageBuffer::from_pixel(1, 1, LumaA([9u8, 0])).write_to(f, PNG).expect("writes"));
        let alpha =
            of(&|f| ImageBuffer::from_pixel(1, 1, Rgba([1u8, 2, 3, 0])).write_to(f, PNG).expect("writes"));
        // 65535 is 255; 25700 = 100 · 257 is 100; 25957 = 101 · 257 is 101.
        let deep = of(&|f| {
            ImageBuffer::from_pixel(1, 1, Rgb([65535u16, 25700, 25957])).write_to(f, PNG).expect("writes")
        });
        let deep_gray =
            of(&|f| ImageBuffer::from_pixel(1, 1, Luma([25700u16])).write_to(f, PNG).expect("writes"));
        assert_eq!((one(gray), one(clear), one(alpha)), ([7; 3], [9; 3], [1, 2, 3]));
        assert_eq!((one(deep), one(deep_gray)), ([255, 100, 101], [100; 3]));
    }

    /// 16 × 8 px, left half black, with an orientation in its EXIF.
    fn turned(orientation: u8) -> Vec<u8> {
        // Little-endian TIFF with one tag: 0x0112 (orientation), a short.
        let mut exif = b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        exif[18] = orientation;
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
        encoder.set_exif_metadata(exif).expect("has room for it");
        let stored = ImageBuffer::from_fn(16, 8, |x, _| Luma([if x < 8 { 0u8 } else { 255 }]));
        encoder.encode(&stored, 16, 8, image::ExtendedColorType::L8).expect("encodes");
        bytes
    }

    #[test]
    fn the_orientation_that_a_camera_wrote_is_applied() {
        // Where the black half comes to lie: 1 and 4 left, 2 and 3 right, 5 and 6 above, 7 and 8 below.
        for (orientation, size, black_first) in [
            (1, (16, 8), true),
            (2, (16, 8), false),
            (3, (16, 8), false),
            (4, (16, 8), true),
            (5, (8, 16), true),
            (6, (8, 16), true),
            (7, (8, 16), false),
            (8, (8, 16), false),
        ] {
            let shown = decode(turned(orientation), &all_rows).expect("decodes");
            assert_eq!((shown.width_px, shown.height_px), size, "{orientation}");
            let (first, last) = (shown.rgb[0], shown.rgb[shown.rgb.len() - 1]);
            assert_eq!((first < 20, last > 235), (black_first, black_first), "{orientation}");
        }
    }

    #[test]
    fn files_that_are_cut_short_or_no_pictures_are_refused() {
        let whole = turned(1);
        assert!(jpeg::ends(&whole) && jpeg::ends(&from_hex(GRAY)));
        for n in [whole.len() - 2, whole.len() / 2, 40] {
            let (expected, found) = decode(whole[..n].to_vec(), &all_rows).expect_err("is refused");
            assert!(
                expected.contains("with its end") && found.contains(&n.to_string()),
                "{expected}; {found}"
            );
        }
        let png = from_hex(PALETTE);
        let cases = [png[..60].to_vec(), from_hex(WEBP)[..40].to_vec(), b"no picture".to_vec(), Vec::new()];
        for bytes in cases {
            assert!(decode(bytes, &all_rows).is_err());
        }
        // A header that claims 60,000 × 60,000 px, its checksum right.
        let mut huge = png;
        huge[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        let mut crc = flate2::Crc::new();
        crc.update(&huge[12..29]);
        huge[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        assert!(decode(huge, &all_rows).is_err());
    }

    /// 40 × 100 px of colors that differ from row to row, and the number of rows from which on all are decoded.
    const TALL: [(&[u8], usize); 6] = [
        // Five rows of blocks of 16 px and one more end at 96.
        (include_bytes!("../tests/jpeg/half-colors.jpg"), 81),
        (include_bytes!("../tests/jpeg/restarts.jpg"), 81),
        // Eleven rows of blocks of 8 px and one more end at 96.
        (include_bytes!("../tests/jpeg/half-colors-across.jpg"), 89),
        (include_bytes!("../tests/jpeg/full-colors.jpg"), 89),
        (include_bytes!("../tests/jpeg/gray.jpg"), 89),
        (include_bytes!("../tests/jpeg/progressive.jpg"), 0),
    ];

    #[test]
    fn the_rows_that_are_looked_at_are_those_of_the_whole_picture() {
        for (bytes, all_from) in TALL {
            let whole = decode(bytes.to_vec(), &all_rows).expect("decodes");
            assert_eq!((whole.width_px, whole.height_px), (40, 100));
            for n_rows in 0..=100 {
                let some = |width_px: usize, height_px: usize| {
                    assert_eq!((width_px, height_px), (40, 100));
                    n_rows
                };
                let found = decode(bytes.to_vec(), &some).expect("decodes");
                assert_eq!((found.width_px, found.height_px), (40, 100));
                assert_eq!(found.rgb.len(), whole.rgb.len());
                assert!(found.rgb[..120 * n_rows] == whole.rgb[..120 * n_rows], "{n_rows} rows");
                let is_black = found.rgb[120 * 99..].iter().all(|&value| value == 0);
                assert_eq!(is_black, n_rows < all_from, "{n_rows} rows");
            }
        }
    }

    #[test]
    fn a_picture_on_its_side_is_decoded_whole() {
        let none = |_: usize, _: usize| 0;
        for orientation in 3..=8 {
            let whole = decode(turned(orientation), &all_rows).expect("decodes");
            assert_eq!(decode(turned(orientation), &none).expect("decodes").rgb, whole.rgb);
        }
    }
}
