//! Copying forward: rules by example, invariants over generated segments, and clusters of hours
//! simulated.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn id(number: usize) -> Id {
    (number as u128).to_be_bytes()
}

fn segment(number: usize, sealed_bytes: u64, live_percent: u64) -> SegmentFact {
    let (record_bytes, live_bytes) = (sealed_bytes * 100, sealed_bytes * live_percent);
    SegmentFact { id: id(number), sealed_bytes, record_bytes, live_bytes, short_lived: false }
}

#[test]
fn targets_and_budgets() {
    let gib = 1 << 30;
    assert_eq!(target_bytes(0), 8 * MIB);
    assert_eq!(target_bytes(256 * MIB), 16 * MIB);
    assert_eq!(target_bytes(2 * gib), 64 * MIB);
    assert_eq!(target_bytes(8 * gib), 128 * MIB);
    assert_eq!(budget_bytes(gib), 128 * MIB);
    assert_eq!(budget_bytes(10 * gib), 512 * MIB);
}

#[test]
fn sparse_ones_go_dead_ones_leave_and_short_lived_ones_stay() {
    let mut segments = vec![
        segment(1, 64 * MIB, 60),
        segment(2, 64 * MIB, 59),
        segment(3, 64 * MIB, 0),
        segment(4, 64 * MIB, 10),
        segment(5, 64 * MIB, 10),
        segment(6, 64 * MIB, 0),
    ];
    segments[4].short_lived = true;
    segments[5].short_lived = true;
    let plan = plan(&segments);
    assert_eq!(plan.dead, [id(3), id(6)]);
    let copied: Vec<_> = plan.copy.iter().map(|group| group.segments.as_slice()).collect();
    assert_eq!(copied, [[id(4)], [id(2)]]);
    assert_eq!(plan.copy[0].reason.to_string(), "10 % alive");
    assert!(plan.postponed.is_empty());
}

#[test]
fn eight_small_neighbours_join_and_seven_do_not() {
    let small: Vec<_> = (0..7).map(|n| segment(n, MIB, 100)).collect();
    assert!(plan(&small).copy.is_empty());
    let small: Vec<_> = (0..8).map(|n| segment(n, MIB, 100)).collect();
    let eight = plan(&small);
    assert_eq!(eight.copy.len(), 1);
    assert_eq!(eight.copy[0].reason, CopyReason::Join { neighbours: 8 });
    assert_eq!(eight.copy[0].cost_bytes, 8 * MIB);
    // A large one between them parts the neighbours.
    let mut parted = small.clone();
    parted.insert(4, segment(9, 7 * MIB, 100));
    assert!(plan(&parted).copy.is_empty());
    // A dead or short-lived one does not.
    let mut parted = small;
    parted.insert(4, segment(9, 7 * MIB, 0));
    parted.insert(4, SegmentFact { short_lived: true, ..segment(10, 7 * MIB, 50) });
    assert_eq!(plan(&parted).copy.len(), 1);
}

#[test]
fn a_large_member_waits_until_the_others_match_it() {
    let mut segments = vec![segment(0, 3 * MIB, 100)];
    segments.extend((1..20).map(|n| segment(n, MIB / 10, 100)));
    let copied: Vec<_> =
        plan(&segments).copy.into_iter().flat_map(|group| group.segments).collect();
    assert!(!copied.contains(&id(0)) && copied.len() == 19, "{}", copied.len());
}

fn segments() -> impl Strategy<Value = Vec<SegmentFact>> {
    let one = (0u64..80_000_000, 1u64..6, 0u64..=1_000, proptest::bool::weighted(0.1));
    proptest::collection::vec(one, 0..60).prop_map(|ones| {
        let fact = |(number, (size, ratio, live, short_lived)): (usize, (u64, u64, u64, bool))| {
            let size = if live % 3 == 0 { size / 100 } else { size };
            let record_bytes = size * ratio;
            let live_bytes = if live > 500 { record_bytes } else { record_bytes * live / 500 };
            SegmentFact {
                id: id(number),
                sealed_bytes: size,
                record_bytes,
                live_bytes,
                short_lived,
            }
        };
        ones.into_iter().enumerate().map(fact).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_plan_holds_its_promises(segments in segments()) {
        let plan = plan(&segments);
        let by_id: BTreeMap<Id, &SegmentFact> =
            segments.iter().map(|fact| (fact.id, fact)).collect();
        let live: u64 = segments.iter().map(SegmentFact::live_sealed_bytes).sum();
        let cost: u64 = plan.copy.iter().map(|group| group.cost_bytes).sum();
        prop_assert!(cost <= BUDGET_FLOOR_BYTES.max(live / 20));
        let mut seen = BTreeSet::new();
        for group in plan.copy.iter().chain(&plan.postponed) {
            let members: Vec<&SegmentFact> = group.segments.iter().map(|id| by_id[id]).collect();
            let sizes: Vec<u64> = members.iter().map(|fact| fact.live_sealed_bytes()).collect();
            prop_assert_eq!(sizes.iter().sum::<u64>(), group.cost_bytes);
            for fact in &members {
                prop_assert!(seen.insert(fact.id), "twice");
                prop_assert!(fact.live_bytes > 0 && !fact.short_lived);
            }
            match group.reason {
                CopyReason::Sparse { .. } => {
                    prop_assert_eq!(members.len(), 1);
                    prop_assert!(members[0].live_bytes * 100 < members[0].record_bytes * 60);
                }
                CopyReason::Join { neighbours } => {
                    prop_assert_eq!(neighbours, members.len());
                    prop_assert!(neighbours > 1);
                    prop_assert!(sizes.iter().all(|size| *size < plan.target_bytes / 2));
                    prop_assert!(group.cost_bytes <= plan.target_bytes);
                    let largest = sizes.iter().max().unwrap();
                    prop_assert!(*largest <= group.cost_bytes - largest);
                    // Neighbours: nothing alive, lasting and unjoined lies between.
                    let place = |id: &Id| segments.iter().position(|fact| fact.id == *id).unwrap();
                    let (first, last) =
                        (place(&group.segments[0]), place(group.segments.last().unwrap()));
                    let between = segments[first..=last]
                        .iter()
                        .filter(|fact| fact.live_bytes > 0 && !fact.short_lived);
                    prop_assert_eq!(between.count(), neighbours);
                }
            }
        }
        // Every sparse one is chosen, joined or postponed.
        for fact in &segments {
            let sparse = fact.live_bytes * 100 < fact.record_bytes * 60
                && fact.live_bytes > 0
                && !fact.short_lived;
            prop_assert!(!sparse || seen.contains(&fact.id));
            let is_dead = fact.live_bytes == 0;
            prop_assert_eq!(is_dead, plan.dead.contains(&fact.id));
            prop_assert!(!(is_dead && seen.contains(&fact.id)));
        }
        // What was passed over did not fit behind what is better.
        for passed in &plan.postponed {
            let better =
                plan.copy.iter().filter(|group| group.gain_per_mib() >= passed.gain_per_mib());
            let spent: u64 = better.map(|group| group.cost_bytes).sum();
            prop_assert!(spent + passed.cost_bytes > plan.budget_bytes);
        }
    }

    #[test]
    fn no_numbers_overflow(
        numbers in proptest::collection::vec(any::<(u64, u64, u64, bool)>(), 0..20),
    ) {
        let facts: Vec<_> = numbers
            .into_iter()
            .enumerate()
            .map(|(number, (sealed_bytes, record_bytes, live_bytes, short_lived))| SegmentFact {
                id: id(number),
                sealed_bytes,
                record_bytes,
                live_bytes,
                short_lived,
            })
            .collect();
        let _ = plan(&facts);
    }
}

/// A cluster that adds `added` bytes an hour, of which `dying` percent of what is left die each
/// hour.
struct Cluster {
    segments: Vec<SegmentFact>,
    next: usize,
    uploaded: u64,
    copied: u64,
}

impl Cluster {
    fn hour(&mut self, added: u64, survive_percent: u64) {
        for fact in &mut self.segments {
            fact.live_bytes = fact.live_bytes * survive_percent / 100;
        }
        let plan = plan(&self.segments);
        let mut gone: BTreeSet<Id> = plan.dead.iter().copied().collect();
        let mut joined = Vec::new();
        for group in &plan.copy {
            gone.extend(&group.segments);
            self.copied += group.cost_bytes;
            joined.push((group.segments[0], group.cost_bytes));
        }
        for (first, size) in joined {
            let at = self.segments.iter().position(|fact| fact.id == first).unwrap();
            self.segments.insert(at, segment(self.next, size, 100));
            self.next += 1;
        }
        self.segments.retain(|fact| !gone.contains(&fact.id));
        self.segments.push(segment(self.next, added, 100));
        self.next += 1;
        self.uploaded += added;
    }
}

#[test]
fn a_thousand_hours_of_small_segments_stay_few_and_cheap() {
    let mut cluster = Cluster { segments: Vec::new(), next: 0, uploaded: 0, copied: 0 };
    for hour in 0..1_000 {
        cluster.hour(200_000, 100);
        let live: u64 = cluster.segments.iter().map(SegmentFact::live_sealed_bytes).sum();
        assert_eq!(live, cluster.uploaded, "hour {hour}: nothing alive is lost");
        assert!(cluster.segments.len() <= 64 + 4 * JOIN_NEIGHBOURS, "{}", cluster.segments.len());
    }
    // Each join at least doubles: far from one upload per round.
    assert!(cluster.copied < 3 * cluster.uploaded, "{} {}", cluster.copied, cluster.uploaded);
}

#[test]
fn a_dying_cluster_reads_little_beyond_what_lives() {
    let mut cluster = Cluster { segments: Vec::new(), next: 0, uploaded: 0, copied: 0 };
    for _ in 0..500 {
        cluster.hour(40 * MIB, 98);
    }
    let live: u64 = cluster.segments.iter().map(SegmentFact::live_sealed_bytes).sum();
    let stored: u64 = cluster.segments.iter().map(|fact| fact.sealed_bytes).sum();
    assert!(stored * 100 < live * 167, "{stored} for {live}");
    assert!(cluster.copied < cluster.uploaded * 5 / 2, "{} {}", cluster.copied, cluster.uploaded);
}
