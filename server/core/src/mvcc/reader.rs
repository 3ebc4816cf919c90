//! Reading at one point: lookups by key at a revision, and the history by revision.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_api::mvccpb::event::EventType;
use holdfast_api::mvccpb::{Event, KeyValue};
use prost::Message;

use super::index::KeyRange;
use super::store::Shared;
use super::{MvccError, history::History};
use crate::backend::{View, shared};
use crate::buckets::KEY;
use crate::record::{Record, RecordError};
use crate::revision::{REVISION_LEN, Revision};
use crate::wire::WireError;

/// One point of a store: all of it up to a revision.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    view: View,
    pub(super) revision: i64,
    compacted: i64,
}

/// What a range of keys holds at a revision.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Of the first keys in order, up to the limit.
    pub(super) revisions: Vec<Revision>,
    /// All keys, whatever the limit, if they were to be counted.
    pub(super) total: i64,
}

/// How much of the history one batch may hold. A batch ends with a whole revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Main revisions that are looked at; upstream sends 1,000 at once.
    pub revisions: i64,
    /// Bytes of the events taken, beyond which no further revision is begun.
    pub bytes: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        HistoryLimits { revisions: 1_000, bytes: 4 << 20 }
    }
}

/// A run of the history.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryBatch {
    /// Events in order, of the keys that were wanted.
    pub events: Vec<Event>,
    /// The first revision that was not looked at.
    pub next: i64,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, view: View, revision: i64, compacted: i64) -> Reader {
        Reader { shared, view, revision, compacted }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The current revision at this point.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The compaction revision at this point; -1 if nothing was ever compacted.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// The buckets at this point.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Whether a compaction went beyond this point since it was taken: then reads at its own
    /// revision fail with [`MvccError::Compacted`], and a new reader is to be taken.
    pub fn is_overtaken(&self) -> bool {
        shared(&self.shared.state).compacted > self.revision
    }

    /// The record of a key at a revision (0: this point's).
    ///
    /// # Errors
    /// A revision that is compacted or to come; the database fails.
    pub fn get(&self, key: &[u8], at: i64) -> Result<Option<KeyValue>, MvccError> {
        let found = self.find(KeyRange::One(key), at, 0, true)?;
        found.revisions.first().map(|revision| self.record(*revision)).transpose()
    }

    /// Number of keys of a range at a revision (0: this point's).
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub fn count(&self, range: KeyRange<'_>, at: i64) -> Result<i64, MvccError> {
        let mut total = 0;
        self.visit(range, at, |_, history, at| {
            total += i64::from(history.value_at(at).is_some());
            ControlFlow::Continue(())
        })?;
        Ok(total)
    }

    /// Whether a record is the newest one of its key at main revision `at`, a tombstone or not.
    /// True or false only as long as no compaction beyond `at` was accepted: see
    /// [`Reader::is_compacted_beyond`].
    pub fn is_newest(&self, key: &[u8], record: Revision, at: i64) -> bool {
        let state = shared(&self.shared.state);
        let newest = state.index.get(key).and_then(|history| history.at(at));
        newest.is_some_and(|newest| newest.revision() == record)
    }

    /// Whether the compaction revision is beyond main revision `at` by now.
    pub fn is_compacted_beyond(&self, at: i64) -> bool {
        shared(&self.shared.state).compacted > at
    }

    /// Whether any key exists at a revision (0: this point's).
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub fn holds_any(&self, at: i64) -> Result<bool, MvccError> {
        Ok(self.find(KeyRange::From(&[]), at, 1, false)?.total > 0)
    }

    /// Keys of a range, with the revisions of their values, up to `limit` (0: all); further ones
    /// are counted if `count_all` says so.
    pub(super) fn find(
        &self,
        range: KeyRange<'_>,
        at: i64,
        limit: usize,
        count_all: bool,
    ) -> Result<Found, MvccError> {
        let mut found = Found::default();
        self.visit(range, at, |_, history, at| {
            let Some(revision) = history.value_at(at) else { return ControlFlow::Continue(()) };
            found.total += 1;
            if limit == 0 || found.revisions.len() < limit {
                found.revisions.push(revision);
            }
            if !count_all && found.revisions.len() == limit {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Keys of a range that exist at a revision.
    pub(super) fn keys(&self, range: KeyRange<'_>, at: i64) -> Result<Vec<Box<[u8]>>, MvccError> {
        let mut keys = Vec::new();
        self.visit(range, at, |key, history, at| {
            if history.value_at(at).is_some() {
                keys.push(key.into());
            }
            ControlFlow::Continue(())
        })?;
        Ok(keys)
    }

    /// Visits the index slice by slice; a compaction that overtakes the revision ends it.
    pub(super) fn visit(
        &self,
        range: KeyRange<'_>,
        at: i64,
        mut visit: impl FnMut(&[u8], &History, i64) -> ControlFlow<()>,
    ) -> Result<(), MvccError> {
        if at > self.revision {
            return Err(MvccError::FutureRevision);
        }
        let at = if at <= 0 { self.revision } else { at };
        self.slices(range, |compacted| compacted <= at, |key, history| visit(key, history, at))
    }

    /// Visits the index slice by slice, while the compaction revision is one that is allowed.
    pub(super) fn slices(
        &self,
        range: KeyRange<'_>,
        allowed: impl Fn(i64) -> bool,
        mut visit: impl FnMut(&[u8], &History) -> ControlFlow<()>,
    ) -> Result<(), MvccError> {
        let mut from: Option<Box<[u8]>> = None;
        loop {
            let state = shared(&self.shared.state);
            if !allowed(state.compacted) {
                return Err(MvccError::Compacted);
            }
            let more = state.index.slice(range, from.as_deref(), &mut visit);
            drop(state);
            from = more;
            if from.is_none() {
                return Ok(());
            }
        }
    }

    /// The record at a revision that the index named.
    pub(super) fn record(&self, revision: Revision) -> Result<KeyValue, MvccError> {
        let value = self.view.get(KEY, &revision.encode())?;
        decode(revision, value.ok_or(MvccError::Missing { revision })?)
    }

    /// The history from a revision on, of the keys that are wanted, within limits. `next` is beyond
    /// this point's revision when nothing is left.
    ///
    /// # Errors
    /// [`MvccError::Compacted`] if `from` is below the compaction revision of this point; the
    /// database fails or is damaged.
    pub fn history(
        &self,
        from: i64,
        limits: HistoryLimits,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<HistoryBatch, MvccError> {
        if from < self.compacted {
            return Err(MvccError::Compacted);
        }
        let from = from.max(0);
        let last = from.saturating_add(limits.revisions.max(1) - 1).min(self.revision);
        let mut batch = HistoryBatch { events: Vec::new(), next: last.max(from - 1) + 1 };
        if from > last {
            return Ok(batch);
        }
        let (start, end) = (Revision::new(from, 0).encode(), first_after(last));
        let range = (&start[..], end.as_ref().map(|end| &end[..]));
        let mut bytes = 0;
        self.view.try_scan(KEY, range, |raw_key, raw_value| -> Result<_, MvccError> {
            let record = Record::parse(raw_key, raw_value)?;
            let main = record.at.revision.main;
            let begun = batch.events.last().map(mod_revision);
            if bytes >= limits.bytes && begun.is_some_and(|begun| begun < main) {
                batch.next = main;
                return Ok(ControlFlow::Break(()));
            }
            if wanted(record.user_key()?) {
                batch.events.push(event(&record)?);
                bytes += raw_value.len();
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(batch)
    }

    /// Fills in what the keys of events held before, where that is not compacted: a read at the
    /// revision before each.
    ///
    /// # Errors
    /// The database fails.
    pub fn add_previous(&self, events: &mut [Event]) -> Result<(), MvccError> {
        for event in events {
            let Some(kv) = &event.kv else { continue };
            let creates = event.r#type() == EventType::Put && kv.create_revision == kv.mod_revision;
            if creates || kv.mod_revision < 2 {
                continue;
            }
            match self.get(&kv.key, kv.mod_revision - 1) {
                Ok(previous) => event.prev_kv = previous,
                Err(MvccError::Compacted | MvccError::FutureRevision) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The bucket key of the first record behind a main revision; `None` if there can be none.
pub(super) fn first_after(main: i64) -> Option<[u8; REVISION_LEN]> {
    Some(Revision::new(main.checked_add(1)?, 0).encode())
}

/// A record's message; key and value share its bytes.
pub(super) fn decode(revision: Revision, value: Bytes) -> Result<KeyValue, MvccError> {
    KeyValue::decode(value).map_err(|_| {
        let source = WireError { offset: 0, reason: "not a KeyValue" };
        RecordError::Value { revision, source }.into()
    })
}

fn mod_revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// A record as watchers see it. A deletion's tells the revision of the deletion.
fn event(record: &Record<'_>) -> Result<Event, MvccError> {
    let revision = record.at.revision;
    let mut kv = decode(revision, Bytes::copy_from_slice(record.raw_value))?;
    let kind = if record.at.tombstone { EventType::Delete } else { EventType::Put };
    if record.at.tombstone {
        kv.mod_revision = revision.main;
    }
    Ok(Event { r#type: kind.into(), kv: Some(kv), prev_kv: None })
}
