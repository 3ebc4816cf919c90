//! What the log's tests share: a member's life by seed, told to a log, and the judge of what comes
//! back.

use std::path::Path;

use super::simdisk::{Chance, Crash, SimDisk};
use super::*;
use crate::meta::ConfState;
use crate::raftpb::{EntryKind, HardState};

pub(super) const METADATA: WalMetadata = WalMetadata { node_id: 7, cluster_id: 9 };
pub(super) const SEGMENT: u64 = 4096;
pub(super) const DIR: &str = "/member/wal";

/// A record as the log should give it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Entry(LogEntry),
    State(HardState),
}

/// What a member told its log, and how much of it was acknowledged.
#[derive(Debug, Clone, Default)]
pub(super) struct Story {
    pub(super) told: Vec<Told>,
    pub(super) acknowledged: usize,
    pub(super) created: bool,
}

impl Story {
    /// What a log holds that took the first `count` records.
    pub(super) fn after(&self, count: usize) -> (Vec<LogEntry>, HardState) {
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

pub(super) fn options() -> WalOptions {
    WalOptions { segment_bytes: SEGMENT, no_sync: false }
}

pub(super) fn dirs(disk: &SimDisk) {
    for dir in ["/", "/member"] {
        disk.create_dir(Path::new(dir)).unwrap();
        disk.sync_dir(Path::new(dir)).unwrap();
    }
    disk.sync_dir(Path::new("/")).unwrap();
}

pub(super) fn open(disk: &SimDisk) -> Result<(Wal<SimDisk>, LogContents), WalOpenError> {
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
pub(super) fn live(
    disk: &SimDisk,
    story: &mut Story,
    seed: u64,
    steps: usize,
) -> Result<(), WalWriteError> {
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
pub(super) fn check(story: &Story, contents: &LogContents, what: &str) {
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

/// The log takes more and gives it back, whatever was repaired.
pub(super) fn go_on(disk: &SimDisk, wal: &mut Wal<SimDisk>, contents: &LogContents, what: &str) {
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
