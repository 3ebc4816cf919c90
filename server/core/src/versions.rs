//! Versions of etcd, and what a rebuilt database must say about them.
//!
//! Two versions stand in a database. `meta/storageVersion` names the schema; 3.5 has none and
//! ignores it, a server refuses one that is above its own. `cluster/clusterVersion` is the lowest
//! version of all members; 3.6 and 3.7 panic if it is above their own, 3.5 takes it from the v2
//! store instead. A server raises both by itself. So for a target, each becomes the lower of the
//! source's and the target's, and 3.5 gets no storage version. Measured with 3.5.35, 3.6.16 and
//! 3.7.3, all nine pairs.

use std::fmt;
use std::str::FromStr;

/// A version without its patch, which neither bucket stores in a meaningful way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtcdVersion {
    /// 3.
    pub major: u16,
    /// 5, 6 or 7 for those that we write for.
    pub minor: u16,
}

/// etcd 3.5.
pub const V3_5: EtcdVersion = EtcdVersion { major: 3, minor: 5 };
/// etcd 3.6.
pub const V3_6: EtcdVersion = EtcdVersion { major: 3, minor: 6 };
/// etcd 3.7.
pub const V3_7: EtcdVersion = EtcdVersion { major: 3, minor: 7 };

/// The newest etcd whose data directories our server goes on with. It leaves their versions as they
/// are, so that the one they come from can take them back.
pub const NEWEST_TAKEN_OVER: EtcdVersion = V3_7;

/// What a rebuilt database says. `None`: the key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetVersions {
    /// For `meta/storageVersion`.
    pub storage: Option<EtcdVersion>,
    /// For `cluster/clusterVersion`.
    pub cluster: Option<EtcdVersion>,
}

/// Versions that cannot be planned with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not `major.minor` or `major.minor.patch`.
    #[error("{text:?} is not a version like 3.6.0")]
    Malformed {
        /// The text found.
        text: String,
    },
    /// A target whose directory layout we do not know.
    #[error("a data directory for etcd {version} cannot be written; known are 3.5, 3.6 and 3.7")]
    UnknownTarget {
        /// The target asked for.
        version: EtcdVersion,
    },
}

impl EtcdVersion {
    /// Whether we can write a data directory for it.
    ///
    /// # Errors
    /// [`VersionError::UnknownTarget`].
    pub fn check_target(self) -> Result<Self, VersionError> {
        let known = [V3_5, V3_6, V3_7].contains(&self);
        if known { Ok(self) } else { Err(VersionError::UnknownTarget { version: self }) }
    }
}

impl TargetVersions {
    /// What to store for `target`, given what the source stores.
    ///
    /// # Errors
    /// An unknown target.
    pub fn plan(
        storage: Option<EtcdVersion>,
        cluster: Option<EtcdVersion>,
        target: EtcdVersion,
    ) -> Result<Self, VersionError> {
        target.check_target()?;
        let lower = |source: Option<EtcdVersion>| source.map(|version| version.min(target));
        let storage = lower(storage).filter(|version| *version >= V3_6);
        Ok(TargetVersions { storage, cluster: lower(cluster) })
    }
}

impl fmt::Display for EtcdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.0", self.major, self.minor)
    }
}

impl FromStr for EtcdVersion {
    type Err = VersionError;

    /// Reads `3.6`, `3.6.16` and `3.6.0-rc.1`.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let malformed = || VersionError::Malformed { text: text.to_owned() };
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let parts: Option<Vec<u16>> = core.split('.').map(|part| part.parse().ok()).collect();
        match parts.ok_or_else(malformed)?.as_slice() {
            [major, minor] | [major, minor, _] => Ok(EtcdVersion { major: *major, minor: *minor }),
            _ => Err(malformed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_versions() {
        assert_eq!("3.6.16".parse(), Ok(V3_6));
        assert_eq!("3.7".parse(), Ok(V3_7));
        assert_eq!("3.7.0-rc.1".parse(), Ok(V3_7));
        assert_eq!(V3_5.to_string(), "3.5.0");
        for bad in ["", "3", "3.x", "3.6.1.2", "v3.6"] {
            assert!(bad.parse::<EtcdVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_lower_version_wins() {
        let plan = |storage, cluster, target| TargetVersions::plan(storage, cluster, target);
        let said = |storage, cluster| Ok(TargetVersions { storage, cluster });
        assert_eq!(plan(Some(V3_7), Some(V3_7), V3_6), said(Some(V3_6), Some(V3_6)));
        assert_eq!(plan(Some(V3_7), Some(V3_7), V3_5), said(None, Some(V3_5)));
        assert_eq!(plan(None, Some(V3_5), V3_7), said(None, Some(V3_5)));
        assert_eq!(plan(Some(V3_6), None, V3_7), said(Some(V3_6), None));
        let future = EtcdVersion { major: 3, minor: 8 };
        assert_eq!(plan(None, None, future), Err(VersionError::UnknownTarget { version: future }));
    }
}
