//! One of the two servers: makes a step's call, and tells the answer as text, whole but for what
//! cannot be equal (ids of cluster and member, ports, sizes, tokens).

mod accounts;
mod answers;
mod contests;
mod upkeep;

use super::steps::{Call, Who};
use super::watches::Watches;
use crate::services::until;
use answers::Answer;
pub use answers::{is_refusal, told};
use holdfast_api::etcdserverpb as pb;
use holdfast_api::etcdserverpb::cluster_client::ClusterClient;
use holdfast_api::etcdserverpb::kv_client::KvClient;
use holdfast_api::etcdserverpb::lease_client::LeaseClient;
use holdfast_api::etcdserverpb::maintenance_client::MaintenanceClient;
use holdfast_api::etcdserverpb::watch_client::WatchClient;
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

/// Waits until the cluster has agreed on its version: a member does so a moment after it serves.
async fn wait_for_version(channel: &Channel) {
    let validate = pb::DowngradeRequest { action: 0, version: "3.5.0".to_owned() };
    until("the cluster has a version", async || {
        MaintenanceClient::new(channel.clone()).downgrade(validate.clone()).await.is_ok()
    })
    .await;
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
}
