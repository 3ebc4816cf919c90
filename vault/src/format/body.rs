//! Bodies: the large part of a snapshot, one object that a commit names by digest.
//!
//! Holds: the message is the index section's payload, small buckets are data frames of the same
//! object; what is opened has been checked: ids and digests have their lengths, segments ascend by
//! first revision, every live bitmap fits its segment, buckets ascend by name and their frames tile
//! the object.

use super::bitmap::{BitmapError, parse_live};
use super::bucket::{Bucket, BucketEntry, read_bucket};
use super::{
    Expected, FinishedObject, FormatError, FrameClass, NewObject, ObjectContext, ObjectName,
    ObjectWriter, OpenedObject, open_message,
};
use crate::keys::Keyring;
use crate::proto::{Body, ObjectKind, ObjectRef, Rev, SegmentRef, SmallBucket};
use roaring::RoaringBitmap;

/// A sealed body and its bytes.
#[derive(Debug)]
pub struct SealedBody {
    /// Id, size, digest and seeds, for the catalogue.
    pub object: FinishedObject,
    /// The object as stored.
    pub bytes: Vec<u8>,
    /// The message as sealed, with its buckets.
    pub body: Body,
}

/// Seals a body. `body.buckets` holds the spilled buckets only; `small` are added to them, all in
/// name order.
///
/// Errors: `Refused` when the message breaks its own rules (see [`check_body`]).
pub fn seal_body(
    context: &ObjectContext<'_>,
    new: &NewObject,
    mut body: Body,
    small: Vec<Bucket>,
) -> Result<SealedBody, FormatError> {
    let mut frames = Vec::new();
    for bucket in small {
        let compression = bucket.compression;
        let first = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        let (described, plain) = bucket.finish(first);
        frames.extend(plain.into_iter().map(|plain| (compression, plain)));
        body.buckets.push(described);
    }
    body.buckets.sort_by(|a, b| a.name.cmp(&b.name));
    let context = ObjectContext { data: context.data.filter(|_| !frames.is_empty()), ..*context };
    let mut object = ObjectWriter::new(ObjectKind::Body, &context, new, Vec::new())?;
    let frame_count = frames.len();
    check_body(&body, frame_count).map_err(|reason| object.refused(reason.into()))?;
    for (number, (compression, plain)) in frames.into_iter().enumerate() {
        object.frame(FrameClass::Bucket, compression, &plain, number + 1 == frame_count)?;
    }
    let (object, bytes) = object.finish(&prost::Message::encode_to_vec(&body))?;
    Ok(SealedBody { object, bytes, body })
}

/// A body that was opened and checked.
#[derive(Debug)]
pub struct OpenedBody {
    /// The message.
    pub body: Body,
    /// The object that holds it.
    pub object: OpenedObject,
}

/// Opens a body and checks it.
pub fn open_body(
    bytes: &[u8],
    expected: &Expected<'_>,
    keyring: &Keyring,
) -> Result<OpenedBody, FormatError> {
    let (body, object) = open_message::<Body>(bytes, expected, keyring)?;
    check_body(&body, object.frames.len()).map_err(|reason| object.damaged_index(reason))?;
    let owner = (&body.vault_id[..], &body.cluster_id[..]);
    if owner != (&object.header.vault.as_bytes()[..], &object.header.cluster.as_bytes()[..]) {
        return Err(object.damaged_index("the message names another vault or cluster"));
    }
    Ok(OpenedBody { body, object })
}

impl OpenedBody {
    /// The entries of a small bucket, from the body's own bytes; needs the data seed. Not for a
    /// spilled one.
    pub fn bucket(
        &self,
        bytes: &[u8],
        bucket: &SmallBucket,
        keyring: &Keyring,
    ) -> Result<Vec<BucketEntry>, FormatError> {
        assert!(bucket.spill.is_none(), "a spilled bucket lies in its own object");
        read_bucket(&self.object, bytes, bucket, keyring)
    }
}

/// Opens a spilled bucket: its entries, from the whole object.
pub fn open_spill(
    bytes: &[u8],
    expected: &Expected<'_>,
    bucket: &SmallBucket,
    keyring: &Keyring,
) -> Result<Vec<BucketEntry>, FormatError> {
    let (own, object) = open_message::<SmallBucket>(bytes, expected, keyring)?;
    if own != (SmallBucket { spill: None, ..bucket.clone() }) {
        return Err(object.damaged_index("the spill is not the bucket that the body names"));
    }
    read_bucket(&object, bytes, &own, keyring)
}

/// The live bitmap of a segment in a body.
pub fn live_of(segment: &SegmentRef) -> Result<RoaringBitmap, BitmapError> {
    parse_live(&segment.live, segment.record_count, segment.live_count)
}

/// The rules of a body; `Err` says the first that is broken. `frames`: data frames of its object.
pub fn check_body(body: &Body, frames: usize) -> Result<(), String> {
    for (what, bytes) in
        [("vault", &body.vault_id), ("cluster", &body.cluster_id), ("lineage", &body.lineage_id)]
    {
        exact_id(bytes).ok_or_else(|| format!("its {what} id has not 16 bytes"))?;
    }
    if !matches!(body.base_sha256.len(), 0 | 32) {
        return Err("the digest of its base has not 32 bytes".into());
    }
    if body.facts.is_none() {
        return Err("it has no facts".into());
    }
    let mut before = (i64::MIN, i64::MIN);
    for (number, segment) in body.segments.iter().enumerate() {
        let first = check_segment(segment).map_err(|why| format!("segment {number}: {why}"))?;
        if first < before {
            return Err(format!("segment {number} begins before the one before it"));
        }
        before = first;
    }
    check_buckets(&body.buckets, frames)
}

fn check_segment(segment: &SegmentRef) -> Result<(i64, i64), String> {
    let object = segment.object.as_ref().ok_or("it has no reference")?;
    check_reference(object, ObjectKind::Segment)?;
    let rev = |rev: &Option<Rev>| rev.map(|rev| (rev.main, rev.sub));
    let (Some(first), Some(last)) = (rev(&segment.first), rev(&segment.last)) else {
        return Err("it has no revisions".into());
    };
    if first > last || first < (0, 0) {
        return Err("its revisions are out of order".into());
    }
    let end = segment.index_offset.checked_add(segment.index_length);
    if end.and_then(|end| end.checked_add(64)) != Some(object.size_bytes) {
        return Err("its index does not end where its trailer begins".into());
    }
    if segment.index_sha256.len() != 32 || segment.record_count > u64::from(u32::MAX) {
        return Err("its index digest or record count is out of bounds".into());
    }
    if segment.live_bytes > segment.record_bytes {
        return Err("more bytes are alive than it holds".into());
    }
    live_of(segment).map_err(|error| error.to_string())?;
    Ok(first)
}

fn check_buckets(buckets: &[SmallBucket], frames: usize) -> Result<(), String> {
    let mut next_frames = Vec::new();
    for (number, bucket) in buckets.iter().enumerate() {
        let name = String::from_utf8_lossy(&bucket.name);
        if number > 0 && buckets[number - 1].name >= bucket.name {
            return Err(format!("bucket {name} is out of order"));
        }
        if bucket.sha256.len() != 32 {
            return Err(format!("the digest of bucket {name} has not 32 bytes"));
        }
        match &bucket.spill {
            Some(spill) => check_reference(spill, ObjectKind::Spill)?,
            None => {
                let (first, count) = (bucket.first_frame, bucket.frame_count);
                next_frames.push((u64::from(first), u64::from(count)));
            }
        }
    }
    next_frames.sort_unstable();
    let mut next = 0;
    for (first, count) in next_frames.into_iter().filter(|(_, count)| *count > 0) {
        if first != next {
            return Err("buckets share frames or leave some out".into());
        }
        next = first + count;
    }
    if next != frames as u64 {
        return Err("buckets do not name all frames".into());
    }
    Ok(())
}

/// A reference is complete: kind, id, size, digest, seeds.
pub fn check_reference(reference: &ObjectRef, kind: ObjectKind) -> Result<(), String> {
    let name = ObjectName { kind, id: None };
    let data = reference.data_seed_id.is_empty() || exact_id(&reference.data_seed_id).is_some();
    let sound = reference.kind == kind as i32
        && exact_id(&reference.object_id).is_some()
        && exact_id(&reference.index_seed_id).is_some()
        && data
        && reference.sha256.len() == 32
        && reference.size_bytes > 0;
    if sound { Ok(()) } else { Err(format!("the reference to a {name} is incomplete")) }
}

/// 16 bytes that are not all zero.
pub(super) fn exact_id(bytes: &[u8]) -> Option<()> {
    (bytes.len() == 16 && bytes.iter().any(|byte| *byte != 0)).then_some(())
}
