//! Watchers by what they watch: single keys in a table, ranges in an interval index.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::ids::Ids;
use super::interval::{End, Intervals};
use super::spec::WatchRange;

#[derive(Debug, Default)]
pub(super) struct Group {
    keys: HashMap<Box<[u8]>, Ids>,
    ranges: Intervals,
}

impl Group {
    pub(super) fn insert(&mut self, range: &WatchRange, id: u64) {
        match range {
            WatchRange::One(key) => match self.keys.entry(key.clone()) {
                Entry::Occupied(mut ids) => ids.get_mut().insert(id),
                Entry::Vacant(place) => {
                    place.insert(Ids::One(id));
                }
            },
            WatchRange::Between(start, end) => {
                self.ranges.insert(start, &End::At(end.clone()), id);
            }
            WatchRange::From(start) => self.ranges.insert(start, &End::Never, id),
        }
    }

    pub(super) fn remove(&mut self, range: &WatchRange, id: u64) {
        match range {
            WatchRange::One(key) => {
                let Some(ids) = self.keys.get_mut(key) else { return };
                if ids.remove(id) {
                    self.keys.remove(key);
                }
            }
            WatchRange::Between(start, end) => {
                self.ranges.remove(start, &End::At(end.clone()), id);
            }
            WatchRange::From(start) => self.ranges.remove(start, &End::Never, id),
        }
    }

    /// Gives the watchers of a key.
    pub(super) fn of_key(&self, key: &[u8], mut found: impl FnMut(u64)) {
        if let Some(ids) = self.keys.get(key) {
            ids.each(&mut found);
        }
        self.ranges.stab(key, found);
    }

    /// Whether a key has a watcher.
    pub(super) fn watches(&self, key: &[u8]) -> bool {
        let mut any = self.keys.contains_key(key);
        if !any {
            self.ranges.stab(key, |_| any = true);
        }
        any
    }
}
