//! Where a wrap stands: what its seed's commitment and its seal are bound to.
//!
//! ```text
//! place       vault id 16 | cluster id 16 | wrap id 16 | seed id 16 | seed kind u8 | created i64 |
//!             u32 length, provider kind | u32 length, provider name
//! commitment  HKDF-Expand-SHA256(seed, "holdfast/1/seed" ‖ place, 32)
//! associated data of a local wrap  "holdfast/1/wrap" ‖ place ‖ u32 length, key id
//! ```
//! Integers are little-endian. Holds: a wrap moved to another vault, cluster, seed or name does not
//! open.

use super::{ProviderKind, Seed};
use crate::format::seal::expand;
use crate::format::{ClusterId, SeedId, VaultId, WrapId};
use crate::proto::SeedKind;

/// Whose seed it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrapOwner {
    /// The vault.
    pub vault: VaultId,
    /// The cluster.
    pub cluster: ClusterId,
}

/// All that a wrap is bound to, but the key id.
#[derive(Debug, Clone)]
pub(crate) struct WrapPlace<'a> {
    pub(crate) owner: WrapOwner,
    pub(crate) wrap: WrapId,
    pub(crate) seed: SeedId,
    pub(crate) seed_kind: SeedKind,
    pub(crate) created_ms: i64,
    pub(crate) provider: (ProviderKind, &'a str),
}

impl WrapPlace<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        out.extend_from_slice(self.owner.vault.as_bytes());
        out.extend_from_slice(self.owner.cluster.as_bytes());
        out.extend_from_slice(self.wrap.as_bytes());
        out.extend_from_slice(self.seed.as_bytes());
        out.push(self.seed_kind as u8);
        out.extend_from_slice(&self.created_ms.to_le_bytes());
        put_text(&mut out, self.provider.0.as_str());
        put_text(&mut out, self.provider.1);
        out
    }

    /// 32 bytes that only this seed in this place gives.
    pub(crate) fn commitment(&self, seed: &Seed) -> [u8; 32] {
        *expand::<32>(seed.secret(), &[b"holdfast/1/seed", &self.encode()])
    }

    /// What the seal of a local wrap is bound to.
    pub(crate) fn associated_data(&self, key_id: &str) -> Vec<u8> {
        let mut out = b"holdfast/1/wrap".to_vec();
        out.extend_from_slice(&self.encode());
        put_text(&mut out, key_id);
        out
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("names are far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}
