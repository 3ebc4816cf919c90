//! Is the cluster protected? A pure verdict for `/healthz`, with the reason.
//!
//! What must hold: an alarm, a damaged object that the newest snapshot needs, a failed drill, or a
//! recovery point that is two ticks old is never "ok"; a process that has just started gets the
//! same two ticks before it is blamed.

use holdfast_policies::schedule::Schedule;
use jiff::{SignedDuration, Timestamp};

/// Added to two ticks: a round takes time, too.
pub const LENIENCE: SignedDuration = SignedDuration::from_mins(10);

/// What the verdict is made from.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// When the process started.
    pub started: Timestamp,
    /// When the last completed round began.
    pub last_round: Option<Timestamp>,
    /// Attempts that failed since.
    pub failures: u32,
    /// Why the last one did.
    pub last_error: String,
    /// What somebody must look at.
    pub alarms: Vec<String>,
    /// Objects that the newest snapshot needs and that are lost or rotten.
    pub damaged: Vec<String>,
    /// Why the last drill failed.
    pub drill_failure: Option<String>,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether all is well.
    pub ok: bool,
    /// One line for people.
    pub reason: String,
}

impl Health {
    /// Judges.
    pub fn judge(&self, rounds: &Schedule, now: Timestamp) -> Verdict {
        let bad = |reason: String| Verdict { ok: false, reason };
        if let Some(alarm) = self.alarms.first() {
            let more = self.alarms.len() - 1;
            let tail = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            return bad(format!("alarm: {alarm}{tail}"));
        }
        if let Some(damage) = self.damaged.first() {
            return bad(format!("{} damaged: {damage}", self.damaged.len()));
        }
        if let Some(failure) = &self.drill_failure {
            return bad(format!("the last drill failed: {failure}"));
        }
        let since = self.last_round.unwrap_or(self.started).min(now);
        let second = rounds.next_after(since).and_then(|tick| rounds.next_after(tick));
        let late = second.is_some_and(|tick| now.duration_since(tick) > LENIENCE);
        let error = match self.last_error.as_str() {
            "" => String::new(),
            error => format!("; {} attempts failed, the last: {error}", self.failures),
        };
        match self.last_round {
            Some(last) if late => bad(format!("the last completed round began {last}{error}")),
            None if late => {
                bad(format!("no round was completed since the start at {since}{error}"))
            }
            Some(last) => Verdict {
                ok: true,
                reason: format!("the last completed round began {last}{error}"),
            },
            None => Verdict { ok: true, reason: format!("waiting for the first round{error}") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_policies::zone::Zone;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 / 3600 * 3600 + minutes * 60).unwrap()
    }

    #[test]
    fn two_ticks_and_a_little_are_the_limit() {
        let hourly = Schedule::parse("0 * * * *", &Zone::utc()).unwrap();
        let mut health = Health { started: at(5), ..Health::default() };
        assert!(health.judge(&hourly, at(6)).ok);
        assert!(health.judge(&hourly, at(130)).ok);
        assert!(!health.judge(&hourly, at(131)).ok);
        health.last_round = Some(at(60));
        assert!(health.judge(&hourly, at(190)).ok);
        (health.failures, health.last_error) = (3, "store: no route".into());
        let verdict = health.judge(&hourly, at(191));
        assert!(!verdict.ok && verdict.reason.contains("no route"), "{verdict:?}");
    }

    #[test]
    fn alarms_and_failed_drills_are_never_ok() {
        let hourly = Schedule::parse("0 * * * *", &Zone::utc()).unwrap();
        let fresh = Health { started: at(0), last_round: Some(at(0)), ..Health::default() };
        assert!(fresh.judge(&hourly, at(1)).ok);
        let drill = Health { drill_failure: Some("L5: HashKV differs".into()), ..fresh.clone() };
        assert!(drill.judge(&hourly, at(1)).reason.contains("L5"));
        let damaged = Health { damaged: vec!["object ab: gone".into()], ..fresh.clone() };
        assert!(damaged.judge(&hourly, at(1)).reason.contains("1 damaged: object ab"));
        assert!(!damaged.judge(&hourly, at(1)).ok);
        let alarms = vec!["record 7.0 vanished".into(), "another".into()];
        let alarm = Health { alarms, ..fresh };
        let verdict = alarm.judge(&hourly, at(1));
        assert!(!verdict.ok && verdict.reason.contains("7.0") && verdict.reason.contains("1 more"));
    }
}
