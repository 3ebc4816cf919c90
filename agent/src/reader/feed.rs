//! The second pass over a spooled database, on a thread of its own.
//!
//! What must hold: records arrive in order and in batches of [`BATCH_BYTES`]; a thread that ends
//! early says why; nobody at the other end ends the thread.

use super::{BATCH_BYTES, BATCHES, ReaderError, Spooled, each_record};
use crate::encryption_keys::{self, EncryptionKeys};
use holdfast_bolt::PageSource;
use holdfast_core::compaction::{ScanError, Verdict};
use holdfast_core::hashkv::{HashScope, KvHasher};
use holdfast_core::record::Record;
use holdfast_vault::snapshot::walk::SourceRecord;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// What the second pass found.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) hash: Option<u32>,
    pub(super) keys: EncryptionKeys,
}

/// The thread of the second pass.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) batches: Receiver<Batch>,
    pub(super) thread: JoinHandle<Result<Told, ReaderError>>,
}

/// Records on their way between the threads.
#[derive(Debug, Default)]
pub(super) struct Batch {
    records: Vec<Sent>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Sent {
    main: i64,
    sub: i64,
    tombstone: bool,
    superseded: bool,
    sensitive: bool,
    /// In the batch's bytes: the key, and behind it the value.
    key: (usize, usize),
    end: usize,
}

impl Feed {
    pub(super) fn start<S: PageSource + Send + Sync + 'static>(
        spooled: Arc<Spooled<S>>,
    ) -> std::io::Result<Feed> {
        let (sender, batches) = sync_channel(BATCHES);
        let thread = std::thread::Builder::new()
            .name("spool-reader".to_owned())
            .spawn(move || second_pass(&spooled, &sender))?;
        Ok(Feed { batches, thread })
    }
}

fn second_pass<S: PageSource>(
    spooled: &Spooled<S>,
    sender: &SyncSender<Batch>,
) -> Result<Told, ReaderError> {
    let liveness = &spooled.scan.liveness;
    let mut judge = liveness.judge();
    let scope = spooled.asked.as_ref().map(|asked| HashScope {
        revision: asked.revision,
        compact_revision: asked.compact_revision,
    });
    let mut hasher = scope.map(|scope| KvHasher::new(scope, liveness)).transpose()?;
    let mut keys = EncryptionKeys::default();
    let mut batch = Batch::default();
    each_record(&spooled.db, &spooled.stop, |record| {
        let verdict = judge.next(record)?;
        if let Some(hasher) = &mut hasher {
            hasher.add(record, verdict);
        }
        let Verdict::Live { superseded } = verdict else { return Ok(()) };
        let kv = record.key_value().map_err(ScanError::from)?;
        keys.observe(kv.value);
        let prefixes = &spooled.sensitive_prefixes;
        let sensitive = encryption_keys::is_sensitive(kv.key, kv.value, prefixes);
        if batch.bytes.len() + kv.key.len() + record.raw_value.len() > BATCH_BYTES {
            batch.send(sender)?;
        }
        batch.push(record, kv.key, superseded, sensitive);
        Ok(())
    })?;
    judge.finish()?;
    batch.send(sender)?;
    Ok(Told { hash: hasher.map(KvHasher::finish), keys })
}

impl Batch {
    /// How many records it holds.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    fn push(&mut self, record: &Record<'_>, key: &[u8], superseded: bool, sensitive: bool) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let value = self.bytes.len();
        self.bytes.extend_from_slice(record.raw_value);
        let revision = record.at.revision;
        self.records.push(Sent {
            main: revision.main,
            sub: revision.sub,
            tombstone: record.at.tombstone,
            superseded,
            sensitive,
            key: (start, value),
            end: self.bytes.len(),
        });
    }

    /// Sends what is there and starts anew. Nobody at the other end: the round was left.
    fn send(&mut self, sender: &SyncSender<Batch>) -> Result<(), ReaderError> {
        if self.records.is_empty() {
            return Ok(());
        }
        sender.send(std::mem::take(self)).map_err(|_| ReaderError::Stopped)
    }

    pub(super) fn record(&self, place: usize) -> SourceRecord<'_> {
        let sent = &self.records[place];
        SourceRecord {
            main: sent.main,
            sub: sent.sub,
            tombstone: sent.tombstone,
            key: &self.bytes[sent.key.0..sent.key.1],
            value: &self.bytes[sent.key.1..sent.end],
            superseded: sent.superseded,
            sensitive: sent.sensitive,
        }
    }
}
