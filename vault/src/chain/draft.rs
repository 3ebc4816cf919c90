//! What a commit shall say, before its number and base are known, and the pure step to a commit.
//!
//! Holds: what the chain's bottom cannot lose (vault, cluster, tag key, seeds, recovery key,
//! lineage, stores, holds, pins, high-water mark) is carried from commit to commit here and nowhere
//! else.

use super::catalogue::{Catalogue, CatalogueEdit};
use super::rules;
use super::state::State;
use crate::format::{ObjectId, WriterId};
use crate::proto::{
    Action, CatalogueEntry, Commit, HighWater, Hold, LedgerRef, Lineage, ObjectRef, Pin, Seed,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What a commit shall change. Everything that is not named stays as in the head.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// For people and audits.
    pub actions: Vec<Action>,
    /// Objects that enter the live set.
    pub added: Vec<ObjectRef>,
    /// Objects that leave it.
    pub removed: Vec<ObjectId>,
    /// Objects to condemn.
    pub condemned: Vec<ObjectId>,
    /// Condemned objects that were deleted.
    pub swept: Vec<ObjectId>,
    /// Changes to the catalogue. A new entry's number and time are set when the commit is built.
    pub catalogue: CatalogueEdit,
    /// Seeds to add or to replace, by id.
    pub seeds: Vec<Seed>,
    /// Seeds to drop, by id.
    pub dropped_seeds: Vec<Bytes>,
    /// A new lineage.
    pub lineage: Option<Lineage>,
    /// A mark; the higher of this and the head's stands.
    pub high_water: Option<HighWater>,
    /// All pins from here on.
    pub pins: Option<Vec<Pin>>,
    /// All holds from here on.
    pub holds: Option<Vec<Hold>>,
    /// The public half of another recovery key; `None`: as in the head.
    pub recovery_public: Option<Bytes>,
    /// The new floor; 0: as it is.
    pub floor: u64,
    /// Take over as the writer: the epoch grows by one.
    pub new_epoch: bool,
}

/// Who makes an attempt, and when.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// The writer.
    pub writer: WriterId,
    /// Random for each attempt; the commit object's id.
    pub id: ObjectId,
    /// Our clock.
    pub now_ms: i64,
    /// The store's clock; 0: unknown.
    pub store_ms: i64,
}

impl Draft {
    /// A draft with one action.
    pub fn of(kind: crate::proto::action::Kind, snapshot: u64, reason: &str) -> Draft {
        let action = Action { kind: kind.into(), snapshot, reason: reason.to_owned() };
        Draft { actions: vec![action], ..Draft::default() }
    }

    /// The commit after `state`'s head. `catalogue` is the one after the edit, with all pages
    /// stored; `ledger` a newer ledger than the head's.
    pub fn build(
        &self,
        state: &State,
        catalogue: &Catalogue,
        ledger: Option<LedgerRef>,
        attempt: &Attempt,
    ) -> Commit {
        let head = state.head();
        let number = head.number + 1;
        let bytes = |ids: &[ObjectId]| ids.iter().map(ObjectId::to_bytes).collect();
        let lineage =
            self.lineage.clone().map(|lineage| Lineage { since_number: number, ..lineage });
        let earlier_lineages = earlier_lineages(head, lineage.is_some(), catalogue);
        Commit {
            number,
            previous_sha256: Bytes::copy_from_slice(state.sha256()),
            era_parent: None,
            writer_id: attempt.writer.to_bytes(),
            attempt_id: attempt.id.to_bytes(),
            epoch: head.epoch + u64::from(self.new_epoch),
            lineage: lineage.or_else(|| head.lineage.clone()),
            earlier_lineages,
            time_ms: rules::commit_time_ms(attempt.now_ms, attempt.store_ms, Some(head)),
            store_time_ms: attempt.store_ms,
            floor: self.floor.max(head.floor),
            actions: self.actions.clone(),
            added: self.added.clone(),
            removed: bytes(&self.removed),
            condemned: bytes(&self.condemned),
            swept: bytes(&self.swept),
            seeds: self.seeds(&head.seeds),
            high_water: higher(head.high_water, self.high_water),
            catalogue: catalogue.newest().to_vec(),
            pages: catalogue.references(),
            ledger: ledger.or_else(|| head.ledger.clone()),
            holds: self.holds.clone().unwrap_or_else(|| head.holds.clone()),
            pins: self.pins.clone().unwrap_or_else(|| head.pins.clone()),
            recovery_public: self
                .recovery_public
                .clone()
                .unwrap_or_else(|| head.recovery_public.clone()),
            ..head.clone()
        }
    }

    /// The catalogue edit with the number and the time that the commit after `state` will have.
    pub fn numbered_edit(&self, state: &State, now_ms: i64, store_ms: i64) -> CatalogueEdit {
        let mut edit = self.catalogue.clone();
        if let Some(entry) = edit.insert.take() {
            let number = state.number() + 1;
            let time_ms = rules::commit_time_ms(now_ms, store_ms, Some(state.head()));
            edit.insert = Some(CatalogueEntry { number, time_ms, ..entry });
        }
        edit
    }

    fn seeds(&self, old: &[Seed]) -> Vec<Seed> {
        let mut seeds: BTreeMap<Bytes, Seed> =
            old.iter().map(|seed| (seed.seed_id.clone(), seed.clone())).collect();
        for seed in &self.seeds {
            seeds.insert(seed.seed_id.clone(), seed.clone());
        }
        for id in &self.dropped_seeds {
            seeds.remove(id);
        }
        let mut seeds: Vec<Seed> = seeds.into_values().collect();
        seeds.sort_by(|a, b| (a.created_ms, &a.seed_id).cmp(&(b.created_ms, &b.seed_id)));
        seeds
    }
}

/// The lineages before the current one that a snapshot of `catalogue` is of, and their parents.
fn earlier_lineages(head: &Commit, new: bool, catalogue: &Catalogue) -> Vec<Lineage> {
    let mut earlier = head.earlier_lineages.clone();
    if let Some(left) = head.lineage.as_ref().filter(|_| new) {
        earlier.push(left.clone());
    }
    let mut wanted: BTreeSet<Bytes> =
        catalogue.entries().map(|entry| entry.lineage_id.clone()).collect();
    let children = earlier.iter().chain(&head.lineage);
    let parents: Vec<Bytes> = children
        .filter(|lineage| wanted.contains(&lineage.lineage_id))
        .map(|lineage| lineage.parent_id.clone())
        .collect();
    wanted.extend(parents);
    earlier.retain(|lineage| wanted.contains(&lineage.lineage_id));
    earlier
}

fn higher(a: Option<HighWater>, b: Option<HighWater>) -> Option<HighWater> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.revision >= a.revision { b } else { a }),
        (a, b) => a.or(b),
    }
}
