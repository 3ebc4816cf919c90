//! Checks a member's data directory: log, snapshots, database, and that they agree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use holdfast_bolt::{Db, MappedFile, PageSource};

use crate::database::read_small;
use crate::datadir::{db_path, snap_dir, wal_dir};
use crate::meta::Meta;
use crate::schema::{Findings, Severity, check_schema};
use crate::wal::{self, LogSummary, WalError};
use crate::{snap, v2store};

/// Longest file that is read into memory: a segment is 64 MB and a last entry, a .snap a few KB.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// Reads a data directory and says all that is wrong with it. Never writes. A live member's
/// directory must not be given: it changes under the reader.
pub fn check_member(data_dir: &Path) -> Findings {
    let mut out = Findings::default();
    let log = check_wal(&wal_dir(data_dir), &mut out);
    let snapshot = log.as_ref().and_then(|log| check_snaps(&snap_dir(data_dir), log, &mut out));
    let path = db_path(data_dir);
    match MappedFile::open(&path) {
        Ok(file) => check_database(file, log.as_ref(), snapshot, &mut out),
        Err(error) => out.fault(path.display(), error),
    }
    out
}

/// The snapshot that a member boots from.
#[derive(Debug, Clone, Copy)]
struct BootSnapshot {
    index: u64,
}

#[derive(Debug, thiserror::Error)]
enum LogError {
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn check_wal(dir: &Path, out: &mut Findings) -> Option<LogSummary> {
    let names = match list(dir, ".wal") {
        Ok(names) => names,
        Err(source) => {
            out.fault(dir.display(), source);
            return None;
        }
    };
    let read = |name: &str| {
        let path = dir.join(name);
        read_file(&path).map_err(|source| LogError::Io { path, source })
    };
    let log = match wal::summarize(&names, read) {
        Ok(log) => log,
        Err(error) => {
            out.fault(dir.display(), error);
            return None;
        }
    };
    if let Some(damage) = log.torn_tail {
        out.warn(dir.display(), format_args!("the last segment has a torn tail: {damage}"));
    }
    let (commit, last) = (log.hard_state.commit, log.last_index);
    let covered = log.snapshots.iter().any(|snapshot| snapshot.index >= commit);
    if commit > last && !covered {
        let what = format_args!("entry {commit} is committed, but the log ends at {last}");
        out.fault(dir.display(), what);
    }
    Some(log)
}

/// Finds the newest .snap that the log vouches for, as a boot does.
fn check_snaps(dir: &Path, log: &LogSummary, out: &mut Findings) -> Option<BootSnapshot> {
    let mut names = match list(dir, ".snap") {
        Ok(names) => names,
        Err(error) => {
            out.fault(dir.display(), error);
            return None;
        }
    };
    names.sort_unstable();
    let commit = log.hard_state.commit;
    let vouched = |term, index| {
        let mut notes = log.snapshots.iter();
        notes.any(|note| (note.term, note.index) == (term, index) && index <= commit)
    };
    let mut best = None;
    for name in names.iter().rev() {
        let place = dir.join(name);
        let Some((term, index)) = snap::parse_file_name(name) else {
            out.push(Severity::Note, place.display(), "not the name of a snapshot");
            continue;
        };
        if let Err(what) = check_snap(&place, term, index) {
            out.warn(place.display(), what);
        } else if vouched(term, index) {
            best = best.or(Some(BootSnapshot { index }));
        } else {
            out.push(Severity::Note, place.display(), "the log does not vouch for it");
        }
    }
    let noted = log.snapshots.iter().map(|note| note.index).filter(|index| *index <= commit);
    let newest_note = noted.max().unwrap_or(0);
    if best.is_none() && newest_note > 0 {
        let what = format_args!("no usable .snap, although the log notes one at {newest_note}");
        out.fault(dir.display(), what);
    }
    best
}

fn check_snap(path: &Path, term: u64, index: u64) -> Result<(), String> {
    let bytes = read_file(path).map_err(|error| error.to_string())?;
    let snapshot = snap::decode(&bytes).map_err(|error| error.to_string())?;
    let metadata = &snapshot.metadata;
    if (metadata.term, metadata.index) != (term, index) {
        let (term, index) = (metadata.term, metadata.index);
        return Err(format!("its content is of term {term}, index {index}"));
    }
    let membership = v2store::decode(snapshot.data).map_err(|error| error.to_string())?;
    let voters = membership.members.iter().filter(|member| !member.is_learner);
    let mut ids: Vec<u64> = voters.map(|member| member.id).collect();
    ids.sort_unstable();
    let mut raft = metadata.conf_state.voters.clone();
    raft.sort_unstable();
    if ids != raft {
        return Err(format!("its v2 store has the voters {ids:x?}, its raft state {raft:x?}"));
    }
    Ok(())
}

fn check_database(
    file: impl PageSource,
    log: Option<&LogSummary>,
    snapshot: Option<BootSnapshot>,
    out: &mut Findings,
) {
    let db = match Db::open(file) {
        Ok(db) => db,
        Err(error) => return out.fault("database", error),
    };
    match holdfast_bolt::check(&db) {
        Ok(report) => {
            for fault in &report.faults {
                out.fault("database", fault);
            }
        }
        Err(error) => out.fault("database", error),
    }
    let schema = check_schema(&db);
    out.more += schema.more;
    out.faults += schema.faults;
    out.all.extend(schema.all);
    if let (Some(log), Ok(small)) = (log, read_small(&db)) {
        if let Ok(meta) = Meta::read(&small) {
            check_indexes(log, snapshot, meta.consistent_index, out);
        }
        let id = crate::ids::hex(log.metadata.node_id);
        let known = small.get(crate::buckets::MEMBERS, id.as_bytes()).is_some();
        if !known {
            out.warn("members", format_args!("the log's member {id} is not among them"));
        }
    }
}

fn check_indexes(
    log: &LogSummary,
    snapshot: Option<BootSnapshot>,
    applied: u64,
    out: &mut Findings,
) {
    let index = snapshot.map_or(0, |snapshot| snapshot.index);
    if applied < index {
        let what = format_args!("applied index {applied} is below the snapshot's index {index}");
        out.fault("meta/consistent_index", what);
    }
    let end = log.last_index.max(index);
    if applied > end {
        let what = format_args!("applied index {applied} is above the log's end {end}");
        out.fault("meta/consistent_index", what);
    }
    if log.last_index > index && log.first_index > applied.saturating_add(1) {
        let what = format_args!("entries {} to {} are missing", applied + 1, log.first_index - 1);
        out.fault("wal", what);
    }
}

/// Names in a directory that end as given, sorted.
fn list(dir: &Path, suffix: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(suffix) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let len = fs::metadata(path)?.len();
    if len > MAX_FILE_BYTES {
        let what = format!("{len} bytes are more than a log segment or snapshot has");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buckets::{KEY, META, SmallBuckets};
    use crate::datadir::write_member;
    use crate::disk::FileSystem;
    use crate::membership::Founding;
    use crate::meta::CONSISTENT_INDEX;
    use crate::rebuilt::{RebuildPlan, rebuild};
    use crate::versions::V3_6;
    use holdfast_bolt::{BuildOptions, Builder, FileDisk};

    /// A new member's directory with an empty store and one founder.
    fn member(dir: &Path) {
        member_that_applied(dir, 1);
    }

    fn member_that_applied(dir: &Path, applied: u64) {
        let founding = Founding::single("n", &["http://127.0.0.1:1".to_owned()], "t").unwrap();
        write_member(&FileSystem, dir, &founding).unwrap();
        let plan =
            RebuildPlan { founding: &founding, target: V3_6, bump: None, made_up_leases: &[] };
        let mut rebuilt = rebuild(&SmallBuckets::empty(), &plan).unwrap();
        rebuilt.small.put(META, CONSISTENT_INDEX, applied.to_be_bytes());
        let disk = FileDisk::create_new(&db_path(dir)).unwrap();
        let mut builder = Builder::new(disk, BuildOptions::default()).unwrap();
        builder.begin_bucket(KEY).unwrap();
        builder.end_bucket().unwrap();
        for (name, entries) in rebuilt.small.iter() {
            builder.begin_bucket(name).unwrap();
            entries.iter().for_each(|(key, value)| builder.push(key, value).unwrap());
            builder.end_bucket().unwrap();
        }
        builder.finish().unwrap();
    }

    fn only(dir: &Path, suffix: &str) -> PathBuf {
        let names = list(dir, suffix).unwrap();
        assert_eq!(names.len(), 1);
        dir.join(&names[0])
    }

    #[test]
    fn sound_when_written_and_not_when_a_part_is_missing() {
        let root = tempfile::tempdir().unwrap();
        member(root.path());
        assert_eq!(check_member(root.path()), Findings::default());
        let parts = [only(&wal_dir(root.path()), ".wal"), only(&snap_dir(root.path()), ".snap")];
        for part in parts.into_iter().chain([db_path(root.path())]) {
            let aside = root.path().join("aside");
            fs::rename(&part, &aside).unwrap();
            assert!(!check_member(root.path()).is_sound(), "without {}", part.display());
            fs::rename(&aside, &part).unwrap();
        }
        assert!(!check_member(&root.path().join("nowhere")).is_sound());
    }

    #[test]
    fn an_applied_index_that_does_not_fit_the_log_is_a_fault() {
        for (applied, want) in [(2, "above the log's end 1"), (0, "below the snapshot's index 1")] {
            let root = tempfile::tempdir().unwrap();
            member_that_applied(root.path(), applied);
            let findings = check_member(root.path());
            assert_eq!(findings.faults, 1, "{findings:#?}");
            assert!(findings.all.iter().any(|finding| finding.what.contains(want)));
        }
    }

    #[test]
    fn no_flipped_byte_panics_and_those_that_matter_are_found() {
        let root = tempfile::tempdir().unwrap();
        member(root.path());
        // The log's 64 MB of zeros would only slow this down.
        let wal = only(&wal_dir(root.path()), ".wal");
        let mut log = fs::read(&wal).unwrap();
        log.truncate(4_096);
        fs::write(&wal, &log).unwrap();
        for (path, step) in [(wal, 1), (only(&snap_dir(root.path()), ".snap"), 97)] {
            let good = fs::read(&path).unwrap();
            let used = good.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            let mut found = 0;
            for at in (0..used).step_by(step) {
                let mut bad = good.clone();
                bad[at] ^= 0x55;
                fs::write(&path, &bad).unwrap();
                found += usize::from(check_member(root.path()) != Findings::default());
            }
            assert!(
                found * 10 > used / step * 9,
                "{found} of {} in {}",
                used / step,
                path.display()
            );
            fs::write(&path, &good).unwrap();
        }
        let db = db_path(root.path());
        let good = fs::read(&db).unwrap();
        for at in (0..good.len()).step_by(13) {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            fs::write(&db, &bad).unwrap();
            let _ = check_member(root.path());
        }
    }
}
