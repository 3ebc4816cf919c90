//! Giving a snapshot back: catalogue → body → indexes → frames → records in order of revision.
//!
//! Frames are fetched and opened by a few threads in the order in which the merge needs them,
//! within a window; the consumer is synchronous. Holds: frames whose bits are all off are not
//! fetched; whoever has read to the end has either got exactly the records that were backed up, in
//! order (digest over all of them, counts), or an error; a frame is bound to the commit by its
//! digest in the sealed index before it is believed.

use super::merge::{self, Decoded, Merge, PlannedFrame, Pull};
use super::replan::{Progress, is_missing};
use super::{SnapshotError, bitmap, read_body, read_index};
use crate::access::Access;
use crate::chain::Chain;
use crate::format::{
    Bound, BucketEntry, FrameBuffer, FrameOpener, LiveHash, ObjectId, OpenedBody, Record,
    SegmentIndex, open_spill,
};
use crate::proto::segment_ref::Class;
use crate::proto::{Body, CatalogueEntry, Facts, ObjectKind, SegmentRef, SmallBucket};
use crate::store::{StoreError, is_bad_medium};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use roaring::RoaringBitmap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

mod pool;

pub use pool::RecordStream;

/// How a snapshot is read.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// Threads that fetch and open frames; 0: as many as there are processors, at most 8, and at
    /// least 4 for stores that are not a local directory.
    pub threads: usize,
    /// Plain bytes that may wait for the consumer.
    pub window_bytes: u64,
    /// Compute the digest over all live records.
    pub verify_digest: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions { threads: 0, window_bytes: 48 << 20, verify_digest: true }
    }
}

/// A snapshot that was read to its end and is what was backed up. Restores accept nothing else.
#[derive(Debug, Clone)]
pub struct VerifiedSnapshot {
    /// Its catalogue entry.
    pub entry: CatalogueEntry,
    /// What was known of its source.
    pub facts: Facts,
    /// Records given.
    pub record_count: u64,
    /// Bytes of their values.
    pub live_bytes: u64,
    /// Whether the digest over all of them was compared. It is not when the vault keeps other
    /// bytes than its source had (contested or wrongly vanished records): there is none to
    /// compare with.
    pub digest_compared: bool,
}

/// One segment of a snapshot, ready to be read.
#[derive(Debug)]
struct Segment {
    name: String,
    file: Option<File>,
    opener: FrameOpener,
    live: Arc<RoaringBitmap>,
}

/// A snapshot whose body and indexes are open.
pub struct SnapshotReader {
    access: Arc<Access>,
    entry: CatalogueEntry,
    opened: OpenedBody,
    segments: Arc<Vec<Segment>>,
    frames: Arc<[PlannedFrame]>,
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotReader({}, {} frames)", self.entry.number, self.frames.len())
    }
}

/// Indexes read at once.
const INDEXES: usize = 8;
/// How often a plan that met a missing object is made again.
const PLANS: u32 = 3;

impl SnapshotReader {
    /// Opens snapshot `number`. If an object is missing, the chain is read again and the plan made
    /// anew, three times.
    pub async fn open(chain: &mut Chain, number: u64) -> Result<SnapshotReader, SnapshotError> {
        let mut plan = 1;
        loop {
            let was_there = plan > 1;
            let entry = chain.catalogue().get(number).cloned();
            let entry = entry.ok_or(SnapshotError::NoSnapshot { number, was_there })?;
            match Self::plan(chain, entry).await {
                Err(error) if is_missing(&error) && plan < PLANS => {
                    plan += 1;
                    chain.refresh().await?;
                }
                other => return other,
            }
        }
    }

    pub(super) async fn plan(
        chain: &Chain,
        entry: CatalogueEntry,
    ) -> Result<SnapshotReader, SnapshotError> {
        let access = chain.access().clone();
        let opened = read_body(chain, &entry).await?;
        let reference = super::body_reference(chain, &entry).unwrap_or_default();
        let body = &opened.body;
        let mut restored = Vec::new();
        for segment in &body.segments {
            if segment.class() != Class::Contested && segment.live_count > 0 {
                access.ensure_seeds(&segment.object.clone().unwrap_or_default()).await?;
                restored.push((access.clone(), segment.clone()));
            }
        }
        access.ensure_seeds(&reference).await?;
        let mut indexes = futures::stream::iter(restored).map(index_of).buffered(INDEXES);
        let (mut segments, mut frames) = (Vec::new(), Vec::new());
        let keyring = access.keyring();
        while let Some((segment, index)) = indexes.try_next().await? {
            let live = Arc::new(bitmap(&segment)?);
            let place = segments.len();
            frames.extend(
                index.frames().iter().filter_map(|frame| merge::planned(place, frame, &live)),
            );
            let object = segment.object.clone().unwrap_or_default();
            let id = ObjectId::from_bytes(&object.object_id)
                .map_err(|error| SnapshotError::Base { detail: error.to_string() })?;
            let name = access.names().object(ObjectKind::Segment, id);
            let opener = index.frames_opener(&keyring)?;
            let file = open_file(&access, &name)?;
            segments.push(Segment { name, file, opener, live });
        }
        drop(indexes);
        merge::order(&mut frames);
        let (segments, frames) = (Arc::new(segments), frames.into());
        Ok(SnapshotReader { access, entry, opened, segments, frames })
    }

    /// Its catalogue entry.
    pub fn entry(&self) -> &CatalogueEntry {
        &self.entry
    }

    /// What was known of its source.
    pub fn facts(&self) -> Facts {
        self.opened.body.facts.clone().unwrap_or_default()
    }

    /// The body.
    pub fn body(&self) -> &Body {
        &self.opened.body
    }

    /// Bytes that a read will fetch.
    pub fn fetch_bytes(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.entry.sealed_len)).sum()
    }

    /// The small buckets, in order of names.
    pub fn buckets(&self) -> &[SmallBucket] {
        &self.opened.body.buckets
    }

    /// The entries of a small bucket, in order of keys, verified.
    pub async fn bucket(&self, bucket: &SmallBucket) -> Result<Vec<BucketEntry>, SnapshotError> {
        let access = &self.access;
        let Some(reference) = &bucket.spill else {
            let name = super::body_name(access, &self.entry)?;
            let bytes = access.store().get(&name, self.entry.body_size_bytes).await?;
            return Ok(self.opened.bucket(&bytes, bucket, &access.keyring())?);
        };
        access.ensure_seeds(reference).await?;
        let id = ObjectId::from_bytes(&reference.object_id)
            .map_err(|error| SnapshotError::Base { detail: error.to_string() })?;
        let name = access.names().object(ObjectKind::Spill, id);
        let bytes = access.store().get(&name, reference.size_bytes).await?;
        let expected = access.expected(ObjectKind::Spill, Some(reference));
        Ok(open_spill(&bytes, &expected, bucket, &access.keyring())?)
    }

    /// All records in order, fetched and opened by threads; call it where blocking is allowed,
    /// inside the runtime. A consumer reads to the end and then calls `RecordStream::finish`.
    pub fn records(&self, options: ReadOptions) -> RecordStream {
        RecordStream::start(self, options)
    }

    /// All records in order, one frame after the other on this task: for small snapshots and
    /// simulations.
    pub async fn for_each<E: From<SnapshotError>>(
        &self,
        mut each: impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<VerifiedSnapshot, E> {
        let mut proof = Proof::new(true);
        let mut buffer = FrameBuffer::new();
        let mut progress = Progress::new(self.access.clone(), self.entry.clone());
        let mut fresh: Option<SnapshotReader> = None;
        loop {
            let reader = fresh.as_ref().unwrap_or(self);
            let read = reader.pass(&mut buffer, |record| {
                if progress.wants(record) {
                    proof.add(record);
                    each(record)?;
                }
                Ok::<(), E>(())
            });
            match read.await? {
                None => return Ok(progress.told(proof.verify(&self.entry, self.facts()))?),
                Some(missing) => fresh = Some(progress.replan(missing).await?),
            }
        }
    }

    /// One pass over the frames of this plan; `Some`: an object is missing.
    async fn pass<E: From<SnapshotError>>(
        &self,
        buffer: &mut FrameBuffer,
        mut each: impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<Option<SnapshotError>, E> {
        let mut merge = Merge::new(self.frames.clone());
        loop {
            match merge.pull().map_err(|source| self.merge_error(source))? {
                Pull::Need(place) => {
                    let frame = &self.frames[place];
                    let segment = &self.segments[frame.segment];
                    let range = frame.entry.offset..frame.entry.end();
                    let sealed = self.access.store().get_range(&segment.name, range).await;
                    let sealed = match sealed.map_err(SnapshotError::from) {
                        Err(error) if is_missing(&error) => return Ok(Some(error)),
                        sealed => sealed?,
                    };
                    let spent = merge.spent().unwrap_or_default();
                    let decoded = decode(segment, frame, &sealed, (spent, buffer));
                    merge.give(place, decoded.map_err(|error| self.number(error))?);
                }
                Pull::Ready => {
                    if let Some(record) = merge.record() {
                        each(&record)?;
                    }
                }
                Pull::End => return Ok(None),
            }
        }
    }

    fn merge_error(&self, source: merge::MergeError) -> SnapshotError {
        SnapshotError::Merge { number: self.entry.number, source }
    }

    fn number(&self, error: DecodeError) -> SnapshotError {
        match error {
            DecodeError::Merge(source) => self.merge_error(source),
            DecodeError::Other(error) => error,
        }
    }
}

async fn index_of(
    (access, segment): (Arc<Access>, SegmentRef),
) -> Result<(SegmentRef, SegmentIndex), SnapshotError> {
    let index = read_index(&access, &segment).await?;
    Ok((segment, index))
}

/// The segment's file, when the store is a directory.
fn open_file(access: &Access, name: &str) -> Result<Option<File>, SnapshotError> {
    let Some(path) = access.store().local_file(name) else { return Ok(None) };
    match File::open(&path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(StoreError::NotFound { name: name.to_owned() }.into())
        }
        Err(error) => Err(io_error(name, &error).into()),
    }
}

fn io_error(name: &str, error: &std::io::Error) -> StoreError {
    let (name, detail) = (name.to_owned(), error.to_string());
    if is_bad_medium(error) {
        return StoreError::Unreadable { name, detail };
    }
    StoreError::Unreachable { name, detail }
}

/// Why a frame was not opened.
enum DecodeError {
    Merge(merge::MergeError),
    Other(SnapshotError),
}

/// Opens one frame and finds its live records.
fn decode(
    segment: &Segment,
    frame: &PlannedFrame,
    sealed: &[u8],
    (mut spent, buffer): (Decoded, &mut FrameBuffer),
) -> Result<Decoded, DecodeError> {
    buffer.give_back(spent.take_plain());
    let opened = segment.opener.open(sealed, &frame.entry, Bound::ByFrame, buffer);
    opened.map_err(|error| DecodeError::Other(error.into()))?;
    Decoded::new(frame, &segment.live, buffer.take(), spent).map_err(DecodeError::Merge)
}

/// Running counts and digest of what was given.
struct Proof {
    hash: Option<LiveHash>,
    records: u64,
    tombstones: u64,
    bytes: u64,
}

impl Proof {
    fn new(digest: bool) -> Proof {
        Proof { hash: digest.then(LiveHash::new), records: 0, tombstones: 0, bytes: 0 }
    }

    fn add(&mut self, record: &Record<'_>) {
        if let Some(hash) = &mut self.hash {
            hash.update(record);
        }
        self.records += 1;
        self.tombstones += u64::from(record.tombstone);
        self.bytes += record.value.len() as u64;
    }

    fn verify(
        self,
        entry: &CatalogueEntry,
        facts: Facts,
    ) -> Result<VerifiedSnapshot, SnapshotError> {
        let number = entry.number;
        let wrong = |detail: String| SnapshotError::Contradiction { number, detail };
        let given = (self.records, self.tombstones, self.bytes);
        let said = (facts.record_count, facts.tombstone_count, facts.live_bytes);
        if given != said {
            return Err(wrong(format!(
                "{} records, {} tombstones and {} bytes were read, {}, {} and {} were backed up",
                given.0, given.1, given.2, said.0, said.1, said.2
            )));
        }
        let comparable = !facts.live_sha256.is_empty();
        let digest = self.hash.filter(|_| comparable).map(LiveHash::finish);
        if digest.is_some_and(|digest| digest[..] != facts.live_sha256[..]) {
            return Err(wrong("the digest over all live records differs".to_owned()));
        }
        Ok(VerifiedSnapshot {
            entry: entry.clone(),
            facts,
            record_count: given.0,
            live_bytes: given.2,
            digest_compared: digest.is_some(),
        })
    }
}

/// Reads exactly `length` bytes of a segment where the store is a directory.
fn read_local(
    segment: &Segment,
    file: &File,
    offset: u64,
    into: &mut [u8],
) -> Result<(), SnapshotError> {
    file.read_exact_at(into, offset).map_err(|error| io_error(&segment.name, &error).into())
}

type Sealed = Bytes;
