//! Opening wraps.
//!
//! Holds: a wrap is opened only where it says it stands, by the one key that it names; what came
//! out is compared with its commitment, so that a provider that answers anything at all (a broken
//! or hostile plugin) does not give us a seed that is not ours.

use super::MAX_NAME_BYTES;
use super::error::{WrapError, damaged, name_of};
use crate::format::seal::equal_in_constant_time;
use crate::format::{SeedId, WrapId, decode_wrap, hex};
use crate::keys::place::WrapPlace;
use crate::keys::provider::{Provider, Way};
use crate::keys::service::check_answer;
use crate::keys::{
    Encrypted, KeyName, KeyService, ProviderKind, Providers, Seed, WrapOwner, local, recovery,
};
use crate::proto::{SeedKind, Wrap};
use holdfast_policies::providers::{Key, Opener, opener};
use zeroize::Zeroizing;

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

impl Providers {
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
            check.len() == local::CHECK_BYTES
                && wrap.key_id == local::key_id(&wrap.provider_name, check)
        }
        ProviderKind::Identity => {
            check.is_empty() && wrap.key_id.is_empty() && wrap.provider_name.is_empty()
        }
        ProviderKind::Kms => check.is_empty() && !wrap.key_id.is_empty(),
        ProviderKind::Recovery => {
            check.len() == local::CHECK_BYTES
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

fn nonce_of(wrap: &Wrap) -> Result<&[u8; 12], WrapError> {
    wrap.nonce[..].try_into().map_err(|_| damaged(wrap, "its nonce has not 12 bytes"))
}

fn exact(bytes: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    (bytes.len() == 32).then(|| {
        seed.copy_from_slice(bytes);
        seed
    })
}
