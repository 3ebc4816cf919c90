//! Names of objects in a store.
//!
//! ```text
//! vault                                    the root
//! c/<cluster>/commit/<era>/<20 digits>     the chain
//! c/<cluster>/seg|body|spill|page|ledger|report/<object id>
//! c/<cluster>/keys/<seed>/<wrap>           and the same bytes again as
//! c/<cluster>/keys2/<seed>/<wrap>
//! c/<cluster>/hint                         overwritten freely, never trusted
//! c/<cluster>/log/<epoch>/<n>, status      reserved
//! ```
//! Holds: names carry ids and numbers only, never a revision, a time or anything of the content.

use super::{ClusterId, ObjectId, SeedId, WrapId};
use crate::proto::ObjectKind;

/// Name of the vault's root object.
pub const ROOT_NAME: &str = "vault";

/// `c/<cluster>/`: all that belongs to one cluster lies below.
pub fn cluster_prefix(cluster: ClusterId) -> String {
    format!("c/{cluster}/")
}

/// `c/<cluster>/commit/<era>/`: the commits of one era; names sort by number.
pub fn commit_prefix(cluster: ClusterId, era: u64) -> String {
    format!("c/{cluster}/commit/{era}/")
}

/// Name of a commit.
pub fn commit_name(cluster: ClusterId, era: u64, number: u64) -> String {
    format!("c/{cluster}/commit/{era}/{number:020}")
}

/// Era and number from the name of a commit of this cluster; `None` for any other name.
pub fn parse_commit_name(cluster: ClusterId, name: &str) -> Option<(u64, u64)> {
    let (era, number) =
        name.strip_prefix(&cluster_prefix(cluster))?.strip_prefix("commit/")?.split_once('/')?;
    let parsed = (era.parse().ok()?, number.parse().ok()?);
    // Signs, missing zeroes and other spellings of the same number are other names.
    (commit_name(cluster, parsed.0, parsed.1) == name).then_some(parsed)
}

/// Name of an object that has a random id; `None` for kinds that are named otherwise (commit, log,
/// status).
pub fn object_name(cluster: ClusterId, kind: ObjectKind, id: ObjectId) -> Option<String> {
    let folder = match kind {
        ObjectKind::Segment => "seg",
        ObjectKind::Body => "body",
        ObjectKind::Page => "page",
        ObjectKind::Ledger => "ledger",
        ObjectKind::Spill => "spill",
        ObjectKind::Report => "report",
        ObjectKind::Unspecified | ObjectKind::Commit | ObjectKind::Log | ObjectKind::Status => {
            return None;
        }
    };
    Some(format!("c/{cluster}/{folder}/{id}"))
}

/// `c/<cluster>/keys` and `keys2`: what lies in one lies in the other, since everything that a seed
/// seals depends on its wraps.
pub fn wrap_folders(cluster: ClusterId) -> [String; 2] {
    ["keys", "keys2"].map(|folder| format!("c/{cluster}/{folder}"))
}

/// Both names of a wrap of a seed.
pub fn wrap_names(cluster: ClusterId, seed: SeedId, wrap: WrapId) -> [String; 2] {
    wrap_folders(cluster).map(|folder| format!("{folder}/{seed}/{wrap}"))
}

/// Name of the hint.
pub fn hint_name(cluster: ClusterId) -> String {
    format!("c/{cluster}/hint")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::SeededEntropy;

    #[test]
    fn commit_names_are_read_back_and_sort_by_number() {
        let cluster = ClusterId::random(&mut SeededEntropy::new(1));
        let name = commit_name(cluster, 0, 17);
        assert_eq!(parse_commit_name(cluster, &name), Some((0, 17)));
        assert!(name < commit_name(cluster, 0, 100));
        assert_eq!(
            parse_commit_name(cluster, &commit_name(cluster, 3, u64::MAX)),
            Some((3, u64::MAX))
        );
        for other in ["17", "+0000000000000000017", "000000000000000000017", "", "x"] {
            let name = format!("{}{other}", commit_prefix(cluster, 0));
            assert_eq!(parse_commit_name(cluster, &name), None, "{other}");
        }
    }
}
