//! The rules of a commit attempt, pure.
//!
//! Holds: a round that is older than 6 hours makes no attempt; a create that took more than 10
//! minutes since the head was read is confirmed by a listing after its own number; a known head is
//! trusted for probing only for 6 days and while its object still exists; time grows within the
//! chain, unless a wrong clock had set it far ahead of the store's. What may be deleted, the floor
//! included, is decided in `holdfast_policies`.

use crate::proto::Commit;
use holdfast_policies::prune::KEPT_COMMITS;

/// Longest life of a round, milliseconds of the clock that counts suspend.
pub const ROUND_LIMIT_MS: i64 = 6 * 3_600_000;
/// A create that took longer than this since the head was read is confirmed by LIST.
pub const CONFIRM_AFTER_MS: i64 = 10 * 60_000;
/// Objects of a commit that were uploaded longer ago than this are looked at before it.
pub const RECHECK_AFTER_MS: i64 = 3_600_000;
/// Orphans are at least this old by the store's clock.
pub const ORPHAN_AGE_MS: i64 = 7 * 86_400_000;
/// A head that was read longer ago than this is not probed from: what followed it may have been
/// deleted, and a number of it created again by a sleeper. A day less than
/// commits live at least (`holdfast_policies::prune::KEPT_COMMITS_MS`).
pub const PROBE_LIMIT_MS: i64 = 6 * 86_400_000;

/// How far a commit's time may be ahead of the store's clock.
pub const AHEAD_MS: i64 = 10 * 60_000;

/// How much of a chain is kept and how often its state is told whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainLimits {
    /// The newest commits that are never deleted.
    pub kept_commits: u64,
    /// A ledger is written with each commit whose number is a multiple of this.
    pub ledger_every: u64,
    /// Entries of the catalogue that the head holds, and then a page.
    pub page_entries: usize,
}

impl Default for ChainLimits {
    /// What docs/FORMAT.md promises; only simulations take less.
    fn default() -> ChainLimits {
        ChainLimits {
            kept_commits: KEPT_COMMITS,
            ledger_every: 256,
            page_entries: super::catalogue::PAGE_ENTRIES,
        }
    }
}

/// A round of work: from the moment its base was read. Its age limits what it may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// `Clock::boot_ms` at its start.
    pub started_boot_ms: i64,
}

impl Round {
    /// Begins now.
    pub fn begin(boot_ms: i64) -> Round {
        Round { started_boot_ms: boot_ms }
    }

    /// Whether it may make another attempt.
    pub fn may_attempt(&self, boot_ms: i64) -> bool {
        let age = boot_ms - self.started_boot_ms;
        (0..=ROUND_LIMIT_MS).contains(&age)
    }
}

/// What lies at the name of our attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Our bytes.
    Ours,
    /// Other bytes.
    Anothers,
    /// Nothing.
    Nothing,
}

/// What to do after a create and, when it did not simply succeed, a look at the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The commit stands.
    Won,
    /// Confirm by a listing after our own number: anything newer means that we lost.
    Confirm,
    /// Another's commit stands there.
    Lost,
    /// Nothing is there: try again.
    Retry,
    /// The round is too old to try again.
    TooOld,
}

/// Judges an attempt. `created`: the create answered with success; `found`: what a GET of the name
/// gave otherwise; times are of the clock that counts suspend.
pub fn judge(
    created: bool,
    found: Option<Found>,
    head_read_boot_ms: i64,
    round: Round,
    boot_ms: i64,
) -> Next {
    let ours = created || found == Some(Found::Ours);
    if ours {
        let slow = boot_ms - head_read_boot_ms > CONFIRM_AFTER_MS;
        return if slow { Next::Confirm } else { Next::Won };
    }
    match found {
        Some(Found::Anothers) => Next::Lost,
        _ if round.may_attempt(boot_ms) => Next::Retry,
        _ => Next::TooOld,
    }
}

/// The time of the commit after `previous`: after it, and not far ahead of the store's clock where
/// that is known (`store_ms` above 0). A previous time that a wrong clock set far ahead is not
/// followed: time then falls back, once.
pub fn commit_time_ms(own_ms: i64, store_ms: i64, previous: Option<&Commit>) -> i64 {
    let bound = if store_ms > 0 { store_ms + AHEAD_MS } else { i64::MAX };
    match previous {
        Some(commit) if commit.time_ms < bound => own_ms.min(bound).max(commit.time_ms + 1),
        _ => own_ms.min(bound),
    }
}

/// Whether `commit`'s time may follow `previous`'s: it grows, but for the one fall of
/// [`commit_time_ms`].
pub fn time_follows(commit: &Commit, previous: &Commit) -> bool {
    let far_ahead = commit.store_time_ms > 0
        && previous.time_ms >= commit.store_time_ms.saturating_add(AHEAD_MS);
    commit.time_ms > previous.time_ms || far_ahead
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn an_attempt_is_judged_by_what_lies_at_its_name() {
        let round = Round::begin(0);
        let at = |created, found| judge(created, found, 0, round, MINUTE);
        assert_eq!(at(true, None), Next::Won);
        assert_eq!(at(false, Some(Found::Ours)), Next::Won);
        assert_eq!(at(false, Some(Found::Anothers)), Next::Lost);
        assert_eq!(at(false, Some(Found::Nothing)), Next::Retry);
        assert_eq!(judge(true, None, 0, round, 11 * MINUTE), Next::Confirm);
        assert_eq!(judge(false, Some(Found::Ours), 0, round, 11 * MINUTE), Next::Confirm);
        let late = 361 * MINUTE;
        assert_eq!(judge(false, Some(Found::Nothing), late, round, late), Next::TooOld);
        assert!(!Round::begin(MINUTE).may_attempt(0), "a clock that went back is no clock");
    }

    #[test]
    fn time_goes_on() {
        let head = Commit { time_ms: 1_000_000, ..Default::default() };
        assert_eq!(commit_time_ms(5, 0, Some(&head)), 1_000_001);
        assert_eq!(commit_time_ms(2_000_000, 0, Some(&head)), 2_000_000);
    }

    #[test]
    fn a_clock_that_is_far_ahead_is_bounded_and_healed() {
        let head = Commit { time_ms: 1_000_000, ..Default::default() };
        let ahead = commit_time_ms(9_000_000, 1_000_000, Some(&head));
        assert_eq!(ahead, 1_000_000 + AHEAD_MS);
        // Set before the store's clock was known; a commit that knows it goes back to the truth.
        let wrong = Commit { time_ms: 90_000_000, ..Default::default() };
        let healed = commit_time_ms(1_100_000, 1_100_050, Some(&wrong));
        assert_eq!(healed, 1_100_000);
        let commit = |time_ms, store_time_ms| Commit { time_ms, store_time_ms, ..head.clone() };
        assert!(time_follows(&commit(healed, 1_100_050), &wrong));
        assert!(!time_follows(&commit(healed, 0), &wrong), "nobody knows the store's clock");
        assert!(!time_follows(&commit(999_999, 1_100_050), &head), "not far ahead");
        for (own, store) in [(5, 7), (9_000_000, 1_000_000), (1_100_000, 1_100_050), (3, 0)] {
            for previous in [&head, &wrong] {
                let next = commit(commit_time_ms(own, store, Some(previous)), store);
                assert!(time_follows(&next, previous), "{own} {store}");
            }
        }
    }
}
