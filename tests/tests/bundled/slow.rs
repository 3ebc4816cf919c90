//! Lines about entries and reads that took long, beside upstream's: with a limit of a nanosecond
//! everything did.

use holdfast_api::etcdserverpb as pb;
use holdfast_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use holdfast_api::etcdserverpb::request_op::Request as Step;
use holdfast_api::txn::step;
use holdfast_tests::etcd::{BUNDLED, Etcd, Options};
use serde_json::Value;

use crate::services::until;

/// What is hidden: a value, a password.
const SECRET: &str = "Secret-5";

fn put(key: &[u8]) -> pb::PutRequest {
    pb::PutRequest { key: key.to_vec(), value: SECRET.into(), ..Default::default() }
}

fn range(key: &[u8]) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_vec(), ..Default::default() }
}

fn compare(result: CompareResult, target: CompareTarget, union: TargetUnion) -> pb::Compare {
    pb::Compare {
        result: result as i32,
        target: target as i32,
        key: b"c".to_vec(),
        target_union: Some(union),
        ..Default::default()
    }
}

fn txns() -> Vec<pb::TxnRequest> {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    let compares = vec![
        compare(Equal, CompareTarget::Version, TargetUnion::Version(3)),
        compare(Greater, CompareTarget::Create, TargetUnion::CreateRevision(2)),
        compare(Less, CompareTarget::Mod, TargetUnion::ModRevision(0)),
        compare(NotEqual, CompareTarget::Value, TargetUnion::Value(SECRET.into())),
        compare(NotEqual, CompareTarget::Value, TargetUnion::Value(Vec::new())),
        pb::Compare {
            range_end: b"d".to_vec(),
            ..compare(Equal, CompareTarget::Lease, TargetUnion::Lease(7))
        },
    ];
    let delete = pb::DeleteRangeRequest { key: b"q".to_vec(), prev_kv: true, ..Default::default() };
    let puts = |key: &[u8]| step(Step::RequestPut(put(key)));
    let reads = |key: &[u8]| step(Step::RequestRange(range(key)));
    let nested = pb::TxnRequest {
        compare: compares.clone(),
        success: vec![puts(b"n")],
        failure: vec![reads(b"n"), puts(b"o")],
    };
    let writes = pb::TxnRequest {
        compare: compares.clone(),
        success: vec![puts(b"p")],
        failure: vec![step(Step::RequestDeleteRange(delete)), reads(b"w"), puts(b"p")],
    };
    let of_all = vec![step(Step::RequestTxn(nested)), puts(b"r")];
    let only_reads = vec![reads(b"p"), reads(b"none")];
    vec![
        writes,
        pb::TxnRequest { success: of_all, ..Default::default() },
        pb::TxnRequest { compare: compares, success: Vec::new(), failure: only_reads },
        pb::TxnRequest::default(),
    ]
}

/// Keys, by all ways.
async fn on_keys(etcd: &Etcd) {
    let (mut kv, mut lease) = (etcd.client().kv(), etcd.client().lease());
    lease.lease_grant(pb::LeaseGrantRequest { ttl: 600, id: 7 }).await.unwrap();
    let odd = pb::PutRequest { lease: 7, prev_kv: true, ..put(b"a\"\x01\xff\xc3\xa9\n\r\t\\'z ") };
    kv.put(odd).await.unwrap();
    kv.put(pb::PutRequest { value: Vec::new(), ..put(b"e") }).await.unwrap();
    let (ignore_value, value) = (true, Vec::new());
    kv.put(pb::PutRequest { ignore_value, value, ..put(b"e") }).await.unwrap();
    kv.put(pb::PutRequest { lease: 99, ..put(b"x") }).await.unwrap_err();
    // What is no request at all is nobody's work.
    kv.put(put(b"")).await.unwrap_err();
    let all = pb::RangeRequest {
        range_end: b"f".to_vec(),
        limit: 10,
        sort_order: pb::range_request::SortOrder::Descend as i32,
        sort_target: pb::range_request::SortTarget::Mod as i32,
        serializable: true,
        keys_only: true,
        min_mod_revision: 1,
        max_create_revision: 1_000,
        ..range(b"a")
    };
    kv.range(all).await.unwrap();
    kv.range(range(b"e")).await.unwrap();
    kv.range(pb::RangeRequest { revision: 1_000, ..range(b"e") }).await.unwrap_err();
    for txn in txns() {
        kv.txn(txn).await.unwrap();
    }
    let fails = pb::PutRequest { lease: 99, ..put(b"x") };
    let success = vec![step(Step::RequestPut(fails))];
    kv.txn(pb::TxnRequest { success, ..Default::default() }).await.unwrap_err();
    let delete = pb::DeleteRangeRequest { key: b"e".to_vec(), prev_kv: true, ..Default::default() };
    kv.delete_range(delete).await.unwrap();
    for (revision, physical) in [(3, true), (3, false), (4, false)] {
        let _ = kv.compact(pb::CompactionRequest { revision, physical }).await;
    }
    for id in [7, 8] {
        let _ = lease.lease_revoke(pb::LeaseRevokeRequest { id }).await;
    }
    let _ = lease.lease_grant(pb::LeaseGrantRequest { ttl: 600, id: 9 }).await;
    lease.lease_grant(pb::LeaseGrantRequest { ttl: 600, id: 9 }).await.unwrap_err();
}

/// Alarms, users and roles.
async fn on_users(etcd: &Etcd) {
    let client = etcd.client();
    let (mut auth, mut maintenance) = (client.auth(), client.maintenance());
    for action in [0, 1, 2] {
        let alarm = pb::AlarmRequest { action, member_id: 5, alarm: i32::from(action > 0) };
        maintenance.alarm(alarm).await.unwrap();
    }
    let (name, password) = ("root".to_owned(), SECRET.to_owned());
    let add = pb::AuthUserAddRequest { name, password, ..Default::default() };
    auth.user_add(add).await.unwrap();
    let (name, password) = ("root".to_owned(), SECRET.to_owned());
    let change = pb::AuthUserChangePasswordRequest { name, password, ..Default::default() };
    auth.user_change_password(change).await.unwrap();
    auth.role_add(pb::AuthRoleAddRequest { name: "root".to_owned() }).await.unwrap();
    auth.role_add(pb::AuthRoleAddRequest { name: "root".to_owned() }).await.unwrap_err();
    let perm = holdfast_api::authpb::Permission {
        perm_type: 2,
        key: b"a".to_vec(),
        range_end: b"b".to_vec(),
    };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "root".to_owned(), perm: Some(perm) };
    auth.role_grant_permission(grant).await.unwrap();
    auth.role_get(pb::AuthRoleGetRequest { role: "root".to_owned() }).await.unwrap();
    auth.role_list(pb::AuthRoleListRequest {}).await.unwrap();
    let (user, role) = ("root".to_owned(), "root".to_owned());
    auth.user_grant_role(pb::AuthUserGrantRoleRequest { user, role }).await.unwrap();
    auth.user_get(pb::AuthUserGetRequest { name: "root".to_owned() }).await.unwrap();
    auth.user_list(pb::AuthUserListRequest {}).await.unwrap();
    auth.auth_status(pb::AuthStatusRequest {}).await.unwrap();
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    // A login, and a write with a name on it.
    etcd.client_as("root", SECRET).kv().put(put(b"by root")).await.unwrap();
    client.kv().put(put(b"by nobody")).await.unwrap_err();
    client.kv().range(range(b"by nobody")).await.unwrap_err();
}

/// The lines, and in them what both servers must have alike.
pub fn lines(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines = lines.filter(|line| line["msg"] == "apply request took too long");
    // What a member tells of itself comes when it comes.
    lines.filter(|line| !line["request"].as_str().unwrap().contains("> cluster_")).collect()
}

fn alike(line: &Value) -> Value {
    let mut line = line.clone();
    let fields = line.as_object_mut().unwrap();
    for own in ["ts", "caller", "took"] {
        let value = fields.remove(own).unwrap();
        // Go's way to write a duration.
        assert!(own != "took" || value.as_str().unwrap().ends_with('s'), "{value}");
    }
    // The words of an error are those that clients see.
    if let Some(error) = fields.get_mut("error") {
        *error = Value::Bool(true);
    }
    let request = fields["request"].as_str().unwrap().to_owned();
    // A request's id is its own, and of a login upstream tells the token.
    let (from, to) = (request.find("ID:"), request.find('>').unwrap_or(0));
    let ends = |from: usize| request[from + 3..to].find(' ').map_or(to, |at| from + 3 + at);
    let mut told = match from.filter(|_| request.starts_with("header:<")) {
        Some(from) => format!("{}{}", &request[..from], &request[ends(from)..]),
        None => request.clone(),
    };
    if let Some(token) = told.find(" simple_token:") {
        told.replace_range(token..told.rfind('>').unwrap(), "");
    }
    fields["request"] = Value::String(told);
    // Ids of clusters and members have nine bytes or ten.
    let has_ids = request.contains("lease_") || request.contains("auth");
    if has_ids && let Some(response) = fields.get_mut("response") {
        let is_sized = response.as_str().unwrap().starts_with("size:");
        *response = Value::Bool(is_sized);
    }
    line
}

async fn slow_total(etcd: &Etcd) -> usize {
    let page = crate::services::page(etcd, "metrics").await;
    let line = page.lines().find_map(|line| line.strip_prefix("etcd_server_slow_apply_total "));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_work_is_told_as_by_upstream() {
    let mut told = Vec::new();
    for (version, flag) in [
        (BUNDLED, "--warning-apply-duration=1ns"),
        (BUNDLED, "--experimental-warning-apply-duration=1ns"),
        ("3.6", "--warning-apply-duration=1ns"),
    ] {
        let etcd = Etcd::start_with(Options::new(version).with_flags(&[flag])).await;
        let before = lines(&etcd.log()).len();
        on_keys(&etcd).await;
        on_users(&etcd).await;
        // The last read of all.
        let is_last = "read-only range ";
        until("all is told", async || {
            lines(&etcd.log()).last().is_some_and(|line| {
                line["prefix"] == is_last && line["request"] == "key:\"by nobody\" "
            })
        })
        .await;
        let log = etcd.log();
        assert!(!log.contains(SECRET), "{version} tells a value or a password");
        if version == BUNDLED {
            assert!(!log.contains("token:"), "{version} tells a token");
            let all = log.matches("\"apply request took too long\"").count();
            assert_eq!(slow_total(&etcd).await, all);
        }
        told.push(lines(&log)[before..].iter().map(alike).collect::<Vec<_>>());
    }
    let theirs = told.pop().unwrap();
    for ours in told {
        for (our, their) in ours.iter().zip(&theirs) {
            assert_eq!(our, their);
        }
        assert_eq!(ours.len(), theirs.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_quick_is_not_told() {
    let flags = ["--warning-apply-duration=1h"];
    let etcd = Etcd::start_with(Options::new(BUNDLED).with_flags(&flags)).await;
    on_keys(&etcd).await;
    assert!(lines(&etcd.log()).is_empty());
    assert_eq!(slow_total(&etcd).await, 0);
}
