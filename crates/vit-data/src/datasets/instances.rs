//! COCO's annotation files: images, categories, and polygons or run lengths of objects.

use std::{collections::HashMap, fmt, fs::File, io::BufReader, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{DataError, Image, Region};

/// What an annotation file says, image by image in the file's order.
pub(super) struct Instances {
    /// The names of the categories, by their ids.
    pub(super) classes: Vec<String>,
    /// The images.
    pub(super) images: Vec<Annotated>,
}

/// One image.
pub(super) struct Annotated {
    /// As the file names it.
    pub(super) file_name: String,
    /// Width in pixels.
    pub(super) width_px: usize,
    /// Height in pixels.
    pub(super) height_px: usize,
    /// Its objects, in the file's order.
    pub(super) objects: Vec<Annotation>,
}

/// One object.
pub(super) struct Annotation {
    /// Index into the categories' names.
    pub(super) class: u32,
    /// Whether it is a crowd: one region for many.
    pub(super) crowd: bool,
    outline: Outline,
}

/// Where an object is.
enum Outline {
    Polygons(Vec<Vec<f64>>),
    Runs { runs: Runs, size: [usize; 2] },
}

/// Run lengths, in full or as text.
enum Runs {
    Full(Vec<u32>),
    Text(String),
}

#[derive(Deserialize)]
struct Written {
    images: Vec<WrittenImage>,
    annotations: Vec<WrittenObject>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct WrittenImage {
    id: u64,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Deserialize)]
struct WrittenObject {
    image_id: u64,
    category_id: u64,
    #[serde(default)]
    iscrowd: u8,
    segmentation: Outline,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

/// Reads an annotation file.
///
/// # Errors
/// When it cannot be read, is not such a file, or names an image or a category that it does not have.
pub(super) fn read(path: &Path) -> Result<Instances, DataError> {
    let malformed = |expected: &str, found: String| DataError::Malformed {
        what: "annotations",
        expected: expected.into(),
        found,
        path: path.to_owned(),
    };
    let file = File::open(path).map_err(|source| DataError::Io { source, path: path.to_owned() })?;
    let written: Written = serde_json::from_reader(BufReader::with_capacity(1 << 20, file))
        .map_err(|error| malformed("JSON with images, annotations and categories", error.to_string()))?;
    let mut categories = written.categories;
    categories.sort_by_key(|category| category.id);
    let class_of: HashMap<u64, u32> =
        categories.iter().enumerate().map(|(class, category)| (category.id, class as u32)).collect();
    if class_of.len() < categories.len() {
        return Err(malformed("categories with an id of their own", "an id that stands twice".into()));
    }
    let mut place_of = HashMap::with_capacity(written.images.len());
    let mut images = Vec::with_capacity(written.images.len());
    for (place, WrittenImage { id, file_name, width, height }) in written.images.into_iter().enumerate() {
        if width == 0 || height == 0 {
            return Err(malformed(
                "images of at least one pixel",
                format!("{width} × {height} ({file_name})"),
            ));
        }
        if place_of.insert(id, place).is_some() {
            return Err(malformed("images with an id of their own", format!("{id} twice ({file_name})")));
        }
        images.push(Annotated { file_name, width_px: width, height_px: height, objects: Vec::new() });
    }
    for WrittenObject { image_id, category_id, iscrowd, segmentation } in written.annotations {
        let Some(&place) = place_of.get(&image_id) else {
            return Err(malformed("an image for every annotation", format!("none with id {image_id}")));
        };
        let Some(&class) = class_of.get(&category_id) else {
            return Err(malformed("a category for every annotation", format!("none with id {category_id}")));
        };
        images[place].objects.push(Annotation { class, crowd: iscrowd != 0, outline: segmentation });
    }
    let classes = categories.into_iter().map(|category| category.name).collect();
    Ok(Instances { classes, images })
}

impl Annotated {
    /// The regions of all objects that have one: of polygons with at most four numbers nothing can be drawn.
    ///
    /// # Errors
    /// When a polygon has half a corner, or run lengths do not fill the image.
    pub(super) fn regions(&self, path: &Path) -> Result<Vec<(&Annotation, Region)>, DataError> {
        let mut regions = Vec::with_capacity(self.objects.len());
        for object in &self.objects {
            let region = object.region(self.width_px, self.height_px).map_err(|(expected, found)| {
                let found = format!("{found} ({})", self.file_name);
                DataError::Malformed { what: "annotation", expected, found, path: path.to_owned() }
            })?;
            regions.extend(region.map(|region| (object, region)));
        }
        Ok(regions)
    }
}

impl Annotation {
    fn region(&self, width_px: usize, height_px: usize) -> Result<Option<Region>, (String, String)> {
        match &self.outline {
            Outline::Polygons(polygons) => {
                let drawn: Vec<Vec<f64>> =
                    polygons.iter().filter(|polygon| polygon.len() > 4).cloned().collect();
                if let Some(odd) = drawn.iter().find(|polygon| polygon.len() % 2 == 1) {
                    return Err(("an even number of coordinates in a polygon".into(), odd.len().to_string()));
                }
                Ok((!drawn.is_empty()).then(|| Region::of_polygons(&drawn, width_px, height_px)))
            }
            Outline::Runs { runs, size: [height, width] } => {
                if (*width, *height) != (width_px, height_px) {
                    let expected = format!("a mask of {width_px} × {height_px} px, as its image");
                    return Err((expected, format!("{width} × {height}")));
                }
                let region = match runs {
                    Runs::Full(runs) => Region::of_runs(runs.clone(), width_px, height_px),
                    Runs::Text(text) => Region::of_text(text, width_px, height_px),
                };
                let expected = || format!("run lengths that fill {width_px} × {height_px} px");
                region.map(Some).ok_or_else(|| (expected(), "others".into()))
            }
        }
    }
}

/// A list of polygons, or a table of run lengths; read as it comes, since such files are large.
impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Outline;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("polygons or run lengths")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Outline, A::Error> {
                let mut polygons = Vec::new();
                while let Some(polygon) = seq.next_element()? {
                    polygons.push(polygon);
                }
                Ok(Outline::Polygons(polygons))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
                let (mut runs, mut size) = (None, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "counts" => runs = Some(map.next_value()?),
                        "size" => size = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                let runs = runs.ok_or_else(|| A::Error::missing_field("counts"))?;
                Ok(Outline::Runs { runs, size: size.ok_or_else(|| A::Error::missing_field("size"))? })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Runs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Runs;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("run lengths as numbers or as text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Runs, E> {
                Ok(Runs::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Runs, A::Error> {
                let mut runs = Vec::new();
                while let Some(run) = seq.next_element()? {
                    runs.push(run);
                }
                Ok(Runs::Full(runs))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Whether a picture is as large as the annotations say.
///
/// # Errors
/// When it is not.
pub(super) fn same_size(annotated: &Annotated, image: &Image, path: &Path) -> Result<(), DataError> {
    let Annotated { file_name, width_px, height_px, .. } = annotated;
    if (image.width_px, image.height_px) == (*width_px, *height_px) {
        return Ok(());
    }
    Err(DataError::Malformed {
        what: "annotations",
        expected: format!("a picture of {width_px} × {height_px} px"),
        found: format!("{} × {} ({file_name})", image.width_px, image.height_px),
        path: path.to_owned(),
    })
}
