//! The seeds that are open in this process, by id.
//!
//! Holds: an object is opened by the seed it names and by no other; there is no "try them all".

use super::{DataSeed, IndexSeed, Seed};
use crate::format::SeedId;
use crate::proto::SeedKind;
use std::collections::BTreeMap;

/// Open seeds. An agent that may write but not read holds index seeds and the data seed of its own
/// run.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    data: BTreeMap<SeedId, DataSeed>,
    index: BTreeMap<SeedId, IndexSeed>,
}

impl Keyring {
    /// An empty keyring: nothing opens.
    pub fn new() -> Keyring {
        Keyring::default()
    }

    /// Adds a seed; one with the same id and kind is replaced.
    pub fn insert(&mut self, seed: Seed) {
        let id = seed.id();
        match seed.kind() {
            SeedKind::Data => {
                DataSeed::from_seed(seed).map(|seed| self.data.insert(id, seed));
            }
            SeedKind::Index => {
                IndexSeed::from_seed(seed).map(|seed| self.index.insert(id, seed));
            }
            SeedKind::Unspecified => {}
        }
    }

    /// The data seed of this id.
    pub fn data(&self, id: &SeedId) -> Option<&DataSeed> {
        self.data.get(id)
    }

    /// The index seed of this id.
    pub fn index(&self, id: &SeedId) -> Option<&IndexSeed> {
        self.index.get(id)
    }

    /// Ids of all open seeds with their kinds, data seeds first.
    pub fn ids(&self) -> impl Iterator<Item = (SeedKind, SeedId)> + '_ {
        let data = self.data.keys().map(|id| (SeedKind::Data, *id));
        data.chain(self.index.keys().map(|id| (SeedKind::Index, *id)))
    }

    /// True when no seed is open.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.index.is_empty()
    }
}
