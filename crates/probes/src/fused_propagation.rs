//! Fused label propagation: do two networks together follow what is marked in a clip better than either alone?

use crate::label_propagation::{
    ClipScore, ClipScores, FrameSeen, Headline, LabelPropagationConfig, Likeness, Reel, Sizes, by_likeness,
    patches_of, too_few,
};
use crate::patches;
use crate::scores::{self, ChosenBy, Score, Words};
use report::{Info, Recipe, RecipeError, short_number};
use serde::{Deserialize, Serialize};
use vit_features::{
    Accumulate, Findings, Models, Needs, ProtocolView, Role, Select, Shapes, Study, StudyError, Taken,
};

/// The options of [`FusedPropagation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FusedPropagationConfig {
    /// How much the first network weighs; 1.75 in SFC, where it is the fine-grained one.
    pub lambda: f64,
    /// How labels are carried, as `label-propagation` has it; here by default as SFC does.
    pub propagation: LabelPropagationConfig,
}

impl Default for FusedPropagationConfig {
    fn default() -> Self {
        let propagation =
            LabelPropagationConfig { facets: vec!["token".into()], ..LabelPropagationConfig::sfc() };
        Self { lambda: 1.75, propagation }
    }
}

impl Recipe for FusedPropagationConfig {
    fn check(&self) -> Result<(), RecipeError> {
        if !(self.lambda > 0.0 && self.lambda.is_finite()) {
            return Err(RecipeError::value("lambda", "above 0", self.lambda.to_string()));
        }
        self.propagation.check().map_err(|error| error.under("propagation"))
    }
}

/// Label propagation by the likeness of patches in two networks taken together: the cosine of their features side by side, those of the
/// first times `λ`. Every layer of the first is taken together with the layer of the second at the same relative depth; a model alone is
/// taken together with its own last layer.
///
/// # Source
/// Hu et al., Semantic-aware Fine-grained Correspondence, ECCV 2022. *Differs*: there the networks are a fine-grained and a semantic
/// ResNet, asked at one layer.
pub struct FusedPropagation;

/// Clips that are finished, and frames of those that are not.
///
/// Memory: as label propagation, with the patches of both networks.
#[derive(Serialize, Deserialize)]
pub struct FusedPropagationAcc {
    /// What is taken of each model.
    wanted: Vec<Vec<Select>>,
    n_patches: usize,
    reel: Reel,
    /// The frames of a batch that the second network did not see yet, with their clips.
    #[serde(skip)]
    half_seen: Vec<(usize, FrameSeen)>,
}

fn value_error(expected: impl Into<String>, found: impl Into<String>) -> StudyError {
    StudyError::Value {
        study: FusedPropagation::INFO.name.into(),
        expected: expected.into(),
        found: found.into(),
    }
}

impl Accumulate for FusedPropagationAcc {
    fn batch(&mut self, taken: &Taken) -> Result<(), StudyError> {
        let info = taken.info;
        if info.role != Role::Test {
            return Ok(());
        }
        let wanted = &self.wanted[info.model];
        for (image, (truth, view)) in info.truths.iter().zip(info.boxes).enumerate() {
            let patches = patches_of(FusedPropagation::INFO.name, taken, wanted, image, self.n_patches)?;
            if info.model == 0 {
                self.half_seen.push(self.reel.frame(info.indices[image], truth, view, patches)?);
                continue;
            }
            let (_, seen) = &mut self.half_seen[image];
            let sides = |view: &vit_data::CropBox| [view.x, view.y, view.w, view.h];
            if sides(&seen.view).iter().zip(sides(view)).any(|(a, b)| (a - b).abs() > 1e-6) {
                let expected = "both models to be shown the same part of a frame (--framing)";
                return Err(value_error(expected, format!("{:?} and {:?}", sides(&seen.view), sides(view))));
            }
            seen.patches.extend(patches);
        }
        if info.model + 1 == self.wanted.len() {
            for (clip, seen) in std::mem::take(&mut self.half_seen) {
                self.reel.push(clip, seen)?;
            }
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.reel.merge(later.reel);
    }
}

/// The selects of every model, and the pairs of them that are taken together, by their places among all selects.
struct Pairs {
    wanted: Vec<Vec<Select>>,
    pairs: Vec<(usize, usize)>,
}

impl Pairs {
    fn of(config: &FusedPropagationConfig, shapes: &Shapes) -> Result<Self, StudyError> {
        let mut wanted = vec![Vec::new(); 1 + shapes.beside.len().min(1)];
        let mut pairs = Vec::new();
        let mut groups = Vec::new();
        for facet in &config.propagation.facets {
            let of = |shapes: &Shapes| {
                patches::candidates(FusedPropagation::INFO.name, std::slice::from_ref(facet), shapes)
            };
            let first = of(shapes)?;
            let second = shapes.beside.first().map(of).transpose()?;
            groups.push((
                wanted[0].len(),
                first.len(),
                wanted.get(1).map_or(0, Vec::len),
                second.as_ref().map(Vec::len),
            ));
            wanted[0].extend(first);
            if let Some(second) = second {
                wanted[1].extend(second);
            }
        }
        for (first, n_first, second, n_second) in groups {
            for place in 0..n_first {
                pairs.push(match n_second {
                    // A model alone: its own last layer.
                    None => (first + place, first + n_first - 1),
                    Some(n_second) => {
                        let depth = place as f64 / (n_first - 1).max(1) as f64;
                        let beside = (depth * (n_second - 1) as f64).round() as usize;
                        (first + place, wanted[0].len() + second + beside)
                    }
                });
            }
        }
        Ok(Self { wanted, pairs })
    }

    /// Every select alone, then every pair.
    fn likenesses(&self, lambda: f64) -> Vec<Likeness> {
        let alone = (0..self.n_selects()).map(Likeness::One);
        alone
            .chain(self.pairs.iter().map(|&(first, second)| Likeness::Fused { first, second, lambda }))
            .collect()
    }

    fn n_selects(&self) -> usize {
        self.wanted.iter().map(Vec::len).sum()
    }
}

impl Study for FusedPropagation {
    const INFO: Info = Info {
        name: "fused-propagation",
        line: "what a clip's first frame marks carried through it by two networks together, beside each alone",
        source: "Hu et al. 2022 (SFC); Jabri et al. 2020 (CRW)",
    };
    const MODELS: Models = Models::Together;
    const PROTOCOL: &'static str = "\
Labels are carried as label-propagation carries them, but by the likeness of patches in two networks taken together: the cosine
of their features side by side, those of the first network times lambda, (lambda^2 cos_1 + cos_2) / (lambda^2 + 1). Every layer
of the first model is taken together with the layer of the second at the same relative depth; both must have the same grid of
patches. A model alone is taken together with its own last layer. Beside the fused number stand those of either alone.
One clip in four chooses the layer and does not count, unless propagation.hold_out is false.";
    type Config = FusedPropagationConfig;
    type Acc = FusedPropagationAcc;

    fn protocols() -> Vec<(&'static str, &'static str, FusedPropagationConfig)> {
        let sfc = LabelPropagationConfig::protocols().into_iter().find(|(name, _, _)| *name == "sfc");
        let of = |(name, _, propagation)| {
            let source = "Hu et al. 2022 for DAVIS: lambda 1.75; circle of radius 15 but for the first frame, 20 former frames, top 15, T 0.1; \
                          whole frames, at 480 px there (--size 480)";
            (name, source, FusedPropagationConfig { lambda: 1.75, propagation })
        };
        sfc.map(of).into_iter().collect()
    }

    fn protocol_view(name: &str) -> ProtocolView {
        LabelPropagationConfig::protocol_view(name)
    }

    fn needs(config: &FusedPropagationConfig, shapes: &Shapes) -> Result<Needs, StudyError> {
        let refuse = |needs: String, found: String, model: &Shapes| {
            let study = Self::INFO.name.into();
            Err(StudyError::Model { study, needs, found, model: model.model.clone() })
        };
        if let [_, third, ..] = shapes.beside.as_slice() {
            let found = format!("{}", shapes.beside.len() + 1);
            return refuse("one or two models".into(), found, third);
        }
        if let Some(other) = shapes.beside.iter().find(|other| other.grid != shapes.grid) {
            let grid = |shapes: &Shapes| format!("{} × {} patches", shapes.grid.rows, shapes.grid.columns);
            return refuse(format!("a grid of {}, as {}", grid(shapes), shapes.model), grid(other), other);
        }
        let selects = patches::candidates(Self::INFO.name, &config.propagation.facets, shapes)?;
        Ok(Needs { selects, clips: true, ..Needs::default() })
    }

    fn open(config: &FusedPropagationConfig, shapes: &Shapes) -> FusedPropagationAcc {
        // What the models cannot have was refused by `needs`.
        let pairs =
            Pairs::of(config, shapes).unwrap_or(Pairs { wanted: vec![Vec::new()], pairs: Vec::new() });
        let sizes = Sizes::of(shapes);
        let reel = Reel::new(Self::INFO.name, &config.propagation, sizes, pairs.likenesses(config.lambda));
        let n_patches = sizes.grid.0 * sizes.grid.1;
        FusedPropagationAcc { wanted: pairs.wanted, n_patches, reel, half_seen: Vec::new() }
    }

    fn finish(
        config: &FusedPropagationConfig,
        shapes: &Shapes,
        acc: FusedPropagationAcc,
    ) -> Result<Findings, StudyError> {
        let pairs = Pairs::of(config, shapes)?;
        let (clips, n_cut) = acc.reel.finish();
        let headline = Headline::of(&clips);
        let clips: Vec<ClipScores> = clips.into_iter().filter(|clip| headline.has(clip)).collect();
        let propagation = &config.propagation;
        let (held_out, test) = scores::halves(&clips, propagation.hold_out);
        if held_out.is_empty() || test.len() < 1 + usize::from(propagation.hold_out) {
            return Err(too_few(Self::INFO.name, clips.len(), n_cut));
        }
        let alone = |at: usize| headline.over(propagation, &by_likeness(&test, at));
        let mut scored = Vec::new();
        for (place, &(first, second)) in pairs.pairs.iter().enumerate() {
            let at = pairs.n_selects() + place;
            let (chosen_by, all) = (by_likeness(&held_out, at), by_likeness(&test, at));
            let mut beside = vec![alone(first), alone(second)];
            beside.extend(headline.numbers_beside(&all));
            scored.push(Score {
                select: pairs.wanted[0][place],
                held_out: headline.over(propagation, &chosen_by),
                test: headline.over(propagation, &all),
                interval: headline.interval(propagation, &all),
                beside,
            });
        }
        let still: Vec<&ClipScore> = test.iter().map(|clip| &clip.still).collect();
        let ceiling: Vec<&ClipScore> = test.iter().map(|clip| &clip.ceiling).collect();
        let names: Vec<&str> =
            ["first_alone", "second_alone"].iter().chain(headline.beside()).copied().collect();
        let with = match shapes.beside.first() {
            Some(second) => format!("{} at the same relative depth", second.model),
            None => "its own last layer".to_owned(),
        };
        let words = Words {
            study: Self::INFO.name,
            metric: headline.name(),
            title: "Label propagation by two networks",
            caption: headline.caption(),
            settings: format!(
                "{} with {with}, lambda {}; {} clips, {}; {}",
                shapes.model,
                short_number(config.lambda),
                test.len(),
                headline.followed(&still),
                propagation.words()
            ),
            beside: &names,
            chance: headline.over(propagation, &still),
            ceiling: headline.over(propagation, &ceiling),
        };
        let mut findings = Findings::default();
        scores::tell_as(&words, ChosenBy::of(propagation.hold_out), shapes, &scored, &mut findings)?;
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{show_of, value};
    use vit_core::{Grid, Site};
    use vit_data::{Frame, LabelMap, Truth};
    use vit_features::{Part, Place};

    fn shapes(name: &str, depth: usize, side: usize) -> Shapes {
        Shapes {
            model: name.into(),
            depth,
            blocks: (0..depth).collect(),
            grid: Grid { rows: side, columns: side },
            patch_px: 24 / side,
            n_heads: Some(1),
            ..Shapes::of_pixels(24)
        }
    }

    fn block(i: usize) -> Select {
        Select { place: Place::At(Site::Block(i)), part: Part::Patches }
    }

    #[test]
    fn layers_meet_at_the_same_relative_depth_or_the_last_of_their_own() {
        let config = FusedPropagationConfig::default();
        let both = shapes("a", 3, 6).beside(vec![shapes("b", 5, 6)]);
        // Blocks 0, 1, 2 of the first with 0, 2, 4 of the second, which stand after the three.
        assert_eq!(Pairs::of(&config, &both).expect("pairs").pairs, [(0, 3), (1, 5), (2, 7)]);
        let alone = Pairs::of(&config, &shapes("a", 3, 6)).expect("pairs");
        assert_eq!(alone.pairs, [(0, 2), (1, 2), (2, 2)]);
        let message =
            |shapes: &Shapes| FusedPropagation::needs(&config, shapes).expect_err("refused").to_string();
        let other = message(&shapes("a", 3, 6).beside(vec![shapes("b", 3, 4)]));
        assert!(other.contains("a grid of 6 × 6 patches, as a; found 4 × 4 patches: b"), "{other}");
        let three = message(&shapes("a", 3, 6).beside(vec![shapes("b", 3, 6), shapes("c", 3, 6)]));
        assert!(three.contains("one or two models; found 3: c"), "{three}");
    }

    #[test]
    fn two_networks_see_together_what_each_alone_mistakes() {
        let config = FusedPropagationConfig::default();
        let shapes = shapes("a", 1, 6).beside(vec![shapes("b", 1, 6)]);
        let mut acc = FusedPropagation::open(&config, &shapes);
        // Six clips of four frames: an object of two halves, 8 × 8 px, moves by a patch of 4 px a frame.
        for clip in 0..6 {
            for frame in 0..4usize {
                let id = |pixel: usize| {
                    let (x, y) = (pixel % 24, pixel / 24);
                    let is_in = (8..16).contains(&y) && (4 * frame..4 * frame + 8).contains(&x);
                    if is_in { 1 + u8::from(x >= 4 * frame + 4) } else { 0 }
                };
                let parts = LabelMap { width_px: 24, height_px: 24, ids: (0..576).map(id).collect() };
                let place = Frame { clip, frame };
                let truths = [Truth { parts: Some(parts), frame: Some(place), ..Truth::default() }];
                let at = |patch: usize| usize::from(id((patch / 6 * 4 + 2) * 24 + patch % 6 * 4 + 2));
                // The first network tells the object from the background, the second its right half from the rest.
                for (model, kinds) in [[0, 1, 1], [1, 1, 2]].into_iter().enumerate() {
                    let shown = |patch: usize| {
                        let kind = kinds[at(patch)];
                        (0..3).map(move |known| f32::from(u8::from(known == kind)))
                    };
                    let values = (0..36).flat_map(shown).collect();
                    let first = clip * 4 + frame;
                    show_of(
                        model,
                        &mut acc,
                        (Role::Test, first),
                        &truths,
                        24.0,
                        (block(0), &[36, 3], values),
                    );
                }
            }
        }
        let found = FusedPropagation::finish(&config, &shapes, acc).expect("findings");
        let [fused, first, second] =
            ["best.j_and_f", "first_alone", "second_alone"].map(|name| value(&found, name));
        assert!(fused > first + 0.1 && fused > second + 0.1, "{fused}, {first}, {second}");
        assert!(found.tables[0].note.contains("a with b at the same relative depth, lambda 1.75"));
    }
}
