//! The log on a disk that stops, fails, forgets and tears: what was synced comes back, and what was
//! never written does not.

use std::path::Path;

use super::simdisk::{Crash, Fault, SimDisk};
use super::story::*;
use super::*;
use crate::raftpb::EntryKind;

/// Every other one has no room for a second segment.
fn disk_for(seed: u64) -> SimDisk {
    let disk = SimDisk::default();
    dirs(&disk);
    if seed % 2 == 1 {
        disk.has_room_for(1);
    }
    disk
}

#[test]
fn stopped_at_every_operation_nothing_synced_is_lost_and_nothing_invented() {
    let (mut repairs, mut cuts) = (0, 0);
    for seed in 0..6 {
        let whole = disk_for(seed);
        let first = whole.operations();
        live(&whole, &mut Story::default(), seed, 60).unwrap();
        cuts += segment_names(&whole, Path::new(DIR)).unwrap().len();
        for stop in first..whole.operations() {
            for crash in [Crash::Lost, Crash::Kept, Crash::Mixed(stop as u64), Crash::Mixed(!seed)]
            {
                let disk = disk_for(seed);
                disk.fault_at(stop, Fault::Stop);
                let mut story = Story::default();
                let stopped = live(&disk, &mut story, seed, 60);
                disk.crash(crash);
                if !exists(&disk, Path::new(DIR)) {
                    assert!(!story.created, "{stopped:?}");
                    continue;
                }
                let what = format!("seed {seed}, stopped at {stop}, {crash:?}");
                let (mut wal, contents) = open(&disk).unwrap_or_else(|it| panic!("{what}: {it}"));
                check(&story, &contents, &what);
                repairs += usize::from(contents.repaired.is_some());
                go_on(&disk, &mut wal, &contents, &what);
            }
        }
    }
    assert!(repairs > 50 && cuts > 20, "{repairs} repairs, {cuts} segments: the test tests little");
}

#[test]
fn a_failed_operation_is_final_and_loses_nothing_acknowledged() {
    let whole = SimDisk::default();
    dirs(&whole);
    let first = whole.operations();
    live(&whole, &mut Story::default(), 3, 40).unwrap();
    for at in first..whole.operations() {
        let disk = SimDisk::default();
        dirs(&disk);
        disk.fault_at(at, Fault::Fail);
        let mut story = Story::default();
        // A spare that cannot be made is the one failure that a log survives.
        let failed = live(&disk, &mut story, 3, 40);
        if let Err(error) = &failed {
            assert!(!matches!(error, WalWriteError::Poisoned { .. }), "{error}: the first is told");
        }
        disk.crash(Crash::Mixed(at as u64));
        if exists(&disk, Path::new(DIR)) {
            let (_, contents) = open(&disk).unwrap();
            check(&story, &contents, &format!("operation {at} failed"));
        }
    }
}

#[test]
fn without_room_for_a_segment_the_log_goes_on_in_steps() {
    let disk = SimDisk::default();
    dirs(&disk);
    disk.has_room_for(1);
    let mut story = Story::default();
    live(&disk, &mut story, 2, 150).unwrap();
    let names = segment_names(&disk, Path::new(DIR)).unwrap();
    assert!(names.len() > 8, "{names:?}");
    let (mut wal, contents) = open(&disk).unwrap();
    check(&story, &contents, "in steps");
    go_on(&disk, &mut wal, &contents, "in steps");
}

#[test]
fn a_poisoned_log_takes_nothing_more() {
    let disk = SimDisk::default();
    dirs(&disk);
    let dir = Path::new(DIR);
    let mut wal = Wal::create(disk.clone(), dir, METADATA, options(), Box::new(())).unwrap();
    let data = bytes::Bytes::from_static(b"x");
    let entry = LogEntry { kind: EntryKind::Normal, term: 1, index: 1, data };
    disk.fault_at(disk.operations() + 1, Fault::Fail);
    let error = wal.append([entry.borrow()], None, true).unwrap_err();
    assert!(error.to_string().starts_with("cannot sync /member/wal/0000000000000000-"), "{error}");
    let again = wal.append([entry.borrow()], None, true).unwrap_err();
    assert!(matches!(again, WalWriteError::Poisoned { .. }), "{again}");
    assert!(matches!(wal.close(), Err(WalWriteError::Poisoned { .. })));
}
