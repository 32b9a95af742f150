//! VIP: videos of people, with a class of body part or clothing for every pixel of every 25th frame or so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::clips::Clips;
use crate::{
    DataError, Dataset, DatasetEntry, Frame, Offers, Picture, Sample, Split, Truth, VOID,
    decode::decode_file,
    folder::{path_of, sets},
    ids::read_ids_of,
    listing::{entries, lines, pictures, plain_name},
};

/// The registry row.
pub const ENTRY: DatasetEntry = DatasetEntry {
    name: "vip",
    line: "VIP, Video Instance-level Parsing: videos of people, 19 categories by the pixel of some frames",
    usage: "vip:DIR",
    open,
};

/// Categories beside the background, which the release numbers and this loader does not name.
const N_CATEGORIES: usize = 19;

struct Vip {
    name: String,
    categories: Vec<String>,
    videos: Vec<Video>,
    clips: Clips,
}

/// One video from its first annotated frame on.
struct Video {
    name: String,
    /// The picture of every frame, and its map where there is one.
    frames: Vec<(PathBuf, Option<PathBuf>)>,
}

/// Where pictures and maps are.
struct Root {
    images: PathBuf,
    maps: PathBuf,
    lists: PathBuf,
}

fn open(rest: &str, split: Split, _: u64) -> Result<Box<dyn Dataset>, DataError> {
    let root = Root::of(path_of(rest, ENTRY.usage)?)?;
    let sets = sets(split, "train", "val");
    let mut videos = Vec::new();
    for set in &sets {
        for name in names(&root, set)? {
            videos.push(video(&root, &name)?);
        }
    }
    if videos.is_empty() {
        let expected = "a folder of maps for every video".into();
        return Err(DataError::Missing { what: "videos with maps", expected, path: root.maps });
    }
    let clips = Clips::of_lengths(videos.iter().map(|video| video.frames.len()));
    let categories = (1..=N_CATEGORIES).map(|category| format!("category {category}")).collect();
    let name = format!("vip:{rest}:{}", sets.join("+"));
    Ok(Box::new(Vip { name, categories, videos, clips }))
}

impl Root {
    /// The folder given, or one that archives put into it; maps may stand a folder deeper.
    fn of(given: &Path) -> Result<Self, DataError> {
        for dir in ["", "VIP", "VIP_Fine"].map(|inner| given.join(inner)) {
            for maps in ["Category_ids", "Annotations/Category_ids"].map(|maps| dir.join(maps)) {
                let images = dir.join("Images");
                if images.is_dir() && maps.is_dir() {
                    return Ok(Self { images, maps, lists: dir.join("lists") });
                }
            }
        }
        Err(DataError::Missing {
            what: "folder",
            expected: "VIP with Images and Category_ids, a folder for each video in both".into(),
            path: given.to_owned(),
        })
    }
}

/// The videos of a set: those listed; without lists all that have maps are the set `val`.
fn names(root: &Root, set: &str) -> Result<Vec<String>, DataError> {
    if root.lists.is_dir() {
        let list = root.lists.join(format!("{set}_videos.txt"));
        let names = lines(&list, "list of a set", "the name of a video on every line")?;
        names.iter().try_for_each(|name| plain_name(name, &list).map(drop))?;
        return Ok(names);
    }
    if set != "val" {
        let expected = "train_videos.txt and val_videos.txt, for a set to learn from".into();
        return Err(DataError::Missing { what: "lists of the sets", expected, path: root.lists.clone() });
    }
    Ok(entries(&root.maps)?.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect())
}

fn video(root: &Root, name: &str) -> Result<Video, DataError> {
    let maps: BTreeMap<String, PathBuf> = pictures(&root.maps.join(name))?
        .into_iter()
        .map(|entry| (entry.stem().to_owned(), entry.path))
        .collect();
    let dir = root.images.join(name);
    let frames: Vec<(PathBuf, Option<PathBuf>)> = pictures(&dir)?
        .into_iter()
        .map(|entry| {
            let map = maps.get(entry.stem()).cloned();
            (entry.path, map)
        })
        .skip_while(|(_, map)| map.is_none())
        .collect();
    let n_mapped = frames.iter().filter(|(_, map)| map.is_some()).count();
    if n_mapped < maps.len() {
        return Err(DataError::Malformed {
            what: "video",
            expected: format!("a picture for each of {} maps", maps.len()),
            found: format!("{n_mapped} of that name"),
            path: dir,
        });
    }
    Ok(Video { name: name.to_owned(), frames })
}

impl Dataset for Vip {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.clips.n_samples()
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn object_classes(&self) -> &[String] {
        &self.categories
    }

    fn frame(&self, index: usize) -> Option<Frame> {
        Some(self.clips.locate(index))
    }

    fn offers(&self) -> Offers {
        Offers { clips: true, ..Offers::default() }
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
        let size = (image.width_px, image.height_px);
        let semantic = map.as_ref().map(|map| read_ids_of(map, size)).transpose()?;
        let beyond = semantic
            .iter()
            .flat_map(|semantic| &semantic.ids)
            .find(|&&id| usize::from(id) > N_CATEGORIES && id != VOID);
        if let (Some(id), Some(map)) = (beyond, map) {
            return Err(DataError::Malformed {
                what: "class map",
                expected: format!("ids from 0 to {N_CATEGORIES} and {VOID}"),
                found: id.to_string(),
                path: map.clone(),
            });
        }
        let stem = picture.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Sample {
            picture: Picture::Image(image),
            truth: Truth { semantic, frame: Some(place), ..Truth::default() },
            id: format!("{}/{stem}", video.name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LabelMap;
    use crate::ids::tests::write_ids;
    use png::{BitDepth, ColorType};
    use std::fs;

    /// VIP in small: `videos1` of 5 frames of which the second and the fourth have maps, `videos2` of 2 with one.
    fn vip(dir: &Path, maps: &str) {
        for (video, n_frames, mapped) in [("videos1", 5, vec![2, 4]), ("videos2", 2, vec![1])] {
            let (pictures, maps) = (dir.join("Images").join(video), dir.join(maps).join(video));
            fs::create_dir_all(&pictures).expect("folders");
            fs::create_dir_all(&maps).expect("folders");
            for frame in 1..=n_frames {
                let picture = image::RgbImage::from_pixel(4, 3, image::Rgb([0, 10, 30 * frame as u8]));
                picture.save(pictures.join(format!("{frame:012}.jpg"))).expect("a picture");
            }
            for frame in mapped {
                write_map(&maps.join(format!("{frame:012}.png")), 4, 19);
            }
        }
    }

    fn write_map(path: &Path, width_px: usize, id: u8) {
        let mut ids = vec![0; 3 * width_px];
        ids[1] = id;
        write_ids(path, &LabelMap { width_px, height_px: 3, ids }, ColorType::Grayscale, BitDepth::Eight);
    }

    fn open_in(dir: &Path, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        crate::open(&format!("vip:{}", dir.display()), split, 0)
    }

    #[test]
    fn videos_begin_at_their_first_map_and_keep_frames_without_one() {
        for maps in ["Category_ids", "Annotations/Category_ids"] {
            let dir = tempfile::tempdir().expect("a folder");
            vip(dir.path(), maps);
            let data = open_in(dir.path(), Split::Test).expect("opens");
            let samples: Vec<Sample> = (0..data.len()).map(|i| data.sample(i).expect("reads")).collect();
            let has_map: Vec<bool> = samples.iter().map(|sample| sample.truth.semantic.is_some()).collect();
            assert_eq!(has_map, [true, false, true, false, true, false]);
            assert_eq!(samples[0].id, "videos1/000000000002");
            assert_eq!(samples[4].truth.frame, Some(Frame { clip: 1, frame: 0 }));
            assert_eq!(samples[0].truth.semantic.as_ref().expect("a map").ids[..3], [0, 19, 0]);
            assert_eq!(data.object_classes().len(), 19);
        }
    }

    #[test]
    fn lists_choose_the_videos_of_a_set() {
        let dir = tempfile::tempdir().expect("a folder");
        vip(dir.path(), "Category_ids");
        let message = open_in(dir.path(), Split::Train).err().expect("no list").to_string();
        assert!(message.contains("missing lists of the sets"), "{message}");
        fs::create_dir(dir.path().join("lists")).expect("a folder");
        for (set, name) in [("train", "videos2"), ("val", "videos1")] {
            fs::write(dir.path().join(format!("lists/{set}_videos.txt")), format!("{name}\n"))
                .expect("a list");
        }
        let of = |split| open_in(dir.path(), split).expect("opens").len();
        assert_eq!([Split::Train, Split::Test, Split::All].map(of), [2, 4, 6]);
        fs::write(dir.path().join("lists/val_videos.txt"), "a/b\n").expect("a list");
        assert!(open_in(dir.path(), Split::Test).is_err());
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let refusal = || match open_in(dir.path(), Split::Test) {
            Err(error) => error.to_string(),
            Ok(data) => data.sample(0).expect_err("a refusal").to_string(),
        };
        assert!(refusal().contains("VIP with Images and Category_ids"));
        vip(dir.path(), "Category_ids");
        let map = dir.path().join("Category_ids/videos1/000000000002.png");
        write_map(&map, 5, 1);
        assert!(refusal().contains("4 × 3 px as the picture"));
        write_map(&map, 4, 20);
        let message = refusal();
        assert!(message.contains("0 to 19 and 255; found 20"), "{message}");
        fs::remove_file(dir.path().join("Images/videos1/000000000004.jpg")).expect("removed");
        let message = refusal();
        assert!(message.contains("a picture for each of 2 maps; found 1"), "{message}");
        fs::remove_dir_all(dir.path().join("Images/videos1")).expect("removed");
        assert!(refusal().contains("missing folder of pictures"));
        assert!(crate::open("vip:", Split::Test, 0).is_err());
    }
}
