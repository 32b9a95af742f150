//! A folder of pictures: class folders, with `train/` and `val/` (or `test/`) above them where both exist.

use std::path::{Path, PathBuf};

use crate::{
    DataError, Dataset, DatasetEntry, Offers, Picture, RowsSeen, Sample, Seed, Split, Truth,
    dataset::all_rows,
    decode::decode_rows,
    listing::{EXTENSIONS, entries},
    split::stratified_split,
};

/// The registry row.
pub const ENTRY: DatasetEntry = DatasetEntry {
    name: "folder",
    line: "pictures (png, jpg, webp) in class folders, with train/ and val/ above them where both exist",
    usage: "folder:DIR",
    open,
};

struct ImageFolder {
    name: String,
    root: PathBuf,
    classes: Vec<String>,
    files: Vec<File>,
}

/// One picture.
struct File {
    /// Its path from the root.
    path: Box<Path>,
    label: Option<u32>,
}

fn open(rest: &str, split: Split, seed: u64) -> Result<Box<dyn Dataset>, DataError> {
    if rest.is_empty() {
        return Err(DataError::Usage { expected: ENTRY.usage.into(), found: "folder:".into() });
    }
    let root = PathBuf::from(rest);
    if !root.is_dir() {
        return Err(DataError::Missing {
            what: "folder",
            expected: "a folder of pictures".into(),
            path: root,
        });
    }
    let split_name = match split {
        Split::Train => "train",
        Split::Test => "test",
        Split::All => "all",
    };
    let held_out = ["val", "test"].into_iter().find(|name| root.join(name).is_dir());
    let (name, classes, files) = match held_out {
        Some(held_out) if root.join("train").is_dir() => {
            let classes = class_names(&root.join("train"))?;
            let mut files = Vec::new();
            if split != Split::Test {
                files.extend(list(&root, Path::new("train"), &classes)?);
            }
            if split != Split::Train {
                files.extend(list(&root, Path::new(held_out), &classes)?);
            }
            (format!("folder:{rest}:{split_name}"), classes, files)
        }
        _ => {
            let classes = class_names(&root)?;
            let files = list(&root, Path::new(""), &classes)?;
            let labels: Vec<_> = files.iter().map(|file| file.label).collect();
            let halves = stratified_split(&labels, Seed(seed));
            let chosen = match split {
                Split::Train => halves.train,
                Split::Test => halves.test,
                Split::All => halves.train.into_iter().chain(halves.test).collect(),
            };
            let mut files: Vec<_> = files.into_iter().map(Some).collect();
            let files: Vec<File> = chosen.into_iter().filter_map(|index| files[index].take()).collect();
            (format!("folder:{rest}:{split_name} (seeded 80/20 split)"), classes, files)
        }
    };
    if files.is_empty() {
        return Err(DataError::Missing {
            what: "pictures",
            expected: format!(
                "at least one in the {split_name} split (a class of one or two has none to hold out)"
            ),
            path: root,
        });
    }
    Ok(Box::new(ImageFolder { name, root, classes, files }))
}

/// The class folders in a folder; none where the pictures lie in it themselves.
fn class_names(dir: &Path) -> Result<Vec<String>, DataError> {
    let entries = entries(dir)?;
    let loose = entries.iter().find(|entry| entry.is_picture());
    let classes: Vec<String> =
        entries.iter().filter(|entry| entry.is_dir).map(|entry| entry.name.clone()).collect();
    match loose {
        Some(loose) if !classes.is_empty() => Err(DataError::Malformed {
            what: "folder of pictures",
            expected: "either class folders or pictures".into(),
            found: format!("the folder `{}` beside the picture `{}`", classes[0], loose.name),
            path: dir.to_owned(),
        }),
        None if classes.is_empty() => Err(DataError::Missing {
            what: "pictures",
            expected: format!("class folders, or files that end in {}", EXTENSIONS.join(", ")),
            path: dir.to_owned(),
        }),
        _ => Ok(classes),
    }
}

/// The pictures of `root/under`: by class, and by name in each.
fn list(root: &Path, under: &Path, classes: &[String]) -> Result<Vec<File>, DataError> {
    let dir = root.join(under);
    let here = class_names(&dir)?;
    if here.is_empty() != classes.is_empty() {
        return Err(DataError::Malformed {
            what: "folder of pictures",
            expected: if classes.is_empty() {
                "no class folders, as in train/"
            } else {
                "class folders, as in train/"
            }
            .into(),
            found: here.first().cloned().unwrap_or_else(|| "none".into()),
            path: dir,
        });
    }
    let mut files = Vec::new();
    if here.is_empty() {
        descend(root, &dir, None, &mut files)?;
    }
    for class in &here {
        let dir = dir.join(class);
        let Ok(label) = classes.binary_search(class) else {
            let (expected, found) = ("a class that train/ has".into(), class.clone());
            return Err(DataError::Malformed { what: "class folder", expected, found, path: dir });
        };
        let before = files.len();
        descend(root, &dir, Some(label as u32), &mut files)?;
        if files.len() == before {
            let expected = format!("at least one file that ends in {}", EXTENSIONS.join(", "));
            return Err(DataError::Missing { what: "pictures of a class", expected, path: dir });
        }
    }
    Ok(files)
}

/// Adds the pictures of a folder and of those within it. Folders behind links are left out: they can form rings.
fn descend(root: &Path, dir: &Path, label: Option<u32>, files: &mut Vec<File>) -> Result<(), DataError> {
    for entry in entries(dir)? {
        if entry.is_dir && !entry.is_link {
            descend(root, &entry.path, label, files)?;
        } else if entry.is_picture() {
            let path = entry.path.strip_prefix(root).unwrap_or(&entry.path);
            files.push(File { path: path.into(), label });
        }
    }
    Ok(())
}

impl Dataset for ImageFolder {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.files.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn offers(&self) -> Offers {
        Offers { labels: !self.classes.is_empty(), ..Offers::default() }
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.files[index].label
    }

    fn native_size_px(&self) -> Option<usize> {
        None
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        self.sample_rows(index, &all_rows)
    }

    fn sample_rows(&self, index: usize, n_rows: RowsSeen) -> Result<Sample, DataError> {
        let file = &self.files[index];
        let parts: Vec<_> = file.path.iter().map(|part| part.to_string_lossy()).collect();
        Ok(Sample {
            picture: Picture::Image(decode_rows(&self.root.join(&file.path), n_rows)?),
            truth: Truth { label: file.label, ..Truth::default() },
            id: parts.join("/"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Crop, Loader, LoaderOptions, Order, ViewPlan, ViewSpec, cut, transform::Normalize};
    use image::{ImageBuffer, Rgb};
    use std::{fs, sync::Arc};
    use tempfile::TempDir;

    fn tree(files: &[&str]) -> TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (i, name) in files.iter().enumerate() {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("makes folders");
            if !name.ends_with('/') {
                let picture = ImageBuffer::from_pixel(2, 1, Rgb([i as u8, 0, 0]));
                picture.save_with_format(&path, image::ImageFormat::Png).expect("writes");
            } else {
                fs::create_dir_all(&path).expect("makes folders");
            }
        }
        dir
    }

    fn open_in(dir: &TempDir, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        open(dir.path().to_str().expect("utf-8"), split, 0)
    }

    fn ids(dataset: &dyn Dataset) -> Vec<String> {
        (0..dataset.len()).map(|index| dataset.sample(index).expect("reads").id).collect()
    }

    #[test]
    fn files_are_sorted_by_name_and_known_by_extension() {
        let dir = tree(&[
            "train/b/2.PNG",
            "train/b/10.jpg",
            "train/a/x.webp",
            "train/a/deep/y.JPEG",
            "val/b/1.png",
        ]);
        fs::write(dir.path().join("train/a/notes.txt"), "x").expect("writes");
        fs::write(dir.path().join("train/a/.hidden.png"), "x").expect("writes");
        let train = open_in(&dir, Split::Train).expect("opens");
        assert_eq!(
            ids(&*train),
            ["train/a/deep/y.JPEG", "train/a/x.webp", "train/b/10.jpg", "train/b/2.PNG"]
        );
        assert_eq!(train.classes(), ["a", "b"]);
        assert_eq!((train.label(1), train.label(2)), (Some(0), Some(1)));
        let test = open_in(&dir, Split::Test).expect("opens");
        assert_eq!((ids(&*test), test.label(0)), (vec!["val/b/1.png".to_owned()], Some(1)));
        assert_eq!(open_in(&dir, Split::All).expect("opens").len(), 5);
        assert!(test.name().ends_with(":test"), "{}", test.name());
    }

    #[test]
    fn without_a_split_of_its_own_a_fifth_of_every_class_is_held_out() {
        let names: Vec<String> =
            (0..15).map(|i| format!("{}/{i:02}.png", if i < 10 { "a" } else { "b" })).collect();
        let dir = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let (train, test) =
            (open_in(&dir, Split::Train).expect("opens"), open_in(&dir, Split::Test).expect("opens"));
        // 10 and 5 pictures: 2 and 1 are held out.
        let count =
            |data: &dyn Dataset, class| (0..data.len()).filter(|&i| data.label(i) == Some(class)).count();
        assert_eq!([count(&*test, 0), count(&*test, 1), count(&*train, 0), count(&*train, 1)], [2, 1, 8, 4]);
        let mut both: Vec<String> = ids(&*train).into_iter().chain(ids(&*test)).collect();
        assert_eq!(both, ids(&*open_in(&dir, Split::All).expect("opens")));
        both.sort();
        assert_eq!(both, names);
        assert!(test.name().ends_with(":test (seeded 80/20 split)"), "{}", test.name());
    }

    #[test]
    fn pictures_without_class_folders_have_no_labels() {
        let dir = tree(&["1.png", "2.png", "3.png", "4.png", "5.png"]);
        let test = open_in(&dir, Split::Test).expect("opens");
        assert_eq!((test.len(), test.label(0), test.offers()), (1, None, Offers::default()));
        assert!(test.classes().is_empty());
    }

    #[test]
    fn folders_without_pictures_are_refused_with_their_reason() {
        let cases: [(&[&str], &str, &str); 6] = [
            (&["x/"], "missing pictures of a class", "x"),
            (&["a/1.png", "b/"], "missing pictures of a class", "b"),
            (&[], "missing pictures", ""),
            (&["a/1.png", "2.png"], "either class folders or pictures", ""),
            (&["train/a/1.png", "val/c/1.png"], "a class that train/ has", "c"),
            (&["train/a/1.png", "val/1.png"], "class folders, as in train/", "val"),
        ];
        for (files, reason, place) in cases {
            let dir = tree(files);
            let message = open_in(&dir, Split::Test).err().expect("is refused").to_string();
            assert!(message.contains(reason) && message.ends_with(place), "{message}");
        }
        assert!(matches!(open("/nowhere/at/all", Split::All, 0), Err(DataError::Missing { .. })));
        let dir = tree(&["a/1.png"]);
        let message = open_in(&dir, Split::Test).err().expect("is refused").to_string();
        assert!(message.contains("in the test split"), "{message}");
    }

    #[test]
    fn a_file_that_is_no_picture_is_refused_by_name() {
        let dir = tree(&["a/1.png"]);
        fs::write(dir.path().join("a/1.png"), b"\x89PNG\r\n\x1a\nno").expect("writes");
        let data = open_in(&dir, Split::All).expect("opens");
        let message = data.sample(0).expect_err("is refused").to_string();
        assert!(message.starts_with("malformed picture") && message.ends_with("1.png"), "{message}");
    }
    #[test]
    fn crops_of_a_jpeg_decoded_as_far_as_they_need_are_those_of_the_whole() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("tall.jpg"), include_bytes!("../../tests/jpeg/half-colors.jpg"))
            .expect("writes");
        let data: Arc<dyn Dataset> = Arc::from(open_in(&dir, Split::All).expect("opens"));
        let whole = data.sample(0).expect("reads").picture;
        let crop = Crop::RandomResized { scale: (0.05, 0.4), ratio: (0.75, 4.0 / 3.0) };
        let plan = ViewPlan { views: vec![ViewSpec::plain(crop, 16, Normalize::HALF); 2] };
        let mut n_saved = 0;
        for epoch in 0..20 {
            let stream_of = |view_idx: usize| Seed(3).stream("view", &[epoch, 0, view_idx as u64]);
            n_saved += usize::from(plan.rows_seen(40, 100, stream_of) <= 80);
            let options = LoaderOptions { seed: Seed(3), epoch, ..LoaderOptions::default() };
            let mut batches = Loader::new(Arc::clone(&data), Order::Sequential, plan.clone(), options);
            let batch = batches.next().expect("a batch").expect("reads");
            for (view_idx, view) in batch.views.iter().enumerate() {
                let expected = cut(&whole, &plan.views[view_idx], &mut stream_of(view_idx));
                assert!(view.pixels == expected.pixels && view.boxes == [expected.crop_from_image]);
            }
        }
        assert!((1..20).contains(&n_saved), "{n_saved} of 20 pictures end above the last rows");
    }
}
