//! What a versioned bucket hides of the chains in it.
//!
//! A create succeeds over a delete marker. So who may delete may also give a commit's name to
//! other bytes, and a plain listing shows nothing of it. Commits are written once and deleted from
//! the bottom only; hence, of each chain, two things can never be right:
//! - a name with two versions that hold bytes: the older one is the original, masked;
//! - a deleted name above one that is still there.

use super::versions::ObjectVersion;
use super::{Store, StoreError};
use crate::format::{ClusterId, parse_commit_name};
use std::collections::BTreeMap;

/// What to do about it.
pub(super) const ADVICE: &str = "somebody deleted or replaced commits: keep all versions, take the \
    right to delete away, and bring the named originals back by deleting what hides them";
/// Versions that are looked at in one chain.
const LIMIT: usize = 1_000_000;
/// Names that are said in full.
const NAMED: usize = 8;

/// Looks at every chain: whether all is right, and what was seen. `None`: no versions are kept
/// here.
pub(super) async fn search(store: &Store) -> Result<Option<(bool, String)>, StoreError> {
    let (mut commits, mut findings) = (0, Vec::new());
    // A folder whose names are all deleted is not listed; then there is no chain to judge.
    for cluster in store.folders("c").await? {
        let Ok(id) = cluster.parse() else { continue };
        let Some(versions) = store.versions(&format!("c/{cluster}/commit"), LIMIT).await? else {
            return Ok(None);
        };
        let chain = Chain::new(id, &versions);
        commits += chain.commits.len();
        findings.extend(chain.findings());
    }
    if findings.is_empty() {
        return Ok(Some((true, format!("{commits} commits, none masked or deleted out of turn"))));
    }
    let more = findings.len().saturating_sub(NAMED);
    findings.truncate(NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    Ok(Some((false, format!("{}{more}", findings.join("; ")))))
}

/// The versions of each commit's name, newest first.
struct Chain<'a> {
    commits: BTreeMap<(u64, u64), Vec<&'a ObjectVersion>>,
}

impl Chain<'_> {
    fn new(cluster: ClusterId, versions: &[ObjectVersion]) -> Chain<'_> {
        let mut commits: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for version in versions {
            if let Some(place) = parse_commit_name(cluster, &version.name) {
                commits.entry(place).or_default().push(version);
            }
        }
        Chain { commits }
    }

    fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let lowest = self.commits.iter().filter(|(_, versions)| is_shown(versions));
        let lowest: BTreeMap<u64, u64> =
            lowest.rev().map(|(&(era, number), _)| (era, number)).collect();
        for (&(era, number), versions) in &self.commits {
            let with_bytes: Vec<_> = versions.iter().filter(|one| !one.is_marker).collect();
            // Newest first; some stores tell times in whole seconds.
            let original = with_bytes.iter().rev().find(|one| !one.is_latest);
            if let Some(original) = original.filter(|_| with_bytes.len() > 1) {
                findings.push(format!(
                    "{}: its original, version {} of {}, is masked",
                    original.name, original.id, original.modified
                ));
            } else if !is_shown(versions) && lowest.get(&era).is_some_and(|&low| low < number) {
                findings.push(format!("{}: deleted above older commits", versions[0].name));
            }
        }
        findings
    }
}

/// Whether a plain listing shows the name.
fn is_shown(versions: &[&ObjectVersion]) -> bool {
    versions.iter().any(|one| one.is_latest && !one.is_marker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{SeededEntropy, commit_name};

    fn version(cluster: ClusterId, number: u64, time: u8, what: &str) -> ObjectVersion {
        ObjectVersion {
            name: commit_name(cluster, 0, number),
            id: format!("id-{number}-{time}"),
            is_latest: what.contains("latest"),
            is_marker: what.contains("marker"),
            modified: format!("2026-01-01T00:00:{time:02}Z"),
        }
    }

    #[test]
    fn a_pruned_chain_is_right_and_a_masked_or_missing_commit_is_named() {
        let cluster = ClusterId::random(&mut SeededEntropy::new(1));
        let of = |number, time, what| version(cluster, number, time, what);
        let mut chain =
            vec![of(1, 1, ""), of(1, 9, "latest marker"), of(2, 2, "latest"), of(3, 3, "latest")];
        assert_eq!(Chain::new(cluster, &chain).findings(), Vec::<String>::new());
        // Deleted at the top: the chain ends earlier than it did.
        chain.extend([of(4, 4, ""), of(4, 5, "latest marker")]);
        let found = Chain::new(cluster, &chain).findings();
        assert!(found.len() == 1 && found[0].contains("0004: deleted above"), "{found:?}");
        // Created again over its marker, within the same second too.
        for time in [5, 6] {
            chain.truncate(4);
            chain.extend([of(4, 5, ""), of(4, 5, "marker"), of(4, time, "latest")]);
            let found = Chain::new(cluster, &chain).findings();
            assert!(found.len() == 1 && found[0].contains("id-4-5"), "{found:?}");
        }
        let stranger = ClusterId::random(&mut SeededEntropy::new(2));
        assert!(Chain::new(stranger, &chain).commits.is_empty());
    }
}
