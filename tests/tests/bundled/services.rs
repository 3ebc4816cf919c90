//! Locks, elections, changes of members and downgrades: what ours answers beside what upstream's
//! does, over the JSON gateway, word by word but for ids.

use std::time::Duration;

use holdfast_tests::etcd::{BUNDLED, Etcd, Options};
use holdfast_tests::{contents, objects::object};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// Generous, for machines that do much at once.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(50);

pub async fn begin(etcd: &Etcd, path: &str, body: &Value) -> TcpStream {
    begin_with(etcd, path, body, "").await
}

/// `header`: one more line, with its end.
pub async fn begin_with(etcd: &Etcd, path: &str, body: &Value, header: &str) -> TcpStream {
    let endpoint = etcd.endpoint();
    let address = endpoint.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let body = body.to_string();
    let request = format!(
        "POST /v3/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{header}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

pub async fn finish(mut stream: TcpStream) -> (u16, Value) {
    let mut text = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await;
    read.expect("an answer in time").unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let (first, last) = (text.find('{').unwrap(), text.rfind('}').unwrap());
    let mut answer: Value = serde_json::from_str(&text[first..=last]).unwrap();
    if let Some(header) = answer.get_mut("header").and_then(Value::as_object_mut) {
        for id in ["cluster_id", "member_id"] {
            header.remove(id);
        }
    }
    // Older wording of the same.
    answer.as_object_mut().unwrap().remove("error");
    answer.as_object_mut().unwrap().remove("details");
    (status, answer)
}

pub async fn ask(etcd: &Etcd, path: &str, body: Value) -> (u16, Value) {
    finish(begin(etcd, path, &body).await).await
}

/// A page of the server, with its head.
pub async fn page(etcd: &Etcd, path: &str) -> String {
    let address = etcd.endpoint().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

async fn keys(etcd: &Etcd) -> u64 {
    let all = json!({ "key": "AA==", "range_end": "AA==", "count_only": true });
    let (_, answer) = ask(etcd, "kv/range", all).await;
    answer["count"].as_str().map_or(0, |count| count.parse().unwrap())
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(PAUSE).await;
    }
}

/// "name", "a" and "b" in base64.
const NAME: &str = "bmFtZQ==";
const A: &str = "YQ==";
const B: &str = "Yg==";

async fn locks(etcd: &Etcd) -> Vec<(u16, Value)> {
    let mut told = Vec::new();
    for id in [7, 8, 9] {
        ask(etcd, "lease/grant", json!({ "ID": id, "TTL": 600 })).await;
    }
    told.push(ask(etcd, "lock/lock", json!({ "name": NAME, "lease": 7 })).await);
    told.push(ask(etcd, "lock/lock", json!({ "name": NAME, "lease": 7 })).await);
    let key = told[0].1["key"].clone();
    let second = begin(etcd, "lock/lock", &json!({ "name": NAME, "lease": 8 })).await;
    until("the second waits", async || keys(etcd).await == 2).await;
    let third = begin(etcd, "lock/lock", &json!({ "name": NAME, "lease": 9 })).await;
    until("the third waits", async || keys(etcd).await == 3).await;
    drop(third);
    until("a client that went away waits no more", async || keys(etcd).await == 2).await;
    told.push(ask(etcd, "lock/unlock", json!({ "key": key })).await);
    told.push(finish(second).await);
    told.push((0, json!(keys(etcd).await)));
    told
}

async fn elections(etcd: &Etcd) -> Vec<(u16, Value)> {
    let mut told = Vec::new();
    told.push(ask(etcd, "election/leader", json!({ "name": B })).await);
    told.push(ask(etcd, "election/resign", json!({})).await);
    told.push(ask(etcd, "election/proclaim", json!({ "value": A })).await);
    let campaign = |lease| json!({ "name": B, "lease": lease, "value": A });
    told.push(ask(etcd, "election/campaign", campaign(7)).await);
    let leader = told[3].1["leader"].clone();
    let second = begin(etcd, "election/campaign", &campaign(8)).await;
    until("the second waits", async || keys(etcd).await == 3).await;
    told.push(ask(etcd, "election/proclaim", json!({ "leader": leader, "value": B })).await);
    told.push(ask(etcd, "election/leader", json!({ "name": B })).await);
    let again = json!({ "name": B, "lease": 7, "value": A });
    told.push(ask(etcd, "election/campaign", again).await);
    told.push(ask(etcd, "election/resign", json!({ "leader": leader })).await);
    told.push(finish(second).await);
    told.push(ask(etcd, "election/proclaim", json!({ "leader": leader, "value": B })).await);
    told.push(ask(etcd, "election/leader", json!({ "name": B })).await);
    told
}

async fn members(etcd: &Etcd) -> Vec<(u16, Value)> {
    let (_, list) = ask(etcd, "cluster/member/list", json!({})).await;
    let own = list["members"][0]["ID"].clone();
    let mut told = Vec::new();
    told.push(ask(etcd, "cluster/member/remove", json!({ "ID": own })).await);
    told.push(ask(etcd, "cluster/member/remove", json!({ "ID": "4711" })).await);
    told.push(ask(etcd, "cluster/member/promote", json!({ "ID": own })).await);
    let add = json!({ "peerURLs": ["http://127.0.0.1:1"], "isLearner": true });
    let (_, added) = ask(etcd, "cluster/member/add", add).await;
    let learner = added["member"]["ID"].clone();
    told.push(ask(etcd, "cluster/member/promote", json!({ "ID": learner })).await);
    let (status, _) = ask(etcd, "cluster/member/remove", json!({ "ID": learner })).await;
    told.push((status, json!({})));
    told.push(ask(etcd, "maintenance/defragment", json!({})).await);
    told
}

async fn downgrades(etcd: &Etcd) -> Vec<(u16, Value)> {
    let mut told = Vec::new();
    for (action, version) in [(0, "x"), (0, "3.4.0"), (0, "3.6.0"), (0, "3.5.0"), (2, "")] {
        let body = json!({ "action": action, "version": version });
        told.push(ask(etcd, "maintenance/downgrade", body).await);
    }
    told.push(ask(etcd, "maintenance/downgrade", json!({ "action": 1, "version": "3.5" })).await);
    told.push(ask(etcd, "maintenance/downgrade", json!({ "version": "3.5.0" })).await);
    told.push(ask(etcd, "maintenance/downgrade", json!({ "action": 2 })).await);
    told
}

/// What somebody without a name gets, once names are asked for.
async fn strangers(etcd: &Etcd) -> Vec<(u16, Value)> {
    ask(etcd, "auth/user/add", json!({ "name": "root", "password": "secret" })).await;
    ask(etcd, "auth/role/add", json!({ "name": "root" })).await;
    ask(etcd, "auth/user/grant", json!({ "user": "root", "role": "root" })).await;
    assert_eq!(ask(etcd, "auth/enable", json!({})).await.0, 200);
    let mut told = Vec::new();
    for path in ["maintenance/alarm", "maintenance/status", "cluster/member/list", "lock/lock"] {
        told.push(ask(etcd, path, json!({})).await);
    }
    told
}

/// Revisions and terms are compared too: neither server may write more than the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_elections_members_and_downgrades_are_answered_as_upstream() {
    let (ours, theirs) = tokio::join!(Etcd::start(BUNDLED), Etcd::start("3.6"));
    let (our, their) = tokio::join!(locks(&ours), locks(&theirs));
    assert_eq!(our, their, "locks");
    let (our, their) = tokio::join!(elections(&ours), elections(&theirs));
    assert_eq!(our, their, "elections");
    let (our, their) = tokio::join!(members(&ours), members(&theirs));
    assert_eq!(our, their, "members");
    let (our, their) = tokio::join!(downgrades(&ours), downgrades(&theirs));
    let texts = |told: &[(u16, Value)]| -> Vec<_> {
        told.iter().map(|(status, answer)| (*status, answer["message"].clone())).collect()
    };
    assert_eq!(texts(&our), texts(&their), "downgrades");
    let (our, their) = tokio::join!(strangers(&ours), strangers(&theirs));
    assert_eq!(texts(&our), texts(&their), "strangers");
}

/// What `Status` says of the schema and the downgrade.
async fn storage(etcd: &Etcd) -> (String, bool) {
    let (_, status) = ask(etcd, "maintenance/status", json!({})).await;
    let version = status["storageVersion"].as_str().unwrap_or_default().to_owned();
    (version, status["downgradeInfo"]["enabled"].as_bool().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_goes_down_to_3_5_and_comes_back() {
    // What 3.5 tells of its end of the downgrade is no warning.
    let options = Options::new(BUNDLED).with_flags(&["--log-level", "info"]);
    let mut etcd = Etcd::start_with(options).await;
    contents::put(&etcd.client(), (0..20).map(|at| object(1, at, 1)), 4).await.unwrap();
    let before = contents::read(&etcd.client()).await.unwrap();
    // The cluster agrees on its version a moment after the member serves.
    let enable = json!({ "action": 1, "version": "3.5.0" });
    until("the downgrade is taken", async || {
        ask(&etcd, "maintenance/downgrade", enable.clone()).await.0 == 200
    })
    .await;
    until("the schema goes down", async || storage(&etcd).await == ("3.5.0".to_owned(), true))
        .await;
    // Also from there on, after a crash.
    etcd.kill().await;
    etcd.boot().await;
    assert_eq!(storage(&etcd).await, ("3.5.0".to_owned(), true));
    etcd.stop().await;
    etcd.boot_as("3.5").await;
    assert_eq!(contents::read(&etcd.client()).await.unwrap().records, before.records);
    // 3.5 ends the downgrade by itself once all members are of its version.
    let ended = "the cluster has been downgraded";
    until("3.5 ends it", async || etcd.log_tail().contains(ended)).await;
    etcd.stop().await;
    etcd.boot_as(BUNDLED).await;
    until("it comes back up", async || storage(&etcd).await == ("3.6.0".to_owned(), false)).await;
    assert_eq!(contents::read(&etcd.client()).await.unwrap().records, before.records);
}

/// 3.6 panics on an entry that says 3.7, and refuses a schema of 3.7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_3_7_has_marked_goes_down_to_3_6() {
    let mut etcd = Etcd::start("3.7").await;
    contents::put(&etcd.client(), (0..20).map(|at| object(1, at, 1)), 4).await.unwrap();
    // The schema is its own from the start; the cluster's version follows a moment later.
    let validate = json!({ "version": "3.6.0" });
    until("3.7 marks it", async || {
        let is_valid = ask(&etcd, "maintenance/downgrade", validate.clone()).await.0 == 200;
        is_valid && storage(&etcd).await.0 == "3.7.0"
    })
    .await;
    etcd.kill().await;
    etcd.boot_as(BUNDLED).await;
    let before = contents::read(&etcd.client()).await.unwrap();
    let enable = json!({ "action": 1, "version": "3.6.0" });
    let (code, answer) = ask(&etcd, "maintenance/downgrade", enable).await;
    assert_eq!(code, 200, "{answer}");
    until("the schema goes down", async || storage(&etcd).await == ("3.6.0".to_owned(), false))
        .await;
    etcd.kill().await;
    etcd.boot_as("3.6").await;
    let after = contents::read(&etcd.client()).await.unwrap();
    assert_eq!(after.records, before.records);
}

/// Curl sends one request and closes its half of the call; its watch goes on all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_through_the_gateway_outlives_its_request() {
    let etcd = Etcd::start(BUNDLED).await;
    let mut watch = begin(&etcd, "watch", &json!({ "create_request": { "key": NAME } })).await;
    let mut text = Vec::new();
    let wait_for = async |watch: &mut TcpStream, text: &mut Vec<u8>, what: &str| {
        let found = async {
            while !String::from_utf8_lossy(text).contains(what) {
                assert_ne!(watch.read_buf(text).await.unwrap(), 0, "the watch ended");
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect(what);
    };
    wait_for(&mut watch, &mut text, "\"created\":true").await;
    ask(&etcd, "kv/put", json!({ "key": NAME, "value": B })).await;
    wait_for(&mut watch, &mut text, "\"value\":\"Yg==\"").await;
}
