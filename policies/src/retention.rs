//! What to keep: verdicts for each snapshot, with every reason.
//!
//! Holds:
//! - Order is by number, never by time. Each rule keeps the newest snapshot, by number, of each of
//!   its newest buckets.
//! - Never forgotten: the newest, the newest restorable, the newest of those with the highest
//!   proven level, what is pinned; and for a while the newest of each lineage that another
//!   followed.
//! - A snapshot that is not restorable fills no place of a rule, and is kept as long as a whole one
//!   in its place would be: knowing of damage never makes a policy forget more. While none is
//!   restorable, nothing is forgotten.
//! - A snapshot from the future (later than the clocks allow, see [`Clocks::latest_ms`]) is kept
//!   and fills no place until its time comes.
//! - `now` is the earlier clock; clocks more than ten minutes apart forget nothing.
//! - Judging what was kept again keeps all of it; a newer snapshot never brings a forgotten one
//!   back.
//! - At most the sum of the counts is kept by the counted rules.

mod policy;
mod reasons;

pub use policy::{LINEAGES, PolicyError, RetentionPolicy};
pub use reasons::{Fate, ForgetReason, KeepReason, Rule, Verdict};

use crate::clocks::{Agreement, Clocks};
use crate::duration::millis;
use crate::zone::Zone;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFact {
    /// Its commit's number; the order of snapshots.
    pub number: u64,
    /// Its commit's time, milliseconds since 1970-01-01T00:00:00Z.
    pub time_ms: i64,
    /// Its logical revision; for what is printed only.
    pub revision: i64,
    /// The highest level L0 to L7 that was shown, if any.
    pub proven_level: Option<u8>,
    /// The history that it is of; empty: unknown.
    pub lineage: Vec<u8>,
    /// Nothing is known to be missing or damaged.
    pub restorable: bool,
    /// An operator's wish to keep it.
    pub pin: Option<Pin>,
}

/// An operator's wish to keep a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Why.
    pub reason: String,
    /// Until when, milliseconds since 1970-01-01T00:00:00Z; `None`: for ever.
    pub expires_ms: Option<i64>,
}

/// Judges all snapshots. The verdicts are in ascending order of numbers, whatever the order of
/// `snapshots`.
pub fn judge(
    snapshots: &[SnapshotFact],
    policy: &RetentionPolicy,
    clocks: Clocks,
    zone: &Zone,
) -> Vec<Verdict> {
    let mut ordered: Vec<&SnapshotFact> = snapshots.iter().collect();
    ordered.sort_by_key(|fact| fact.number);
    let mut round = Round::judged(&ordered, policy, clocks, zone);
    if snapshots.iter().any(|fact| !fact.restorable) {
        let whole = |fact: &&SnapshotFact| SnapshotFact { restorable: true, ..(*fact).clone() };
        let whole: Vec<SnapshotFact> = ordered.iter().map(whole).collect();
        let whole: Vec<&SnapshotFact> = whole.iter().collect();
        round.spare_damaged(Round::judged(&whole, policy, clocks, zone));
    }
    let verdicts = round.verdicts();
    assert_eq!(verdicts.len(), snapshots.len(), "each snapshot has one verdict");
    assert!(
        verdicts.is_empty() || verdicts.iter().any(Verdict::is_kept),
        "something is always kept"
    );
    verdicts
}

/// The reasons of one snapshot while they are collected.
#[derive(Default)]
struct Collected {
    keep: Vec<KeepReason>,
    forget: Vec<ForgetReason>,
}

struct Round<'a> {
    ordered: &'a [&'a SnapshotFact],
    policy: &'a RetentionPolicy,
    now_ms: i64,
    /// What is later is from the future.
    latest_ms: i64,
    collected: Vec<Collected>,
    /// Places in `ordered` of those that rules count, newest first.
    counted: Vec<usize>,
}

impl<'a> Round<'a> {
    fn new(ordered: &'a [&'a SnapshotFact], policy: &'a RetentionPolicy, clocks: Clocks) -> Self {
        let (now_ms, latest_ms) = (clocks.now_ms(), clocks.latest_ms());
        let counts = |at: &usize| ordered[*at].restorable && ordered[*at].time_ms <= latest_ms;
        let counted = (0..ordered.len()).rev().filter(counts).collect();
        let collected = ordered.iter().map(|_| Collected::default()).collect();
        Round { ordered, policy, now_ms, latest_ms, collected, counted }
    }

    /// All rules applied.
    fn judged(
        ordered: &'a [&'a SnapshotFact],
        policy: &'a RetentionPolicy,
        clocks: Clocks,
        zone: &Zone,
    ) -> Self {
        let mut round = Round::new(ordered, policy, clocks);
        round.protect(clocks);
        round.pins();
        round.older_lineages();
        round.rules(zone);
        round
    }

    /// The lost object may lie in another copy of the store, and the rest of the snapshot is there
    /// to be looked into: what is damaged stays for the reasons that `whole` gives.
    fn spare_damaged(&mut self, whole: Round<'_>) {
        for (at, collected) in whole.collected.into_iter().enumerate() {
            if let Some(reason) = collected.keep.into_iter().next()
                && !self.ordered[at].restorable
                && self.collected[at].keep.is_empty()
            {
                self.keep(at, KeepReason::Damaged { otherwise: Box::new(reason) });
            }
        }
    }

    fn keep(&mut self, at: usize, reason: KeepReason) {
        self.collected[at].keep.push(reason);
    }

    fn forget(&mut self, at: usize, reason: ForgetReason) {
        self.collected[at].forget.push(reason);
    }

    /// What holds whatever the policy says.
    fn protect(&mut self, clocks: Clocks) {
        let restorable = |at: &usize| self.ordered[*at].restorable;
        let all = || (0..self.ordered.len()).rev();
        let newest = all().next();
        let last_restorable = all().find(restorable);
        let last_of_the_past = self.counted.first().copied();
        let proven = all()
            .rev()
            .filter(restorable)
            .filter_map(|at| self.ordered[at].proven_level.map(|level| (level, at)))
            .max();
        if let Some(at) = newest {
            self.keep(at, KeepReason::Newest);
        }
        for at in last_restorable.into_iter().chain(last_of_the_past) {
            if !self.collected[at].keep.contains(&KeepReason::LastRestorable) {
                self.keep(at, KeepReason::LastRestorable);
            }
        }
        if let Some((level, at)) = proven {
            self.keep(at, KeepReason::Proven { level });
        }
        for at in 0..self.ordered.len() {
            let time_ms = self.ordered[at].time_ms;
            if time_ms > self.latest_ms {
                let ahead_ms = time_ms.saturating_sub(self.now_ms);
                self.keep(at, KeepReason::Future { ahead_ms });
            }
            if let Agreement::Stop(skew) = clocks.agreement() {
                self.keep(at, KeepReason::ClocksDisagree(skew));
            }
            if last_restorable.is_none() {
                self.keep(at, KeepReason::NoneRestorable);
            }
            if !self.ordered[at].restorable {
                self.forget(at, ForgetReason::NotRestorable);
            }
        }
    }

    fn pins(&mut self) {
        for at in 0..self.ordered.len() {
            let Some(pin) = self.ordered[at].pin.clone() else { continue };
            match pin.expires_ms {
                Some(expired_ms) if expired_ms <= self.now_ms => {
                    let ago_ms = self.now_ms.saturating_sub(expired_ms);
                    self.forget(at, ForgetReason::PinExpired { reason: pin.reason, ago_ms });
                }
                expires_ms => {
                    self.keep(at, KeepReason::Pinned { reason: pin.reason, expires_ms });
                }
            }
        }
    }

    /// The newest restorable snapshot of each lineage but the newest one's stays for a while.
    fn older_lineages(&mut self) {
        let kept = self.policy.lineages;
        let mut seen: BTreeSet<&[u8]> = BTreeSet::new();
        seen.extend(self.ordered.last().map(|newest| &newest.lineage[..]));
        for at in (0..self.ordered.len()).rev() {
            let fact = self.ordered[at];
            let age_ms = self.now_ms.saturating_sub(fact.time_ms);
            if fact.restorable && seen.insert(&fact.lineage) && age_ms < millis(kept) {
                self.keep(at, KeepReason::OlderLineage { age_ms, kept });
            }
        }
    }

    fn rules(&mut self, zone: &Zone) {
        self.last();
        self.within();
        for rule in Rule::ALL {
            self.buckets(rule, zone);
        }
    }

    fn last(&mut self) {
        let of = self.policy.last;
        for (at, position) in self.counted.clone().into_iter().zip(1u32..) {
            if position <= of {
                self.keep(at, KeepReason::Last { position, of });
            } else if of > 0 {
                self.forget(at, ForgetReason::BeyondLast { of });
            }
        }
    }

    fn within(&mut self) {
        let Some(within) = self.policy.within else { return };
        for at in 0..self.ordered.len() {
            if self.ordered[at].time_ms > self.latest_ms {
                continue;
            }
            let age_ms = self.now_ms.saturating_sub(self.ordered[at].time_ms).max(0);
            if age_ms < millis(within) {
                self.keep(at, KeepReason::Within { age_ms, within });
            } else {
                self.forget(at, ForgetReason::Older { age_ms, within });
            }
        }
    }

    fn buckets(&mut self, rule: Rule, zone: &Zone) {
        let count = rule.count(self.policy) as usize;
        if count == 0 {
            return;
        }
        let mut taken: BTreeMap<String, u64> = BTreeMap::new();
        for at in self.counted.clone() {
            let fact = self.ordered[at];
            let label = rule.label(clamped(fact.time_ms), zone);
            if let Some(by) = taken.get(&label) {
                let by = *by;
                self.forget(at, ForgetReason::Outranked { rule, label, by });
            } else if taken.len() < count {
                taken.insert(label.clone(), fact.number);
                self.keep(at, KeepReason::Bucket { rule, label });
            } else {
                self.forget(
                    at,
                    ForgetReason::BeyondBuckets { rule, count: rule.count(self.policy) },
                );
            }
        }
    }

    fn verdicts(self) -> Vec<Verdict> {
        let fate = |collected: Collected| {
            if collected.keep.is_empty() {
                Fate::Forget(collected.forget)
            } else {
                Fate::Keep(collected.keep)
            }
        };
        let facts = self.ordered.iter().zip(self.collected);
        facts
            .map(|(fact, collected)| Verdict { number: fact.number, fate: fate(collected) })
            .collect()
    }
}

/// Times outside of what a calendar knows count as its ends.
fn clamped(time_ms: i64) -> Timestamp {
    let end = if time_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(time_ms).unwrap_or(end)
}

#[cfg(test)]
mod tests;
