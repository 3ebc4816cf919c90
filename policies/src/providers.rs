//! Which provider seals, which one may open, what a rewrap does, what each key still opens.
//!
//! Holds:
//! - The first configured provider seals; all are known on read.
//! - A wrap names provider kind, provider name and key id, and only the provider that it names is
//!   tried on it. So a store cannot downgrade a vault, and nothing is ever "tried in order".
//! - `identity` never opens unless the vault was created with it and the local configuration says
//!   `sealing: none`.
//! - Opening by any but the first provider is a warning that names the key id.
//! - A rewrap adds wraps under the first provider; old ones may be condemned only when the new one
//!   was read back and opened, and never the wraps of a seed that nothing opens now.

mod keys;
mod rewrap;

pub use keys::{KeyLine, KeysReport, keys_report};
pub use rewrap::{BlockedSeed, REVOKES_NOTHING, RewrapPlan, RewrapStep, plan_rewrap};

use std::fmt;
use std::str::FromStr;

/// 16 random bytes: a wrap's or a seed's id.
pub type Id = [u8; 16];

/// The kinds of providers, by their names in a Kubernetes EncryptionConfiguration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProviderKind {
    /// A local key.
    AesGcm,
    /// A local key.
    AesCbc,
    /// A local key.
    Secretbox,
    /// A key service behind a unix socket.
    Kms,
    /// No sealing.
    Identity,
}

/// One configured provider key, in the order of the configuration. A provider with several local
/// keys gives one entry for each, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its kind.
    pub kind: ProviderKind,
    /// The local key's name, or the plugin's; empty for `identity`.
    pub name: String,
    /// The ids of its keys, the sealing one first. Local keys have one (name and key check value);
    /// a plugin has the one that it answered last, or none while it does not answer; `identity`
    /// has none.
    pub key_ids: Vec<String>,
}

/// What a wrap says about the key that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrapFact {
    /// The wrap's id.
    pub id: Id,
    /// The kind of provider that made it.
    pub kind: ProviderKind,
    /// The local key's or the plugin's name.
    pub name: String,
    /// The key id it was made under.
    pub key_id: String,
}

/// A seed and its wraps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFact {
    /// The seed's id.
    pub id: Id,
    /// The wraps in use.
    pub wraps: Vec<WrapFact>,
}

/// The two consents that `identity` needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consent {
    /// The vault's creation recorded that it is not sealed.
    pub vault_unsealed: bool,
    /// The local configuration says `sealing: none`.
    pub sealing_none: bool,
}

/// Which provider opens a wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Place in the list of wraps.
    pub wrap: usize,
    /// Place in the list of providers.
    pub provider: usize,
    /// What to say about it.
    pub warning: Option<OpenWarning>,
}

/// What is said when a wrap is opened, or a seed is sealed, otherwise than it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenWarning {
    /// Another provider than the first opened it: a rewrap is due.
    NotFirst,
    /// The plugin seals with another key now: a rewrap is due.
    OlderKey,
    /// The vault is not sealed.
    NotSealed,
}

/// Why nothing seals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No providers.
    #[error("no provider is configured: list at least one, or write `sealing: none` with identity")]
    NoProvider,
    /// `identity` comes first without both consents.
    #[error(
        "identity is the first provider, but {}: name a key provider first, or make a vault with \
         `sealing: none`", missing_consent(*consent)
    )]
    IdentityRefused {
        /// What was given.
        consent: Consent,
    },
    /// `sealing: none` beside a provider that seals.
    #[error(
        "the configuration says `sealing: none`, but its first provider is {kind} {name:?}: remove one of the two"
    )]
    Contradiction {
        /// The first provider's kind.
        kind: ProviderKind,
        /// Its name.
        name: String,
    },
    /// The plugin that comes first did not tell its key id.
    #[error("kms plugin {name:?} comes first and has not answered with a key id: check its socket")]
    NoKey {
        /// The plugin's name.
        name: String,
    },
}

/// Why a wrap is not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No provider of that kind and name is configured.
    #[error(
        "needs key id {key_id:?} of {kind} {name:?}, which is not configured: add that provider"
    )]
    ProviderMissing {
        /// The kind.
        kind: ProviderKind,
        /// The name.
        name: String,
        /// The key id.
        key_id: String,
    },
    /// The provider is there, with other keys.
    #[error(
        "needs key id {key_id:?} of {kind} {name:?}; the key configured under this name is another \
         ({}): add the old one behind it", configured.join(", ")
    )]
    KeyMissing {
        /// The kind.
        kind: ProviderKind,
        /// The name.
        name: String,
        /// The key id.
        key_id: String,
        /// The key ids under that name.
        configured: Vec<String>,
    },
    /// An identity wrap without both consents.
    #[error("the wrap is not sealed (identity), but {}: refused", missing_consent(*consent))]
    IdentityRefused {
        /// What was given.
        consent: Consent,
    },
    /// An identity wrap, both consents, but `identity` is not listed.
    #[error("the wrap is not sealed, and identity is not in the provider list: add it")]
    IdentityNotListed,
    /// A seed without any wrap.
    #[error("the seed has no wrap at all: the chain is damaged or the store was tampered with")]
    NoWrap,
}

/// The provider that seals: the first.
pub fn sealer(providers: &[Provider], consent: Consent) -> Result<&Provider, SealError> {
    let first = providers.first().ok_or(SealError::NoProvider)?;
    let both = consent.vault_unsealed && consent.sealing_none;
    match first.kind {
        ProviderKind::Identity if !both => Err(SealError::IdentityRefused { consent }),
        ProviderKind::Identity => Ok(first),
        kind if consent.sealing_none => {
            Err(SealError::Contradiction { kind, name: first.name.clone() })
        }
        _ if first.key_ids.is_empty() => Err(SealError::NoKey { name: first.name.clone() }),
        _ => Ok(first),
    }
}

/// The one provider that may open a wrap (`wrap` in the answer is 0).
pub fn opener(
    wrap: &WrapFact,
    providers: &[Provider],
    consent: Consent,
) -> Result<Opening, OpenError> {
    if wrap.kind == ProviderKind::Identity {
        return identity_opener(providers, consent);
    }
    let named = |provider: &&Provider| provider.kind == wrap.kind && provider.name == wrap.name;
    let configured = || providers.iter().filter(named).flat_map(|provider| &provider.key_ids);
    // A plugin opens whatever it once sealed; a local key opens its own only, and names may repeat.
    let opens = |provider: &Provider| {
        named(&provider)
            && (wrap.kind == ProviderKind::Kms || provider.key_ids.contains(&wrap.key_id))
    };
    if let Some(place) = providers.iter().position(opens) {
        let current = providers[place].key_ids.first().is_none_or(|key| *key == wrap.key_id);
        let warning = match place {
            0 if current => None,
            0 => Some(OpenWarning::OlderKey),
            _ => Some(OpenWarning::NotFirst),
        };
        return Ok(Opening { wrap: 0, provider: place, warning });
    }
    let (kind, name, key_id) = (wrap.kind, wrap.name.clone(), wrap.key_id.clone());
    if providers.iter().any(|provider| named(&provider)) {
        let configured = configured().cloned().collect();
        Err(OpenError::KeyMissing { kind, name, key_id, configured })
    } else {
        Err(OpenError::ProviderMissing { kind, name, key_id })
    }
}

/// The ways to open a seed, in the order of the providers, so that a plugin that is away can be
/// passed by. Without any way, one error for each wrap.
pub fn openings(
    wraps: &[WrapFact],
    providers: &[Provider],
    consent: Consent,
) -> Result<Vec<Opening>, Vec<OpenError>> {
    let mut ways = Vec::new();
    let mut errors = Vec::new();
    for (place, wrap) in wraps.iter().enumerate() {
        match opener(wrap, providers, consent) {
            Ok(opening) => ways.push(Opening { wrap: place, ..opening }),
            Err(error) => errors.push(error),
        }
    }
    if wraps.is_empty() {
        errors.push(OpenError::NoWrap);
    }
    if ways.is_empty() {
        return Err(errors);
    }
    ways.sort_by_key(|way| (way.provider, way.warning.is_some(), way.wrap));
    Ok(ways)
}

fn identity_opener(providers: &[Provider], consent: Consent) -> Result<Opening, OpenError> {
    if !(consent.vault_unsealed && consent.sealing_none) {
        return Err(OpenError::IdentityRefused { consent });
    }
    let listed = providers.iter().position(|provider| provider.kind == ProviderKind::Identity);
    let provider = listed.ok_or(OpenError::IdentityNotListed)?;
    Ok(Opening { wrap: 0, provider, warning: Some(OpenWarning::NotSealed) })
}

fn missing_consent(consent: Consent) -> &'static str {
    match (consent.vault_unsealed, consent.sealing_none) {
        (false, false) => {
            "the vault was not created unsealed and the configuration does not say `sealing: none`"
        }
        (false, true) => "the vault was not created unsealed",
        (true, _) => "the configuration does not say `sealing: none`",
    }
}

impl ProviderKind {
    /// All kinds.
    pub const ALL: [ProviderKind; 5] = [
        ProviderKind::AesGcm,
        ProviderKind::AesCbc,
        ProviderKind::Secretbox,
        ProviderKind::Kms,
        ProviderKind::Identity,
    ];

    /// Its name in configurations and wraps.
    pub fn as_str(self) -> &'static str {
        match self {
            ProviderKind::AesGcm => "aesgcm",
            ProviderKind::AesCbc => "aescbc",
            ProviderKind::Secretbox => "secretbox",
            ProviderKind::Kms => "kms",
            ProviderKind::Identity => "identity",
        }
    }
}

/// A wrap names a kind that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("provider kind {read:?} is not known: aesgcm, aescbc, secretbox, kms or identity")]
pub struct UnknownKind {
    /// What was read.
    pub read: String,
}

impl FromStr for ProviderKind {
    type Err = UnknownKind;

    fn from_str(read: &str) -> Result<ProviderKind, UnknownKind> {
        let known = ProviderKind::ALL.into_iter().find(|kind| kind.as_str() == read);
        known.ok_or_else(|| UnknownKind { read: read.chars().take(40).collect() })
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for OpenWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OpenWarning::NotFirst => {
                "opened by a provider that is not the first: run `holdfast vault rewrap`"
            }
            OpenWarning::OlderKey => {
                "opened by an older key of the first provider: run `holdfast vault rewrap`"
            }
            OpenWarning::NotSealed => "this vault is not sealed",
        })
    }
}

#[cfg(test)]
mod tests;
