//! What a member does by itself while time goes by: walks its records to find damage, and removes
//! old files; with upstream's lines in the log.

use holdfast_tests::contents;
use holdfast_tests::etcd::{BUNDLED, Etcd, Options};
use holdfast_tests::objects::object;
use std::path::Path;
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
