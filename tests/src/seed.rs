//! The store of hard cases: everything legal that a backup could get wrong, made through a running
//! etcd.
//!
//! What must hold: the same calls in the same order each time, so that two stores of one version
//! differ in nothing but ids and times. The cases are those of docs/SEMANTICS.md's matrix.

use crate::contents;
use crate::etcd::{Etcd, Options, run};
use crate::objects::object;
use crate::peers::peer;
use holdfast_api::authpb::{Permission, UserAddOptions, permission};
use holdfast_api::client::{Client, ClientError};
use holdfast_api::etcdserverpb::alarm_request::AlarmAction;
use holdfast_api::etcdserverpb::{
    AlarmRequest, AlarmType, AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest,
    AuthUserAddRequest, AuthUserGrantRoleRequest, CompactionRequest, DeleteRangeRequest,
    LeaseGrantRequest, PutRequest, RequestOp, TxnRequest, request_op,
};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user that may do everything, and its password.
pub const ROOT: (&str, &str) = ("root", "test-root-password");
/// A user that may read under `/registry/`, and its password.
pub const READER: (&str, &str) = ("reader", "test-reader-password");
/// Leases: with keys; without; with a key that was detached and one that was attached again.
pub const LEASES: [i64; 3] = [0x1001, 0x1002, 0x1003];
/// Long enough that none runs out while a machine is slow.
pub const LEASE_TTL_SECONDS: i64 = 100_000;
/// What [`half_compacted`] leaves to delete is at least this many records.
const HALF_BATCH: usize = 20;

/// Fills a store: plain objects, odd keys and values, transactions, leases, tombstones, a
/// compaction whose revision is a tombstone, and more history after it. Returns the revision it
/// ends at.
///
/// # Errors
/// The first refusal.
pub async fn records(client: &Client) -> Result<i64, ClientError> {
    objects(client, 0..200, 1, 20).await?;
    odd_keys_and_values(client).await?;
    deep_transactions(client).await?;
    leases(client).await?;
    tombstones(client).await?;
    let compacted = delete(client, b"tombstone/at-the-compaction").await?;
    contents::compact(client, compacted).await?;
    objects(client, 0..50, 2, 5).await?;
    put(client, b"tombstone/came-back", b"again", 0).await?;
    delete(client, b"tombstone/after").await?;
    contents::revision(client).await
}

/// Adds users and roles and turns authentication on: from now on [`ROOT`] or [`READER`] must log
/// in.
///
/// # Errors
/// The first refusal.
pub async fn authentication(client: &Client) -> Result<(), ClientError> {
    for (user, password) in [ROOT, READER, ("certificate-only", "")] {
        let request = AuthUserAddRequest {
            name: user.to_owned(),
            password: password.to_owned(),
            options: Some(UserAddOptions { no_password: password.is_empty() }),
            ..AuthUserAddRequest::default()
        };
        client.check("UserAdd", client.auth().user_add(request).await)?;
    }
    // A range, a range without end, one key.
    let ranges: [(&str, &[u8], &[u8], permission::Type); 4] = [
        ("viewer", b"/registry/", b"/registry0", permission::Type::Read),
        ("viewer", b"one", b"", permission::Type::Write),
        ("binary", b"\x00", b"\x01", permission::Type::Readwrite),
        ("everything", b"\x00", b"\x00", permission::Type::Readwrite),
    ];
    for role in ["root", "viewer", "binary", "everything", "without-permissions"] {
        let request = AuthRoleAddRequest { name: role.to_owned() };
        client.check("RoleAdd", client.auth().role_add(request).await)?;
    }
    for (role, key, range_end, kind) in ranges {
        let (key, range_end) = (key.to_vec(), range_end.to_vec());
        let perm = Some(Permission { perm_type: kind.into(), key, range_end });
        let request = AuthRoleGrantPermissionRequest { name: role.to_owned(), perm };
        let done = client.auth().role_grant_permission(request).await;
        client.check("RoleGrantPermission", done)?;
    }
    for (user, role) in [("root", "root"), ("reader", "viewer"), ("reader", "binary")] {
        let request = AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
        client.check("UserGrantRole", client.auth().user_grant_role(request).await)?;
    }
    client.check("AuthEnable", client.auth().auth_enable(AuthEnableRequest {}).await).map(|_| ())
}

/// Raises a NOSPACE alarm for the member that answers: puts are refused from now on.
///
/// # Errors
/// The member refuses.
pub async fn nospace(client: &Client) -> Result<(), ClientError> {
    let member = client.members().first().expect("a client has endpoints").status().await?;
    let request = AlarmRequest {
        action: AlarmAction::Activate.into(),
        member_id: member.header.map_or(0, |header| header.member_id),
        alarm: AlarmType::Nospace.into(),
    };
    client.check("Alarm", client.maintenance().alarm(request).await).map(|_| ())
}

/// The flags that make a compaction slow enough to be caught half way.
pub fn slow_compaction_flags(version: &str) -> [String; 4] {
    let prefix = if version == "3.5" { "--experimental-compaction" } else { "--compaction" };
    [
        format!("{prefix}-batch-limit"),
        HALF_BATCH.to_string(),
        format!("{prefix}-sleep-interval"),
        "1h".to_owned(),
    ]
}

/// A store that was killed in the middle of a compaction: the mark is set, the first batch of
/// records is gone, the others are still there. The member does not run; starting it finishes the
/// compaction.
///
/// # Errors
/// The first refusal.
pub async fn half_compacted(version: &str) -> Result<Etcd, ClientError> {
    let flags = slow_compaction_flags(version);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut etcd = Etcd::start_with(Options::new(version).with_flags(&flags)).await;
    let client = etcd.client();
    for version in 1..=4 {
        objects(&client, 0..30, version, 1).await?;
    }
    let revision = contents::revision(&client).await?;
    // Not physical: the answer does not wait for the records to go. By the time of the answer to
    // the next write the mark is committed; the pause after the first batch lasts an hour.
    let request = CompactionRequest { revision: revision - 10, physical: false };
    client.check("Compact", client.kv().compact(request).await)?;
    put(&client, b"after-the-compaction-began", b"1", 0).await?;
    etcd.kill().await;
    Ok(etcd)
}

/// What upstream's own restore with a bump makes of a snapshot file: a data directory under
/// `folder` for a member `default` at `peer_url`.
///
/// # Panics
/// etcdutl fails; with what it says.
pub fn bumped_by_upstream(
    version: &str,
    snapshot: &Path,
    folder: &Path,
    peer_url: &str,
) -> PathBuf {
    let data_dir = folder.join("bumped");
    let mut command = Command::new(peer(&format!("etcdutl-{version}")));
    command.args(["snapshot", "restore"]).arg(snapshot).arg("--data-dir").arg(&data_dir);
    command.args(["--name", "default", "--initial-cluster", &format!("default={peer_url}")]);
    command.args(["--initial-advertise-peer-urls", peer_url]);
    run(command.args(["--bump-revision", "1000000", "--mark-compacted"]));
    data_dir
}

/// Objects in their `version`-th form, `per_txn` a transaction, one transaction after the other.
async fn objects(
    client: &Client,
    indexes: Range<u64>,
    version: u64,
    per_txn: usize,
) -> Result<(), ClientError> {
    let mut objects = indexes.map(|index| object(11, index, version)).peekable();
    while objects.peek().is_some() {
        contents::put(client, objects.by_ref().take(per_txn), per_txn).await?;
    }
    Ok(())
}

async fn odd_keys_and_values(client: &Client) -> Result<(), ClientError> {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large = vec![0xab; 1 << 20];
    let long_key = vec![b'k'; 20_000];
    let odd: [(&[u8], &[u8]); 8] = [
        (b"\x00", b"the first key there is"),
        (b"\xff\xff\xff\xff", b"among the last"),
        (&every_byte, &every_byte),
        (&long_key, b"long key"),
        (b"empty-value", b""),
        (b"large-value", &large),
        ("ключ/鍵/🔑".as_bytes(), "значение".as_bytes()),
        (b"/registry/secrets/team/a", b"k8s\0sealed"),
    ];
    for (key, value) in odd {
        put(client, key, value, 0).await?;
    }
    // The value goes away, and comes back.
    put(client, b"empty-value", b"x", 0).await?;
    put(client, b"empty-value", b"", 0).await
}

/// One revision with many sub-revisions; nested; one key written and deleted by siblings.
async fn deep_transactions(client: &Client) -> Result<(), ClientError> {
    let many = (0..100).map(|n| put_step(format!("txn/many/{n:03}").as_bytes(), b"v")).collect();
    transact(client, many).await?;
    let inner = txn_step(vec![put_step(b"txn/inner", b"3"), delete_step(b"txn/many/001")]);
    let middle = txn_step(vec![put_step(b"txn/middle", b"2"), inner]);
    transact(client, vec![put_step(b"txn/outer", b"1"), middle]).await?;
    let written = txn_step(vec![put_step(b"txn/twice", b"written")]);
    let deleted = txn_step(vec![delete_step(b"txn/twice")]);
    transact(client, vec![written, deleted]).await
}

async fn leases(client: &Client) -> Result<(), ClientError> {
    for id in LEASES {
        let request = LeaseGrantRequest { ttl: LEASE_TTL_SECONDS, id };
        client.check("LeaseGrant", client.lease().lease_grant(request).await)?;
    }
    for n in 0..5 {
        put(client, format!("lease/held/{n}").as_bytes(), b"v", LEASES[0]).await?;
    }
    put(client, b"lease/detached", b"v", LEASES[2]).await?;
    put(client, b"lease/detached", b"v", 0).await?;
    put(client, b"lease/moved", b"v", LEASES[0]).await?;
    put(client, b"lease/moved", b"v", LEASES[2]).await
}

async fn tombstones(client: &Client) -> Result<(), ClientError> {
    for name in ["before", "came-back", "at-the-compaction", "after"] {
        put(client, format!("tombstone/{name}").as_bytes(), b"v", 0).await?;
    }
    delete(client, b"tombstone/before").await?;
    delete(client, b"tombstone/came-back").await.map(|_| ())
}

async fn put(client: &Client, key: &[u8], value: &[u8], lease: i64) -> Result<(), ClientError> {
    let (key, value) = (key.to_vec(), value.to_vec());
    let request = PutRequest { key, value, lease, ..PutRequest::default() };
    client.check("Put", client.kv().put(request).await).map(|_| ())
}

/// The revision of the deletion.
async fn delete(client: &Client, key: &[u8]) -> Result<i64, ClientError> {
    let request = DeleteRangeRequest { key: key.to_vec(), ..DeleteRangeRequest::default() };
    let answer = client.check("DeleteRange", client.kv().delete_range(request).await)?;
    assert_eq!(answer.deleted, 1, "{:?} was there", String::from_utf8_lossy(key));
    Ok(answer.header.map_or(0, |header| header.revision))
}

async fn transact(client: &Client, success: Vec<RequestOp>) -> Result<(), ClientError> {
    let request = TxnRequest { success, ..TxnRequest::default() };
    client.check("Txn", client.kv().txn(request).await).map(|_| ())
}

fn put_step(key: &[u8], value: &[u8]) -> RequestOp {
    let (key, value) = (key.to_vec(), value.to_vec());
    let put = PutRequest { key, value, ..PutRequest::default() };
    RequestOp { request: Some(request_op::Request::RequestPut(put)) }
}

fn delete_step(key: &[u8]) -> RequestOp {
    let delete = DeleteRangeRequest { key: key.to_vec(), ..DeleteRangeRequest::default() };
    RequestOp { request: Some(request_op::Request::RequestDeleteRange(delete)) }
}

fn txn_step(success: Vec<RequestOp>) -> RequestOp {
    let txn = TxnRequest { success, ..TxnRequest::default() };
    RequestOp { request: Some(request_op::Request::RequestTxn(txn)) }
}
