//! Writing a body: small buckets as data frames or spills, and the message that a commit names.

use super::SnapshotError;
use super::base::Base;
use super::build::Outbox;
use super::source::{Source, SourceBucket};
use super::take::{SnapshotOptions, compute};
use super::uploads::Uploaded;
use super::walk::WalkResult;
use crate::access::{Access, AccessError};
use crate::format::{
    Bucket, Compression, NewObject, ObjectContext, ObjectId, SPILL_BYTES, SpillWriter,
    bucket_entry_bytes, seal_body,
};
use crate::proto::{Body, Contested, ObjectKind, ObjectRef, Rev, SmallBucket};
use crate::store::Upload;
use crate::writer::WriterKeys;
use std::sync::Arc;

/// The small buckets of a snapshot, ready for a body.
#[derive(Debug, Default)]
pub struct Buckets {
    /// Those that lie in the body.
    pub small: Vec<Bucket>,
    /// Those that lie in objects of their own.
    pub spilled: Vec<SmallBucket>,
    /// New spills.
    pub added: Vec<ObjectRef>,
    /// Spills of the base that are no longer used.
    pub removed: Vec<ObjectId>,
    /// What was stored.
    pub uploaded: Vec<Uploaded>,
    /// Spills of the base that are lost, or known to be rotten; they were stored again.
    pub lost: Vec<ObjectId>,
}

/// Reads all small buckets of `source`. Memory: twice 1 MiB for each bucket that is not spilled.
pub async fn read_buckets(
    access: &Arc<Access>,
    keys: &WriterKeys,
    mut source: Box<dyn Source>,
    base: &Base,
    options: &SnapshotOptions,
) -> Result<(Buckets, Box<dyn Source>), SnapshotError> {
    let level = options.segment.zstd_level;
    let mut buckets = Buckets::default();
    let mut kept = Vec::new();
    loop {
        let (back, part) = compute(options.inline, move || {
            let part = first_part(&mut *source, level);
            (source, part)
        })
        .await?;
        source = back;
        match part? {
            None => break,
            Some(Part::Whole(bucket)) => buckets.small.push(bucket),
            Some(Part::Large(large)) => {
                let (back, bucket, uploaded) =
                    spill(access, keys, source, large, options.inline).await?;
                source = back;
                match base.spill(&bucket.name) {
                    Some(old)
                        if old.sha256 == bucket.sha256
                            && is_sound(access, old, options, &mut buckets.lost).await? =>
                    {
                        // The same content lies there already; what was just written is an orphan.
                        kept.push(old.name.clone());
                        buckets.spilled.push(old.clone());
                    }
                    _ => {
                        buckets.added.extend(bucket.spill.clone());
                        buckets.uploaded.push(uploaded);
                        buckets.spilled.push(bucket);
                    }
                }
            }
        }
    }
    for old in base.spills().filter(|old| !kept.contains(&old.name)) {
        let object = old.spill.clone().unwrap_or_default();
        let id = crate::chain::state::object_id(&object);
        buckets.removed.push(id.map_err(|detail| SnapshotError::Base { detail })?);
    }
    Ok((buckets, source))
}

/// Whether a spill of the base can be used again; what cannot is noted.
async fn is_sound(
    access: &Access,
    bucket: &SmallBucket,
    options: &SnapshotOptions,
    lost: &mut Vec<ObjectId>,
) -> Result<bool, SnapshotError> {
    let object = bucket.spill.clone().unwrap_or_default();
    let id = crate::chain::state::object_id(&object);
    let id = id.map_err(|detail| SnapshotError::Base { detail })?;
    let name = access.names().object(ObjectKind::Spill, id);
    let there = match access.store().head(&name).await {
        Ok(found) => found.size_bytes == object.size_bytes,
        Err(error) if error.is_not_found() => false,
        Err(error) => return Err(error.into()),
    };
    let sound = there && !options.damaged.contains(&id);
    if !sound {
        lost.push(id);
    }
    Ok(sound)
}

enum Part {
    /// All of a bucket.
    Whole(Bucket),
    /// The beginning of one that needs an object of its own.
    Large(Large),
}

struct Large {
    bucket: SourceBucket,
    compression: Compression,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A bucket, whole if it is small, else its first entries.
fn first_part(source: &mut dyn Source, level: i32) -> Result<Option<Part>, SnapshotError> {
    let Some(bucket) = source.next_bucket()? else { return Ok(None) };
    // What holds passwords and roles is never compressed beside anything.
    let secret = bucket.name.starts_with(b"auth");
    let compression = if secret { Compression::Never } else { Compression::Zstd(level) };
    let mut whole = Bucket::new(&bucket.name, bucket.sequence, compression);
    let mut entries = Vec::new();
    while let Some((key, value)) = source.next_entry()? {
        entries.push((key.to_vec(), value.to_vec()));
        if whole.size_bytes() + bucket_entry_bytes(key, value) > SPILL_BYTES {
            return Ok(Some(Part::Large(Large { bucket, compression, entries })));
        }
        whole.push(key, value);
    }
    Ok(Some(Part::Whole(whole)))
}

struct Spilling {
    writer: SpillWriter<Outbox>,
    outbox: Outbox,
    source: Box<dyn Source>,
}

/// Streams a large bucket into an object of its own.
async fn spill(
    access: &Arc<Access>,
    keys: &WriterKeys,
    source: Box<dyn Source>,
    large: Large,
    inline: bool,
) -> Result<(Box<dyn Source>, SmallBucket, Uploaded), SnapshotError> {
    let index = access.sealing_seed().ok_or(crate::chain::ChainError::ReadOnly)?;
    let new = NewObject::random(&mut **access.entropy());
    let context = ObjectContext { data: Some(keys.data()), ..access.context(&index) };
    let outbox = Outbox::default();
    let name = (&large.bucket.name[..], large.bucket.sequence);
    let mut writer = SpillWriter::new(&context, &new, name, large.compression, outbox.clone())?;
    for (key, value) in &large.entries {
        writer.push(key, value)?;
    }
    drop(large.entries);
    let name = access.names().object(ObjectKind::Spill, new.id());
    let mut upload: Upload = access.store().upload(&name);
    let mut work = Spilling { writer, outbox, source };
    loop {
        let (back, more) = compute(inline, move || {
            let more = some_entries(&mut work);
            (work, more)
        })
        .await?;
        work = back;
        let more = more?;
        upload.write(&work.outbox.take()).await?;
        if !more {
            break;
        }
    }
    let (bucket, _) = work.writer.finish()?;
    upload.write(&work.outbox.take()).await?;
    let size_bytes = upload.written();
    upload.finish().await?;
    let uploaded = Uploaded { name, size_bytes, boot_ms: access.clock().boot_ms() };
    Ok((work.source, bucket, uploaded))
}

/// Writes entries until some bytes wait; false at the end of the bucket.
fn some_entries(work: &mut Spilling) -> Result<bool, SnapshotError> {
    for _ in 0..10_000 {
        match work.source.next_entry()? {
            Some((key, value)) => work.writer.push(key, value)?,
            None => return Ok(false),
        }
        if !work.outbox.is_empty() {
            break;
        }
    }
    Ok(true)
}

/// Seals and stores a body.
pub async fn store(
    access: &Access,
    keys: &WriterKeys,
    message: Body,
    buckets: &[Bucket],
) -> Result<ObjectRef, SnapshotError> {
    let index = access.sealing_seed().ok_or(crate::chain::ChainError::ReadOnly)?;
    let new = NewObject::random(&mut **access.entropy());
    let context = ObjectContext { data: Some(keys.data()), ..access.context(&index) };
    let sealed = seal_body(&context, &new, message, buckets.to_vec()).map_err(AccessError::from)?;
    let name = access.names().object(ObjectKind::Body, new.id());
    access.store().put(&name, sealed.bytes.into()).await?;
    Ok(sealed.object.reference)
}

/// The list of contested records. `stored`: the segment that new second versions went to.
pub fn contested(walk: &WalkResult, stored: Option<&bytes::Bytes>) -> Vec<Contested> {
    let entry = |((main, sub), kept, other): &(super::walk::Rev, ObjectId, Option<ObjectId>)| {
        let other = other.map(|id| id.to_bytes()).or_else(|| stored.cloned());
        Contested {
            revision: Some(Rev { main: *main, sub: *sub }),
            live_segment_id: kept.to_bytes(),
            contested_segment_id: other.unwrap_or_default(),
            verdict: String::new(),
        }
    };
    walk.contested.iter().map(entry).collect()
}
