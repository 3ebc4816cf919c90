//! A small vault that executes plans, over any sequence of rounds, with the invariants checked at
//! each deletion.

use super::*;
use std::collections::BTreeMap;

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
}
