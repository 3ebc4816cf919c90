//! The reasons in a prune plan, one line each.

use crate::duration::rough;
use std::fmt;

/// Why an object is condemned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CondemnReason {
    /// No kept snapshot lies in its interval.
    NoKeptSnapshot {
        /// The commit that added it.
        added: u64,
        /// The commit that removed it.
        removed: u64,
    },
    /// A newer object of the chain replaced it.
    Superseded {
        /// The commit that replaced it.
        removed: u64,
    },
}

/// Why something is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepReason {
    /// Condemned long enough, and still not needed.
    GraceOver {
        /// How long ago it was condemned, milliseconds.
        since_ms: i64,
    },
    /// No extant object or commit names the seed.
    NothingNames,
    /// The chain begins above it.
    BelowFloor {
        /// Where it begins.
        floor: u64,
    },
}

/// Why a condemned object stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// The grace is not over.
    Grace {
        /// How much of it is left, milliseconds.
        left_ms: i64,
    },
    /// The store refuses to delete it.
    Locked {
        /// Until when, milliseconds since 1970-01-01T00:00:00Z.
        until_ms: i64,
    },
    /// A kept or held snapshot needs it.
    Needed {
        /// Which.
        snapshot: u64,
    },
    /// It has no end: condemning it was a mistake, and it is never swept.
    InLiveSet,
}

impl fmt::Display for CondemnReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CondemnReason::NoKeptSnapshot { added, removed } => {
                let last = removed.saturating_sub(1);
                write!(f, "needed by snapshots {added} to {last} only, and none of them is kept")
            }
            CondemnReason::Superseded { removed } => write!(f, "replaced by commit {removed}"),
        }
    }
}

impl fmt::Display for SweepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SweepReason::GraceOver { since_ms } => {
                write!(f, "condemned {} ago, and nothing needs it", rough(*since_ms))
            }
            SweepReason::NothingNames => write!(f, "nothing is sealed under it any more"),
            SweepReason::BelowFloor { floor } => write!(f, "the chain begins at {floor}"),
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitReason::Grace { left_ms } => write!(f, "grace for another {}", rough(*left_ms)),
            WaitReason::Locked { until_ms } => match jiff::Timestamp::from_millisecond(*until_ms) {
                Ok(until) => write!(f, "locked until {until}"),
                Err(_) => write!(f, "locked for ever"),
            },
            WaitReason::Needed { snapshot } => write!(f, "snapshot {snapshot} needs it"),
            WaitReason::InLiveSet => write!(f, "it is in the live set"),
        }
    }
}
