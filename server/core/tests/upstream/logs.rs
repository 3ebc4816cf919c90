//! Logs that etcd 3.5, 3.6 and 3.7 wrote, cleanly ended or killed, are read and gone on with, and
//! upstream boots on what we appended.

use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_api::etcdserverpb::{InternalRaftRequest, PutRequest, RequestHeader};
use holdfast_core::datadir::wal_dir;
use holdfast_core::disk::FileSystem;
use holdfast_core::raftpb::{EntryKind, HardState};
use holdfast_core::wal::{self, LogContents, LogEntry, LogStart, Wal, WalOptions};
use prost::Message;

use crate::peers::{Etcd, Ports, VERSIONS, fill};

/// Appends this many puts; with segments this small they fill several.
const PUTS: u64 = 60;
const SEGMENT_BYTES: u64 = 4 << 10;

/// The newest snapshot that the log notes and that is committed: where a member starts.
fn start(dir: &Path) -> LogStart {
    let names = wal::segment_names(&FileSystem, dir).unwrap();
    let read = |name: &str| Ok::<_, wal::WalError>(std::fs::read(dir.join(name)).unwrap());
    let log = wal::summarize(&names, read).unwrap();
    let committed = |note: &&wal::SnapshotRecord| note.index <= log.hard_state.commit;
    let note = log.snapshots.iter().rfind(committed).unwrap();
    LogStart { index: note.index, term: note.term }
}

fn open(dir: &Path) -> (Wal<FileSystem>, LogContents, LogStart) {
    let dir = wal_dir(dir);
    let start = start(&dir);
    let options = WalOptions { segment_bytes: SEGMENT_BYTES, ..WalOptions::default() };
    let (wal, contents) = Wal::open(FileSystem, &dir, start, options, Box::new(())).unwrap();
    let indices = contents.entries.iter().map(|entry| entry.index);
    assert!(indices.eq(start.index + 1..=start.index + contents.entries.len() as u64));
    assert!(contents.hard_state.commit >= start.index && contents.hard_state.vote != 0);
    (wal, contents, start)
}

/// Appends puts of `<prefix>-<n>` as a leader of the log's term would have, committed.
fn append(dir: &Path, prefix: &str) {
    let (mut wal, contents, start) = open(dir);
    let (mut index, state) = (wal.last_index(), contents.hard_state);
    assert!(index == start.index + contents.entries.len() as u64 && index > 100);
    for at in 0..PUTS {
        index += 1;
        let put = PutRequest {
            key: format!("{prefix}-{at}").into(),
            value: vec![b'v'; 200],
            ..PutRequest::default()
        };
        let header = Some(RequestHeader { id: index, ..RequestHeader::default() });
        let request = InternalRaftRequest { header, put: Some(put), ..Default::default() };
        let data = request.encode_to_vec().into();
        let entry = LogEntry { kind: EntryKind::Normal, term: state.term, index, data };
        wal.append([entry.borrow()], None, true).unwrap();
        wal.append([], Some(HardState { commit: index, ..state }), false).unwrap();
    }
    wal.close().unwrap();
    let segments = wal::segment_names(&FileSystem, &wal_dir(dir)).unwrap().len();
    assert!(segments > 3, "{segments} segments");
}

fn count(etcd: &Etcd, prefix: &str) -> usize {
    etcd.ctl(&["get", "--prefix", prefix, "--keys-only"]).split_whitespace().count()
}

#[test]
fn the_log_changes_hands_with_each_version() {
    let members = VERSIONS.map(|version| {
        std::thread::spawn(move || {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("source");
            let ports = Ports::free();
            let etcd = Etcd::start(version, &dir, ports, &["--snapshot-count", "40"]);
            fill(&etcd, 1);
            drop(etcd); // killed
            append(&dir, "ours");

            let etcd = Etcd::start(version, &dir, ports, &["--snapshot-count", "40"]);
            assert_eq!(count(&etcd, "ours"), 60, "{version}");
            etcd.put("theirs-after", "x", 0);
            etcd.stop();
            append(&dir, "again");

            let etcd = Etcd::start(version, &dir, ports, &["--snapshot-count", "1000"]);
            let counts = ["ours", "theirs", "again"].map(|prefix| count(&etcd, prefix));
            assert_eq!(counts, [60, 1, 60], "{version}");
            etcd.stop();
            let (_, contents, _) = open(&dir);
            assert!(contents.repaired.is_none() && contents.entries.len() > 60, "{version}");
        })
    });
    for member in members {
        member.join().unwrap();
    }
}

/// Where the frames of a log's only segment begin, the last one's end included.
fn frames(dir: &Path) -> (PathBuf, Vec<usize>) {
    let path = wal_dir(dir).join("0000000000000000-0000000000000000.wal");
    let bytes = std::fs::read(&path).unwrap();
    let mut reader = wal::SegmentReader::new(&bytes, None, true);
    let mut offsets = vec![0];
    while reader.next_record().unwrap().is_some() {
        offsets.push(usize::try_from(reader.offset()).unwrap());
    }
    (path, offsets)
}

fn copy(from: &Path, to: &Path) {
    holdfast_peers::run(Command::new("cp").arg("-a").args([from, to]));
}

/// What both make of a log after `damage`: (what we say, whether upstream boots, what it says).
fn judged(source: &Path, label: &str, damage: impl Fn(&mut Vec<u8>)) -> Verdicts {
    let root = source.parent().unwrap();
    let (ours, theirs) = (root.join(format!("{label}-ours")), root.join(format!("{label}-theirs")));
    copy(source, &ours);
    let (path, _) = frames(&ours);
    let mut bytes = std::fs::read(&path).unwrap();
    damage(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    copy(&ours, &theirs);
    let dir = wal_dir(&ours);
    let opened =
        Wal::open(FileSystem, &dir, LogStart::default(), WalOptions::default(), Box::new(()));
    Verdicts { ours: opened.map(|(_, contents)| contents), theirs }
}

struct Verdicts {
    ours: Result<LogContents, wal::WalOpenError>,
    theirs: PathBuf,
}

#[test]
fn a_torn_tail_is_repaired_as_upstream_does_and_a_hole_is_not() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("source");
    let ports = Ports::free();
    let etcd = Etcd::start("3.6", &dir, ports, &[]);
    for at in 0..20 {
        etcd.put(&format!("k{at:02}"), &"v".repeat(3_000), 0);
    }
    drop(etcd); // killed
    let (path, offsets) = frames(&dir);
    let name = format!("{}.broken", path.file_name().unwrap().to_str().unwrap());
    // The last entry: upstream may have written a hard state behind it.
    let long = |pair: &&[usize]| pair[1] - pair[0] > 3_000;
    let torn = offsets.windows(2).rfind(long).unwrap()[0];
    let sector = (torn + 700).next_multiple_of(512);

    let cut = judged(&dir, "cut", |bytes| bytes.truncate(torn + 99));
    let zeroed = judged(&dir, "zeroed", |bytes| bytes[sector..].fill(0));
    for (label, Verdicts { ours, theirs }) in [("cut", cut), ("zeroed", zeroed)] {
        let repair = ours.unwrap().repaired.unwrap();
        assert_eq!(repair.offset, torn as u64, "{label}");
        assert!(repair.copy.ends_with(&name) && repair.copy.exists(), "{label}");
        let etcd = Etcd::start("3.6", &theirs, ports, &["--log-level", "info"]);
        assert!(etcd.log().contains("repaired WAL"), "{label}: {}", etcd.log());
        assert_eq!(count(&etcd, "k"), 19, "{label}");
        etcd.stop();
        assert!(wal_dir(&theirs).join(&name).exists(), "{label}");
    }

    let middle = offsets.windows(2).filter(long).nth(5).unwrap()[0];
    let flipped = judged(&dir, "flipped", |bytes| bytes[middle + 400] ^= 1);
    let error = flipped.ours.unwrap_err().to_string();
    assert!(error.contains("a record's CRC is"), "{error}");
    let (said, _) = Etcd::refused("3.6", &flipped.theirs, ports);
    assert!(said.contains("crc mismatch"), "{said}");

    // One bit of a length: upstream takes it for a torn tail and cuts, unless what it applied
    // already says otherwise. We never do.
    let hole = judged(&dir, "hole", |bytes| bytes[middle + 3] ^= 0x80);
    let error = hole.ours.unwrap_err();
    assert!(matches!(error, wal::WalOpenError::Lost { .. }), "{error}");
}

#[test]
fn upstream_does_not_take_a_log_that_we_hold() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("source");
    let ports = Ports::free();
    let etcd = Etcd::start("3.6", &dir, ports, &[]);
    let options = WalOptions::default();
    let held = wal_dir(&dir);
    let error = Wal::open(FileSystem, &held, LogStart::default(), options, Box::new(()));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("another process holds its lock"), "{error}");
    etcd.stop();
    let (_wal, _) =
        Wal::open(FileSystem, &held, LogStart::default(), options, Box::new(())).unwrap();
    let (said, _) = Etcd::refused("3.6", &dir, ports);
    assert!(said.contains("failed to open WAL") && said.contains("locked"), "{said}");
}
