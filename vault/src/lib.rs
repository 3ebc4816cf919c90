//! Keeps revisions as sealed, verifiable objects in object stores, and gives them back.
//!
//! In the order in which data flows:
//! - [`Store::open`] opens a local directory or an S3-like bucket; [`store::doctor::examine`]
//!   judges one.
//! - [`Vault::init`] makes a vault, [`Vault::open`] opens one; both take [`VaultOptions`] with the
//!   key [`keys::Providers`], clocks and chance.
//! - [`Vault::snapshot`] takes a [`snapshot::Source`] (records in order of revision, small buckets,
//!   facts) and answers with a [`snapshot::Outcome`]: committed, covered by another writer, late,
//!   diverged, unrelated.
//! - [`Vault::snapshots`] lists, [`Vault::reader`] opens one: [`SnapshotReader::records`] gives the
//!   records in order to a synchronous consumer, `finish` proves them and gives a
//!   [`VerifiedSnapshot`]; [`SnapshotReader::bucket`] gives the small buckets.
//! - [`Vault::plan_prune`] and [`Vault::prune`], [`Vault::check`], [`Vault::pin`], [`Vault::hold`],
//!   [`Vault::report`], [`Vault::key_uses`], [`Vault::rewrap`].
//! - [`Vault::witness`] is what an agent's state file remembers; [`VaultOptions::witness`]
//!   compares.
//!
//! The crate knows revisions and bytes, but no bolt and no etcd messages.

#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod proto {
    //! The messages of proto/vault.proto.
    include!(concat!(env!("OUT_DIR"), "/holdfast.vault.v1.rs"));
}

pub mod access;
pub mod chain;
pub mod check;
pub mod clock;
mod clusters;
pub mod format;
pub mod init;
pub mod keys;
pub mod prune;
pub mod relief;
pub mod rewrap;
mod root;
pub mod snapshot;
pub mod store;
pub mod vault;
mod writer;

pub use init::{VaultError, VaultOptions};
pub use snapshot::{SnapshotReader, VerifiedSnapshot};
pub use store::{Store, StoreError, StoreOptions};
pub use vault::Vault;
