//! The vault's source over an answer: what the vault does not have, and what is gone.
//!
//! What must hold: items come as they were received, in order; nothing is read of the store or the
//! member here; the keys that encrypted values need are those of the snapshot before and those of
//! the new values: one too many until the next whole reading, never one too few.

use super::Answered;
use crate::contested::Streamed;
use crate::encryption_keys::{self, EncryptionKeys};
use crate::reader::SmallWalk;
use bytes::Bytes;
use holdfast_core::changes::{Item, ItemReader};
use holdfast_core::record::KeyValue;
use holdfast_core::revision::Revision;
use holdfast_vault::proto::{Facts, HashKv};
use holdfast_vault::snapshot::{
    Differences, Entry, LiveTotals, Source, SourceBucket, SourceError, SourceItem, SourceRecord,
    WalkResult,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What does not change from pass to pass.
#[derive(Debug)]
pub struct Changed {
    /// What the member told.
    pub answered: Answered,
    /// How it stands to the vault.
    pub differences: Differences,
    /// What is known before the records are given.
    pub facts: Facts,
    /// What the snapshot that was named says of its source.
    pub before: Facts,
    /// HashKV as the member answers it elsewhere, in a scope that can be compared.
    pub asked: Option<HashKv>,
    /// HashKV as it was computed from the same state as the answer.
    pub computed: HashKv,
    /// Records under these are sensitive.
    pub sensitive_prefixes: Vec<Vec<u8>>,
}

/// The totals of an answer; `None`: its digest has not 32 bytes.
pub(super) fn totals(answered: &Answered) -> Option<LiveTotals> {
    let trailer = &answered.answer.trailer;
    Some(LiveTotals {
        record_count: trailer.records,
        tombstone_count: trailer.tombstones,
        live_bytes: trailer.live_bytes,
        live_sha256: trailer.live_sha256.as_slice().try_into().ok()?,
    })
}

impl Answered {
    /// How the answer stands to the vault's snapshot `number`; `None`: its totals are unsound.
    pub fn differences(&self, number: u64) -> Option<Differences> {
        let (named, totals) = (Arc::clone(&self.named), totals(self)?);
        Some(Differences { number, named, totals })
    }
}

impl Changed {
    /// One record that was sent and is no tombstone; `None`: it was not, or does not decode.
    pub fn record(&self, revision: (i64, i64)) -> Option<Streamed> {
        let wanted = Revision::new(revision.0, revision.1);
        let (mut number, mut last) = (0, None);
        while let Some(payload) = self.answered.answer.payload(number).ok()? {
            number += 1;
            for item in ItemReader::new(&payload, last) {
                let item = item.ok()?;
                last = Some(item.revision());
                match item {
                    Item::Record { at, value, .. } if at.revision == wanted && !at.tombstone => {
                        let key = KeyValue::decode(value).ok()?.key.to_vec();
                        return Some(Streamed { revision, key, value: value.to_vec() });
                    }
                    _ => {}
                }
            }
        }
        None
    }
}

/// The vault's source.
#[derive(Debug)]
pub struct ChangesReader {
    changed: Arc<Changed>,
    payload: Bytes,
    offset: usize,
    place: (Option<Revision>, i64),
    next: usize,
    keys: EncryptionKeys,
    small: SmallWalk,
}

fn refused(error: &impl ToString) -> SourceError {
    SourceError(error.to_string())
}

impl ChangesReader {
    /// Begins before the first item.
    pub fn new(changed: Arc<Changed>) -> ChangesReader {
        ChangesReader {
            changed,
            payload: Bytes::new(),
            offset: 0,
            place: (None, 0),
            next: 0,
            keys: EncryptionKeys::default(),
            small: SmallWalk::default(),
        }
    }

    /// Makes sure that an item stands at the offset; false at the end.
    fn fill(&mut self) -> Result<bool, SourceError> {
        while self.offset >= self.payload.len() {
            let next = self.changed.answered.answer.payload(self.next);
            let Some(payload) = next.map_err(|error| refused(&error))? else { return Ok(false) };
            (self.payload, self.offset) = (payload, 0);
            self.place.1 = 0;
            self.next += 1;
        }
        Ok(true)
    }
}

impl Source for ChangesReader {
    fn rewind(&mut self) -> Result<(), SourceError> {
        *self = ChangesReader::new(Arc::clone(&self.changed));
        Ok(())
    }

    fn facts(&self) -> Facts {
        self.changed.facts.clone()
    }

    fn differences(&self) -> Option<Differences> {
        Some(self.changed.differences.clone())
    }

    fn next_record(&mut self) -> Result<Option<SourceRecord<'_>>, SourceError> {
        Err(refused(&"an answer gives differences only"))
    }

    fn next_item(&mut self) -> Result<Option<SourceItem<'_>>, SourceError> {
        if !self.fill()? {
            return Ok(None);
        }
        let mut reader = ItemReader::at(&self.payload[self.offset..], self.place);
        let Some(item) = reader.next() else { return Ok(None) };
        let item = item.map_err(|error| refused(&error))?;
        self.offset = self.payload.len() - reader.rest().len();
        self.place = reader.place();
        let (at, superseded, value) = match item {
            Item::Gone(at) => return Ok(Some(SourceItem::Gone((at.main, at.sub)))),
            Item::Record { at, superseded, value } => (at, superseded, value),
        };
        let kv = KeyValue::decode(value).map_err(|error| refused(&error))?;
        self.keys.observe(kv.value);
        let prefixes = &self.changed.sensitive_prefixes;
        let sensitive = encryption_keys::is_sensitive(kv.key, kv.value, prefixes);
        let (main, sub) = (at.revision.main, at.revision.sub);
        let (key, tombstone) = (kv.key, at.tombstone);
        let record = SourceRecord { main, sub, tombstone, key, value, superseded, sensitive };
        Ok(Some(SourceItem::Record(record)))
    }

    fn next_bucket(&mut self) -> Result<Option<SourceBucket>, SourceError> {
        let answer = &self.changed.answered.answer;
        Ok(self.small.next_bucket(&answer.small, &answer.sequences))
    }

    fn next_entry(&mut self) -> Result<Option<Entry<'_>>, SourceError> {
        Ok(self.small.next_entry(&self.changed.answered.answer.small))
    }

    fn finish(&mut self, _: &WalkResult, facts: &mut Facts) -> Result<(), SourceError> {
        let before = &self.changed.before;
        let mut ids: BTreeSet<String> = before.encryption_key_ids.iter().cloned().collect();
        ids.extend(self.keys.ids());
        facts.encryption_key_ids = ids.into_iter().take(encryption_keys::LIMIT).collect();
        facts.kubernetes = before.kubernetes || self.keys.kubernetes();
        let computed = self.changed.computed;
        let asked = self.changed.asked.unwrap_or(computed);
        facts.hash_kv = Some(asked);
        facts.restored_hash_kv = (computed != asked).then_some(computed);
        Ok(())
    }
}
