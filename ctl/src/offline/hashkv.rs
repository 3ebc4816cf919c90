//! hashkv: the hash of the history in a file.
//!
//! The file is only read: upstream's tool opens it for writing, finishes a compaction in it, and a
//! snapshot's SHA-256 is wrong afterwards.

use super::at;
use crate::failure::Failure;
use crate::print::FileHash;
use holdfast_bolt::{Db, MappedFile};
use holdfast_core::database::{DatabaseRecords, KeyFacts, read_small};
use holdfast_core::hashkv::{HashScope, RecordSource, hashkv};
use holdfast_core::meta::CompactionMarks;
use std::path::Path;

/// The hash up to a revision; up to the last one for 0.
///
/// # Errors
/// A file that is no database, or damaged; a revision that is not in it.
pub(super) fn of(path: &Path, revision: i64) -> Result<FileHash, Failure> {
    let file = MappedFile::open(path).map_err(|why| Failure::error(why.to_string()))?;
    file.advise_sequential();
    let db = Db::open(file).map_err(|why| at(path, why))?;
    let small = read_small(&db).map_err(|why| at(path, why))?;
    let marks = CompactionMarks::read(&small).map_err(|why| at(path, why))?;
    let records = DatabaseRecords::new(&db);
    let mut facts = KeyFacts::default();
    let counted = records.scan(&mut |record| {
        facts.add(&record);
        Ok(())
    });
    counted.map_err(|why| at(path, why))?;
    let compact_revision = marks.effective();
    let current = marks.logical_revision(facts.last.map(|last| last.main));
    let revision = if revision == 0 { current } else { revision };
    if revision > current {
        return Err(Failure::error("mvcc: required revision is a future revision"));
    }
    if revision < compact_revision {
        return Err(Failure::error("mvcc: required revision has been compacted"));
    }
    let scope = HashScope { revision, compact_revision };
    let hash = hashkv(&records, scope).map_err(|why| at(path, why))?;
    Ok(FileHash { hash, revision, compact_revision })
}
