//! Copying forward: which segments' live records go up again in new segments.
//!
//! Holds:
//! - A segment is worth copying when less than 60 % of its bytes are alive, or when at least eight
//!   neighbours below half the target join; a segment without anything alive leaves without
//!   copying, outside of the budget.
//! - At most max(128 MiB, 5 % of what is alive) is uploaded again in one round, best gain per byte
//!   first.
//! - A member of a join is never larger than the others of its group together, so that a record
//!   that is joined again and again at least doubles its segment each time: upload grows by the
//!   logarithm, not by the rounds.
//! - Short-lived segments (superseded records that the next compaction takes) are dropped, never
//!   copied; one that outlived eight newer ones is not short-lived any more.
//! - Each segment is in at most one group.
//!
//! Decisions are by bytes alive, never by record counts.

mod joins;

use std::cmp::Reverse;

/// 16 random bytes: a segment's object id.
pub type Id = [u8; 16];

/// One mebibyte.
const MIB: u64 = 1 << 20;
/// The size that segments aim at, sealed bytes, unless the vault is small or huge.
pub const TARGET_BYTES: u64 = 64 * MIB;
/// The lowest target, for small vaults.
pub const TARGET_FLOOR_BYTES: u64 = 8 * MIB;
/// Segments below this share of live bytes are copied forward, percent.
pub const SPARSE_PERCENT: u64 = 60;
/// Fewer neighbours than this are not joined.
pub const JOIN_NEIGHBOURS: usize = 8;
/// The least budget of a round, sealed bytes.
pub const BUDGET_FLOOR_BYTES: u64 = 128 * MIB;
/// The share of live bytes that a round may upload again, percent.
pub const BUDGET_PERCENT: u64 = 5;
/// What one object less is worth, bytes: the time of a request at 20 MiB/s is worth about this
/// much.
pub const OBJECT_WORTH_BYTES: u64 = MIB;

/// What is known of one segment of the newest snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFact {
    /// Its id.
    pub id: Id,
    /// Its size as stored.
    pub sealed_bytes: u64,
    /// Plain bytes of all its records.
    pub record_bytes: u64,
    /// Plain bytes of those alive in the snapshot that is being made.
    pub live_bytes: u64,
    /// It holds superseded records that the next compaction takes.
    pub short_lived: bool,
}

/// What to do in this round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergePlan {
    /// Groups to copy forward, best first.
    pub copy: Vec<CopyForward>,
    /// Segments with nothing alive: they leave the live set as they are.
    pub dead: Vec<Id>,
    /// Worth it, but beyond this round's budget, best first.
    pub postponed: Vec<CopyForward>,
    /// The budget, sealed bytes.
    pub budget_bytes: u64,
    /// The target for new segments, sealed bytes.
    pub target_bytes: u64,
}

/// Segments whose live records go up together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyForward {
    /// The segments, in their order.
    pub segments: Vec<Id>,
    /// Why.
    pub reason: CopyReason,
    /// About how many sealed bytes go up again.
    pub cost_bytes: u64,
    /// Dead bytes that leave the live set, and [`OBJECT_WORTH_BYTES`] for each object less.
    pub gain_bytes: u64,
}

/// Why segments are copied forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyReason {
    /// Little of it is alive.
    Sparse {
        /// Share of live bytes, percent, rounded down.
        live_percent: u64,
    },
    /// Small neighbours.
    Join {
        /// How many.
        neighbours: usize,
    },
}

/// The target size of new segments for a vault with this many live sealed bytes: 64 MiB; a
/// sixteenth of a smaller vault, but at least 8 MiB; and never below 1/64 of a huge one.
pub fn target_bytes(live_sealed_bytes: u64) -> u64 {
    let usual = (live_sealed_bytes / 16).clamp(TARGET_FLOOR_BYTES, TARGET_BYTES);
    usual.max(live_sealed_bytes / 64)
}

/// Whether a segment of superseded records is still expected to leave whole: `newer` is how many
/// such segments came after it. A cluster that compacts takes them within a round or two; where
/// nobody compacts they would pile up for ever.
pub fn is_short_lived(newer: usize) -> bool {
    newer < JOIN_NEIGHBOURS
}

/// What one round may upload again.
pub fn budget_bytes(live_sealed_bytes: u64) -> u64 {
    BUDGET_FLOOR_BYTES.max(share(live_sealed_bytes, BUDGET_PERCENT, 100))
}

/// Decides a round. `segments` stand in the order of their revisions: neighbours are next to each
/// other.
pub fn plan(segments: &[SegmentFact]) -> MergePlan {
    let live: u64 =
        segments.iter().map(SegmentFact::live_sealed_bytes).fold(0, u64::saturating_add);
    let (budget_bytes, target_bytes) = (budget_bytes(live), target_bytes(live));
    let dead = segments.iter().filter(|fact| fact.live_bytes == 0).map(|fact| fact.id).collect();
    let mut candidates = Vec::new();
    let mut grouped = vec![false; segments.len()];
    for group in joins::groups(segments, target_bytes) {
        group.iter().for_each(|at| grouped[*at] = true);
        let members: Vec<&SegmentFact> = group.iter().map(|at| &segments[*at]).collect();
        candidates.push(copy(&members, CopyReason::Join { neighbours: members.len() }));
    }
    for (fact, grouped) in segments.iter().zip(&grouped) {
        if !grouped && fact.is_sparse() {
            let live_percent = share(fact.live_bytes, 100, fact.record_bytes.max(1));
            candidates.push(copy(&[fact], CopyReason::Sparse { live_percent }));
        }
    }
    candidates.sort_by_key(|group| (Reverse(group.gain_per_mib()), group.segments.clone()));
    let mut left = budget_bytes;
    let (mut chosen, mut postponed) = (Vec::new(), Vec::new());
    for group in candidates {
        if group.cost_bytes <= left {
            left -= group.cost_bytes;
            chosen.push(group);
        } else {
            postponed.push(group);
        }
    }
    MergePlan { copy: chosen, dead, postponed, budget_bytes, target_bytes }
}

fn copy(members: &[&SegmentFact], reason: CopyReason) -> CopyForward {
    let sum = |of: fn(&SegmentFact) -> u64| -> u64 {
        members.iter().map(|fact| of(fact)).fold(0, u64::saturating_add)
    };
    let cost_bytes = sum(SegmentFact::live_sealed_bytes);
    let fewer = (members.len() as u64 - 1).saturating_mul(OBJECT_WORTH_BYTES);
    let dead_bytes = sum(|fact| fact.sealed_bytes).saturating_sub(cost_bytes);
    CopyForward {
        segments: members.iter().map(|fact| fact.id).collect(),
        reason,
        cost_bytes,
        gain_bytes: dead_bytes.saturating_add(fewer),
    }
}

impl SegmentFact {
    /// Its live records' share of the stored bytes, rounded up.
    pub fn live_sealed_bytes(&self) -> u64 {
        if self.live_bytes >= self.record_bytes {
            return if self.live_bytes == 0 { 0 } else { self.sealed_bytes };
        }
        let product = u128::from(self.sealed_bytes) * u128::from(self.live_bytes);
        let share = product.div_ceil(u128::from(self.record_bytes));
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// Alive, to be copied, and less than 60 % of it.
    fn is_sparse(&self) -> bool {
        let sparse = u128::from(self.live_bytes) * 100
            < u128::from(self.record_bytes) * u128::from(SPARSE_PERCENT);
        self.live_bytes > 0 && !self.short_lived && sparse
    }
}

impl CopyForward {
    fn gain_per_mib(&self) -> u64 {
        share(self.gain_bytes, MIB, self.cost_bytes.max(1))
    }
}

impl std::fmt::Display for CopyReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CopyReason::Sparse { live_percent } => write!(f, "{live_percent} % alive"),
            CopyReason::Join { neighbours } => write!(f, "{neighbours} small neighbours join"),
        }
    }
}

/// `value * times / by` without overflow, capped.
fn share(value: u64, times: u64, by: u64) -> u64 {
    let product = u128::from(value) * u128::from(times) / u128::from(by);
    u64::try_from(product).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
