//! Which small neighbours join.
//!
//! Holds: a group has neighbours only (dead and short-lived segments between them do not count),
//! all below half the target; it comes from a run of at least eight; no member is larger than the
//! rest of its group together.

use super::{JOIN_NEIGHBOURS, SegmentFact};

/// The groups, as places in `segments`.
pub(super) fn groups(segments: &[SegmentFact], target_bytes: u64) -> Vec<Vec<usize>> {
    let mut groups = Vec::new();
    for run in runs(segments, target_bytes) {
        // Runs still to be looked at; each split makes them shorter, so this ends.
        let mut open = vec![run];
        while let Some(run) = open.pop() {
            if run.len() < JOIN_NEIGHBOURS {
                continue;
            }
            match dominant(&run, segments) {
                Some(at) => {
                    open.push(run[at + 1..].to_vec());
                    open.push(run[..at].to_vec());
                }
                None => groups.extend(chunks(&run, segments, target_bytes)),
            }
        }
    }
    groups
}

/// The longest runs of small neighbours.
fn runs(segments: &[SegmentFact], target_bytes: u64) -> Vec<Vec<usize>> {
    let mut runs = vec![Vec::new()];
    for (at, fact) in segments.iter().enumerate() {
        if fact.short_lived || fact.live_bytes == 0 {
            continue;
        }
        let small = fact.live_sealed_bytes() < target_bytes / 2;
        match runs.last_mut() {
            Some(run) if small => run.push(at),
            _ => runs.push(Vec::new()),
        }
    }
    runs
}

/// The place of a member that is larger than all others together.
fn dominant(run: &[usize], segments: &[SegmentFact]) -> Option<usize> {
    let sizes: Vec<u64> = run.iter().map(|at| segments[*at].live_sealed_bytes()).collect();
    let sum: u64 = sizes.iter().copied().fold(0, u64::saturating_add);
    sizes.iter().position(|size| *size > sum - *size)
}

/// Cuts a run into groups of about the target.
fn chunks(run: &[usize], segments: &[SegmentFact], target_bytes: u64) -> Vec<Vec<usize>> {
    let mut chunks: Vec<Vec<usize>> = vec![Vec::new()];
    let mut filled = 0u64;
    for at in run.iter().copied() {
        let size = segments[at].live_sealed_bytes();
        if filled > 0 && filled.saturating_add(size) > target_bytes {
            chunks.push(Vec::new());
            filled = 0;
        }
        filled = filled.saturating_add(size);
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(at);
        }
    }
    chunks.retain(|chunk| chunk.len() > 1 && dominant(chunk, segments).is_none());
    chunks
}
