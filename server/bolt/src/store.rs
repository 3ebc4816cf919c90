//! A bolt file that is written to: one transaction at a time, beside any number of readers.
//!
//! A transaction changes nodes in memory, writes them to pages that nobody refers to, syncs, then
//! writes the one meta page that the committed state does not stand in, and syncs again. So at
//! every moment the file opens as the last committed state, or the one before its meta got through.
//!
//! ```
//! use holdfast_bolt::{Store, StoreOptions, fault::{MemoryDisk, SharedDisk}};
//! # fn main() -> Result<(), holdfast_bolt::StoreError> {
//! let store = Store::open(SharedDisk::new(MemoryDisk::new()), StoreOptions::default())?;
//! let mut change = store.write()?;
//! change.create_bucket_if_missing(b"key")?.put(b"k", b"v")?;
//! change.commit()?;
//! let state = store.read();
//! let bucket = state.bucket(b"key")?.ok_or(holdfast_bolt::StoreError::Failed)?;
//! assert_eq!(bucket.get(b"k")?.as_deref(), Some(&b"v"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! What must hold:
//! - Commit order: grow and sync if the file is to grow, pages, sync, meta, sync. After a failed
//!   sync or meta write nothing more is written: the store is poisoned and must be opened anew.
//! - A page that a reader sees is not written to; readers never look beyond what their meta counts,
//!   which lies within the file, and the file is never cut.
//! - Free pages are derived from what is reachable when the file is opened, with a stored freelist,
//!   too: whatever a crash left behind is free again.
//! - No input makes this panic or loop without end: damage is an error with page and reason, and
//!   the transaction that met it does not commit.

mod arena;
mod balance;
mod bucket;
mod cut;
mod error;
mod freelist;
mod look_up;
mod node;
mod open;
mod output;
mod read;
mod spans;
mod spill;
mod write;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::builder::Freelist;
use crate::disk::{Disk, DiskError, FileDisk};
use crate::source::PageSource;
pub use error::StoreError;
use read::Published;
pub use read::ReadTx;
pub use write::{Item, WriteBucket, WriteTx};
use writer::Writer;

/// A disk whose pages can be read by others while it is written to.
pub trait StoreDisk: Disk + Send + 'static {
    /// What reads the pages.
    type Pages: StorePages;

    /// A source of the first `len` bytes, which are within the file and stay so. Pages that the
    /// source's user refers to must not be written to while it lives; others may.
    ///
    /// `reserve_bytes`: how much address space to take at least, so that a growing file needs no
    /// new map.
    ///
    /// # Errors
    /// If the file cannot be mapped.
    fn pages(&mut self, len: u64, reserve_bytes: u64) -> Result<Self::Pages, DiskError>;
}

/// The pages of a store, shared between readers.
pub trait StorePages: PageSource + Clone + Send + Sync + 'static {
    /// Copies bytes, also of pages that may be written to meanwhile.
    ///
    /// # Errors
    /// As reads.
    fn copy_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()>;
}

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// Page size of a new file in bytes; an existing one has its own.
    pub page_size: u32,
    /// Whether commits store the freelist. etcd does not; either kind of file is opened.
    pub freelist: Freelist,
    /// Address space taken for the map at first, in bytes. etcd asks for 10 GiB. It also decides
    /// how small files grow, as in bbolt.
    pub initial_map_bytes: u64,
    /// What a file grows by, in bytes, when it is larger than this. Below, it doubles.
    pub growth_step_bytes: u64,
    /// Leaves syncs out: a crash of the machine may then lose the file.
    pub no_sync: bool,
}

impl Default for StoreOptions {
    /// bbolt's values, but for the freelist, which is not stored.
    fn default() -> StoreOptions {
        StoreOptions {
            page_size: 4096,
            freelist: Freelist::NotStored,
            initial_map_bytes: 0,
            growth_step_bytes: 16 << 20,
            no_sync: false,
        }
    }
}

/// Sizes of a store after its last commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes of all pages that were ever used: what etcd calls the size of the database.
    pub size_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Pages that can be written to.
    pub free_pages: u64,
    /// Pages that are free but for readers who may still see them.
    pub pending_pages: u64,
    /// Page size in bytes.
    pub page_size: u32,
}

impl StoreStats {
    /// Bytes of the pages that the last commit refers to: what etcd calls the size in use. What
    /// only readers of older states still see is not counted.
    pub fn in_use_bytes(&self) -> u64 {
        let unused = self.free_pages + self.pending_pages;
        self.size_bytes - unused * u64::from(self.page_size)
    }
}

/// An open bolt file. Shared by reference or `Arc`: reading and writing take `&self`.
pub struct Store<D: StoreDisk = FileDisk> {
    published: Arc<Mutex<Published<D::Pages>>>,
    writer: Mutex<Writer<D>>,
}

impl Store<FileDisk> {
    /// Opens the file at `path` under its exclusive lock, or creates it, readable by its owner.
    ///
    /// # Errors
    /// A file that is in use, damaged, or no database.
    pub fn open_path(path: &Path, options: StoreOptions) -> Result<Store, StoreError> {
        Store::open(FileDisk::open_or_create(path)?, options)
    }

    /// Gives the file another name, in the place of a file that has it already, and makes the name
    /// durable. Waits for the change that another thread may be at.
    ///
    /// # Errors
    /// As [`FileDisk::move_to`]; [`StoreError::Poisoned`] if a writer has panicked.
    pub fn move_to(&self, path: &Path) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().map_err(|_| StoreError::Poisoned)?;
        Ok(writer.disk.move_to(path)?)
    }
}

impl<D: StoreDisk> Store<D> {
    /// Opens the database on a disk; an empty disk becomes a new one. Walks all nodes once, to
    /// find the free pages.
    ///
    /// # Errors
    /// Bad options, the disk, no database, or damage.
    pub fn open(disk: D, options: StoreOptions) -> Result<Store<D>, StoreError> {
        let (writer, published) = open::open(disk, options)?;
        Ok(Store { published: Arc::new(Mutex::new(published)), writer: Mutex::new(writer) })
    }

    /// The last committed state, for as long as it is held.
    pub fn read(&self) -> ReadTx<D::Pages> {
        ReadTx::begin(&self.published)
    }

    /// Begins a change, after the one that another thread may be at. A thread that holds one must
    /// not begin another: it would wait for itself.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] after a sync or meta write has failed, or a writer has panicked.
    pub fn write(&self) -> Result<WriteTx<'_, D>, StoreError> {
        let writer = self.writer.lock().map_err(|_| StoreError::Poisoned)?;
        WriteTx::begin(&self.published, writer)
    }

    /// Sizes after the last commit.
    pub fn stats(&self) -> StoreStats {
        lock(&self.published).stats
    }

    /// Closes the store and gives the disk back. Readers go on.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] if a writer has panicked.
    pub fn into_disk(self) -> Result<D, StoreError> {
        Ok(self.writer.into_inner().map_err(|_| StoreError::Poisoned)?.disk)
    }
}

impl<D: StoreDisk> fmt::Debug for Store<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Locks what is right after every statement, so that a panic elsewhere does no harm to it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
