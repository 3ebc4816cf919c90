//! Wrapping seeds and opening wraps.
//!
//! Holds: see [`super::provider`]; besides, a wrap that opened is compared with its commitment, so
//! that a provider that answers anything at all (a broken or hostile plugin) does not give us a
//! seed that is not ours.

use super::local::key_id;
use super::place::WrapPlace;
use super::provider::{Provider, Way};
use super::recovery;
use super::service::check_answer;
use super::{
    Encrypted, KeyName, KeyService, ProviderKind, Providers, Recipient, Seed, ServiceError,
    WrapOwner,
};
use crate::format::seal::{equal_in_constant_time, sha256};
use crate::format::{ClearError, Entropy, FORMAT, SeedId, WrapId, decode_wrap, encode_wrap};
use crate::proto::{SeedKind, Wrap, WrapRef};
use bytes::Bytes;
use holdfast_policies::providers::{Key, Opener, is_current, opener};
use std::fmt;
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

/// A seed that was unwrapped.
#[derive(Debug, Clone)]
pub struct OpenedSeed {
    /// The seed.
    pub seed: Seed,
    /// The key that opened it.
    pub by: KeyName,
    /// Whether that is the key that wraps now. If not, say so: the key is still needed until a
    /// rewrap.
    pub by_first: bool,
}

/// Why a seed could not be wrapped or a wrap not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// No configured provider is the one that the wrap names.
    #[error("{wrap} needs {needed}; configured are: {configured}. {}", add(needed))]
    NoProvider {
        /// The wrap.
        wrap: WrapName,
        /// The key that opens it.
        needed: Box<KeyName>,
        /// The configured keys, by id.
        configured: String,
    },
    /// A key of that kind and name is configured, but it is another one.
    #[error(
        "{wrap} needs {needed}; the configured key of that name is another one, with key id \
         {found:?}. Keys may share a name: add the old one below the new one"
    )]
    WrongKey {
        /// The wrap.
        wrap: WrapName,
        /// The key that opens it.
        needed: Box<KeyName>,
        /// Id of the configured key of that name.
        found: String,
    },
    /// The recovery key's public half is not one that seals anything.
    #[error(
        "the recovery key {key_id} is weak and seals nothing: make another one with `holdfast \
         vault recovery-key`"
    )]
    WeakRecipient {
        /// Its id.
        key_id: String,
    },
    /// The wrap is in clear, and that is not allowed here.
    #[error(
        "{wrap} holds its seed in clear (identity), which is allowed only in a vault created \
         without sealing and with `sealing: none` in the local configuration"
    )]
    NotSealed {
        /// The wrap.
        wrap: WrapName,
    },
    /// The first provider is `identity`, but the vault is sealed.
    #[error(
        "the first provider is identity, which would leave new seeds in clear in a sealed vault; \
         put a provider with a key first"
    )]
    WouldNotSeal,
    /// The first key stands in our documentation.
    #[error(
        "the first key is the one in the example file, which everybody can read; make your own: \
         head -c 32 /dev/urandom | base64"
    )]
    Published,
    /// The stored bytes are at fault: another copy, or another wrap of the seed, is needed.
    #[error("{wrap} is damaged: {reason}")]
    Damaged {
        /// The wrap.
        wrap: WrapName,
        /// What was seen.
        reason: &'static str,
    },
    /// A sound wrap, but of another vault, cluster or seed.
    #[error("{wrap} belongs elsewhere: {reason}")]
    Exchanged {
        /// The wrap.
        wrap: WrapName,
        /// What differs.
        reason: &'static str,
    },
    /// The object around the wrap.
    #[error(transparent)]
    Object(#[from] ClearError),
    /// The key service.
    #[error("{wrap} needs {needed}: {source}")]
    Service {
        /// The wrap.
        wrap: WrapName,
        /// The key that opens or makes it.
        needed: Box<KeyName>,
        /// What it said.
        source: ServiceError,
    },
}

/// A wrap in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrapName {
    /// Its id in hex; empty when it has none.
    pub wrap: String,
    /// The seed's id in hex.
    pub seed: String,
}

impl fmt::Display for WrapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrap {} of seed {}", self.wrap, self.seed)
    }
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
        let place = WrapPlace {
            owner,
            wrap: id,
            seed: seed.id(),
            seed_kind: seed.kind(),
            created_ms: now_ms,
            provider: (provider.kind(), &provider.name),
        };
        let mut wrap = blank(&place);
        wrap.commitment = Bytes::copy_from_slice(&place.commitment(seed));
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
                let answer = encrypt(&**service, &id.to_string(), &plain).await;
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
        let place = WrapPlace {
            owner,
            wrap: id,
            seed: seed.id(),
            seed_kind: seed.kind(),
            created_ms: now_ms,
            provider: (ProviderKind::Recovery, ""),
        };
        let key_id = recipient.key_id();
        let data = place.associated_data(&key_id);
        let sealed_seed = recipient.seal(&fresh, &nonce, &data, seed.secret());
        let Some(sealed_seed) = sealed_seed else {
            return Err(WrapError::WeakRecipient { key_id });
        };
        let wrap = Wrap {
            commitment: Bytes::copy_from_slice(&place.commitment(seed)),
            key_check: Bytes::copy_from_slice(&recipient.check()),
            nonce: Bytes::copy_from_slice(&nonce),
            sealed_seed: sealed_seed.into(),
            key_id,
            ..blank(&place)
        };
        Ok(sealed(id, wrap))
    }

    /// Opens a stored wrap object of this seed.
    pub async fn open_bytes(
        &self,
        bytes: &[u8],
        seed: SeedId,
        owner: WrapOwner,
        unsealed: bool,
    ) -> Result<OpenedSeed, WrapError> {
        self.open(&decode_wrap(bytes)?, seed, owner, unsealed).await
    }

    /// Opens a wrap of this seed. `unsealed`: whether the vault was created without sealing, as its
    /// root says.
    pub async fn open(
        &self,
        wrap: &Wrap,
        seed: SeedId,
        owner: WrapOwner,
        unsealed: bool,
    ) -> Result<OpenedSeed, WrapError> {
        let needed = needed_key(wrap)?;
        let place = place_of(wrap, seed, owner, &needed)?;
        let provider = self.provider_for(wrap, &needed)?;
        let secret = match &provider.way {
            Way::Identity if self.consents(unsealed).allow_clear() => exact(&wrap.sealed_seed)
                .ok_or_else(|| damaged(wrap, "its seed has not 32 bytes"))?,
            Way::Identity => return Err(WrapError::NotSealed { wrap: name_of(wrap) }),
            Way::Local(_, key) => {
                let data = place.associated_data(&wrap.key_id);
                let opened = key.open(nonce_of(wrap)?, &data, &wrap.sealed_seed);
                opened.ok_or_else(|| damaged(wrap, "it does not open under the key it names"))?
            }
            Way::Recovery(key) => {
                let data = place.associated_data(&wrap.key_id);
                let opened = key.open(nonce_of(wrap)?, &data, &wrap.sealed_seed);
                opened.ok_or_else(|| damaged(wrap, "it does not open under the recovery key"))?
            }
            Way::Kms(service) => open_kms(&**service, wrap, &needed).await?,
        };
        let opened = Seed::from_secret(seed, place.seed_kind, &secret);
        if !equal_in_constant_time(&place.commitment(&opened), &wrap.commitment) {
            return Err(damaged(wrap, "the seed in it is not the one it commits to"));
        }
        let by_first = std::ptr::eq(provider, self.first());
        Ok(OpenedSeed { seed: opened, by: needed, by_first })
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

    /// The one provider that a wrap names.
    fn provider_for(&self, wrap: &Wrap, needed: &KeyName) -> Result<&Provider, WrapError> {
        let id = if needed.kind == ProviderKind::Recovery { "" } else { &wrap.key_id };
        let mark = wrap.key_check[..].try_into().ok().map(|check| (id, check));
        let wanted = Key { kind: needed.kind, name: &needed.name, mark };
        let configured: Vec<_> = self.list.iter().map(Provider::key).collect();
        let other = match opener(&wanted, &configured) {
            Opener::Place(place) => return Ok(&self.list[place]),
            // A recovery key has no name that another one could bear.
            Opener::OtherKey(place) if needed.kind != ProviderKind::Recovery => {
                self.list[place].key_name().key_id
            }
            Opener::OtherKey(_) | Opener::NotConfigured => None,
        };
        let (wrap, needed) = (name_of(wrap), Box::new(needed.clone()));
        Err(match other {
            Some(found) => WrapError::WrongKey { wrap, needed, found },
            None => WrapError::NoProvider { wrap, needed, configured: self.listed() },
        })
    }

    fn listed(&self) -> String {
        let names: Vec<String> = self.names().iter().map(KeyName::to_string).collect();
        names.join(", ")
    }
}

/// The key that a wrap names; its fields must fit its kind.
fn needed_key(wrap: &Wrap) -> Result<KeyName, WrapError> {
    let kind: ProviderKind = wrap
        .provider_kind
        .parse()
        .map_err(|()| damaged(wrap, "it names a provider of unknown kind"))?;
    let check = &wrap.key_check;
    let fits = match kind {
        ProviderKind::AesGcm | ProviderKind::AesCbc | ProviderKind::Secretbox => {
            check.len() == super::local::CHECK_BYTES
                && wrap.key_id == key_id(&wrap.provider_name, check)
        }
        ProviderKind::Identity => {
            check.is_empty() && wrap.key_id.is_empty() && wrap.provider_name.is_empty()
        }
        ProviderKind::Kms => check.is_empty() && !wrap.key_id.is_empty(),
        ProviderKind::Recovery => {
            check.len() == super::local::CHECK_BYTES
                && wrap.key_id == recovery::key_id(check)
                && wrap.provider_name.is_empty()
        }
    };
    // Bounded, since errors print them.
    if wrap.provider_name.len() > MAX_NAME_BYTES || wrap.key_id.len() > 2 * MAX_NAME_BYTES {
        return Err(damaged(wrap, "its provider name or key id is too long"));
    }
    if !fits {
        return Err(damaged(wrap, "its key id and key check value contradict each other"));
    }
    Ok(KeyName { kind, name: wrap.provider_name.clone(), key_id: Some(wrap.key_id.clone()) })
}

/// Where the wrap says it stands, which must be where we found it.
fn place_of<'w>(
    wrap: &'w Wrap,
    seed: SeedId,
    owner: WrapOwner,
    needed: &KeyName,
) -> Result<WrapPlace<'w>, WrapError> {
    let elsewhere = |reason| WrapError::Exchanged { wrap: name_of(wrap), reason };
    if wrap.vault_id != owner.vault.as_bytes()[..] {
        return Err(elsewhere("it is of another vault"));
    }
    if wrap.cluster_id != owner.cluster.as_bytes()[..] {
        return Err(elsewhere("it is of another cluster"));
    }
    if wrap.seed_id != seed.as_bytes()[..] {
        return Err(elsewhere("it is of another seed"));
    }
    let id = WrapId::from_bytes(&wrap.wrap_id);
    let id = id.map_err(|_| damaged(wrap, "its id has not 16 bytes"))?;
    if wrap.seed_kind() == SeedKind::Unspecified {
        return Err(damaged(wrap, "its seed is of unknown kind"));
    }
    Ok(WrapPlace {
        owner,
        wrap: id,
        seed,
        seed_kind: wrap.seed_kind(),
        created_ms: wrap.created_ms,
        provider: (needed.kind, &wrap.provider_name),
    })
}

async fn encrypt(
    service: &dyn KeyService,
    uid: &str,
    plain: &[u8],
) -> Result<Encrypted, ServiceError> {
    let answer = service.encrypt(uid, plain).await?;
    check_answer(&answer)?;
    Ok(answer)
}

/// A plugin gives back seed ‖ commitment.
async fn open_kms(
    service: &dyn KeyService,
    wrap: &Wrap,
    needed: &KeyName,
) -> Result<Zeroizing<[u8; 32]>, WrapError> {
    let annotations = wrap.annotations.iter().map(|(name, value)| (name.clone(), value.to_vec()));
    let encrypted = Encrypted {
        ciphertext: wrap.sealed_seed.to_vec(),
        key_id: wrap.key_id.clone(),
        annotations: annotations.collect(),
    };
    check_answer(&encrypted).map_err(|_| damaged(wrap, "it is longer than any plugin's answer"))?;
    let plain = service.decrypt(&hex(&wrap.wrap_id), &encrypted).await;
    let plain = plain.map_err(|source| WrapError::Service {
        wrap: name_of(wrap),
        needed: Box::new(needed.clone()),
        source,
    })?;
    let (seed, commitment) = plain.split_at_checked(32).unwrap_or_default();
    if !equal_in_constant_time(commitment, &wrap.commitment) {
        return Err(damaged(wrap, "the plugin gave back something else than was wrapped"));
    }
    exact(seed).ok_or_else(|| damaged(wrap, "the plugin gave back something else than a seed"))
}

fn blank(place: &WrapPlace<'_>) -> Wrap {
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

fn nonce_of(wrap: &Wrap) -> Result<&[u8; 12], WrapError> {
    wrap.nonce[..].try_into().map_err(|_| damaged(wrap, "its nonce has not 12 bytes"))
}

/// How a missing key is given.
fn add(needed: &KeyName) -> &'static str {
    match needed.kind {
        ProviderKind::Recovery => "Type it off the paper into a file for --recovery-key-file",
        _ => "Add that key to the providers",
    }
}

fn exact(bytes: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    (bytes.len() == 32).then(|| {
        seed.copy_from_slice(bytes);
        seed
    })
}

fn name_of(wrap: &Wrap) -> WrapName {
    WrapName { wrap: hex(&wrap.wrap_id), seed: hex(&wrap.seed_id) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect()
}

fn damaged(wrap: &Wrap, reason: &'static str) -> WrapError {
    WrapError::Damaged { wrap: name_of(wrap), reason }
}
