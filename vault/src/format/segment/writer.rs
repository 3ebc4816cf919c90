//! Writing a segment, one pass, front to back.
//!
//! Holds: memory is one frame per lane plus the index; a frame leaves only when the next record of
//! its lane does not fit any more, so that at the end there is always one left to carry the last
//! bit.

use crate::format::bitmap::{all_alive, encode_live};
use crate::format::record::Record;
use crate::format::varint::put_varint;
use crate::format::{
    Compression, DigestKey, FormatError, FrameClass, MAX_FRAME_BYTES, NewObject, ObjectContext,
    ObjectWriter, TagKey,
};
use crate::proto::segment_ref::Class;
use crate::proto::{ObjectKind, Rev, SegmentRef};
use bytes::Bytes;
use std::io::Write;

/// How a segment is cut and compressed.
#[derive(Debug, Clone, Copy)]
pub struct SegmentSettings {
    /// Plaintext at which a frame is full, in bytes; a larger record makes a frame of its own.
    pub frame_bytes: usize,
    /// zstd level of normal frames.
    pub zstd_level: i32,
}

impl Default for SegmentSettings {
    /// 1 MiB, level 3.
    fn default() -> SegmentSettings {
        SegmentSettings { frame_bytes: 1 << 20, zstd_level: 3 }
    }
}

/// Writes records, in revision order, into one segment.
pub struct SegmentWriter<W> {
    object: ObjectWriter<W>,
    class: Class,
    settings: SegmentSettings,
    digest_key: DigestKey,
    tag_key: TagKey,
    normal: Lane,
    sensitive: Lane,
    index: Vec<u8>,
    first: Option<(i64, i64)>,
    last: (i64, i64),
    record_count: u32,
    record_bytes: u64,
}

/// The frame being filled of one class, and what the index will say of it.
struct Lane {
    class: FrameClass,
    plain: Vec<u8>,
    entries: Vec<u8>,
    count: u64,
    first: (i64, i64),
    last: (i64, i64),
}

impl<W> std::fmt::Debug for SegmentWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SegmentWriter({:?}, {} records)", self.object, self.record_count)
    }
}

impl<W: Write> SegmentWriter<W> {
    /// Begins a segment; `context.data` must be given.
    pub fn new(
        context: &ObjectContext<'_>,
        new: &NewObject,
        tag_key: &TagKey,
        class: Class,
        settings: SegmentSettings,
        sink: W,
    ) -> Result<SegmentWriter<W>, FormatError> {
        assert!(context.data.is_some(), "a segment has data frames");
        let object = ObjectWriter::new(ObjectKind::Segment, context, new, sink)?;
        Ok(SegmentWriter {
            digest_key: object.digest_key(),
            object,
            class,
            settings,
            tag_key: tag_key.clone(),
            normal: Lane::new(FrameClass::Normal),
            sensitive: Lane::new(FrameClass::Sensitive),
            index: Vec::new(),
            first: None,
            last: (-1, -1),
            record_count: 0,
            record_bytes: 0,
        })
    }

    /// Adds a record. `key` is the etcd key inside the value; `sensitive` records never share a
    /// frame with others and are never compressed.
    ///
    /// Errors: `Refused` for a record out of order, with a negative revision or too large for a
    /// frame; `Sink`.
    pub fn push(
        &mut self,
        record: &Record<'_>,
        key: &[u8],
        sensitive: bool,
    ) -> Result<(), FormatError> {
        self.admit(record)?;
        let lane = if sensitive { &mut self.sensitive } else { &mut self.normal };
        let longer = record.encoded_len(lane.previous_main());
        if !lane.plain.is_empty() && lane.plain.len() + longer > self.settings.frame_bytes {
            self.flush(sensitive, false)?;
        }
        let digest = record.digest(&self.digest_key);
        let tag = self.tag_key.tag(key);
        let lane = if sensitive { &mut self.sensitive } else { &mut self.normal };
        lane.push(record, digest, tag);
        self.first.get_or_insert(record.revision());
        self.last = record.revision();
        self.record_count += 1;
        self.record_bytes += record.value.len() as u64;
        Ok(())
    }

    /// Bytes written so far; what still waits in the lanes' frames is not counted.
    pub fn written(&self) -> u64 {
        self.object.written()
    }

    /// Records pushed so far.
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Ends the segment: the reference for the body, all records alive, and the sink.
    ///
    /// Errors: `Refused` without any record; `Sink`.
    pub fn finish(mut self) -> Result<(SegmentRef, W), FormatError> {
        let Some(first) = self.first else {
            return Err(self.object.refused("a segment without records".into()));
        };
        let both = !self.normal.plain.is_empty() && !self.sensitive.plain.is_empty();
        if both {
            self.flush(false, false)?;
        }
        let sensitive_last = !self.sensitive.plain.is_empty();
        self.flush(sensitive_last, true)?;
        let (done, sink) = self.object.finish(&self.index)?;
        let reference = SegmentRef {
            object: Some(done.reference),
            class: self.class as i32,
            index_offset: done.index_offset,
            index_length: done.index_length,
            index_sha256: Bytes::copy_from_slice(&done.index_sha256),
            first: Some(Rev { main: first.0, sub: first.1 }),
            last: Some(Rev { main: self.last.0, sub: self.last.1 }),
            record_count: u64::from(self.record_count),
            record_bytes: self.record_bytes,
            live: encode_live(&all_alive(self.record_count)),
            live_count: u64::from(self.record_count),
            live_bytes: self.record_bytes,
        };
        Ok((reference, sink))
    }

    fn admit(&self, record: &Record<'_>) -> Result<(), FormatError> {
        let (main, sub) = record.revision();
        if main < 0 || sub < 0 {
            return Err(self.object.refused(format!("revision {main}.{sub} is negative").into()));
        }
        if record.revision() <= self.last {
            let (last_main, last_sub) = self.last;
            let reason = format!("revision {main}.{sub} does not follow {last_main}.{last_sub}");
            return Err(self.object.refused(reason.into()));
        }
        if record.encoded_len(0) > MAX_FRAME_BYTES {
            let size = record.value.len();
            let reason = format!("the record {main}.{sub} of {size} bytes is larger than a frame");
            return Err(self.object.refused(reason.into()));
        }
        if self.record_count == u32::MAX {
            return Err(self.object.refused("more than 2^32 - 1 records".into()));
        }
        Ok(())
    }

    fn flush(&mut self, sensitive: bool, last: bool) -> Result<(), FormatError> {
        let (lane, compression) = if sensitive {
            (&mut self.sensitive, Compression::Never)
        } else {
            (&mut self.normal, Compression::Zstd(self.settings.zstd_level))
        };
        self.object.frame(lane.class, compression, &lane.plain, last)?;
        for number in [lane.first.0, lane.first.1, lane.last.0, lane.last.1] {
            put_varint(&mut self.index, number.unsigned_abs());
        }
        put_varint(&mut self.index, lane.count);
        self.index.extend_from_slice(&lane.entries);
        lane.clear();
        Ok(())
    }
}

impl Lane {
    fn new(class: FrameClass) -> Lane {
        let (plain, entries) = (Vec::new(), Vec::new());
        Lane { class, plain, entries, count: 0, first: (0, 0), last: (0, 0) }
    }

    /// Main revision of the record before in this frame; 0 in an empty one.
    fn previous_main(&self) -> i64 {
        if self.plain.is_empty() { 0 } else { self.last.0 }
    }

    fn push(&mut self, record: &Record<'_>, digest: u32, tag: u32) {
        let revision = record.revision();
        record.encode(self.previous_main(), &mut self.plain);
        if self.count == 0 {
            self.first = revision;
            self.last = revision;
        }
        put_varint(&mut self.entries, record.main.abs_diff(self.last.0));
        put_varint(&mut self.entries, record.sub.unsigned_abs());
        self.entries.push(record.flags());
        put_varint(&mut self.entries, record.value.len() as u64);
        self.entries.extend_from_slice(&digest.to_le_bytes());
        self.entries.extend_from_slice(&tag.to_le_bytes());
        self.last = revision;
        self.count += 1;
    }

    fn clear(&mut self) {
        self.plain.clear();
        self.entries.clear();
        self.count = 0;
    }
}
