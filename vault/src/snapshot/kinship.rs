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
    /// The source was read after a linearizable read showed that its member is not behind.
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

/// Judges.
pub fn judge(base: &BaseFacts, source: &SourceFacts) -> Kinship {
    // All of the base may have been compacted away; then only index and revision can speak.
    let comparable = source.common + source.changed + source.vanished;
    if source.common == 0 && comparable > 0 {
        let reason = format!(
            "none of the {} records that could be compared is equal",
            source.changed + source.vanished
        );
        return Kinship::Unrelated { reason };
    }
    let behind = source.raft_index < base.raft_index;
    let fork = source.fork();
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
    if behind && source.linearizable {
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

    const BASE: BaseFacts = BaseFacts { revision: 1000, raft_index: 5000, raft_term: 7 };

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
        let compacted =
            SourceFacts { common: 0, highest_common: 0, compact_revision: 1050, ..healthy() };
        assert_eq!(judge(&BASE, &compacted), Kinship::Same);
    }

    #[test]
    fn a_late_member_waits() {
        let late = SourceFacts { revision: 990, raft_index: 4990, ..healthy() };
        assert!(matches!(judge(&BASE, &late), Kinship::Late { .. }));
        let idle = SourceFacts { revision: 1000, raft_index: 4999, ..healthy() };
        assert!(matches!(judge(&BASE, &idle), Kinship::Late { .. }));
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
