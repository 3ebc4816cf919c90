//! `grpc-timeout` beside upstream's, by a client that does not end its calls itself.
//!
//! Upstream ends a stream's handler and the stream itself at the same moment: which of the two a
//! client sees, a status or a reset, is chance. Ours always tells the status.

use std::time::Duration;

use holdfast_api::etcdserverpb as pb;
use holdfast_api::etcdserverpb::request_op::Request as Step;
use holdfast_api::health::HealthCheckRequest;
use holdfast_api::txn::step;
use holdfast_api::{v3electionpb, v3lockpb};
use holdfast_tests::etcd::{BUNDLED, Etcd, Options};
use serde_json::{Value, json};

use crate::raw::{Call, Said};
use crate::services::{ask, begin_with, finish, until};

const OK: i32 = 0;
const DEADLINE_EXCEEDED: i32 = 4;
const UNAVAILABLE: i32 = 14;

fn over() -> Said {
    Said::Status(200, DEADLINE_EXCEEDED, "context deadline exceeded".to_owned())
}

/// Ours tells `wanted`; upstream's too, or it resets the stream.
fn assert_told(version: &str, what: &str, said: &Said, wanted: &Said) {
    let is_reset = matches!(said, Said::Reset(why) if why.contains("no longer needed"));
    assert!(said == wanted || version != BUNDLED && is_reset, "{version}, {what}: {said:?}");
}

async fn keys(etcd: &Etcd) -> Vec<String> {
    let all = pb::RangeRequest { key: vec![0], range_end: vec![0], ..Default::default() };
    let found = etcd.client().kv().range(all).await.unwrap().into_inner();
    found.kvs.iter().map(|record| String::from_utf8(record.key.to_vec()).unwrap()).collect()
}

async fn leases(etcd: &Etcd) -> usize {
    let leases = etcd.client().lease().lease_leases(pb::LeaseLeasesRequest {}).await;
    leases.unwrap().into_inner().leases.len()
}

/// A lock and an election that somebody has, by lease 7; lease 8 waits for nothing yet.
async fn contested(etcd: &Etcd) {
    for id in [7, 8] {
        let grant = pb::LeaseGrantRequest { ttl: 600, id };
        etcd.client().lease().lease_grant(grant).await.unwrap();
    }
    for call in [lock(7), campaign(7)] {
        assert_eq!(call.make(etcd).await.said, Said::Status(200, OK, String::new()));
    }
}

fn lock(lease: i64) -> Call {
    Call::new("Lock/Lock", &v3lockpb::LockRequest { name: b"lock".to_vec(), lease })
}

fn campaign(lease: i64) -> Call {
    let (name, value) = (b"elect".to_vec(), b"v".to_vec());
    Call::new("Election/Campaign", &v3electionpb::CampaignRequest { name, lease, value })
}

fn observe(name: &[u8]) -> Call {
    Call::new("Election/Observe", &v3electionpb::LeaderRequest { name: name.to_vec() })
}

fn watch() -> Call {
    let create = pb::WatchCreateRequest { key: b"k".to_vec(), ..Default::default() };
    let create = pb::watch_request::RequestUnion::CreateRequest(create);
    Call::new("Watch/Watch", &pb::WatchRequest { request_union: Some(create) }).open()
}

fn keep_alive() -> Call {
    Call::new("Lease/LeaseKeepAlive", &pb::LeaseKeepAliveRequest { id: 8 }).open()
}

/// Calls that would wait for ever, and whether they are told something before their end.
fn waiting() -> Vec<(&'static str, Call, bool)> {
    let health = Call::new("Health/Watch", &HealthCheckRequest::default());
    vec![
        ("a lock", lock(8), false),
        ("a lock, by a lease of its own", lock(0), false),
        ("an election", campaign(8), false),
        ("an observer", observe(b"elect"), true),
        ("an observer of nobody", observe(b"nobody"), false),
        ("a watch", watch(), true),
        ("a watch that is asked nothing", watch().silent(), false),
        ("keep-alives", keep_alive(), true),
        ("keep-alives that do not come", keep_alive().silent(), false),
        ("health", health, true),
        (
            "a put that does not come",
            Call::new("KV/Put", &pb::PutRequest::default()).silent(),
            false,
        ),
        (
            "a question that does not come",
            Call::new("Cluster/MemberList", &pb::MemberListRequest::default()).silent(),
            false,
        ),
        (
            "a snapshot that is not asked for",
            Call::new("Maintenance/Snapshot", &pb::SnapshotRequest {}).silent(),
            false,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_ends_when_its_client_waits_no_longer() {
    let mut left = Vec::new();
    for version in [BUNDLED, "3.6"] {
        let etcd = Etcd::start(version).await;
        contested(&etcd).await;
        for (what, call, is_told) in waiting() {
            let ended = call.within("300m").make(&etcd).await;
            // Health's watch has a word of its own for it upstream.
            if what != "health" || version == BUNDLED {
                assert_told(version, what, &ended.said, &over());
            }
            assert!(ended.took >= Duration::from_millis(290), "{version}, {what}: {ended:?}");
            assert_eq!(ended.first.is_some(), is_told, "{version}, {what}: {ended:?}");
        }
        let held = ["elect/7", "lock/7"];
        until("who waits no longer leaves no key", async || keys(&etcd).await == held).await;
        left.push(leases(&etcd).await);
    }
    assert_eq!(left[0], left[1], "leases that nobody asked for by number");
}

const RECORDS: usize = 20_000;

fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: vec![b'v'; 100], ..Default::default() }
}

/// A write that takes long to apply: beside a put it sorts all records so many times.
fn long(sorts: usize) -> Call {
    let range = || pb::RangeRequest {
        key: b"k".to_vec(),
        range_end: b"l".to_vec(),
        limit: 1,
        sort_order: pb::range_request::SortOrder::Ascend as i32,
        sort_target: pb::range_request::SortTarget::Value as i32,
        ..Default::default()
    };
    let mut success = vec![step(Step::RequestPut(put("long")))];
    success.extend((0..sorts).map(|_| step(Step::RequestRange(range()))));
    Call::new("KV/Txn", &pb::TxnRequest { success, ..Default::default() })
}

/// Calls that wait for what is before them in the log, and whether they wait for a proposal.
fn behind(round: usize) -> Vec<(&'static str, Call, bool)> {
    let read = || pb::RangeRequest { key: b"a".to_vec(), ..Default::default() };
    let txn =
        pb::TxnRequest { success: vec![step(Step::RequestRange(read()))], ..Default::default() };
    let grant = pb::LeaseGrantRequest { ttl: 600, id: 1_000 + i64::try_from(round).unwrap() };
    let no_password = Some(holdfast_api::authpb::UserAddOptions { no_password: true });
    let user = pb::AuthUserAddRequest {
        name: format!("late-{round}"),
        options: no_password,
        ..Default::default()
    };
    let members = pb::MemberListRequest { linearizable: true };
    vec![
        ("a put", Call::new("KV/Put", &put(&format!("late-{round}"))), true),
        ("a lease", Call::new("Lease/LeaseGrant", &grant), true),
        ("a user", Call::new("Auth/UserAdd", &user), true),
        ("alarms", Call::new("Maintenance/Alarm", &pb::AlarmRequest::default()), true),
        ("a range", Call::new("KV/Range", &read()), false),
        ("a transaction that reads", Call::new("KV/Txn", &txn), false),
        ("the members", Call::new("Cluster/MemberList", &members), false),
    ]
}

/// Has the calls of a round wait behind a write of so many sorts; `None` if it was done too soon.
async fn held_up(
    etcd: &Etcd,
    round: usize,
    sorts: usize,
) -> Option<Vec<(&'static str, Said, bool)>> {
    let calls = behind(round).into_iter();
    let (mut long, mut told) = (std::pin::pin!(long(sorts).make(etcd)), Vec::new());
    let begun = tokio::time::timeout(Duration::from_millis(100), long.as_mut()).await;
    let calls = calls.map(async |(what, call, proposes)| {
        let ended = call.within("400m").make(etcd).await;
        (what, ended.said, proposes)
    });
    let all = futures::future::join_all(calls);
    if begun.is_err() {
        tokio::select! {
            said = all => told = said,
            _ = &mut long => {}
        }
    }
    if told.is_empty() {
        return None;
    }
    // What follows begins with nothing before it.
    long.await;
    let is_late = |said: &Said| !matches!(said, Said::Status(_, OK, _));
    told.iter().all(|(_, said, _)| is_late(said)).then_some(told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_proposed_is_applied_all_the_same() {
    for version in [BUNDLED, "3.6"] {
        let options = Options::new(version).with_flags(&["--max-txn-ops", "100000"]);
        let etcd = Etcd::start_with(options).await;
        for from in (0..RECORDS).step_by(1_000) {
            let put = |at| step(Step::RequestPut(put(&format!("k{at:06}"))));
            let success = (from..from + 1_000).map(put).collect();
            let txn = pb::TxnRequest { success, ..Default::default() };
            etcd.client().kv().txn(txn).await.unwrap();
        }
        let mut rounds =
            (0..6).map(|round| (round, 20 * 3_usize.pow(u32::try_from(round).unwrap())));
        let (round, told) = loop {
            let (round, sorts) = rounds.next().expect("a write that takes long");
            if let Some(told) = held_up(&etcd, round, sorts).await {
                break (round, told);
            }
        };
        let late = Said::Status(200, UNAVAILABLE, "etcdserver: request timed out".to_owned());
        let over = over();
        for (what, said, proposes) in told {
            assert_told(version, what, &said, if proposes { &late } else { &over });
        }
        // The reads that were given up are told as slow, with what became of them; upstream passes
        // over transactions.
        let prefixes = ["read-only range ", "read-only txn "];
        for prefix in &prefixes[..if version == BUNDLED { 2 } else { 1 }] {
            let is_told = |line: &Value| line["prefix"] == *prefix && line["error"].is_string();
            assert!(crate::slow::lines(&etcd.log()).iter().any(is_told), "{version}: {prefix}");
        }
        let name = format!("late-{round}");
        let found = keys(&etcd).await;
        assert!(found.contains(&name), "{version}: the put was proposed");
        assert_eq!(leases(&etcd).await, round + 1, "{version}: the lease as well");
        let users = etcd.client().auth().user_list(pb::AuthUserListRequest {}).await;
        assert!(users.unwrap().into_inner().users.contains(&name), "{version}: and the user");
    }
}

/// Times that are over when they come, and such as cannot be.
const TIMES: [&[&str]; 22] = [
    &["0n"],
    &["1n"],
    &["0S"],
    &["00000000H"],
    &["10S", "1n"],
    &["1n", "10S"],
    &["10S", "bad"],
    &["99999999H"],
    &["12345678m"],
    &["1M"],
    &["3000000u"],
    &["x"],
    &[""],
    &["S"],
    &["1"],
    &["100"],
    &["5X"],
    &["123456789m"],
    &["-1m"],
    &["+1S"],
    &["1.5S"],
    &["1000000000n"],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_are_read_and_refused_as_by_upstream() {
    let mut told = Vec::new();
    for version in [BUNDLED, "3.6"] {
        let etcd = Etcd::start(version).await;
        let mut said = Vec::new();
        for times in TIMES {
            for method in ["KV/Put", "Maintenance/Status", "KV/Nope"] {
                let call = Call::new(method, &put("times"));
                let call = times.iter().fold(call, |call, time| call.within(time));
                said.push((method, times, call.make(&etcd).await.said));
            }
        }
        // How often it was put, too: not where time was over.
        let range = pb::RangeRequest { key: b"times".to_vec(), ..Default::default() };
        let found = etcd.client().kv().range(range).await.unwrap().into_inner();
        told.push((said, found.kvs[0].version));
    }
    let (theirs, ours) = (told.pop().unwrap(), told.pop().unwrap());
    for (our, their) in ours.0.iter().zip(&theirs.0) {
        assert_eq!(our, their);
    }
    assert_eq!(ours.1, theirs.1);
    assert_eq!(ours.1, 5, "the times that are long enough");
}

/// What the gateway says within a time to somebody who waits for a lock.
async fn through_gateway(etcd: &Etcd, time: &str) -> (u16, Value) {
    let wait = json!({ "name": "bG9jaw==", "lease": 8 });
    let header = format!("Grpc-Timeout: {time}\r\n");
    finish(begin_with(etcd, "lock/lock", &wait, &header).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_ends_what_waits_as_upstreams() {
    let mut told = Vec::new();
    for version in [BUNDLED, "3.6"] {
        let etcd = Etcd::start(version).await;
        contested(&etcd).await;
        let mut said = Vec::new();
        for time in ["300m", "1n", "-1S", "+1S", "x", "5X", "100", "1.5S", "S"] {
            said.push((time, through_gateway(&etcd, time).await));
        }
        let observe = json!({ "name": "bm9ib2R5" });
        let header = "Grpc-Timeout: 300m\r\n";
        let observer = begin_with(&etcd, "election/observe", &observe, header).await;
        said.push(("observe", finish(observer).await));
        // Nothing and zero are no time; nor is one among the metadata.
        let range = json!({ "key": "YQ==" });
        for header in
            ["Grpc-Timeout: \r\n", "Grpc-Timeout: 0S\r\n", "Grpc-Metadata-Grpc-Timeout: 1n\r\n"]
        {
            said.push((header, finish(begin_with(&etcd, "kv/range", &range, header).await).await));
        }
        let held = ["elect/7", "lock/7"];
        until("who waits no longer leaves no key", async || keys(&etcd).await == held).await;
        let (status, _) = ask(&etcd, "lock/unlock", json!({ "key": "bG9jay83" })).await;
        assert_eq!(status, 200);
        said.push(("its turn", through_gateway(&etcd, "1H").await));
        told.push(said);
    }
    let (theirs, ours) = (told.pop().unwrap(), told.pop().unwrap());
    for ((what, our), (_, their)) in ours.iter().zip(&theirs) {
        // Revisions say how often somebody stood in line.
        assert_eq!((our.0, &our.1["code"]), (their.0, &their.1["code"]), "{what}");
        let their = &their.1["message"];
        let is_reset = their.as_str().is_some_and(|text| text.contains("RST_STREAM"));
        assert!(is_reset || &our.1["message"] == their, "{what}: {} {their}", our.1);
    }
}
