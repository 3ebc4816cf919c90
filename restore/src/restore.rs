//! Executes a plan: rebuild aside, prove, put in place.
//!
//! Order: bring back order after an earlier crash → lock an empty directory beside → small
//! buckets → records, streamed → finish the database (durable) → prove HashKV, if asked → WAL and
//! .snap (durable) → swap. Holds: up to the swap the existing data directory is untouched, and a
//! failure leaves nothing behind but itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_bolt::FileDisk;
use holdfast_core::datadir;
use holdfast_core::disk::FileSystem;
use holdfast_core::hashkv::HashScope;
use holdfast_core::rebuilt::{Change, ChangeKind};
use holdfast_vault::proto::{Facts, HashKv};
use holdfast_vault::snapshot::{ReadOptions, SnapshotReader, VerifiedSnapshot};
use serde::Serialize;

use crate::check::{OpenError, hashkv_of, open_database};
use crate::fetch::{FetchError, blocking, pour, small_buckets};
use crate::plan::{RestorePlan, shell_line};
use crate::rebuild::{Counts, Rebuild, RebuildError, RebuildSpec, Rebuilt};
use crate::swap::{DurableNames, Settled, SwapError, Workplace, settle};
use crate::text;

/// What was restored.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreReport {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where what stood there is now.
    pub moved_aside: Option<PathBuf>,
    /// Bytes of the database.
    pub size_bytes: u64,
    /// Counts of records.
    pub counts: Counts,
    /// Logical revision restored.
    pub revision: i64,
    /// Logical revision after the bump.
    pub served_revision: i64,
    /// Leases made up for live keys.
    pub made_up_leases: usize,
    /// What was dropped, rewritten, added or is unknown.
    pub changes: Vec<String>,
    /// The proven hash, if one was asked for and the source gave one.
    pub hash: Option<ProvenHash>,
    /// Whether the digest over all records was compared with the source's.
    pub digest_compared: bool,
    /// Milliseconds per step.
    pub steps: Vec<(&'static str, u64)>,
    /// How etcd is started on it.
    pub command: Vec<String>,
    /// True if an earlier, interrupted restore had to be cleaned up.
    pub cleaned_up: bool,
}

/// A HashKV that the rebuild and the source agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProvenHash {
    /// Revision.
    pub revision: i64,
    /// Compaction revision.
    pub compact_revision: i64,
    /// HashKV.
    pub hash: u32,
}

/// A database that was built from a snapshot.
#[derive(Debug, Clone)]
pub struct BuiltMember {
    /// The database file.
    pub database: PathBuf,
    /// What was built.
    pub rebuilt: Rebuilt,
    /// The reader's proof.
    pub verified: VerifiedSnapshot,
}

/// A restore that failed; the existing directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The vault, or the records.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Directories.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// The member's files.
    #[error(transparent)]
    Member(#[from] datadir::WriteError),
    /// The database that was built cannot be read.
    #[error("the rebuilt database cannot be read back: {0}")]
    ReadBack(#[from] OpenError),
    /// The plan's member is not one.
    #[error(transparent)]
    Founding(#[from] holdfast_core::membership::InitialClusterError),
    /// The rebuild is not what the source was.
    #[error(
        "HashKV at revision {revision} is {found:08x} in the rebuild and was {expected:08x} in \
         the source: \
         the snapshot does not restore to what was backed up; nothing was changed"
    )]
    HashDiffers {
        /// The revision.
        revision: i64,
        /// The source's.
        expected: u32,
        /// The rebuild's.
        found: u32,
    },
}

impl From<RebuildError> for RestoreError {
    fn from(error: RebuildError) -> Self {
        FetchError::from(error).into()
    }
}

/// Takes the time of each step.
#[derive(Debug)]
pub(crate) struct Steps {
    began: Instant,
    pub(crate) all: Vec<(&'static str, u64)>,
}

impl Steps {
    pub(crate) fn begin() -> Steps {
        Steps { began: Instant::now(), all: Vec::new() }
    }

    /// Notes the end of a step.
    pub(crate) fn done(&mut self, name: &'static str) {
        let now = Instant::now();
        let elapsed = now.duration_since(std::mem::replace(&mut self.began, now));
        self.all.push((name, u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)));
    }
}

/// Does what `plan` says. `now_ms` names the directory that is moved aside.
///
/// # Errors
/// See [`RestoreError`].
pub async fn restore(
    reader: &SnapshotReader,
    plan: &RestorePlan,
    options: ReadOptions,
    now_ms: i64,
) -> Result<RestoreReport, RestoreError> {
    let mut steps = Steps::begin();
    let settled = settle(&plan.place, &mut DurableNames)?;
    let workplace = Workplace::prepare(&plan.place, &mut DurableNames)?;
    let built = build_and_prove(reader, plan, options, &workplace, &mut steps).await;
    let (built, hash) = match built {
        Ok(built) => built,
        Err(error) => {
            // The first error tells more than one about the clean-up.
            if let Err(left) = workplace.discard(&mut DurableNames) {
                tracing::warn!(%left, "the unfinished rebuild could not be removed");
            }
            return Err(error);
        }
    };
    let moved_aside = workplace.swap_in(&mut DurableNames, now_ms)?;
    steps.done("put in place");
    let BuiltMember { rebuilt, verified, .. } = built;
    Ok(RestoreReport {
        data_dir: plan.place.data_dir.clone(),
        moved_aside,
        size_bytes: rebuilt.summary.size_bytes,
        counts: rebuilt.counts,
        revision: rebuilt.revision,
        served_revision: rebuilt.served_revision,
        made_up_leases: rebuilt.made_up_leases.len(),
        changes: rebuilt.changes.iter().map(change_line).collect(),
        hash,
        digest_compared: verified.digest_compared,
        steps: steps.all,
        command: plan.command.clone(),
        cleaned_up: settled != Settled::Clean,
    })
}

async fn build_and_prove(
    reader: &SnapshotReader,
    plan: &RestorePlan,
    options: ReadOptions,
    workplace: &Workplace,
    steps: &mut Steps,
) -> Result<(BuiltMember, Option<ProvenHash>), RestoreError> {
    let spec = RebuildSpec {
        trim_to: plan.trim_to,
        bump_to: plan.bump.to,
        made_up_ttl_seconds: plan.made_up_ttl_seconds,
        ..RebuildSpec::new(plan.founding()?, plan.target)
    };
    let built = build_member(reader, workplace.build_dir(), spec, options).await?;
    steps.done("rebuild");
    let expected = source_hash(&built.verified.facts);
    let hash = match expected.filter(|_| plan.prove_hash && plan.trim_to.is_none()) {
        Some(expected) => Some(prove_hash(&built.database, expected).await?),
        None => None,
    };
    if hash.is_some() {
        steps.done("prove HashKV");
    }
    Ok((built, hash))
}

/// Builds a whole member in `data_dir` (which exists and is empty, or does not exist) from a
/// snapshot; durable when it returns.
///
/// # Errors
/// See [`RestoreError`]. What was written must then be thrown away.
pub async fn build_member(
    reader: &SnapshotReader,
    data_dir: &Path,
    spec: RebuildSpec,
    options: ReadOptions,
) -> Result<BuiltMember, RestoreError> {
    let small = small_buckets(reader).await?;
    let stream = reader.records(options);
    let data_dir = data_dir.to_owned();
    blocking(move || {
        datadir::create_dirs(&FileSystem, &data_dir)?;
        let database = datadir::db_path(&data_dir);
        let disk = FileDisk::create_new(&database).map_err(|error| {
            RestoreError::from(RebuildError::Build(holdfast_bolt::BuildError::Disk(error)))
        })?;
        let founding = spec.founding.clone();
        let mut rebuild = Rebuild::new(disk, small, spec)?;
        let verified = pour(stream, &mut rebuild)?;
        let (disk, rebuilt) = rebuild.finish()?;
        drop(disk);
        datadir::write_member(&FileSystem, &data_dir, &founding)?;
        Ok(BuiltMember { database, rebuilt, verified })
    })
    .await
}

/// The HashKV that a restore of this snapshot must have, if the source ever gave one. A snapshot
/// that holds other bytes than its source had (contested or wrongly vanished records) has none.
pub fn source_hash(facts: &Facts) -> Option<HashKv> {
    if facts.live_sha256.is_empty() {
        return None;
    }
    facts.restored_hash_kv.or(facts.hash_kv)
}

/// Computes HashKV of a database that was just built, and compares. A bump does not disturb it:
/// its record and mark lie above the revision.
///
/// # Errors
/// [`RestoreError::HashDiffers`], or a file that cannot be read.
pub async fn prove_hash(database: &Path, expected: HashKv) -> Result<ProvenHash, RestoreError> {
    let database = database.to_owned();
    let HashKv { revision, compact_revision, hash } = expected;
    let found = blocking(move || {
        let db = open_database(&database)?;
        Ok::<_, RestoreError>(hashkv_of(&db, HashScope { revision, compact_revision })?)
    })
    .await?;
    if found == hash {
        Ok(ProvenHash { revision, compact_revision, hash })
    } else {
        Err(RestoreError::HashDiffers { revision, expected: hash, found })
    }
}

/// A change as a line: `dropped alarm: …`.
pub(crate) fn change_line(change: &Change) -> String {
    let what = match change.kind {
        ChangeKind::Dropped => "dropped",
        ChangeKind::Rewritten => "rewritten",
        ChangeKind::Added => "added",
        ChangeKind::Unknown => "carried over unknown",
    };
    format!("{what} {}: {}", change.place, change.what)
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { records, trimmed, .. } = self.counts;
        let total: u64 = self.steps.iter().map(|(_, milliseconds)| milliseconds).sum();
        let took = Duration::from_millis(total).as_secs_f64();
        writeln!(
            f,
            "Restored {records} records ({}) to {} in {took:.2} s",
            text::bytes(self.size_bytes),
            self.data_dir.display()
        )?;
        if trimmed > 0 {
            writeln!(f, "  {trimmed} records above revision {} were dropped", self.revision)?;
        }
        if self.served_revision != self.revision {
            writeln!(f, "  revision {} lifted to {}", self.revision, self.served_revision)?;
        }
        if self.made_up_leases > 0 {
            writeln!(f, "  {} leases were made up for live keys", self.made_up_leases)?;
        }
        if let Some(hash) = &self.hash {
            writeln!(
                f,
                "  HashKV {:08x} at revision {} equals the source's",
                hash.hash, hash.revision
            )?;
        }
        if !self.digest_compared {
            writeln!(
                f,
                "  the source's digest could not be compared: members disagreed about records"
            )?;
        }
        self.changes.iter().try_for_each(|change| writeln!(f, "  {change}"))?;
        if let Some(aside) = &self.moved_aside {
            let data_dir = self.data_dir.to_string_lossy();
            let undo = ["holdfast", "undo", "--data-dir", &data_dir].map(str::to_owned);
            writeln!(f, "  what was there is {}", aside.display())?;
            writeln!(f, "  put it back with: {}", shell_line(&undo))?;
        }
        if self.cleaned_up {
            writeln!(f, "  an earlier, interrupted restore was cleaned up first")?;
        }
        writeln!(f, "  start it with: {}", shell_line(&self.command))?;
        write!(f, "  (no etcd here? `holdfast server` takes the same flags and serves one member)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(data_dir: &str, moved_aside: Option<&str>) -> RestoreReport {
        RestoreReport {
            data_dir: data_dir.into(),
            moved_aside: moved_aside.map(PathBuf::from),
            size_bytes: 0,
            counts: Counts::default(),
            revision: 1,
            served_revision: 1,
            made_up_leases: 0,
            changes: Vec::new(),
            hash: None,
            digest_compared: true,
            steps: Vec::new(),
            command: vec!["etcd".to_owned()],
            cleaned_up: false,
        }
    }

    #[test]
    fn the_way_back_can_be_pasted() {
        let plain = report("/var/lib/etcd", Some("/var/lib/etcd.holdfast-1")).to_string();
        assert!(plain.contains("with: holdfast undo --data-dir /var/lib/etcd\n"), "{plain}");
        let spaced = report("/srv/my etcd's", Some("/srv/aside")).to_string();
        let line = "with: holdfast undo --data-dir '/srv/my etcd'\\''s'\n";
        assert!(spaced.contains(line), "{spaced}");
        let nothing = report("/var/lib/etcd", None).to_string();
        assert!(!nothing.contains("undo"), "there is nothing to put back: {nothing}");
    }
}
