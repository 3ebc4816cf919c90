//! A source that tells differences: whether they are of this base, and whether they add up.
//!
//! Holds: differences stand for the snapshot that was named and for no other; what the walk counted
//! is what the source says that it has, or nothing is committed.

use crate::snapshot::walk::{BaseSegment, LiveTotals, WalkResult};
use crate::snapshot::{Differences, SnapshotError, base};

/// Marks the segments whose records the source leaves out where they are the same.
pub(super) fn imply(
    segments: &mut [BaseSegment],
    base: &base::Base,
    differences: &Differences,
) -> Result<(), SnapshotError> {
    let number = base.entry().map_or(0, |entry| entry.number);
    if number != differences.number {
        let named = differences.number;
        let detail = format!("snapshot {number} is the newest by now, and {named} was compared");
        return Err(SnapshotError::Unfit { detail });
    }
    for segment in segments {
        segment.implied = differences.named.contains(&segment.id);
        if segment.implied {
            // Its bytes are not at hand.
            segment.give_up = None;
        }
    }
    Ok(())
}

/// What the walk ended with is what the source says that it has. Where the vault keeps other bytes
/// there is nothing to compare.
pub(super) fn check_totals(totals: &LiveTotals, result: &WalkResult) -> Result<(), SnapshotError> {
    let said = (totals.record_count, totals.tombstone_count, totals.live_bytes);
    let found = (result.record_count, result.tombstone_count, result.live_bytes);
    if result.live_sha256.is_none() || said == found {
        return Ok(());
    }
    let detail = format!(
        "{}, {} and {} records, tombstones and bytes are alive there, {}, {} and {} here",
        said.0, said.1, said.2, found.0, found.1, found.2
    );
    Err(SnapshotError::Unfit { detail })
}
