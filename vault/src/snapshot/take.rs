//! Taking a snapshot: walk, upload, verdict, body, commit.
//!
//! Holds: nothing is committed before the whole walk and the verdict; the base is always the head;
//! a loser of the race drops its round if the winner covers it, keeps its work if the live set did
//! not change, and else reads its source again; whatever was uploaded in vain is an orphan and
//! hurts nobody.

mod commit;
mod told;
mod types;
mod walking;

pub use types::{Outcome, SnapshotOptions, Summary};
pub(super) use walking::compute;

use super::build::{BuildSettings, Builders};
use super::kinship::{self, BaseFacts, Kinship, SourceFacts};
use super::source::Source;
use super::uploads::{Uploaded, recheck};
use super::walk::{BaseSegment, Finding, Mode, Rev, Walk, WalkResult};
use super::{SnapshotError, base, body};
use crate::access::AccessError;
use crate::chain::{Chain, ChainError, Round};
use crate::format::{LineageId, ObjectId, TagKey};
use crate::proto::{Facts, Lineage, ObjectRef, SegmentRef};
use crate::writer::WriterKeys;
use commit::{assemble, commit};
use std::collections::BTreeMap;
use walking::{Task, run};

/// One walk's fruit, valid beside the live set it was made from.
struct Prepared {
    segments: Vec<SegmentRef>,
    added: Vec<ObjectRef>,
    removed: Vec<ObjectId>,
    buckets: body::Buckets,
    contested: Vec<crate::proto::Contested>,
    facts: Facts,
    walk: WalkResult,
    uploaded: Vec<Uploaded>,
    segment_bytes: u64,
    copied_bytes: u64,
}

/// Takes a snapshot of `source` onto the head of `chain`.
pub async fn take(
    chain: &mut Chain,
    keys: &WriterKeys,
    mut source: Box<dyn Source>,
    options: &SnapshotOptions,
) -> Result<Outcome, SnapshotError> {
    let access = chain.access().clone();
    let round = Round::begin(access.clock().boot_ms());
    chain.refresh().await?;
    let started = chain.state().number();
    let history = lineage_id(chain);
    for _ in 0..=options.repeats {
        if let Some(outcome) = covered(chain, started, &source.facts(), options) {
            return Ok(outcome);
        }
        if lineage_id(chain) != history {
            let reason = "another writer began a new lineage meanwhile".to_owned();
            return Ok(Outcome::Late { reason });
        }
        let base = base::Base::load(chain).await?;
        let lineage = new_lineage(chain, options);
        let made = prepare(chain, &base, keys, source, options).await?;
        source = made.1;
        let mut prepared = match made.0 {
            Ok(prepared) => prepared,
            Err(outcome) => return Ok(outcome),
        };
        // Another's commit that leaves the live set alone (a prune, a pin) costs a new body only.
        while base.is_of(chain) {
            if let Some(outcome) = covered(chain, started, &prepared.facts, options) {
                return Ok(outcome);
            }
            if !keys.usable(chain) {
                return Err(SnapshotError::SeedRetired);
            }
            recheck(&access, &prepared.uploaded).await?;
            keys.recheck(chain).await?;
            if let Some(summary) = commit(chain, keys, &mut prepared, &lineage, round).await? {
                return Ok(Outcome::Committed(Box::new(summary)));
            }
        }
        source.rewind()?;
    }
    Err(SnapshotError::LostRaces { times: options.repeats + 1 })
}

/// Whether a snapshot that was committed after `started` is as new as the source, or newer; never
/// for a new lineage.
fn covered(
    chain: &Chain,
    started: u64,
    facts: &Facts,
    options: &SnapshotOptions,
) -> Option<Outcome> {
    let latest = chain.catalogue().latest().filter(|latest| latest.number > started)?;
    let same = chain.head().lineage.as_ref().is_some_and(|now| now.lineage_id == latest.lineage_id);
    let newer = latest.raft_index >= facts.raft_index && latest.revision >= facts.revision;
    (options.new_lineage.is_none() && same && newer)
        .then_some(Outcome::Covered { number: latest.number })
}

fn lineage_id(chain: &Chain) -> bytes::Bytes {
    chain.head().lineage.as_ref().map(|lineage| lineage.lineage_id.clone()).unwrap_or_default()
}

fn new_lineage(chain: &Chain, options: &SnapshotOptions) -> Option<Lineage> {
    let reason = options.new_lineage.clone()?;
    let access = chain.access();
    let id = LineageId::random(&mut **access.entropy());
    let parent = chain.head().lineage.as_ref().map(|lineage| lineage.lineage_id.clone());
    Some(Lineage {
        lineage_id: id.to_bytes(),
        parent_id: parent.unwrap_or_default(),
        fork_revision: 0,
        since_number: 0,
        reason,
    })
}

type Made = (Result<Prepared, Outcome>, Box<dyn Source>);

/// Walks, uploads, judges. Gives the source back.
async fn prepare(
    chain: &Chain,
    base: &base::Base,
    keys: &WriterKeys,
    source: Box<dyn Source>,
    options: &SnapshotOptions,
) -> Result<Made, SnapshotError> {
    let access = chain.access().clone();
    let index = access.sealing_seed().ok_or(ChainError::ReadOnly)?;
    let mut facts = source.facts();
    let mode = match &options.new_lineage {
        Some(_) => Mode::NewLineage,
        None => Mode::Same {
            compact_revision: facts.compact_revision,
            base_revision: base.revision().unwrap_or(-1),
        },
    };
    let merge = base.merge_plan(facts.source_bytes);
    let target = options.target_bytes.unwrap_or(merge.target_bytes);
    let tag_key = TagKey::from_bytes(&chain.head().tag_key).ok_or_else(|| SnapshotError::Base {
        detail: "the chain's tag key has not 32 bytes".to_owned(),
    })?;
    let mut segments = base.segments(&merge, options.new_lineage.is_some());
    let differences = source.differences();
    if let Some(differences) = &differences {
        told::imply(&mut segments, base, differences)?;
    }
    let group_ends = group_ends(&segments);
    let mut walk = Walk::new(segments, mode).with_tag_key(tag_key.clone());
    if let Some(differences) = &differences {
        walk = walk.with_totals(differences.totals);
    }
    if let Some(body) = base.lost() {
        walk.lose_all(body);
    }
    let settings =
        BuildSettings { segment: options.segment, target_bytes: target, tag_key, group_ends };
    let builders = Builders::new(access.clone(), keys.data().clone(), index, settings);
    let task = Task::new(walk, source, builders);
    let (mut task, uploaded) = run(&access, base, task, options).await?;
    let Some(walk) = task.walk.take() else {
        return Err(SnapshotError::Base { detail: "the walk is gone".to_owned() });
    };
    let mut result = walk.finish();
    let mut source = task.source;
    if let Some(outcome) = refused(base, &facts, &result, options) {
        return Ok((Err(outcome), source));
    }
    if let Some(differences) = &differences {
        told::check_totals(&differences.totals, &result)?;
    }
    fill(&mut facts, &result);
    let mut buckets;
    (buckets, source) = body::read_buckets(&access, keys, source, base, options).await?;
    result.findings.extend(buckets.lost.iter().copied().map(Finding::Lost));
    source.finish(&result, &mut facts)?;
    let done = task.builders.done();
    let mut prepared = assemble(base, done, result, facts)?;
    super::contested::record(&mut prepared.contested, &options.verdicts);
    prepared.uploaded = uploaded;
    prepared.uploaded.append(&mut buckets.uploaded);
    prepared.added.append(&mut buckets.added);
    prepared.removed.append(&mut buckets.removed);
    prepared.buckets = buckets;
    Ok((Ok(prepared), source))
}

/// The last revision of each group of segments that is copied forward.
fn group_ends(segments: &[BaseSegment]) -> BTreeMap<u32, Rev> {
    let mut ends = BTreeMap::new();
    for segment in segments {
        if let Some(group) = segment.give_up {
            let end = ends.entry(group).or_insert(segment.range.1);
            *end = segment.range.1.max(*end);
        }
    }
    ends
}

/// The verdict over the whole walk.
fn refused(
    base: &base::Base,
    facts: &Facts,
    result: &WalkResult,
    options: &SnapshotOptions,
) -> Option<Outcome> {
    if options.new_lineage.is_some() {
        return None;
    }
    let entry = base.entry()?;
    let base_facts = BaseFacts {
        revision: entry.revision,
        raft_index: entry.raft_index,
        raft_term: base.raft_term(),
        cluster_id: base.cluster_id(),
    };
    let known = options.known.is_none_or(|known| entry.number <= known);
    let source = SourceFacts {
        revision: facts.revision,
        compact_revision: facts.compact_revision,
        raft_index: facts.raft_index,
        raft_term: facts.raft_term,
        cluster_id: facts.etcd_cluster_id,
        linearizable: options.linearizable && known,
        ..result.counts
    };
    match kinship::judge(&base_facts, &source) {
        Kinship::Same => None,
        Kinship::Late { reason } => Some(Outcome::Late { reason }),
        Kinship::Diverged { fork, reason } => Some(Outcome::Diverged { fork, reason }),
        Kinship::Unrelated { reason } => Some(Outcome::Unrelated { reason }),
    }
}

fn fill(facts: &mut Facts, result: &WalkResult) {
    facts.record_count = result.record_count;
    facts.tombstone_count = result.tombstone_count;
    facts.live_bytes = result.live_bytes;
    facts.live_sha256 =
        result.live_sha256.map_or_else(Default::default, |hash| hash.to_vec().into());
    facts.disappearance_rule = "judged by C only".to_owned();
    for finding in result.findings.iter().take(20) {
        facts.alarms.push(format!("{finding:?}"));
    }
}

impl From<AccessError> for SnapshotError {
    fn from(error: AccessError) -> Self {
        SnapshotError::Chain(error.into())
    }
}
