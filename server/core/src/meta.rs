//! The bucket `meta`: compaction marks, raft index and term, voters, storage version.
//!
//! | key | value |
//! |---|---|
//! | `scheduledCompactRev` | 17-byte revision, sub 0; written before a compaction deletes |
//! | `finishedCompactRev` | the same; written with the last batch |
//! | `consistent_index` | 8 bytes big-endian: index of the last applied entry |
//! | `term` | 8 bytes big-endian: its term |
//! | `confState` | JSON of raftpb.ConfState |
//! | `storageVersion` | `3.6.0`; absent on 3.5 |
//!
//! A store that never compacted has no marks: then C = -1.

use serde::{Deserialize, Serialize};

use crate::buckets::{META, SmallBuckets};
use crate::revision::{Revision, RevisionError};

/// Revision of the compaction that was begun last.
pub const SCHEDULED_COMPACT_REV: &[u8] = b"scheduledCompactRev";
/// Revision of the compaction that was finished last.
pub const FINISHED_COMPACT_REV: &[u8] = b"finishedCompactRev";
/// Raft index of the last applied entry.
pub const CONSISTENT_INDEX: &[u8] = b"consistent_index";
/// Raft term of the last applied entry.
pub const TERM: &[u8] = b"term";
/// Voters and learners.
pub const CONF_STATE: &[u8] = b"confState";
/// Version of the schema, from 3.6 on.
pub const STORAGE_VERSION: &[u8] = b"storageVersion";

/// All keys of the bucket that we know, sorted.
pub const ALL_KEYS: [&[u8]; 6] = [
    CONF_STATE,
    CONSISTENT_INDEX,
    FINISHED_COMPACT_REV,
    SCHEDULED_COMPACT_REV,
    STORAGE_VERSION,
    TERM,
];

/// The two compaction marks. `None` where the key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompactionMarks {
    /// From the moment a compaction is accepted.
    pub scheduled: Option<i64>,
    /// From the moment its last record is deleted.
    pub finished: Option<i64>,
}

/// Raft's view of the members. JSON names are upstream's; ids are numbers above 2^53.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfState {
    /// Voting members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voters: Vec<u64>,
    /// Members without a vote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learners: Vec<u64>,
    /// Voters of the outgoing half of a joint configuration; etcd never has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voters_outgoing: Vec<u64>,
    /// Learners to be, in a joint configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learners_next: Vec<u64>,
    /// Whether a joint configuration ends by itself.
    #[serde(default)]
    pub auto_leave: bool,
}

/// The bucket `meta`, decoded. `None` where a key is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// The compaction marks.
    pub marks: CompactionMarks,
    /// Raft index of the last applied entry; 0 if absent.
    pub consistent_index: u64,
    /// Raft term of the last applied entry; 0 if absent.
    pub term: u64,
    /// Voters and learners.
    pub conf_state: Option<ConfState>,
    /// `3.6.0` and the like, as stored.
    pub storage_version: Option<String>,
}

/// A key of `meta` whose value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// A compaction mark that is no revision.
    #[error("meta/{key}: {source}")]
    Mark {
        /// Which mark.
        key: &'static str,
        /// What is wrong with it.
        source: RevisionError,
    },
    /// A number that does not have eight bytes.
    #[error("meta/{key} has {len} bytes, not 8")]
    Number {
        /// Which key.
        key: &'static str,
        /// The length found.
        len: usize,
    },
    /// Voters that are no JSON of the expected shape.
    #[error("meta/confState is not the JSON of a ConfState: {reason}")]
    ConfState {
        /// serde's words.
        reason: String,
    },
    /// A storage version that is no text.
    #[error("meta/storageVersion is not UTF-8")]
    StorageVersion,
}

impl CompactionMarks {
    /// Reads the two marks only.
    ///
    /// # Errors
    /// [`MetaError::Mark`].
    pub fn read(small: &SmallBuckets) -> Result<Self, MetaError> {
        Ok(CompactionMarks {
            scheduled: mark(small, SCHEDULED_COMPACT_REV, "scheduledCompactRev")?,
            finished: mark(small, FINISHED_COMPACT_REV, "finishedCompactRev")?,
        })
    }

    /// C of the logical live set: the higher of the two marks, or -1 if the store never compacted.
    /// A server that starts on this database uses the same.
    pub fn effective(&self) -> i64 {
        self.scheduled.max(self.finished).unwrap_or(-1)
    }

    /// Whether a compaction is under way: dead records may still lie in the file.
    pub fn is_running(&self) -> bool {
        self.scheduled > self.finished
    }

    /// The store's logical revision, given the main revision of its last record if it has any.
    pub fn logical_revision(&self, last_main: Option<i64>) -> i64 {
        last_main.unwrap_or(1).max(self.effective()).max(1)
    }
}

impl ConfState {
    /// A plain configuration with these voters.
    pub fn of_voters(mut voters: Vec<u64>) -> Self {
        voters.sort_unstable();
        ConfState { voters, ..ConfState::default() }
    }

    /// Whether there is but one member.
    pub fn is_alone(&self) -> bool {
        let all = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        all.iter().map(|ids| ids.len()).sum::<usize>() == 1
    }
}

impl Meta {
    /// Decodes the bucket. Absent keys are absent, not errors.
    ///
    /// # Errors
    /// A key whose value cannot be read.
    pub fn read(small: &SmallBuckets) -> Result<Self, MetaError> {
        let conf_state = small.get(META, CONF_STATE).map(|json| {
            serde_json::from_slice(json)
                .map_err(|error| MetaError::ConfState { reason: error.to_string() })
        });
        let version = small.get(META, STORAGE_VERSION).map(|text| {
            std::str::from_utf8(text).map(str::to_owned).map_err(|_| MetaError::StorageVersion)
        });
        Ok(Meta {
            marks: CompactionMarks::read(small)?,
            consistent_index: number(small, CONSISTENT_INDEX, "consistent_index")?,
            term: number(small, TERM, "term")?,
            conf_state: conf_state.transpose()?,
            storage_version: version.transpose()?,
        })
    }
}

fn mark(small: &SmallBuckets, key: &[u8], name: &'static str) -> Result<Option<i64>, MetaError> {
    let mark = small.get(META, key).map(Revision::decode).transpose();
    let mark = mark.map_err(|source| MetaError::Mark { key: name, source })?;
    Ok(mark.map(|revision| revision.main))
}

fn number(small: &SmallBuckets, key: &[u8], name: &'static str) -> Result<u64, MetaError> {
    let Some(bytes) = small.get(META, key) else { return Ok(0) };
    let bytes = bytes.try_into().map_err(|_| MetaError::Number { key: name, len: bytes.len() })?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_higher_mark_counts() {
        let marks = |scheduled, finished| CompactionMarks { scheduled, finished };
        assert_eq!(marks(None, None).effective(), -1);
        assert_eq!(marks(Some(9), Some(5)).effective(), 9);
        assert!(marks(Some(9), Some(5)).is_running() && marks(Some(9), None).is_running());
        assert!(!marks(Some(9), Some(9)).is_running() && !marks(None, None).is_running());
        assert_eq!(marks(None, None).logical_revision(None), 1);
        assert_eq!(marks(Some(9), Some(9)).logical_revision(Some(7)), 9);
        assert_eq!(marks(Some(9), None).logical_revision(Some(12)), 12);
    }

    #[test]
    fn the_voters_are_upstreams_json() {
        let json = br#"{"voters":[10501334649042878790],"auto_leave":false}"#;
        let state: ConfState = serde_json::from_slice(json).unwrap();
        assert_eq!(state, ConfState::of_voters(vec![10_501_334_649_042_878_790]));
        assert_eq!(serde_json::to_vec(&state).unwrap(), json);
    }

    #[test]
    fn reads_and_names_what_is_broken() {
        let mut small = SmallBuckets::empty();
        assert_eq!(Meta::read(&small), Ok(Meta::default()));
        small.put(META, SCHEDULED_COMPACT_REV, Revision::new(40, 0).encode());
        small.put(META, CONSISTENT_INDEX, 77u64.to_be_bytes());
        small.put(META, STORAGE_VERSION, *b"3.6.0");
        let meta = Meta::read(&small).unwrap();
        assert_eq!((meta.marks.effective(), meta.consistent_index), (40, 77));
        assert_eq!(meta.storage_version.as_deref(), Some("3.6.0"));
        small.put(META, TERM, *b"short");
        assert_eq!(Meta::read(&small), Err(MetaError::Number { key: "term", len: 5 }));
    }
}
