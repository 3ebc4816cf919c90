//! Providers: who wraps seeds and who opens them.
//!
//! Holds: the first provider (and the first key in it) wraps; a wrap names provider kind, name and
//! key id, and only that one is tried, so that neither `identity` in the list nor an old key lets a
//! store put seeds of its own under us; `identity` opens and wraps only in a vault that was created
//! without sealing and with `sealing: none` in the local configuration. Errors name key ids, never
//! key material.

use super::local::{CHECK_BYTES, LocalKey};
use super::{
    EncryptionConfig, KeyService, KmsConfig, ProviderConfig, Recipient, RecoveryKey, WrapError,
};
use holdfast_policies::providers::{Consents, Key};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Kinds of providers: those of a Kubernetes EncryptionConfiguration, and the recovery key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProviderKind {
    /// A key of 16, 24 or 32 bytes.
    AesGcm,
    /// A key of 16, 24 or 32 bytes. The wrap is AES-GCM all the same, see [`super::local`].
    AesCbc,
    /// A key of 32 bytes.
    Secretbox,
    /// No key: the seed stands in clear.
    Identity,
    /// A KMS v2 plugin.
    Kms,
    /// The recovery key: its public half wraps, the paper opens. Not in a configuration's list.
    Recovery,
}

impl ProviderKind {
    const ALL: [ProviderKind; 6] =
        [Self::AesGcm, Self::AesCbc, Self::Secretbox, Self::Identity, Self::Kms, Self::Recovery];

    /// The word in configurations and wraps.
    pub fn as_str(self) -> &'static str {
        match self {
            ProviderKind::AesGcm => "aesgcm",
            ProviderKind::AesCbc => "aescbc",
            ProviderKind::Secretbox => "secretbox",
            ProviderKind::Identity => "identity",
            ProviderKind::Kms => "kms",
            ProviderKind::Recovery => "recovery",
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProviderKind {
    type Err = ();

    fn from_str(text: &str) -> Result<ProviderKind, ()> {
        ProviderKind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// Which key: all that a wrap says of who opens it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName {
    /// The provider's kind.
    pub kind: ProviderKind,
    /// The key's name (local) or the plugin's (kms); empty for identity.
    pub name: String,
    /// Local: name and check value. Kms: the plugin's. Identity: empty. `None`: a plugin that was
    /// not asked yet.
    pub key_id: Option<String>,
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, &self.key_id) {
            (ProviderKind::Identity, _) => f.write_str("identity"),
            (ProviderKind::Recovery, id) => {
                let id = id.as_deref().unwrap_or_default();
                write!(f, "the recovery key {id} (on paper: --recovery-key-file)")
            }
            (kind, Some(id)) => write!(f, "{kind} {:?} with key id {id:?}", self.name),
            (kind, None) => write!(f, "{kind} {:?}", self.name),
        }
    }
}

/// Whether this machine may use an unsealed vault: `sealing: none` in the local configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sealing {
    /// Seeds are sealed; `identity` never opens one.
    #[default]
    Required,
    /// `sealing: none`: `identity` may be used where the vault was created so.
    None,
}

/// The configured providers, in order.
#[derive(Clone)]
pub struct Providers {
    pub(super) list: Vec<Provider>,
    pub(super) sealing: Sealing,
    pub(super) recipient: Option<Recipient>,
    /// The first key is the one that our example shows to everybody.
    published: bool,
}

/// One key of one provider.
#[derive(Clone)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) way: Way,
}

#[derive(Clone)]
pub(super) enum Way {
    Local(ProviderKind, Box<LocalKey>),
    Identity,
    Kms(Arc<dyn KeyService>),
    Recovery(Box<RecoveryKey>),
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Providers {
    /// Makes the providers of a configuration. `connect` makes the client of a KMS plugin; it need
    /// not be up yet.
    pub fn from_config(
        config: &EncryptionConfig,
        sealing: Sealing,
        connect: &mut dyn FnMut(&KmsConfig) -> Arc<dyn KeyService>,
    ) -> Providers {
        let mut list = Vec::new();
        for provider in &config.providers {
            match provider {
                ProviderConfig::Local { kind, keys } => {
                    list.extend(keys.iter().map(|key| Provider {
                        name: key.name.clone(),
                        way: Way::Local(*kind, LocalKey::new(*kind, &key.name, &key.secret).into()),
                    }));
                }
                ProviderConfig::Identity => {
                    list.push(Provider { name: String::new(), way: Way::Identity });
                }
                ProviderConfig::Kms(kms) => {
                    let way = Way::Kms(connect(kms));
                    list.push(Provider { name: kms.name.clone(), way });
                }
            }
        }
        assert!(!list.is_empty(), "a parsed configuration has a provider");
        Providers { list, sealing, recipient: None, published: published(config) }
    }

    /// The paper alone.
    pub fn from_paper(key: RecoveryKey) -> Providers {
        let recipient = Some(key.recipient());
        let list = vec![Provider { name: String::new(), way: Way::Recovery(key.into()) }];
        Providers { list, sealing: Sealing::Required, recipient, published: false }
    }

    /// The same, and the paper opens what the others do not.
    #[must_use]
    pub fn with_paper(mut self, key: RecoveryKey) -> Providers {
        self.recipient = self.recipient.or(Some(key.recipient()));
        self.list.push(Provider { name: String::new(), way: Way::Recovery(key.into()) });
        self
    }

    /// The same, and every new seed is wrapped for this recovery key, too.
    #[must_use]
    pub fn with_recipient(mut self, recipient: Option<Recipient>) -> Providers {
        self.recipient = recipient.or(self.recipient);
        self
    }

    /// The recovery key that the configuration names.
    pub fn recipient(&self) -> Option<Recipient> {
        self.recipient
    }

    /// All configured keys, in order; the first one wraps.
    pub fn names(&self) -> Vec<KeyName> {
        self.list.iter().map(Provider::key_name).collect()
    }

    /// Whether the first provider is `identity` and the local configuration says `sealing: none`:
    /// what a new vault without sealing needs.
    pub fn unsealed(&self) -> bool {
        self.sealing == Sealing::None && self.first().kind() == ProviderKind::Identity
    }

    /// Whether the first provider may wrap seeds of a vault that was created with (`unsealed`:
    /// without) sealing.
    pub fn check_wraps(&self, unsealed: bool) -> Result<(), WrapError> {
        let in_clear = self.first().kind() == ProviderKind::Identity;
        if in_clear && !self.consents(unsealed).allow_clear() {
            return Err(WrapError::WouldNotSeal);
        }
        if self.published {
            return Err(WrapError::Published);
        }
        Ok(())
    }

    /// Whether nothing but the paper is at hand.
    pub fn is_paper_alone(&self) -> bool {
        self.first().kind() == ProviderKind::Recovery
    }

    /// What this machine and the vault (`unsealed`: created without sealing) say of seeds in clear.
    pub(super) fn consents(&self, unsealed: bool) -> Consents {
        Consents { vault_unsealed: unsealed, sealing_none: self.sealing == Sealing::None }
    }

    pub(super) fn first(&self) -> &Provider {
        &self.list[0]
    }
}

fn published(config: &EncryptionConfig) -> bool {
    match config.providers.first() {
        Some(ProviderConfig::Local { keys, .. }) => {
            keys.first().is_some_and(super::LocalSecret::is_published)
        }
        _ => false,
    }
}

impl Provider {
    /// How the rule of providers knows it. A plugin and identity open all that bears their name.
    pub(super) fn key(&self) -> Key<'_, ProviderKind, (&str, [u8; CHECK_BYTES])> {
        let mark = match &self.way {
            Way::Local(_, key) => Some((&key.key_id[..], key.check)),
            Way::Recovery(key) => Some(("", key.recipient().check())),
            Way::Identity | Way::Kms(_) => None,
        };
        Key { kind: self.kind(), name: &self.name, mark }
    }

    pub(super) fn kind(&self) -> ProviderKind {
        match &self.way {
            Way::Local(kind, _) => *kind,
            Way::Identity => ProviderKind::Identity,
            Way::Kms(_) => ProviderKind::Kms,
            Way::Recovery(_) => ProviderKind::Recovery,
        }
    }

    pub(super) fn key_name(&self) -> KeyName {
        let key_id = match &self.way {
            Way::Local(_, key) => Some(key.key_id.clone()),
            Way::Identity => Some(String::new()),
            Way::Kms(_) => None,
            Way::Recovery(key) => Some(key.recipient().key_id()),
        };
        KeyName { kind: self.kind(), name: self.name.clone(), key_id }
    }
}
