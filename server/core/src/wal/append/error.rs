//! Why a log cannot be written, and how a failure is remembered.
//!
//! What must hold: a log that failed once says so on every later call.

use std::io;
use std::path::{Path, PathBuf};

/// A log that cannot be written. Everything but [`WalWriteError::Exists`] and
/// [`WalWriteError::Order`] is final for the open log.
#[derive(Debug, thiserror::Error)]
pub enum WalWriteError {
    /// There is a log already.
    #[error("there is a WAL already in {}", dir.display())]
    Exists {
        /// Its directory.
        dir: PathBuf,
    },
    /// The disk failed.
    #[error("cannot {action} {}: {source}; the member must stop", path.display())]
    Disk {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// An earlier write failed; what the disk holds is unknown.
    #[error("the WAL failed before ({cause}); restart the member to read what is on the disk")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
    /// Entries that would leave a gap. The log is as it was.
    #[error("entry {found} does not follow entry {last}, the last one in the WAL")]
    Order {
        /// The last index in the log.
        last: u64,
        /// The index given.
        found: u64,
    },
}

pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalWriteError {
    let path = path.to_owned();
    move |source| WalWriteError::Disk { action, path, source }
}

/// Remembers a failure for good.
pub(super) fn poison<T>(
    failure: &mut Option<String>,
    result: io::Result<T>,
    action: &'static str,
    path: &Path,
) -> Result<T, WalWriteError> {
    result.map_err(failed(action, path)).inspect_err(|error| *failure = Some(error.to_string()))
}
