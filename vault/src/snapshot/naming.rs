//! Naming what the newest snapshot holds, so that a source need only tell the differences.
//!
//! Holds: named are the records alive in segments whose index can be read and that are not about
//! to be copied forward, ascending by revision, each once; of all others the source has to send
//! the bytes. A name is a revision and the digest that the index has; the digest's key is derived
//! for digests only, and opens nothing. Memory: the indexes of the segments that overlap the
//! current revision.

use super::SnapshotError;
use super::base::{Base, OpenIndex};
use super::walk::{BaseIndex, BaseSegment, Rev};
use crate::access::Access;
use crate::format::{DIGEST_KEY_BYTES, ObjectId};
use crate::proto::Facts;
use crate::vault::Vault;
use roaring::RoaringBitmap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A record that the newest snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// Main and sub revision.
    pub rev: Rev,
    /// The number of its digest's key, from 0 on.
    pub key: u32,
    /// The digest.
    pub digest: u32,
}

/// Names in the making.
pub struct Naming {
    access: Arc<Access>,
    base: Base,
    damaged: BTreeSet<ObjectId>,
    segments: Vec<BaseSegment>,
    /// Segments in order of their first revision, and how many of them were opened.
    queue: Vec<usize>,
    opened: usize,
    open: Vec<Open>,
    keys: u32,
    fresh_keys: Vec<[u8; DIGEST_KEY_BYTES]>,
    named: BTreeSet<ObjectId>,
}

struct Open {
    index: OpenIndex,
    live: RoaringBitmap,
    key: u32,
    next: u32,
}

impl Open {
    /// Moves to the next record that is alive; `None`: there is none.
    fn current(&mut self) -> Option<Name> {
        while self.next < self.index.len() {
            let entry = self.index.entry(self.next);
            if self.live.contains(entry.ordinal) {
                return Some(Name { rev: entry.rev, key: self.key, digest: entry.digest });
            }
            self.next += 1;
        }
        None
    }
}

impl Vault {
    /// Begins to name the newest snapshot; `None` before the first, or if it cannot be read.
    /// `damaged`: objects that are known to be lost or rotten.
    ///
    /// # Errors
    /// The store, or a chain that contradicts itself.
    pub async fn naming(
        &self,
        damaged: &BTreeSet<ObjectId>,
    ) -> Result<Option<Naming>, SnapshotError> {
        let base = Base::load(self.chain()).await?;
        if base.entry().is_none() || base.lost().is_some() {
            return Ok(None);
        }
        let merge = base.merge_plan(0);
        let segments = base.segments(&merge, false);
        let wanted = |place: &usize| {
            let segment: &BaseSegment = &segments[*place];
            !segment.contested && segment.give_up.is_none() && !damaged.contains(&segment.id)
        };
        let mut queue: Vec<usize> = (0..segments.len()).filter(wanted).collect();
        queue.sort_by_key(|place| segments[*place].range.0);
        Ok(Some(Naming {
            access: Arc::clone(self.access()),
            base,
            damaged: damaged.clone(),
            segments,
            queue,
            opened: 0,
            open: Vec::new(),
            keys: 0,
            fresh_keys: Vec::new(),
            named: BTreeSet::new(),
        }))
    }
}

impl Naming {
    /// The snapshot that is named.
    pub fn number(&self) -> u64 {
        self.base.entry().map_or(0, |entry| entry.number)
    }

    /// What that snapshot says of its source.
    pub fn facts(&self) -> Facts {
        self.base.facts().cloned().unwrap_or_default()
    }

    /// Up to `limit` further names; none: those were all.
    ///
    /// # Errors
    /// The store.
    pub async fn next(&mut self, limit: usize) -> Result<Vec<Name>, SnapshotError> {
        let mut names = Vec::new();
        while names.len() < limit {
            let least = self.least();
            let next = self.queue.get(self.opened).copied();
            if let Some(place) = next
                && least.is_none_or(|(_, name)| self.segments[place].range.0 <= name.rev)
            {
                self.opened += 1;
                self.open_segment(place).await?;
                continue;
            }
            let Some((open, name)) = least else { break };
            self.open[open].next += 1;
            names.push(name);
        }
        Ok(names)
    }

    /// Digest keys that came up since the last call, in order of their numbers.
    pub fn fresh_keys(&mut self) -> Vec<[u8; DIGEST_KEY_BYTES]> {
        std::mem::take(&mut self.fresh_keys)
    }

    /// After the last name: the segments whose records were named.
    pub fn finish(self) -> BTreeSet<ObjectId> {
        assert!(self.opened == self.queue.len(), "all names are taken first");
        self.named
    }

    fn least(&mut self) -> Option<(usize, Name)> {
        self.open.retain_mut(|open| open.current().is_some());
        let current = self.open.iter_mut().enumerate();
        let current = current.filter_map(|(place, open)| Some((place, open.current()?)));
        current.min_by_key(|(_, name)| name.rev)
    }

    /// One that is lost is not named: the source sends what it held.
    async fn open_segment(&mut self, place: usize) -> Result<(), SnapshotError> {
        let index = self.base.index(&self.access, place, &self.damaged).await?;
        let Some(index) = index else { return Ok(()) };
        let (key, live) = (self.keys, self.segments[place].live.clone());
        self.keys += 1;
        self.fresh_keys.push(index.digest_key());
        self.named.insert(self.segments[place].id);
        self.open.push(Open { index, live, key, next: 0 });
        Ok(())
    }
}
