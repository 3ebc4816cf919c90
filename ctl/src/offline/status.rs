//! snapshot status: checks a snapshot file from end to end and counts what it holds.

use super::at;
use super::digest::{self, Trailer};
use crate::console::Console;
use crate::failure::Failure;
use crate::print::FileStatus;
use holdfast_bolt::{Db, MappedFile, PageSource, ReadError};
use holdfast_core::buckets::{KEY, META};
use holdfast_core::meta::STORAGE_VERSION;
use holdfast_core::record::Record;
use std::collections::HashSet;
use std::path::Path;

/// Most faults that are told one by one.
const MOST_FAULTS: usize = 20;

/// Reads a file; the digest at its end must be right if it has one.
///
/// # Errors
/// A file that is no snapshot, or damaged.
pub(super) fn of(path: &Path, console: &Console) -> Result<FileStatus, Failure> {
    let file = MappedFile::open(path).map_err(|why| Failure::error(why.to_string()))?;
    file.advise_sequential();
    match digest::judge(file.as_slice()) {
        Trailer::Good => {}
        Trailer::Wrong => return Err(digest::wrong(path)),
        Trailer::Missing => console.complain(format!(
            "Warning: {} has no SHA-256 at its end: a database, not a snapshot; only its structure \
             is checked",
            path.display()
        )),
    }
    let db = Db::open(file).map_err(|why| at(path, why))?;
    check_structure(&db, path)?;
    let mut status = FileStatus {
        hash: 0,
        revision: 0,
        keys: 0,
        size_bytes: db.meta().high_water * u64::from(db.page_size()),
        version: String::new(),
    };
    let mut alive = HashSet::new();
    for named in db.buckets() {
        let (name, bucket) = named.map_err(|why| at(path, why))?;
        status.hash = crc32c::crc32c_append(status.hash, &name);
        let mut cursor = bucket.cursor();
        while let Some(entry) = cursor.next().map_err(|why| at(path, why))? {
            status.hash = crc32c::crc32c_append(status.hash, entry.key);
            status.hash = crc32c::crc32c_append(status.hash, entry.value);
            if name == KEY {
                count(entry.key, entry.value, &mut status, &mut alive)
                    .map_err(|why| at(path, why))?;
            }
        }
    }
    status.keys = alive.len() as u64;
    status.version = storage_version(&db).map_err(|why| at(path, why))?;
    Ok(status)
}

/// Fails with what `bbolt check` would find.
fn check_structure<S: PageSource>(db: &Db<S>, path: &Path) -> Result<(), Failure> {
    let report = holdfast_bolt::check(db).map_err(|why| at(path, why))?;
    if report.faults.is_empty() {
        return Ok(());
    }
    let told: Vec<String> =
        report.faults.iter().take(MOST_FAULTS).map(|fault| format!("\n{fault}")).collect();
    let count = report.faults.len();
    let words = format!("snapshot file integrity check failed. {count} errors found.");
    Err(Failure::error(format!("{words}{}", told.concat())))
}

fn count(
    raw_key: &[u8],
    raw_value: &[u8],
    status: &mut FileStatus,
    alive: &mut HashSet<Vec<u8>>,
) -> Result<(), holdfast_core::record::RecordError> {
    let record = Record::parse(raw_key, raw_value)?;
    status.revision = record.at.revision.main;
    let key = record.key_value()?.key;
    if record.at.tombstone {
        alive.remove(key);
    } else {
        alive.insert(key.to_vec());
    }
    Ok(())
}

fn storage_version<S: PageSource>(db: &Db<S>) -> Result<String, ReadError> {
    let Some(meta) = db.bucket(META)? else { return Ok(String::new()) };
    let mut cursor = meta.cursor();
    while let Some(entry) = cursor.next()? {
        if entry.key == STORAGE_VERSION {
            return Ok(String::from_utf8_lossy(entry.value).into_owned());
        }
    }
    Ok(String::new())
}
