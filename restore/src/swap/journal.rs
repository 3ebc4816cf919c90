//! The journal beside a data directory: JSON, replaced as a whole.
//!
//! Holds: it is written before the step that it announces and again after it. An empty one is
//! removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Names, SwapError};

const VERSION: u32 = 1;
/// A journal is a few hundred bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Restores that can be undone one after the other; older ones keep their directories, unlisted.
const MAX_DONE: usize = 64;

/// What was done at one data directory, and what is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    version: u32,
    /// Restores that can be undone, the last one last.
    pub done: Vec<Done>,
    /// A step that may have been interrupted.
    pub pending: Option<Pending>,
}

/// A restore that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Where the directory from before it is; `None` if there was none.
    pub aside: Option<PathBuf>,
}

/// What is being done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pending {
    /// A rebuild grows.
    Building,
    /// The rebuild is complete and is being put in place.
    Swapping {
        /// Where what stands there goes; `None` if nothing does.
        aside: Option<PathBuf>,
    },
    /// The last restore is being undone.
    Undoing {
        /// Where the restored directory goes.
        undone: PathBuf,
    },
}

impl Journal {
    /// Reads a journal; a missing one is empty.
    ///
    /// # Errors
    /// One that cannot be read, or of a later version.
    pub fn read(path: &Path) -> Result<Journal, SwapError> {
        let bad = |reason: String| SwapError::Journal { journal: path.to_owned(), reason };
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Journal::default()),
            Err(error) => return Err(bad(error.to_string())),
            Ok(meta) if meta.len() > MAX_BYTES => return Err(bad("it is too large".to_owned())),
            Ok(_) => {}
        }
        let bytes = fs::read(path).map_err(|error| bad(error.to_string()))?;
        let journal: Journal =
            serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if journal.version > VERSION {
            return Err(bad(format!("version {}, this program knows {VERSION}", journal.version)));
        }
        Ok(journal)
    }

    /// Writes it durably, or removes it when nothing is in it.
    ///
    /// # Errors
    /// [`SwapError::Io`].
    pub fn write(&self, path: &Path, names: &mut dyn Names) -> Result<(), SwapError> {
        let skipped = self.done.len().saturating_sub(MAX_DONE);
        let done = self.done[skipped..].to_vec();
        let journal = Journal { version: VERSION, done, pending: self.pending.clone() };
        let written = if journal.done.is_empty() && journal.pending.is_none() {
            names.remove_file(path)
        } else {
            let bytes = serde_json::to_vec_pretty(&journal).map_err(io::Error::other);
            bytes.and_then(|bytes| names.replace_file(path, &bytes))
        };
        written.map_err(|source| SwapError::Io { what: "write", path: path.to_owned(), source })
    }
}
