//! Keys and values with their history: what upstream calls the mvcc store.
//!
//! ```text
//! entry ─► Store (one writer: the apply thread) ─► index, backend's pending layer, events
//! read  ─► Handle::reader (any thread) ─► Reader: a revision, a view, the index behind its lock
//! ```
//!
//! What must hold:
//! - Main revisions grow by one with each transaction that changes something, sub revisions by one
//!   with each record in it; the bytes in the bucket `key` are upstream's.
//! - A [`Reader`] is one point: its revision and its view belong together. Readers never wait for a
//!   disk on behalf of the writer, nor the writer for them beyond a slice of the index.
//! - A write either succeeds, or fails before it changed anything, or breaks the store for good
//!   ([`MvccError::is_fatal`]): there is no half transaction.
//! - Compaction decides by the index and the record alone, so it can stop at any batch and go on
//!   after a restart.

mod auto;
mod check;
mod compact;
mod error;
mod hash;
mod history;
mod index;
mod open;
mod range;
mod reader;
mod store;
mod txn;
mod write;

pub use auto::{AutoCompaction, ByRevision, Periodic};
pub use check::{check_delete_range, check_put, check_range, check_range_stream, check_txn};
pub use compact::{CompactionBatch, CompactionProgress, CompactionScan};
pub use error::{Code, MvccError};
pub use hash::KvHash;
pub use index::KeyRange;
pub use open::{OpenError, Restored};
pub use range::RangeStream;
pub use reader::{HistoryBatch, HistoryLimits, Reader};
pub use store::{Applied, Handle, Store};
pub use txn::{is_read_only, is_serializable};
pub use write::WriteTxn;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{Model, Op, TestStores, op};
