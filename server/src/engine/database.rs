//! The database's file while the member runs: measured, streamed, and written anew without its free
//! pages.
//!
//! What must hold: a rewrite is done by the thread that commits, between two commits, so that the
//! new file holds what the old one held; the new one has the database's name only when it is whole
//! and durable, so that whatever stops the process finds one of the two under it. Whoever reads the
//! old file goes on reading it, and its space is given back when the last of them is done.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use holdfast_bolt::{
    BuildOptions, CompactError, FileDisk, FilePages, ReadTx, Store, StoreError, StoreOptions,
    StoreStats, compact,
};
use holdfast_core::backend::{Backend, BackendError, BoltBase};

use super::locks::{read, write};

/// Names beside the database that begin so are removed at a start, by upstream as well.
const ASIDE_PREFIX: &str = "db.tmp.";

/// Why a database was not written anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RewriteError {
    /// The file cannot be read, or the new one not be written. The old one is as it was.
    #[error("cannot defragment {}: {why}; the database is as it was", path.display())]
    Left { path: PathBuf, why: String },
    /// The new file has the name, and cannot be gone on with.
    #[error("after the defragmentation of {}: {source}; the member must stop", path.display())]
    Placed { path: PathBuf, source: StoreError },
    /// The state cannot be read from the new file.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl RewriteError {
    /// Whether the member can go on.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, RewriteError::Left { .. })
    }
}

/// Sizes before and after a rewrite.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rewritten {
    pub(crate) before: StoreStats,
    pub(crate) after: StoreStats,
}

/// The database's file.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    options: StoreOptions,
    store: RwLock<Arc<Store>>,
}

impl Database {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// It is in use, damaged, or cannot be created.
    pub(crate) fn open(path: &Path, options: StoreOptions) -> Result<Database, StoreError> {
        let store = RwLock::new(Arc::new(Store::open_path(path, options)?));
        Ok(Database { path: path.to_owned(), options, store })
    }

    /// The file as a backend stands on it.
    pub(crate) fn base(&self) -> BoltBase<FileDisk> {
        BoltBase::new(self.store())
    }

    /// Sizes after the last commit.
    pub(crate) fn stats(&self) -> StoreStats {
        self.store().stats()
    }

    /// The last committed state.
    pub(crate) fn read(&self) -> ReadTx<FilePages> {
        self.store().read()
    }

    fn store(&self) -> Arc<Store> {
        Arc::clone(&read(&self.store))
    }

    /// Writes the database into a new file, puts that in its place, and has the backend stand on
    /// it. To be called by the thread that commits.
    ///
    /// # Errors
    /// [`RewriteError`]; [`RewriteError::is_final`] says whether the member must stop.
    pub(crate) fn rewrite(&self, backend: &Backend) -> Result<Rewritten, RewriteError> {
        let left = |why: String| RewriteError::Left { path: self.path.clone(), why };
        let old = self.store();
        let before = old.stats();
        let name = format!("{ASIDE_PREFIX}{}", std::process::id());
        let aside = self.path.with_file_name(name);
        let new = self.copy(&old, &aside).map_err(|why| {
            let _ = std::fs::remove_file(&aside);
            left(why)
        })?;
        new.move_to(&self.path).map_err(|source| {
            if std::fs::remove_file(&aside).is_ok() {
                left(source.to_string())
            } else {
                RewriteError::Placed { path: self.path.clone(), source }
            }
        })?;
        let after = new.stats();
        *write(&self.store) = Arc::new(new);
        backend.change_base(Box::new(self.base()))?;
        Ok(Rewritten { before, after })
    }

    /// A copy without free pages that opens, durable under its own name.
    fn copy(&self, old: &Store, aside: &Path) -> Result<Store, String> {
        let state = old.read();
        let build = BuildOptions { page_size: state.page_size(), ..BuildOptions::default() };
        let disk = FileDisk::create_new(aside).map_err(|error| error.to_string())?;
        let copied = compact(&state, disk, build);
        let (disk, _) = copied.map_err(|error: CompactError| error.to_string())?;
        Store::open(disk, self.options).map_err(|error: StoreError| error.to_string())
    }
}
