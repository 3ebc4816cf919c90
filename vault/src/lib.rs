//! Keeps revisions as sealed, verifiable objects in object stores, and gives them back.

#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod proto {
    //! The messages of proto/vault.proto.
    include!(concat!(env!("OUT_DIR"), "/holdfast.vault.v1.rs"));
}

pub mod store;

pub use store::{Store, StoreError, StoreOptions};
