//! The bbolt file format, version 2: read, check, bulk build, change.
//!
//! Four ways in, none of which trusts a byte of the file:
//!
//! - [`Db`] over a [`PageSource`] reads: buckets, cursors, ranges. From a memory map
//!   ([`MappedFile`]) nothing is copied; from a source that returns owned bytes at most one node
//!   per tree level is in memory.
//! - [`check()`] walks everything and reports what Go's `bbolt check` would find, and page counts.
//! - [`Builder`] writes a new file bottom-up from sorted input over a [`Disk`]; [`compact()`] feeds
//!   it from a database.
//! - [`Store`] changes a file in copy-on-write transactions, beside readers that keep their state.
//!
//! What must hold: no input makes this crate panic, loop without end or allocate without bound.
//! Damage is a [`ReadError::Damaged`] with page number and reason. The bytes stand in
//! [`mod@layout`]. This crate holds the product's only `unsafe` block (`map.rs`).

mod bucket;
mod builder;
mod check;
mod compact;
mod cursor;
mod db;
mod disk;
mod entry;
mod error;
pub mod fault;
mod freelist;
pub mod layout;
mod lock;
mod map;
mod node;
mod pageset;
mod reach;
mod shown;
mod source;
mod store;

pub use bucket::{Bucket, Buckets};
pub use builder::{BuildError, BuildOptions, Builder, Freelist, Summary};
pub use check::{Fault, FaultKind, Report, check};
pub use compact::{CompactError, compact};
pub use cursor::{Cursor, Entry, Range};
pub use db::Db;
pub use disk::{Disk, DiskError, DiskOperation, FileDisk, sync_directory};
pub use entry::EntryError;
pub use error::{Damage, ReadError};
pub use freelist::FreeIds;
pub use layout::Meta;
pub use map::{FilePages, MapError, MappedFile};
pub use source::PageSource;
pub use store::{
    Item, ReadTx, Store, StoreDisk, StoreError, StoreOptions, StorePages, StoreStats, WriteBucket,
    WriteTx,
};
