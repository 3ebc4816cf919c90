//! The commit of a prune: what it forgets and condemns, and what was swept before it.
//!
//! Holds: decided beside the head that the commit follows; the newest snapshot is never forgotten;
//! a seed is retired by one commit and dropped by a later one, when its wraps are gone.

use super::PruneOptions;
use super::facts::{Facts, verdicts};
use crate::chain::Chain;
use crate::chain::draft::Draft;
use crate::format::ObjectId;
use crate::proto::action::Kind;
use crate::proto::{self, SeedKind};
use bytes::Bytes;
use holdfast_policies::clocks::Clocks;
use holdfast_policies::prune::{CommitFact, KEPT_SEEDS_MS, plan};
use std::collections::BTreeSet;

type Done<'a> = (&'a BTreeSet<ObjectId>, &'a BTreeSet<Bytes>, &'a [CommitFact]);

/// The commit that forgets, condemns and records what was swept; without actions: there is nothing
/// to say.
pub(super) fn record(
    chain: &Chain,
    options: &PruneOptions,
    clocks: Clocks,
    done: Done<'_>,
) -> Draft {
    let (swept, wraps, commits) = done;
    let mut draft = Draft::default();
    let verdicts = verdicts(chain, options, clocks);
    let newest = chain.catalogue().latest().map(|entry| entry.number);
    for verdict in verdicts.iter().filter(|verdict| !verdict.is_kept()) {
        assert!(Some(verdict.number) != newest, "the newest snapshot is never forgotten");
        draft.catalogue.forget.insert(verdict.number);
        act(&mut draft, Kind::Forget, verdict.number, "retention");
    }
    let kept: Vec<u64> =
        verdicts.iter().filter(|verdict| verdict.is_kept()).map(|v| v.number).collect();
    let facts = Facts::of(chain);
    let plan = plan(facts.chain(chain, &kept, commits), options.grace, clocks);
    for condemned in &plan.condemn {
        draft.condemned.extend(ObjectId::from_bytes(&condemned.id));
    }
    if !draft.condemned.is_empty() {
        let reason = format!("{} objects", draft.condemned.len());
        act(&mut draft, Kind::Condemn, 0, &reason);
    }
    let known = |id: &&ObjectId| chain.state().objects().contains_key(id);
    draft.swept = swept.iter().filter(known).copied().collect();
    if !draft.swept.is_empty() {
        let reason = format!("{} objects", draft.swept.len());
        act(&mut draft, Kind::Sweep, 0, &reason);
    }
    if plan.floor > chain.head().floor {
        draft.floor = plan.floor;
        act(&mut draft, Kind::Floor, 0, "");
    }
    seeds(&mut draft, chain, wraps, clocks.now_ms());
    let live = |snapshot: u64| kept.contains(&snapshot);
    let head = chain.head();
    if head.pins.iter().any(|pin| !live(pin.snapshot)) {
        draft.pins = Some(head.pins.iter().filter(|pin| live(pin.snapshot)).cloned().collect());
    }
    let now_ms = clocks.now_ms();
    if head.holds.iter().any(|hold| hold.expires_ms <= now_ms) {
        let running = head.holds.iter().filter(|hold| hold.expires_ms > now_ms);
        draft.holds = Some(running.cloned().collect());
        act(&mut draft, Kind::Hold, 0, "expired");
    }
    draft
}

fn act(draft: &mut Draft, kind: Kind, snapshot: u64, reason: &str) {
    draft.actions.push(proto::Action { kind: kind.into(), snapshot, reason: reason.to_owned() });
}

/// Data seeds that nothing names: first retired, and dropped when their wraps are gone.
fn seeds(draft: &mut Draft, chain: &Chain, gone: &BTreeSet<Bytes>, now_ms: i64) {
    let named: BTreeSet<&Bytes> =
        chain.state().objects().values().map(|extant| &extant.object.data_seed_id).collect();
    for seed in &chain.head().seeds {
        let mut changed = seed.clone();
        changed.condemned_wraps.retain(|wrap| !gone.contains(&wrap.wrap_id));
        let old = now_ms.saturating_sub(seed.created_ms) >= KEPT_SEEDS_MS;
        let unnamed = seed.kind() == SeedKind::Data && !named.contains(&seed.seed_id);
        if unnamed && old && !seed.wraps.is_empty() {
            for mut wrap in std::mem::take(&mut changed.wraps) {
                wrap.condemned_ms = now_ms;
                changed.condemned_wraps.push(wrap);
            }
        }
        if changed.wraps.is_empty() && changed.condemned_wraps.is_empty() {
            draft.dropped_seeds.push(seed.seed_id.clone());
            act(draft, Kind::Seed, 0, "a seed that nothing names was dropped");
        } else if changed != *seed {
            draft.seeds.push(changed);
            act(draft, Kind::Seed, 0, "wraps were retired or removed");
        }
    }
}
