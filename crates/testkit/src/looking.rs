//! Somebody who looks and remembers.

use crate::HostTensor;
use std::collections::{BTreeMap, BTreeSet};
use vit_core::{Look, Seen, Site};

/// Keeps what it wanted to see, on the host, and counts how often each site was shown.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    /// What it wants.
    pub wanted: BTreeSet<Site>,
    /// What it saw last, per site.
    pub seen: BTreeMap<Site, HostTensor>,
    /// How often.
    pub times: BTreeMap<Site, usize>,
}

impl Recorder {
    /// Wants these sites.
    pub fn wanting(sites: impl IntoIterator<Item = Site>) -> Self {
        Self { wanted: sites.into_iter().collect(), ..Self::default() }
    }

    /// What was seen at a site.
    ///
    /// # Panics
    /// When nothing was.
    pub fn at(&self, site: Site) -> &HostTensor {
        self.seen.get(&site).unwrap_or_else(|| panic!("{site} was never shown"))
    }
}

impl Look for Recorder {
    fn wants(&self, site: Site) -> bool {
        self.wanted.contains(&site)
    }

    fn see(&mut self, site: Site, seen: Seen) {
        let tensor = match seen {
            Seen::Tokens(tokens) => HostTensor::of(tokens),
            Seen::Heads(heads) => HostTensor::of(heads),
        };
        self.seen.insert(site, tensor);
        *self.times.entry(site).or_default() += 1;
    }
}
