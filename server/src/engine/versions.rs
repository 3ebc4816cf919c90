//! The cluster's version and the stored schema's, kept in step.
//!
//! What must hold: only the leader proposes a version; the schema follows the cluster's version and
//! never goes ahead of it, so that an older server finds what it can read.

use std::time::Duration;

use holdfast_api::etcdserverpb::InternalRaftRequest;
use holdfast_api::membershippb::{ClusterVersionSetRequest, DowngradeInfoSetRequest};
use holdfast_core::auth::Identity;
use holdfast_core::versions::{EtcdVersion, V3_6};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::apply_thread::Work;
use super::handle::Handle;
use super::locks::read;
use crate::log::Logger;

/// How often both are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs until the member ends. A proposal that fails is made again at the next look.
pub(crate) async fn agree(handle: Handle, logger: Logger) {
    let mut leader = handle.inner.view.watch_leader();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = leader.changed() => if changed.is_err() { return },
        }
        // Right after a crash the version may stand in the log and not be applied yet: who decides
        // then takes the cluster down to a lower one.
        if handle.inner.view.leads() && handle.catch_up().await.is_ok() {
            lead(&handle, &logger).await;
        }
        follow(&handle, &logger, &mut told);
    }
}

/// The leader's part: the cluster's version, and the end of a downgrade.
async fn lead(handle: &Handle, logger: &Logger) {
    let (from, next, is_downgraded) = {
        let cluster = read(&handle.inner.cluster);
        // Other members' servers are not known here: there are none. In a directory that 3.7 has
        // marked ours stands in for 3.7, until a downgrade takes it to 3.6.
        let server = cluster.version().map_or(V3_6, |version| version.max(V3_6));
        let is_downgraded = cluster.is_downgraded(server, server);
        (cluster.version(), cluster.next_version(server), is_downgraded)
    };
    let request = if let Some(next) = next {
        tell_change(logger, from, next);
        let set = ClusterVersionSetRequest { ver: next.to_string() };
        InternalRaftRequest { cluster_version_set: Some(set), ..Default::default() }
    } else if is_downgraded {
        let version = from.map(|version| version.to_string());
        logger.info("the cluster has been downgraded", &[("cluster-version", json!(version))]);
        let set = DowngradeInfoSetRequest::default();
        InternalRaftRequest { downgrade_info_set: Some(set), ..Default::default() }
    } else {
        return;
    };
    let _ = handle.propose(&Identity::default(), request).await;
}

fn tell_change(logger: &Logger, from: Option<EtcdVersion>, to: EtcdVersion) {
    match from {
        None => {
            let fields = [("cluster-version", json!(to.to_string()))];
            logger.info("setting up initial cluster version", &fields);
        }
        Some(from) => logger.info(
            "updating cluster version",
            &[("from", json!(from.to_string())), ("to", json!(to.to_string()))],
        ),
    }
}

/// Every member's part: the schema that is stored. `told` is the version of which the log has
/// heard.
fn follow(handle: &Handle, logger: &Logger, told: &mut Option<EtcdVersion>) {
    let (version, downgrade) = {
        let cluster = read(&handle.inner.cluster);
        (cluster.version(), cluster.downgrade().target())
    };
    let Some(version) = version else { return };
    let stored: Option<EtcdVersion> = handle.storage_version().and_then(|text| text.parse().ok());
    if stored != Some(version) {
        // It may have to wait for a snapshot first: then it is asked for again.
        let _ = handle.inner.work.send(Work::StorageVersion(version));
        return;
    }
    if told.replace(version) == Some(version) {
        return;
    }
    let text = version.to_string();
    logger.info("the storage has the cluster's version", &[("storage-version", json!(text))]);
    if let Some(target) = downgrade {
        let fields = [("target-version", json!(target.to_string()))];
        logger.info("The server is ready to downgrade", &fields);
    }
}
