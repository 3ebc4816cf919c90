//! Seeds, who may open them, and how.
//!
//! Holds: a seed or a key never stands in an error, a log line or a `Debug` text; all memory of
//! ours that held one is wiped when it is dropped. docs/FORMAT.md says what wiping does not reach.

mod config;
mod keyring;
pub(crate) mod local;
mod locked;
mod paper;
mod place;
mod process;
pub(crate) mod provider;
pub(crate) mod recovery;
mod seed;
mod service;
mod wrap;

pub use config::{
    ConfigError, EncryptionConfig, KmsConfig, LocalSecret, ProviderConfig, parse_encryption_config,
};
pub use keyring::Keyring;
pub use paper::PaperError;
pub use place::WrapOwner;
pub use process::forbid_core_dumps;
pub use provider::{KeyName, ProviderKind, Providers, Sealing};
pub use recovery::{Recipient, RecoveryKey};
pub use seed::{DataSeed, IndexSeed, Seed};
pub use service::{Encrypted, KeyService, ServiceError, ServiceStatus};
pub use wrap::{NewWrap, OpenedSeed, SealedWrap, WrapError, WrapName};

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::too_many_lines,
    reason = "small numbers and long tables of cases"
)]
mod tests;
