//! DAVIS 2017: videos in which every object is told apart in every frame.

use std::path::{Path, PathBuf};

use super::clips::Clips;
use crate::{
    DataError, Dataset, DatasetEntry, Frame, LabelMap, Offers, Picture, Sample, Split, Truth, VOID,
    decode::decode_file,
    folder::{path_of, root_of, sets},
    ids::read_ids_of,
    listing::{lines, pictures, plain_name},
};

/// The registry row.
pub const ENTRY: DatasetEntry = DatasetEntry {
    name: "davis",
    line: "DAVIS 2017 at 480p: videos with a mask for every object in every frame, the sets train and val",
    usage: "davis:DIR",
    open,
};

struct Davis {
    name: String,
    videos: Vec<Video>,
    clips: Clips,
}

/// One video.
struct Video {
    name: String,
    /// The picture and the map of every frame.
    frames: Vec<(PathBuf, PathBuf)>,
}

fn open(rest: &str, split: Split, _: u64) -> Result<Box<dyn Dataset>, DataError> {
    let expected = "DAVIS with JPEGImages/480p, Annotations/480p and ImageSets/2017";
    let root = root_of(path_of(rest, ENTRY.usage)?, &["DAVIS"], "JPEGImages/480p", expected)?;
    let sets = sets(split, "train", "val");
    let mut videos = Vec::new();
    for set in &sets {
        let list = root.join("ImageSets/2017").join(format!("{set}.txt"));
        for name in lines(&list, "list of a set", "the name of a video on every line")? {
            videos.push(video(&root, plain_name(&name, &list)?)?);
        }
    }
    let clips = Clips::of_lengths(videos.iter().map(|video| video.frames.len()));
    Ok(Box::new(Davis { name: format!("davis:{rest}:{}", sets.join("+")), videos, clips }))
}

/// The frames of a video, by name; that every map is there and fits is seen when it is read.
fn video(root: &Path, name: &str) -> Result<Video, DataError> {
    let maps = root.join("Annotations/480p").join(name);
    let frames = pictures(&root.join("JPEGImages/480p").join(name))?
        .into_iter()
        .map(|picture| {
            let map = maps.join(format!("{}.png", picture.stem()));
            (picture.path, map)
        })
        .collect();
    Ok(Video { name: name.to_owned(), frames })
}

impl Dataset for Davis {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.clips.n_samples()
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn frame(&self, index: usize) -> Option<Frame> {
        Some(self.clips.locate(index))
    }

    fn offers(&self) -> Offers {
        Offers { masks: true, clips: true, tracked: true, ..Offers::default() }
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn native_size_px(&self) -> Option<usize> {
        None
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let place = self.clips.locate(index);
        let video = &self.videos[place.clip];
        let (picture, map) = &video.frames[place.frame];
        let image = decode_file(picture)?;
        let tracked = read_ids_of(map, (image.width_px, image.height_px))?;
        let is_object = |&id: &u8| u8::from(id != 0 && id != VOID);
        let mask = LabelMap { ids: tracked.ids.iter().map(is_object).collect(), ..tracked };
        let stem = picture.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Sample {
            picture: Picture::Image(image),
            truth: Truth { mask: Some(mask), tracked: Some(tracked), frame: Some(place), ..Truth::default() },
            id: format!("{}/{stem}", video.name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::tests::write_ids;
    use png::{BitDepth, ColorType};
    use std::fs;

    /// DAVIS in small: two videos of three frames of 6 × 4 px, `bear` with two objects and void, `dog` with one that moves.
    fn davis(dir: &Path) {
        for (set, names) in [("train", "dog\n"), ("val", "bear \n\n")] {
            fs::create_dir_all(dir.join("ImageSets/2017")).expect("folders");
            fs::write(dir.join(format!("ImageSets/2017/{set}.txt")), names).expect("a set");
        }
        for video in ["bear", "dog"] {
            let [pictures, maps] =
                ["JPEGImages/480p", "Annotations/480p"].map(|folder| dir.join(folder).join(video));
            fs::create_dir_all(&pictures).expect("folders");
            fs::create_dir_all(&maps).expect("folders");
            for frame in 0..3usize {
                let picture = image::RgbImage::from_pixel(6, 4, image::Rgb([90, 10, 40 * frame as u8]));
                picture.save(pictures.join(format!("{frame:05}.jpg"))).expect("a picture");
                let mut ids = vec![0; 24];
                match video {
                    "bear" => ids[..4].copy_from_slice(&[0, 1, 2, VOID]),
                    _ => ids[frame] = 1,
                }
                let map = LabelMap { width_px: 6, height_px: 4, ids };
                write_ids(&maps.join(format!("{frame:05}.png")), &map, ColorType::Indexed, BitDepth::Eight);
            }
        }
    }

    fn open_in(dir: &Path, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        crate::open(&format!("davis:{}", dir.display()), split, 0)
    }

    #[test]
    fn frames_come_in_their_order_with_every_object() {
        let dir = tempfile::tempdir().expect("a folder");
        davis(&dir.path().join("DAVIS"));
        let data = open_in(dir.path(), Split::All).expect("opens");
        let samples: Vec<Sample> = (0..data.len()).map(|i| data.sample(i).expect("reads")).collect();
        let ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
        assert_eq!(ids, ["dog/00000", "dog/00001", "dog/00002", "bear/00000", "bear/00001", "bear/00002"]);
        for (index, sample) in samples.iter().enumerate() {
            let place = Frame { clip: index / 3, frame: index % 3 };
            assert_eq!((sample.truth.frame, data.frame(index)), (Some(place), Some(place)));
        }
        let tracked = samples[3].truth.tracked.as_ref().expect("objects");
        assert_eq!(tracked.ids[..5], [0, 1, 2, VOID, 0]);
        assert_eq!(samples[3].truth.mask.as_ref().expect("a mask").ids[..5], [0, 1, 1, 0, 0]);
        assert_eq!(samples[2].truth.tracked.as_ref().expect("objects").ids[..4], [0, 0, 1, 0]);
        let val = open_in(dir.path(), Split::Test).expect("opens");
        assert!(val.name().ends_with(":val") && val.len() == 3, "{}", val.name());
        // Whole videos only.
        assert_eq!(crate::spread_over_classes(data.as_ref(), 4), [0, 1, 2]);
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let refusal = || match open_in(dir.path(), Split::Test) {
            Err(error) => error.to_string(),
            Ok(data) => data.sample(1).expect_err("a refusal").to_string(),
        };
        assert!(refusal().contains("JPEGImages/480p"));
        davis(dir.path());
        let map = dir.path().join("Annotations/480p/bear/00001.png");
        let small = LabelMap { width_px: 5, height_px: 4, ids: vec![0; 20] };
        write_ids(&map, &small, ColorType::Indexed, BitDepth::Eight);
        let message = refusal();
        assert!(message.contains("6 × 4 px as the picture") && message.contains("5 × 4"), "{message}");
        image::RgbImage::new(6, 4).save(&map).expect("colors");
        assert!(refusal().contains("a PNG of ids"), "colors are no ids");
        fs::remove_file(&map).expect("removed");
        assert!(refusal().ends_with("00001.png"));
        let list = dir.path().join("ImageSets/2017/val.txt");
        for (text, complaint) in [
            ("horse\n", "missing folder of pictures"),
            ("../bear\n", "expected the name of a file or folder; found `../bear`"),
            (" \n", "missing list of a set"),
        ] {
            fs::write(&list, text).expect("a list");
            let message = refusal();
            assert!(message.contains(complaint), "{message}");
        }
        fs::remove_file(&list).expect("removed");
        assert!(refusal().contains("missing list of a set"));
        assert!(crate::open("davis:", Split::Train, 0).is_err());
    }
}
