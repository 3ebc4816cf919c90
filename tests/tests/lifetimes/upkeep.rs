//! What a member does by itself while time goes by: walks its records to find damage, takes away
//! what is compacted, and removes old files; with upstream's lines in the log.

use holdfast_api::client::Client;
use holdfast_api::etcdserverpb::{AlarmRequest, AlarmType, CompactionRequest, PutRequest};
use holdfast_bolt::{Db, MappedFile};
use holdfast_tests::etcd::{BUNDLED, Etcd, Options, free_ports};
use holdfast_tests::objects::object;
use holdfast_tests::{contents, holdfast, seed};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_looked_for_as_upstreams_single_member_does() {
    for version in ["3.6", BUNDLED] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let outputs = format!("--log-outputs={}", path.display());
        let flags = [
            "--experimental-initial-corrupt-check",
            "--corrupt-check-time=300ms",
            "--feature-gates=CompactHashCheck=true",
            "--compact-hash-check-time=300ms",
            "--log-level=info",
            &outputs,
        ];
        let mut etcd = Etcd::start_with(Options::new(version).with_flags(&flags)).await;
        let log = || std::fs::read_to_string(&path).unwrap();
        assert!(!log().contains("initial corruption"), "{version}: a new member has no past");
        contents::put(&etcd.client(), (0..20).map(|at| object(1, at, 1)), 1).await.unwrap();
        for at in [5, 10] {
            contents::compact(&etcd.client(), at).await.unwrap();
        }
        let lines = [
            "\"enabled corruption checking\"",
            "\"finished peer corruption check\",\"number-of-peers-checked\":0",
            "\"finished scheduled compaction\"",
            "\"storing new hash\"",
            "\"starting compact hash check\"",
            "\"finished compaction hash check\",\"number-of-hashes-checked\":2",
        ];
        for line in lines {
            until(&format!("{version}: {line}"), || log().contains(line)).await;
        }
        etcd.stop().await;
        etcd.boot().await;
        for line in [
            "starting initial corruption check",
            "initial corruption checking passed; no corruption",
        ] {
            assert!(log().contains(line), "{version}: {line}");
        }
        assert!(etcd.ctl(&["alarm", "list"]).is_empty(), "{version}");
        etcd.stop().await;
    }
}

/// Writes a value's first byte wrongly and rightly in turn, wherever the file has the value.
fn flip(database: &Path, value: &[u8], stop: &AtomicBool) {
    let file = File::options().read(true).write(true).open(database).unwrap();
    let bytes = std::fs::read(database).unwrap();
    let found = bytes.windows(value.len()).enumerate().filter(|(_, window)| *window == value);
    let places: Vec<u64> = found.map(|(at, _)| at as u64).collect();
    assert!(!places.is_empty(), "the value is in the file");
    let write = |byte: u8| places.iter().for_each(|at| file.write_all_at(&[byte], *at).unwrap());
    while !stop.load(Ordering::Relaxed) {
        write(!value[0]);
        std::thread::yield_now();
        write(value[0]);
        std::thread::yield_now();
    }
}

async fn alarms(client: &Client) -> Vec<i32> {
    let listed = client.maintenance().alarm(AlarmRequest::default()).await;
    let alarms = client.check("Alarm", listed).unwrap().alarms;
    alarms.iter().map(|alarm| alarm.alarm).collect()
}

/// The member's file is not what it was a moment ago: its own check must say so, whoever may raise
/// alarms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_finds_damage_raises_the_alarm_where_users_are_asked_for() {
    let flags = ["--corrupt-check-time=1ms"];
    let etcd = Etcd::start_with(Options::new(BUNDLED).with_flags(&flags)).await;
    let value = b"a value that is nowhere else in the file";
    let put = || PutRequest { key: b"one".to_vec(), value: value.to_vec(), ..Default::default() };
    etcd.client().kv().put(put()).await.unwrap();
    seed::authentication(&etcd.client()).await.unwrap();
    let root = etcd.client_as(seed::ROOT.0, seed::ROOT.1);
    let folder = tempfile::tempdir().unwrap();
    // A snapshot is taken of the file, so all is there.
    etcd.save_snapshot(&root, &folder.path().join("all")).await.unwrap();
    assert!(alarms(&root).await.is_empty());
    let (stop, database) = (AtomicBool::new(false), etcd.database());
    let raised = std::thread::scope(|scope| {
        scope.spawn(|| flip(&database, value, &stop));
        let deadline = Instant::now() + PATIENCE;
        let raised = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let mut raised = Vec::new();
                while raised.is_empty() && Instant::now() < deadline {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    raised = alarms(&root).await;
                }
                raised
            })
        });
        stop.store(true, Ordering::Relaxed);
        raised
    });
    assert_eq!(raised, [AlarmType::Corrupt as i32]);
    let refused = root.kv().put(put()).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: corrupt cluster");
}

/// Records in a member's file, or in a snapshot of it.
fn records(file: &Path) -> usize {
    let db = Db::open(MappedFile::open(file).unwrap()).unwrap();
    let mut cursor = db.bucket(b"key").unwrap().unwrap().cursor();
    let mut count = usize::from(cursor.first().unwrap().is_some());
    while cursor.next().unwrap().is_some() {
        count += 1;
    }
    count
}

/// Records once there are others than so many.
async fn records_after(etcd: &Etcd, before: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let file = folder.path().join("snapshot");
        etcd.save_snapshot(&etcd.client(), &file).await.unwrap();
        // Without the digest behind it.
        let length = file.metadata().unwrap().len() - 32;
        File::options().write(true).open(&file).unwrap().set_len(length).unwrap();
        let now = records(&file);
        if now != before {
            return now;
        }
        assert!(Instant::now() < deadline, "there are {before} records for ever");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_takes_the_batches_and_makes_the_pauses_that_the_flags_say() {
    for (version, prefix) in
        [("3.6", "compaction"), (BUNDLED, "compaction"), (BUNDLED, "experimental-compaction")]
    {
        let batch = format!("--{prefix}-batch-limit=20");
        let flags = [batch.as_str(), &format!("--{prefix}-sleep-interval=1h")];
        let mut etcd = Etcd::start_with(Options::new(version).with_flags(&flags)).await;
        let client = etcd.client();
        // Four records of each of 30 keys, one after the other.
        for (form, at) in (0..4).flat_map(|form| (0..30).map(move |at| (form, at))) {
            contents::put(&client, std::iter::once(object(1, at, form)), 1).await.unwrap();
        }
        let revision = contents::revision(&client).await.unwrap() - 10;
        let request = CompactionRequest { revision, physical: false };
        client.check("Compact", client.kv().compact(request).await).unwrap();
        assert_eq!(records_after(&etcd, 120).await, 100, "{version}: the first batch is gone");
        etcd.stop().await;
        assert_eq!(records(&etcd.database()), 100, "{version}: and no other");
        let flags = [batch.as_str(), &format!("--{prefix}-sleep-interval=1ms")];
        let options = Options::new(version).with_data_dir(etcd.data_dir()).with_flags(&flags);
        let mut again = Etcd::start_with(options).await;
        // The newest ones at the compaction, ten of which have a newer one.
        let mut left = 100;
        while left != 40 {
            left = records_after(&again, left).await;
        }
        again.stop().await;
    }
}

fn count(folder: &Path, suffix: &str) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(suffix)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_snapshots_go_at_a_start_and_stay_until_the_next_look() {
    for version in ["3.6", BUNDLED] {
        let flags = ["--snapshot-count=10", "--max-snapshots=2"];
        let mut etcd = Etcd::start_with(Options::new(version).with_flags(&flags)).await;
        let folder = etcd.data_dir().join("member/snap");
        let client = etcd.client();
        // Upstream's applies what comes together as one, and saves one snapshot for it.
        for at in 0..8 {
            contents::put(&client, (0..15).map(|of| object(1, of, at)), 1).await.unwrap();
        }
        // The look at the start found nothing; the next one is half a minute away.
        until(&format!("{version}: more than are kept"), || count(&folder, ".snap") > 4).await;
        etcd.stop().await;
        etcd.boot().await;
        until(&format!("{version}: the rest goes"), || count(&folder, ".snap") == 2).await;
        etcd.stop().await;
    }
}

/// Of a running process: what the kernel shows in that file of it.
fn shown(process: u32, file: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{process}/{file}")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_gives_freed_memory_back_and_keeps_its_name() {
    let mut etcd = Etcd::start(BUNDLED).await;
    let environment = shown(etcd.process(), "environ");
    let set = environment.split(|byte| *byte == 0).any(|one| one == b"MIMALLOC_PURGE_DELAY=0");
    assert!(set, "{}", String::from_utf8_lossy(&environment));
    let (name, program) = (shown(etcd.process(), "comm"), shown(etcd.process(), "cmdline"));
    let called = program.split(|byte| *byte == 0).next().unwrap();
    let called = Path::new(std::str::from_utf8(called).unwrap()).file_name().unwrap();
    assert_eq!(std::str::from_utf8(&name).unwrap().trim(), called.to_str().unwrap());
    etcd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_option_of_ours_before_the_verb_takes_nothing_from_the_server() {
    for format in ["json", "text"] {
        let folder = tempfile::tempdir().unwrap();
        let [client, peer] = free_ports_of_a_member();
        let data = format!("--data-dir={}", folder.path().join("data").display());
        let urls = [
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ];
        let log = folder.path().join("log");
        let mut command = holdfast::command(&["--log-format", format, "server", &data]);
        command.args(urls).env_remove("MIMALLOC_PURGE_DELAY");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut server = Ended(command.spawn().unwrap());
        let config = holdfast_api::client::ClientConfig::new([client]);
        let lines = || std::fs::read_to_string(&log).unwrap();
        until("it serves", || lines().contains("ready to serve client requests")).await;
        contents::revision(&Client::lazy(config).unwrap()).await.unwrap();
        let environment = shown(server.0.id(), "environ");
        let mut set = environment.split(|byte| *byte == 0);
        assert!(set.any(|one| one == b"MIMALLOC_PURGE_DELAY=0"), "{format}");
        let id = server.0.id().to_string();
        holdfast_tests::etcd::run(std::process::Command::new("kill").args(["-TERM", &id]));
        server.0.wait().unwrap();
        // The server's lines are upstream's, whatever ours are.
        assert!(lines().lines().count() > 10);
        for line in lines().lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect(line);
            assert!(line["level"].is_string() && line["msg"].is_string(), "{line}");
        }
    }
}

/// A process that does not outlive the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where clients and members reach a member to come.
fn free_ports_of_a_member() -> [String; 2] {
    let ports = free_ports();
    [ports.client, ports.peer].map(|port| format!("http://127.0.0.1:{port}"))
}

#[test]
fn a_link_called_etcd_is_etcd() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("etcd");
    std::os::unix::fs::symlink(holdfast_tests::peers::holdfast(), &link).unwrap();
    for delay in [None, Some("5")] {
        let mut command = std::process::Command::new(&link);
        command.arg("--version").envs(delay.map(|delay| ("MIMALLOC_PURGE_DELAY", delay)));
        let said = command.output().unwrap();
        assert!(said.status.success(), "{said:?}");
        assert!(String::from_utf8_lossy(&said.stdout).starts_with("etcd Version: "), "{said:?}");
    }
}
