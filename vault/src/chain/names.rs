//! Names of one cluster's objects, on top of the format's names, and back from names to ids.

use crate::format::{
    ClusterId, ObjectId, SeedId, WrapId, cluster_prefix, commit_name, hint_name, object_name,
    parse_commit_name, wrap_folders, wrap_names,
};
use crate::proto::ObjectKind;

/// The folder of all clusters.
pub const CLUSTERS: &str = "c";

/// The names of one cluster's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    cluster: ClusterId,
}

impl Names {
    /// Of the cluster `cluster`.
    pub fn new(cluster: ClusterId) -> Names {
        Names { cluster }
    }

    /// Its folder, without a slash at the end.
    pub fn folder(&self) -> String {
        cluster_prefix(self.cluster).trim_end_matches('/').to_owned()
    }

    /// The folder of its commits, of all eras.
    pub fn commits(&self) -> String {
        format!("{}commit", cluster_prefix(self.cluster))
    }

    /// Commit `number` of `era`.
    pub fn commit(&self, era: u64, number: u64) -> String {
        commit_name(self.cluster, era, number)
    }

    /// Era and number of a commit's name; `None` for other names.
    pub fn parse_commit(&self, name: &str) -> Option<(u64, u64)> {
        parse_commit_name(self.cluster, name)
    }

    /// An object with a random id.
    ///
    /// # Panics
    /// For kinds that have no such name: commit, log, status.
    pub fn object(&self, kind: ObjectKind, id: ObjectId) -> String {
        object_name(self.cluster, kind, id).expect("asked for kinds with random names only")
    }

    /// Kind and id in an object's name.
    pub fn parse_object(&self, name: &str) -> Option<(ObjectKind, ObjectId)> {
        let id = name.rsplit('/').next()?.parse().ok()?;
        let kinds = RANDOM_KINDS.into_iter();
        kinds.map(|kind| (kind, id)).find(|(kind, id)| self.object(*kind, *id) == name)
    }

    /// The folder of all wraps, and that of their second copies.
    pub fn keys(&self) -> [String; 2] {
        wrap_folders(self.cluster)
    }

    /// The folders of one seed's wraps.
    pub fn seed(&self, seed: SeedId) -> [String; 2] {
        self.keys().map(|folder| format!("{folder}/{seed}"))
    }

    /// Both names of one wrap.
    pub fn wrap(&self, seed: SeedId, wrap: WrapId) -> [String; 2] {
        wrap_names(self.cluster, seed, wrap)
    }

    /// Whether a name is one of a wrap, of either copy.
    pub fn is_wrap(&self, name: &str) -> bool {
        let below = |folder: &String| name.strip_prefix(folder)?.strip_prefix('/');
        self.keys().iter().find_map(below).and_then(|rest| rest.split_once('/')).is_some_and(
            |(seed, wrap)| seed.parse::<SeedId>().is_ok() && wrap.parse::<WrapId>().is_ok(),
        )
    }

    /// Overwritten freely and never trusted; shows the store's clock.
    pub fn hint(&self) -> String {
        hint_name(self.cluster)
    }

    /// A fresh name for a collision probe.
    pub fn probe(&self, id: ObjectId) -> String {
        format!("{}probe/{id}", cluster_prefix(self.cluster))
    }
}

/// The kinds of objects that have random names.
pub const RANDOM_KINDS: [ObjectKind; 6] = [
    ObjectKind::Segment,
    ObjectKind::Body,
    ObjectKind::Spill,
    ObjectKind::Page,
    ObjectKind::Ledger,
    ObjectKind::Report,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        let names = Names::new(ClusterId::from_bytes(&[0xab; 16]).unwrap());
        let name = names.commit(0, 17);
        assert_eq!(names.parse_commit(&name), Some((0, 17)));
        assert!(name.starts_with(&names.commits()));
        let id = ObjectId::from_bytes(&[7; 16]).unwrap();
        for kind in RANDOM_KINDS {
            assert_eq!(names.parse_object(&names.object(kind, id)), Some((kind, id)));
        }
        for other in [
            "c/x/seg/1",
            "vault",
            &names.hint(),
            &names.seed(SeedId::from_bytes(&[1; 16]).unwrap())[0],
        ] {
            assert_eq!(names.parse_object(other), None, "{other}");
            assert!(!names.is_wrap(other), "{other}");
        }
        let wrap = names
            .wrap(SeedId::from_bytes(&[1; 16]).unwrap(), WrapId::from_bytes(&[2; 16]).unwrap());
        assert!(wrap[0] != wrap[1] && wrap.iter().all(|name| names.is_wrap(name)));
        assert!(wrap.iter().all(|name| names.parse_object(name).is_none()));
    }
}
