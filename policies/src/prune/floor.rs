//! The floor: the lowest commit number that exists.
//!
//! Holds: it never goes down; it never passes the newest 256 commits, any commit younger than seven
//! days, or the newest ledger; without a ledger it stays. So a reader finds the head by probing,
//! and the state by one ledger and the commits after it.

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

/// The floor for the next commit. `commits` are all extant ones, in any order.
pub fn next_floor(commits: &[CommitFact], floor: u64, ledger: Option<u64>, now_ms: i64) -> u64 {
    let (Some(ledger), Some(newest)) = (ledger, commits.iter().map(|commit| commit.number).max())
    else {
        return floor;
    };
    let young = |commit: &&CommitFact| now_ms.saturating_sub(commit.time_ms) < KEPT_COMMITS_MS;
    let first_young = commits.iter().filter(young).map(|commit| commit.number).min();
    let by_count = newest.saturating_sub(KEPT_COMMITS - 1);
    let limit = by_count.min(ledger).min(first_young.unwrap_or(newest));
    floor.max(limit)
}
