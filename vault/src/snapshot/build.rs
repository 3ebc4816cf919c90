//! Segments in the making: one for each target, rolled at the target size, their bytes handed out
//! as they are made.
//!
//! Holds: never a whole segment in memory; the bytes of one upload are handed out in order; a
//! segment of copied records spans no more than the group of segments that it replaces, so that few
//! overlap anywhere.

use crate::access::{Access, AccessError};
use crate::format::{
    FormatError, NewObject, ObjectContext, ObjectId, Record, SegmentSettings, SegmentWriter, TagKey,
};
use crate::keys::{DataSeed, IndexSeed};
use crate::proto::SegmentRef;
use crate::proto::segment_ref::Class;
use crate::snapshot::walk::{Emit, Rev, SourceRecord, Target};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// What happens to an upload.
#[derive(Debug)]
pub enum UploadEvent {
    /// A new object begins.
    Begin(ObjectId),
    /// More of its bytes.
    Data(ObjectId, Vec<u8>),
    /// It is complete.
    End(ObjectId),
}

/// The open segments of one snapshot.
pub struct Builders {
    access: Arc<Access>,
    data: DataSeed,
    index: IndexSeed,
    tag_key: TagKey,
    settings: SegmentSettings,
    target_bytes: u64,
    group_ends: BTreeMap<u32, Rev>,
    open: BTreeMap<Target, Open>,
    events: Vec<UploadEvent>,
    waiting: usize,
    done: Vec<(Target, SegmentRef)>,
}

struct Open {
    id: ObjectId,
    writer: SegmentWriter<Outbox>,
    outbox: Outbox,
}

/// Bytes between a segment's writer and its upload.
#[derive(Clone, Default)]
pub(super) struct Outbox(Arc<Mutex<Vec<u8>>>);

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Outbox {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a snapshot's segments are written with.
pub struct BuildSettings {
    /// Frame size and compression.
    pub segment: SegmentSettings,
    /// A segment is closed when its sealed bytes reach this.
    pub target_bytes: u64,
    /// Keys the record key tags.
    pub tag_key: TagKey,
    /// The last revision of each group of segments that is copied forward.
    pub group_ends: BTreeMap<u32, Rev>,
}

/// Groups in the making at a time; more of them share a segment.
const OPEN_GROUPS: usize = 4;

impl Builders {
    /// None open yet.
    pub fn new(
        access: Arc<Access>,
        data: DataSeed,
        index: IndexSeed,
        settings: BuildSettings,
    ) -> Builders {
        Builders {
            access,
            data,
            index,
            tag_key: settings.tag_key,
            settings: settings.segment,
            target_bytes: settings.target_bytes,
            group_ends: settings.group_ends,
            open: BTreeMap::new(),
            events: Vec::new(),
            waiting: 0,
            done: Vec::new(),
        }
    }

    /// Bytes that wait to be handed out.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Hands out what happened since the last call, in order.
    pub fn events(&mut self) -> Vec<UploadEvent> {
        self.waiting = 0;
        std::mem::take(&mut self.events)
    }

    /// Closes all open segments.
    pub fn close(&mut self) -> Result<(), AccessError> {
        let targets: Vec<Target> = self.open.keys().copied().collect();
        targets.into_iter().try_for_each(|target| self.roll(target))
    }

    /// The segments closed so far.
    pub fn done(self) -> Vec<(Target, SegmentRef)> {
        assert!(self.open.is_empty(), "open segments are closed first");
        self.done
    }

    fn begin(&mut self, target: Target) -> Result<(), AccessError> {
        let context = ObjectContext { data: Some(&self.data), ..self.access.context(&self.index) };
        let new = NewObject::random(&mut **self.access.entropy());
        let outbox = Outbox::default();
        let class = match target {
            Target::Live => Class::Live,
            Target::Superseded => Class::Superseded,
            Target::Copied(_) => Class::Copied,
            Target::Contested => Class::Contested,
        };
        let sink = outbox.clone();
        let writer = SegmentWriter::new(&context, &new, &self.tag_key, class, self.settings, sink)?;
        self.events.push(UploadEvent::Begin(new.id()));
        self.open.insert(target, Open { id: new.id(), writer, outbox });
        Ok(())
    }

    fn collect(&mut self, target: Target) {
        if let Some(open) = self.open.get(&target) {
            let bytes = open.outbox.take();
            if !bytes.is_empty() {
                self.waiting += bytes.len();
                self.events.push(UploadEvent::Data(open.id, bytes));
            }
        }
    }

    /// Closes the groups that end before `rev`; where a record of `group` goes then.
    fn group(&mut self, group: u32, rev: Rev) -> Result<Target, AccessError> {
        let copied = |target: &Target| match target {
            Target::Copied(group) => Some(*group),
            _ => None,
        };
        let open: Vec<u32> = self.open.keys().filter_map(copied).collect();
        let ended = |group: &u32| self.group_ends.get(group).is_none_or(|end| *end < rev);
        let (ended, left): (Vec<u32>, Vec<u32>) = open.into_iter().partition(ended);
        ended.into_iter().try_for_each(|group| self.roll(Target::Copied(group)))?;
        let full = left.len() >= OPEN_GROUPS && !left.contains(&group);
        Ok(Target::Copied(left.first().copied().filter(|_| full).unwrap_or(group)))
    }

    fn roll(&mut self, target: Target) -> Result<(), AccessError> {
        self.collect(target);
        let Some(open) = self.open.remove(&target) else { return Ok(()) };
        let (segment, _) = open.writer.finish()?;
        let bytes = open.outbox.take();
        self.waiting += bytes.len();
        self.events.push(UploadEvent::Data(open.id, bytes));
        self.events.push(UploadEvent::End(open.id));
        self.done.push((target, segment));
        Ok(())
    }
}

impl Emit for Builders {
    type Error = AccessError;

    fn emit(&mut self, target: Target, record: &SourceRecord<'_>) -> Result<(), AccessError> {
        let target = match target {
            Target::Copied(group) => self.group(group, record.rev())?,
            other => other,
        };
        if !self.open.contains_key(&target) {
            self.begin(target)?;
        }
        let Some(open) = self.open.get_mut(&target) else { return Ok(()) };
        let plain = Record {
            main: record.main,
            sub: record.sub,
            tombstone: record.tombstone,
            value: record.value,
        };
        let pushed: Result<(), FormatError> =
            open.writer.push(&plain, record.key, record.sensitive);
        pushed?;
        let full = open.writer.written() >= self.target_bytes;
        self.collect(target);
        if full { self.roll(target) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
