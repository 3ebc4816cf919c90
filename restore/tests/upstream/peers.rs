//! Upstream's binaries, a source cluster of one, and what to put in it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast_api::authpb::Permission;
use holdfast_api::client::{Client, ClientConfig};
use holdfast_api::etcdserverpb::request_op::Request;
use holdfast_api::etcdserverpb::*;
use holdfast_restore::server::{Ports, Server, ServerSpec};

pub(crate) use holdfast_peers::peer;

pub(crate) const GRACE: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs an upstream tool, which must succeed.
pub(crate) fn run(tool: &str, args: &[&str]) -> String {
    holdfast_peers::run(Command::new(peer(tool)).args(args))
}

/// Ports for a member.
pub(crate) fn free_ports() -> Ports {
    holdfast_peers::free_ports().into()
}

/// A member that was started, with a client.
pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) client: Client,
}

/// What to start on `data_dir`.
pub(crate) fn spec(version: &str, data_dir: &Path, ports: Ports) -> ServerSpec {
    ServerSpec {
        program: peer(&format!("etcd-{version}")).into(),
        data_dir: data_dir.to_owned(),
        name: "m1".to_owned(),
        listens: ports.into(),
        initial_cluster: String::new(),
        joins: false,
        token: "source".to_owned(),
        log: data_dir.with_extension("log"),
        extra: ["--heartbeat-interval", "20", "--election-timeout", "200", "--unsafe-no-fsync"]
            .map(str::to_owned)
            .to_vec(),
        tls: false,
    }
}

impl Running {
    pub(crate) async fn start(version: &str, data_dir: &Path, ports: Ports) -> Running {
        Running::start_as(version, data_dir, ports, None).await
    }

    /// With a user, when authentication is on.
    pub(crate) async fn start_as(
        version: &str,
        data_dir: &Path,
        ports: Ports,
        user: Option<(&str, &str)>,
    ) -> Running {
        let spec = spec(version, data_dir, ports);
        let mut config = ClientConfig::new([spec.client_url()]);
        if let Some((user, password)) = user {
            config = config.with_credentials(user, password);
        }
        let client = Client::lazy(config).unwrap();
        let mut server = Server::start(spec).unwrap();
        let probe = || async {
            let read = RangeRequest { key: vec![0], count_only: true, ..RangeRequest::default() };
            client.check("Range", client.kv().range(read).await).map(|_| ())
        };
        server.wait_ready(DEADLINE, probe).await.unwrap();
        Running { server, client }
    }

    pub(crate) async fn stop(self) {
        assert!(self.server.stop(GRACE).await, "etcd does not end when asked");
    }

    pub(crate) async fn put(&self, key: &[u8], value: &[u8], lease: i64) -> i64 {
        let put =
            PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() };
        let answer = self.client.check("Put", self.client.kv().put(put).await).unwrap();
        answer.header.unwrap().revision
    }

    pub(crate) async fn delete(&self, key: &[u8]) {
        let delete = DeleteRangeRequest { key: key.into(), ..DeleteRangeRequest::default() };
        self.client.check("Delete", self.client.kv().delete_range(delete).await).unwrap();
    }

    pub(crate) async fn compact(&self, revision: i64) {
        let compact = CompactionRequest { revision, physical: true };
        self.client.check("Compact", self.client.kv().compact(compact).await).unwrap();
    }

    /// All keys at a revision (0: now), and the revision of the store.
    pub(crate) async fn all(&self, revision: i64) -> (Vec<holdfast_api::mvccpb::KeyValue>, i64) {
        let range =
            RangeRequest { key: vec![0], range_end: vec![0], revision, ..RangeRequest::default() };
        let answer = self.client.check("Range", self.client.kv().range(range).await).unwrap();
        (answer.kvs, answer.header.unwrap().revision)
    }

    /// (revision, compaction revision, hash) now.
    pub(crate) async fn hash(&self) -> (i64, i64, u32) {
        let member = &self.client.members()[0];
        let answer = member.maintenance().hash_kv(HashKvRequest { revision: 0 }).await;
        let answer = member.check("HashKV", answer).unwrap();
        (answer.header.unwrap().revision, answer.compact_revision, answer.hash)
    }

    /// Ids and granted times to live of all leases.
    pub(crate) async fn leases(&self) -> Vec<(i64, i64)> {
        let all = self.client.lease().lease_leases(LeaseLeasesRequest {}).await;
        let all = self.client.check("LeaseLeases", all).unwrap();
        let mut out = Vec::new();
        for lease in all.leases {
            let ask = LeaseTimeToLiveRequest { id: lease.id, keys: false };
            let answer = self.client.lease().lease_time_to_live(ask).await;
            let answer = self.client.check("LeaseTimeToLive", answer).unwrap();
            out.push((answer.id, answer.granted_ttl));
        }
        out.sort_unstable();
        out
    }

    pub(crate) async fn grant(&self, id: i64, ttl: i64) {
        let grant = LeaseGrantRequest { ttl, id };
        self.client.check("Grant", self.client.lease().lease_grant(grant).await).unwrap();
    }

    /// Users with their roles, roles with their permissions.
    pub(crate) async fn users(&self) -> Vec<String> {
        let mut auth = self.client.auth();
        let users = self.client.check("UserList", auth.user_list(AuthUserListRequest {}).await);
        let mut out = Vec::new();
        for name in users.unwrap().users {
            let user = auth.user_get(AuthUserGetRequest { name: name.clone() }).await;
            let user = self.client.check("UserGet", user).unwrap();
            out.push(format!("{name} {:?}", user.roles));
        }
        let roles = self.client.check("RoleList", auth.role_list(AuthRoleListRequest {}).await);
        for role in roles.unwrap().roles {
            let got = auth.role_get(AuthRoleGetRequest { role: role.clone() }).await;
            out.push(format!("{role} {:?}", self.client.check("RoleGet", got).unwrap().perm));
        }
        out
    }

    /// Users, roles, and authentication on. Last: this client has no credentials.
    pub(crate) async fn enable_auth(&self) {
        let check = |answer: bool| assert!(answer);
        let mut auth = self.client.auth();
        for name in ["root", "alice"] {
            let add = AuthUserAddRequest {
                name: name.to_owned(),
                password: "secret".to_owned(),
                ..AuthUserAddRequest::default()
            };
            check(auth.user_add(add).await.is_ok());
        }
        for name in ["root", "reader"] {
            check(auth.role_add(AuthRoleAddRequest { name: name.to_owned() }).await.is_ok());
        }
        let perm =
            Permission { key: b"a".to_vec(), range_end: b"b".to_vec(), ..Permission::default() };
        let grant = AuthRoleGrantPermissionRequest { name: "reader".to_owned(), perm: Some(perm) };
        check(auth.role_grant_permission(grant).await.is_ok());
        for (user, role) in [("root", "root"), ("alice", "reader")] {
            let (user, role) = (user.to_owned(), role.to_owned());
            check(auth.user_grant_role(AuthUserGrantRoleRequest { user, role }).await.is_ok());
        }
        check(auth.auth_enable(AuthEnableRequest {}).await.is_ok());
    }

    /// What makes stores differ: versions, tombstones, leases with and without keys, empty, big and
    /// binary values, a key put and deleted in one transaction, a compaction in the midst of it.
    pub(crate) async fn fill(&self) {
        self.grant(0x1234, 100_000).await;
        self.grant(0x4321, 50_000).await;
        for step in 0..60u8 {
            let key = format!("key-{}", step % 13);
            self.put(key.as_bytes(), &vec![step; usize::from(step) * 7], 0).await;
            if step % 7 == 3 {
                self.delete(key.as_bytes()).await;
            }
        }
        self.put(b"leased", b"x", 0x1234).await;
        self.put(b"empty", b"", 0).await;
        self.put(&[0, 255, 10, 0x80], &[0; 300], 0).await;
        let middle = self.put(b"big", &vec![b'b'; 700_000], 0).await;
        self.deep_txn(b"deep").await;
        self.delete(b"key-1").await;
        self.compact(middle).await;
        for step in 0..20u8 {
            self.put(format!("key-{}", step % 5).as_bytes(), &[step], 0).await;
        }
        self.delete(b"key-2").await;
    }

    async fn deep_txn(&self, key: &[u8]) {
        let op = |request| RequestOp { request: Some(request) };
        let put = |key: &[u8]| {
            let put = PutRequest { key: key.into(), value: b"v".to_vec(), ..PutRequest::default() };
            op(Request::RequestPut(put))
        };
        let delete = DeleteRangeRequest { key: key.into(), ..DeleteRangeRequest::default() };
        let nested = |ops: Vec<RequestOp>| {
            op(Request::RequestTxn(TxnRequest { success: ops, ..TxnRequest::default() }))
        };
        let success = vec![
            nested(vec![put(key), put(b"beside")]),
            nested(vec![op(Request::RequestDeleteRange(delete))]),
        ];
        let txn = TxnRequest { success, ..TxnRequest::default() };
        self.client.check("Txn", self.client.kv().txn(txn).await).unwrap();
    }

    /// What `etcdctl snapshot save` gets.
    pub(crate) fn save(&self, to: &Path, user: Option<&str>) {
        let url = self.server.spec().client_url();
        let mut args = vec!["--endpoints", &url];
        if let Some(user) = user {
            args.extend(["--user", user]);
        }
        args.extend(["snapshot", "save", to.to_str().unwrap()]);
        run("etcdctl-3.6", &args);
    }
}
