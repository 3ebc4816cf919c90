//! Pruning: each rule by an example, and a small vault over any sequence of rounds
//! (`tests/vault.rs`).

mod vault;

use super::*;
use proptest::prelude::*;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const START_MS: i64 = 1_795_176_000_000;

fn id(number: u64) -> Id {
    u128::from(number).to_be_bytes()
}

fn object(number: u64, added: u64, removed: Option<u64>) -> ObjectFact {
    ObjectFact {
        id: id(number),
        kind: ObjectKind::Segment,
        sealed_bytes: 100,
        added,
        removed,
        condemned_ms: None,
        locked_until_ms: None,
        seeds: vec![id(1)],
    }
}

fn chain<'a>(kept: &'a [u64], objects: &'a [ObjectFact]) -> ChainFacts<'a> {
    ChainFacts {
        kept,
        holds: &[],
        objects,
        seeds: &[],
        commits: &[],
        floor: 1,
        ledger: None,
        kept_commits: KEPT_COMMITS,
    }
}

fn commit(number: u64, time_ms: i64) -> CommitFact {
    CommitFact { number, time_ms, sealed_bytes: 1, index_seed: id(2) }
}

#[test]
fn intervals_are_half_open() {
    let objects = [object(1, 3, Some(5)), object(2, 5, Some(6)), object(3, 1, None)];
    let condemned = |kept: &[u64]| {
        let plan = plan(chain(kept, &objects), Grace::default(), Clocks::single(START_MS));
        plan.condemn.iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(condemned(&[3]), [id(2)]);
    assert_eq!(condemned(&[4]), [id(2)]);
    assert_eq!(condemned(&[5]), [id(1)]);
    assert_eq!(condemned(&[2, 6]), [id(1), id(2)]);
    assert_eq!(condemned(&[]), [id(1), id(2)]);
}

#[test]
fn the_grace_begins_with_the_condemning_commit() {
    let mut objects = [object(1, 1, Some(2))];
    objects[0].condemned_ms = Some(START_MS);
    let swept = |objects: &[ObjectFact], grace: Grace, now_ms: i64| {
        plan(chain(&[], objects), grace, Clocks::single(now_ms)).sweep.len()
    };
    let grace = Grace::default();
    assert_eq!(swept(&objects, grace, START_MS + 72 * HOUR_MS - 1), 0);
    assert_eq!(swept(&objects, grace, START_MS + 72 * HOUR_MS), 1);
    let longest_restore = Some(Duration::from_secs(40 * 3_600));
    let grace = Grace { longest_restore, ..grace };
    assert_eq!(swept(&objects, grace, START_MS + 79 * HOUR_MS), 0);
    assert_eq!(swept(&objects, grace, START_MS + 80 * HOUR_MS), 1);
    objects[0].locked_until_ms = Some(START_MS + 90 * HOUR_MS);
    assert_eq!(swept(&objects, grace, START_MS + 80 * HOUR_MS), 0);
    assert_eq!(swept(&objects, grace, START_MS + 90 * HOUR_MS), 1);
}

#[test]
fn reasons_are_told() {
    let mut objects = [object(1, 12, Some(41)), object(2, 1, Some(5)), object(3, 7, Some(9))];
    objects[1].condemned_ms = Some(START_MS - 96 * HOUR_MS);
    objects[2].condemned_ms = Some(START_MS - 71 * HOUR_MS);
    let kept = [50];
    let holds = [Hold { snapshot: 4, expires_ms: START_MS + 1 }];
    let facts = ChainFacts { holds: &holds, ..chain(&kept, &objects) };
    let held = plan(facts, Grace::default(), Clocks::single(START_MS));
    let needed = "needed by snapshots 12 to 40 only, and none of them is kept";
    assert_eq!(held.condemn[0].reason.to_string(), needed);
    let waiting: Vec<_> = held.waiting.iter().map(|one| one.reason.to_string()).collect();
    assert_eq!(waiting, ["snapshot 4 needs it", "grace for another 1h"]);
    assert!(held.sweep.is_empty());
    let later = plan(facts, Grace::default(), Clocks::single(START_MS + 1));
    assert_eq!(later.sweep[0].reason.to_string(), "condemned 4d ago, and nothing needs it");
}

#[test]
fn what_is_alive_is_never_swept_even_if_condemned() {
    let mut objects = [object(1, 5, None)];
    objects[0].condemned_ms = Some(0);
    let plan = plan(chain(&[1], &objects), Grace::default(), Clocks::single(START_MS));
    assert!(plan.sweep.is_empty());
    assert_eq!(plan.waiting[0].reason, WaitReason::InLiveSet);
}

#[test]
fn clocks_far_apart_stop_everything() {
    let mut objects = [object(1, 1, Some(2)), object(2, 1, Some(2))];
    objects[0].condemned_ms = Some(0);
    let commits: Vec<_> = (1..=600).map(|number| commit(number, 0)).collect();
    let facts =
        ChainFacts { commits: &commits, floor: 9, ledger: Some(512), ..chain(&[], &objects) };
    let clocks = Clocks { own_ms: START_MS, store_ms: Some(START_MS + 601_000) };
    let plan = plan(facts, Grace::default(), clocks);
    assert!(plan.condemn.is_empty() && plan.sweep.is_empty() && plan.floor == 9);
    assert!(plan.stopped.is_some());
}

#[test]
fn chain_objects_go_when_replaced_whatever_is_kept() {
    let mut objects = [object(1, 1, Some(5)), object(2, 5, None)];
    objects[0].kind = ObjectKind::Ledger;
    objects[1].kind = ObjectKind::Ledger;
    let plan = plan(chain(&[3], &objects), Grace::default(), Clocks::single(START_MS));
    assert_eq!(plan.condemn.len(), 1);
    assert_eq!(plan.condemn[0].reason, CondemnReason::Superseded { removed: 5 });
}

#[test]
fn seeds_go_last_of_what_they_seal() {
    let seed = |number, created_ms, in_use| SeedAge { id: id(number), created_ms, in_use };
    let old = START_MS - 8 * DAY_MS;
    let seeds = [
        seed(1, old, false),
        seed(2, old, false),
        seed(3, old, true),
        seed(4, START_MS - 6 * DAY_MS, false),
        seed(5, old, false),
    ];
    let mut objects = [object(1, 1, Some(2))];
    objects[0].condemned_ms = Some(START_MS - 10 * DAY_MS);
    let commits = [commit(1, old)];
    let facts = ChainFacts { seeds: &seeds, commits: &commits, ..chain(&[], &objects) };
    let plan = plan(facts, Grace::default(), Clocks::single(START_MS));
    let targets: Vec<_> = plan.sweep.iter().map(|one| one.target).collect();
    assert_eq!(targets, [Target::Object(ObjectKind::Segment, id(1)), Target::Seed(id(5))]);
}

#[test]
fn the_floor_stays_below_what_readers_need() {
    let old: Vec<_> = (1..=1_000).map(|number| commit(number, 0)).collect();
    let next_floor = |commits: &[CommitFact], floor, ledger, now_ms| {
        next_floor(&ChainFacts { commits, floor, ledger, ..chain(&[], &[]) }, now_ms)
    };
    assert_eq!(next_floor(&old, 1, Some(768), START_MS), 745);
    assert_eq!(next_floor(&old, 1, Some(512), START_MS), 512);
    assert_eq!(next_floor(&old, 1, None, START_MS), 1);
    assert_eq!(next_floor(&old, 800, Some(768), START_MS), 800);
    assert_eq!(next_floor(&old[..200], 1, Some(1), START_MS), 1);
    let mut young = old.clone();
    young[299].time_ms = START_MS - KEPT_COMMITS_MS + 1;
    assert_eq!(next_floor(&young, 1, Some(768), START_MS), 300);
    young[299].time_ms = START_MS - KEPT_COMMITS_MS;
    assert_eq!(next_floor(&young, 1, Some(768), START_MS), 745);
    assert_eq!(next_floor(&[], 3, Some(9), START_MS), 3);
    // A stale listing leaves out the commit that is young: 400 is as good as young.
    let mut stale = young.clone();
    stale.drain(399..=500);
    for commit in &mut stale[399..] {
        commit.time_ms = START_MS;
    }
    assert_eq!(next_floor(&stale, 1, Some(768), START_MS), 400);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn pinned_bytes_equal_their_definition(
        kept in proptest::collection::btree_set(0u64..30, 0..12),
        spans in proptest::collection::vec(
            (0u64..30, proptest::option::of(0u64..10), 0u64..1_000),
            0..40
        ),
    ) {
        let kept: Vec<u64> = kept.into_iter().collect();
        let objects: Vec<ObjectFact> = spans
            .iter()
            .zip(0..)
            .map(|((added, length, size), number)| ObjectFact {
                sealed_bytes: *size,
                ..object(number, *added, length.map(|length| added + length))
            })
            .collect();
        let needs = |number: u64, object: &ObjectFact| {
            object.added <= number && object.removed.is_none_or(|end| number < end)
        };
        for pinned in pinned_bytes(&kept, &objects) {
            let needed = || objects.iter().filter(|object| needs(pinned.number, object));
            prop_assert_eq!(
                pinned.needed_bytes,
                needed().map(|object| object.sealed_bytes).sum::<u64>()
            );
            let alone = |object: &&ObjectFact| {
                object.removed.is_some()
                    && kept.iter().filter(|number| needs(**number, object)).count() == 1
            };
            prop_assert_eq!(
                pinned.only_bytes,
                needed().filter(alone).map(|object| object.sealed_bytes).sum::<u64>()
            );
        }
        prop_assert_eq!(pinned_bytes(&kept, &objects).len(), kept.len());
    }
}
