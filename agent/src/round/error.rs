//! Why a round gave no snapshot.

use crate::changes::ChangesError;
use crate::member::NoMember;
use crate::reader::ReaderError;
use crate::source::SourceError;
use crate::survey::ConnectError;
use crate::vaults::OpenError;
use crate::verify::VerifyError;
use holdfast_api::client::ClientError;
use holdfast_vault::chain::ChainError;
use holdfast_vault::init::VaultError;
use holdfast_vault::snapshot::SnapshotError;

/// Why a round gave no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The vault cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The chain cannot be read, or the store not be reached.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The cluster's configuration.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Nobody can be asked.
    #[error(transparent)]
    Member(#[from] NoMember),
    /// The member refused the stream.
    #[error(transparent)]
    Etcd(#[from] ClientError),
    /// The stream or the spool.
    #[error(transparent)]
    Stream(#[from] SourceError),
    /// The stream of changes.
    #[error(transparent)]
    Changes(#[from] ChangesError),
    /// What arrived is no sound database.
    #[error(
        "{0}; the stream's digest was right, so the member's own file is damaged: check that member"
    )]
    Database(ReaderError),
    /// The vault did not take it.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The member is behind what the vault has.
    #[error("{endpoint} is behind the vault: {reason}; the next round asks again")]
    Late {
        /// Who was asked.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// Another cluster than the vault's.
    #[error(
        "this is not the cluster in the vault: {reason}; nothing was stored; correct \
         etcd.endpoints or \
         vault.clusterId, or make a vault for it with `holdfast vault init`"
    )]
    Unrelated {
        /// Why.
        reason: String,
    },
    /// The snapshot was stored, and does not read back.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The key service is away, and there is no recovery key to go on with.
    #[error(
        "the key service is away: {away}; nothing can be stored until it is back. {waiting}. With \
         `vault.recoveryRecipient` the agent would go on (`holdfast vault recovery-key`)"
    )]
    Waiting {
        /// What it said.
        away: String,
        /// What waits meanwhile, where, and how long it can.
        waiting: String,
    },
    /// The same in a process that ends now: nothing waits anywhere.
    #[error(
        "the key service is away: {away}; nothing was stored and nothing waits. Run this again \
         when it is back; with a recovery key (`holdfast vault recovery-key` makes one, its public \
         half goes into `vault.recoveryRecipient`) a round needs no key service"
    )]
    NothingStored {
        /// What it said.
        away: String,
    },
    /// The same, and it is too early for one more relief chain.
    #[error("the key service is away: {away}; {relief}. {waiting}")]
    ReliefWaits {
        /// What it said.
        away: String,
        /// Which chain there is, and when another may begin.
        relief: String,
        /// What waits meanwhile.
        waiting: String,
    },
    /// A thread of ours died.
    #[error("a thread of the round ended: {0}")]
    Thread(String),
}

impl RoundError {
    /// One word for the metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            RoundError::Open(error) => open_kind(error),
            RoundError::Chain(error) | RoundError::Snapshot(SnapshotError::Chain(error)) => {
                chain_kind(error)
            }
            RoundError::Connect(_) | RoundError::Etcd(_) => "etcd",
            RoundError::Member(_) => "member",
            RoundError::Stream(SourceError::Spool(_) | SourceError::Thread(_)) => "spool",
            RoundError::Changes(ChangesError::Spool(_) | ChangesError::Thread(_)) => "spool",
            RoundError::Changes(ChangesError::Naming(SnapshotError::Chain(error))) => {
                chain_kind(error)
            }
            RoundError::Changes(ChangesError::Naming(_)) => "vault",
            RoundError::Stream(_) | RoundError::Changes(_) => "stream",
            RoundError::Database(_) | RoundError::Snapshot(SnapshotError::Source(_)) => "database",
            RoundError::Snapshot(_) => "vault",
            RoundError::Late { .. } => "late",
            RoundError::Unrelated { .. } => "unrelated",
            RoundError::Verify(VerifyError::Store { .. }) => "store",
            RoundError::Verify(_) => "verify",
            RoundError::Waiting { .. }
            | RoundError::NothingStored { .. }
            | RoundError::ReliefWaits { .. } => "keys",
            RoundError::Thread(_) => "internal",
        }
    }

    /// Whether trying again is not likely to help, so that somebody must look at it.
    pub fn is_alarm(&self) -> bool {
        matches!(self.kind(), "rolledback" | "unrelated" | "verify" | "database" | "keys")
    }

    /// The key service's fault, if it is that.
    pub fn key_service(&self) -> Option<String> {
        let of_chain = |error: &ChainError| match error {
            ChainError::Keys(error) if error.is_key_service() => Some(error.to_string()),
            _ => None,
        };
        match self {
            RoundError::Open(error) => error.key_service().map(ToString::to_string),
            RoundError::Chain(error) | RoundError::Snapshot(SnapshotError::Chain(error)) => {
                of_chain(error)
            }
            _ => None,
        }
    }

    /// Whether etcd gave nothing, so that what was taken before is the best there is.
    pub fn is_etcd(&self) -> bool {
        matches!(self.kind(), "etcd" | "member" | "stream" | "spool" | "database")
    }

    /// Whether the store could not be reached.
    pub fn is_store(&self) -> bool {
        self.kind() == "store"
    }
}

fn open_kind(error: &OpenError) -> &'static str {
    match error {
        OpenError::Vault(VaultError::Chain(error)) => chain_kind(error),
        OpenError::Store(_) => "store",
        OpenError::Keys { .. } | OpenError::Paper { .. } | OpenError::NoKeys => "keys",
        OpenError::Vault(_) | OpenError::OtherCluster { .. } => "configuration",
    }
}

/// One word for what is wrong with a chain.
pub fn chain_kind(error: &ChainError) -> &'static str {
    match error {
        // A folder that is not mounted looks like a vault without commits.
        ChainError::Store(_) | ChainError::Unknown { .. } | ChainError::Empty { .. } => "store",
        ChainError::RolledBack { .. } | ChainError::Replaced { .. } => "rolledback",
        ChainError::Keys(_) | ChainError::ReadOnly => "keys",
        _ => "chain",
    }
}
