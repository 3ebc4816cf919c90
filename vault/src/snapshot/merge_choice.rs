//! Which segments are given up with the next snapshot, so that what lives in them is copied forward.
//!
//! Holds: by bytes alive, not record counts; at most the budget per round; contested segments stay.

use crate::proto::SegmentRef;
use crate::proto::segment_ref::Class;
use std::collections::BTreeSet;

/// Least bytes copied forward in a round, if there is that much to copy.
const BUDGET_BYTES: u64 = 128 << 20;
/// A segment with fewer live bytes than this part of a hundred is given up.
const LIVE_PERCENT: u64 = 60;
/// So many small neighbours are joined.
const SMALL_NEIGHBOURS: usize = 8;

/// The places of the segments to give up.
pub fn choose(segments: &[SegmentRef], target_bytes: u64) -> BTreeSet<usize> {
    let live: u64 = segments.iter().map(|segment| segment.live_bytes).sum();
    let mut budget = BUDGET_BYTES.max(live / 20);
    let mut chosen = BTreeSet::new();
    let mut dead: Vec<(usize, &SegmentRef)> = segments
        .iter()
        .enumerate()
        .filter(|(_, segment)| candidate(segment))
        .filter(|(_, segment)| segment.live_bytes * 100 < segment.record_bytes * LIVE_PERCENT)
        .collect();
    // The best gain for a copied byte first.
    dead.sort_by_key(|(place, segment)| {
        let share = segment.live_bytes.saturating_mul(1000) / segment.record_bytes.max(1);
        (share, *place)
    });
    for (place, segment) in dead {
        if segment.live_bytes <= budget {
            budget -= segment.live_bytes;
            chosen.insert(place);
        }
    }
    for run in small_runs(segments, target_bytes / 2) {
        let bytes: u64 = run.iter().map(|place| segments[*place].live_bytes).sum();
        if run.len() >= SMALL_NEIGHBOURS && bytes <= budget {
            budget -= bytes;
            chosen.extend(run);
        }
    }
    chosen
}

fn candidate(segment: &SegmentRef) -> bool {
    // What was superseded when written dies as a whole with the next compaction.
    !matches!(segment.class(), Class::Contested | Class::Superseded)
}

/// Runs of neighbours that are each smaller than `below`.
fn small_runs(segments: &[SegmentRef], below: u64) -> Vec<Vec<usize>> {
    let mut runs = vec![Vec::new()];
    for (place, segment) in segments.iter().enumerate() {
        if !candidate(segment) {
            continue;
        }
        let size = segment.object.as_ref().map_or(0, |object| object.size_bytes);
        if size < below {
            if let Some(run) = runs.last_mut() {
                run.push(place);
            }
        } else {
            runs.push(Vec::new());
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ObjectRef;

    fn segment(size: u64, live: u64) -> SegmentRef {
        SegmentRef {
            object: Some(ObjectRef { size_bytes: size, ..Default::default() }),
            class: Class::Live.into(),
            record_bytes: size,
            live_bytes: live,
            ..Default::default()
        }
    }

    #[test]
    fn mostly_dead_segments_go_first_and_within_the_budget() {
        let segments = [segment(100, 59), segment(100, 61), segment(100, 0)];
        assert_eq!(choose(&segments, 10), BTreeSet::from([0, 2]));
        let big = [segment(300 << 20, 100 << 20), segment(300 << 20, 90 << 20)];
        assert_eq!(choose(&big, 64 << 20), BTreeSet::from([1]));
    }

    #[test]
    fn small_neighbours_join() {
        let mut segments = vec![segment(10, 10); 7];
        assert!(choose(&segments, 64).is_empty());
        segments.push(segment(10, 10));
        assert_eq!(choose(&segments, 64).len(), 8);
        segments[3] = segment(60, 60);
        assert!(choose(&segments, 64).is_empty());
    }
}
