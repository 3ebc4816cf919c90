//! Which snapshot answers what was asked: the latest, a number, a revision, a time.
//!
//! Pure: catalogue entries, the question and `now` in; the snapshot, a trim and reasons out.
//!
//! Holds: order is by number, never by time. A snapshot whose stream began in the future by more
//! than [`RESTORE_FUTURE_MS`] never wins "latest" nor a time: some clock lied. A snapshot
//! answers for every revision R with C ≤ R ≤ its own, by trimming; leases and users are then the
//! snapshot's, and a note says so. Revisions repeat across lineages, so the newest lineage is
//! asked first, and a note tells when an older one answers.

use std::fmt;
use std::str::FromStr;

use crate::text;
use holdfast_policies::clocks::RESTORE_FUTURE_MS;

/// How many snapshots an error lists.
const LISTED: usize = 5;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Question {
    /// The newest snapshot by number.
    #[default]
    Latest,
    /// The snapshot of this number.
    Number(u64),
    /// The state at this main revision.
    Revision(i64),
    /// The newest snapshot taken at or before this time, milliseconds since 1970.
    Time(i64),
}

/// What a catalogue knows of one snapshot, as far as choosing needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidate {
    /// Its name: the number of the commit that made it.
    pub number: u64,
    /// The lineage it belongs to.
    pub lineage: [u8; 16],
    /// Logical revision.
    pub revision: i64,
    /// C, the higher of the two compaction marks; -1 for none.
    pub compact_revision: i64,
    /// When the stream from the source began, milliseconds since 1970.
    pub taken_ms: i64,
    /// Highest level that was proven; `None` if none yet.
    pub proven_level: Option<u32>,
    /// Whether it holds records that members disagree about.
    pub contested: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The snapshot's number.
    pub number: u64,
    /// Drop records above this revision; `None` takes the snapshot as it is.
    pub trim_to: Option<i64>,
    /// Why this one.
    pub reason: String,
    /// What the operator should know before going on.
    pub notes: Vec<String>,
}

/// Nothing answers the question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// An empty catalogue.
    #[error(
        "the vault holds no snapshot yet; run `holdfast agent --once` beside the cluster first"
    )]
    Empty,
    /// Every snapshot is from the future.
    #[error(
        "every snapshot claims to be taken in the future (this machine's clock says {now}; the \
         vault has {existing}): set the clock, or name a snapshot by its number"
    )]
    OnlyFuture {
        /// This machine's clock.
        now: String,
        /// The newest snapshots.
        existing: String,
    },
    /// No such number.
    #[error("there is no snapshot {number}; the vault has {existing}")]
    NoNumber {
        /// The number asked for.
        number: u64,
        /// The newest snapshots.
        existing: String,
    },
    /// No snapshot answers for a revision.
    #[error("no snapshot answers for revision {revision}: {ranges}")]
    NoRevision {
        /// The revision asked for.
        revision: i64,
        /// What revisions the snapshots answer for.
        ranges: String,
    },
    /// No snapshot is that old.
    #[error("no snapshot was taken at or before {time}; the oldest of {count} is {oldest}")]
    NoTime {
        /// The time asked for.
        time: String,
        /// How many snapshots there are.
        count: usize,
        /// The oldest one.
        oldest: String,
    },
}

/// A text that names no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither `latest` nor a snapshot's number")]
pub struct BadQuestion(String);

impl FromStr for Question {
    type Err = BadQuestion;

    /// Reads `latest` or a number.
    fn from_str(text: &str) -> Result<Self, BadQuestion> {
        match text.trim() {
            "latest" => Ok(Question::Latest),
            number => {
                number.parse().map(Question::Number).map_err(|_| BadQuestion(text.to_owned()))
            }
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Latest => f.write_str("the latest snapshot"),
            Question::Number(number) => write!(f, "snapshot {number}"),
            Question::Revision(revision) => write!(f, "revision {revision}"),
            Question::Time(time) => write!(f, "the state at {}", text::time(*time)),
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Candidate { number, revision, .. } = self;
        write!(f, "{number} (revision {revision}, {})", text::time(self.taken_ms))
    }
}

impl Candidate {
    /// Whether trimming can bring it to `revision`.
    pub fn answers(&self, revision: i64) -> bool {
        self.compact_revision.max(1) <= revision && revision <= self.revision
    }

    /// Whether its time cannot be believed at `now_ms`.
    pub fn is_future(&self, now_ms: i64) -> bool {
        self.taken_ms > now_ms.saturating_add(RESTORE_FUTURE_MS)
    }
}

/// Chooses the snapshot that answers `question`. The order of `catalogue` does not matter.
///
/// # Errors
/// See [`SelectError`]; each tells what exists.
pub fn select(
    catalogue: &[Candidate],
    question: Question,
    now_ms: i64,
) -> Result<Selected, SelectError> {
    let mut newest_first: Vec<&Candidate> = catalogue.iter().collect();
    newest_first.sort_by_key(|candidate| std::cmp::Reverse(candidate.number));
    let Some(head) = newest_first.first() else {
        return Err(SelectError::Empty);
    };
    let mut selected = match question {
        Question::Latest => latest(&newest_first, now_ms)?,
        Question::Number(number) => numbered(&newest_first, number, now_ms)?,
        Question::Revision(revision) => at_revision(&newest_first, revision)?,
        Question::Time(time_ms) => at_time(&newest_first, time_ms, now_ms)?,
    };
    let found = newest_first.iter().find(|candidate| candidate.number == selected.number);
    let chosen = found.expect("the choice is one of the candidates");
    if chosen.lineage != head.lineage {
        selected.notes.push(format!(
            "snapshot {} belongs to an older lineage: the cluster's history has forked since",
            chosen.number
        ));
    }
    if chosen.contested {
        selected.notes.push(
            "members disagreed about some records; the restore takes the version seen first"
                .to_owned(),
        );
    }
    match chosen.proven_level {
        Some(level) => selected.notes.push(format!("proven up to level L{level}")),
        None => selected.notes.push("no drill has proven this snapshot yet".to_owned()),
    }
    Ok(selected)
}

fn latest(newest_first: &[&Candidate], now_ms: i64) -> Result<Selected, SelectError> {
    let (future, believed): (Vec<&Candidate>, Vec<&Candidate>) =
        newest_first.iter().partition(|candidate| candidate.is_future(now_ms));
    let Some(chosen) = believed.first() else {
        let (now, existing) = (text::time(now_ms), listed(newest_first));
        return Err(SelectError::OnlyFuture { now, existing });
    };
    let passed_over: Vec<&Candidate> =
        future.into_iter().filter(|candidate| candidate.number > chosen.number).collect();
    let reason = match passed_over.len() {
        0 => "the newest snapshot".to_owned(),
        _ => "the newest snapshot that is not from the future".to_owned(),
    };
    let notes = match passed_over.len() {
        0 => Vec::new(),
        _ => vec![format!(
            "passed over, since their time lies ahead of this machine's clock ({}): {}",
            text::time(now_ms),
            listed(&passed_over)
        )],
    };
    Ok(Selected { number: chosen.number, trim_to: None, reason, notes })
}

fn numbered(
    newest_first: &[&Candidate],
    number: u64,
    now_ms: i64,
) -> Result<Selected, SelectError> {
    let found = newest_first.iter().find(|candidate| candidate.number == number);
    let Some(chosen) = found else {
        return Err(SelectError::NoNumber { number, existing: listed(newest_first) });
    };
    let mut notes = Vec::new();
    if chosen.is_future(now_ms) {
        notes.push(format!("its time, {}, lies in the future", text::time(chosen.taken_ms)));
    }
    Ok(Selected { number, trim_to: None, reason: "asked for by its number".to_owned(), notes })
}

fn at_revision(newest_first: &[&Candidate], revision: i64) -> Result<Selected, SelectError> {
    let newest_lineage = newest_first.first().map(|head| head.lineage);
    // The nearest from above: its leases and users are the closest to that revision.
    let order = |candidate: &&&Candidate| {
        let older_lineage = Some(candidate.lineage) != newest_lineage;
        let proven = candidate.proven_level.map_or(0, |level| level + 1);
        (older_lineage, candidate.revision, std::cmp::Reverse((proven, candidate.number)))
    };
    let chosen = newest_first.iter().filter(|one| one.answers(revision)).min_by_key(order);
    let Some(chosen) = chosen else {
        return Err(SelectError::NoRevision { revision, ranges: ranges(newest_first) });
    };
    if chosen.revision == revision {
        let reason = format!("taken at revision {revision} exactly");
        return Ok(Selected { number: chosen.number, trim_to: None, reason, notes: Vec::new() });
    }
    let reason = format!(
        "the nearest that answers for revision {revision}: its records reach from the compaction \
         at {} to revision {}",
        chosen.compact_revision, chosen.revision
    );
    let notes = vec![format!(
        "records above revision {revision} are dropped; leases, users and roles are those of \
         revision {}",
        chosen.revision
    )];
    Ok(Selected { number: chosen.number, trim_to: Some(revision), reason, notes })
}

fn at_time(
    newest_first: &[&Candidate],
    time_ms: i64,
    now_ms: i64,
) -> Result<Selected, SelectError> {
    let mut fitting = newest_first
        .iter()
        .filter(|candidate| candidate.taken_ms <= time_ms && !candidate.is_future(now_ms));
    let Some(chosen) = fitting.next() else {
        let oldest = newest_first.iter().min_by_key(|candidate| candidate.taken_ms);
        let oldest = oldest.map(|candidate| candidate.to_string()).unwrap_or_default();
        let (time, count) = (text::time(time_ms), newest_first.len());
        return Err(SelectError::NoTime { time, count, oldest });
    };
    let reason = format!(
        "the newest taken at or before {}: {} earlier",
        text::time(time_ms),
        text::span(time_ms.saturating_sub(chosen.taken_ms))
    );
    Ok(Selected { number: chosen.number, trim_to: None, reason, notes: Vec::new() })
}

/// The newest few, for an error's reader.
fn listed(newest_first: &[&Candidate]) -> String {
    let mut names: Vec<String> =
        newest_first.iter().take(LISTED).map(|candidate| candidate.to_string()).collect();
    if newest_first.len() > LISTED {
        names.push(format!("and {} more", newest_first.len() - LISTED));
    }
    names.join(", ")
}

/// Which revisions can be answered for: overlapping ranges joined, ascending.
fn ranges(candidates: &[&Candidate]) -> String {
    let mut spans: Vec<(i64, i64)> =
        candidates.iter().map(|one| (one.compact_revision.max(1), one.revision)).collect();
    spans.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for (low, high) in spans {
        match joined.last_mut() {
            Some(last) if low <= last.1 => last.1 = last.1.max(high),
            _ => joined.push((low, high)),
        }
    }
    let skipped = joined.len().saturating_sub(LISTED);
    let texts: Vec<String> =
        joined.iter().skip(skipped).map(|(low, high)| format!("{low} to {high}")).collect();
    let more = if skipped > 0 { format!("; {skipped} older ranges") } else { String::new() };
    format!("the vault answers for {}{more}", texts.join(" and "))
}

#[cfg(test)]
mod tests;
