//! What a put that crashed leaves in a local directory: the file it was writing, named like the
//! object with `#` and a number behind it (read in object_store 0.14's source). Listings leave such
//! files out, so nobody takes one for an object, and nobody finds it either.
//!
//! Holds: only files of that name, older than asked by their own time, are removed; whoever still
//! writes one fails at its end and has created nothing.

use super::{Store, StoreError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Folders below an object's folder that are looked into: `c/<cluster>/keys/<seed>`.
const DEPTH: u32 = 3;

impl Store {
    /// Removes leftovers in the store's own folder and below `prefix`, if their time is before
    /// `before_ms`; how many and their bytes. Stores that are no directory have none.
    pub(crate) async fn sweep_leftovers(
        &self,
        prefix: &str,
        before_ms: i64,
    ) -> Result<(usize, u64), StoreError> {
        let Some(directory) = self.directory.clone() else { return Ok((0, 0)) };
        let folders = [(directory.clone(), 0), (directory.join(prefix), DEPTH)];
        let swept = tokio::task::spawn_blocking(move || {
            let mut total = (0, 0);
            for (folder, depth) in folders {
                sweep(&folder, depth, before_ms, &mut total)?;
            }
            Ok(total)
        });
        let failed = |detail: String| StoreError::Unreachable { name: prefix.to_owned(), detail };
        let swept: std::io::Result<(usize, u64)> =
            swept.await.map_err(|error| failed(error.to_string()))?;
        swept.map_err(|error| failed(error.to_string()))
    }
}

fn sweep(
    folder: &Path,
    depth: u32,
    before_ms: i64,
    total: &mut (usize, u64),
) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            sweep(&entry.path(), depth - 1, before_ms, total)?;
        } else if kind.is_file() && is_leftover(&entry.path()) {
            let meta = entry.metadata()?;
            if time_ms(meta.modified()?) < before_ms {
                remove(entry.path())?;
                *total = (total.0 + 1, total.1 + meta.len());
            }
        }
    }
    Ok(())
}

/// Milliseconds since 1970 of a file's time.
fn time_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `<name>#<digits>`.
fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.rsplit_once('#').is_some_and(|(object, number)| {
        !object.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn remove(path: PathBuf) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
