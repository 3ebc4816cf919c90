//! A log that was cut, rotted or written by nobody: it is repaired at its end where that loses
//! nothing committed, and refused otherwise.

use std::path::Path;

use super::simdisk::SimDisk;
use super::story::*;
use super::*;
use crate::raftpb::{Entry, EntryKind, HardState};

/// A log of two segments under a leader that is alone: entries in one append, their commit in the
/// next. Returns the story.
fn alone(disk: &SimDisk) -> Story {
    dirs(disk);
    let mut story = Story::default();
    let dir = Path::new(DIR);
    let mut wal = Wal::create(disk.clone(), dir, METADATA, options(), Box::new(())).unwrap();
    for index in 1..=12 {
        let fill = if index % 4 == 0 { 0 } else { u8::try_from(index).unwrap() };
        let data = bytes::Bytes::from(vec![fill; 600]);
        let entry = LogEntry { kind: EntryKind::Normal, term: 1, index, data };
        wal.append([entry.borrow()], None, true).unwrap();
        let state = HardState { term: 1, vote: 7, commit: index };
        wal.append([], Some(state), false).unwrap();
        story.told.extend([Told::Entry(entry), Told::State(state)]);
    }
    wal.close().unwrap();
    story
}

#[test]
fn cut_at_every_byte_it_is_repaired_at_its_end_or_refused() {
    let disk = SimDisk::default();
    let story = alone(&disk);
    let names = segment_names(&disk, Path::new(DIR)).unwrap();
    assert_eq!(names, [segment_name(0, 0), segment_name(1, 8)]);
    let head = head_length();
    let (mut refused, mut repaired) = (0, 0);
    for (at, name) in names.iter().enumerate() {
        let path = Path::new(DIR).join(name);
        for length in 0..disk.read(&path).unwrap().len() {
            let cut = disk.copy();
            cut.tamper(&path, |bytes| bytes.truncate(length));
            match open(&cut) {
                Ok((_, contents)) => {
                    assert!(at == 1, "a cut to {length} in the middle of the log");
                    assert!(length >= head, "a cut to {length} in a segment's head");
                    repaired += usize::from(contents.repaired.is_some());
                    check(&story, &contents, &format!("cut to {length}"));
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 4_000 && repaired > 2_000, "{refused} refused, {repaired} repaired");
}

/// Bytes of the two records without which a segment is none.
fn head_length() -> usize {
    WalEncoder::new(1, METADATA).bytes().len()
}

#[test]
fn no_flipped_bit_loses_more_than_the_last_append() {
    let disk = SimDisk::default();
    let story = alone(&disk);
    let (mut refused, mut lost) = (0, 0);
    for name in segment_names(&disk, Path::new(DIR)).unwrap() {
        let path = Path::new(DIR).join(&name);
        let length = disk.read(&path).unwrap().len();
        for bit in (0..length * 8).step_by(3) {
            let flipped = disk.copy();
            flipped.tamper(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let Ok((_, contents)) = open(&flipped) else {
                refused += 1;
                continue;
            };
            let whole = story.after(story.told.len());
            if (&contents.entries, contents.hard_state) != (&whole.0, whole.1) {
                lost += 1;
                // The last append, and a commit index that waited for it, could have been torn.
                let last = Story { acknowledged: story.told.len() - 3, ..story.clone() };
                check(&last, &contents, &format!("bit {bit} of {name}"));
                assert!(contents.repaired.is_some(), "bit {bit} of {name}: lost in silence");
            }
        }
    }
    assert!(refused > 10_000 && lost > 0, "{refused} refused, {lost} lost at the end");
}

#[test]
fn a_hole_before_what_is_committed_is_refused() {
    let disk = SimDisk::default();
    alone(&disk);
    let name = segment_names(&disk, Path::new(DIR)).unwrap().remove(1);
    let path = Path::new(DIR).join(name);
    // Upstream would take the zeros for the log's end and overwrite what lies behind them.
    disk.tamper(&path, |bytes| bytes[1_024..1_536].fill(0));
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, WalOpenError::Lost { .. }), "{error}");
    assert!(error.to_string().contains("is committed, but it can be read up to entry"), "{error}");
}

#[test]
fn a_hole_before_the_last_commit_alone_is_refused() {
    let disk = SimDisk::default();
    dirs(&disk);
    let dir = Path::new(DIR);
    let mut wal = Wal::create(disk.clone(), dir, METADATA, options(), Box::new(())).unwrap();
    let state = |commit| Some(HardState { term: 1, vote: 7, commit });
    let data = bytes::Bytes::from_static(b"some data");
    let entry = |index| {
        let data = data.clone();
        LogEntry { kind: EntryKind::Normal, term: 1, index, data }
    };
    wal.append([entry(1).borrow()], state(0), true).unwrap();
    let before = disk.copy();
    wal.append([entry(2).borrow()], state(1), true).unwrap();
    wal.append([], state(2), false).unwrap();
    wal.close().unwrap();
    let path = dir.join(segment_name(0, 0));
    let used = before.read(&path).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    let hole = used.next_multiple_of(8);
    let damaged = disk.copy();
    damaged.tamper(&path, |bytes| bytes[hole..hole + 8].fill(0));
    let error = open(&damaged).unwrap_err();
    assert!(matches!(error, WalOpenError::Lost { commit: 2, last: 1, .. }), "{error}");
    // Without that last hard state a follower could have written it: entry and commit at once.
    let bytes = disk.read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let torn = disk.copy();
    torn.tamper(&path, |bytes| {
        bytes[hole..hole + 8].fill(0);
        bytes[end.next_multiple_of(8) - 40..].fill(0);
    });
    assert!(open(&torn).unwrap().1.repaired.is_some());
}

#[test]
fn entries_that_no_raft_writes_are_refused() {
    let says = |entries: &[(u64, u64, EntryKind, &[u8])], want: &str| {
        let mut log = WalEncoder::new(0, METADATA);
        log.snapshot(&SnapshotRecord::default());
        for (index, term, kind, data) in entries {
            log.entry(&Entry { kind: *kind, term: *term, index: *index, data });
            log.hard_state(HardState { term: 3, vote: 7, commit: *index });
        }
        let disk = SimDisk::default();
        dirs(&disk);
        disk.create_dir(Path::new(DIR)).unwrap();
        let path = Path::new(DIR).join(segment_name(0, 0));
        disk.write_whole(&path, log.bytes()).unwrap();
        let error = open(&disk).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    let normal = EntryKind::Normal;
    says(&[(1, 2, normal, b"a"), (2, 1, normal, b"b")], "entry 2 is damaged: its term is below");
    says(&[(1, 1, normal, b"a"), (1, 2, normal, b"b")], "entry 1 is damaged: it replaces");
    says(&[(1, 1, EntryKind::ConfChange, b"")], "entry 1 is damaged: it is a change of members");
    says(&[(1, 1, normal, b"a"), (3, 1, normal, b"b")], "entry 3 stands behind entry 1");
}
