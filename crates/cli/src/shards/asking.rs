//! Asking a study of one subject after another: for findings, or for what is saved of a part of the data.

use super::{Header, Section, Shard, Side, cut, file};
use crate::data::{Sides, unreadable};
use crate::outcome::Done;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::studies::{Asked, Subject, Told, show_studies};
use crate::study_recipe::{StudyKind, StudyRecipe};
use anyhow::bail;
use report::Provenance;
use std::path::Path;
use vit_data::Unreadable;
use vit_features::Opened;

/// Where numbers come from, but for the models.
#[derive(Default)]
pub(crate) struct Origin {
    /// The seed, the recipe, the time.
    pub(crate) provenance: Provenance,
    /// The name of the test side.
    pub(crate) data: String,
    /// The samples that could not be read, with the names of their data sets.
    pub(crate) unreadable: Vec<(String, Unreadable)>,
}

/// A study that is being asked, of all of the data or of a part.
pub(crate) struct Asking<'a> {
    /// What was found so far; nothing of a part.
    pub(crate) told: Vec<Told>,
    asked: &'a Asked,
    shard: Option<Shard>,
    settings: &'a Settings,
    progress: &'a Progress,
    /// What was accumulated of a part.
    kept: Vec<(Section, Box<dyn Opened>)>,
    sides: Vec<Side>,
    unreadable: Vec<(String, Unreadable)>,
}

impl<'a> Asking<'a> {
    /// Nobody was asked yet.
    pub(crate) fn new(
        asked: &'a Asked,
        shard: Option<Shard>,
        settings: &'a Settings,
        progress: &'a Progress,
    ) -> Self {
        let (told, kept, sides, unreadable) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { told, asked, shard, settings, progress, kept, sides, unreadable }
    }

    /// Asks a subject; not the pixels where the study needs more than pixels.
    ///
    /// # Errors
    /// What the study refuses; when there are more parts than batches; after Ctrl-C.
    pub(crate) fn ask(&mut self, subject: &Subject, sides: &Sides) -> anyhow::Result<()> {
        match self.shard {
            None => self.told.extend(subject.ask(self.asked, sides, self.progress)?),
            Some(shard) => {
                let Some(study) = subject.open(self.asked, sides)? else { return Ok(()) };
                if study.needs().training.is_some() {
                    let name = study.info().name;
                    bail!(
                        "--shard: expected a study of which parts can be joined; `{name}` trains on all of the data"
                    );
                }
                let part = cut(sides, shard, self.settings.batch(), study.border())?;
                let mut studies = [study];
                show_studies(&subject.labs, &mut studies, &part, &subject.section.name(), self.progress)?;
                self.kept.extend(studies.map(|study| (subject.section.clone(), study)));
            }
        }
        let all = || sides.train.iter().chain([&sides.test]);
        if self.sides.is_empty() {
            self.sides = all().map(Side::of).collect();
        }
        for sample in all().flat_map(|side| unreadable(&side.data)) {
            if !self.unreadable.contains(&sample) {
                self.unreadable.push(sample);
            }
        }
        Ok(())
    }

    /// Where the numbers come from, without the run's own provenance.
    pub(crate) fn origin(&self) -> Origin {
        let data = self.sides.last().map_or(String::new(), |side| side.name.clone());
        Origin { data, unreadable: self.unreadable.clone(), ..Origin::default() }
    }

    /// Saves what was accumulated of a part.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(
        self,
        path: &Path,
        kind: StudyKind,
        recipe: &StudyRecipe,
        provenance: Provenance,
    ) -> anyhow::Result<Done> {
        let (sections, studies): (Vec<Section>, Vec<Box<dyn Opened>>) = self.kept.into_iter().unzip();
        let unreadable = self.unreadable.into_iter();
        let header = Header {
            version: env!("CARGO_PKG_VERSION").into(),
            kind,
            recipe: recipe.clone(),
            provenance,
            batch: self.settings.batch(),
            sides: self.sides,
            shard: self.shard.unwrap_or(Shard { part: 1, of: 1 }),
            unreadable: unreadable.map(|(data, sample)| (data, sample.index, sample.reason)).collect(),
            sections,
        };
        file::write(path, &header, &studies)?;
        let json = serde_json::to_value(&header)?;
        Ok(Done { path: Some(path.to_owned()), lines: Vec::new(), json, metrics: Vec::new() })
    }
}
