//! The .snap files of a member: saved whole, loaded newest first, purged.
//!
//! What must hold: a file appears under its name only when it is durable; a boot takes only files
//! whose index and term the log notes; one that is broken is set aside as `<name>.broken`, never
//! removed.

use std::io;
use std::path::{Path, PathBuf};

use super::{SnapError, decode, encode, file_name, hex16, parse_file_name};
use crate::raftpb::{RaftSnapshot, SnapshotMetadata};
use crate::wal::{LogDisk, PurgeOrder, SnapshotRecord};

/// What a member writes first goes by such a name; left over, it is removed at the next start.
const TEMPORARY: &str = "tmp";
/// A defragmentation that did not end leaves such files.
const DEFRAGMENTED: &str = "db.tmp";

/// The directory `member/snap`.
#[derive(Debug, Clone)]
pub struct SnapFiles<D: LogDisk> {
    disk: D,
    dir: PathBuf,
}

/// A .snap file, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedSnap {
    /// Its place in the log.
    pub metadata: SnapshotMetadata,
    /// The v2 store's JSON, see [`crate::v2store`].
    pub data: Vec<u8>,
}

/// What looking for a snapshot found.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest one that is sound and noted in the log.
    pub snapshot: Option<LoadedSnap>,
    /// Newer files that are broken, with the reason; see [`SnapFiles::set_aside`].
    pub broken: Vec<(String, SnapError)>,
}

impl<D: LogDisk> SnapFiles<D> {
    /// The files in `dir`.
    pub fn new(disk: D, dir: &Path) -> Self {
        SnapFiles { disk, dir: dir.to_owned() }
    }

    /// Saves a snapshot. Note it in the log afterwards, not before.
    ///
    /// # Errors
    /// I/O; then there is no such file, or the one that was there.
    pub fn save(&self, snapshot: &RaftSnapshot<'_>) -> io::Result<PathBuf> {
        let SnapshotMetadata { index, term, .. } = snapshot.metadata;
        let name = file_name(term, index);
        let (aside, path) = (self.dir.join(format!("{TEMPORARY}-{name}")), self.dir.join(name));
        self.disk.write_whole(&aside, &encode(snapshot))?;
        self.disk.rename(&aside, &path)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(path)
    }

    /// Finds the newest sound snapshot that is among `notes`: those of the log up to its commit
    /// index.
    ///
    /// # Errors
    /// I/O.
    pub fn find_newest(&self, notes: &[SnapshotRecord]) -> io::Result<Found> {
        let mut found = Found::default();
        for name in self.disk.names(&self.dir)?.into_iter().rev() {
            if parse_file_name(&name).is_none() {
                continue;
            }
            match decode(&self.disk.read(&self.dir.join(&name))?) {
                Ok(RaftSnapshot { data, metadata }) => {
                    let is_noted = |it: &SnapshotRecord| {
                        (it.index, it.term) == (metadata.index, metadata.term)
                    };
                    if notes.iter().any(is_noted) {
                        found.snapshot = Some(LoadedSnap { metadata, data: data.to_vec() });
                        break;
                    }
                }
                Err(error) => found.broken.push((name, error)),
            }
        }
        Ok(found)
    }

    /// Renames a broken file to `<name>.broken`.
    ///
    /// # Errors
    /// I/O.
    pub fn set_aside(&self, name: &str) -> io::Result<()> {
        self.disk.rename(&self.dir.join(name), &self.dir.join(format!("{name}.broken")))
    }

    /// Removes what an interrupted save, receipt or defragmentation left; names what it removed.
    ///
    /// # Errors
    /// I/O.
    pub fn clean(&self) -> io::Result<Vec<String>> {
        self.remove_where(|name| name.starts_with(TEMPORARY) || name.starts_with(DEFRAGMENTED))
    }

    /// The database that a leader sent along with the snapshot at `index`, if it is there.
    ///
    /// # Errors
    /// I/O.
    pub fn received_db(&self, index: u64) -> io::Result<Option<PathBuf>> {
        let name = db_name(index);
        let is_there = self.disk.names(&self.dir)?.contains(&name);
        Ok(is_there.then(|| self.dir.join(name)))
    }

    /// Removes databases that came with snapshots below `index`; names what it removed.
    ///
    /// # Errors
    /// I/O.
    pub fn release_dbs(&self, index: u64) -> io::Result<Vec<String>> {
        self.remove_where(|name| {
            name.strip_suffix(".snap.db").and_then(hex16).is_some_and(|of| of < index)
        })
    }

    /// The order to remove all .snap files but the newest `keep`, for another thread.
    pub fn purge_order(&self, keep: usize) -> PurgeOrder<D> {
        PurgeOrder::of_snapshots(self.disk.clone(), &self.dir, keep)
    }

    fn remove_where(&self, condemned: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let mut names = self.disk.names(&self.dir)?;
        names.retain(|name| condemned(name));
        for name in &names {
            self.disk.remove(&self.dir.join(name))?;
        }
        Ok(names)
    }
}

/// The name of the database that comes with the snapshot at `index`.
pub fn db_name(index: u64) -> String {
    format!("{index:016x}.snap.db")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::ConfState;
    use crate::wal::simdisk::{Crash, Fault, SimDisk};

    const DIR: &str = "/snap";

    fn files(disk: &SimDisk) -> SnapFiles<SimDisk> {
        disk.create_dir(Path::new(DIR)).unwrap();
        let files = SnapFiles::new(disk.clone(), Path::new(DIR));
        disk.sync_dir(Path::new("/")).unwrap();
        files
    }

    fn save(files: &SnapFiles<SimDisk>, index: u64) -> io::Result<PathBuf> {
        let conf_state = ConfState::of_voters(vec![7]);
        let metadata = SnapshotMetadata { conf_state, index, term: 2 };
        files.save(&RaftSnapshot { data: b"{}", metadata })
    }

    fn note(index: u64) -> SnapshotRecord {
        SnapshotRecord { index, term: 2, conf_state: None }
    }

    fn newest(files: &SnapFiles<SimDisk>, notes: &[SnapshotRecord]) -> Option<u64> {
        let found = files.find_newest(notes).unwrap();
        found.snapshot.map(|snapshot| snapshot.metadata.index)
    }

    #[test]
    fn the_newest_sound_one_that_is_noted_is_loaded() {
        let disk = SimDisk::default();
        let files = files(&disk);
        for index in [10, 20, 30, 40] {
            save(&files, index).unwrap();
        }
        let notes = [note(10), note(20), note(30)];
        assert_eq!(newest(&files, &notes), Some(30), "40 is not noted");
        assert_eq!(newest(&files, &[]), None);
        let other_term = SnapshotRecord { term: 3, ..note(30) };
        assert_eq!(newest(&files, &[other_term, note(10)]), Some(10));
        let path = Path::new(DIR).join(file_name(2, 30));
        disk.tamper(&path, |bytes| bytes[9] ^= 1);
        let found = files.find_newest(&notes).unwrap();
        assert_eq!(found.snapshot.unwrap().metadata.index, 20);
        assert!(matches!(&found.broken[..], [(_, SnapError::Crc { .. })]), "{:?}", found.broken);
        files.set_aside(&found.broken[0].0).unwrap();
        let names = disk.names(Path::new(DIR)).unwrap();
        assert!(names.contains(&format!("{}.broken", file_name(2, 30))), "{names:?}");
        let purged = files.purge_order(2).run().unwrap();
        assert_eq!(purged, [file_name(2, 10)]);
    }

    #[test]
    fn left_overs_go_and_nothing_else() {
        let disk = SimDisk::default();
        let files = files(&disk);
        let keep = ["db", "0000000000000009.snap.db", "x.snap.db", "0.snap.broken"];
        for name in ["tmp123", "db.tmp.5", "0000000000000002.snap.db"].into_iter().chain(keep) {
            disk.write_whole(&Path::new(DIR).join(name), b"x").unwrap();
        }
        assert_eq!(files.clean().unwrap(), ["db.tmp.5", "tmp123"]);
        assert_eq!(files.received_db(9).unwrap(), Some(Path::new(DIR).join(db_name(9))));
        assert_eq!(files.received_db(8).unwrap(), None);
        assert_eq!(files.release_dbs(9).unwrap(), [db_name(2)]);
        assert_eq!(disk.names(Path::new(DIR)).unwrap().len(), keep.len());
    }

    #[test]
    fn stopped_at_every_operation_there_is_the_new_one_or_the_old_one() {
        for stop in 0..4 {
            for crash in [Crash::Lost, Crash::Kept, Crash::Mixed(stop as u64)] {
                let disk = SimDisk::default();
                let files = files(&disk);
                save(&files, 10).unwrap();
                disk.fault_at(disk.operations() + stop, Fault::Stop);
                let saved = save(&files, 20);
                disk.crash(crash);
                let found = files.find_newest(&[note(10), note(20)]).unwrap();
                assert!(found.broken.is_empty(), "stopped at {stop}, {crash:?}");
                let index = found.snapshot.unwrap().metadata.index;
                assert!(index == 20 || saved.is_err(), "stopped at {stop}, {crash:?}");
                assert_eq!(saved.is_ok(), stop == 3);
            }
        }
    }
}
