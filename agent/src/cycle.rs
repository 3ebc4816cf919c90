//! What the daemon does next: a pure state machine from (state, event, now) to actions.
//!
//! What must hold:
//! - one job at a time: never two rounds at once, and no drill beside a round (memory is bounded
//!   for one);
//! - ticks that were missed, or that came while a job ran, are made up for by one round;
//! - a failed round is repeated after a pause that doubles up to a limit, also over restarts; a
//!   tick does not shorten the pause; a clock that was set back does not lengthen it;
//! - wraps that are missing are tried again with the same pauses, beside the ticks;
//! - after the first SIGTERM nothing starts; a round or prune may finish within the grace, a drill
//!   is left at once; the second SIGTERM leaves everything; an abandoned job that does not end is
//!   waited for no longer than [`ABANDON_LIMIT`]. Leaving a round is safe at any moment: what no
//!   commit names does not exist.

use holdfast_policies::schedule::{Decision, RunReason, Schedule};
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// How long an abandoned job may take to end before the process ends anyway.
pub const ABANDON_LIMIT: SignedDuration = SignedDuration::from_secs(15);

/// Something that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Job {
    /// Take a snapshot and verify what was stored.
    Round,
    /// Forget, condemn, sweep by policy.
    Prune,
    /// Prove the newest snapshot.
    Drill,
    /// Add the wraps that could not be made while the key service was away.
    Wraps,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It did what it should.
    Done,
    /// The same, but only the recovery key opens what it stored, until wraps follow.
    ForPaper,
    /// It failed; its error was told elsewhere.
    Failed,
    /// It was left at our wish.
    Abandoned,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Time passed, or the process has just started.
    Wake,
    /// The running job ended.
    Finished(Job, Ending),
    /// SIGTERM or SIGINT.
    Terminate,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start a job.
    Start(Job, Cause),
    /// Ask the running job to end now; its `Finished` is still expected.
    Abandon(Job),
    /// Give `Wake` at this moment, or earlier.
    WaitUntil(Timestamp),
    /// End the process.
    Exit,
}

/// Why a job starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its schedule.
    Schedule(RunReason),
    /// The last attempt failed.
    Retry {
        /// How many attempts have failed in a row.
        failures: u32,
    },
    /// A round was completed.
    AfterRound,
    /// Something stored is wrapped for the recovery key alone.
    KeysMissing,
}

/// The pause after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first one.
    pub first: SignedDuration,
    /// Never longer than this.
    pub longest: SignedDuration,
}

/// What does not change while the daemon runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When to take snapshots.
    pub rounds: Schedule,
    /// When to prove them; `None`: never.
    pub drills: Option<Schedule>,
    /// Whether a prune follows each completed round.
    pub prune: bool,
    /// Between attempts.
    pub backoff: Backoff,
    /// How long a round or prune may go on after SIGTERM.
    pub grace: SignedDuration,
}

/// What is remembered over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// When the last completed round began.
    pub last_round: Option<Timestamp>,
    /// When the last attempt ended.
    pub last_attempt: Option<Timestamp>,
    /// Attempts that failed since the last completed round.
    pub failures: u32,
    /// When the last drill that ran to its end began.
    pub last_drill: Option<Timestamp>,
}

/// The state machine.
#[derive(Debug)]
pub struct Cycle {
    settings: Settings,
    memory: Memory,
    running: Option<(Job, Timestamp)>,
    prune_due: bool,
    wraps: Option<Missing>,
    ending: Option<End>,
}

/// Wraps are missing.
#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Timestamp,
    attempts: u32,
}

/// After SIGTERM.
#[derive(Debug, Clone, Copy)]
struct End {
    deadline: Timestamp,
    abandoned: bool,
}

impl Cycle {
    /// A daemon that has just started.
    pub fn new(settings: Settings, memory: Memory) -> Cycle {
        Cycle { settings, memory, running: None, prune_due: false, wraps: None, ending: None }
    }

    /// What to remember over restarts.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// The job that runs, and since when.
    pub fn running(&self) -> Option<(Job, Timestamp)> {
        self.running
    }

    /// Takes an event.
    ///
    /// # Panics
    /// If a job ends that was never started: the caller lost count.
    pub fn step(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        match event {
            Event::Wake => {}
            Event::Finished(job, ending) => self.finished(job, ending, now),
            Event::Terminate => return self.terminate(now),
        }
        if let Some(end) = self.ending { self.go_on_ending(end, now) } else { self.go_on(now) }
    }

    /// When the next round is due; `None`: never again.
    pub fn next_round(&self, now: Timestamp) -> Option<Timestamp> {
        match self.round_due(now) {
            Ok(_) => Some(now),
            Err(next) => next,
        }
    }

    fn finished(&mut self, job: Job, ending: Ending, now: Timestamp) {
        let running = self.running.take();
        let Some((_, since)) = running.filter(|(running, _)| *running == job) else {
            panic!("{job} ended but {running:?} was running");
        };
        match (job, ending) {
            (Job::Round, Ending::Done | Ending::ForPaper) => {
                let missing = ending == Ending::ForPaper;
                self.wraps = missing.then_some(Missing { since: now, attempts: 1 });
                self.memory.last_round = Some(since);
                self.memory.last_attempt = Some(now);
                self.memory.failures = 0;
                // Without the key service a prune could not even read the chain.
                self.prune_due = self.settings.prune && !missing;
            }
            (Job::Round, Ending::Failed) => {
                self.memory.last_attempt = Some(now);
                self.memory.failures = self.memory.failures.saturating_add(1);
            }
            // A drill that failed has run: the failure is told, and the schedule says when to try
            // again.
            (Job::Drill, Ending::Done | Ending::Failed) => self.memory.last_drill = Some(since),
            (Job::Wraps, Ending::Done) => self.wraps = None,
            (Job::Wraps, Ending::Failed) => {
                let attempts = self.wraps.map_or(1, |missing| missing.attempts.saturating_add(1));
                self.wraps = Some(Missing { since: now, attempts });
            }
            (Job::Prune, _) | (_, Ending::Abandoned | Ending::ForPaper) => {}
        }
    }

    fn go_on(&mut self, now: Timestamp) -> Vec<Action> {
        if self.running.is_some() {
            return Vec::new();
        }
        let round = self.round_due(now);
        if let Ok(cause) = round {
            return self.start(Job::Round, cause, now);
        }
        let wraps = self.wraps_due(now);
        if wraps == Some(now) {
            return self.start(Job::Wraps, Cause::KeysMissing, now);
        }
        if std::mem::take(&mut self.prune_due) {
            return self.start(Job::Prune, Cause::AfterRound, now);
        }
        let drill = self.drill_due(now);
        if let Ok(cause) = drill {
            return self.start(Job::Drill, cause, now);
        }
        let next = [round.err().flatten(), drill.err().flatten(), wraps];
        let next = next.into_iter().flatten().min();
        next.map(Action::WaitUntil).into_iter().collect()
    }

    fn start(&mut self, job: Job, cause: Cause, now: Timestamp) -> Vec<Action> {
        assert!(self.running.is_none(), "one job at a time");
        assert!(self.ending.is_none(), "nothing starts after SIGTERM");
        self.running = Some((job, now));
        vec![Action::Start(job, cause)]
    }

    /// Why a round is due, or when the next one is.
    fn round_due(&self, now: Timestamp) -> Result<Cause, Option<Timestamp>> {
        let Memory { failures, last_attempt, .. } = self.memory;
        if let (Some(last), 1..) = (last_attempt, failures) {
            let pause = self.settings.backoff.after(failures);
            let at = last.min(now).checked_add(pause).unwrap_or(Timestamp::MAX);
            return if at <= now { Ok(Cause::Retry { failures }) } else { Err(Some(at)) };
        }
        due(&self.settings.rounds, self.memory.last_round, now)
    }

    /// When wraps are to be tried again, `now` at the earliest.
    fn wraps_due(&self, now: Timestamp) -> Option<Timestamp> {
        let missing = self.wraps?;
        let pause = self.settings.backoff.after(missing.attempts);
        let at = missing.since.min(now).checked_add(pause).unwrap_or(Timestamp::MAX);
        Some(at.max(now))
    }

    /// The same for a drill; there is nothing to prove before the first round.
    fn drill_due(&self, now: Timestamp) -> Result<Cause, Option<Timestamp>> {
        match (&self.settings.drills, self.memory.last_round) {
            (Some(drills), Some(_)) => due(drills, self.memory.last_drill, now),
            _ => Err(None),
        }
    }

    fn terminate(&mut self, now: Timestamp) -> Vec<Action> {
        let Some((job, _)) = self.running else { return vec![Action::Exit] };
        let again = self.ending.is_some();
        let grace =
            if again || job == Job::Drill { SignedDuration::ZERO } else { self.settings.grace };
        let deadline = now.checked_add(grace).unwrap_or(now);
        let abandoned = self.ending.is_some_and(|end| end.abandoned);
        let deadline = match self.ending {
            Some(end) if abandoned => end.deadline,
            _ => deadline,
        };
        let end = End { deadline, abandoned };
        self.ending = Some(end);
        self.go_on_ending(end, now)
    }

    fn go_on_ending(&mut self, end: End, now: Timestamp) -> Vec<Action> {
        let Some((job, _)) = self.running else { return vec![Action::Exit] };
        // A clock that was set back must not hold the process for long.
        let longest = if end.abandoned { ABANDON_LIMIT } else { self.settings.grace };
        let deadline = end.deadline.min(now.checked_add(longest).unwrap_or(now));
        if now < deadline {
            self.ending = Some(End { deadline, ..end });
            return vec![Action::WaitUntil(deadline)];
        }
        if end.abandoned {
            return vec![Action::Exit];
        }
        let deadline = now.checked_add(ABANDON_LIMIT).unwrap_or(now);
        self.ending = Some(End { deadline, abandoned: true });
        vec![Action::Abandon(job), Action::WaitUntil(deadline)]
    }
}

impl Backoff {
    /// The pause after this many failures in a row: doubled with each, up to the limit.
    pub fn after(&self, failures: u32) -> SignedDuration {
        let doubled = 1i32.checked_shl(failures.saturating_sub(1).min(30)).unwrap_or(i32::MAX);
        self.first.checked_mul(doubled).unwrap_or(self.longest).min(self.longest)
    }
}

fn due(
    schedule: &Schedule,
    last: Option<Timestamp>,
    now: Timestamp,
) -> Result<Cause, Option<Timestamp>> {
    match schedule.due(last, now) {
        Decision::RunNow { reason } => Ok(Cause::Schedule(reason)),
        Decision::WaitUntil(next) => Err(Some(next)),
        Decision::Never => Err(None),
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Job::Round => "round",
            Job::Prune => "prune",
            Job::Drill => "drill",
            Job::Wraps => "wraps",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Schedule(RunReason::NeverRan) => f.write_str("it never ran"),
            Cause::Schedule(RunReason::Tick { at }) => write!(f, "its time came at {at}"),
            Cause::Schedule(RunReason::Missed { first, count }) => {
                write!(f, "{count} ticks were missed, the first at {first}")
            }
            Cause::Retry { failures } => write!(f, "{failures} attempts failed"),
            Cause::AfterRound => f.write_str("a round was completed"),
            Cause::KeysMissing => f.write_str("only the recovery key opens what was stored"),
        }
    }
}

#[cfg(test)]
mod tests;
