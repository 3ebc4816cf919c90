//! `--max-request-bytes` beside upstream's, for every service: what is taken in at all, and what
//! may go into the log.

use holdfast_api::authpb::Permission;
use holdfast_api::etcdserverpb as pb;
use holdfast_tests::etcd::{BUNDLED, Etcd, Options};
use prost::Message;

use crate::raw::{Call, Said};

/// `--max-request-bytes`.
const MOST: usize = 1_000;
/// What upstream adds for gRPC's own bytes.
const OVERHEAD: usize = 512 * 1_024;

/// Every method with one message each way, and those of streams that take one first.
const METHODS: [&str; 45] = [
    "KV/Range",
    "KV/Put",
    "KV/DeleteRange",
    "KV/Txn",
    "KV/Compact",
    "Watch/Watch",
    "Lease/LeaseGrant",
    "Lease/LeaseRevoke",
    "Lease/LeaseKeepAlive",
    "Lease/LeaseTimeToLive",
    "Lease/LeaseLeases",
    "Cluster/MemberAdd",
    "Cluster/MemberRemove",
    "Cluster/MemberUpdate",
    "Cluster/MemberList",
    "Cluster/MemberPromote",
    "Maintenance/Alarm",
    "Maintenance/Status",
    "Maintenance/Defragment",
    "Maintenance/Hash",
    "Maintenance/HashKV",
    "Maintenance/Snapshot",
    "Maintenance/MoveLeader",
    "Maintenance/Downgrade",
    "Auth/AuthEnable",
    "Auth/AuthDisable",
    "Auth/AuthStatus",
    "Auth/Authenticate",
    "Auth/UserAdd",
    "Auth/UserGet",
    "Auth/UserList",
    "Auth/UserDelete",
    "Auth/UserChangePassword",
    "Auth/UserGrantRole",
    "Auth/UserRevokeRole",
    "Auth/RoleAdd",
    "Auth/RoleGet",
    "Auth/RoleList",
    "Auth/RoleDelete",
    "Auth/RoleGrantPermission",
    "Auth/RoleRevokePermission",
    "Lock/Lock",
    "Lock/Unlock",
    "Election/Campaign",
    "Election/Leader",
];

/// A message of so many bytes whose one field no request has.
fn of_bytes(bytes: usize) -> pb::Compare {
    let field = |range_end| pb::Compare { range_end: vec![b'x'; range_end], ..Default::default() };
    let head = field(bytes).encoded_len() - bytes;
    let message = field(bytes - head);
    assert_eq!(message.encoded_len(), bytes);
    message
}

/// Requests that are small enough to come in and too large for the log.
fn too_large_for_the_log() -> Vec<Call> {
    let text = || "x".repeat(MOST);
    let perm = Permission { perm_type: 2, key: text().into(), range_end: Vec::new() };
    let no_password = Some(holdfast_api::authpb::UserAddOptions { no_password: true });
    let user = pb::AuthUserAddRequest { name: text(), options: no_password, ..Default::default() };
    let put = pb::PutRequest { key: text().into(), ..Default::default() };
    let delete = pb::DeleteRangeRequest { key: text().into(), ..Default::default() };
    let grant = pb::AuthUserGrantRoleRequest { user: text(), role: String::new() };
    let revoke = pb::AuthUserRevokeRoleRequest { name: text(), role: String::new() };
    let permit = pb::AuthRoleGrantPermissionRequest { name: text(), perm: Some(perm) };
    let forbid = pb::AuthRoleRevokePermissionRequest { role: text(), ..Default::default() };
    vec![
        Call::new("KV/Put", &put),
        Call::new("KV/DeleteRange", &delete),
        Call::new("Auth/UserAdd", &user),
        Call::new("Auth/UserGet", &pb::AuthUserGetRequest { name: text() }),
        Call::new("Auth/UserDelete", &pb::AuthUserDeleteRequest { name: text() }),
        Call::new("Auth/UserGrantRole", &grant),
        Call::new("Auth/UserRevokeRole", &revoke),
        Call::new("Auth/RoleAdd", &pb::AuthRoleAddRequest { name: text() }),
        Call::new("Auth/RoleGet", &pb::AuthRoleGetRequest { role: text() }),
        Call::new("Auth/RoleDelete", &pb::AuthRoleDeleteRequest { role: text() }),
        Call::new("Auth/RoleGrantPermission", &permit),
        Call::new("Auth/RoleRevokePermission", &forbid),
        Call::new(
            "Lock/Lock",
            &holdfast_api::v3lockpb::LockRequest { name: text().into(), lease: 7 },
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_service_refuses_what_is_too_large_as_upstreams() {
    let mut told = Vec::new();
    for version in [BUNDLED, "3.6"] {
        let most = MOST.to_string();
        let options = Options::new(version).with_flags(&["--max-request-bytes", &most]);
        let etcd = Etcd::start_with(options).await;
        let mut said = Vec::new();
        for method in METHODS {
            let call = Call::new(method, &of_bytes(MOST + OVERHEAD + 1));
            said.push((method.to_owned(), call.make(&etcd).await.said));
        }
        // To the byte.
        for method in
            ["Lease/LeaseLeases", "Cluster/MemberList", "Auth/Authenticate", "Maintenance/Status"]
        {
            let call = Call::new(method, &of_bytes(MOST + OVERHEAD));
            said.push((format!("{method} with room"), call.make(&etcd).await.said));
        }
        let grant = pb::LeaseGrantRequest { ttl: 600, id: 7 };
        etcd.client().lease().lease_grant(grant).await.unwrap();
        for call in too_large_for_the_log() {
            said.push((format!("{call:.60?}"), call.make(&etcd).await.said));
        }
        told.push(said);
    }
    let text = format!(
        "grpc: received message larger than max ({} vs. {})",
        MOST + OVERHEAD + 1,
        MOST + OVERHEAD
    );
    for (at, (our, their)) in told[0].iter().zip(&told[1]).enumerate() {
        assert_eq!(our, their);
        if at < METHODS.len() {
            assert_eq!(our.1, Said::Status(200, 8, text.clone()), "{}", our.0);
        }
    }
}
