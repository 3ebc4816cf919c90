//! Records: what a backup does not have yet, from one consistent state of the database.
//!
//! What must hold: the answer is of one read transaction, taken after everything applied so far was
//! committed; the records are those that a compaction at the higher mark leaves, so one that is
//! scheduled and not finished does not show; nothing waits for this but the pages it reads: no
//! apply, no commit; memory is one message each way, and two bits per record while a compaction
//! runs; a caller that stalls, or takes too long for all of it ([`LIMITS`]), loses its stream and
//! the transaction ends; at most [`MOST_STREAMS`] run at once.

mod queues;

use std::sync::Arc;
use std::time::Instant;

use holdfast_api::holdfast as pb;
use holdfast_api::holdfast::records_server::Records;
use holdfast_bolt::{FilePages, ReadTx};
use holdfast_core::buckets::KEY;
use holdfast_core::changes::{Comparison, Item, ItemWriter, put_entry};
use holdfast_core::compaction::{Liveness, LivenessBuilder, TombstoneRule};
use holdfast_core::database::read_small;
use holdfast_core::hashkv::{HashScope, KvHasher};
use holdfast_core::meta::Meta;
use holdfast_core::mvcc::Reader;
use holdfast_core::record::Record;
use holdfast_core::revision::Revision;
use prost::Message;
use queues::{LIMITS, Named, Out, Requests};
use serde_json::json;
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::engine::handle::Handle;
use crate::log::Logger;
use crate::version;

type Reply<T> = Result<Response<T>, Status>;
type Answer = Result<pb::ChangesResponse, Status>;

/// Streams at a time.
const MOST_STREAMS: usize = 2;
/// Bytes of a payload, but for a larger record.
const PAYLOAD_BYTES: usize = 64 << 10;
/// Payloads that wait for a slow caller.
const PAYLOADS_AHEAD: usize = 16;

/// The service.
pub(crate) struct RecordsService {
    handle: Handle,
    logger: Logger,
    streams: Arc<Semaphore>,
}

impl RecordsService {
    pub(crate) fn new(handle: Handle, logger: Logger) -> RecordsService {
        RecordsService { handle, logger, streams: Arc::new(Semaphore::new(MOST_STREAMS)) }
    }
}

#[tonic::async_trait]
impl Records for RecordsService {
    type ChangesStream = ReceiverStream<Answer>;

    async fn changes(
        &self,
        request: Request<Streaming<pb::ChangesRequest>>,
    ) -> Reply<Self::ChangesStream> {
        let who = self.handle.identity(&request).await?;
        self.handle.check_admin(&who)?;
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "{MOST_STREAMS} streams of records run already; try again later"
            ))
        })?;
        self.handle.flush().await?;
        let (answers, stream) = mpsc::channel(PAYLOADS_AHEAD);
        let (handle, logger) = (self.handle.clone(), self.logger.clone());
        let requests = request.into_inner();
        let runtime = runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            serve(&handle, &logger, permit, requests, answers, runtime);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Answers one caller, and tells how it went.
fn serve(
    handle: &Handle,
    logger: &Logger,
    permit: OwnedSemaphorePermit,
    requests: Streaming<pb::ChangesRequest>,
    answers: mpsc::Sender<Answer>,
    runtime: runtime::Handle,
) {
    let began = Instant::now();
    let deadlines = LIMITS.from(began);
    let mut named = Named::new(requests, answers.clone(), runtime.clone(), deadlines);
    let out = Out::new(answers, runtime, deadlines);
    let mut sending = Sending { handle, out };
    let outcome = sending.run(&mut named);
    let fields = [
        ("named", json!(named.count)),
        ("sent-bytes", json!(sending.out.sent_bytes)),
        ("took", json!(format!("{:?}", began.elapsed()))),
    ];
    match outcome {
        Ok(()) => logger.info("sent the records that a backup did not have", &fields),
        Err(status) => {
            let [named, sent, took] = fields;
            let fields = [named, sent, took, ("error", json!(status.message()))];
            logger.warn("a stream of records ended early", &fields);
            sending.out.refuse(status);
        }
    }
    drop(permit);
}

#[allow(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn damaged(error: impl std::fmt::Display) -> Status {
    Status::data_loss(error.to_string())
}

/// One answer in the making.
struct Sending<'h> {
    handle: &'h Handle,
    out: Out,
}

/// What the pass over the records needs to know before it.
struct Scope {
    compacted: i64,
    revision: i64,
    last: Revision,
    /// While a compaction runs: which records up to it are alive.
    running: Option<Liveness>,
}

impl Sending<'_> {
    fn run(&mut self, named: &mut Named<impl Requests>) -> Result<(), Status> {
        // The index afterwards: it then knows at least what the database has.
        let database = self.handle.inner.database.read();
        let reader = self.handle.inner.store.reader();
        let scope = self.begin(&database)?;
        let mut trailer = self.records(&database, &reader, &scope, named)?;
        if reader.is_compacted_beyond(scope.revision) {
            return Err(Status::aborted("a compaction overtook the stream; ask again"));
        }
        (trailer.last_main, trailer.last_sub) = (scope.last.main, scope.last.sub);
        self.out.send(pb::Kind::Trailer, trailer.encode_to_vec())
    }

    /// Header and small buckets.
    fn begin(&mut self, database: &ReadTx<FilePages>) -> Result<Scope, Status> {
        let header = pb::Header {
            cluster_id: self.handle.inner.cluster_id,
            member_id: self.handle.inner.member_id,
            server_version: version::VERSION.to_owned(),
            storage_version: self.handle.storage_version().unwrap_or_default(),
            database_bytes: database.size_bytes(),
        };
        self.out.send(pb::Kind::Header, header.encode_to_vec())?;
        let small = read_small(database).map_err(damaged)?;
        for (name, entries) in small.iter() {
            let bucket = database.bucket(name).map_err(damaged)?;
            let sequence = bucket.map_or(0, |bucket| bucket.sequence());
            let bucket = pb::Bucket { name: name.to_vec(), sequence };
            self.out.send(pb::Kind::Bucket, bucket.encode_to_vec())?;
            let mut payload = Vec::new();
            for (key, value) in entries {
                put_entry(&mut payload, key, value);
                if payload.len() >= PAYLOAD_BYTES {
                    self.out.send(pb::Kind::Entries, std::mem::take(&mut payload))?;
                }
            }
            if !payload.is_empty() {
                self.out.send(pb::Kind::Entries, payload)?;
            }
        }
        let marks = Meta::read(&small).map_err(damaged)?.marks;
        let mut last = Revision::default();
        if let Some(bucket) = database.bucket(KEY).map_err(damaged)? {
            let mut cursor = bucket.cursor();
            if let Some(entry) = cursor.last().map_err(damaged)? {
                last = Record::parse(entry.key, entry.value).map_err(damaged)?.at.revision;
            }
        }
        let compacted = marks.effective();
        let revision = marks.logical_revision((last.main > 0).then_some(last.main));
        let running = match marks.is_running() {
            true => Some(alive_at(database, compacted)?),
            false => None,
        };
        Ok(Scope { compacted, revision, last, running })
    }

    /// The one pass over the records: what is not named goes out.
    fn records(
        &mut self,
        database: &ReadTx<FilePages>,
        reader: &Reader,
        scope: &Scope,
        named: &mut Named<impl Requests>,
    ) -> Result<pb::Trailer, Status> {
        let any_alive = reader.holds_any(scope.revision).map_err(|error| overtaken(&error))?;
        let hash = HashScope { revision: scope.revision, compact_revision: scope.compacted };
        let mut hasher = KvHasher::judged(hash, any_alive);
        let mut judge = scope.running.as_ref().map(Liveness::judge);
        let (mut comparison, mut keys) = (Comparison::new(named)?, 0u64);
        let mut writer = ItemWriter::default();
        let out = &mut self.out;
        let mut tell = |item: &Item<'_>| {
            writer.push(item);
            match writer.size_bytes() >= PAYLOAD_BYTES {
                true => out.send(pb::Kind::Records, writer.take()),
                false => Ok(()),
            }
        };
        each_record(database, |record| {
            let key = record.user_key().map_err(damaged)?;
            let at = record.at.revision;
            let newest = reader.is_newest(key, at, scope.revision);
            let verdict = holdfast_core::compaction::Verdict::Live { superseded: !newest };
            hasher.add(record, verdict);
            if let Some(judge) = &mut judge
                && at.main <= scope.compacted
                && !judge.next(record).map_err(damaged)?.is_live()
            {
                return Ok(());
            }
            keys += u64::from(newest && !record.at.tombstone);
            comparison.take(record, !newest, &mut tell)
        })?;
        judge.map_or(Ok(()), |judge| judge.finish().map_err(damaged))?;
        let (totals, live_sha256) = comparison.finish(&mut tell)?;
        if writer.size_bytes() > 0 {
            self.out.send(pb::Kind::Records, writer.take())?;
        }
        Ok(pb::Trailer {
            records: totals.records,
            tombstones: totals.tombstones,
            live_bytes: totals.live_bytes,
            equal: totals.equal,
            keys,
            live_sha256: live_sha256.to_vec(),
            hash_revision: hash.revision,
            hash_compact_revision: hash.compact_revision,
            hash: hasher.finish(),
            ..pb::Trailer::default()
        })
    }
}

fn overtaken(error: &holdfast_core::mvcc::MvccError) -> Status {
    Status::aborted(format!("{error}; ask again"))
}

/// Which of the records up to `compacted` a compaction there leaves: the canonical rule, whatever
/// the one that runs has deleted by now. 23 to 29 bytes per key while it is made.
fn alive_at(database: &ReadTx<FilePages>, compacted: i64) -> Result<Liveness, Status> {
    let mut builder = LivenessBuilder::new(compacted, TombstoneRule::KeepAtCompaction);
    each_record(database, |record| match record.at.revision.main <= compacted {
        true => builder.observe(record).map_err(damaged),
        false => Ok(()),
    })?;
    Ok(builder.finish())
}

/// Gives every record of the bucket `key`, in order.
fn each_record(
    database: &ReadTx<FilePages>,
    mut visit: impl FnMut(&Record<'_>) -> Result<(), Status>,
) -> Result<(), Status> {
    let Some(bucket) = database.bucket(KEY).map_err(damaged)? else { return Ok(()) };
    let mut cursor = bucket.cursor();
    while let Some(entry) = cursor.next().map_err(damaged)? {
        if entry.is_bucket {
            return Err(damaged("the bucket `key` holds a bucket"));
        }
        visit(&Record::parse(entry.key, entry.value).map_err(damaged)?)?;
    }
    Ok(())
}
