//! What a member does by itself: publishes its name, ends leases that ran out, compacts by its
//! policy, forgets tokens, has old files removed.
//!
//! What must hold: only a leader ends leases; a proposal that fails is tried
//! again at its next time; nothing here ends the member.

use std::sync::Arc;
use std::time::Duration;

use holdfast_api::etcdserverpb::{CompactionRequest, InternalRaftRequest, LeaseRevokeRequest};
use holdfast_api::membershippb::{Attributes, ClusterMemberAttrSetRequest};
use holdfast_core::auth::Identity;
use holdfast_core::mvcc::AutoCompaction;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::handle::Handle;
use super::locks::{read, write};
use super::raft_thread::Input;
use crate::config::Config;
use crate::log::Logger;

/// How often leases and tokens are looked at: as upstream.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often old files are removed: as upstream.
const PURGE_EVERY: Duration = Duration::from_secs(30);
/// Pause between two tries.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// Leases that are revoked side by side.
const REVOKED_AT_ONCE: usize = 16;

/// Publishes the member's name and client URLs until that succeeded; then the member is ready.
pub(crate) async fn publish(handle: &Handle, config: &Config, logger: &Logger) {
    let attributes = Attributes {
        name: config.name.clone(),
        client_urls: config.advertise_client_urls.iter().map(ToString::to_string).collect(),
    };
    let set = ClusterMemberAttrSetRequest {
        member_id: handle.inner.member_id,
        member_attributes: Some(attributes),
    };
    loop {
        let request = InternalRaftRequest {
            cluster_member_attr_set: Some(set.clone()),
            ..InternalRaftRequest::default()
        };
        match handle.propose(&Identity::default(), request).await {
            Ok(_) => {
                let id = format!("{:x}", handle.inner.member_id);
                logger.info(
                    "published local member to cluster through raft",
                    &[("local-member-id", json!(id))],
                );
                return;
            }
            Err(status) => {
                logger.warn(
                    "failed to publish local member to cluster through raft",
                    &[("error", json!(status.message()))],
                );
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }
}

/// Leads or follows: leases are a leader's matter.
pub(crate) async fn follow_leadership(handle: Handle, election: Duration) {
    let mut leader = handle.inner.view.watch_leader();
    loop {
        let leads = *leader.borrow_and_update() == handle.inner.member_id;
        {
            let mut leases = write(&handle.inner.shared.leases);
            if leads && !leases.is_leading() {
                leases.promote(election, handle.now());
            } else if !leads && leases.is_leading() {
                leases.demote();
            }
        }
        if leader.changed().await.is_err() {
            return;
        }
    }
}

/// Revokes leases that ran out; forgets tokens.
pub(crate) async fn look_after_leases(handle: Handle) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let room = Arc::new(tokio::sync::Semaphore::new(REVOKED_AT_ONCE));
    loop {
        ticks.tick().await;
        handle.inner.identities.sweep(handle.now());
        let expired = write(&handle.inner.shared.leases).expired(handle.now());
        for id in expired {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let handle = handle.clone();
            tokio::spawn(async move {
                let root = read(&handle.inner.shared.auth).server_identity();
                let request = InternalRaftRequest {
                    lease_revoke: Some(LeaseRevokeRequest { id }),
                    ..InternalRaftRequest::default()
                };
                // One that fails is handed out again a few seconds later.
                let _ = handle.propose(&root, request).await;
                drop(permit);
            });
        }
    }
}

/// Has WAL segments and .snap files removed that are more than are kept; at once at the start, for
/// what a former run left.
pub(crate) async fn purge(handle: Handle) {
    let mut ticks = interval(PURGE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if handle.inner.raft.send(Input::Purge).is_err() {
            return;
        }
    }
}

/// Compacts as the policy says.
pub(crate) async fn compact_by_policy(handle: Handle, mut policy: AutoCompaction, logger: Logger) {
    let began = Instant::now();
    loop {
        sleep_until(began + policy.next()).await;
        let (now, revision) = (began.elapsed(), handle.inner.store.revision());
        let paused = !handle.inner.view.leads();
        let Some(at) = policy.decide(now, revision, paused) else { continue };
        let root = read(&handle.inner.shared.auth).server_identity();
        let request = InternalRaftRequest {
            compaction: Some(CompactionRequest { revision: at, physical: false }),
            ..InternalRaftRequest::default()
        };
        let fields = [("revision", json!(at))];
        match handle.propose(&root, request).await {
            Ok(_) => {
                logger.info("completed auto compaction", &fields);
                policy.compacted(began.elapsed(), at);
            }
            Err(status) if status.code() == tonic::Code::OutOfRange => {
                policy.compacted(began.elapsed(), at);
            }
            Err(status) => logger.warn(
                "failed auto compaction; tried again later",
                &[("revision", json!(at)), ("error", json!(status.message()))],
            ),
        }
    }
}
