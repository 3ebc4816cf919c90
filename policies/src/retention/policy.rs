//! The retention policy as it stands in a configuration file.
//!
//! Holds: a policy that is written says all: what it leaves out is zero, but for `lineages`, which
//! guards against mistakes. Without any,
//! [`RetentionPolicy::default`] applies. One that would keep nothing but what is always kept is
//! refused.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many to keep by which rule. A snapshot is kept when any rule keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct RetentionPolicy {
    /// The newest this many.
    pub last: u32,
    /// All that are younger than this.
    pub within: Option<Duration>,
    /// The newest of each of the newest this many hours that have one.
    pub hourly: u32,
    /// The same for days.
    pub daily: u32,
    /// The same for ISO weeks.
    pub weekly: u32,
    /// The same for months.
    pub monthly: u32,
    /// The same for years.
    pub yearly: u32,
    /// The newest of each older lineage while it is younger than this: what made the next one begin
    /// may have been a mistake.
    pub lineages: Duration,
}

/// How long the newest snapshot of an older lineage stays, unless it is said.
pub const LINEAGES: Duration = Duration::from_secs(30 * 86_400);

/// Why a policy was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// All counts are zero.
    #[error(
        "retention: keeps nothing; set at least one of last, within, hourly, daily, weekly, monthly, yearly \
         (or leave the whole section out for 24 hourly, 7 daily, 5 weekly, 12 monthly)"
    )]
    KeepsNothing,
}

impl Default for RetentionPolicy {
    /// 24 hourly, 7 daily, 5 weekly, 12 monthly.
    fn default() -> RetentionPolicy {
        RetentionPolicy {
            last: 0,
            within: None,
            hourly: 24,
            daily: 7,
            weekly: 5,
            monthly: 12,
            yearly: 0,
            lineages: LINEAGES,
        }
    }
}

/// The text's shape.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "is_zero")]
    last: u32,
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    within: Option<Duration>,
    #[serde(default, skip_serializing_if = "is_zero")]
    hourly: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    daily: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    weekly: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    monthly: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    yearly: u32,
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    lineages: Option<Duration>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl TryFrom<Written> for RetentionPolicy {
    type Error = PolicyError;

    fn try_from(written: Written) -> Result<RetentionPolicy, PolicyError> {
        let Written { last, within, hourly, daily, weekly, monthly, yearly, lineages } = written;
        let lineages = lineages.unwrap_or(LINEAGES);
        let within = within.filter(|duration| !duration.is_zero());
        let counts = [last, hourly, daily, weekly, monthly, yearly];
        if within.is_none() && counts.iter().all(is_zero) {
            return Err(PolicyError::KeepsNothing);
        }
        Ok(RetentionPolicy { last, within, hourly, daily, weekly, monthly, yearly, lineages })
    }
}

impl From<RetentionPolicy> for Written {
    fn from(policy: RetentionPolicy) -> Written {
        let RetentionPolicy { last, within, hourly, daily, weekly, monthly, yearly, lineages } =
            policy;
        let lineages = Some(lineages).filter(|lineages| *lineages != LINEAGES);
        Written { last, within, hourly, daily, weekly, monthly, yearly, lineages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RetentionPolicy, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_is_zero() {
        let policy = read(r#"{"last": 3, "within": "36h"}"#).unwrap();
        assert_eq!((policy.last, policy.hourly, policy.monthly), (3, 0, 0));
        assert_eq!(policy.within, Some(Duration::from_secs(36 * 3_600)));
        assert_eq!(policy.lineages, LINEAGES);
        let policy = read(r#"{"last": 3, "lineages": "0"}"#).unwrap();
        assert_eq!(policy.lineages, Duration::ZERO);
    }

    #[test]
    fn it_reads_what_it_writes() {
        let text = serde_json::to_string(&RetentionPolicy::default()).unwrap();
        assert_eq!(text, r#"{"hourly":24,"daily":7,"weekly":5,"monthly":12}"#);
        assert_eq!(read(&text).unwrap(), RetentionPolicy::default());
    }

    #[test]
    fn mistakes_are_refused() {
        for (text, says) in [
            ("{}", "keeps nothing"),
            (r#"{"within": "0"}"#, "keeps nothing"),
            (r#"{"dayly": 3}"#, "unknown field `dayly`"),
            (r#"{"within": "7 days"}"#, "with units"),
            (r#"{"last": -1}"#, "invalid value"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
