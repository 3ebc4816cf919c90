//! The floor: the lowest commit number that exists.
//!
//! Holds: it never goes down; it never passes the newest 256 commits, any commit younger than seven
//! days, or the newest ledger; without a ledger it stays. So a reader finds the head by probing,
//! and the state by one ledger and the commits after it.

use super::ChainFacts;

/// The newest commits that are never deleted.
pub const KEPT_COMMITS: u64 = 256;
/// Commits younger than this are never deleted, milliseconds.
pub const KEPT_COMMITS_MS: i64 = 7 * 86_400_000;

/// What is known of one extant commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitFact {
    /// Its number.
    pub number: u64,
    /// Its time.
    pub time_ms: i64,
    /// Its size as stored.
    pub sealed_bytes: u64,
    /// The seed that it is sealed under.
    pub index_seed: super::Id,
}

/// The floor for the next commit. A listing may be stale: what lies above the newest commit that is
/// known to be old counts as young, listed or not.
pub fn next_floor(chain: &ChainFacts<'_>, now_ms: i64) -> u64 {
    let ChainFacts { commits, floor, ledger, kept_commits, .. } = *chain;
    let (Some(ledger), Some(newest)) = (ledger, commits.iter().map(|commit| commit.number).max())
    else {
        return floor;
    };
    let young = |commit: &CommitFact| now_ms.saturating_sub(commit.time_ms) < KEPT_COMMITS_MS;
    let number = |commit: &CommitFact| commit.number;
    let first_young = commits.iter().filter(|commit| young(commit)).map(number).min();
    let last_old = commits.iter().filter(|commit| !young(commit)).map(number).max().unwrap_or(0);
    let by_count = newest.saturating_sub(kept_commits.saturating_sub(1));
    let by_age = first_young.unwrap_or(newest).min(last_old.saturating_add(1));
    let limit = by_count.min(ledger).min(by_age);
    floor.max(limit)
}
