//! Whole rounds against upstream's etcd into a local vault.

#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use holdfast_agent::damage;
use holdfast_agent::round::RoundReport;
use holdfast_agent::run::{AgentError, Outcome, daemon, once};
use holdfast_agent::state::AgentState;
use holdfast_vault::snapshot::ReadOptions;
use support::{Etcd, Site, parts};
use tokio::sync::mpsc;

async fn round(site: &Site, etcd: &Etcd) -> RoundReport {
    let (_terminate, signals) = mpsc::channel(1);
    match once(site.config(&etcd.endpoint, ""), parts(), signals).await.unwrap() {
        Outcome::Round(report) => *report,
        Outcome::Stopped => panic!("one round was asked for"),
    }
}

async fn live_records(site: &Site, number: u64) -> u64 {
    let mut vault = site.open().await;
    let reader = vault.reader(number).await.unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let mut records = reader.records(ReadOptions::default());
        while records.next().unwrap().is_some() {}
        records.finish().unwrap()
    });
    let verified = reading.await.unwrap();
    assert!(verified.digest_compared);
    verified.record_count
}

async fn two_rounds(version: &str) {
    let (site, etcd) = (Site::new().await, Etcd::start(version).await);
    for number in 0..300 {
        etcd.put(&format!("/registry/configmaps/ns/c{number}"), &[b'x'; 900]).await;
    }
    etcd.delete("/registry/configmaps/ns/c7").await;
    let revision = etcd.put("/registry/secrets/ns/s", b"k8s:enc:secretbox:v1:k2:....").await;
    etcd.compact(revision - 1).await;
    let first = round(&site, &etcd).await;
    assert_eq!((first.stored, first.hash_equal), (true, Some(true)));
    assert_eq!(first.entry.revision, revision);
    assert!(first.alarms.is_empty(), "{:?}", first.alarms);
    // 300 puts, one of them deleted; the tombstone stands at C and is kept; the secret.
    assert_eq!(live_records(&site, first.entry.number).await, 299 + 1 + 1);
    for number in 0..10 {
        etcd.put(&format!("/registry/configmaps/ns/c{number}"), &[b'y'; 900]).await;
    }
    let second = round(&site, &etcd).await;
    assert_eq!((second.stored, second.hash_equal), (true, Some(true)));
    assert!(second.entry.number > first.entry.number && second.alarms.is_empty());
    assert_eq!(live_records(&site, second.entry.number).await, 301 + 10);
    let mut vault = site.open().await;
    let facts = vault.reader(second.entry.number).await.unwrap().facts();
    assert_eq!(facts.encryption_key_ids, ["secretbox:v1:k2"]);
    assert!(facts.server_version.starts_with(version), "{}", facts.server_version);
    assert_eq!((facts.members.len(), facts.key_count), (1, 301));
    assert_eq!(facts.endpoint, etcd.endpoint);
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_3_5() {
    two_rounds("3.5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_3_6() {
    two_rounds("3.6").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_3_7() {
    two_rounds("3.7").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_is_refused() {
    let site = Site::new().await;
    let one = Etcd::start("3.6").await;
    for number in 0..40 {
        one.put(&format!("one/{number}"), b"1").await;
    }
    round(&site, &one).await;
    let other = Etcd::start("3.6").await;
    for number in 0..60 {
        other.put(&format!("other/{number}"), b"2").await;
    }
    let (_terminate, signals) = mpsc::channel(1);
    let error = once(site.config(&other.endpoint, ""), parts(), signals).await.unwrap_err();
    assert!(error.to_string().contains("not the cluster in the vault"), "{error}");
    assert_eq!(site.open().await.snapshots().len(), 1);
}

/// A round of each of two agents at the same time.
async fn both(site: &Site, etcd: &Etcd) -> [Result<Outcome, AgentError>; 2] {
    let agent = |name: &str| {
        let mut config = site.config(&etcd.endpoint, "prune: {enabled: false}\n");
        config.state_directory = site.path(name);
        async move {
            let (_terminate, signals) = mpsc::channel(1);
            once(config, parts(), signals).await
        }
    };
    let (one, two) = tokio::join!(agent("one"), agent("two"));
    [one, two]
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_at_once_lose_nothing() {
    let (site, etcd) = (Site::new().await, Etcd::start("3.6").await);
    for number in 0..50 {
        etcd.put(&format!("k/{number}"), &[b'x'; 500]).await;
    }
    let mut seen = Vec::new();
    for outcome in both(&site, &etcd).await {
        let Outcome::Round(report) = outcome.unwrap() else { panic!("a round was asked for") };
        assert_eq!(live_records(&site, report.entry.number).await, 50);
        seen.push((report.entry.number, report.stored));
    }
    assert!(seen.iter().any(|(_, stored)| *stored), "{seen:?}");
}

/// Both stream while somebody writes, so that the one that commits last has often the older stream.
#[tokio::test(flavor = "multi_thread")]
async fn two_agents_beside_writes_begin_no_new_lineage() {
    let (site, etcd) = (Site::new().await, Etcd::start("3.6").await);
    for number in 0..50 {
        etcd.put(&format!("k/{number}"), &[b'x'; 500]).await;
    }
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writes = async {
        while stopped.try_recv().is_err() {
            etcd.put("k/7", &[b'y'; 100]).await;
        }
    };
    let rounds = async {
        for _ in 0..3 {
            for outcome in both(&site, &etcd).await {
                match outcome {
                    Ok(Outcome::Round(report)) => assert!(report.alarms.is_empty(), "{report:?}"),
                    Ok(Outcome::Stopped) => panic!("a round was asked for"),
                    Err(error) => {
                        assert!(error.to_string().contains("behind the vault"), "{error}");
                    }
                }
            }
        }
        stop.send(()).unwrap();
    };
    tokio::join!(writes, rounds);
    let vault = site.open().await;
    let lineages: std::collections::BTreeSet<_> =
        vault.snapshots().into_iter().map(|entry| entry.lineage_id).collect();
    assert_eq!(lineages.len(), 1);
    let newest = vault.snapshots().last().unwrap().number;
    assert!(live_records(&site, newest).await > 50);
}

/// A byte rots in an old segment. What `vault check` finds, the next round stores again.
#[tokio::test(flavor = "multi_thread")]
async fn rot_that_a_check_found_is_repaired_by_the_next_round() {
    let (site, etcd) = (Site::new().await, Etcd::start("3.6").await);
    for number in 0..50 {
        etcd.put(&format!("k/{number}"), &[b'x'; 500]).await;
    }
    let round = async || {
        let (_terminate, signals) = mpsc::channel(1);
        let config = site.config(&etcd.endpoint, "prune: {enabled: false}\n");
        match once(config, parts(), signals).await.unwrap() {
            Outcome::Round(report) => *report,
            Outcome::Stopped => panic!("one round was asked for"),
        }
    };
    let first = round().await;
    let files = support::files(&site.path("vault"));
    let segment = files.iter().find(|file| file.to_string_lossy().contains("/seg/")).unwrap();
    let sound = std::fs::read(segment).unwrap();
    let mut rotten = sound.clone();
    rotten[300] ^= 1;
    std::fs::write(segment, rotten).unwrap();

    let mut vault = site.open().await;
    let found = damage::search(&mut vault, first.entry.number).await.unwrap();
    let id = segment.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(found.iter().map(|one| &one.id[..]).collect::<Vec<_>>(), [id.as_str()]);
    assert_eq!(damage::unrepaired(&found).len(), 1);
    damage::leave_note(&site.path("state"), &found).unwrap();
    etcd.put("k/50", b"later").await;
    let second = round().await;
    assert!(second.alarms.iter().any(|alarm| alarm.contains(&id)), "{:?}", second.alarms);
    assert_eq!(live_records(&site, second.entry.number).await, 51);
    let known = AgentState::load(&site.path("state")).unwrap().damaged;
    assert!(known[0].id == id && damage::unrepaired(&known).is_empty(), "{known:?}");
    let third = round().await;
    assert!(third.alarms.is_empty(), "{:?}", third.alarms);

    // The first snapshot fills no place of a retention rule, unless the object comes back.
    vault.refresh().await.unwrap();
    assert_eq!(damage::broken(&known, vault.chain()), [first.entry.number].into());
    assert_eq!(damage::confirm(&vault, &known).await, (known.clone(), vec![]));
    std::fs::write(segment, sound).unwrap();
    assert_eq!(damage::confirm(&vault, &known).await, (vec![], vec![id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_proves_what_it_stored() {
    let (site, etcd) = (Site::new().await, Etcd::start("3.6").await);
    for number in 0..50 {
        etcd.put(&format!("k/{number}"), &[b'x'; 500]).await;
    }
    std::fs::create_dir(site.path("drills")).unwrap();
    let server = support::peer("etcd-3.6");
    let more = format!(
        "drill: {{schedule: '@daily', serverBinary: {}, directory: drills}}\n",
        server.display()
    );
    let (terminate, signals) = mpsc::channel(1);
    let running = tokio::spawn(daemon(site.config(&etcd.endpoint, &more), parts(), signals));
    let state = site.path("state");
    support::eventually("a drill", || {
        AgentState::load(&state).is_ok_and(|state| state.last_drill_ms > 0)
    })
    .await;
    terminate.send(()).await.unwrap();
    assert_eq!(running.await.unwrap().unwrap(), Outcome::Stopped);
    let entry = site.open().await.snapshots().pop().unwrap();
    assert!(entry.proven_level > 6, "it boots and serves: {}", entry.proven_level);
    let state = AgentState::load(&state).unwrap();
    assert!(state.longest_restore_ms > 0 && state.last_error.is_empty());
    assert_eq!(std::fs::read_dir(site.path("drills")).unwrap().count(), 0, "cleaned up");
}
