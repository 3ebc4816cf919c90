//! What a walk brought becomes the new head: list of segments, body, commit.
//!
//! Holds: the body names the head that it was made on; a commit that is lost leaves no trace but
//! orphans.

use super::Prepared;
use super::types::Summary;
use crate::chain::draft::Draft;
use crate::chain::state::object_id;
use crate::chain::{Chain, CommitOutcome, Round};
use crate::proto::action::Kind;
use crate::proto::segment_ref::Class;
use crate::proto::{
    Action, CatalogueEntry, Facts, HighWater, Lineage, ObjectKind, ObjectRef, SegmentRef,
};
use crate::snapshot::walk::{Finding, Target, WalkResult};
use crate::snapshot::{SnapshotError, base, body, rev};
use crate::writer::WriterKeys;

/// The new list of segments: the base's that still hold something, and the new ones.
pub(super) fn assemble(
    base: &base::Base,
    done: Vec<(Target, SegmentRef)>,
    walk: WalkResult,
    facts: Facts,
) -> Result<Prepared, SnapshotError> {
    let (mut segments, mut removed) = base.after(&walk)?;
    let mut added = Vec::new();
    let (mut segment_bytes, mut copied_bytes) = (0, 0);
    let mut contested_id = None;
    for (_, segment) in done {
        let object = segment.object.clone().unwrap_or_default();
        segment_bytes += object.size_bytes;
        match segment.class() {
            Class::Copied => copied_bytes += object.size_bytes,
            Class::Contested => contested_id = Some(object.object_id.clone()),
            _ => {}
        }
        added.push(object);
        segments.push(segment);
    }
    segments.sort_by_key(|segment| rev(segment.first.as_ref()));
    removed.sort();
    let contested = body::contested(&walk, contested_id.as_ref());
    let (buckets, uploaded) = (body::Buckets::default(), Vec::new());
    Ok(Prepared {
        segments,
        added,
        removed,
        buckets,
        contested,
        facts,
        walk,
        uploaded,
        segment_bytes,
        copied_bytes,
    })
}

/// What the catalogue will say, but for number, time and uploaded bytes.
fn entry(prepared: &Prepared, body: &ObjectRef, lineage_id: bytes::Bytes) -> CatalogueEntry {
    let facts = &prepared.facts;
    CatalogueEntry {
        body_id: body.object_id.clone(),
        body_size_bytes: body.size_bytes,
        body_sha256: body.sha256.clone(),
        lineage_id,
        revision: facts.revision,
        compact_revision: facts.compact_revision,
        taken_ms: facts.taken_ms,
        record_count: facts.record_count,
        live_bytes: facts.live_bytes,
        raft_index: facts.raft_index,
        contested: !prepared.contested.is_empty() || prepared.walk.live_sha256.is_none(),
        source_version: facts.server_version.clone(),
        ..CatalogueEntry::default()
    }
}

/// Body and commit. `None`: lost to another's commit.
pub(super) async fn commit(
    chain: &mut Chain,
    keys: &WriterKeys,
    prepared: &mut Prepared,
    lineage: &Option<Lineage>,
    round: Round,
) -> Result<Option<Summary>, SnapshotError> {
    let access = chain.access().clone();
    let lineage = lineage.clone().or_else(|| chain.head().lineage.clone()).unwrap_or_default();
    let message = crate::proto::Body {
        vault_id: access.vault().to_bytes(),
        cluster_id: access.cluster().to_bytes(),
        lineage_id: lineage.lineage_id.clone(),
        base_number: chain.state().number(),
        base_sha256: chain.state().sha256().to_vec().into(),
        segments: prepared.segments.clone(),
        buckets: prepared.buckets.spilled.clone(),
        facts: Some(prepared.facts.clone()),
        contested: prepared.contested.clone(),
    };
    let body = body::store(&access, keys, message, &prepared.buckets.small).await?;
    let body_id = object_id(&body).map_err(|detail| SnapshotError::Base { detail })?;
    let name = access.names().object(ObjectKind::Body, body_id);
    // The store's clock, as it stamped what we have just written.
    let store_ms = access.store().head(&name).await?.modified_ms;
    let spills = prepared.added.iter().filter(|object| object.kind() == ObjectKind::Spill);
    let spilled: u64 = spills.map(|object| object.size_bytes).sum();
    let uploaded_bytes = prepared.segment_bytes + spilled + body.size_bytes;
    let entry =
        CatalogueEntry { uploaded_bytes, ..entry(prepared, &body, lineage.lineage_id.clone()) };
    let facts = &prepared.facts;
    let mut draft = Draft::of(Kind::Snapshot, 0, "");
    draft.added = prepared.added.clone();
    draft.added.push(body);
    draft.removed = prepared.removed.clone();
    for finding in &prepared.walk.findings {
        if let Finding::Lost(id) = finding {
            let (kind, reason) = (Kind::GivenUp.into(), id.to_string());
            draft.actions.push(Action { kind, snapshot: 0, reason });
        }
    }
    // What the head says of a seed that it lists stands: its wraps may be others by now.
    if !chain.head().seeds.iter().any(|seed| seed.seed_id == keys.seed().seed_id) {
        draft.seeds = vec![keys.seed().clone()];
    }
    let revision = facts.revision;
    let time_ms = access.clock().now_ms();
    draft.high_water = Some(HighWater { revision, raft_index: facts.raft_index, time_ms });
    draft.catalogue.insert = Some(entry.clone());
    if chain.head().lineage.as_ref() != Some(&lineage) {
        let fork = prepared.walk.counts.fork();
        draft.lineage = Some(Lineage { fork_revision: fork, ..lineage });
    }
    match chain.commit(&draft, round, store_ms).await? {
        CommitOutcome::Won(number) => {
            keys.committed();
            // After a slow answer others may have forgotten it already.
            let told = chain.catalogue().get(number).cloned();
            let entry = told.unwrap_or(CatalogueEntry { number, ..entry });
            Ok(Some(Summary {
                number,
                entry,
                findings: prepared.walk.findings.clone(),
                counts: prepared.walk.counts,
                uploaded_bytes,
                copied_bytes: prepared.copied_bytes,
                uploaded: prepared.uploaded.clone(),
                segments: prepared.segments.len(),
            }))
        }
        CommitOutcome::Lost => Ok(None),
    }
}
