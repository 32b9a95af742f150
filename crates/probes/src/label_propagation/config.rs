//! The options of label propagation, and the two published ways.

use crate::patches::check_facets;
use measure::propagate::{Neighborhood, Rule};
use report::{Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use vit_features::ProtocolView;

/// The options of [`LabelPropagation`](super::LabelPropagation); the defaults are DINO's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabelPropagationConfig {
    /// What is compared at every layer: `token`, `query`, `key`, `value`.
    pub facets: Vec<String>,
    /// What is followed: `parts` (or whatever the data tells apart: the objects of DAVIS, the categories of VIP), each by itself, the
    /// `object` as one, `categories` (the class of every pixel, scored as VIP has it), or `points` alone, scored as JHMDB has it.
    pub follow: Follow,
    /// The neighborhood's shape: `square`, `circle` or `everywhere`.
    pub neighborhood: Shape,
    /// Its radius in patches; 12 in both.
    pub radius_patches: usize,
    /// Whether the first frame is held to the neighborhood too: yes in DINO, no in CRW.
    pub first_in_neighborhood: bool,
    /// What divides similarities; 0.1 in DINO, 0.05 in CRW.
    pub temperature: f64,
    /// Tokens copied from; 5 in DINO, 10 in CRW.
    pub n_top: usize,
    /// Whether tokens as similar as the last of them are kept as well: yes in DINO.
    pub ties: bool,
    /// Former frames copied from, beside the first; 7 in DINO, 20 in CRW.
    pub n_context: usize,
    /// Whether copies of the first frame stand for the frames before it: yes in CRW.
    pub pad_with_first: bool,
    /// How the first frame's labels come to the patches: `nearest` in DINO, `bilinear` in CRW.
    pub first_labels: Resize,
    /// Whether every label's map is stretched to 0–1 before the greatest is taken: yes in DINO.
    pub stretch: bool,
    /// Shares of the yardstick (0.6 of the diagonal of the box around the points) within which a point is found; 0.1 and 0.2 in JHMDB.
    pub alphas: Vec<f64>,
    /// Where labels are compared with truth: in the pixels of the `view`, or in those of the `image` (published numbers), where what lies
    /// outside the view is lost.
    pub compare_in: CompareIn,
    /// Whether one clip in four chooses the layer and does not count; published numbers count all.
    pub hold_out: bool,
}

/// Where labels are compared with truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CompareIn {
    /// In the pixels of the view.
    #[default]
    View,
    /// In the pixels of the image.
    Image,
}

/// What is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Follow {
    /// Every part of the object, or every object or category that the data tells apart.
    #[default]
    Parts,
    /// All of them as one.
    Object,
    /// The class of every pixel.
    Categories,
    /// Named points, and nothing else.
    Points,
}

/// The neighborhood's shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// At most the radius away in rows and columns.
    #[default]
    Square,
    /// Less than the radius away.
    Circle,
    /// Anywhere.
    Everywhere,
}

/// How labels are brought to the patches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// The label of one pixel of the patch.
    #[default]
    Nearest,
    /// Soft, from the pixels around the patch's middle.
    Bilinear,
}

impl Default for LabelPropagationConfig {
    fn default() -> Self {
        Self {
            facets: vec!["token".into(), "key".into()],
            follow: Follow::Parts,
            neighborhood: Shape::Square,
            radius_patches: 12,
            first_in_neighborhood: true,
            temperature: 0.1,
            n_top: 5,
            ties: true,
            n_context: 7,
            pad_with_first: false,
            first_labels: Resize::Nearest,
            stretch: true,
            alphas: vec![0.1, 0.2],
            compare_in: CompareIn::View,
            hold_out: true,
        }
    }
}

impl LabelPropagationConfig {
    /// As Contrastive Random Walk evaluates: a circle that does not bind the first frame, soft labels, no stretching.
    pub fn crw() -> Self {
        Self {
            neighborhood: Shape::Circle,
            first_in_neighborhood: false,
            temperature: 0.05,
            n_top: 10,
            ties: false,
            n_context: 20,
            pad_with_first: true,
            first_labels: Resize::Bilinear,
            stretch: false,
            ..Self::default()
        }
    }

    /// As Semantic-aware Fine-grained Correspondence evaluates: CRW's way with a wider circle and more patches.
    pub fn sfc() -> Self {
        Self { radius_patches: 15, n_top: 15, temperature: 0.1, ..Self::crw() }
    }

    /// A published way with tokens, compared in the image, every clip counting.
    fn published(self) -> Self {
        Self { facets: vec!["token".into()], compare_in: CompareIn::Image, hold_out: false, ..self }
    }

    /// The published protocols: a name, where it is from, and the options.
    pub(crate) fn protocols() -> Vec<(&'static str, &'static str, Self)> {
        let crw = || Self::crw().published();
        vec![
            (
                "dino",
                "Caron et al. 2021, for DAVIS: square of radius 12 on every frame, 7 former frames, top 5, T 0.1, maps stretched before the \
                 greatest; whole frames, at 480 px there (--size 480)",
                Self::default().published(),
            ),
            (
                "crw",
                "Jabri et al. 2020, for DAVIS: circle of radius 12 but for the first frame, 20 former frames, top 10, T 0.05, soft labels \
                 throughout; whole frames, at 480 px there (--size 480)",
                crw(),
            ),
            (
                "jhmdb",
                "Jabri et al. 2020 as its users run it for JHMDB: as crw with 7 former frames; 320 px, whole frames",
                Self { n_context: 7, ..crw() },
            ),
            (
                "vip",
                "Jabri et al. 2020 as its users run it for VIP: as crw with 4 former frames; 560 px, whole frames",
                Self { n_context: 4, ..crw() },
            ),
            (
                "sfc",
                "Hu et al. 2022 for DAVIS: as crw with radius 15, top 15, T 0.1; whole frames, at 480 px there (--size 480)",
                Self::sfc().published(),
            ),
        ]
    }

    /// How a protocol shows frames.
    pub(crate) fn protocol_view(name: &str) -> ProtocolView {
        let size_px = match name {
            "jhmdb" => Some(320),
            "vip" => Some(560),
            _ => None,
        };
        ProtocolView { size_px, framing: Some("whole") }
    }

    /// The rule of the measure.
    pub(super) fn rule(&self) -> Rule {
        Rule {
            neighborhood: match self.neighborhood {
                Shape::Square => Neighborhood::Square { radius_patches: self.radius_patches },
                Shape::Circle => Neighborhood::Circle { radius_patches: self.radius_patches as f64 },
                Shape::Everywhere => Neighborhood::Everywhere,
            },
            first_in_neighborhood: self.first_in_neighborhood,
            temperature: self.temperature,
            n_top: self.n_top,
            ties: self.ties,
        }
    }

    /// The settings for people.
    pub(crate) fn words(&self) -> String {
        let neighborhood = match self.neighborhood {
            Shape::Square => format!("a square of radius {}", self.radius_patches),
            Shape::Circle => format!("a circle of radius {}", self.radius_patches),
            Shape::Everywhere => "the whole frame".into(),
        };
        format!(
            "the {} most similar patches of the first and the {} former frames within {neighborhood}{}, temperature {}",
            self.n_top,
            self.n_context,
            if self.first_in_neighborhood { "" } else { ", of the first frame anywhere" },
            self.temperature
        )
    }
}

impl Recipe for LabelPropagationConfig {
    fn check(&self) -> Result<(), RecipeError> {
        check_facets(&self.facets)?;
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(RecipeError::value("temperature", "above 0", self.temperature.to_string()));
        }
        for (key, value) in [("n_top", self.n_top), ("radius_patches", self.radius_patches)] {
            if value == 0 {
                return Err(RecipeError::value(key, "at least 1", "0"));
            }
        }
        if self.alphas.is_empty() || self.alphas.iter().any(|&alpha| !(alpha > 0.0 && alpha.is_finite())) {
            return Err(RecipeError::value(
                "alphas",
                "at least one, each above 0",
                format!("{:?}", self.alphas),
            ));
        }
        Ok(())
    }
}
