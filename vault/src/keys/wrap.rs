//! Wrapping seeds: with the first provider, and for the recovery key.
//!
//! Holds: see [`super::provider`]; besides, every wrap commits to its seed and its place, which
//! whoever opens it compares (`wrap/open.rs`).

mod error;
mod open;

use super::place::WrapPlace;
use super::provider::Way;
use super::service::check_answer;
use super::{ProviderKind, Providers, Recipient, Seed, ServiceError, WrapOwner};
use crate::format::seal::sha256;
use crate::format::{Entropy, FORMAT, WrapId, encode_wrap};
use crate::proto::{Wrap, WrapRef};
use bytes::Bytes;
use error::name_of;
pub use error::{WrapError, WrapName};
use holdfast_policies::providers::{Key, is_current};
pub use open::OpenedSeed;
use zeroize::Zeroizing;

/// Longest provider or key name in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 1024;

/// What is random about a new wrap.
#[derive(Debug, Clone)]
pub struct NewWrap {
    id: WrapId,
    nonce: [u8; 12],
    fresh: Option<Zeroizing<[u8; 32]>>,
}

impl NewWrap {
    /// A random id and a random nonce.
    pub fn random(entropy: &mut dyn Entropy) -> NewWrap {
        let id = WrapId::random(entropy);
        let mut nonce = [0; 12];
        entropy.fill(&mut nonce);
        NewWrap { id, nonce, fresh: None }
    }

    /// The same, and the fresh secret of a wrap for the recovery key.
    pub fn for_recovery(entropy: &mut dyn Entropy) -> NewWrap {
        let mut fresh = Zeroizing::new([0; 32]);
        entropy.fill(&mut *fresh);
        NewWrap { fresh: Some(fresh), ..NewWrap::random(entropy) }
    }
}

/// A seed's wrap, ready to be stored.
#[derive(Debug, Clone)]
pub struct SealedWrap {
    /// Its id.
    pub id: WrapId,
    /// The message.
    pub wrap: Wrap,
    /// The object as stored.
    pub bytes: Vec<u8>,
    /// What the commit says of it.
    pub reference: WrapRef,
}

impl Providers {
    /// Wraps a seed with the first provider. `unsealed`: whether the vault was created without
    /// sealing.
    pub async fn wrap(
        &self,
        seed: &Seed,
        owner: WrapOwner,
        unsealed: bool,
        now_ms: i64,
        new: NewWrap,
    ) -> Result<SealedWrap, WrapError> {
        let provider = self.first();
        let NewWrap { id, nonce, .. } = new;
        let place = place_of(id, seed, owner, now_ms, (provider.kind(), &provider.name));
        let mut wrap = blank(&place, seed);
        match &provider.way {
            Way::Identity if self.consents(unsealed).allow_clear() => {
                wrap.sealed_seed = Bytes::copy_from_slice(seed.secret());
            }
            Way::Identity => return Err(WrapError::WouldNotSeal),
            Way::Recovery(key) => return self.wrap_for(key.recipient(), seed, owner, now_ms, new),
            Way::Local(_, key) => {
                let data = place.associated_data(&key.key_id);
                wrap.key_id = key.key_id.clone();
                wrap.key_check = Bytes::copy_from_slice(&key.check);
                wrap.nonce = Bytes::copy_from_slice(&nonce);
                wrap.sealed_seed = key.seal(&nonce, &data, seed.secret()).into();
            }
            Way::Kms(service) => {
                let plain = Zeroizing::new([&seed.secret()[..], &wrap.commitment].concat());
                let answer = service.encrypt(&id.to_string(), &plain).await;
                let answer = answer.and_then(|answer| check_answer(&answer).map(|()| answer));
                let answer = answer.map_err(|source| WrapError::Service {
                    wrap: name_of(&wrap),
                    needed: Box::new(provider.key_name()),
                    source,
                })?;
                wrap.key_id = answer.key_id;
                wrap.sealed_seed = answer.ciphertext.into();
                wrap.annotations = answer
                    .annotations
                    .into_iter()
                    .map(|(name, value)| (name, value.into()))
                    .collect();
            }
        }
        Ok(sealed(id, wrap))
    }

    /// Wraps a seed for the recovery key; `new` is one [`NewWrap::for_recovery`].
    pub fn wrap_for(
        &self,
        recipient: Recipient,
        seed: &Seed,
        owner: WrapOwner,
        now_ms: i64,
        new: NewWrap,
    ) -> Result<SealedWrap, WrapError> {
        let NewWrap { id, nonce, fresh } = new;
        let fresh = fresh.expect("a wrap for the recovery key is begun as one");
        let place = place_of(id, seed, owner, now_ms, (ProviderKind::Recovery, ""));
        let key_id = recipient.key_id();
        let data = place.associated_data(&key_id);
        let sealed_seed = recipient.seal(&fresh, &nonce, &data, seed.secret());
        let Some(sealed_seed) = sealed_seed else {
            return Err(WrapError::WeakRecipient { key_id });
        };
        let wrap = Wrap {
            key_check: Bytes::copy_from_slice(&recipient.check()),
            nonce: Bytes::copy_from_slice(&nonce),
            sealed_seed: sealed_seed.into(),
            key_id,
            ..blank(&place, seed)
        };
        Ok(sealed(id, wrap))
    }

    /// Whether a wrap is one that the first provider would make now; a rewrap replaces the others.
    ///
    /// Asks the KMS plugin for its current key id when that is the first provider.
    pub async fn is_current(&self, wrap: &WrapRef) -> Result<bool, ServiceError> {
        let first = self.first();
        let key_id = match &first.way {
            Way::Local(_, key) => key.key_id.clone(),
            Way::Identity => String::new(),
            Way::Kms(service) => service.status().await?.key_id,
            Way::Recovery(key) => key.recipient().key_id(),
        };
        let (kind, name) = (first.kind().as_str(), &first.name[..]);
        let made = Key { kind, name, mark: Some(&key_id[..]) };
        let (kind, name) = (&wrap.provider_kind[..], &wrap.provider_name[..]);
        Ok(is_current(&Key { kind, name, mark: Some(&wrap.key_id[..]) }, &made))
    }
}

fn place_of<'p>(
    wrap: WrapId,
    seed: &Seed,
    owner: WrapOwner,
    created_ms: i64,
    provider: (ProviderKind, &'p str),
) -> WrapPlace<'p> {
    let (seed, seed_kind) = (seed.id(), seed.kind());
    WrapPlace { owner, wrap, seed, seed_kind, created_ms, provider }
}

/// All of a wrap but what its key makes.
fn blank(place: &WrapPlace<'_>, seed: &Seed) -> Wrap {
    Wrap {
        format: u32::from(FORMAT),
        wrap_id: place.wrap.to_bytes(),
        vault_id: place.owner.vault.to_bytes(),
        cluster_id: place.owner.cluster.to_bytes(),
        seed_id: place.seed.to_bytes(),
        seed_kind: place.seed_kind as i32,
        provider_kind: place.provider.0.as_str().to_owned(),
        provider_name: place.provider.1.to_owned(),
        created_ms: place.created_ms,
        commitment: Bytes::copy_from_slice(&place.commitment(seed)),
        ..Wrap::default()
    }
}

fn sealed(id: WrapId, wrap: Wrap) -> SealedWrap {
    let bytes = encode_wrap(&wrap);
    let reference = WrapRef {
        wrap_id: wrap.wrap_id.clone(),
        provider_kind: wrap.provider_kind.clone(),
        provider_name: wrap.provider_name.clone(),
        key_id: wrap.key_id.clone(),
        sha256: Bytes::copy_from_slice(&sha256(&bytes)),
        condemned_ms: 0,
        copies: 0,
    };
    SealedWrap { id, wrap, bytes, reference }
}
