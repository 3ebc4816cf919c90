//! The state of a vault cluster as a pure fold over its commits.
//!
//! Holds (`check_invariants`, `apply`): commits are contiguous and each names its predecessor's
//! digest; an object lives in at most one interval `[added, removed)` of commit numbers and never
//! comes back; only what left the live set is condemned, and only when no snapshot that still
//! exists lies in its interval; only what was condemned is swept; vault, cluster and tag key never
//! change; time grows (but `rules::time_follows`); the floor never falls.
//!
//! A body belongs to its own snapshot: it is live in its commit alone, its interval is `[n, n + 1)`
//! without being listed as removed. Pages, ledgers and reports serve the head: no snapshot needs
//! them once removed.

use super::rules;
use crate::format::ObjectId;
use crate::proto::{Commit, Ledger, LedgerEntry, ObjectKind, ObjectRef, Wrap};
use std::collections::{BTreeMap, BTreeSet};

/// A SHA-256.
pub type Digest = [u8; 32];

/// An object that exists in the store as far as the chain knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Extant {
    /// Kind, size, digest, seeds.
    pub object: ObjectRef,
    /// The commit that brought it into the live set.
    pub added: u64,
    /// The commit that took it out; `None`: live.
    pub removed: Option<u64>,
    /// Set once it was condemned.
    pub condemned: Option<Condemned>,
}

/// When an object was condemned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condemned {
    /// By which commit.
    pub number: u64,
    /// That commit's time.
    pub time_ms: i64,
}

impl Extant {
    /// Whether the head or a snapshot of `kept` needs it.
    pub fn is_needed(&self, kept: &BTreeSet<u64>) -> bool {
        match (self.removed, self.object.kind()) {
            (None, _) => true,
            (Some(_), ObjectKind::Page | ObjectKind::Ledger | ObjectKind::Report) => false,
            (Some(removed), _) => kept.range(self.added..removed).next().is_some(),
        }
    }
}

/// Why a commit does not follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("commit {number}: {reason}; the chain is damaged or was tampered with")]
pub struct StateError {
    /// Its number.
    pub number: u64,
    /// The rule that it breaks.
    pub reason: String,
}

/// Everything that the commits up to a head say.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    head: Commit,
    sha256: Digest,
    objects: BTreeMap<ObjectId, Extant>,
}

impl State {
    /// The state after the first commit of a vault cluster.
    pub fn genesis(commit: Commit, sha256: Digest) -> Result<State, StateError> {
        let wrong = |reason: &str| StateError { number: commit.number, reason: reason.to_owned() };
        if commit.number != 1 || !commit.previous_sha256.is_empty() {
            return Err(wrong("the first commit has number 1 and no predecessor"));
        }
        if commit.tag_key.len() != 32 {
            return Err(wrong("the tag key has not 32 bytes"));
        }
        let empty = Commit::default();
        let mut state = State { head: empty, sha256, objects: BTreeMap::new() };
        state.fold(&commit)?;
        state.head = commit;
        Ok(state)
    }

    /// The state that `ledger` tells, which is the one after `commit`.
    pub fn from_ledger(
        ledger: &Ledger,
        commit: Commit,
        sha256: Digest,
    ) -> Result<State, StateError> {
        let number = commit.number;
        let wrong = |reason: String| StateError { number, reason };
        if ledger.number != number || ledger.era != commit.era {
            return Err(wrong(format!("its ledger tells of commit {}", ledger.number)));
        }
        let mut objects = BTreeMap::new();
        for entry in &ledger.objects {
            let extant =
                extant(entry).ok_or_else(|| wrong("a ledger entry has no object".into()))?;
            let id = object_id(&extant.object).map_err(wrong)?;
            if objects.insert(id, extant).is_some() {
                return Err(wrong(format!("the ledger holds {id} twice")));
            }
        }
        let state = State { head: commit, sha256, objects };
        state.check_invariants().map_err(wrong)?;
        Ok(state)
    }

    /// What a head alone tells: its snapshots' bodies. Nothing is known of other objects, so this
    /// is no state that anything can be written after.
    pub(super) fn told_by_head(
        head: Commit,
        sha256: Digest,
        bodies: impl IntoIterator<Item = (u64, ObjectRef)>,
    ) -> State {
        let extant = |(number, object): (u64, ObjectRef)| {
            let removed = Some(number + 1);
            let id = object_id(&object).ok()?;
            Some((id, Extant { object, added: number, removed, condemned: None }))
        };
        State { head, sha256, objects: bodies.into_iter().filter_map(extant).collect() }
    }

    /// Number of the head.
    pub fn number(&self) -> u64 {
        self.head.number
    }

    /// Digest of the head as stored.
    pub fn sha256(&self) -> &Digest {
        &self.sha256
    }

    /// The head itself.
    pub fn head(&self) -> &Commit {
        &self.head
    }

    /// Every extant object.
    pub fn objects(&self) -> &BTreeMap<ObjectId, Extant> {
        &self.objects
    }

    /// The objects of the live set.
    pub fn live(&self) -> impl Iterator<Item = (&ObjectId, &Extant)> {
        self.objects.iter().filter(|(_, extant)| extant.removed.is_none())
    }

    /// Takes the next commit, stored with digest `sha256`. On an error nothing has changed.
    pub fn apply(&mut self, commit: Commit, sha256: Digest) -> Result<(), StateError> {
        self.follows(&commit)?;
        self.fold(&commit)?;
        self.head = commit;
        self.sha256 = sha256;
        Ok(())
    }

    /// What a ledger of this state holds; `wraps` are all wraps in use.
    pub fn ledger(&self, wraps: Vec<Wrap>) -> Ledger {
        let entry = |extant: &Extant| LedgerEntry {
            object: Some(extant.object.clone()),
            added: extant.added,
            removed: extant.removed.unwrap_or(0),
            condemned: extant.condemned.map_or(0, |condemned| condemned.number),
            condemned_ms: extant.condemned.map_or(0, |condemned| condemned.time_ms),
            locked_until_ms: 0,
        };
        Ledger {
            era: self.head.era,
            number: self.head.number,
            objects: self.objects.values().map(entry).collect(),
            wraps,
        }
    }

    /// The rules that this state alone can show.
    pub fn check_invariants(&self) -> Result<(), String> {
        for (id, extant) in &self.objects {
            let end = extant.removed.unwrap_or(u64::MAX);
            if extant.added == 0 || extant.added >= end {
                return Err(format!("object {id}: its interval is [{}, {end})", extant.added));
            }
            if extant.removed.is_some_and(|removed| removed > self.head.number + 1) {
                return Err(format!("object {id} leaves the live set in the future"));
            }
            if let Some(condemned) = extant.condemned {
                let after = extant.removed.is_some_and(|removed| removed <= condemned.number);
                if !after || condemned.number > self.head.number {
                    return Err(format!("object {id} was condemned while it was live"));
                }
            }
        }
        Ok(())
    }

    /// The rules between this state and the snapshots that exist: each has its body, and nothing
    /// that one of them needs is condemned or unknown.
    pub fn check_kept(&self, kept: &BTreeSet<u64>) -> Result<(), String> {
        let bodies: BTreeSet<u64> = self
            .objects
            .values()
            .filter(|extant| extant.object.kind() == ObjectKind::Body)
            .map(|extant| extant.added)
            .collect();
        if let Some(number) = kept.difference(&bodies).next() {
            return Err(format!("snapshot {number} has no body"));
        }
        for (id, extant) in &self.objects {
            if extant.condemned.is_some() && extant.is_needed(kept) {
                return Err(format!("object {id} is condemned and a snapshot needs it"));
            }
        }
        Ok(())
    }

    /// Whether `commit` may be the next, with `kept` as the snapshots that exist from it on.
    /// Changes nothing.
    pub fn check_next(&self, commit: &Commit, kept: &BTreeSet<u64>) -> Result<(), StateError> {
        let wrong = |reason: String| StateError { number: commit.number, reason };
        self.follows(commit)?;
        self.allows(commit).map_err(wrong)?;
        for id in &commit.condemned {
            let id = parse_id(id).map_err(wrong)?;
            let Some(extant) = self.objects.get(&id) else { continue };
            let removed = extant.removed.unwrap_or(commit.number);
            let after = Extant { removed: Some(removed), ..extant.clone() };
            if after.is_needed(kept) {
                return Err(wrong(format!("object {id} is condemned and a snapshot needs it")));
            }
        }
        Ok(())
    }

    fn follows(&self, commit: &Commit) -> Result<(), StateError> {
        let (head, number) = (&self.head, commit.number);
        let rules = [
            (number == head.number + 1, "its number does not follow the head's"),
            (commit.era == head.era, "its era is not the head's"),
            (commit.previous_sha256[..] == self.sha256[..], "it names another predecessor"),
            (identity_follows(commit, head), "it tells of another vault"),
            (commit.cluster_id == head.cluster_id, "it tells of another cluster"),
            (commit.tag_key == head.tag_key, "its tag key differs"),
            (rules::time_follows(commit, head), "its time is not after the head's"),
            (commit.floor >= head.floor, "its floor fell"),
            (commit.floor <= number, "its floor is above itself"),
            (commit.epoch >= head.epoch, "its epoch fell"),
            (high_water(commit) >= high_water(head), "its high-water mark fell"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, reason)) => Err(StateError { number, reason: (*reason).to_owned() }),
            None => Ok(()),
        }
    }

    /// What a commit may do to the objects, looked at before anything changes.
    fn allows(&self, commit: &Commit) -> Result<(), String> {
        let number = commit.number;
        let mut seen = BTreeSet::new();
        for id in &commit.swept {
            let id = parse_id(id)?;
            let condemned = self.objects.get(&id).is_some_and(|extant| extant.condemned.is_some());
            if !condemned || !seen.insert(id) {
                return Err(format!("object {id} was swept without being condemned"));
            }
        }
        let mut removed = BTreeSet::new();
        for id in &commit.removed {
            let id = parse_id(id)?;
            let live = self.objects.get(&id).is_some_and(|extant| extant.removed.is_none());
            if !live || !removed.insert(id) {
                return Err(format!("object {id} is removed and was not live"));
            }
        }
        for id in &commit.condemned {
            let id = parse_id(id)?;
            let dead = self.objects.get(&id).is_some_and(|extant| {
                let gone = extant.removed.is_some_and(|removed| removed <= number);
                extant.condemned.is_none() && (gone || removed.contains(&id))
            });
            if !dead || !seen.insert(id) {
                return Err(format!("object {id} is condemned while it is live"));
            }
        }
        for object in &commit.added {
            let id = object_id(object)?;
            if self.objects.contains_key(&id) || !seen.insert(id) {
                return Err(format!("object {id} is added twice"));
            }
        }
        Ok(())
    }

    fn fold(&mut self, commit: &Commit) -> Result<(), StateError> {
        let number = commit.number;
        let wrong = |reason: String| StateError { number, reason };
        self.allows(commit).map_err(wrong)?;
        for id in &commit.swept {
            self.objects.remove(&parse_id(id).map_err(wrong)?);
        }
        for id in &commit.removed {
            if let Some(extant) = self.objects.get_mut(&parse_id(id).map_err(wrong)?) {
                extant.removed = Some(number);
            }
        }
        for id in &commit.condemned {
            if let Some(extant) = self.objects.get_mut(&parse_id(id).map_err(wrong)?) {
                extant.condemned = Some(Condemned { number, time_ms: commit.time_ms });
            }
        }
        for object in &commit.added {
            let body = object.kind() == ObjectKind::Body;
            let removed = body.then_some(number + 1);
            let extant = Extant { object: object.clone(), added: number, removed, condemned: None };
            self.objects.insert(object_id(object).map_err(wrong)?, extant);
        }
        Ok(())
    }
}

/// The vault stays the same; a root key may be taken up once where there was none.
fn identity_follows(commit: &Commit, head: &Commit) -> bool {
    let (Some(new), Some(old)) = (&commit.identity, &head.identity) else {
        return commit.identity == head.identity;
    };
    let taken_up = old.root_key_fingerprint.is_empty() && new.root_key_fingerprint.len() == 32;
    new.vault_id == old.vault_id
        && new.unsealed == old.unsealed
        && (taken_up || new.root_key_fingerprint == old.root_key_fingerprint)
}

fn high_water(commit: &Commit) -> i64 {
    commit.high_water.as_ref().map_or(0, |mark| mark.revision)
}

fn extant(entry: &LedgerEntry) -> Option<Extant> {
    let number = entry.condemned;
    Some(Extant {
        object: entry.object.clone()?,
        added: entry.added,
        removed: (entry.removed != 0).then_some(entry.removed),
        condemned: (number != 0).then_some(Condemned { number, time_ms: entry.condemned_ms }),
    })
}

/// The id of an object reference.
pub fn object_id(object: &ObjectRef) -> Result<ObjectId, String> {
    parse_id(&object.object_id)
}

fn parse_id(bytes: &[u8]) -> Result<ObjectId, String> {
    ObjectId::from_bytes(bytes).map_err(|error| format!("an object id: {error}"))
}
