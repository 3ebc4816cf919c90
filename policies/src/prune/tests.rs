//! Pruning: a small vault simulated over any sequence of rounds, with the invariants checked at
//! each deletion.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

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

#[derive(Debug, Clone)]
enum Op {
    /// A snapshot that ends these of the live objects and adds so many.
    Snapshot {
        end: Vec<prop::sample::Index>,
        add: u8,
    },
    Forget(prop::sample::Index),
    Hold {
        snapshot: prop::sample::Index,
        hours: i64,
    },
    Wait {
        hours: i64,
    },
    /// Commits that change nothing.
    Idle {
        commits: u16,
    },
    Prune {
        own_ahead_minutes: i64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (proptest::collection::vec(index(), 0..4), 1u8..5)
            .prop_map(|(end, add)| Op::Snapshot { end, add }),
        2 => index().prop_map(Op::Forget),
        1 => (index(), 1i64..300).prop_map(|(snapshot, hours)| Op::Hold { snapshot, hours }),
        3 => (1i64..80).prop_map(|hours| Op::Wait { hours }),
        1 => (1u16..200).prop_map(|commits| Op::Idle { commits }),
        4 => prop_oneof![4 => Just(0i64), 1 => -15i64..15]
            .prop_map(|own_ahead_minutes| Op::Prune { own_ahead_minutes }),
    ]
}

/// A vault that executes plans, and remembers what a reader may rely on.
struct Vault {
    now_ms: i64,
    number: u64,
    objects: Vec<ObjectFact>,
    kept: Vec<u64>,
    forgotten_ms: BTreeMap<u64, i64>,
    holds: Vec<Hold>,
    seeds: Vec<SeedAge>,
    commits: Vec<CommitFact>,
    floor: u64,
    ledger: u64,
}

impl Vault {
    fn new() -> Vault {
        let mut vault = Vault {
            now_ms: START_MS,
            number: 0,
            objects: Vec::new(),
            kept: Vec::new(),
            forgotten_ms: BTreeMap::new(),
            holds: Vec::new(),
            seeds: Vec::new(),
            commits: Vec::new(),
            floor: 1,
            ledger: 1,
        };
        vault.commit();
        vault
    }

    fn commit(&mut self) -> u64 {
        self.number += 1;
        self.now_ms += 1;
        self.commits.push(commit(self.number, self.now_ms));
        if self.number.is_multiple_of(256) {
            self.ledger = self.number;
        }
        self.number
    }

    fn snapshot(&mut self, end: &[prop::sample::Index], add: u8) {
        let number = self.commit();
        // Not the commits' own seed, which is 2.
        let seed = id(1_000_000 + number);
        self.seeds.push(SeedAge { id: seed, created_ms: self.now_ms, in_use: false });
        for index in end {
            let is_live = |object: &&mut ObjectFact| object.removed.is_none();
            let mut live: Vec<_> = self.objects.iter_mut().filter(is_live).collect();
            if !live.is_empty() {
                let at = index.index(live.len());
                live[at].removed = Some(number);
            }
        }
        for n in 0..u64::from(add) {
            let fresh = ObjectFact { seeds: vec![seed], ..object(number * 100 + n, number, None) };
            self.objects.push(fresh);
        }
        let body = object(number * 100 + 99, number, Some(number + 1));
        self.objects.push(ObjectFact { kind: ObjectKind::Body, seeds: vec![seed], ..body });
        self.kept.push(number);
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Snapshot { end, add } => self.snapshot(end, *add),
            Op::Forget(index) if self.kept.len() > 1 => {
                let gone = self.kept.remove(index.index(self.kept.len() - 1));
                self.commit();
                self.forgotten_ms.insert(gone, self.now_ms);
            }
            Op::Hold { snapshot, hours } if !self.kept.is_empty() => {
                let snapshot = self.kept[snapshot.index(self.kept.len())];
                self.commit();
                self.holds.push(Hold { snapshot, expires_ms: self.now_ms + hours * HOUR_MS });
            }
            Op::Wait { hours } => self.now_ms += hours * HOUR_MS,
            Op::Idle { commits } => (0..*commits).for_each(|_| {
                self.commit();
            }),
            Op::Prune { own_ahead_minutes } => self.prune(*own_ahead_minutes)?,
            Op::Forget(_) | Op::Hold { .. } => {}
        }
        Ok(())
    }

    fn prune(&mut self, own_ahead_minutes: i64) -> Result<(), TestCaseError> {
        let clocks = Clocks {
            own_ms: self.now_ms + own_ahead_minutes * 60_000,
            store_ms: Some(self.now_ms),
        };
        let facts = ChainFacts {
            kept: &self.kept,
            holds: &self.holds,
            objects: &self.objects,
            seeds: &self.seeds,
            commits: &self.commits,
            floor: self.floor,
            ledger: Some(self.ledger),
            kept_commits: KEPT_COMMITS,
        };
        let plan = plan(facts, Grace::default(), clocks);
        prop_assert_eq!(plan.stopped.is_some(), own_ahead_minutes.abs() > 10);
        prop_assert!(plan.sweep.is_sorted_by_key(|swept| swept.target));
        for swept in &plan.sweep {
            self.sweep(swept.target)?;
        }
        prop_assert!(plan.floor >= self.floor);
        self.floor = plan.floor;
        self.commit();
        for condemned in &plan.condemn {
            let object = self.objects.iter_mut().find(|object| object.id == condemned.id).unwrap();
            prop_assert_eq!(object.condemned_ms, None);
            object.condemned_ms = Some(self.now_ms);
        }
        Ok(())
    }

    fn sweep(&mut self, target: Target) -> Result<(), TestCaseError> {
        match target {
            Target::Object(_, gone) => {
                let at = self.objects.iter().position(|object| object.id == gone).unwrap();
                let object = self.objects.remove(at);
                let Some(removed) = object.removed else {
                    return Err(TestCaseError::fail("the live set lost an object"));
                };
                let needs = |number: &u64| object.added <= *number && *number < removed;
                prop_assert!(!self.kept.iter().any(needs));
                for hold in &self.holds {
                    prop_assert!(hold.expires_ms <= self.now_ms || !needs(&hold.snapshot));
                }
                // A restore that began just before the snapshot was forgotten has the whole grace.
                for (_, since_ms) in self.forgotten_ms.iter().filter(|(number, _)| needs(number)) {
                    prop_assert!(self.now_ms - since_ms >= 72 * HOUR_MS);
                }
            }
            Target::Seed(gone) => {
                prop_assert!(!self.objects.iter().any(|object| object.seeds.contains(&gone)));
                self.seeds.retain(|seed| seed.id != gone);
            }
            Target::Commit(gone) => {
                prop_assert_eq!(self.commits[0].number, gone, "from the bottom");
                prop_assert!(gone < self.floor && gone + 256 <= self.number);
                prop_assert!(self.now_ms - self.commits[0].time_ms >= 7 * DAY_MS);
                prop_assert!(gone < self.ledger);
                self.commits.remove(0);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_sequence_of_rounds_deletes_what_someone_needs(
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        let mut vault = Vault::new();
        for op in &ops {
            vault.apply(op)?;
            // A head that a reader finds has all commits from the floor on.
            let floor = vault.floor;
            let extant = vault.commits.iter().filter(|commit| commit.number >= floor).count();
            prop_assert_eq!(extant as u64, vault.number - floor + 1);
        }
        // And in the end all garbage is gone: three prunes, far apart.
        vault.holds.clear();
        for _ in 0..3 {
            vault.apply(&Op::Wait { hours: 24 * 8 })?;
            vault.prune(0)?;
        }
        for object in &vault.objects {
            let needs = |number: &&u64| {
                object.added <= **number && object.removed.is_none_or(|end| **number < end)
            };
            prop_assert!(
                object.removed.is_none() || vault.kept.iter().any(|number| needs(&number))
            );
        }
        let named =
            |seed: &SeedAge| vault.objects.iter().any(|object| object.seeds.contains(&seed.id));
        prop_assert!(vault.seeds.iter().all(named));
        prop_assert!(vault.commits.len() < 256 + 256 + 16);
    }

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
