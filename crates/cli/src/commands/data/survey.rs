//! Reads every sample of a split and notes what is wrong.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use vit_data::{Dataset, LabelMap, Picture, Sample, VOID};

/// What is wrong with one sample, or with the split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The sample's name, or its number where it cannot be read.
    pub(super) sample: String,
    /// What is wrong.
    pub(super) reason: String,
}

/// What was found in a split, or in a part of it.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Samples read.
    pub(super) n: usize,
    /// Label → samples; `None`: without a class.
    pub(super) of_class: BTreeMap<Option<u32>, usize>,
    /// (width, height) → samples.
    pub(super) of_size: BTreeMap<(usize, usize), usize>,
    /// What is missing or malformed, in the order of the samples.
    pub(super) faults: Vec<Fault>,
    /// Names, in the order of the samples.
    pub(super) ids: Vec<String>,
    /// Digest of a picture → names of the samples that show it.
    pub(super) of_picture: BTreeMap<[u8; 16], Vec<String>>,
}

impl Survey {
    /// Reads the samples of a range.
    pub(super) fn of(data: &dyn Dataset, range: Range<usize>, stop: impl Fn() -> bool) -> Self {
        let mut survey = Self::default();
        for index in range {
            if stop() {
                break;
            }
            survey.n += 1;
            *survey.of_class.entry(data.label(index)).or_default() += 1;
            match data.sample(index) {
                Err(error) => {
                    survey.faults.push(Fault { sample: format!("#{index}"), reason: error.to_string() });
                }
                Ok(sample) => survey.note(data, index, &sample),
            }
        }
        survey
    }

    fn note(&mut self, data: &dyn Dataset, index: usize, sample: &Sample) {
        let (size, digest) = match &sample.picture {
            Picture::Image(image) => ((image.width_px, image.height_px), Sha256::digest(&image.rgb)),
            Picture::Normalized { width_px, height_px, values } => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                ((*width_px, *height_px), Sha256::digest(&bytes))
            }
        };
        *self.of_size.entry(size).or_default() += 1;
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        self.of_picture.entry(key).or_default().push(sample.id.clone());
        self.ids.push(sample.id.clone());
        for reason in faults_of(data, index, sample, size) {
            self.faults.push(Fault { sample: sample.id.clone(), reason });
        }
    }

    /// Joins what was found in the part that follows this one.
    pub(super) fn join(&mut self, later: Self) {
        self.n += later.n;
        for (label, n) in later.of_class {
            *self.of_class.entry(label).or_default() += n;
        }
        for (size, n) in later.of_size {
            *self.of_size.entry(size).or_default() += n;
        }
        self.faults.extend(later.faults);
        self.ids.extend(later.ids);
        for (picture, ids) in later.of_picture {
            self.of_picture.entry(picture).or_default().extend(ids);
        }
    }

    /// Notes names that more than one sample has.
    pub(super) fn finish(&mut self) {
        let mut seen = BTreeSet::new();
        for id in &self.ids {
            if !seen.insert(id) {
                self.faults
                    .push(Fault { sample: id.clone(), reason: "another sample has the same name".into() });
            }
        }
    }

    /// Notes classes that have no sample here.
    pub(super) fn finish_classes(&mut self, classes: &[String]) {
        for (class, name) in classes.iter().enumerate() {
            if !self.of_class.contains_key(&Some(class as u32)) {
                self.faults.push(Fault { sample: name.clone(), reason: "the class has no sample".into() });
            }
        }
    }
}

/// What is wrong with the truth of a sample that can be read.
fn faults_of(
    data: &dyn Dataset,
    index: usize,
    sample: &Sample,
    (width, height): (usize, usize),
) -> Vec<String> {
    let mut reasons = Vec::new();
    let (offers, truth, n_classes) = (data.offers(), &sample.truth, data.classes().len());
    if width == 0 || height == 0 {
        reasons.push(format!("picture: expected at least one pixel; found {width} × {height}"));
    }
    if truth.label != data.label(index) {
        reasons.push(format!("label: expected {:?} as listed; found {:?}", data.label(index), truth.label));
    }
    match truth.label {
        None if offers.labels => reasons.push("label: expected one; found none".into()),
        Some(label) if label as usize >= n_classes => {
            reasons.push(format!("label: expected one below {n_classes}; found {label}"));
        }
        _ => {}
    }
    let n_parts = data.part_names().len();
    let n_object_classes = data.object_classes().len();
    for (what, map, offered) in [
        ("mask", &truth.mask, offers.masks),
        ("parts", &truth.parts, offers.parts),
        ("classes by the pixel", &truth.semantic, offers.semantic),
        ("objects of a clip", &truth.tracked, offers.tracked),
    ] {
        match map {
            None if offered => reasons.push(format!("{what}: expected one; found none")),
            Some(map)
                if (map.width_px, map.height_px) != (width, height) || map.ids.len() != width * height =>
            {
                reasons.push(format!(
                    "{what}: expected {width} × {height} px as the picture; found {} × {}",
                    map.width_px, map.height_px
                ));
            }
            _ => {}
        }
    }
    let greatest = |map: &Option<LabelMap>| {
        map.iter().flat_map(|map| &map.ids).copied().filter(|&id| id != VOID).max().map_or(0, usize::from)
    };
    for (what, map, most) in
        [("part", &truth.parts, n_parts), ("class of a pixel", &truth.semantic, n_object_classes)]
    {
        let found = greatest(map);
        if most > 0 && found > most {
            reasons.push(format!("{what}: expected at most {most}; found {found}"));
        }
    }
    for object in &truth.objects {
        if object.class as usize >= n_object_classes {
            let found = object.class;
            reasons.push(format!("class of an object: expected one below {n_object_classes}; found {found}"));
        }
        if (object.region.width_px, object.region.height_px) != (width, height) {
            let (w, h) = (object.region.width_px, object.region.height_px);
            reasons.push(format!("object: expected {width} × {height} px as the picture; found {w} × {h}"));
        } else if object.region.area_px() == 0 {
            reasons.push("object: expected at least one pixel; found none".into());
        }
    }
    if offers.clips && truth.frame.is_none() {
        reasons.push("frame: expected its place in a clip; found none".into());
    }
    if offers.pairs && truth.pair.is_none() {
        reasons.push("pair: expected which side of which pair; found none".into());
    }
    if let Some([left, top, right, bottom]) = truth.box_in_image_px {
        let is_inside = 0.0 <= left && left < right && right <= width as f32;
        if !(is_inside && 0.0 <= top && top < bottom && bottom <= height as f32) {
            let found = format!("[{left}, {top}, {right}, {bottom}]");
            reasons.push(format!("box: expected it inside {width} × {height} px; found {found}"));
        }
    }
    if let Some(query) = &truth.query {
        let lists = [&query.easy, &query.hard, &query.junk];
        if lists[..2].iter().all(|list| list.is_empty()) {
            reasons.push("query: expected something to find; found nothing easy or hard".into());
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = lists.into_iter().flatten().find(|&&other| !seen.insert(other)) {
            reasons.push(format!("query: expected every sample in one list; found {twice} twice"));
        }
    }
    for point in truth.keypoints.iter().filter(|point| point.visible) {
        let (x, y) = point.xy_in_image_px;
        if !((0.0..=width as f32).contains(&x) && (0.0..=height as f32).contains(&y)) {
            reasons.push(format!(
                "point {}: expected it inside the picture, as it is visible; found ({x}, {y})",
                point.name_idx
            ));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use vit_data::{DataError, Image, Keypoint, Object, Offers, Query, Region, Truth};

    struct Faulty {
        classes: Vec<String>,
    }

    impl Dataset for Faulty {
        fn name(&self) -> String {
            "faulty".into()
        }
        fn len(&self) -> usize {
            5
        }
        fn classes(&self) -> &[String] {
            &self.classes
        }
        fn offers(&self) -> Offers {
            Offers { labels: true, masks: true, ..Offers::default() }
        }
        fn part_names(&self) -> &[String] {
            &self.classes
        }
        fn object_classes(&self) -> &[String] {
            &self.classes
        }
        fn label(&self, index: usize) -> Option<u32> {
            Some(if index == 3 { 7 } else { 0 })
        }
        fn native_size_px(&self) -> Option<usize> {
            None
        }
        fn sample(&self, index: usize) -> Result<Sample, DataError> {
            if index == 4 {
                return Err(DataError::Usage { expected: "a picture".into(), found: "junk".into() });
            }
            let map = |side: usize| LabelMap { width_px: side, height_px: side, ids: vec![0; side * side] };
            let keypoints = match index {
                2 => vec![Keypoint { name_idx: 0, xy_in_image_px: (5.0, 1.0), visible: true }],
                _ => vec![Keypoint { name_idx: 0, xy_in_image_px: (9.0, 9.0), visible: false }],
            };
            let mask = Some(map(if index == 1 { 3 } else { 2 }));
            let region = |side_px: usize| {
                let runs = vec![0, (side_px * side_px) as u32];
                Region::of_runs(runs, side_px, side_px).expect("fills the image")
            };
            let object = |class: u32, side_px: usize| Object { class, crowd: false, region: region(side_px) };
            let objects = match index {
                0 => vec![object(1, 2)],
                1 => vec![object(2, 3)],
                _ => Vec::new(),
            };
            let parts = (index == 1).then(|| LabelMap { ids: vec![0, 2, 3, VOID], ..map(2) });
            let lists = Query { easy: vec![2], hard: vec![4], junk: vec![2] };
            let truth = Truth {
                label: self.label(index),
                mask,
                keypoints,
                objects,
                parts,
                box_in_image_px: (index == 0).then_some([0.0, 1.0, 2.5, 2.0]),
                query: match index {
                    2 => Some(lists),
                    3 => Some(Query::default()),
                    _ => None,
                },
                tracked: (index == 1).then(|| map(1)),
                ..Truth::default()
            };
            let picture = Picture::Image(Image { width_px: 2, height_px: 2, rgb: vec![index as u8 / 2; 12] });
            Ok(Sample { picture, truth, id: format!("name {}", index.min(2)) })
        }
    }

    #[test]
    fn everything_that_is_wrong_is_noted_once_and_parts_join_to_the_whole() {
        let data = Faulty { classes: vec!["a".into(), "b".into()] };
        let mut whole = Survey::of(&data, 0..5, || false);
        let mut joined = Survey::of(&data, 0..2, || false);
        joined.join(Survey::of(&data, 2..5, || false));
        assert_eq!((whole.faults.clone(), whole.n), (joined.faults.clone(), joined.n));
        whole.finish();
        whole.finish_classes(data.classes());
        let found: Vec<String> =
            whole.faults.iter().map(|fault| format!("{}: {}", fault.sample, fault.reason)).collect();
        let expected = [
            "name 0: box: expected it inside 2 × 2 px; found [0, 1, 2.5, 2]",
            "name 1: mask: expected 2 × 2 px as the picture; found 3 × 3",
            "name 1: objects of a clip: expected 2 × 2 px as the picture; found 1 × 1",
            "name 1: part: expected at most 2; found 3",
            "name 1: class of an object: expected one below 2; found 2",
            "name 1: object: expected 2 × 2 px as the picture; found 3 × 3",
            "name 2: query: expected every sample in one list; found 2 twice",
            "name 2: point 0: expected it inside the picture, as it is visible; found (5, 1)",
            "name 2: label: expected one below 2; found 7",
            "name 2: query: expected something to find; found nothing easy or hard",
            "#4: bad data argument: expected a picture; found `junk`",
            "name 2: another sample has the same name",
            "b: the class has no sample",
        ];
        assert_eq!(found, expected);
        assert_eq!(whole.of_size[&(2, 2)], 4);
        // Pictures 0 and 1 are the same, and 2 and 3.
        assert_eq!(whole.of_picture.values().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    }
}
