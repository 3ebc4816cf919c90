//! A new member's data directory: WAL and .snap beside a database that is already a new member's.
//!
//! ```text
//! <data-dir>/member/snap/db                                         written by a bolt builder
//! <data-dir>/member/snap/0000000000000001-<n>.snap                  v2 store with the n founders
//! <data-dir>/member/wal/0000000000000000-0000000000000000.wal       reserved to 64,000,000 bytes
//! ```
//!
//! The log says what a booted cluster's would: metadata, an empty snapshot note, n entries that
//! each add a founder (term 1, index 1..n), the hard state (term 1, a vote for the first founder,
//! commit n), and the note of the snapshot at n. The database beside it must say the same:
//! consistent index n, term 1, the founders in `members` (see [`crate::rebuilt`]). The three
//! versions read different ones of these: 3.5 the v2 store, 3.6 the buckets, 3.7 the snapshot note.
//! So all must agree.
//!
//! The directory is a member's only when [`write_member`] has returned and the database stands.
//! Build it aside and rename it.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::MemberDisk;
use crate::membership::Founding;
use crate::meta::ConfState;
use crate::raftpb::{ConfChange, ConfChangeKind, Entry, EntryKind, HardState};
use crate::raftpb::{RaftSnapshot, SnapshotMetadata};
use crate::rebuilt::FOUNDING_TERM;
use crate::wal::{self, SnapshotRecord, WalEncoder, WalMetadata};
use crate::{snap, v2store};

/// Where the database stands in a data directory.
pub fn db_path(data_dir: &Path) -> PathBuf {
    snap_dir(data_dir).join("db")
}

/// Where the database and the .snap files stand in a data directory.
pub fn snap_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("member").join("snap")
}

/// Where the log stands in a data directory.
pub fn wal_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("member").join("wal")
}

/// A directory that could not be written. It is unfinished and must not be booted.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}; the data directory is unfinished", path.display())]
pub struct WriteError {
    /// What was being done.
    pub action: &'static str,
    /// To what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

/// Makes the directories of a member: `<data-dir>`, `member`, `member/snap`. Its parent must exist.
/// Those that exist are left as they are. Call it before the database is written.
///
/// # Errors
/// I/O, with the path.
pub fn create_dirs(disk: &dyn MemberDisk, data_dir: &Path) -> Result<(), WriteError> {
    for dir in [data_dir, &data_dir.join("member"), &snap_dir(data_dir)] {
        disk.create_dir(dir).map_err(failed("create the directory", dir))?;
    }
    Ok(())
}

/// Writes WAL and .snap of the local member of a new cluster, durably: files first, then the
/// directories up to the one that holds `data_dir`.
///
/// # Errors
/// I/O, with the path; also if there is a log or a snapshot already.
pub fn write_member(
    disk: &dyn MemberDisk,
    data_dir: &Path,
    founding: &Founding,
) -> Result<(), WriteError> {
    create_dirs(disk, data_dir)?;
    let (wal_dir, snap_dir) = (wal_dir(data_dir), snap_dir(data_dir));
    disk.create_dir(&wal_dir).map_err(failed("create the directory", &wal_dir))?;
    let index = founding.members().len() as u64;
    let files = [
        (snap_dir.join(snap::file_name(FOUNDING_TERM, index)), founding_snapshot(founding), 0),
        (wal_dir.join(wal::segment_name(0, 0)), founding_log(founding), wal::SEGMENT_BYTES),
    ];
    for (path, contents, length) in files {
        disk.write_new(&path, &contents, length).map_err(failed("write", &path))?;
    }
    let member = data_dir.join("member");
    let parent = match data_dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => data_dir,
    };
    for dir in [&*wal_dir, &snap_dir, &member, data_dir, parent] {
        disk.sync_dir(dir).map_err(failed("sync the directory", dir))?;
    }
    Ok(())
}

/// The bytes of the first WAL segment, without the zeros behind them.
pub fn founding_log(founding: &Founding) -> Vec<u8> {
    let metadata = WalMetadata { node_id: founding.local().id, cluster_id: founding.cluster_id() };
    let mut log = WalEncoder::new(0, metadata);
    log.snapshot(&SnapshotRecord::default());
    for (index, member) in (1..).zip(founding.members()) {
        let change = ConfChange {
            id: 0,
            kind: ConfChangeKind::AddNode,
            node_id: member.id,
            context: member.to_json(),
        };
        let data = change.to_bytes();
        let kind = EntryKind::ConfChange;
        log.entry(&Entry { kind, term: FOUNDING_TERM, index, data: &data });
    }
    let (vote, commit) = (founding.members()[0].id, founding.members().len() as u64);
    log.hard_state(HardState { term: FOUNDING_TERM, vote, commit });
    let conf_state = Some(ConfState::of_voters(founding.member_ids()));
    log.snapshot(&SnapshotRecord { index: commit, term: FOUNDING_TERM, conf_state });
    log.bytes().to_vec()
}

/// The bytes of the first .snap file.
pub fn founding_snapshot(founding: &Founding) -> Vec<u8> {
    let metadata = SnapshotMetadata {
        conf_state: ConfState::of_voters(founding.member_ids()),
        index: founding.members().len() as u64,
        term: FOUNDING_TERM,
    };
    let data = v2store::encode(founding.members());
    snap::encode(&RaftSnapshot { data: &data, metadata })
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileSystem;
    use std::cell::Cell;
    use std::os::unix::fs::PermissionsExt;

    /// Fails the n-th operation, counting from 0.
    struct Failing {
        left: Cell<usize>,
        inner: FileSystem,
    }

    impl Failing {
        fn step(&self) -> io::Result<()> {
            let left = self.left.get();
            self.left.set(left.wrapping_sub(1));
            if left == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl MemberDisk for Failing {
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            self.step().and_then(|()| self.inner.create_dir(path))
        }

        fn write_new(&self, path: &Path, contents: &[u8], length: u64) -> io::Result<()> {
            self.step().and_then(|()| self.inner.write_new(path, contents, length))
        }

        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.step().and_then(|()| self.inner.sync_dir(path))
        }
    }

    fn founding() -> Founding {
        Founding::single("d", &["http://127.0.0.1:12380".to_owned()], "tok").unwrap()
    }

    #[test]
    fn the_log_is_byte_for_byte_that_of_etcdutl() {
        // The first 280 bytes of the segment that `etcdutl snapshot restore` of 3.5.35 writes with
        // this name, URL and token; zeros follow.
        let want = concat!(
            "040000000000008408041000000000001f00000000000081080110d1d4d7e9061a1508bcb69eace8",
            "ce8491d60110828b9abf86d7bfab66000d000000000000830805109d92c73e1a0408001000000000",
            "6e00000000000082080210f2b7a6661a65080110011801225d0800100018bcb69eace8ce8491d601",
            "224c7b226964223a31353432393931353537333538303433383333322c227065657255524c73223a",
            "5b22687474703a2f2f3132372e302e302e313a3132333830225d2c226e616d65223a2264227d0000",
            "1900000000000087080310f9c899bf0e1a0f080110bcb69eace8ce8491d601180100000000000000",
            "1d00000000000083080510a4a7c6f50b1a13080110011a0d08bcb69eace8ce8491d6012800000000",
        );
        let log = founding_log(&founding());
        let hex: String = log.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, want);
    }

    #[test]
    fn files_stand_where_etcd_looks_and_are_private() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        write_member(&FileSystem, &dir, &founding()).unwrap();
        let wal = wal_dir(&dir).join("0000000000000000-0000000000000000.wal");
        let snap = snap_dir(&dir).join("0000000000000001-0000000000000001.snap");
        assert_eq!(wal.metadata().unwrap().len(), wal::SEGMENT_BYTES);
        assert_eq!(wal.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(snap::decode(&std::fs::read(snap).unwrap()).is_ok());
        let again = write_member(&FileSystem, &dir, &founding()).unwrap_err();
        assert_eq!(again.source.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn every_failing_operation_is_an_error_with_its_path() {
        for step in 0..=11 {
            let root = tempfile::tempdir().unwrap();
            let disk = Failing { left: Cell::new(step), inner: FileSystem };
            let result = write_member(&disk, &root.path().join("data"), &founding());
            assert_eq!(result.is_err(), step < 11, "step {step}: {result:?}");
        }
    }
}
