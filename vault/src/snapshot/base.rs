//! The base of a snapshot: the newest one, whose segments are the chain's live set.

use super::walk::{BaseEntry, BaseIndex, BaseSegment, SourceRecord, WalkResult};
use super::{SnapshotError, rev};
use crate::access::Access;
use crate::chain::Chain;
use crate::chain::state::object_id;
use crate::format::{
    DIGEST_KEY_BYTES, DigestKey, HEADER_BYTES, ObjectId, Record, SegmentIndex, encode_live, live_of,
};
use crate::proto::segment_ref::Class;
use crate::proto::{Body, CatalogueEntry, Facts, ObjectKind, SegmentRef, SmallBucket};
use holdfast_policies::merge::{self, MergePlan, SegmentFact};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};

/// The newest snapshot, opened; empty before the first.
pub struct Base {
    entry: Option<CatalogueEntry>,
    body: Body,
    live: Vec<RoaringBitmap>,
    objects: BTreeSet<ObjectId>,
    /// Its body, which is lost: nothing else is known of it.
    lost: Option<ObjectId>,
}

impl Base {
    /// Of the chain's head. If its body is lost, nothing of it is used again.
    pub async fn load(chain: &Chain) -> Result<Base, SnapshotError> {
        let objects = live_set(chain);
        let Some(entry) = chain.catalogue().latest().cloned() else {
            return Ok(Base {
                entry: None,
                body: Body::default(),
                live: vec![],
                objects,
                lost: None,
            });
        };
        let body = match super::read_body(chain, &entry).await {
            Ok(opened) => opened.body,
            Err(error) if error.is_loss() => {
                let number = entry.number;
                tracing::error!(snapshot = number, %error, "the newest body is lost");
                let id = ObjectId::from_bytes(&entry.body_id);
                let id = id.map_err(|error| SnapshotError::Base { detail: error.to_string() })?;
                let (entry, body, lost) = (Some(entry), Body::default(), Some(id));
                return Ok(Base { entry, body, live: vec![], objects, lost });
            }
            Err(error) => return Err(error),
        };
        let mut named = BTreeSet::new();
        for segment in &body.segments {
            named.insert(id_of(segment)?);
        }
        for spill in body.buckets.iter().filter_map(|bucket| bucket.spill.as_ref()) {
            named.insert(object_id(spill).map_err(|detail| SnapshotError::Base { detail })?);
        }
        if named != objects {
            let detail = format!(
                "snapshot {} names {} objects and the chain's live set has {}",
                entry.number,
                named.len(),
                objects.len()
            );
            return Err(SnapshotError::Base { detail });
        }
        let live = body.segments.iter().map(bitmap).collect::<Result<_, _>>()?;
        Ok(Base { entry: Some(entry), body, live, objects, lost: None })
    }

    /// Its catalogue entry.
    pub fn entry(&self) -> Option<&CatalogueEntry> {
        self.entry.as_ref()
    }

    /// Its logical revision.
    pub fn revision(&self) -> Option<i64> {
        self.entry.as_ref().map(|entry| entry.revision)
    }

    /// The raft term of its source.
    pub fn raft_term(&self) -> u64 {
        self.body.facts.as_ref().map_or(0, |facts| facts.raft_term)
    }

    /// etcd's id of its source's cluster; 0: unknown.
    pub fn cluster_id(&self) -> u64 {
        self.body.facts.as_ref().map_or(0, |facts| facts.etcd_cluster_id)
    }

    /// What it says of its source.
    pub fn facts(&self) -> Option<&Facts> {
        self.body.facts.as_ref()
    }

    /// Its body, if that is lost.
    pub fn lost(&self) -> Option<ObjectId> {
        self.lost
    }

    /// Whether it is still the newest snapshot and the chain's live set the one it stands for.
    /// Another snapshot may consist of the same objects and be of another lineage.
    pub fn is_of(&self, chain: &Chain) -> bool {
        let latest = chain.catalogue().latest().map(|entry| entry.number);
        latest == self.entry.as_ref().map(|entry| entry.number) && live_set(chain) == self.objects
    }

    /// A bucket of the base with a spill.
    pub fn spill(&self, name: &[u8]) -> Option<&SmallBucket> {
        self.body.buckets.iter().find(|bucket| bucket.name == name && bucket.spill.is_some())
    }

    /// All spills of the base.
    pub fn spills(&self) -> impl Iterator<Item = &SmallBucket> {
        self.body.buckets.iter().filter(|bucket| bucket.spill.is_some())
    }

    /// What to copy forward, and the size of new segments. Before the first snapshot the source's
    /// size stands in for what is alive.
    pub fn merge_plan(&self, source_bytes: u64) -> MergePlan {
        let superseded = |segment: &&SegmentRef| segment.class() == Class::Superseded;
        let mut newer = self.body.segments.iter().filter(superseded).count();
        let mut short_lived = |segment: &SegmentRef| {
            let superseded = superseded(&segment);
            newer -= usize::from(superseded);
            superseded && merge::is_short_lived(newer)
        };
        let facts: Vec<SegmentFact> = self
            .body
            .segments
            .iter()
            .filter(|segment| segment.class() != Class::Contested)
            .filter_map(|segment| {
                Some(SegmentFact {
                    id: *id_of(segment).ok()?.as_bytes(),
                    sealed_bytes: segment.object.as_ref()?.size_bytes,
                    record_bytes: segment.record_bytes,
                    live_bytes: segment.live_bytes,
                    short_lived: short_lived(segment),
                })
            })
            .collect();
        let mut plan = merge::plan(&facts);
        if facts.is_empty() {
            plan.target_bytes = merge::target_bytes(source_bytes / 2);
        }
        plan
    }

    /// The segments for a walk.
    pub fn segments(&self, merge: &MergePlan, new_lineage: bool) -> Vec<BaseSegment> {
        let numbered = merge.copy.iter().zip(0u32..);
        let chosen: BTreeMap<[u8; 16], u32> = numbered
            .flat_map(|(group, number)| group.segments.iter().map(move |id| (*id, number)))
            .collect();
        let segments = self.body.segments.iter().zip(&self.live);
        let made = segments.filter_map(|(segment, live)| {
            let id = id_of(segment).ok()?;
            Some(BaseSegment {
                id,
                contested: segment.class() == Class::Contested,
                range: (rev(segment.first.as_ref()), rev(segment.last.as_ref())),
                live: live.clone(),
                implied: false,
                give_up: chosen.get(id.as_bytes()).copied().filter(|_| !new_lineage),
            })
        });
        made.collect()
    }

    /// Reads and opens the index of the segment at `place`; `None`: it is lost, or one of
    /// `damaged`.
    pub async fn index(
        &self,
        access: &Access,
        place: usize,
        damaged: &BTreeSet<ObjectId>,
    ) -> Result<Option<OpenIndex>, SnapshotError> {
        let segment = self
            .body
            .segments
            .get(place)
            .ok_or_else(|| SnapshotError::Base { detail: format!("no segment {place}") })?;
        if damaged.contains(&id_of(segment)?) {
            return Ok(None);
        }
        match read_index(access, segment).await {
            Ok(index) => Ok(Some(OpenIndex::of(&index))),
            Err(error) if error.is_loss() => {
                tracing::error!(%error, "a segment is lost; its records go up again");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The list of segments after `walk`, and the ids of those that hold nothing alive any more.
    pub fn after(
        &self,
        walk: &WalkResult,
    ) -> Result<(Vec<SegmentRef>, Vec<ObjectId>), SnapshotError> {
        if self.lost.is_some() {
            return Ok((Vec::new(), self.objects.iter().copied().collect()));
        }
        let (mut kept, mut removed) = (Vec::new(), Vec::new());
        for (segment, walked) in self.body.segments.iter().zip(&walk.segments) {
            if walked.live.is_empty() {
                removed.push(walked.id);
                continue;
            }
            kept.push(SegmentRef {
                live: encode_live(&walked.live),
                live_count: walked.live.len(),
                live_bytes: walked.live_bytes,
                ..segment.clone()
            });
        }
        Ok((kept, removed))
    }
}

/// Segments and spills in the chain's live set.
fn live_set(chain: &Chain) -> BTreeSet<ObjectId> {
    let kinds = [ObjectKind::Segment, ObjectKind::Spill];
    let live = chain.state().live();
    live.filter(|(_, extant)| kinds.contains(&extant.object.kind())).map(|(id, _)| *id).collect()
}

fn id_of(segment: &SegmentRef) -> Result<ObjectId, SnapshotError> {
    let object = segment.object.clone().unwrap_or_default();
    object_id(&object).map_err(|detail| SnapshotError::Base { detail })
}

/// The bitmap of a segment.
pub fn bitmap(segment: &SegmentRef) -> Result<RoaringBitmap, SnapshotError> {
    live_of(segment).map_err(|error| SnapshotError::Base { detail: error.to_string() })
}

/// Reads header and index of a segment by range and opens them.
pub async fn read_index(
    access: &Access,
    segment: &SegmentRef,
) -> Result<SegmentIndex, SnapshotError> {
    let object = segment.object.clone().unwrap_or_default();
    let name = access.names().object(ObjectKind::Segment, id_of(segment)?);
    access.ensure_index_seed(&object).await?;
    let header = access.store().get_range(&name, 0..HEADER_BYTES as u64).await?;
    let end = segment.index_offset.saturating_add(segment.index_length);
    let sealed = access.store().get_range(&name, segment.index_offset..end).await?;
    let owner = (access.vault(), access.cluster());
    let opened = SegmentIndex::open_ranges(&header, &sealed, segment, owner, &access.keyring());
    Ok(opened.map_err(crate::access::AccessError::from)?)
}

/// An opened index as the walk wants it: the entries in order of revision.
pub struct OpenIndex {
    entries: Vec<BaseEntry>,
    key: DigestKey,
}

impl OpenIndex {
    fn of(index: &SegmentIndex) -> OpenIndex {
        let entry = |record: crate::format::IndexRecord| BaseEntry {
            ordinal: record.ordinal,
            rev: record.revision(),
            tombstone: record.tombstone,
            length: u64::from(record.value_len),
            digest: record.digest,
            tag: record.tag,
        };
        OpenIndex {
            entries: index.ordered().map(entry).collect(),
            key: index.object().digest_key(),
        }
    }
}

impl OpenIndex {
    /// The secret of the key of its digests.
    pub fn digest_key(&self) -> [u8; DIGEST_KEY_BYTES] {
        self.key.secret()
    }
}

impl BaseIndex for OpenIndex {
    fn len(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    fn entry(&self, place: u32) -> BaseEntry {
        self.entries[place as usize]
    }

    fn digest(&self, record: &SourceRecord<'_>) -> u32 {
        let SourceRecord { main, sub, tombstone, value, .. } = *record;
        Record { main, sub, tombstone, value }.digest(&self.key)
    }
}
