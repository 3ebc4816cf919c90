//! What happens to the member between two rounds, and in the middle of one.

use crate::proxy::{Proxy, Trouble};
use crate::rounds::{
    Round, another_agent, assert_restores, compact_behind, one_round, watched, write,
};
use holdfast_tests::etcd::{BUNDLED, Etcd, Options};
use holdfast_tests::site::Site;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// All objects of the vault, by name.
fn objects(site: &Site) -> BTreeSet<PathBuf> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![site.path("vault")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(found.insert(path)),
            }
        }
    }
    found
}

/// 1,000 objects are some megabytes: more than all buffers between the server and a client that
/// does not read, so the server dies while it tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_in_the_middle_of_an_answer_leaves_nothing() {
    // What it has told stands in its log, but is no warning.
    let options = Options::new(BUNDLED).with_flags(&["--log-level", "info"]);
    let mut etcd = Etcd::start_with(options).await;
    let site = watched(&etcd).await;
    write(&etcd.client(), 1_000, 1..2).await;
    let proxy = Proxy::start(&etcd.endpoint()).await;
    let agent = another_agent(&site, &etcd, "proxied", &proxy.endpoint());
    assert!(Round::of(&one_round(&site, &agent).await).whole);
    write(&etcd.client(), 1_000, 2..3).await;
    let before = objects(&site);
    proxy.cause(Trouble::Hold);
    let (said, ()) = tokio::join!(one_round(&site, &agent), async {
        proxy.holds().await;
        let log = etcd.log_tail();
        let told = log.lines().filter(|line| line.contains("that a backup did not have")).count();
        assert_eq!(told, 0, "the server is not through: {log}");
        etcd.kill().await;
        proxy.let_go();
    });
    assert!(!said.succeeded && said.err.contains("stream of changes"), "{}", said.err);
    assert_eq!(objects(&site), before, "not an object was added");
    etcd.boot().await;
    let next = Round::of(&one_round(&site, &agent).await);
    assert!(next.whole && next.hash_equal && next.alarms == 0, "{next:?}");
    assert_restores(&site, &etcd, "after-a-kill").await;
    write(&etcd.client(), 10, 3..4).await;
    let after = Round::of(&one_round(&site, &agent).await);
    assert!(!after.whole && after.hash_equal && after.alarms == 0, "{after:?}");
    assert_restores(&site, &etcd, "and-after-that").await;
}

/// Pages move, records do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_defragmentation_between_two_rounds_is_no_news() {
    let etcd = Etcd::start(BUNDLED).await;
    let (client, site) = (etcd.client(), watched(&etcd).await);
    write(&client, 4_000, 1..2).await;
    let first = Round::of(&site.back_up().await);
    assert!(first.whole && first.hash_equal && first.alarms == 0, "{first:?}");
    let size = |etcd: &Etcd| std::fs::metadata(etcd.database()).unwrap().len();
    // Once with news only, once with a compaction that frees most of the pages, once with nothing.
    for (name, versions, compacted) in
        [("news", 2..4, None), ("compacted", 4..34, Some(5)), ("nothing", 34..34, None)]
    {
        let count = versions.end - versions.start;
        let mut new_bytes = write(&client, 200, versions).await;
        // A compaction leaves the last version of each, and a few more.
        match compacted {
            Some(behind) => compact_behind(&client, behind).await,
            None => new_bytes *= count,
        }
        let before = size(&etcd);
        etcd.ctl(&["defrag"]);
        let after = size(&etcd);
        assert!(after < before || name == "nothing", "{name}: {before} to {after}");
        let round = Round::of(&site.back_up().await);
        println!("{name}: {round:?}, {new_bytes} bytes are new, the file {before} to {after}");
        assert!(!round.whole && round.hash_equal && round.alarms == 0, "{name}: {round:?}");
        // A record's revisions, version and lengths; the gone ones; the small buckets.
        let limit = new_bytes + 200 * 60 + 4_400 * 4 + 64 * 1024;
        assert!(round.received_bytes < limit, "{name}: {round:?}, {new_bytes} bytes are new");
        assert_restores(&site, &etcd, name).await;
    }
}

/// A caller that gives nothing for long is no reason for a server not to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_ends_at_once_while_a_caller_is_silent() {
    let mut etcd = Etcd::start(BUNDLED).await;
    write(&etcd.client(), 10, 1..2).await;
    let held = crate::ask(etcd.client()).await.map_err(drop);
    assert!(held.is_ok());
    let began = Instant::now();
    etcd.stop().await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    etcd.boot().await;
}
