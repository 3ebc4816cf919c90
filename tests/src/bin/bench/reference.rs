//! What a perfect second backup would upload: the new records, compressed as the vault compresses,
//! and nothing else.
//!
//! Read from the plain snapshot file: every record above the last backup's revision, in order, in
//! frames of 1 MiB, zstd at the agent's default level; records under the sensitive prefix in frames
//! of their own and uncompressed; 16 bytes of AES-GCM tag a frame. No index, no header, no padding,
//! no body, no commit: those count against us.

use crate::figures::Result;
use holdfast_bolt::{Db, MappedFile};
use holdfast_core::record::Record;
use std::path::Path;

/// The agent's defaults; see etc/agent.yaml.
const LEVEL: i32 = 3;
const SENSITIVE: [&[u8]; 2] = [b"/registry/secrets/", b"k8s:enc:"];
const FRAME_BYTES: usize = 1 << 20;
const TAG_BYTES: u64 = 16;

/// It.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reference {
    pub(crate) records: u64,
    pub(crate) plain_bytes: u64,
    pub(crate) sealed_bytes: u64,
}

/// Computes it for the records above revision `after`.
pub(crate) fn of_new_records(snapshot: &Path, after: i64) -> Result<Reference> {
    let db = Db::open(MappedFile::open(snapshot)?)?;
    let bucket = db.bucket(b"key")?.ok_or("the snapshot has no bucket `key`")?;
    let mut reference = Reference::default();
    let (mut normal, mut sensitive) = (Vec::new(), Vec::new());
    let from = (after + 1).to_be_bytes();
    let mut range = bucket.range(&from[..]..);
    while let Some(entry) = range.next()? {
        let record = Record::parse(entry.key, entry.value)?;
        let is_sensitive = record.user_key()?.starts_with(SENSITIVE[0])
            || record.key_value()?.value.starts_with(SENSITIVE[1]);
        let lane = if is_sensitive { &mut sensitive } else { &mut normal };
        if lane.len() + record.raw_value.len() > FRAME_BYTES {
            reference.sealed_bytes += frame(lane, is_sensitive)?;
        }
        lane.extend_from_slice(record.raw_value);
        reference.records += 1;
        reference.plain_bytes += record.raw_value.len() as u64;
    }
    reference.sealed_bytes += frame(&mut normal, false)? + frame(&mut sensitive, true)?;
    Ok(reference)
}

/// Bytes of one frame when sealed; empties it.
fn frame(plain: &mut Vec<u8>, is_sensitive: bool) -> Result<u64> {
    if plain.is_empty() {
        return Ok(0);
    }
    let length = if is_sensitive {
        plain.len()
    } else {
        zstd::bulk::compress(plain, LEVEL)?.len().min(plain.len())
    };
    plain.clear();
    Ok(length as u64 + TAG_BYTES)
}
