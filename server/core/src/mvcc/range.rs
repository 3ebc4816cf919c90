//! Ranges as requests ask for them: limits, orders, bounds, and in pieces.

use std::cmp::Ordering;

use holdfast_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use holdfast_api::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use holdfast_api::mvccpb::KeyValue;
use prost::Message;

use super::index::KeyRange;
use super::{MvccError, Reader};

/// Keys of a stream's first piece.
const FIRST_CHUNK_KEYS: i64 = 10;

/// Whether a range comes in the order of the keys. A target without an order counts: only what was
/// read is then sorted, see [`Reader::range`].
pub(super) fn has_default_order(request: &RangeRequest) -> bool {
    match request.sort_order() {
        SortOrder::None => true,
        SortOrder::Ascend => request.sort_target() == SortTarget::Key,
        SortOrder::Descend => false,
    }
}

pub(super) fn has_revision_filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// A header that tells a revision; the rest is the server's.
pub(super) fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

impl Reader {
    /// Answers a range. The header tells this point's revision, whichever was asked for; the count
    /// is of all keys, whatever the limit and the bounds.
    ///
    /// A limit cuts what is read as long as the order is by key and there are no bounds. With a
    /// target but no order upstream reads up to the limit by key and sorts that; so do we.
    ///
    /// # Errors
    /// A revision that is compacted or to come; the database fails.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, MvccError> {
        self.range_counting(request, true)
    }

    /// The same; without `count_all` the count is of what was read.
    fn range_counting(
        &self,
        request: &RangeRequest,
        count_all: bool,
    ) -> Result<RangeResponse, MvccError> {
        let range = KeyRange::of_request(&request.key, &request.range_end);
        let mut response =
            RangeResponse { header: header(self.revision), ..RangeResponse::default() };
        if request.count_only {
            response.count = self.count(range, request.revision)?;
            return Ok(response);
        }
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let cuts_early = has_default_order(request) && !has_revision_filters(request);
        // One more than asked for tells whether there are more.
        let read = if cuts_early && limit > 0 { limit.saturating_add(1) } else { 0 };
        let found = self.find(range, request.revision, read, count_all)?;
        response.count = found.total;
        let mut kvs = Vec::with_capacity(found.revisions.len());
        for revision in found.revisions {
            let kv = self.record(revision)?;
            if within_bounds(request, &kv) {
                kvs.push(kv);
            }
        }
        sort(request, &mut kvs);
        if limit > 0 && kvs.len() > limit {
            kvs.truncate(limit);
            response.more = true;
        }
        if request.keys_only {
            for kv in &mut kvs {
                kv.value.clear();
            }
        }
        response.kvs = kvs;
        Ok(response)
    }
}

fn within_bounds(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within =
        |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let target = request.sort_target();
    let compare = |a: &KeyValue, b: &KeyValue| -> Ordering {
        match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        }
    };
    match (request.sort_order(), target) {
        (SortOrder::None | SortOrder::Ascend, SortTarget::Key) => {}
        (SortOrder::None | SortOrder::Ascend, _) => kvs.sort_by(compare),
        (SortOrder::Descend, _) => kvs.sort_by(|a, b| compare(b, a)),
    }
}

/// A range in pieces, all of one point. The last piece has header, count and `more`; the first ones
/// have records only.
#[derive(Debug)]
pub struct RangeStream {
    reader: Reader,
    request: RangeRequest,
    /// Keys that may still come; `None` without a limit.
    left: Option<i64>,
    chunk: i64,
    /// About so many bytes a piece: upstream's max-request-bytes.
    target_bytes: usize,
    sent: i64,
    ended: bool,
}

impl RangeStream {
    /// Starts a stream at a point. The request was checked by [`super::check_range_stream`].
    pub fn new(reader: Reader, mut request: RangeRequest, target_bytes: usize) -> RangeStream {
        let left = (request.limit > 0).then_some(request.limit);
        if request.revision <= 0 {
            request.revision = reader.revision;
        }
        RangeStream {
            reader,
            request,
            left,
            chunk: FIRST_CHUNK_KEYS,
            target_bytes,
            sent: 0,
            ended: false,
        }
    }

    fn piece(&mut self) -> Result<RangeResponse, MvccError> {
        if self.request.count_only {
            self.ended = true;
            return self.reader.range(&self.request);
        }
        self.request.limit = self.left.map_or(self.chunk, |left| left.min(self.chunk));
        let mut piece = self.reader.range_counting(&self.request, false)?;
        let keys = i64::try_from(piece.kvs.len()).unwrap_or(i64::MAX);
        self.sent += keys;
        self.left = self.left.map(|left| left - keys);
        let next = piece.kvs.last().map(|kv| [&kv.key[..], &[0]].concat());
        let size_bytes = piece.encoded_len();
        self.ended = !piece.more || self.left == Some(0);
        if self.ended {
            piece.count = self.sent;
            if let Some(next) = next.filter(|_| piece.more) {
                let rest = KeyRange::of_request(&next, &self.request.range_end);
                piece.count += self.reader.count(rest, self.request.revision)?;
            }
            return Ok(piece);
        }
        self.adjust_chunk(size_bytes);
        self.request.key = next.unwrap_or_default();
        Ok(RangeResponse { kvs: piece.kvs, ..RangeResponse::default() })
    }

    fn adjust_chunk(&mut self, size_bytes: usize) {
        if size_bytes < self.target_bytes / 2 {
            self.chunk = self.chunk.saturating_mul(2);
        } else if size_bytes > self.target_bytes.saturating_mul(2) {
            self.chunk = (self.chunk / 2).max(1);
        }
    }
}

impl Iterator for RangeStream {
    type Item = Result<RangeResponse, MvccError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let piece = self.piece();
        self.ended |= piece.is_err();
        Some(piece)
    }
}
