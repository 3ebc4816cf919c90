//! SIGKILL at any moment: while writers, leases, compactions, defragmentations and snapshot files
//! are under way, and while a start is.
//!
//! Every writer knows what was acknowledged to it. After each kill: nothing of that is missing, of
//! the one transaction that was under way either all keys or none are there, no write counts twice,
//! and leases that were granted or revoked stay so. Now and then upstream's etcd takes the
//! directory over in between, and must find the same with the same HashKV.
//!
//! `HOLDFAST_KILLS` says how often (`make kills`: 200), `HOLDFAST_SEED` from which seed.

use crate::judge::{self, State};
use holdfast_api::client::{Client, ClientError};
use holdfast_api::etcdserverpb::{
    CompactionRequest, DefragmentRequest, LeaseGrantRequest, LeaseLeasesRequest,
    LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op,
};
use holdfast_api::mvccpb::KeyValue;
use holdfast_tests::contents;
use holdfast_tests::etcd::{BUNDLED, Etcd, Options};
use holdfast_tests::objects::Chance;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Writers beside one another.
const WRITERS: u64 = 4;
/// Keys that a writer's transactions go round on, beside the two that all of them write.
const SLOTS: u64 = 40;
/// Writers have between nothing and so long before the next kill.
const LONGEST_LIFE_MS: u64 = 1_500;
/// Within this time a start is cut off while it reads.
const LONGEST_BOOT_MS: u64 = 60;
/// So many kills where nothing else is said: what `make check` runs.
const FEW: u64 = 5;

/// What a writer was told.
#[derive(Debug, Clone, Default)]
struct Told {
    /// Number of its last transaction that was acknowledged.
    acknowledged: u64,
    /// Leases that stand, by id, with its key.
    granted: BTreeSet<i64>,
    /// Leases that do not.
    revoked: BTreeSet<i64>,
    /// A lease whose fate was not told.
    unsure: Option<i64>,
}

fn put(key: String, number: u64, lease: i64) -> RequestOp {
    // Larger now and then, so that pages of several sizes are freed.
    let pad = usize::try_from(number * 7 % 3_000).unwrap_or(0);
    let value = format!("{number} {}", "x".repeat(pad)).into_bytes();
    let put = PutRequest { key: key.into_bytes(), value, lease, ..PutRequest::default() };
    RequestOp { request: Some(request_op::Request::RequestPut(put)) }
}

async fn write(client: &Client, writer: u64, number: u64) -> Result<(), ClientError> {
    let success = ["first", "slot", "last"].map(|name| match name {
        "slot" => put(format!("w{writer}/slot/{:02}", number % SLOTS), number, 0),
        name => put(format!("w{writer}/{name}"), number, 0),
    });
    let txn = TxnRequest { success: success.into(), ..TxnRequest::default() };
    client.check("Txn", client.kv().txn(txn).await).map(|_| ())
}

async fn grant(client: &Client, writer: u64, id: i64) -> Result<(), ClientError> {
    let lease = LeaseGrantRequest { ttl: 3_600, id };
    client.check("LeaseGrant", client.lease().lease_grant(lease).await)?;
    let success = vec![put(format!("l{writer}/{id}"), 1, id)];
    let txn = TxnRequest { success, ..TxnRequest::default() };
    client.check("Txn", client.kv().txn(txn).await).map(|_| ())
}

async fn revoke(client: &Client, id: i64) -> Result<(), ClientError> {
    let revoked = client.lease().lease_revoke(LeaseRevokeRequest { id }).await;
    client.check("LeaseRevoke", revoked).map(|_| ())
}

/// Writes until the member is gone.
async fn keep_writing(client: Client, writer: u64, mut told: Told) -> Told {
    loop {
        let number = told.acknowledged + 1;
        if number.is_multiple_of(20) {
            // Ids are never used again, also not after a grant whose fate was not told.
            let next = told.granted.last().max(told.revoked.last()).copied();
            let id = next.unwrap_or(i64::try_from(writer).unwrap() * 1_000_000).max(1) + 1;
            told.unsure = Some(id);
            if grant(&client, writer, id).await.is_err() {
                return told;
            }
            told.unsure = None;
            told.granted.insert(id);
        }
        if number.is_multiple_of(30)
            && let Some(id) = told.granted.pop_first()
        {
            told.unsure = Some(id);
            if revoke(&client, id).await.is_err() {
                return told;
            }
            told.unsure = None;
            told.revoked.insert(id);
        }
        if write(&client, writer, number).await.is_err() {
            return told;
        }
        told.acknowledged = number;
    }
}

/// Compacts and defragments until the member is gone.
async fn keep_tidy(client: Client) {
    for turn in 0u64.. {
        let Ok(revision) = contents::revision(&client).await else { return };
        let compaction = CompactionRequest {
            revision: (revision - 20).max(1),
            physical: turn.is_multiple_of(2),
        };
        // Where nothing new is to be compacted it is refused.
        let _ = client.kv().compact(compaction).await;
        if turn % 3 == 2 {
            let _ = client.maintenance().defragment(DefragmentRequest {}).await;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

fn number_in(record: &KeyValue) -> u64 {
    let text = String::from_utf8_lossy(&record.value);
    text.split(' ').next().unwrap().parse().unwrap()
}

async fn under(client: &Client, prefix: &str) -> Vec<KeyValue> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    let range = RangeRequest { key: prefix.into(), range_end: end, ..RangeRequest::default() };
    client.check("Range", client.kv().range(range).await).unwrap().kvs
}

/// Fails unless the member holds what the writer was told, and no half of anything.
async fn judge_writer(client: &Client, writer: u64, told: &mut Told, what: &str) {
    let records = under(client, &format!("w{writer}/")).await;
    let of = |name: &str| {
        let key = format!("w{writer}/{name}");
        records.iter().find(|record| *record.key == *key.as_bytes())
    };
    let (first, last) = (of("first"), of("last"));
    let kept = first.map_or(0, number_in);
    assert!(
        kept == told.acknowledged || kept == told.acknowledged + 1,
        "{what}: writer {writer} was told of {}, {kept} is there",
        told.acknowledged
    );
    assert_eq!(kept, last.map_or(0, number_in), "{what}: half a transaction of writer {writer}");
    for record in first.iter().chain(&last) {
        let version = u64::try_from(record.version).unwrap();
        assert_eq!(version, kept, "{what}: a write of writer {writer} is lost or counts twice");
    }
    for slot in 0..SLOTS {
        // The last number that went into this slot.
        let newest = kept.saturating_sub((kept + SLOTS - slot) % SLOTS);
        let found = of(&format!("slot/{slot:02}")).map_or(0, number_in);
        assert_eq!(found, newest, "{what}: slot {slot} of writer {writer} at {kept}");
    }
    told.acknowledged = kept;
    judge_leases(client, writer, told, what).await;
}

async fn judge_leases(client: &Client, writer: u64, told: &mut Told, what: &str) {
    if let Some(id) = told.unsure.take() {
        // Either fate is right; from here on it is known.
        let _ = revoke(client, id).await;
        told.revoked.insert(id);
    }
    let leases = client.lease().lease_leases(LeaseLeasesRequest {}).await;
    let leases = client.check("LeaseLeases", leases).unwrap().leases;
    let standing: BTreeSet<i64> = leases.into_iter().map(|lease| lease.id).collect();
    let keys = under(client, &format!("l{writer}/")).await;
    for id in &told.granted {
        assert!(standing.contains(id), "{what}: lease {id} is lost");
        assert!(keys.iter().any(|key| key.lease == *id), "{what}: the key of lease {id} is lost");
    }
    for id in &told.revoked {
        assert!(!standing.contains(id), "{what}: lease {id} came back");
        assert!(keys.iter().all(|key| key.lease != *id), "{what}: a key of lease {id} is left");
    }
}

/// Lets everybody at the member, kills it, and collects what they were told.
async fn live_and_die(etcd: &mut Etcd, told: &mut Vec<Told>, life: Duration) {
    let clients = || etcd.client();
    let writing: Vec<JoinHandle<Told>> = (0u64..)
        .zip(told.drain(..))
        .map(|(writer, told)| tokio::spawn(keep_writing(clients(), writer, told)))
        .collect();
    let tidying = tokio::spawn(keep_tidy(clients()));
    // Not a wait for something: the kill comes at any moment.
    tokio::time::sleep(life).await;
    etcd.kill().await;
    for writer in writing {
        told.push(writer.await.unwrap());
    }
    tidying.await.unwrap();
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_is_there_by_half() {
    let kills = from_environment("HOLDFAST_KILLS").unwrap_or(FEW);
    let seed = from_environment("HOLDFAST_SEED").unwrap_or(1);
    let mut chance = Chance::new(seed);
    // With syncs, as it is run; snapshot files every few hundred entries.
    let options = Options { extra: Vec::new(), ..Options::new(BUNDLED) };
    let mut etcd = Etcd::start_with(options.with_flags(&["--snapshot-count=300"])).await;
    let mut told = vec![Told::default(); usize::try_from(WRITERS).unwrap()];
    for kill in 1..=kills {
        let what = format!("seed {seed}, kill {kill}");
        live_and_die(&mut etcd, &mut told, millis(chance.below(LONGEST_LIFE_MS))).await;
        while chance.below(3) == 0 {
            etcd.boot_for(millis(chance.below(LONGEST_BOOT_MS))).await;
        }
        etcd.boot_as(BUNDLED).await;
        let client = etcd.client();
        for (writer, told) in (0u64..).zip(&mut told) {
            judge_writer(&client, writer, told, &what).await;
        }
        if kill.is_multiple_of(4) {
            let state = State::read(&client).await.unwrap();
            etcd.kill().await;
            judge::bbolt_agrees(&etcd.database());
            etcd.boot_as("3.6").await;
            let theirs = State::read(&etcd.client()).await.unwrap();
            state.assert_same(&theirs, &format!("{what}, taken over by etcd 3.6"));
            // This life is upstream's; what it leaves is taken over by ours.
        }
    }
    let writes: u64 = told.iter().map(|told| told.acknowledged).sum();
    eprintln!("{kills} kills, {writes} transactions acknowledged, none lost");
    assert!(writes > kills, "the writers had no time");
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}
