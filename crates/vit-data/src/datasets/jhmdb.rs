//! JHMDB: short videos of one person, with the places of 15 joints in every frame.

use std::path::{Path, PathBuf};

use super::clips::Clips;
use super::mat;
use crate::{
    DataError, Dataset, DatasetEntry, Frame, Keypoint, Offers, Picture, Sample, Split, Truth,
    decode::decode_file,
    folder::{path_of, root_of},
    listing::{entries, lines, pictures},
};

/// The registry row.
pub const ENTRY: DatasetEntry = DatasetEntry {
    name: "jhmdb",
    line: "JHMDB: videos of 21 actions with 15 joints in every frame; its first split, or the videos of a list",
    usage: "jhmdb:DIR|LIST.txt",
    open,
};

/// Joints of a person.
const N_JOINTS: usize = 15;

/// The array of joints in their files: `[2, joints, frames]`, in pixels counted from 1.
const JOINTS: &str = "pos_img";

struct Jhmdb {
    name: String,
    actions: Vec<String>,
    videos: Vec<Video>,
    clips: Clips,
}

/// One video.
struct Video {
    name: String,
    action: u32,
    frames: Vec<PathBuf>,
    joints: PathBuf,
}

/// Where a video is.
struct Found {
    action: String,
    name: String,
    frames: PathBuf,
    joints: PathBuf,
}

fn open(rest: &str, split: Split, _: u64) -> Result<Box<dyn Dataset>, DataError> {
    let given = path_of(rest, ENTRY.usage)?;
    let (set, found) = match given.is_file() {
        true if split == Split::Train => {
            return Err(DataError::Missing {
                what: "videos to learn from",
                expected: "the folder with its splits: a list has one side only".into(),
                path: given.to_owned(),
            });
        }
        true => ("listed", listed(given)?),
        false => in_folder(given, split)?,
    };
    let mut actions: Vec<String> = found.iter().map(|found| found.action.clone()).collect();
    actions.sort_unstable();
    actions.dedup();
    let mut videos = Vec::with_capacity(found.len());
    for Found { action, name, frames, joints } in found {
        let action = actions.partition_point(|known| *known < action) as u32;
        let frames = pictures(&frames)?.into_iter().map(|picture| picture.path).collect();
        videos.push(Video { name, action, frames, joints });
    }
    let clips = Clips::of_lengths(videos.iter().map(|video| video.frames.len()));
    Ok(Box::new(Jhmdb { name: format!("jhmdb:{rest}:{set}"), actions, videos, clips }))
}

/// The videos of a list: on every line the folder of frames and the file of joints, from the list's own folder.
fn listed(list: &Path) -> Result<Vec<Found>, DataError> {
    let expected = "a folder of frames and a file of joints on every line";
    let above = list.parent().unwrap_or(Path::new(""));
    let video = |line: String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [frames, joints] = words[..] else {
            return Err(DataError::Malformed {
                what: "list of videos",
                expected: expected.into(),
                found: format!("`{line}`"),
                path: list.to_owned(),
            });
        };
        let frames = above.join(frames);
        let part = |path: Option<&Path>| {
            path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
        };
        Ok(Found {
            action: part(frames.parent()),
            name: part(Some(&frames)),
            joints: above.join(joints),
            frames,
        })
    };
    lines(list, "list of videos", expected)?.into_iter().map(video).collect()
}

/// The videos of a side of the first split, by action.
fn in_folder(given: &Path, split: Split) -> Result<(&'static str, Vec<Found>), DataError> {
    let expected = "JHMDB with Rename_Images, joint_positions and splits, or a list of videos";
    let root = root_of(given, &["JHMDB"], "Rename_Images", expected)?;
    let (set, sides): (_, &[&str]) = match split {
        Split::Train => ("split 1, train", &["1"]),
        Split::Test => ("split 1, test", &["2"]),
        Split::All => ("split 1", &["1", "2"]),
    };
    let mut found = Vec::new();
    for action in entries(&root.join("Rename_Images"))?.into_iter().filter(|entry| entry.is_dir) {
        let list = root.join("splits").join(format!("{}_test_split1.txt", action.name));
        for line in lines(&list, "split of an action", "VIDEO.avi and 1 or 2 on every line")? {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (Some(name), [_, side]) =
                (words.first().and_then(|word| word.strip_suffix(".avi")), &words[..])
            else {
                return Err(DataError::Malformed {
                    what: "split of an action",
                    expected: "VIDEO.avi and 1 or 2".into(),
                    found: format!("`{line}`"),
                    path: list,
                });
            };
            if sides.contains(side) {
                let name = crate::listing::plain_name(name, &list)?;
                let joints = root.join("joint_positions").join(&action.name).join(name);
                found.push(Found {
                    action: action.name.clone(),
                    name: name.to_owned(),
                    frames: action.path.join(name),
                    joints: joints.join("joint_positions.mat"),
                });
            }
        }
    }
    if found.is_empty() {
        let expected = format!("videos of {set}");
        return Err(DataError::Missing { what: "videos", expected, path: root });
    }
    Ok((set, found))
}

impl Dataset for Jhmdb {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.clips.n_samples()
    }

    fn classes(&self) -> &[String] {
        &self.actions
    }

    fn frame(&self, index: usize) -> Option<Frame> {
        Some(self.clips.locate(index))
    }

    fn offers(&self) -> Offers {
        Offers { labels: true, keypoints: true, clips: true, ..Offers::default() }
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(self.videos[self.clips.locate(index).clip].action)
    }

    fn native_size_px(&self) -> Option<usize> {
        None
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let place = self.clips.locate(index);
        let video = &self.videos[place.clip];
        let image = decode_file(&video.frames[place.frame])?;
        let joints = mat::read(&video.joints, JOINTS)?;
        // An array of one frame loses its last axis.
        let n_frames = joints.shape.get(2).copied().unwrap_or(1);
        if joints.shape.get(..2) != Some(&[2, N_JOINTS]) || n_frames != video.frames.len() {
            return Err(DataError::Malformed {
                what: "joints",
                expected: format!("{JOINTS} of 2 × {N_JOINTS} × {} (frames)", video.frames.len()),
                found: format!("{:?}", joints.shape),
                path: video.joints.clone(),
            });
        }
        let of_frame = joints.values.chunks_exact(2).skip(place.frame * N_JOINTS).take(N_JOINTS);
        let size = (image.width_px as f64, image.height_px as f64);
        let keypoints = of_frame.enumerate().map(|(name_idx, xy)| {
            // The middle of the first pixel is 1 there and 0.5 here.
            let (x, y) = (xy[0] - 0.5, xy[1] - 0.5);
            let visible = (0.0..size.0).contains(&x) && (0.0..size.1).contains(&y);
            Keypoint { name_idx, xy_in_image_px: (x as f32, y as f32), visible }
        });
        let truth = Truth {
            label: Some(video.action),
            keypoints: keypoints.collect(),
            frame: Some(place),
            ..Truth::default()
        };
        let stem = video.frames[place.frame].file_stem().unwrap_or_default().to_string_lossy();
        let id = format!("{}/{}/{stem}", self.actions[video.action as usize], video.name);
        Ok(Sample { picture: Picture::Image(image), truth, id })
    }
}

#[cfg(test)]
mod tests {
    use super::super::mat::tests::file_of;
    use super::*;
    use std::fs;

    /// JHMDB in small: `wave/a` of two frames to learn from, `catch/b` of one and `catch/c` of two for testing; joint `j` of frame `t`
    /// stands at `(j + 1, t + 1)` there, the last one far outside.
    fn jhmdb(dir: &Path) {
        fs::create_dir_all(dir.join("splits")).expect("folders");
        fs::write(dir.join("splits/catch_test_split1.txt"), "b.avi 2\nc.avi 2 \nd.avi 0\n").expect("a split");
        fs::write(dir.join("splits/wave_test_split1.txt"), "a.avi 1\n").expect("a split");
        for (action, video, n_frames) in [("wave", "a", 2), ("catch", "b", 1), ("catch", "c", 2)] {
            let frames = dir.join("Rename_Images").join(action).join(video);
            let joints = dir.join("joint_positions").join(action).join(video);
            fs::create_dir_all(&frames).expect("folders");
            fs::create_dir_all(&joints).expect("folders");
            for frame in 1..=n_frames {
                let picture = image::RgbImage::from_pixel(20, 10, image::Rgb([9, 10, 70 * frame as u8]));
                picture.save(frames.join(format!("{frame:05}.png"))).expect("a picture");
            }
            write_joints(&joints.join("joint_positions.mat"), n_frames);
        }
    }

    fn write_joints(path: &Path, n_frames: usize) {
        let at = |frame: usize, joint: usize| {
            if joint == 14 { [99.0, -3.0] } else { [joint as f64 + 1.0, frame as f64 + 1.0] }
        };
        let values: Vec<f64> =
            (0..n_frames).flat_map(|frame| (0..15).flat_map(move |joint| at(frame, joint))).collect();
        // MATLAB writes no last axis of one.
        let shape = [2, 15, n_frames];
        let shape = if n_frames == 1 { &shape[..2] } else { &shape[..] };
        fs::write(path, file_of(JOINTS, shape, &values)).expect("joints");
    }

    fn open_in(path: &Path, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        crate::open(&format!("jhmdb:{}", path.display()), split, 0)
    }

    #[test]
    fn joints_of_every_frame_are_read_and_those_outside_are_not_visible() {
        let dir = tempfile::tempdir().expect("a folder");
        jhmdb(&dir.path().join("JHMDB"));
        let data = open_in(dir.path(), Split::Test).expect("opens");
        assert!(data.name().ends_with(":split 1, test"), "{}", data.name());
        let samples: Vec<Sample> = (0..data.len()).map(|i| data.sample(i).expect("reads")).collect();
        let ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
        assert_eq!(ids, ["catch/b/00001", "catch/c/00001", "catch/c/00002"]);
        let points = &samples[2].truth.keypoints;
        assert_eq!((points.len(), points[3].xy_in_image_px, points[3].visible), (15, (3.5, 1.5), true));
        assert!(!points[14].visible);
        let all = open_in(dir.path(), Split::All).expect("opens");
        assert_eq!((all.len(), all.classes()), (5, &["catch".to_owned(), "wave".to_owned()][..]));
        assert_eq!(all.label(4), Some(1));
        assert_eq!(open_in(dir.path(), Split::Train).expect("opens").len(), 2);
    }

    #[test]
    fn a_list_names_folders_and_files() {
        let dir = tempfile::tempdir().expect("a folder");
        jhmdb(dir.path());
        let list = dir.path().join("list.txt");
        fs::write(&list, "Rename_Images/catch/c joint_positions/catch/c/joint_positions.mat\n")
            .expect("a list");
        let data = open_in(&list, Split::Test).expect("opens");
        assert_eq!((data.len(), data.sample(0).expect("reads").id.as_str()), (2, "catch/c/00001"));
        assert!(open_in(&list, Split::Train).err().expect("refused").to_string().contains("one side only"));
        fs::write(&list, "Rename_Images/catch/c\n").expect("a list");
        let message = open_in(&list, Split::Test).err().expect("refused").to_string();
        assert!(
            message.contains("a file of joints on every line; found `Rename_Images/catch/c`"),
            "{message}"
        );
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let refusal = || match open_in(dir.path(), Split::Test) {
            Err(error) => error.to_string(),
            Ok(data) => data.sample(1).expect_err("a refusal").to_string(),
        };
        assert!(refusal().contains("JHMDB with Rename_Images"));
        jhmdb(dir.path());
        let joints = dir.path().join("joint_positions/catch/c/joint_positions.mat");
        write_joints(&joints, 3);
        let message = refusal();
        assert!(message.contains("2 × 15 × 2 (frames); found [2, 15, 3]"), "{message}");
        fs::write(&joints, file_of("pos_world", &[2, 15, 2], &[0.0; 60])).expect("written");
        assert!(refusal().contains("an array `pos_img`"));
        fs::write(&joints, b"HDF").expect("written");
        assert!(refusal().contains("a file of level 5"));
        fs::remove_file(&joints).expect("removed");
        assert!(refusal().contains("joint_positions.mat"));
        let split = dir.path().join("splits/catch_test_split1.txt");
        for (text, complaint) in [
            ("c.avi\n", "VIDEO.avi and 1 or 2; found `c.avi`"),
            ("c 2\n", "VIDEO.avi and 1 or 2; found `c 2`"),
            ("../x.avi 2\n", "the name of a file or folder"),
            ("x.avi 2\n", "missing folder of pictures"),
            ("c.avi 0\n", "missing videos"),
        ] {
            fs::write(&split, text).expect("a split");
            let message = refusal();
            assert!(message.contains(complaint), "{message}");
        }
        fs::remove_file(&split).expect("removed");
        assert!(refusal().contains("missing split of an action"));
        assert!(crate::open("jhmdb:", Split::Test, 0).is_err());
    }
}
