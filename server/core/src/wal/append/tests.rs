//! Writes and syncs counted, segments released and purged, spares on a real disk, and where a log
//! can be opened.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::disk::FileSystem;
use crate::raftpb::{Entry, EntryKind, HardState};
use crate::wal::simdisk::SimDisk;
use crate::wal::story::*;
use crate::wal::*;

#[test]
fn a_received_snapshot_moves_the_log_and_each_segment_knows_the_state() {
    let disk = SimDisk::default();
    dirs(&disk);
    let dir = Path::new(DIR);
    let mut wal = Wal::create(disk.clone(), dir, METADATA, options(), Box::new(())).unwrap();
    let data = bytes::Bytes::from(vec![1; 2_000]);
    let entry = |index| LogEntry { kind: EntryKind::Normal, term: 3, index, data: data.clone() };
    wal.append([entry(1).borrow()], Some(HardState { term: 3, vote: 7, commit: 1 }), true).unwrap();
    wal.save_snapshot(&SnapshotRecord { index: 50, term: 3, conf_state: None }).unwrap();
    let state = HardState { term: 3, vote: 9, commit: 50 };
    wal.append([entry(51).borrow()], Some(state), true).unwrap();
    for index in 52..60 {
        wal.append([entry(index).borrow()], None, true).unwrap();
    }
    wal.save_snapshot(&SnapshotRecord { index: 59, term: 3, conf_state: None }).unwrap();
    let names = segment_names(&disk, dir).unwrap();
    let firsts: Vec<u64> = names.iter().map(|name| parse_segment_name(name).unwrap().1).collect();
    assert_eq!(firsts, [0, 52, 54, 56, 58, 60][..firsts.len()]);
    wal.release_to(56);
    assert_eq!(wal.purge_order(1).run().unwrap(), names[..2], "what reaches up to 56 stays");
    drop(wal);
    let start = LogStart { index: 59, term: 3 };
    let late = Wal::open(disk.copy(), dir, start, options(), Box::new(())).unwrap().1;
    assert_eq!((late.hard_state, late.entries.len()), (state, 0));
}

#[test]
fn one_write_and_one_sync_for_an_append_and_each_is_told() {
    #[derive(Clone, Default)]
    struct Count(Arc<Mutex<(usize, usize)>>);
    impl SyncObserver for Count {
        fn begins(&mut self) {
            self.0.lock().unwrap().0 += 1;
        }
        fn ended(&mut self) {
            self.0.lock().unwrap().1 += 1;
        }
    }
    let disk = SimDisk::default();
    dirs(&disk);
    let (dir, count) = (Path::new(DIR), Count::default());
    let observer = Box::new(count.clone());
    let mut wal = Wal::create(disk.clone(), dir, METADATA, options(), observer).unwrap();
    let (before, syncs) = (disk.operations(), count.0.lock().unwrap().0);
    let entries: Vec<LogEntry> = (1..=5)
        .map(|index| {
            let data = bytes::Bytes::from_static(b"x");
            LogEntry { kind: EntryKind::Normal, term: 1, index, data }
        })
        .collect();
    let state = HardState { term: 1, vote: 7, commit: 4 };
    wal.append(entries.iter().map(LogEntry::borrow), Some(state), true).unwrap();
    assert_eq!(disk.operations() - before, 2, "one write, one sync");
    wal.append([], Some(HardState { commit: 5, ..state }), false).unwrap();
    assert_eq!(disk.operations() - before, 2, "a commit alone waits");
    assert_eq!(*count.0.lock().unwrap(), (syncs + 1, syncs + 1));
    let gap = LogEntry { index: 9, ..entries[0].clone() };
    assert!(matches!(wal.append([gap.borrow()], None, true), Err(WalWriteError::Order { .. })));
}

#[test]
fn released_segments_are_purged_but_the_newest_five() {
    let disk = SimDisk::default();
    dirs(&disk);
    let mut story = Story::default();
    live(&disk, &mut story, 1, 150).unwrap();
    let names = segment_names(&disk, Path::new(DIR)).unwrap();
    assert!(names.len() > 8, "{names:?}");
    let (mut wal, contents) = open(&disk).unwrap();
    assert_eq!(wal.purge_order(KEEP_FILES).run().unwrap(), Vec::<String>::new(), "all are locked");
    wal.release_to(contents.entries.len() as u64);
    let purged = wal.purge_order(KEEP_FILES).run().unwrap();
    assert_eq!(purged, names[..names.len() - 5]);
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, WalOpenError::TooYoung { index: 0 }), "{error}");
}

#[test]
fn a_log_opens_at_its_snapshots_and_nowhere_else() {
    let disk = SimDisk::default();
    dirs(&disk);
    let dir = Path::new(DIR);
    let mut wal = Wal::create(disk.clone(), dir, METADATA, options(), Box::new(())).unwrap();
    let data = bytes::Bytes::from(vec![1; 900]);
    for index in 1..=9 {
        let entry = LogEntry { kind: EntryKind::Normal, term: 2, index, data: data.clone() };
        let state = HardState { term: 2, vote: 7, commit: index };
        wal.append([entry.borrow()], Some(state), true).unwrap();
        if index == 6 {
            wal.save_snapshot(&SnapshotRecord { index, term: 2, conf_state: None }).unwrap();
        }
    }
    drop(wal);
    let at = |index, term| {
        let start = LogStart { index, term };
        Wal::open(disk.copy(), dir, start, options(), Box::new(())).map(|(_, contents)| contents)
    };
    let contents = at(6, 2).unwrap();
    assert_eq!(contents.entries.iter().map(|it| it.index).collect::<Vec<_>>(), [7, 8, 9]);
    assert!(matches!(at(5, 2), Err(WalOpenError::NoSnapshot { index: 5, term: 2 })));
    assert!(matches!(at(6, 3), Err(WalOpenError::OtherSnapshot { found: 2, .. })));
    assert!(matches!(at(70, 3), Err(WalOpenError::Lost { .. } | WalOpenError::NoSnapshot { .. })));
    let other = Wal::create(disk, dir, METADATA, options(), Box::new(()));
    assert!(matches!(other, Err(WalWriteError::Exists { .. })));
}

#[test]
fn on_a_real_disk_the_log_is_reserved_and_locked() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("wal.d");
    let default = WalOptions::default();
    let mut wal = Wal::create(FileSystem, &dir, METADATA, default, Box::new(())).unwrap();
    let first = dir.join("0000000000000000-0000000000000000.wal");
    assert_eq!(first.metadata().unwrap().len(), SEGMENT_BYTES);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left aside");
    let entry = Entry { kind: EntryKind::Normal, term: 1, index: 1, data: b"one" };
    wal.append([entry], Some(HardState { term: 1, vote: 7, commit: 0 }), true).unwrap();
    wal.spare_order().map(|_| wal.stock(None)).unwrap();
    assert!(wal.spare_order().is_none(), "a spare that was denied is not ordered at each write");
    drop(wal);
    let reopened = Wal::open(FileSystem, &dir, LogStart::default(), default, Box::new(()));
    let (mut wal, _) = reopened.unwrap();
    wal.spare_order().map(|order| wal.stock(order.prepare().ok())).unwrap();
    let again = Wal::open(FileSystem, &dir, LogStart::default(), default, Box::new(()));
    let error = again.unwrap_err();
    assert!(error.to_string().contains("another process holds its lock"), "{error}");
    assert!(dir.join("0.tmp").exists());
    drop(wal);
    let (wal, contents) =
        Wal::open(FileSystem, &dir, LogStart::default(), default, Box::new(())).unwrap();
    assert_eq!((contents.entries.len(), contents.repaired), (1, None));
    assert!(!dir.join("0.tmp").exists(), "a spare of a killed member is gone");
    wal.close().unwrap();
}
