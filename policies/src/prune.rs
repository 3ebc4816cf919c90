//! What may be deleted: pure decisions over the intervals of objects.
//!
//! Holds:
//! - An object added with commit a and removed with commit r is needed by a kept snapshot k exactly
//!   when a ≤ k < r. An object without an end is in the live set and never condemned; one that was
//!   removed never comes back.
//! - First forgotten, then condemned, then swept: the grace begins with the condemning commit, and
//!   the need is asked again when it ends. Nothing that was not condemned is ever swept.
//! - The grace is the configured one (72 h), or twice the longest restore ever measured, whichever
//!   is longer.
//! - Order: log, segments, spills, bodies, chain objects, reports, seeds, commits. A crash between
//!   leaves garbage, never a reference to nothing.
//! - A seed goes only when no extant object and no extant commit names it, no writer uses it, and
//!   it is a week old.
//! - Commits go from the bottom only, below the floor that the head already carries; the floor
//!   never passes the newest 256, any younger than 7 days, or the newest ledger.
//! - `now` is the earlier clock; clocks more than ten minutes apart condemn and sweep nothing and
//!   leave the floor.

mod floor;
mod pinned;
mod reasons;

pub use floor::{CommitFact, KEPT_COMMITS, KEPT_COMMITS_MS, next_floor};
pub use pinned::{PinnedBytes, pinned_bytes};
pub use reasons::{CondemnReason, SweepReason, WaitReason};

use crate::clocks::{Agreement, Clocks, Skew};
use crate::duration::millis;
use std::collections::BTreeSet;
use std::time::Duration;

/// 16 random bytes: an object's or a seed's id.
pub type Id = [u8; 16];

/// The default grace.
pub const GRACE: Duration = Duration::from_secs(72 * 3_600);
/// Seeds younger than this stay: a writer may have sealed under them and not committed yet.
pub const KEPT_SEEDS_MS: i64 = 7 * 86_400_000;

/// Kinds of objects, in the order in which they are swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// `log/`.
    Log,
    /// `seg/`.
    Segment,
    /// `spill/`.
    Spill,
    /// `body/`.
    Body,
    /// `page/`: part of the catalogue, needed by the chain and not by a snapshot.
    Page,
    /// `ledger/`: needed by the chain and not by a snapshot.
    Ledger,
    /// `report/`.
    Report,
}

/// What is known of one extant object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFact {
    /// Its id.
    pub id: Id,
    /// Its kind.
    pub kind: ObjectKind,
    /// Its size as stored.
    pub sealed_bytes: u64,
    /// The commit that added it.
    pub added: u64,
    /// The commit that removed it; `None`: in the live set.
    pub removed: Option<u64>,
    /// When it was condemned (time of that commit), if it was.
    pub condemned_ms: Option<i64>,
    /// The store refuses to delete it before this time.
    pub locked_until_ms: Option<i64>,
    /// The seeds that it is sealed under.
    pub seeds: Vec<Id>,
}

/// What is known of one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedAge {
    /// Its id.
    pub id: Id,
    /// When it was made.
    pub created_ms: i64,
    /// A writer may seal under it.
    pub in_use: bool,
}

/// A drill or an investigation that must find what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The snapshot.
    pub snapshot: u64,
    /// Until when.
    pub expires_ms: i64,
}

/// What the chain's head says.
#[derive(Debug, Clone, Copy)]
pub struct ChainFacts<'a> {
    /// Numbers of the snapshots in the catalogue, after forgetting.
    pub kept: &'a [u64],
    /// Holds.
    pub holds: &'a [Hold],
    /// All extant objects but commits and seeds.
    pub objects: &'a [ObjectFact],
    /// Seeds of the chain.
    pub seeds: &'a [SeedAge],
    /// Extant commits, those below the floor too.
    pub commits: &'a [CommitFact],
    /// The lowest number that the head declares to exist.
    pub floor: u64,
    /// The commit of the newest ledger.
    pub ledger: Option<u64>,
    /// How many of the newest commits stay: [`KEPT_COMMITS`], less in simulations only.
    pub kept_commits: u64,
}

/// How long condemned objects stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// From the configuration.
    pub configured: Duration,
    /// The longest restore that was ever measured for this vault.
    pub longest_restore: Option<Duration>,
}

/// What to do. Nothing here was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlan {
    /// For the next commit.
    pub condemn: Vec<Condemned>,
    /// To delete now, in this order, after the head was read again.
    pub sweep: Vec<Swept>,
    /// Condemned, and not to be swept yet.
    pub waiting: Vec<Waiting>,
    /// The floor for the next commit; commits below it are swept once it stands there.
    pub floor: u64,
    /// Nothing is decided because the clocks are too far apart.
    pub stopped: Option<Skew>,
}

/// An object to condemn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condemned {
    /// The object.
    pub id: Id,
    /// Its kind.
    pub kind: ObjectKind,
    /// Its size.
    pub sealed_bytes: u64,
    /// Why.
    pub reason: CondemnReason,
}

/// What to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An object.
    Object(ObjectKind, Id),
    /// A seed's wraps.
    Seed(Id),
    /// A commit.
    Commit(u64),
}

/// Something to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// What.
    pub target: Target,
    /// Its size, where it is known.
    pub sealed_bytes: u64,
    /// Why.
    pub reason: SweepReason,
}

/// A condemned object that stays a while longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The object.
    pub id: Id,
    /// Its kind.
    pub kind: ObjectKind,
    /// Its size.
    pub sealed_bytes: u64,
    /// Why.
    pub reason: WaitReason,
}

impl Default for Grace {
    fn default() -> Grace {
        Grace { configured: GRACE, longest_restore: None }
    }
}

impl Grace {
    /// The configured grace, or twice the longest restore, whichever is longer.
    pub fn length(&self) -> Duration {
        let twice =
            self.longest_restore.map_or(Duration::ZERO, |longest| longest.saturating_mul(2));
        self.configured.max(twice)
    }
}

/// Decides what to condemn and what to sweep.
pub fn plan(chain: ChainFacts<'_>, grace: Grace, clocks: Clocks) -> PrunePlan {
    let mut plan = PrunePlan {
        condemn: Vec::new(),
        sweep: Vec::new(),
        waiting: Vec::new(),
        floor: chain.floor,
        stopped: None,
    };
    if let Agreement::Stop(skew) = clocks.agreement() {
        plan.stopped = Some(skew);
        return plan;
    }
    let now_ms = clocks.now_ms();
    let needs = Needs::new(chain, now_ms);
    for object in chain.objects {
        judge(object, &needs, millis(grace.length()), now_ms, &mut plan);
    }
    let going: BTreeSet<Target> = plan.sweep.iter().map(|swept| swept.target).collect();
    assert!(going.len() == plan.sweep.len(), "an object is listed twice");
    plan.sweep.extend(seeds(chain, now_ms));
    plan.sweep.extend(commits(chain));
    plan.sweep.sort_by_key(|swept| swept.target);
    plan.floor = next_floor(&chain, now_ms);
    plan
}

fn judge(object: &ObjectFact, needs: &Needs, grace_ms: i64, now_ms: i64, plan: &mut PrunePlan) {
    let ObjectFact { id, kind, sealed_bytes, added, .. } = *object;
    let needed = needs.by(object);
    let Some(condemned_ms) = object.condemned_ms else {
        if let (Some(removed), None) = (object.removed, needed) {
            let reason = match kind {
                ObjectKind::Page | ObjectKind::Ledger => CondemnReason::Superseded { removed },
                _ => CondemnReason::NoKeptSnapshot { added, removed },
            };
            plan.condemn.push(Condemned { id, kind, sealed_bytes, reason });
        }
        return;
    };
    let due_ms = condemned_ms.saturating_add(grace_ms);
    let locked_ms = object.locked_until_ms.filter(|until| *until > now_ms);
    let wait = match (needed, locked_ms) {
        (Some(snapshot), _) => Some(WaitReason::Needed { snapshot }),
        (None, _) if object.removed.is_none() => Some(WaitReason::InLiveSet),
        (None, _) if due_ms > now_ms => Some(WaitReason::Grace { left_ms: due_ms - now_ms }),
        (None, Some(until_ms)) => Some(WaitReason::Locked { until_ms }),
        (None, None) => None,
    };
    match wait {
        Some(reason) => plan.waiting.push(Waiting { id, kind, sealed_bytes, reason }),
        None => {
            let reason = SweepReason::GraceOver { since_ms: now_ms.saturating_sub(condemned_ms) };
            let target = Target::Object(kind, id);
            plan.sweep.push(Swept { target, sealed_bytes, reason });
        }
    }
}

/// Which snapshots need objects: those kept and those held.
struct Needs {
    numbers: Vec<u64>,
}

impl Needs {
    fn new(chain: ChainFacts<'_>, now_ms: i64) -> Needs {
        let held = chain.holds.iter().filter(|hold| hold.expires_ms > now_ms);
        let mut numbers: Vec<u64> = chain.kept.to_vec();
        numbers.extend(held.map(|hold| hold.snapshot));
        numbers.sort_unstable();
        numbers.dedup();
        Needs { numbers }
    }

    /// The first snapshot that needs the object.
    fn by(&self, object: &ObjectFact) -> Option<u64> {
        if matches!(object.kind, ObjectKind::Page | ObjectKind::Ledger) {
            return None;
        }
        let at = self.numbers.partition_point(|number| *number < object.added);
        let first = self.numbers.get(at).copied()?;
        object.removed.is_none_or(|removed| first < removed).then_some(first)
    }
}

/// Seeds that nothing names any more, objects that are swept only now counted as naming theirs.
fn seeds(chain: ChainFacts<'_>, now_ms: i64) -> Vec<Swept> {
    let by_objects = chain.objects.iter().flat_map(|object| object.seeds.iter().copied());
    let by_commits = chain.commits.iter().map(|commit| commit.index_seed);
    let named: BTreeSet<Id> = by_objects.chain(by_commits).collect();
    let goes = |seed: &&SeedAge| {
        let old = now_ms.saturating_sub(seed.created_ms) >= KEPT_SEEDS_MS;
        !seed.in_use && old && !named.contains(&seed.id)
    };
    let swept = |seed: &SeedAge| Swept {
        target: Target::Seed(seed.id),
        sealed_bytes: 0,
        reason: SweepReason::NothingNames,
    };
    chain.seeds.iter().filter(goes).map(swept).collect()
}

/// Commits below the floor that the head declares.
fn commits(chain: ChainFacts<'_>) -> Vec<Swept> {
    let newest = chain.commits.iter().map(|commit| commit.number).max().unwrap_or(0);
    let goes = |commit: &&CommitFact| {
        commit.number < chain.floor && commit.number.saturating_add(chain.kept_commits) <= newest
    };
    let swept = |commit: &CommitFact| Swept {
        target: Target::Commit(commit.number),
        sealed_bytes: commit.sealed_bytes,
        reason: SweepReason::BelowFloor { floor: chain.floor },
    };
    chain.commits.iter().filter(goes).map(swept).collect()
}

#[cfg(test)]
mod tests;
