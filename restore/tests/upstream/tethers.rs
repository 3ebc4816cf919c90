//! A server never outlives the process that started it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::peers::{Running, free_ports};

/// Not a test by itself: the process that is killed by the one below.
#[tokio::test]
#[ignore = "started by the test below"]
async fn the_process_that_is_killed() {
    let root = tempfile::tempdir().unwrap();
    let running = Running::start("3.6", &root.path().join("data"), free_ports()).await;
    println!("server {}", running.server.id());
    std::future::pending::<()>().await;
}

#[test]
fn a_server_ends_when_its_owner_is_killed() {
    // The killed process cannot remove its directory; this one can.
    let root = tempfile::tempdir().unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "tethers::the_process_that_is_killed", "--nocapture"])
        .env("TMPDIR", root.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let mut ids = lines
        .map_while(Result::ok)
        .filter_map(|line| line.rsplit_once("server ").and_then(|(_, id)| id.parse::<u32>().ok()));
    let id = ids.next().unwrap();
    let runs = || std::path::Path::new(&format!("/proc/{id}/fd/0")).symlink_metadata().is_ok();
    assert!(runs());
    owner.kill().unwrap();
    owner.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(90);
    while runs() {
        assert!(Instant::now() < end, "etcd {id} outlived its owner");
        std::thread::sleep(Duration::from_millis(20));
    }
}
