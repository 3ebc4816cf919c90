//! The agent beside our own server: after its first snapshot it is told only what changed. Beside
//! upstream's it takes everything, as ever.
//!
//! What comes over the wire is counted in bytes, and everything that goes wrong is done to the
//! stream by a proxy in between.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "changes/breaks.rs"]
mod breaks;
#[path = "matrix/judge.rs"]
#[allow(dead_code, reason = "the matrix needs more of it")]
mod judge;
#[path = "changes/proxy.rs"]
mod proxy;
#[path = "changes/races.rs"]
mod races;
#[path = "changes/rounds.rs"]
mod rounds;

use holdfast_api::client::Client;
use holdfast_api::holdfast::ChangesRequest;
use holdfast_tests::etcd::{BUNDLED, Etcd};
use holdfast_tests::objects::object;
use holdfast_tests::{contents, seed};
use proxy::{Proxy, Trouble};
use rounds::{Round, assert_restores, compact_behind, watched, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_updates_and_a_compaction_cost_little_more_than_the_new_records() {
    let mut etcd = Etcd::start(BUNDLED).await;
    let (client, site) = (etcd.client(), watched(&etcd).await);
    seed::records(&client).await.unwrap();
    write(&client, 4_000, 1..2).await;
    let first = Round::of(&site.back_up().await);
    assert!(first.whole && first.hash_equal && first.alarms == 0, "{first:?}");
    let new_bytes = write(&client, 500, 2..22).await;
    compact_behind(&client, 10).await;
    let second = Round::of(&site.back_up().await);
    assert!(!second.whole && second.hash_equal && second.alarms == 0, "{second:?}");
    // A record's revisions, version and lengths, the gone ones, and the small buckets.
    let limit = new_bytes + 500 * 100 + 64 * 1024;
    println!("{first:?}\n{second:?}\nthe new records have {new_bytes} bytes");
    assert!(second.received_bytes > new_bytes, "{second:?}: the new records were sent");
    assert!(second.received_bytes < limit, "{second:?}, {new_bytes} bytes are new");
    assert!(second.uploaded_bytes < limit, "{second:?}, {new_bytes} bytes are new");
    assert!(second.received_bytes * 4 < first.received_bytes, "{first:?} {second:?}");
    assert_restores(&site, &etcd, "after-updates").await;
    // Nothing new: nothing but the small buckets.
    let third = Round::of(&site.back_up().await);
    assert!(!third.whole && third.received_bytes < 64 * 1024, "{third:?}");
    assert_eq!(third.records, second.records);
    // The member's own restart changes nothing for the agent.
    etcd.kill().await;
    etcd.boot().await;
    write(&etcd.client(), 10, 30..31).await;
    let fourth = Round::of(&site.back_up().await);
    assert!(!fourth.whole && fourth.hash_equal && fourth.received_bytes < 192 * 1024, "{fourth:?}");
    assert_restores(&site, &etcd, "after-a-restart").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_etcd_gives_everything_each_time() {
    let etcd = Etcd::start("3.6").await;
    let (client, site) = (etcd.client(), watched(&etcd).await);
    write(&client, 50, 1..3).await;
    for _ in 0..2 {
        let said = site.back_up().await;
        let round = Round::of(&said);
        assert!(round.whole && round.hash_equal && round.alarms == 0, "{round:?}");
        let loud = said.err.lines().filter(|line| line.contains(" WARN ")).count();
        assert_eq!(loud, 0, "no noise about what is not offered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_that_is_not_finished_does_not_show() {
    let mut etcd = seed::half_compacted(BUNDLED).await.unwrap();
    // With its slow flags: the second half does not begin.
    etcd.boot().await;
    let (client, site) = (etcd.client(), watched(&etcd).await);
    let first = Round::of(&site.back_up().await);
    write(&client, 5, 1..2).await;
    let second = Round::of(&site.back_up().await);
    assert!(first.whole && !second.whole && second.alarms == 0, "{first:?} {second:?}");
    assert_eq!(second.records, first.records + 5, "exactly the new ones");
    assert_restores(&site, &etcd, "half-compacted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_on_the_way_is_never_stored() {
    let etcd = Etcd::start(BUNDLED).await;
    let (client, site) = (etcd.client(), watched(&etcd).await);
    write(&client, 100, 1..2).await;
    site.back_up().await;
    let proxy = Proxy::start(&etcd.endpoint()).await;
    let config = std::fs::read_to_string(site.path("agent.yaml")).unwrap();
    let config = config.replace(&etcd.endpoint(), &proxy.endpoint());
    std::fs::write(site.path("agent.yaml"), config).unwrap();
    let agent = site.path("agent.yaml").display().to_string();
    for (version, trouble) in [(2, Trouble::Flip), (3, Trouble::Cut)] {
        write(&client, 100, version..version + 1).await;
        let before = site.snapshots().await.len();
        proxy.cause(trouble);
        let said = site.refuse(&["agent", "--once", "--config", &agent]).await;
        assert!(said.contains("stream of changes"), "{trouble:?}: {said}");
        proxy.cause(Trouble::None);
        assert_eq!(site.snapshots().await.len(), before, "{trouble:?}: nothing is committed");
        // The round after a failure believes nobody's differences.
        let next = Round::of(&site.back_up().await);
        assert!(next.whole && next.hash_equal && next.alarms == 0, "{trouble:?}: {next:?}");
        let after = Round::of(&site.back_up().await);
        assert!(!after.whole, "{trouble:?}: {after:?}");
    }
    assert_restores(&site, &etcd, "after-troubles").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_parted_gets_its_verdict_from_differences_too() {
    let mut etcd = Etcd::start(BUNDLED).await;
    let (client, site) = (etcd.client(), watched(&etcd).await);
    write(&client, 60, 1..2).await;
    site.back_up().await;
    // A copy of the directory, as a careless person restores it.
    etcd.stop().await;
    let copy = tempfile::tempdir().unwrap();
    let copied = copy.path().join("data");
    copy_folder(etcd.data_dir(), &copied);
    etcd.boot().await;
    write(&etcd.client(), 60, 2..3).await;
    let ours = Round::of(&site.back_up().await);
    assert!(!ours.whole);
    // The member comes back as it was: behind what the vault has.
    etcd.stop().await;
    std::fs::remove_dir_all(etcd.data_dir()).unwrap();
    copy_folder(&copied, etcd.data_dir());
    etcd.boot().await;
    let agent = site.path("agent.yaml").display().to_string();
    let said = site.run(&["agent", "--once", "--config", &agent]).await;
    assert!(said.err.contains("another history"), "{}", said.err);
    let rolled_back = Round::of(&said);
    assert!(!rolled_back.whole && rolled_back.alarms == 1, "a new lineage: {rolled_back:?}");
    // And goes on another way, beyond where the vault was.
    write(&etcd.client(), 80, 5..7).await;
    let parted = Round::of(&site.back_up().await);
    assert!(!parted.whole && parted.alarms == 0 && parted.hash_equal, "{parted:?}");
    assert_restores(&site, &etcd, "parted").await;
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A call that names nothing, and whose own side ends with what is given back.
async fn ask(client: Client) -> Result<impl Sized, String> {
    let (held, mut queue) = tokio::sync::mpsc::channel::<ChangesRequest>(1);
    let silent = futures::stream::poll_fn(move |context| queue.poll_recv(context));
    let mut records = client.members()[0].records();
    let answer = records.changes(silent).await;
    answer.map(|answer| (answer, held)).map_err(|status| format!("{:?}", status.code()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_ask_and_how_many_at_once() {
    let etcd = Etcd::start(BUNDLED).await;
    seed::records(&etcd.client()).await.unwrap();
    seed::authentication(&etcd.client()).await.unwrap();
    let refused = ask(etcd.client_as(seed::READER.0, seed::READER.1)).await;
    assert_eq!(refused.err().as_deref(), Some("PermissionDenied"));
    assert!(ask(etcd.client()).await.is_err(), "nobody's records are told to nobody");
    let root = etcd.client_as(seed::ROOT.0, seed::ROOT.1);
    let (first, second) =
        (ask(root.clone()).await.map_err(drop), ask(root.clone()).await.map_err(drop));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(ask(root.clone()).await.err().as_deref(), Some("ResourceExhausted"));
    // Writes go on meanwhile, and a place is free when a caller goes away.
    contents::put(&root, (0..20).map(|at| object(1, at, 1)), 1).await.unwrap();
    drop(first);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while ask(root.clone()).await.is_err() {
        assert!(std::time::Instant::now() < deadline, "the place is never free");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
