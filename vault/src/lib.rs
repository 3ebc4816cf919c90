//! Keeps revisions as sealed, verifiable objects in object stores, and gives them back.

#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod proto {
    //! The messages of proto/vault.proto.
    include!(concat!(env!("OUT_DIR"), "/holdfast.vault.v1.rs"));
}

pub mod access;
pub mod chain;
pub mod check;
pub mod clock;
pub mod format;
pub mod init;
pub mod keys;
pub mod prune;
pub mod rewrap;
pub mod snapshot;
pub mod store;
pub mod vault;
mod writer;

pub use store::{Store, StoreError, StoreOptions};
