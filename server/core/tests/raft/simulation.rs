//! A simulated group: seeded chance decides what happens next, and after every step the paper's
//! five safety properties and linearizable reads are checked.
//!
//! Must hold: the same seed gives the same trace. A fault that raft must survive (lost, late,
//! doubled, reordered messages, partitions, stops that lose what was not synced, clocks that run
//! differently) never breaks a property; a member that breaks its promises does, and is noticed.

mod chance;
mod checks;
mod member;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::{Fault, World};

const SEEDS: u64 = 300;
const STEPS: usize = 8000;

#[test]
fn the_safety_properties_hold_under_every_schedule() {
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        let mut world = World::new(seed, Fault::None);
        world.run(STEPS);
        world.settle();
        seen.add(&world);
    }
    println!("{seen:?}");
    // What did not happen was not checked.
    assert!(seen.leaders > 5 * SEEDS && seen.committed > 50 * SEEDS, "{seen:?}");
    assert!(seen.reads > 10 * SEEDS && seen.snapshots > SEEDS, "{seen:?}");
    assert!(seen.conf_changes > SEEDS && seen.crashes > 10 * SEEDS, "{seen:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut world = World::new(seed, Fault::None);
        world.run(STEPS);
        world.trace()
    };
    let traces: Vec<u64> = (0..10).map(trace).collect();
    assert_eq!(traces, (0..10).map(trace).collect::<Vec<_>>());
    let different: std::collections::BTreeSet<u64> = traces.iter().copied().collect();
    assert_eq!(different.len(), traces.len(), "seeds differ");
}

#[test]
fn a_vote_that_is_forgotten_is_noticed() {
    is_noticed(Fault::VotesAreNotKept, "leads");
}

#[test]
fn an_answer_before_the_disk_is_noticed() {
    is_noticed(Fault::AnswersBeforeDisk, "");
}

#[test]
fn a_read_without_a_round_of_heartbeats_is_noticed() {
    is_noticed(Fault::ReadsByLease, "stale");
}

/// Some of the seeds end with a check that fails and says `words`.
fn is_noticed(fault: Fault, words: &str) {
    let found = (0..SEEDS).find_map(|seed| {
        let mut world = World::new(seed, fault);
        let ended = catch_unwind(AssertUnwindSafe(|| world.run(STEPS)));
        let said = ended.err()?;
        let text = said.downcast_ref::<String>().cloned().unwrap_or_default();
        text.contains(words).then_some((seed, text))
    });
    let (seed, text) = found.unwrap_or_else(|| panic!("{fault:?} was not noticed"));
    println!("{fault:?}: seed {seed}: {text}");
}

/// How much happened.
#[derive(Debug, Default)]
struct Seen {
    leaders: u64,
    committed: u64,
    reads: u64,
    snapshots: u64,
    conf_changes: u64,
    crashes: u64,
}

impl Seen {
    fn add(&mut self, world: &World) {
        let counts = &world.checks.counts;
        self.leaders += counts.leaders;
        self.committed += counts.committed;
        self.reads += counts.reads;
        self.snapshots += counts.snapshots;
        self.conf_changes += counts.conf_changes;
        self.crashes += counts.crashes;
    }
}
