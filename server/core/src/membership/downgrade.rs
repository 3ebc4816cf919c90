//! The version that a cluster speaks: how it goes up, and down by one on request.
//!
//! The leader sets it to the lowest version of all members' servers. While a downgrade runs, it is
//! the downgrade's target instead, although no server of that version is there yet: an older server
//! may then take a member's place. What must hold: it goes down by one minor version at most, and
//! never without a downgrade.

use super::{Cluster, Downgrade};
use crate::versions::EtcdVersion;

/// Why a downgrade may not begin, or what there is to cancel. The texts are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DowngradeRefusal {
    /// The cluster has no version yet.
    #[error("etcdserver: cluster version not found during downgrade")]
    NoClusterVersion,
    /// Not one minor version below the cluster's.
    #[error("etcdserver: invalid downgrade target version")]
    InvalidTarget,
    /// One runs already.
    #[error("etcdserver: cluster has a downgrade job in progress")]
    InProcess,
    /// None runs.
    #[error("etcdserver: no inflight downgrade job")]
    NoneRuns,
}

impl Cluster {
    /// Whether a downgrade to `target` may begin.
    ///
    /// # Errors
    /// [`DowngradeRefusal`].
    pub fn may_downgrade(&self, target: EtcdVersion) -> Result<(), DowngradeRefusal> {
        let version = self.version().ok_or(DowngradeRefusal::NoClusterVersion)?;
        if Some(target) != one_below(version) {
            return Err(DowngradeRefusal::InvalidTarget);
        }
        if self.downgrade().enabled { Err(DowngradeRefusal::InProcess) } else { Ok(()) }
    }

    /// The version that the cluster is to have from now on, if another than it has. `lowest` is the
    /// lowest version of the members' servers.
    pub fn next_version(&self, lowest: EtcdVersion) -> Option<EtcdVersion> {
        let Some(version) = self.version() else { return Some(lowest) };
        if let Some(target) = self.downgrade().target() {
            let is_next = one_below(version) == Some(target) && one_below(lowest) == Some(target);
            return is_next.then_some(target);
        }
        (version < lowest).then_some(lowest)
    }

    /// Whether a downgrade runs and all servers have its target's version.
    pub fn is_downgraded(&self, lowest: EtcdVersion, highest: EtcdVersion) -> bool {
        self.downgrade().target().is_some_and(|target| target == lowest && target == highest)
    }
}

impl Downgrade {
    /// Where it goes to, if one runs.
    pub fn target(&self) -> Option<EtcdVersion> {
        self.target_version.parse().ok().filter(|_| self.enabled)
    }
}

fn one_below(version: EtcdVersion) -> Option<EtcdVersion> {
    let minor = version.minor.checked_sub(1)?;
    Some(EtcdVersion { minor, ..version })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{ClusterConfig, MAX_LEARNERS, Scope};
    use crate::versions::{V3_5, V3_6, V3_7};

    fn cluster(server: EtcdVersion) -> Cluster {
        Cluster::new(ClusterConfig {
            local_id: 1,
            cluster_id: 2,
            server_version: server,
            max_learners: MAX_LEARNERS,
        })
    }

    #[test]
    fn a_cluster_goes_up_with_its_servers_and_down_by_one_when_asked() {
        let mut one = cluster(V3_6);
        assert_eq!(one.may_downgrade(V3_5), Err(DowngradeRefusal::NoClusterVersion));
        assert_eq!(one.next_version(V3_6), Some(V3_6));
        one.set_version(V3_5, Scope::Both).unwrap();
        assert_eq!(one.next_version(V3_6), Some(V3_6), "a directory of 3.5 goes up");
        one.set_version(V3_6, Scope::Both).unwrap();
        assert_eq!(one.next_version(V3_6), None);
        assert_eq!(one.next_version(V3_5), None, "never down without a downgrade");
        for target in [V3_6, V3_7, EtcdVersion { major: 3, minor: 4 }] {
            assert_eq!(one.may_downgrade(target), Err(DowngradeRefusal::InvalidTarget));
        }
        assert_eq!(one.may_downgrade(V3_5), Ok(()));
        one.set_downgrade(Some("3.5.0"), Scope::Both);
        assert_eq!(one.may_downgrade(V3_5), Err(DowngradeRefusal::InProcess));
        assert_eq!(one.next_version(V3_6), Some(V3_5));
        one.set_version(V3_5, Scope::Both).unwrap();
        assert_eq!(one.next_version(V3_6), None, "it stays down while the downgrade runs");
        assert!(!one.is_downgraded(V3_5, V3_6) && one.is_downgraded(V3_5, V3_5));
        one.set_downgrade(None, Scope::Both);
        assert_eq!(one.next_version(V3_6), Some(V3_6));
        assert!(!one.is_downgraded(V3_5, V3_5));
    }
}
