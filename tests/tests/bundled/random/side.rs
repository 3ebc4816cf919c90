//! One of the two servers: makes a step's call, and tells the answer as text, whole but for what
//! cannot be equal (ids of cluster and member, ports, sizes, tokens).

use super::steps::{Account, Call, Contest, OWN_MEMBER, Who};
use super::watches::Watches;
use holdfast_api::etcdserverpb as pb;
use holdfast_api::etcdserverpb::auth_client::AuthClient;
use holdfast_api::etcdserverpb::cluster_client::ClusterClient;
use holdfast_api::etcdserverpb::kv_client::KvClient;
use holdfast_api::etcdserverpb::lease_client::LeaseClient;
use holdfast_api::etcdserverpb::maintenance_client::MaintenanceClient;
use holdfast_api::etcdserverpb::watch_client::WatchClient;
use holdfast_api::v3electionpb::election_client::ElectionClient;
use holdfast_api::v3electionpb::{LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest};
use holdfast_api::v3lockpb::UnlockRequest;
use holdfast_api::v3lockpb::lock_client::LockClient;
use holdfast_tests::etcd::{Etcd, Options};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// Longest that a call may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Limits that a sequence reaches.
const FLAGS: [&str; 3] = ["--max-txn-ops=6", "--max-request-bytes=4000", "--bcrypt-cost=4"];

pub struct Side {
    etcd: Etcd,
    channel: Channel,
    /// What is this server's alone, and what is told in its place.
    own: Vec<(String, &'static str)>,
    member: u64,
    tokens: BTreeMap<&'static str, String>,
    pub watches: Watches,
    /// The revision that the last answer told.
    pub revision: i64,
    /// The create revision that the last campaign told.
    pub campaign: i64,
}

/// What the answers have in common.
trait Answer: std::fmt::Debug {
    fn header(&self) -> Option<&pb::ResponseHeader>;
}

macro_rules! answers {
    ($($message:path),* $(,)?) => {
        $(impl Answer for $message {
            fn header(&self) -> Option<&pb::ResponseHeader> {
                self.header.as_ref()
            }
        })*
    };
}

answers!(
    pb::RangeResponse,
    pb::PutResponse,
    pb::DeleteRangeResponse,
    pb::TxnResponse,
    pb::CompactionResponse,
    pb::LeaseGrantResponse,
    pb::LeaseRevokeResponse,
    pb::LeaseTimeToLiveResponse,
    pb::LeaseLeasesResponse,
    pb::LeaseKeepAliveResponse,
    pb::MemberListResponse,
    pb::MemberRemoveResponse,
    pb::MemberPromoteResponse,
    pb::MemberAddResponse,
    pb::MemberUpdateResponse,
    pb::AlarmResponse,
    pb::StatusResponse,
    pb::HashResponse,
    pb::HashKvResponse,
    pb::DefragmentResponse,
    pb::MoveLeaderResponse,
    pb::DowngradeResponse,
    pb::AuthEnableResponse,
    pb::AuthDisableResponse,
    pb::AuthStatusResponse,
    pb::AuthenticateResponse,
    pb::AuthUserAddResponse,
    pb::AuthUserGetResponse,
    pb::AuthUserListResponse,
    pb::AuthUserDeleteResponse,
    pb::AuthUserChangePasswordResponse,
    pb::AuthUserGrantRoleResponse,
    pb::AuthUserRevokeRoleResponse,
    pb::AuthRoleAddResponse,
    pb::AuthRoleGetResponse,
    pb::AuthRoleListResponse,
    pb::AuthRoleDeleteResponse,
    pb::AuthRoleGrantPermissionResponse,
    pb::AuthRoleRevokePermissionResponse,
    holdfast_api::v3lockpb::LockResponse,
    holdfast_api::v3lockpb::UnlockResponse,
    holdfast_api::v3electionpb::CampaignResponse,
    holdfast_api::v3electionpb::ProclaimResponse,
    holdfast_api::v3electionpb::LeaderResponse,
    holdfast_api::v3electionpb::ResignResponse,
);

/// What a refusal begins with.
const REFUSED: &str = "refused: ";

/// A refusal as text.
pub fn told(status: &Status) -> String {
    let details = String::from_utf8_lossy(status.details()).into_owned();
    format!("{REFUSED}{:?}: {:?} {details:?}", status.code(), status.message())
}

/// Whether an answer's text is a refusal.
pub fn is_refusal(text: &str) -> bool {
    text.starts_with(REFUSED)
}

/// Waits until the cluster has agreed on its version: a member does so a moment after it serves.
async fn wait_for_version(channel: &Channel) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let validate = pb::DowngradeRequest { action: 0, version: "3.5.0".to_owned() };
    let mut maintenance = MaintenanceClient::new(channel.clone());
    while let Err(status) = maintenance.downgrade(validate.clone()).await {
        assert!(tokio::time::Instant::now() < deadline, "there is no version: {status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Side {
    pub async fn start(version: &str) -> Side {
        let etcd = Etcd::start_with(Options::new(version).with_flags(&FLAGS)).await;
        let channel = Endpoint::from_shared(etcd.endpoint()).unwrap().connect().await.unwrap();
        let list = pb::MemberListRequest { linearizable: false };
        let list = ClusterClient::new(channel.clone()).member_list(list).await;
        let list = list.unwrap().into_inner();
        let (header, member) = (list.header.unwrap(), &list.members[0]);
        wait_for_version(&channel).await;
        let own = vec![
            (header.cluster_id.to_string(), "CLUSTER"),
            (header.member_id.to_string(), "MEMBER"),
            (format!("{:x}", header.member_id), "MEMBER"),
            (member.client_urls[0].clone(), "CLIENTS"),
            (member.peer_urls[0].clone(), "PEERS"),
        ];
        Side {
            etcd,
            own,
            member: header.member_id,
            tokens: BTreeMap::new(),
            watches: Watches::new(WatchClient::new(channel.clone())),
            channel,
            revision: header.revision,
            campaign: 0,
        }
    }

    /// Ends the server.
    pub async fn stop(mut self) {
        self.etcd.kill().await;
    }

    /// The same without what is this server's alone.
    pub fn comparable(&self, mut text: String) -> String {
        for (own, instead) in &self.own {
            text = text.replace(own, instead);
        }
        text
    }

    /// A message as somebody's request.
    pub fn request<T>(&self, who: Who, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = match who {
            Who::Nobody => None,
            Who::User(name) => self.tokens.get(name).map(String::as_str),
            Who::Impostor => Some("impostor.1"),
        };
        if let Some(token) = token {
            request.metadata_mut().insert("token", token.parse().unwrap());
        }
        request
    }

    fn tell<T: Answer>(
        &mut self,
        answer: Result<Response<T>, Status>,
        strip: impl FnOnce(&mut T),
    ) -> String {
        match answer {
            Err(status) => told(&status),
            Ok(answer) => {
                let mut answer = answer.into_inner();
                if let Some(header) = answer.header() {
                    self.revision = self.revision.max(header.revision);
                }
                strip(&mut answer);
                format!("{answer:?}")
            }
        }
    }

    /// Makes a call and tells the answer.
    pub async fn make(&mut self, who: Who, call: &Call) -> String {
        let made = tokio::time::timeout(PATIENCE, self.dispatch(who, call)).await;
        self.comparable(made.unwrap_or_else(|_| "no answer in time".to_owned()))
    }

    async fn dispatch(&mut self, who: Who, call: &Call) -> String {
        match call {
            Call::Account(account) => self.account(who, account).await,
            Call::Contest(contest) => self.contest(who, contest).await,
            Call::Range(_) | Call::Put(_) | Call::Delete(_) | Call::Txn(_) | Call::Compact(_) => {
                self.keys(who, call).await
            }
            Call::Grant(_)
            | Call::GrantBriefly(_)
            | Call::Revoke(_)
            | Call::TimeToLive(_)
            | Call::Leases
            | Call::KeepAlive(_) => self.leases(who, call).await,
            Call::Watch(stream, create) => {
                let opening = self.request(who, ());
                self.watches.create(*stream, opening.metadata(), create.clone()).await;
                String::new()
            }
            Call::Cancel(stream, id) => {
                self.watches.cancel(*stream, *id).await;
                String::new()
            }
            _ => self.upkeep(who, call).await,
        }
    }

    async fn keys(&mut self, who: Who, call: &Call) -> String {
        let mut kv = KvClient::new(self.channel.clone());
        match call {
            Call::Range(range) => {
                let answer = kv.range(self.request(who, range.clone())).await;
                self.tell(answer, |_| {})
            }
            Call::Put(put) => {
                let answer = kv.put(self.request(who, put.clone())).await;
                self.tell(answer, |_| {})
            }
            Call::Delete(delete) => {
                let answer = kv.delete_range(self.request(who, delete.clone())).await;
                self.tell(answer, |_| {})
            }
            Call::Txn(txn) => {
                let answer = kv.txn(self.request(who, txn.clone())).await;
                self.tell(answer, |_| {})
            }
            Call::Compact(compact) => {
                let answer = kv.compact(self.request(who, *compact)).await;
                self.tell(answer, |_| {})
            }
            _ => unreachable!("{call:?}"),
        }
    }

    async fn leases(&mut self, who: Who, call: &Call) -> String {
        let mut lease = LeaseClient::new(self.channel.clone());
        match call {
            Call::Grant(grant) => {
                let answer = lease.lease_grant(self.request(who, *grant)).await;
                self.tell(answer, |_| {})
            }
            Call::GrantBriefly(grant) => {
                let answer = lease.lease_grant(self.request(who, *grant)).await;
                let id = answer.as_ref().map_or(grant.id, |answer| answer.get_ref().id);
                let granted = self.tell(answer, |_| {});
                let revoke = pb::LeaseRevokeRequest { id };
                let answer = lease.lease_revoke(self.request(who, revoke)).await;
                let said = format!("{granted}, then {}", self.tell(answer, |_| {}));
                if grant.id == 0 { said.replace(&id.to_string(), "CHOSEN") } else { said }
            }
            Call::Revoke(id) => {
                let revoke = pb::LeaseRevokeRequest { id: *id };
                let answer = lease.lease_revoke(self.request(who, revoke)).await;
                self.tell(answer, |_| {})
            }
            Call::TimeToLive(ask) => {
                let answer = lease.lease_time_to_live(self.request(who, *ask)).await;
                self.tell(answer, |answer| {
                    answer.keys.sort();
                    // Seconds pass; leases here have so many that few of them do.
                    if (answer.granted_ttl - 60..=answer.granted_ttl).contains(&answer.ttl) {
                        answer.ttl = answer.granted_ttl;
                    }
                })
            }
            Call::Leases => {
                let answer = lease.lease_leases(self.request(who, pb::LeaseLeasesRequest {})).await;
                self.tell(answer, |answer| answer.leases.sort_by_key(|lease| lease.id))
            }
            Call::KeepAlive(ids) => {
                let ids = ids.clone().into_iter().map(|id| pb::LeaseKeepAliveRequest { id });
                let requests = self.request(who, futures::stream::iter(ids));
                match lease.lease_keep_alive(requests).await {
                    Err(status) => told(&status),
                    Ok(answers) => self.kept_alive(answers.into_inner()).await,
                }
            }
            _ => unreachable!("{call:?}"),
        }
    }

    async fn kept_alive(
        &mut self,
        mut answers: tonic::Streaming<pb::LeaseKeepAliveResponse>,
    ) -> String {
        let mut said = String::new();
        loop {
            match answers.message().await {
                Ok(None) => return said,
                Ok(Some(answer)) => said.push_str(&self.tell(Ok(Response::new(answer)), |_| {})),
                Err(status) => return said + &told(&status),
            }
        }
    }

    async fn upkeep(&mut self, who: Who, call: &Call) -> String {
        let mut cluster = ClusterClient::new(self.channel.clone());
        let member = |id: u64| if id == OWN_MEMBER { self.member } else { id };
        match call {
            Call::Members(linearizable) => {
                let list = pb::MemberListRequest { linearizable: *linearizable };
                let answer = cluster.member_list(self.request(who, list)).await;
                self.tell(answer, |_| {})
            }
            Call::RemoveMember(id) => {
                let remove = pb::MemberRemoveRequest { id: member(*id) };
                let answer = cluster.member_remove(self.request(who, remove)).await;
                self.tell(answer, |_| {})
            }
            Call::PromoteMember(id) => {
                let promote = pb::MemberPromoteRequest { id: member(*id) };
                let answer = cluster.member_promote(self.request(who, promote)).await;
                self.tell(answer, |_| {})
            }
            Call::AddMember(urls) => {
                let add = pb::MemberAddRequest { peer_urls: urls.clone(), is_learner: true };
                let answer = cluster.member_add(self.request(who, add)).await;
                self.tell(answer, |_| {})
            }
            Call::UpdateMember(id, urls) => {
                let update = pb::MemberUpdateRequest { id: member(*id), peer_urls: urls.clone() };
                let answer = cluster.member_update(self.request(who, update)).await;
                self.tell(answer, |_| {})
            }
            _ => self.maintain(who, call).await,
        }
    }

    async fn maintain(&mut self, who: Who, call: &Call) -> String {
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        match call {
            Call::Alarm(alarm) => {
                let mut alarm = *alarm;
                if alarm.member_id == OWN_MEMBER {
                    alarm.member_id = self.member;
                }
                let answer = maintenance.alarm(self.request(who, alarm)).await;
                let own = self.member;
                self.tell(answer, |answer| {
                    answer
                        .alarms
                        .sort_by_key(|one| (one.member_id != own, one.member_id, one.alarm));
                })
            }
            Call::Status => {
                let answer = maintenance.status(self.request(who, pb::StatusRequest {})).await;
                self.tell(answer, |answer| {
                    (answer.db_size, answer.db_size_in_use) = (0, 0);
                    // Members' own entries are not the same number, and an entry is answered a
                    // moment before it counts as applied.
                    assert!(answer.raft_applied_index <= answer.raft_index, "{answer:?}");
                    (answer.raft_applied_index, answer.raft_index) = (0, 0);
                    // It is noted some seconds after the start.
                    answer.storage_version.clear();
                    answer.errors.sort();
                })
            }
            Call::Hash => {
                let answer = maintenance.hash(self.request(who, pb::HashRequest {})).await;
                // The bucket of members, too, is in it.
                self.tell(answer, |answer| answer.hash = 0)
            }
            Call::HashKv(revision) => {
                let ask = pb::HashKvRequest { revision: *revision };
                let answer = maintenance.hash_kv(self.request(who, ask)).await;
                self.tell(answer, |_| {})
            }
            Call::Defragment => {
                let ask = self.request(who, pb::DefragmentRequest {});
                let answer = maintenance.defragment(ask).await;
                self.tell(answer, |_| {})
            }
            Call::MoveLeader(target_id) => {
                let ask = pb::MoveLeaderRequest { target_id: *target_id };
                let answer = maintenance.move_leader(self.request(who, ask)).await;
                self.tell(answer, |_| {})
            }
            Call::Downgrade(downgrade) => {
                let answer = maintenance.downgrade(self.request(who, downgrade.clone())).await;
                self.tell(answer, |_| {})
            }
            _ => unreachable!("{call:?}"),
        }
    }

    async fn contest(&mut self, who: Who, contest: &Contest) -> String {
        let mut lock = LockClient::new(self.channel.clone());
        let mut election = ElectionClient::new(self.channel.clone());
        match contest {
            Contest::Lock(ask) => {
                let answer = lock.lock(self.request(who, ask.clone())).await;
                self.tell(answer, |_| {})
            }
            Contest::Unlock(key) => {
                let ask = UnlockRequest { key: key.clone() };
                let answer = lock.unlock(self.request(who, ask)).await;
                self.tell(answer, |_| {})
            }
            Contest::Campaign(ask) => {
                let answer = election.campaign(self.request(who, ask.clone())).await;
                let leader =
                    answer.as_ref().ok().and_then(|answer| answer.get_ref().leader.as_ref());
                if let Some(LeaderKey { rev, .. }) = leader {
                    self.campaign = *rev;
                }
                self.tell(answer, |_| {})
            }
            Contest::Proclaim(leader, value) => {
                let ask = ProclaimRequest { leader: leader.clone(), value: value.clone() };
                let answer = election.proclaim(self.request(who, ask)).await;
                self.tell(answer, |_| {})
            }
            Contest::Leader(name) => {
                let ask = LeaderRequest { name: name.clone() };
                let answer = election.leader(self.request(who, ask)).await;
                self.tell(answer, |_| {})
            }
            Contest::Resign(leader) => {
                let ask = ResignRequest { leader: leader.clone() };
                let answer = election.resign(self.request(who, ask)).await;
                self.tell(answer, |_| {})
            }
        }
    }

    /// Whether a lock or a campaign would wait: there is a key below its name that is not its own.
    pub async fn would_wait(&mut self, who: Who, contest: &Contest) -> bool {
        let (name, lease) = match contest {
            Contest::Lock(ask) => (&ask.name, ask.lease),
            Contest::Campaign(ask) => (&ask.name, ask.lease),
            _ => return false,
        };
        let below = pb::RangeRequest {
            key: [name, &b"/"[..]].concat(),
            range_end: [name, &b"0"[..]].concat(),
            ..pb::RangeRequest::default()
        };
        let found = KvClient::new(self.channel.clone()).range(self.request(who, below)).await;
        let own = [name, format!("/{lease:x}").as_bytes()].concat();
        // Who may not look is not let wait either.
        found.map_or(true, |found| found.get_ref().kvs.iter().any(|kv| kv.key != own))
    }

    async fn account(&mut self, who: Who, account: &Account) -> String {
        let mut auth = AuthClient::new(self.channel.clone());
        let owned = |text: &&str| (*text).to_owned();
        macro_rules! ask {
            ($method:ident, $message:expr) => {{
                let answer = auth.$method(self.request(who, $message)).await;
                self.tell(answer, |_| {})
            }};
        }
        match account {
            Account::Enable => ask!(auth_enable, pb::AuthEnableRequest {}),
            Account::Disable => ask!(auth_disable, pb::AuthDisableRequest {}),
            Account::Status => ask!(auth_status, pb::AuthStatusRequest {}),
            Account::Login(name, password) => {
                let ask = pb::AuthenticateRequest { name: owned(name), password: owned(password) };
                let answer = auth.authenticate(self.request(who, ask)).await;
                if let Ok(answer) = &answer {
                    self.tokens.insert(name, answer.get_ref().token.clone());
                }
                self.tell(answer, |_| {})
            }
            Account::UserAdd(add) => ask!(user_add, add.clone()),
            Account::UserGet(name) => ask!(user_get, pb::AuthUserGetRequest { name: owned(name) }),
            Account::UserList => ask!(user_list, pb::AuthUserListRequest {}),
            Account::UserDelete(name) => {
                ask!(user_delete, pb::AuthUserDeleteRequest { name: owned(name) })
            }
            Account::UserChange(change) => ask!(user_change_password, change.clone()),
            Account::UserGrant(user, role) => {
                let message = pb::AuthUserGrantRoleRequest { user: owned(user), role: owned(role) };
                ask!(user_grant_role, message)
            }
            Account::UserRevoke(name, role) => {
                let message =
                    pb::AuthUserRevokeRoleRequest { name: owned(name), role: owned(role) };
                ask!(user_revoke_role, message)
            }
            Account::RoleAdd(name) => ask!(role_add, pb::AuthRoleAddRequest { name: owned(name) }),
            Account::RoleGet(role) => ask!(role_get, pb::AuthRoleGetRequest { role: owned(role) }),
            Account::RoleList => ask!(role_list, pb::AuthRoleListRequest {}),
            Account::RoleDelete(role) => {
                ask!(role_delete, pb::AuthRoleDeleteRequest { role: owned(role) })
            }
            Account::RoleGrant(name, perm) => {
                let message =
                    pb::AuthRoleGrantPermissionRequest { name: owned(name), perm: perm.clone() };
                ask!(role_grant_permission, message)
            }
            Account::RoleRevoke(role, key, range_end) => {
                let message = pb::AuthRoleRevokePermissionRequest {
                    role: owned(role),
                    key: key.clone(),
                    range_end: range_end.clone(),
                };
                ask!(role_revoke_permission, message)
            }
        }
    }
}
