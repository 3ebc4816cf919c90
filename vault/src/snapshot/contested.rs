//! The stored versions of a contested record: which of them is one that somebody else has?
//!
//! Holds: only indexes are opened, no record frame; a digest has 32 bits under the segment's own
//! key, so a match says "equal" with a doubt of 2^-32.

use super::base::read_index;
use super::{SnapshotError, read_body};
use crate::chain::Chain;
use crate::format::{Record, SegmentIndex};
use crate::proto::{Contested, Rev, SegmentRef};
use crate::vault::Vault;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Which stored version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The one that a restore takes.
    Restored,
    /// The one that is kept beside it.
    Contested,
}

/// The versions of one record.
#[derive(Debug, Clone)]
pub struct StoredVersions {
    /// Main and sub revision.
    pub revision: (i64, i64),
    /// What the other members said when they were asked, if that was recorded.
    pub verdict: String,
    restored: std::sync::Arc<SegmentIndex>,
    contested: std::sync::Arc<SegmentIndex>,
}

impl StoredVersions {
    /// Which of them this record is; `None`: neither.
    pub fn which(&self, record: &Record<'_>) -> Option<Version> {
        let is = |index: &SegmentIndex| {
            let digest = index.digest(record);
            index.records().any(|stored| {
                stored.revision() == self.revision
                    && stored.tombstone == record.tombstone
                    && stored.value_len as usize == record.value.len()
                    && stored.digest == digest
            })
        };
        if is(&self.restored) {
            Some(Version::Restored)
        } else {
            is(&self.contested).then_some(Version::Contested)
        }
    }
}

impl Vault {
    /// The contested records of a snapshot, at most `limit`.
    pub async fn contested(
        &self,
        number: u64,
        limit: usize,
    ) -> Result<Vec<StoredVersions>, SnapshotError> {
        versions(self.chain(), number, limit).await
    }
}

async fn versions(
    chain: &Chain,
    number: u64,
    limit: usize,
) -> Result<Vec<StoredVersions>, SnapshotError> {
    let entry = chain.catalogue().get(number).cloned();
    let entry = entry.ok_or(SnapshotError::NoSnapshot { number, was_there: false })?;
    let body = read_body(chain, &entry).await?.body;
    let mut indexes: BTreeMap<Bytes, std::sync::Arc<SegmentIndex>> = BTreeMap::new();
    let mut found = Vec::new();
    for record in body.contested.iter().take(limit) {
        for id in [&record.live_segment_id, &record.contested_segment_id] {
            if !indexes.contains_key(id) {
                let segment = segment_of(&body.segments, id)?;
                let index = read_index(chain.access(), segment).await?;
                indexes.insert(id.clone(), index.into());
            }
        }
        found.push(StoredVersions {
            revision: rev(record),
            verdict: record.verdict.clone(),
            restored: indexes[&record.live_segment_id].clone(),
            contested: indexes[&record.contested_segment_id].clone(),
        });
    }
    Ok(found)
}

fn segment_of<'a>(segments: &'a [SegmentRef], id: &Bytes) -> Result<&'a SegmentRef, SnapshotError> {
    let has = |segment: &&SegmentRef| {
        segment.object.as_ref().is_some_and(|object| object.object_id == *id)
    };
    segments.iter().find(has).ok_or_else(|| SnapshotError::Base {
        detail: "a contested record names a segment that the snapshot has not".to_owned(),
    })
}

fn rev(record: &Contested) -> (i64, i64) {
    let Rev { main, sub } = record.revision.unwrap_or_default();
    (main, sub)
}

/// Records the verdicts that are known by now.
pub(super) fn record(contested: &mut [Contested], verdicts: &BTreeMap<(i64, i64), String>) {
    for entry in contested {
        if let Some(verdict) = verdicts.get(&rev(entry)) {
            entry.verdict.clone_from(verdict);
        }
    }
}
