//! part-shapes: objects made of named parts, drawn from a seed, so that everything can be run from nothing.
//!
//! 64 px, 12 classes. Every picture is drawn anew from `Seed(seed).stream("part-shapes", &[split, index])`: the class
//! goes round with the index, and pose, scale, proportions, colours, texture, scenery and stray pieces are drawn
//! independently of one another and of the class, with one exception. In `train`, `test` and `clips` an object wears
//! the *home texture* of its class with probability 1/2 and otherwise any of the twelve, so that texture is a cue a
//! model can use; `cue-conflict` turns it against the model, with the shape of one class in the home texture of
//! another. A texture only lightens and darkens the colours of the parts, so it does not show in a colour histogram.
//!
//! | split | samples | what |
//! |---|---|---|
//! | `train` | 20,000 | to learn from |
//! | `test` | 5,000 | held out |
//! | `cue-conflict` | 5,000 | the texture is never the home texture of the shape |
//! | `background` | 5,000 | the scenes of `test` without their objects, labels kept |
//! | `clips` | 4,000 | 500 clips of 8 frames; sample `clip · 8 + frame` |
//!
//! Arithmetic is `+ − × ÷ √` and rounding on `f64`, integers, and the `libm` crate, so sample `i` of a split and a
//! seed is the same bytes on every machine.

mod animals;
mod backdrop;
mod canvas;
mod draws;
mod model;
mod names;
mod palette;
mod scene;
mod shape;
mod stray;
mod texture;
mod things;
mod vehicles;

#[cfg(test)]
mod tests;

pub use names::{CLASSES, KEYPOINTS, PARTS, SIZE_PX, TEXTURES};

use crate::{DataError, Dataset, DatasetEntry, Frame, LabelMap, Offers, Picture, Sample, Seed, Split, Truth};
use draws::Draws;
use scene::{Scene, Wearing};

/// The frames of one clip.
pub const FRAMES_PER_CLIP: usize = 8;

/// The clips of the split `clips`.
pub const N_CLIPS: usize = 500;

/// The registry row.
pub const ENTRY: DatasetEntry = DatasetEntry {
    name: "part-shapes",
    line: "built-in drawn objects with class, mask, parts, keypoints and clips",
    usage: "part-shapes[:SPLIT]",
    open,
};

/// A split of part-shapes; the discriminant is the first counter of its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Train = 0,
    Test = 1,
    CueConflict = 2,
    Background = 3,
    Clips = 4,
}

const SECTIONS: [Section; 5] =
    [Section::Train, Section::Test, Section::CueConflict, Section::Background, Section::Clips];

/// One or two sections, one after the other.
struct PartShapes {
    name: String,
    sections: Vec<Section>,
    classes: Vec<String>,
    parts: Vec<String>,
    seed: Seed,
}

/// Opens a split. Without one in the URI `split` decides. With one, it is what [`Split::Test`] and [`Split::All`]
/// give, while [`Split::Train`] still gives `train`, so that a probe learns there and is tested on the named split.
fn open(rest: &str, split: Split, seed: u64) -> Result<Box<dyn Dataset>, DataError> {
    let named = SECTIONS.into_iter().find(|section| section.name() == rest);
    if named.is_none() && !rest.is_empty() {
        let names = SECTIONS.map(Section::name).join("|");
        return Err(DataError::Usage {
            expected: format!("part-shapes or part-shapes:<{names}>"),
            found: format!("part-shapes:{rest}"),
        });
    }
    let sections = match (named, split) {
        (_, Split::Train) => vec![Section::Train],
        (Some(section), _) => vec![section],
        (None, Split::Test) => vec![Section::Test],
        (None, Split::All) => vec![Section::Train, Section::Test],
    };
    let name = match sections[..] {
        [section] => format!("part-shapes:{}", section.name()),
        _ => "part-shapes".to_owned(),
    };
    Ok(Box::new(PartShapes {
        name,
        sections,
        classes: CLASSES.map(str::to_owned).to_vec(),
        parts: PARTS.iter().map(|&part| part.to_owned()).collect(),
        seed: Seed(seed),
    }))
}

impl Dataset for PartShapes {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> usize {
        self.sections.iter().map(|section| section.n_samples()).sum()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn part_names(&self) -> &[String] {
        &self.parts
    }

    fn object_classes(&self) -> &[String] {
        &self.classes
    }

    fn frame(&self, index: usize) -> Option<Frame> {
        let (section, index) = self.locate(index);
        section.frame(index)
    }

    fn offers(&self) -> Offers {
        let drawn = self.sections.iter().all(|&section| section != Section::Background);
        let clips = self.sections == [Section::Clips];
        let of_pixels =
            Offers { masks: drawn, parts: drawn, semantic: drawn, keypoints: drawn, ..Offers::default() };
        Offers { labels: true, clips, ..of_pixels }
    }

    fn label(&self, index: usize) -> Option<u32> {
        let (section, index) = self.locate(index);
        Some(section.class(index) as u32)
    }

    fn native_size_px(&self) -> Option<usize> {
        Some(SIZE_PX)
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let (section, index) = self.locate(index);
        Ok(section.sample(index, self.seed))
    }
}

impl PartShapes {
    /// The section of sample `index`, and its index there.
    fn locate(&self, index: usize) -> (Section, usize) {
        let mut rest = index;
        for &section in &self.sections {
            if rest < section.n_samples() {
                return (section, rest);
            }
            rest -= section.n_samples();
        }
        panic!("sample index out of range: expected below {}; found {index}", self.len());
    }
}

impl Section {
    fn name(self) -> &'static str {
        match self {
            Section::Train => "train",
            Section::Test => "test",
            Section::CueConflict => "cue-conflict",
            Section::Background => "background",
            Section::Clips => "clips",
        }
    }

    fn n_samples(self) -> usize {
        match self {
            Section::Train => 20_000,
            Section::Test | Section::CueConflict | Section::Background => 5_000,
            Section::Clips => N_CLIPS * FRAMES_PER_CLIP,
        }
    }

    /// What is drawn once: a picture, or a clip.
    fn scene_idx(self, index: usize) -> usize {
        if self == Section::Clips { index / FRAMES_PER_CLIP } else { index }
    }

    /// The place in its clip.
    fn frame(self, index: usize) -> Option<Frame> {
        let frame = Frame { clip: index / FRAMES_PER_CLIP, frame: index % FRAMES_PER_CLIP };
        (self == Section::Clips).then_some(frame)
    }

    fn class(self, index: usize) -> usize {
        self.scene_idx(index) % CLASSES.len()
    }

    fn sample(self, index: usize, seed: Seed) -> Sample {
        // The scenery comes first in a stream: `background` reads the streams of `test` up to there.
        let streams = if self == Section::Background { Section::Test } else { self };
        let scene_idx = self.scene_idx(index);
        let mut draws = Draws::new(seed.stream("part-shapes", &[streams as u64, scene_idx as u64]));
        let class = self.class(index);
        let scenery = Scene::draw_scenery(&mut draws);
        let scene = match self {
            Section::Background => scenery,
            Section::CueConflict => scenery.draw_object(&mut draws, class, Wearing::Another),
            _ => scenery.draw_object(&mut draws, class, Wearing::MostlyItsOwn),
        };
        let frame = if self == Section::Clips { index % FRAMES_PER_CLIP } else { 0 };
        let rendering = scene.render(frame as f64 / (FRAMES_PER_CLIP - 1) as f64, frame as u64);
        let id = match self {
            Section::Clips => format!("clips/{scene_idx}/{frame}"),
            _ => format!("{}/{index}", self.name()),
        };
        let of_class = |&id: &u8| id * (class as u8 + 1);
        let semantic = LabelMap { ids: rendering.mask.ids.iter().map(of_class).collect(), ..rendering.mask };
        let truth = Truth {
            label: Some(class as u32),
            texture: scene.texture(),
            semantic: Some(semantic),
            mask: Some(rendering.mask),
            parts: Some(rendering.parts),
            keypoints: rendering.keypoints,
            frame: self.frame(index),
            ..Truth::default()
        };
        Sample { picture: Picture::Image(rendering.image), truth, id }
    }
}
