//! What a drill found, for people, for machines and for the vault.

use std::fmt;

use holdfast_vault::format::{ObjectId, ReportId};
use holdfast_vault::proto;
use serde::Serialize;

use crate::text;

/// Verification levels, as DESIGN has them. A drill proves all but L4 and L7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Level {
    /// Objects exist.
    L0,
    /// Digests of the sealed bytes.
    L1,
    /// They open and decompress, and are what was backed up.
    L2,
    /// Rebuilt: bolt structure and etcd's schema.
    L3,
    /// The log is continuous.
    L4,
    /// HashKV equal to the source's; what is served equals what was backed up.
    L5,
    /// Boots and serves reads and writes.
    L6,
    /// Kubernetes can use it.
    L7,
}

/// What a drill found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrillReport {
    /// Its id, in hex.
    pub id: String,
    /// The snapshot.
    pub snapshot: u64,
    /// When it began and ended, milliseconds since 1970.
    pub started_ms: i64,
    /// See `started_ms`.
    pub finished_ms: i64,
    /// Highest level that was shown, with all below it but L4; `None`: none.
    pub level: Option<Level>,
    /// The level that failed, and why; `None`: the drill passed.
    pub failure: Option<Failure>,
    /// Milliseconds and a remark for each step.
    pub steps: Vec<DrillStep>,
    /// Milliseconds from the start to the first linearizable read, the proofs in between not
    /// counted; `None` if it did not come to that.
    pub recovery_ms: Option<u64>,
    /// What was booted.
    pub server: String,
    /// Records rebuilt.
    pub records: u64,
    /// Bytes of the rebuilt database.
    pub size_bytes: u64,
    /// Records compared one by one.
    pub sampled: u64,
    /// This machine's name.
    pub host: String,
    /// For each seed that was opened, provider and key id that did it.
    pub opened_by: Vec<String>,
    /// What could not be proven, and other remarks.
    pub notes: Vec<String>,
    /// Whether the vault knows: the number of the commit, or why not.
    pub recorded: Recorded,
}

/// Whether the vault knows of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recorded {
    /// It was not to be written.
    No,
    /// In the commit of this number.
    InCommit(u64),
    /// It could not be written; keep this report.
    Failed(String),
}

/// Why a drill failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The level that was not reached.
    pub level: Level,
    /// What happened.
    pub reason: String,
}

/// One step of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrillStep {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub milliseconds: u64,
    /// What it gave.
    pub detail: String,
}

impl Level {
    /// Its number.
    pub fn number(self) -> u32 {
        self as u32
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}", self.number())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {} failed: {}", self.level, self.reason)
    }
}

impl DrillReport {
    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// The message that the vault keeps.
    pub fn to_proto(&self, id: ReportId) -> proto::Report {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        proto::Report {
            report_id: ObjectId::from(id).to_bytes(),
            snapshot: self.snapshot,
            started_ms: self.started_ms,
            finished_ms: self.finished_ms,
            level: self.level.map_or(0, Level::number),
            passed: self.passed(),
            failure: self.failure.as_ref().map(Failure::to_string).unwrap_or_default(),
            steps: self
                .steps
                .iter()
                .map(|step| proto::Step {
                    name: step.name.clone(),
                    milliseconds: signed(step.milliseconds),
                    detail: step.detail.clone(),
                })
                .collect(),
            recovery_ms: self.recovery_ms.map_or(0, signed),
            server: self.server.clone(),
            opened_by: self.opened_by.clone(),
            signature: None,
            record_count: self.records,
            sampled_records: self.sampled,
            host: self.host.clone(),
        }
    }
}

impl fmt::Display for DrillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level.map_or_else(|| "nothing".to_owned(), |level| level.to_string());
        match &self.failure {
            None => {
                writeln!(f, "Drill of snapshot {} PASSED: proven up to {level}", self.snapshot)?;
            }
            Some(failure) => writeln!(
                f,
                "Drill of snapshot {} FAILED: {failure}\n  proven only: {level}",
                self.snapshot
            )?,
        }
        for step in &self.steps {
            let (seconds, rest) = (step.milliseconds / 1000, step.milliseconds % 1000);
            writeln!(f, "  {:<22} {seconds:>4}.{rest:03} s  {}", step.name, step.detail)?;
        }
        if let Some(recovery_ms) = self.recovery_ms {
            writeln!(
                f,
                "  recovery time          {:>4}.{:03} s  to the first linearizable read of {}",
                recovery_ms / 1000,
                recovery_ms % 1000,
                text::bytes(self.size_bytes)
            )?;
        }
        writeln!(
            f,
            "  {} records, {} compared one by one, on {}",
            self.records, self.sampled, self.server
        )?;
        self.opened_by.iter().try_for_each(|opened| writeln!(f, "  opened: {opened}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))?;
        match &self.recorded {
            Recorded::No => write!(f, "  not written into the vault"),
            Recorded::InCommit(number) => write!(f, "  written into the vault, commit {number}"),
            Recorded::Failed(why) => write!(f, "  NOT written into the vault, keep this: {why}"),
        }
    }
}
