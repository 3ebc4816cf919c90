//! Calls about members and their databases.

use super::super::steps::{Call, OWN_MEMBER, Who};
use super::Side;
use holdfast_api::etcdserverpb as pb;
use holdfast_api::etcdserverpb::cluster_client::ClusterClient;
use holdfast_api::etcdserverpb::maintenance_client::MaintenanceClient;

impl Side {
    pub(super) async fn upkeep(&mut self, who: Who, call: &Call) -> String {
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
                    // Members' own entries are not the same number, and how far they are applied is
                    // a matter of the moment.
                    (answer.raft_index, answer.raft_applied_index) = (0, 0);
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
}
