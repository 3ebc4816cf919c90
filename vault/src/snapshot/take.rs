//! Taking a snapshot: walk, upload, verdict, body, commit.
//!
//! Holds: nothing is committed before the whole walk and the verdict; the base is always the head;
//! a loser of the race drops its round if the winner covers it, keeps its work if the live set did
//! not change, and else reads its source again; whatever was uploaded in vain is an orphan and
//! hurts nobody.

use super::build::{BuildSettings, Builders};
use super::kinship::{self, BaseFacts, Kinship, SourceFacts};
use super::source::{Differences, Source};
use super::uploads::{Uploaded, Uploads, recheck};
use super::walk::{
    BaseSegment, Finding, LiveTotals, Mode, Rev, SourceItem, SourceRecord, Walk, WalkResult,
};
use super::{SnapshotError, base, body};
use crate::access::{Access, AccessError};
use crate::chain::draft::Draft;
use crate::chain::state::object_id;
use crate::chain::{Chain, ChainError, CommitOutcome, Round};
use crate::format::{LineageId, ObjectId, SegmentSettings, TagKey};
use crate::proto::action::Kind;
use crate::proto::segment_ref::Class;
use crate::proto::{
    Action, CatalogueEntry, Facts, HighWater, Lineage, ObjectKind, ObjectRef, SegmentRef,
};
use crate::writer::WriterKeys;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How a snapshot is taken.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    /// Frame size and compression of segments.
    pub segment: SegmentSettings,
    /// Sealed bytes of a segment; `None`: as `holdfast_policies::merge` says, 8 to 64 MiB.
    pub target_bytes: Option<u64>,
    /// The source was read after a linearizable read showed that its member is not behind.
    pub linearizable: bool,
    /// The newest commit that was known before that read; `None`: the newest that this vault had
    /// read when the call came. What was committed later may well be newer than the source.
    pub known: Option<u64>,
    /// Objects that are known to be lost or rotten: what they hold is stored again.
    pub damaged: BTreeSet<ObjectId>,
    /// Begin a new lineage, for this reason: the answer to `Outcome::Diverged`.
    pub new_lineage: Option<String>,
    /// What the other members said of contested records, by revision: recorded in the body.
    pub verdicts: BTreeMap<(i64, i64), String>,
    /// Run long computations on the caller's thread: for simulations with one thread.
    pub inline: bool,
    /// How often a lost race is run again.
    pub repeats: u32,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        SnapshotOptions {
            segment: SegmentSettings::default(),
            target_bytes: None,
            linearizable: false,
            known: None,
            damaged: BTreeSet::new(),
            new_lineage: None,
            verdicts: BTreeMap::new(),
            inline: false,
            repeats: 3,
        }
    }
}

/// How a round ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A snapshot was committed.
    Committed(Box<Summary>),
    /// Another writer's snapshot was committed first and is as new: the round is a success.
    Covered {
        /// That snapshot.
        number: u64,
    },
    /// The member is behind what the vault has: take another member, or wait.
    Late {
        /// Why.
        reason: String,
    },
    /// Another history: make sure by a linearizable read, then take it as a new lineage.
    Diverged {
        /// The highest revision that is surely shared.
        fork: i64,
        /// Why.
        reason: String,
    },
    /// Another cluster: refused.
    Unrelated {
        /// Why.
        reason: String,
    },
}

/// What a committed snapshot brought.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its number.
    pub number: u64,
    /// Its catalogue entry.
    pub entry: CatalogueEntry,
    /// Alarms: records that vanished, changed or appeared.
    pub findings: Vec<Finding>,
    /// Counts of the comparison.
    pub counts: SourceFacts,
    /// Bytes stored for it: segments, spills, body.
    pub uploaded_bytes: u64,
    /// Bytes of copied-forward segments among them.
    pub copied_bytes: u64,
    /// Objects that were stored for it.
    pub uploaded: Vec<Uploaded>,
    /// Segments that it consists of.
    pub segments: usize,
}

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
        imply(&mut segments, base, differences)?;
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
    let task = Task { walk: Some(walk), source, builders, pending: None };
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
        check_totals(&differences.totals, &result)?;
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

/// Marks the segments whose records the source leaves out where they are the same.
fn imply(
    segments: &mut [BaseSegment],
    base: &base::Base,
    differences: &Differences,
) -> Result<(), SnapshotError> {
    let number = base.entry().map_or(0, |entry| entry.number);
    if number != differences.number {
        let named = differences.number;
        let detail = format!("snapshot {number} is the newest by now, and {named} was compared");
        return Err(SnapshotError::Unfit { detail });
    }
    for segment in segments {
        segment.implied = differences.named.contains(&segment.id);
        if segment.implied {
            // Its bytes are not at hand.
            segment.give_up = None;
        }
    }
    Ok(())
}

/// What the walk ended with is what the source says that it has. Where the vault keeps other bytes
/// there is nothing to compare.
fn check_totals(totals: &LiveTotals, result: &WalkResult) -> Result<(), SnapshotError> {
    let said = (totals.record_count, totals.tombstone_count, totals.live_bytes);
    let found = (result.record_count, result.tombstone_count, result.live_bytes);
    if result.live_sha256.is_none() || said == found {
        return Ok(());
    }
    let detail = format!(
        "{}, {} and {} records, tombstones and bytes are alive there, {}, {} and {} here",
        said.0, said.1, said.2, found.0, found.1, found.2
    );
    Err(SnapshotError::Unfit { detail })
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

/// The walk with everything it needs, moved between threads step by step.
struct Task {
    walk: Option<Walk>,
    source: Box<dyn Source>,
    builders: Builders,
    pending: Option<Owned>,
}

/// What waits for an index.
struct Owned {
    main: i64,
    sub: i64,
    gone: bool,
    flags: [bool; 3],
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Owned {
    fn of(item: &SourceItem<'_>) -> Owned {
        let record = match item {
            SourceItem::Record(record) => record,
            SourceItem::Gone((main, sub)) => {
                let (key, value) = (Vec::new(), Vec::new());
                return Owned { main: *main, sub: *sub, gone: true, flags: [false; 3], key, value };
            }
        };
        Owned {
            main: record.main,
            sub: record.sub,
            gone: false,
            flags: [record.tombstone, record.superseded, record.sensitive],
            key: record.key.to_vec(),
            value: record.value.to_vec(),
        }
    }

    fn item(&self) -> SourceItem<'_> {
        let [tombstone, superseded, sensitive] = self.flags;
        let (main, sub) = (self.main, self.sub);
        if self.gone {
            return SourceItem::Gone((main, sub));
        }
        let (key, value) = (&self.key[..], &self.value[..]);
        SourceItem::Record(SourceRecord { main, sub, tombstone, key, value, superseded, sensitive })
    }
}

enum Step {
    /// The index of this base segment is wanted.
    Want(usize),
    /// Bytes wait to be uploaded.
    Upload,
    /// The source and the base are through.
    End,
}

/// Bytes that may wait before the walk pauses.
const BATCH_BYTES: usize = 512 << 10;

impl Task {
    fn step(&mut self) -> Result<Step, SnapshotError> {
        let Some(walk) = &mut self.walk else { return Ok(Step::End) };
        if let Some(owned) = self.pending.take() {
            let item = owned.item();
            if let Some(place) = walk.wants(Some(item.rev())) {
                self.pending = Some(owned);
                return Ok(Step::Want(place));
            }
            feed(walk, &item, &mut self.builders)?;
        }
        while let Some(item) = self.source.next_item()? {
            if let Some(place) = walk.wants(Some(item.rev())) {
                self.pending = Some(Owned::of(&item));
                return Ok(Step::Want(place));
            }
            feed(walk, &item, &mut self.builders)?;
            if self.builders.waiting() >= BATCH_BYTES {
                return Ok(Step::Upload);
            }
        }
        match walk.wants(None) {
            Some(place) => Ok(Step::Want(place)),
            None => {
                self.builders.close()?;
                Ok(Step::End)
            }
        }
    }
}

fn feed(
    walk: &mut Walk,
    item: &SourceItem<'_>,
    builders: &mut Builders,
) -> Result<(), SnapshotError> {
    match item {
        SourceItem::Record(record) => walk.take(record, builders)??,
        SourceItem::Gone(rev) => walk.take_gone(*rev)??,
    }
    Ok(())
}

async fn run(
    access: &Arc<Access>,
    base: &base::Base,
    mut task: Task,
    options: &SnapshotOptions,
) -> Result<(Task, Vec<Uploaded>), SnapshotError> {
    let mut uploads = Uploads::new(access.clone(), ObjectKind::Segment);
    loop {
        let step;
        (task, step) = compute(options.inline, move || {
            let step = task.step();
            (task, step)
        })
        .await?;
        let step = step?;
        uploads.take(task.builders.events()).await?;
        match step {
            Step::Want(place) => {
                let index = base.index(access, place, &options.damaged).await?;
                match (&mut task.walk, index) {
                    (Some(walk), Some(index)) => walk.give(place, Box::new(index)),
                    (Some(walk), None) if walk.is_implied(place) => {
                        let detail = "a segment that was compared is lost by now".to_owned();
                        return Err(SnapshotError::Unfit { detail });
                    }
                    (Some(walk), None) => walk.lose(place),
                    (None, _) => {}
                }
            }
            Step::Upload => {}
            Step::End => return Ok((task, uploads.finish().await?)),
        }
    }
}

/// Runs `work` on a thread that may block, or here.
pub(super) async fn compute<T: Send + 'static>(
    inline: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SnapshotError> {
    if inline {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| SnapshotError::Base { detail: format!("the walk's thread: {error}") })
}

/// The new list of segments: the base's that still hold something, and the new ones.
fn assemble(
    base: &base::Base,
    done: Vec<(super::walk::Target, SegmentRef)>,
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
    segments.sort_by_key(|segment| super::rev(segment.first.as_ref()));
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
async fn commit(
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

impl From<AccessError> for SnapshotError {
    fn from(error: AccessError) -> Self {
        SnapshotError::Chain(error.into())
    }
}
