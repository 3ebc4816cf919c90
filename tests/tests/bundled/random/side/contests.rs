//! Calls about locks and elections.

use super::super::steps::{Contest, Who};
use super::Side;
use holdfast_api::etcdserverpb as pb;
use holdfast_api::etcdserverpb::kv_client::KvClient;
use holdfast_api::v3electionpb::election_client::ElectionClient;
use holdfast_api::v3electionpb::{LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest};
use holdfast_api::v3lockpb::UnlockRequest;
use holdfast_api::v3lockpb::lock_client::LockClient;

impl Side {
    pub(super) async fn contest(&mut self, who: Who, contest: &Contest) -> String {
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
}
