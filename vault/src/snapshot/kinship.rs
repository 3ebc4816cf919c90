//! Is this source the cluster that the vault holds? A pure verdict from what the walk counted.
//!
//! etcd's cluster id does not tell: it hashes peer URLs and token. Kinship is shown by content.
//! Holds: the verdict needs the whole walk and nothing is committed before it; a source below the
//! head's raft index or revision is never committed in the same lineage.

/// What the base snapshot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseFacts {
    /// Its logical revision.
    pub revision: i64,
    /// Its consistent index.
    pub raft_index: u64,
    /// Its raft term.
    pub raft_term: u64,
    /// etcd's id of its source's cluster; 0: unknown.
    pub cluster_id: u64,
}

/// What the source says, and what the walk beside the base counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceFacts {
    /// Logical revision of the source.
    pub revision: i64,
    /// Compaction revision C of the source; -1: none.
    pub compact_revision: i64,
    /// Its consistent index.
    pub raft_index: u64,
    /// Its raft term.
    pub raft_term: u64,
    /// Records in both with equal digest.
    pub common: u64,
    /// Revisions in both with different records.
    pub changed: u64,
    /// The highest revision whose record is equal in both.
    pub highest_common: i64,
    /// The lowest revision whose record differs; `i64::MAX`: none.
    pub lowest_changed: i64,
    /// Records alive in the base above C and absent in the source.
    pub vanished: u64,
    /// The lowest of them; `i64::MAX`: none.
    pub lowest_vanished: i64,
    /// Records alive in the base.
    pub base_live: u64,
    /// Records of the source at or below the base's revision that the base does not hold.
    pub appeared: u64,
    /// Keys (up to 4,096) whose records in the base were compacted, while no record was equal.
    pub gone_keys: u64,
    /// Those of them that the source has records of.
    pub shared_keys: u64,
    /// etcd's id of its cluster; 0: unknown.
    pub cluster_id: u64,
    /// The source was read after a linearizable read showed that its member is not behind, and the
    /// base was known before that.
    pub linearizable: bool,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kinship {
    /// The same history, at or after the base.
    Same,
    /// The same history, an older state: a member that is late. Nothing is committed.
    Late {
        /// Why.
        reason: String,
    },
    /// The histories share revisions up to `fork` and part there: a new lineage.
    Diverged {
        /// The highest revision that is surely shared; 0: none.
        fork: i64,
        /// Why.
        reason: String,
    },
    /// Nothing in common: another cluster. Refused.
    Unrelated {
        /// Why.
        reason: String,
    },
}

impl SourceFacts {
    /// The highest revision that both histories surely share: below the first record that differs
    /// or is gone, whatever else is equal by chance above it.
    pub fn fork(&self) -> i64 {
        let differs = self.lowest_changed.min(self.lowest_vanished);
        self.highest_common.min(differs.saturating_sub(1))
    }
}

/// Below this many common records a few differing ones are no corruption but another history.
const MINORITY: u64 = 10;

/// Entries that change nothing (a new leader's first) need not stand in a member's file yet: by so
/// many a member may seem behind that is not.
const IDLE_ENTRIES: u64 = 16;

/// Why a source that shares no record with the base is another cluster.
fn stranger(base: &BaseFacts, source: &SourceFacts) -> Option<String> {
    if source.common > 0 || source.base_live == 0 {
        return None;
    }
    let differ = source.changed + source.vanished + source.appeared;
    if differ > 0 {
        return Some(format!("none of the {differ} records that could be compared is equal"));
    }
    // All of the base was compacted away: its keys, written anew, must show that it is the same.
    let (ours, theirs) = (base.cluster_id, source.cluster_id);
    let known = ours != 0 && theirs != 0;
    if known && ours != theirs {
        return Some(format!(
            "no record is shared, and its cluster id is {theirs:x}, the base's was {ours:x}"
        ));
    }
    let few = known && source.base_live < MINORITY;
    let (gone, shared) = (source.gone_keys, source.shared_keys);
    (!few && shared * 2 < gone)
        .then(|| format!("no record is shared, and of {gone} keys that we had it has {shared}"))
}

/// Judges.
pub fn judge(base: &BaseFacts, source: &SourceFacts) -> Kinship {
    if let Some(reason) = stranger(base, source) {
        return Kinship::Unrelated { reason };
    }
    let behind = source.raft_index < base.raft_index;
    let fork = source.fork();
    let (ours, theirs) = (base.cluster_id, source.cluster_id);
    if ours != 0 && theirs != 0 && ours != theirs {
        let reason = format!(
            "its cluster id is {theirs:x} and was {ours:x}: the cluster was restored elsewhere"
        );
        return Kinship::Diverged { fork, reason };
    }
    // In one history index and revision grow together.
    let (index, revision) = (source.raft_index, source.revision);
    let jumped = behind && revision > base.revision;
    let fell = !behind && revision < base.revision;
    if jumped || fell {
        let reason = format!(
            "raft index {index} (term {}) at revision {revision} cannot be of the history that had index \
             {} (term {}) at revision {}: the cluster was restored elsewhere",
            source.raft_term, base.raft_index, base.raft_term, base.revision
        );
        return Kinship::Diverged { fork, reason };
    }
    if !behind && source.raft_term != 0 && source.raft_term < base.raft_term {
        let reason = format!(
            "raft index {index} is of term {} and the base's {} was of term {} already: the cluster was \
             restored elsewhere",
            source.raft_term, base.raft_index, base.raft_term
        );
        return Kinship::Diverged { fork, reason };
    }
    let far_behind = base.raft_index.saturating_sub(source.raft_index) > IDLE_ENTRIES;
    if far_behind && source.linearizable {
        let reason = format!(
            "raft index {} is below the base's {} after a linearizable read: raft was begun anew",
            source.raft_index, base.raft_index
        );
        return Kinship::Diverged { fork, reason };
    }
    let majority_differs = source.changed > MINORITY && source.changed > source.common / 10;
    if majority_differs {
        let reason = format!(
            "{} records differ beside {} equal ones from revision {} on",
            source.changed, source.common, source.lowest_changed
        );
        return Kinship::Diverged { fork, reason };
    }
    if behind {
        let reason = format!(
            "revision {} and raft index {} are below the base's {} and {}",
            source.revision, source.raft_index, base.revision, base.raft_index
        );
        return Kinship::Late { reason };
    }
    let many_gone = source.vanished > MINORITY && source.vanished > source.common / 10;
    if many_gone || source.appeared > MINORITY {
        let reason = format!(
            "{} records above the compaction revision are gone and {} old ones are new",
            source.vanished, source.appeared
        );
        return Kinship::Diverged { fork, reason };
    }
    Kinship::Same
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: BaseFacts =
        BaseFacts { revision: 1000, raft_index: 5000, raft_term: 7, cluster_id: 0xa };

    fn healthy() -> SourceFacts {
        SourceFacts {
            revision: 1100,
            compact_revision: 900,
            raft_index: 5200,
            raft_term: 7,
            common: 500,
            highest_common: 1000,
            lowest_changed: i64::MAX,
            lowest_vanished: i64::MAX,
            base_live: 520,
            ..SourceFacts::default()
        }
    }

    #[test]
    fn the_same_cluster_goes_on() {
        assert_eq!(judge(&BASE, &healthy()), Kinship::Same);
        let corrupt = SourceFacts { changed: 2, lowest_changed: 40, ..healthy() };
        assert_eq!(judge(&BASE, &corrupt), Kinship::Same, "single records are corruption");
    }

    #[test]
    fn where_all_was_compacted_the_keys_tell() {
        let compacted = SourceFacts {
            common: 0,
            highest_common: 0,
            compact_revision: 1050,
            gone_keys: 400,
            shared_keys: 390,
            cluster_id: 0xa,
            ..healthy()
        };
        assert_eq!(judge(&BASE, &compacted), Kinship::Same, "every key was written anew");
        let strangers = [
            SourceFacts { shared_keys: 0, ..compacted },
            SourceFacts { cluster_id: 0xb, ..compacted },
            SourceFacts { cluster_id: 0, shared_keys: 10, ..compacted },
        ];
        for stranger in strangers {
            let verdict = judge(&BASE, &stranger);
            assert!(matches!(verdict, Kinship::Unrelated { .. }), "{stranger:?}: {verdict:?}");
        }
        let tiny = SourceFacts { base_live: 3, gone_keys: 3, shared_keys: 0, ..compacted };
        assert_eq!(judge(&BASE, &tiny), Kinship::Same, "a few keys may all be new");
        let lost = SourceFacts { base_live: 0, gone_keys: 0, shared_keys: 0, ..compacted };
        assert_eq!(judge(&BASE, &lost), Kinship::Same, "nothing was left to compare");
    }

    #[test]
    fn a_late_member_waits() {
        let late = SourceFacts { revision: 990, raft_index: 4990, ..healthy() };
        assert!(matches!(judge(&BASE, &late), Kinship::Late { .. }));
        let idle = SourceFacts { revision: 1000, raft_index: 4999, ..healthy() };
        assert!(matches!(judge(&BASE, &idle), Kinship::Late { .. }));
        let elected = SourceFacts { linearizable: true, ..idle };
        assert!(matches!(judge(&BASE, &elected), Kinship::Late { .. }));
    }

    #[test]
    fn our_own_restore_is_a_new_lineage_after_a_linearizable_read() {
        let restored = SourceFacts {
            revision: 1000,
            raft_index: 10,
            raft_term: 2,
            linearizable: true,
            ..healthy()
        };
        assert!(matches!(judge(&BASE, &restored), Kinship::Diverged { fork: 1000, .. }));
    }

    #[test]
    fn a_foreign_restore_with_a_bump_is_a_new_lineage() {
        // It jumps over the mark, and its C excuses all that it lost: only index and term tell.
        let bumped = SourceFacts {
            revision: 1_000_000_900,
            compact_revision: 1_000_000_890,
            raft_index: 20,
            raft_term: 2,
            common: 300,
            highest_common: 880,
            ..healthy()
        };
        assert!(matches!(judge(&BASE, &bumped), Kinship::Diverged { fork: 880, .. }));
    }

    #[test]
    fn a_history_that_parted_is_a_new_lineage() {
        let parted = SourceFacts {
            changed: 200,
            lowest_changed: 801,
            highest_common: 950,
            raft_index: 6000,
            ..healthy()
        };
        assert!(matches!(judge(&BASE, &parted), Kinship::Diverged { fork: 800, .. }));
    }

    #[test]
    fn id_and_term_tell_a_cluster_that_was_restored_elsewhere() {
        let restored = SourceFacts { cluster_id: 0xb, ..healthy() };
        assert!(matches!(judge(&BASE, &restored), Kinship::Diverged { fork: 1000, .. }));
        // Nor does its term fall while the index grows.
        let anew = SourceFacts { raft_term: 3, ..healthy() };
        assert!(matches!(judge(&BASE, &anew), Kinship::Diverged { fork: 1000, .. }));
    }

    #[test]
    fn a_stranger_is_refused() {
        let stranger = SourceFacts {
            common: 0,
            highest_common: 0,
            changed: 30,
            lowest_changed: 2,
            ..healthy()
        };
        assert!(matches!(judge(&BASE, &stranger), Kinship::Unrelated { .. }));
    }
}
