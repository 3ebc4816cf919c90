//! Writes a database anew beside the old one, and puts it in its place.
//!
//! Must hold: the old file stays as it is until the new one is whole and on the disk; then the name
//! changes hands at once. The lock on the old file stands until the end, so that no server starts
//! on it meanwhile.

use super::at;
use crate::failure::Failure;
use holdfast_bolt::{
    BuildOptions, CompactError, Db, FileDisk, MappedFile, compact, sync_directory,
};
use std::path::Path;

/// Opens the database of a stopped member.
///
/// # Errors
/// It is in use, or no database.
pub(super) fn open(path: &Path) -> Result<Db<MappedFile>, Failure> {
    let file = MappedFile::open(path).map_err(|why| Failure::error(why.to_string()))?;
    file.advise_sequential();
    Db::open(file).map_err(|why| at(path, why))
}

/// Options for a copy: the same page size, and full pages as upstream's defragmentation writes.
pub(super) fn options(db: &Db<MappedFile>) -> BuildOptions {
    BuildOptions { page_size: db.page_size(), ..BuildOptions::default() }
}

/// Copies a database without its free pages over itself.
///
/// # Errors
/// Damage of the database, and the disk's; then the old file is as it was.
pub(super) fn replace(path: &Path, db: &Db<MappedFile>) -> Result<(), Failure> {
    replace_with(path, |disk| {
        compact(db, disk, options(db)).map(|_| ()).map_err(|why: CompactError| why.to_string())
    })
}

/// Writes a file with `write` and puts it in the place of the one at `path`.
///
/// # Errors
/// Those of `write`, and the disk's; then the old file is as it was.
pub(super) fn replace_with(
    path: &Path,
    write: impl FnOnce(FileDisk) -> Result<(), String>,
) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Servers remove files of such names when they start.
    let aside = folder.join(format!("db.tmp.{}", std::process::id()));
    let disk = FileDisk::create_new(&aside).map_err(|why| Failure::error(why.to_string()))?;
    let written = write(disk).map_err(|why| at(path, why));
    let placed = written
        .and_then(|()| std::fs::rename(&aside, path).map_err(|why| at(path, why)))
        .and_then(|()| sync_directory(folder).map_err(|why| Failure::error(why.to_string())));
    if placed.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    placed
}
