//! What the pure rules are told of a chain, and the verdicts over its snapshots.
//!
//! Holds: nothing is decided here; what is held counts as pinned, and seeds are left out, since
//! they are retired and dropped by their own rule.

use super::PruneOptions;
use crate::chain::Chain;
use crate::proto::{self, ObjectKind, ObjectRef};
use holdfast_policies::clocks::Clocks;
use holdfast_policies::prune::{
    ChainFacts, CommitFact, Hold, ObjectFact, ObjectKind as PolicyKind,
};
use holdfast_policies::retention::{Pin, SnapshotFact, Verdict, judge};

/// What the pure rules want to know.
pub(super) struct Facts {
    pub(super) objects: Vec<ObjectFact>,
    holds: Vec<Hold>,
}

impl Facts {
    pub(super) fn of(chain: &Chain) -> Facts {
        let seeds = |object: &ObjectRef| {
            let ids = [&object.data_seed_id, &object.index_seed_id];
            ids.into_iter().filter_map(|id| id[..].try_into().ok()).collect()
        };
        let objects = chain.state().objects().iter().filter_map(|(id, extant)| {
            Some(ObjectFact {
                id: *id.as_bytes(),
                kind: policy_kind(extant.object.kind())?,
                sealed_bytes: extant.object.size_bytes,
                added: extant.added,
                removed: extant.removed,
                condemned_ms: extant.condemned.map(|condemned| condemned.time_ms),
                locked_until_ms: None,
                seeds: seeds(&extant.object),
            })
        });
        let hold =
            |hold: &proto::Hold| Hold { snapshot: hold.snapshot, expires_ms: hold.expires_ms };
        Facts { objects: objects.collect(), holds: chain.head().holds.iter().map(hold).collect() }
    }

    pub(super) fn chain<'a>(
        &'a self,
        chain: &Chain,
        kept: &'a [u64],
        commits: &'a [CommitFact],
    ) -> ChainFacts<'a> {
        let head = chain.head();
        ChainFacts {
            kept,
            holds: &self.holds,
            objects: &self.objects,
            // Seeds are retired and dropped by their own rule, in two commits.
            seeds: &[],
            commits,
            floor: head.floor,
            ledger: head.ledger.as_ref().map(|ledger| ledger.number),
            kept_commits: chain.access().limits().kept_commits,
        }
    }
}

fn policy_kind(kind: ObjectKind) -> Option<PolicyKind> {
    Some(match kind {
        ObjectKind::Segment => PolicyKind::Segment,
        ObjectKind::Spill => PolicyKind::Spill,
        ObjectKind::Body => PolicyKind::Body,
        ObjectKind::Page => PolicyKind::Page,
        ObjectKind::Ledger => PolicyKind::Ledger,
        ObjectKind::Report => PolicyKind::Report,
        ObjectKind::Log => PolicyKind::Log,
        ObjectKind::Unspecified | ObjectKind::Commit | ObjectKind::Status => return None,
    })
}

pub(super) fn our_kind(kind: PolicyKind) -> Option<ObjectKind> {
    Some(match kind {
        PolicyKind::Segment => ObjectKind::Segment,
        PolicyKind::Spill => ObjectKind::Spill,
        PolicyKind::Body => ObjectKind::Body,
        PolicyKind::Page => ObjectKind::Page,
        PolicyKind::Ledger => ObjectKind::Ledger,
        PolicyKind::Report => ObjectKind::Report,
        PolicyKind::Log => return None,
    })
}

/// The verdicts over all snapshots; what is held counts as pinned.
pub(super) fn verdicts(chain: &Chain, options: &PruneOptions, clocks: Clocks) -> Vec<Verdict> {
    let head = chain.head();
    let facts: Vec<SnapshotFact> = chain
        .catalogue()
        .entries()
        .map(|entry| {
            let number = entry.number;
            let pin = head.pins.iter().find(|pin| pin.snapshot == number);
            let hold = head.holds.iter().filter(|hold| hold.snapshot == number);
            let hold = hold.max_by_key(|hold| hold.expires_ms);
            let pinned = pin.map(|pin| Pin {
                reason: pin.reason.clone(),
                expires_ms: (pin.expires_ms != 0).then_some(pin.expires_ms),
            });
            let held = hold.map(|hold| Pin {
                reason: format!("held: {}", hold.reason),
                expires_ms: Some(hold.expires_ms),
            });
            let forever = pinned.as_ref().is_some_and(|pin| pin.expires_ms.is_none());
            let later = |pin: &Pin| pin.expires_ms.unwrap_or(i64::MAX);
            let longest = [pinned.clone(), held].into_iter().flatten().max_by_key(later);
            let level = entry.proven_level.checked_sub(1);
            SnapshotFact {
                number,
                time_ms: entry.time_ms,
                revision: entry.revision,
                proven_level: level.and_then(|level| u8::try_from(level).ok()),
                lineage: entry.lineage_id.to_vec(),
                restorable: !options.broken.contains(&number),
                pin: if forever { pinned } else { longest },
            }
        })
        .collect();
    judge(&facts, &options.policy, clocks, &options.zone)
}
