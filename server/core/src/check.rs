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

/// Reads a data directory and says all that is wrong with it. Never writes. A live member's directory
/// must not be given: it changes under the reader.
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
