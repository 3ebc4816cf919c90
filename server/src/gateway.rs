//! The JSON gateway: `POST /v3/…` for every RPC.
//!
//! A request's JSON becomes the method's message by the descriptors, passes the same [`Gate`] as
//! any RPC, and the answer's message becomes JSON: 64-bit numbers as texts, bytes in base64, zero
//! values left out, enums by name, unknown fields passed over, names as upstream's `.proto` files
//! have them.

mod call;
mod json;
mod names;
mod routes;

pub use call::answer;

use prost::Message;
use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::FileDescriptorSet;
use std::sync::OnceLock;

/// All messages, with upstream's names of their fields.
pub(crate) fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut files = FileDescriptorSet::decode(holdfast_api::DESCRIPTORS).unwrap_or_default();
        names::rename(&mut files);
        DescriptorPool::from_file_descriptor_set(files).unwrap_or_default()
    })
}
