//! Compaction: copies a database into a new file without free pages, as `bbolt compact` does.

use crate::bucket::Bucket;
use crate::builder::{BuildError, BuildOptions, Builder, Summary};
use crate::db::Db;
use crate::disk::Disk;
use crate::error::{Damage, ReadError};
use crate::source::PageSource;

/// Why a compaction failed: the source, or the target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The new file cannot be written, or the source is not in order.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Copies all buckets, entries and sequences into a new file on an empty disk.
///
/// # Errors
/// Damage of the source (also keys that are not in order), or a failure of the target.
pub fn compact<S: PageSource, D: Disk>(
    source: &Db<S>,
    disk: D,
    options: BuildOptions,
) -> Result<(D, Summary), CompactError> {
    let mut builder = Builder::new(disk, options)?;
    // A sound file refers to each page once; more nodes than pages means shared ones, and the copy
    // could grow without end.
    let mut nodes_left = source.meta().high_water;
    for bucket in source.buckets() {
        let (name, bucket) = bucket?;
        copy(&name, &bucket, &mut builder, &mut nodes_left)?;
    }
    Ok(builder.finish()?)
}

/// Copies one bucket. The builder's limit on nesting bounds the recursion.
fn copy<S: PageSource, D: Disk>(
    name: &[u8],
    bucket: &Bucket<'_, S>,
    builder: &mut Builder<D>,
    nodes_left: &mut u64,
) -> Result<(), CompactError> {
    builder.begin_bucket(name)?;
    builder.set_sequence(bucket.sequence())?;
    let mut cursor = bucket.cursor();
    let mut counted = 0;
    while let Some(entry) = cursor.next()? {
        if entry.is_bucket {
            let name = entry.key.to_vec();
            let inner = cursor.bucket_here()?;
            copy(&name, &inner, builder, nodes_left)?;
        } else {
            builder.push(entry.key, entry.value)?;
        }
        if cursor.nodes_read() != counted {
            let read = cursor.nodes_read() - counted;
            counted = cursor.nodes_read();
            let shared = ReadError::Damaged { page: 0, damage: Damage::Shared };
            *nodes_left = nodes_left.checked_sub(read).ok_or(shared)?;
        }
    }
    Ok(builder.end_bucket()?)
}
