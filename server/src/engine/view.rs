//! The running member as pages and checks ask it.

use holdfast_api::etcdserverpb as pb;
use holdfast_core::buckets::META;
use holdfast_core::meta::{CONF_STATE, STORAGE_VERSION, TERM};
use holdfast_core::versions::V3_5;
use tokio::sync::watch;

use super::handle::Handle;
use super::locks::read;
use crate::grpc::Refusal;
use crate::member::{Member, Position};

/// The key that health asks for; it need not exist.
const HEALTH_KEY: &[u8] = b"health";

impl Handle {
    /// Version of the stored schema. 3.5 stores none, but a term and the members.
    pub(super) fn storage_version(&self) -> Option<String> {
        let reader = self.inner.store.reader();
        let get = |key: &[u8]| reader.view().get(META, key).ok().flatten();
        match get(STORAGE_VERSION) {
            Some(stored) => String::from_utf8(stored.to_vec()).ok(),
            None if get(TERM).is_some() && get(CONF_STATE).is_some() => Some(V3_5.to_string()),
            None => None,
        }
    }
}

#[async_trait::async_trait]
impl Member for Handle {
    fn position(&self) -> Position {
        Position {
            cluster_id: self.inner.cluster_id,
            member_id: self.inner.member_id,
            revision: self.inner.store.revision(),
            raft_term: self.inner.view.term(),
        }
    }

    fn leader(&self) -> watch::Receiver<u64> {
        self.inner.view.watch_leader()
    }

    fn is_learner(&self) -> bool {
        read(&self.inner.cluster).is_local_learner()
    }

    fn cluster_version(&self) -> Option<String> {
        read(&self.inner.cluster).version().map(|version| version.to_string())
    }

    fn storage_version(&self) -> Option<String> {
        Handle::storage_version(self)
    }

    fn alarms(&self) -> Vec<pb::AlarmMember> {
        read(&self.inner.shared.alarms).list(pb::AlarmType::None as i32)
    }

    fn members(&self) -> Vec<pb::Member> {
        Handle::members(self)
    }

    fn is_auth_enabled(&self) -> bool {
        read(&self.inner.shared.auth).is_enabled()
    }

    fn is_downgrading(&self) -> bool {
        read(&self.inner.cluster).downgrade().enabled
    }

    fn serving(&self) -> watch::Receiver<bool> {
        self.inner.serving.subscribe()
    }

    async fn read(&self, serializable: bool) -> Result<(), Refusal> {
        if !serializable {
            let caught_up = self.catch_up().await;
            caught_up.map_err(|status| Refusal::Other(status.message().to_owned()))?;
        }
        let request = pb::RangeRequest { key: HEALTH_KEY.to_vec(), limit: 1, ..Default::default() };
        let read = self.inner.store.range(&request);
        read.map(|_| ()).map_err(|error| Refusal::Other(error.to_string()))
    }
}
