//! The log on a disk that stops, fails, forgets, tears and rots: what was synced comes back, what
//! was never written does not, and what cannot be trusted is refused.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::simdisk::{Chance, Crash, Fault, SimDisk};
use super::*;
use crate::disk::FileSystem;
use crate::meta::ConfState;
use crate::raftpb::{Entry, EntryKind, HardState};

const METADATA: WalMetadata = WalMetadata { node_id: 7, cluster_id: 9 };
const SEGMENT: u64 = 4096;
const DIR: &str = "/member/wal";

/// A record as the log should give it back.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Entry(LogEntry),
    State(HardState),
}

/// What a member told its log, and how much of it was acknowledged.
#[derive(Debug, Clone, Default)]
struct Story {
    told: Vec<Told>,
    acknowledged: usize,
    created: bool,
}

impl Story {
    /// What a log holds that took the first `count` records.
    fn after(&self, count: usize) -> (Vec<LogEntry>, HardState) {
        let (mut entries, mut state) = (Vec::<LogEntry>::new(), HardState::default());
        for told in &self.told[..count] {
            match told {
                Told::State(new) => state = *new,
                Told::Entry(entry) => {
                    entries.truncate(usize::try_from(entry.index).unwrap() - 1);
                    entries.push(entry.clone());
                }
            }
        }
        (entries, state)
    }
}

impl Told {
    /// (index, term, length) or (term, vote, commit).
    fn short(&self) -> (u64, u64, u64) {
        match self {
            Told::Entry(entry) => (entry.index, entry.term, entry.data.len() as u64),
            Told::State(state) => (state.term, state.vote, state.commit),
        }
    }
}

fn options() -> WalOptions {
    WalOptions { segment_bytes: SEGMENT, no_sync: false }
}

fn dirs(disk: &SimDisk) {
    for dir in ["/", "/member"] {
        disk.create_dir(Path::new(dir)).unwrap();
        disk.sync_dir(Path::new(dir)).unwrap();
    }
    disk.sync_dir(Path::new("/")).unwrap();
}

fn open(disk: &SimDisk) -> Result<(Wal<SimDisk>, LogContents), WalOpenError> {
    Wal::open(disk.clone(), Path::new(DIR), LogStart::default(), options(), Box::new(()))
}

/// One append of a leader or a follower: entries, now and then with older ones replaced, and a hard
/// state. What is committed is never replaced.
fn batch(story: &Story, chance: &mut Chance) -> (Vec<LogEntry>, Option<HardState>) {
    let (entries, mut state) = story.after(story.told.len());
    let mut last = entries.len() as u64;
    if chance.next(6) == 0 {
        state.term += 1;
        last = state.commit + chance.next(last - state.commit + 1);
    }
    state.term = state.term.max(1);
    let mut new = Vec::new();
    for _ in 0..chance.next(4) {
        last += 1;
        let length = usize::try_from(chance.next(10).pow(3)).unwrap();
        // Zeros now and then: a sector of them looks as if it had never been written.
        let fill = if chance.next(3) == 0 { 0 } else { chance.byte() };
        let data = bytes::Bytes::from(vec![fill; length]);
        new.push(LogEntry { kind: EntryKind::Normal, term: state.term, index: last, data });
    }
    // A follower learns of a commit together with the entries.
    let upto = if chance.next(2) == 0 { last } else { last - new.len() as u64 };
    state.commit = state.commit.max(upto);
    let state =
        (chance.next(4) > 0 || state.term > story.after(story.told.len()).1.term).then_some(state);
    (new, state)
}

/// Runs a member's life until it ends or the disk stops it.
fn live(disk: &SimDisk, story: &mut Story, seed: u64, steps: usize) -> Result<(), WalWriteError> {
    let mut chance = Chance(seed);
    let dir = Path::new(DIR);
    let mut wal = Wal::create(disk.clone(), dir, METADATA, options(), Box::new(()))?;
    story.created = true;
    for _ in 0..steps {
        let before = story.after(story.told.len()).1;
        let (entries, state) = batch(story, &mut chance);
        story.told.extend(entries.iter().cloned().map(Told::Entry));
        story.told.extend(state.map(Told::State));
        let must_sync = !entries.is_empty()
            || state.is_some_and(|it| (it.term, it.vote) != (before.term, before.vote));
        wal.append(entries.iter().map(LogEntry::borrow), state, must_sync)?;
        if must_sync {
            story.acknowledged = story.told.len();
        }
        if chance.next(5) == 0
            && let Some(order) = wal.spare_order()
        {
            wal.stock(order.prepare().ok());
        }
        if chance.next(9) == 0 {
            let (_, state) = story.after(story.told.len());
            let note = SnapshotRecord {
                index: state.commit,
                term: state.term,
                conf_state: Some(ConfState::of_voters(vec![7])),
            };
            if note.index > 0 {
                wal.save_snapshot(&note)?;
                story.acknowledged = story.told.len();
            }
        }
    }
    wal.close()?;
    story.acknowledged = story.told.len();
    Ok(())
}

/// What came back is what was told up to some point, not before what was acknowledged.
fn check(story: &Story, contents: &LogContents, what: &str) {
    let found = (contents.entries.clone(), contents.hard_state);
    let fits = (story.acknowledged..=story.told.len()).any(|count| story.after(count) == found);
    let indices: Vec<_> = found.0.iter().map(|entry| (entry.index, entry.term)).collect();
    assert!(
        fits,
        "{what}: {} of {} acknowledged, {:?}; found {indices:?}, {:?}, {:?}",
        story.acknowledged,
        story.told.len(),
        story.told[story.acknowledged.saturating_sub(3)..]
            .iter()
            .map(Told::short)
            .collect::<Vec<_>>(),
        found.1,
        contents.repaired
    );
}

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

/// The log takes more and gives it back, whatever was repaired.
fn go_on(disk: &SimDisk, wal: &mut Wal<SimDisk>, contents: &LogContents, what: &str) {
    let index = contents.entries.len() as u64 + 1;
    let data = bytes::Bytes::from_static(b"after the crash");
    let entry = LogEntry { kind: EntryKind::Normal, term: 99, index, data };
    let state = HardState { term: 99, vote: 7, commit: index };
    wal.append([entry.borrow()], Some(state), true).unwrap();
    disk.crash(Crash::Lost);
    let (_, again) = open(disk).unwrap_or_else(|it| panic!("{what}, once more: {it}"));
    assert_eq!(again.repaired, None, "{what}");
    assert_eq!((again.entries.last(), again.hard_state), (Some(&entry), state), "{what}");
    assert_eq!(again.entries[..contents.entries.len()], contents.entries[..], "{what}");
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
