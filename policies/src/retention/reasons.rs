//! Verdicts and their reasons, as they are printed in a plan.
//!
//! Holds: each reason reads alone, in one line, and names what it compares with.

use super::RetentionPolicy;
use crate::clocks::Skew;
use crate::duration::{rough, text};
use crate::zone::Zone;
use jiff::Timestamp;
use std::fmt;
use std::time::Duration;

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The snapshot's number.
    pub number: u64,
    /// Kept or forgotten, with all reasons.
    pub fate: Fate,
}

/// Kept or forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// All reasons to keep it; at least one.
    Keep(Vec<KeepReason>),
    /// Why each rule passed it by.
    Forget(Vec<ForgetReason>),
}

/// A rule by calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// By hour of the wall clock; a repeated hour counts twice.
    Hourly,
    /// By day.
    Daily,
    /// By ISO week, Monday first.
    Weekly,
    /// By month.
    Monthly,
    /// By year.
    Yearly,
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepReason {
    /// Nothing has a higher number.
    Newest,
    /// Nothing restorable has a higher number.
    LastRestorable,
    /// The newest of those with the highest proven level.
    Proven {
        /// That level.
        level: u8,
    },
    /// Its time lies ahead of the earlier clock.
    Future {
        /// How far, milliseconds.
        ahead_ms: i64,
    },
    /// The clocks are too far apart to forget anything.
    ClocksDisagree(Skew),
    /// No snapshot at all is restorable.
    NoneRestorable,
    /// It is damaged, and would be kept for this reason if it were not.
    Damaged {
        /// That reason.
        otherwise: Box<KeepReason>,
    },
    /// An operator pinned it.
    Pinned {
        /// The operator's reason.
        reason: String,
        /// Until when, milliseconds since 1970-01-01T00:00:00Z.
        expires_ms: Option<i64>,
    },
    /// The newest of a lineage that another followed.
    OlderLineage {
        /// Its age, milliseconds.
        age_ms: i64,
        /// Until what age it stays.
        kept: Duration,
    },
    /// Among the newest N.
    Last {
        /// Its place, 1 is the newest.
        position: u32,
        /// N.
        of: u32,
    },
    /// Younger than the duration.
    Within {
        /// Its age, milliseconds.
        age_ms: i64,
        /// The duration.
        within: Duration,
    },
    /// The newest of its hour, day, week, month or year.
    Bucket {
        /// Which rule.
        rule: Rule,
        /// Which hour, day, ….
        label: String,
    },
}

/// Why a rule did not keep a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForgetReason {
    /// It cannot be restored as a whole, so it fills no place.
    NotRestorable,
    /// Its pin ended.
    PinExpired {
        /// The operator's reason.
        reason: String,
        /// How long ago, milliseconds.
        ago_ms: i64,
    },
    /// N newer ones exist.
    BeyondLast {
        /// N.
        of: u32,
    },
    /// Older than the duration.
    Older {
        /// Its age, milliseconds.
        age_ms: i64,
        /// The duration.
        within: Duration,
    },
    /// A newer one stands for the same hour, day, ….
    Outranked {
        /// Which rule.
        rule: Rule,
        /// Which hour, day, ….
        label: String,
        /// The number of the newer one.
        by: u64,
    },
    /// The rule's count is filled by newer hours, days, ….
    BeyondBuckets {
        /// Which rule.
        rule: Rule,
        /// Its count.
        count: u32,
    },
}

impl Verdict {
    /// Whether it is kept.
    pub fn is_kept(&self) -> bool {
        matches!(self.fate, Fate::Keep(_))
    }
}

impl Rule {
    pub(super) const ALL: [Rule; 5] =
        [Rule::Hourly, Rule::Daily, Rule::Weekly, Rule::Monthly, Rule::Yearly];

    pub(super) fn count(self, policy: &RetentionPolicy) -> u32 {
        match self {
            Rule::Hourly => policy.hourly,
            Rule::Daily => policy.daily,
            Rule::Weekly => policy.weekly,
            Rule::Monthly => policy.monthly,
            Rule::Yearly => policy.yearly,
        }
    }

    /// The bucket of a moment: `2026-11-20 10h+01:00`, `2026-11-20`, `2026-W47`, `2026-11`, `2026`.
    pub(super) fn label(self, at: Timestamp, zone: &Zone) -> String {
        let wall = zone.wall(at);
        let date = wall.date();
        match self {
            Rule::Hourly => {
                let offset = zone.offset_seconds(at);
                let sign = if offset < 0 { '-' } else { '+' };
                let (hours, minutes) = (offset.abs() / 3_600, offset.abs() / 60 % 60);
                format!("{date} {:02}h{sign}{hours:02}:{minutes:02}", wall.hour())
            }
            Rule::Daily => date.to_string(),
            Rule::Weekly => {
                let week = date.iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Rule::Monthly => format!("{:04}-{:02}", date.year(), date.month()),
            Rule::Yearly => format!("{:04}", date.year()),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Hourly => "hourly",
            Rule::Daily => "daily",
            Rule::Weekly => "weekly",
            Rule::Monthly => "monthly",
            Rule::Yearly => "yearly",
        })
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeepReason::Newest => write!(f, "newest"),
            KeepReason::LastRestorable => write!(f, "last restorable"),
            KeepReason::Proven { level } => write!(f, "newest proven at level {level}"),
            KeepReason::Future { ahead_ms } => {
                write!(f, "from the future by {}: judged when its time comes", rough(*ahead_ms))
            }
            KeepReason::ClocksDisagree(skew) => write!(f, "nothing is forgotten: {skew}"),
            KeepReason::NoneRestorable => write!(f, "nothing is forgotten: none is restorable"),
            KeepReason::Damaged { otherwise } => write!(f, "damaged; if it were not: {otherwise}"),
            KeepReason::Pinned { reason, expires_ms: None } => write!(f, "pinned: {reason}"),
            KeepReason::Pinned { reason, expires_ms: Some(until) } => {
                let until = super::clamped(*until);
                write!(f, "pinned until {until}: {reason}")
            }
            KeepReason::OlderLineage { age_ms, kept } => write!(
                f,
                "the last of an older lineage, within {} (age {})",
                text(*kept),
                rough(*age_ms)
            ),
            KeepReason::Last { position, of } => write!(f, "last {position} of {of}"),
            KeepReason::Within { age_ms, within } => {
                write!(f, "within {} (age {})", text(*within), rough(*age_ms))
            }
            KeepReason::Bucket { rule, label } => write!(f, "{rule} {label}"),
        }
    }
}

impl fmt::Display for ForgetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForgetReason::NotRestorable => write!(f, "not restorable"),
            ForgetReason::PinExpired { reason, ago_ms } => {
                write!(f, "its pin ended {} ago: {reason}", rough(*ago_ms))
            }
            ForgetReason::BeyondLast { of } => write!(f, "not among the last {of}"),
            ForgetReason::Older { age_ms, within } => {
                write!(f, "older than {} (age {})", text(*within), rough(*age_ms))
            }
            ForgetReason::Outranked { rule, label, by } => {
                write!(f, "{rule} {label} is {by}")
            }
            ForgetReason::BeyondBuckets { rule, count } => {
                write!(f, "older than the {count} {rule} ones")
            }
        }
    }
}
