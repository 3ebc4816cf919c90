//! Disks that are full, read-only, cut off or damaged under the member as a whole: it ends, or does
//! not start, with a line that says what to do; it never panics, and makes nothing worse; and once
//! the disk is as it should be, all that was acknowledged is there.

use crate::judge::{self, State};
use holdfast_tests::contents;
use holdfast_tests::etcd::{BUNDLED, Etcd, Options};
use holdfast_tests::objects::{Chance, Object, object};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// A disk of so many MiB, in memory, that nobody but a shell of ours has mounted; others reach it
/// through that shell's root.
struct SmallDisk {
    shell: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    folder: TempDir,
}

impl SmallDisk {
    fn new(mib: u64) -> SmallDisk {
        let folder = TempDir::new().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().unwrap();
        let (orders, answers) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let mut disk = SmallDisk { shell, orders, answers: BufReader::new(answers), folder };
        disk.order(&format!("mount -t tmpfs -o size={mib}m none {}", disk.mounted().display()));
        disk
    }

    fn mounted(&self) -> &Path {
        self.folder.path()
    }

    /// The disk's root as every process of ours may name it.
    fn path(&self) -> PathBuf {
        let place = self.mounted().strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{}/root", self.shell.id())).join(place)
    }

    fn order(&mut self, command: &str) {
        writeln!(self.orders, "{command} && echo done || echo failed").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "{command}: are user namespaces allowed on this machine?");
    }

    fn remount(&mut self, how: &str) {
        self.order(&format!("mount -o remount,{how} {}", self.mounted().display()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Names of all files under a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Names of all files that stay: not the segment that is reserved ahead, which the next start
/// removes.
fn lasting(folder: &Path) -> Vec<PathBuf> {
    let is_reserved = |path: &PathBuf| path.extension().is_some_and(|it| it == "tmp");
    files(folder).into_iter().filter(|path| !is_reserved(path)).collect()
}

/// One line says what is wrong and what to do; nothing panicked.
fn assert_told(log: &str, words: &[&str]) {
    assert!(!log.contains("panicked"), "{log}");
    let fatal = log.lines().rev().find(|line| line.contains("\"level\":\"fatal\""));
    let fatal = fatal.unwrap_or_else(|| panic!("nothing fatal in {log}"));
    for word in words {
        assert!(fatal.contains(word), "{word:?} is not in {fatal}");
    }
}

fn large(at: u64) -> Object {
    Object { key: format!("full/{at:05}"), value: vec![b'0' + (at % 10) as u8; 48 << 10] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_member_and_loses_nothing() {
    // Two segments of the log are reserved, and none after them; the rest is the database's.
    let disk = SmallDisk::new(280);
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 70 << 20]).unwrap();
    let options = Options::new(BUNDLED).with_data_dir(&disk.path().join("data"));
    let mut etcd = Etcd::start_with(options).await;
    let client = etcd.client();
    let mut acknowledged = 0;
    while contents::put(&client, std::iter::once(large(acknowledged)), 1).await.is_ok() {
        acknowledged += 1;
    }
    assert!(acknowledged > 20, "only {acknowledged}");
    let words = ["No space left on device", "make room on that disk"];
    assert_told(&etcd.ended().await, &words);
    let left = lasting(&disk.path());
    // Whoever starts it again and again makes nothing worse.
    for _ in 0..3 {
        match etcd.try_boot().await {
            Ok(()) => etcd.kill().await,
            Err(log) => assert_told(&log, &words),
        }
        assert_eq!(lasting(&disk.path()), left);
    }
    std::fs::remove_file(&ballast).unwrap();
    etcd.boot().await;
    let client = etcd.client();
    let now = contents::read(&client).await;
    let now = now.unwrap_or_else(|error| panic!("{error}; the log: {}", etcd.log_tail()));
    for at in 0..acknowledged {
        let Object { key, value } = large(at);
        let found = now.records.get(key.as_bytes()).unwrap_or_else(|| panic!("{key} is lost"));
        assert_eq!(found.value, value, "{key}");
    }
    let kept = now.records.len() as u64;
    assert!(kept <= acknowledged + 1, "{kept} of {acknowledged}");
    contents::put(&client, (0..50).map(|at| object(1, at, 1)), 1).await.unwrap();
    etcd.stop().await;
    judge::bbolt_agrees(&etcd.database());
}

/// The log's segments and their lengths, in order.
fn segments(etcd: &Etcd) -> Vec<u64> {
    let all = files(&etcd.data_dir().join("member/wal"));
    let segments = all.iter().filter(|path| path.extension().is_some_and(|it| it == "wal"));
    segments.map(|path| path.metadata().unwrap().len()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_a_segment_the_member_goes_on_until_the_disk_is_full() {
    // One segment is reserved, and there is no room for a second one beside the database.
    let disk = SmallDisk::new(150);
    let options = Options::new(BUNDLED).with_data_dir(&disk.path().join("data"));
    let mut etcd = Etcd::start_with(options).await;
    let client = etcd.client();
    // The same keys over and over: the log grows, the database does not.
    let few =
        |round: u64| (0..100).map(move |at| Object { key: large(at).key, ..large(at + round) });
    for round in 0..17 {
        contents::put(&client, few(round), 4).await.unwrap();
        let revision = contents::read(&client).await.unwrap().revision;
        contents::compact(&client, revision).await.unwrap();
    }
    let lengths = segments(&etcd);
    assert_eq!(lengths.len(), 2, "{lengths:?}");
    assert!(lengths[1] < 32 << 20, "the second one grows in steps: {lengths:?}");
    let before = State::read(&client).await.unwrap();
    etcd.kill().await;
    etcd.boot().await;
    let client = etcd.client();
    before.assert_same(&State::read(&client).await.unwrap(), "killed in a segment of steps");
    // With the last room filled it ends, and loses nothing.
    let ballast = disk.path().join("ballast");
    let free = rest_of(&disk.path());
    std::fs::write(&ballast, vec![1; free - (1 << 20)]).unwrap();
    let mut acknowledged = 0;
    while contents::put(&client, std::iter::once(large(1_000 + acknowledged)), 1).await.is_ok() {
        acknowledged += 1;
    }
    let words = ["No space left on device", "make room on that disk"];
    assert_told(&etcd.ended().await, &words);
    std::fs::remove_file(&ballast).unwrap();
    etcd.boot().await;
    let now = contents::read(&etcd.client()).await.unwrap();
    for at in 0..acknowledged {
        let Object { key, value } = large(1_000 + at);
        assert_eq!(
            now.records.get(key.as_bytes()).map(|it| &it.value[..]),
            Some(&value[..]),
            "{key}"
        );
    }
    etcd.stop().await;
    judge::bbolt_agrees(&etcd.database());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_defragmentation_that_finds_no_room_leaves_all_as_it_was() {
    let disk = SmallDisk::new(176);
    let options = Options::new(BUNDLED).with_data_dir(&disk.path().join("data"));
    let mut etcd = Etcd::start_with(options).await;
    contents::put(&etcd.client(), (0..200).map(large), 1).await.unwrap();
    // Then all is in the database's file, and there is no room to reserve a second segment.
    etcd.stop().await;
    etcd.boot().await;
    let client = etcd.client();
    let before = State::read(&client).await.unwrap();
    let free = rest_of(&disk.path());
    std::fs::write(disk.path().join("ballast"), vec![1; free - (4 << 20)]).unwrap();
    let refused = etcd.ctl_refused(&["defrag"]).await;
    assert!(refused.contains("No space left on device"), "{refused}");
    assert!(refused.contains("the database is as it was"), "{refused}");
    assert!(files(&disk.path()).iter().all(|path| !path.to_string_lossy().contains("db.tmp")));
    before.assert_same(&State::read(&client).await.unwrap(), "not defragmented");
    std::fs::remove_file(disk.path().join("ballast")).unwrap();
    etcd.ctl(&["defrag"]);
    before.assert_same(&State::read(&client).await.unwrap(), "defragmented");
    etcd.stop().await;
}

/// Bytes that are free on the disk.
fn rest_of(path: &Path) -> usize {
    let mut command = Command::new("stat");
    let said = holdfast_tests::etcd::run(command.args(["--file-system", "-c", "%a %S"]).arg(path));
    said.split_whitespace().map(|number| number.parse::<usize>().unwrap()).product()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_disk_is_refused_and_told() {
    let mut disk = SmallDisk::new(176);
    let options = Options::new(BUNDLED).with_data_dir(&disk.path().join("data"));
    let mut etcd = Etcd::start_with(options).await;
    contents::put(&etcd.client(), (0..100).map(|at| object(1, at, 1)), 1).await.unwrap();
    let before = State::read(&etcd.client()).await.unwrap();
    etcd.kill().await;
    let left = files(&disk.path());
    disk.remount("ro");
    let log = etcd.try_boot().await.unwrap_err();
    assert_told(&log, &["Read-only file system", "mount it for writing"]);
    disk.remount("rw");
    assert_eq!(files(&disk.path()), left);
    etcd.boot().await;
    before.assert_same(&State::read(&etcd.client()).await.unwrap(), "mounted for writing again");
}

/// A data directory, kept to be put back: path, bytes up to the last that is not zero, length.
struct Kept(Vec<(PathBuf, Vec<u8>, u64)>);

impl Kept {
    fn of(folder: &Path) -> Kept {
        let file = |path: PathBuf| {
            let mut bytes = std::fs::read(&path).unwrap();
            let len = bytes.len() as u64;
            bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1));
            (path, bytes, len)
        };
        Kept(files(folder).into_iter().map(file).collect())
    }

    fn put_back(&self, folder: &Path) {
        for path in files(folder) {
            std::fs::remove_file(path).unwrap();
        }
        for (path, bytes, len) in &self.0 {
            std::fs::write(path, bytes).unwrap();
            std::fs::File::options().write(true).open(path).unwrap().set_len(*len).unwrap();
        }
    }

    fn bytes(&self, what: impl Fn(&Path) -> bool) -> (&Path, &[u8]) {
        let (path, bytes, _) = self.0.iter().find(|(path, ..)| what(path)).unwrap();
        (path, bytes)
    }
}

/// A member with history, killed, and what it held.
async fn killed_member() -> (Etcd, State) {
    let mut etcd =
        Etcd::start_with(Options::new(BUNDLED).with_flags(&["--snapshot-count=50"])).await;
    let client = etcd.client();
    contents::put(&client, (0..300).map(|at| object(1, at % 200, at)), 1).await.unwrap();
    contents::compact(&client, 150).await.unwrap();
    let state = State::read(&client).await.unwrap();
    etcd.kill().await;
    (etcd, state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_cut_anywhere_is_gone_on_with_or_refused_in_words() {
    let (mut etcd, state) = killed_member().await;
    let folder = etcd.data_dir().to_owned();
    let kept = Kept::of(&folder);
    let (wal, bytes) = kept
        .bytes(|path| path.to_string_lossy().ends_with("0000000000000000-0000000000000000.wal"));
    let mut chance = Chance::new(7);
    for _ in 0..6 {
        let cut = chance.below(bytes.len() as u64);
        std::fs::File::options().write(true).open(wal).unwrap().set_len(cut).unwrap();
        match etcd.try_boot().await {
            Ok(()) => {
                // All that the database holds is there; what only the log held may be gone.
                let now = contents::read(&etcd.client()).await.unwrap();
                assert!(now.revision <= state.contents.revision, "cut at {cut}");
                etcd.kill().await;
            }
            Err(log) => assert_told(&log, &["WAL"]),
        }
        kept.put_back(&folder);
    }
    etcd.boot().await;
    state.assert_same(&State::read(&etcd.client()).await.unwrap(), "put back");
}

/// Numbers of the pages that begin something: those that say their own number. Pages behind them
/// hold what is too long for one, which nobody can tell from other bytes: the format has no
/// checksums but those of the two first pages.
fn heads(bytes: &[u8]) -> Vec<usize> {
    let is_head = |(page, bytes): &(usize, &[u8])| bytes.starts_with(&(*page as u64).to_le_bytes());
    let heads = bytes.chunks_exact(4096).enumerate().filter(is_head);
    heads.map(|(page, _)| page).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_database_is_refused_in_words() {
    let (mut etcd, state) = killed_member().await;
    let (folder, database) = (etcd.data_dir().to_owned(), etcd.database());
    let kept = Kept::of(&folder);
    let whole = std::fs::read(&database).unwrap();
    let heads = heads(&whole);
    assert!(heads.len() > 50, "{heads:?}");
    let mut chance = Chance::new(11);
    let mut refused = 0;
    for round in 0..12 {
        let mut damaged = whole.clone();
        let page = heads[usize::try_from(chance.below(heads.len() as u64)).unwrap()];
        // A page, or from there on all: as a file that was cut and grown again.
        let end = if round % 4 == 3 { damaged.len() } else { (page + 1) * 4096 };
        damaged[page * 4096..end].fill(0xA5);
        if round == 0 {
            damaged[..8192].fill(0);
        }
        std::fs::write(&database, &damaged).unwrap();
        match etcd.try_boot().await {
            // The page was free.
            Ok(()) => {
                let now = State::read(&etcd.client()).await.unwrap();
                state.assert_same(&now, &format!("page {page} is free"));
                etcd.kill().await;
            }
            Err(log) => {
                assert_told(&log, &["database"]);
                refused += 1;
            }
        }
        kept.put_back(&folder);
    }
    assert!(refused > 2, "{refused}");
    etcd.boot().await;
    state.assert_same(&State::read(&etcd.client()).await.unwrap(), "put back");
}
