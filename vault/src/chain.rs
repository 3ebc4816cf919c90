//! The chain of commits: names, the pure state fold, head discovery and the commit attempt.
//!
//! Holds: the head is found without LIST (probe upward from a commit that still exists; a cold
//! start lists and then probes); after any answer but success the name of an attempt is read back;
//! a number is never used twice; a store behind a witness is an error, never built upon.

pub mod catalogue;
mod commit;
pub mod draft;
mod gap;
mod load;
pub mod names;
pub mod rules;
pub mod state;
pub mod witness;

pub use catalogue::{Catalogue, CatalogueEdit};
pub use commit::CommitOutcome;
pub use draft::Draft;
pub use gap::Gap;
pub use load::newest_listed;
pub use names::Names;
pub use rules::Round;
pub use state::{Digest, State};
pub use witness::Witness;

use crate::access::{Access, AccessError};
use crate::proto::{CatalogueEntry, Commit, PageRef};
use crate::store::StoreError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why the chain cannot be read or extended.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sealed object cannot be opened or is not what it should be.
    #[error("{name}: {detail}")]
    Damaged {
        /// The object's name.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A seed cannot be opened.
    #[error(transparent)]
    Keys(#[from] AccessError),
    /// A commit breaks a rule of the chain.
    #[error(transparent)]
    State(#[from] state::StateError),
    /// The cluster has no commit.
    #[error("{folder}: no commit; was the vault initialised, and is this its address?")]
    Empty {
        /// The cluster's folder.
        folder: String,
    },
    /// The store answers with an older head than one that was seen before.
    #[error(
        "the store's head is commit {found}, but commit {witnessed} was seen before: the store \
         was rolled back or lost writes; nothing is written; compare with another copy, or remove \
         the state file to accept what the store has"
    )]
    RolledBack {
        /// The head in the store.
        found: u64,
        /// The head that was seen.
        witnessed: u64,
    },
    /// The store holds another commit than the one that was seen at that number.
    #[error(
        "commit {number} in the store is not the one that was seen before: the chain was replaced; nothing \
         is written; compare with another copy"
    )]
    Replaced {
        /// The witnessed number.
        number: u64,
    },
    /// The round is older than 6 hours and may not commit any more.
    #[error("the round is older than 6 hours and was given up; the next one starts afresh")]
    RoundTooOld,
    /// Whether the commit stands is not known; the next look at the chain tells.
    #[error("commit {number}: whether it stands is not known ({source}); the next round will see")]
    Unknown {
        /// Its number.
        number: u64,
        /// What the store said last.
        source: StoreError,
    },
    /// An older object of the chain is lost or rotten.
    #[error(
        "{name}: {detail}; the chain has a gap there, so nothing can be written to it any more. What \
         was backed up can still be listed, checked, restored and exported. Bring the object back \
         from another copy or an older version of the store, or begin a new chain beside it with \
         `holdfast vault init --add-cluster --name NAME`, and name that one in the agent's configuration"
    )]
    Incomplete {
        /// The object's name.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Only a reader's seeds are at hand.
    #[error("commit: no index seed to seal it with")]
    ReadOnly,
    /// A newer version wrote the head, and says that older ones must not write after it.
    #[error(
        "commit {number} was written by a newer version of holdfast (feature bit {bit}): this one \
         can read and restore, but must not write here; update it"
    )]
    WriterTooOld {
        /// The head's number.
        number: u64,
        /// The feature that is not known here.
        bit: u32,
    },
    /// The store lets two creates of one name both win.
    #[error(
        "{address}: the store ignores put-if-absent, so two writers could both win; run `holdfast store \
         doctor`, and use another store as the authority"
    )]
    UnsafeStore {
        /// The store's address.
        address: String,
    },
}

impl ChainError {
    /// Whether what was asked for is gone or not what was written: asking again changes nothing.
    pub(crate) fn is_loss(&self) -> bool {
        match self {
            ChainError::Damaged { .. } => true,
            ChainError::Store(error) | ChainError::Keys(AccessError::Store(error)) => {
                error.is_loss()
            }
            ChainError::Keys(AccessError::Format(error)) => error.is_damage(),
            _ => false,
        }
    }
}

/// A chain that was read up to its head.
#[derive(Debug, Clone)]
pub struct Chain {
    access: Arc<Access>,
    state: State,
    catalogue: Catalogue,
    read_boot_ms: i64,
    recent: BTreeMap<u64, Digest>,
    /// A feature of the head that forbids to write after it.
    write_guard: Option<u32>,
    /// What could not be read of it; then nothing is written.
    gaps: Vec<Gap>,
}

impl Chain {
    /// The state at the head.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The head.
    pub fn head(&self) -> &Commit {
        self.state.head()
    }

    /// All snapshots that exist.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Objects of the chain that are lost or rotten: what the head names can be read, and nothing
    /// can be written.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Whether anything may be written or deleted on the strength of this head.
    ///
    /// # Errors
    /// `WriterTooOld` and `Incomplete`.
    pub fn check_writable(&self) -> Result<(), ChainError> {
        if let Some(bit) = self.write_guard {
            return Err(ChainError::WriterTooOld { number: self.state.number(), bit });
        }
        self.gaps.first().map_or(Ok(()), |gap| Err(gap.refusal()))
    }

    /// What a state file should remember.
    pub fn witness(&self) -> Witness {
        let head = self.head();
        let revision = head.high_water.as_ref().map_or(0, |mark| mark.revision);
        let cluster = self.access.cluster().to_string();
        Witness::new(cluster, head.era, head.number, self.state.sha256(), revision)
    }

    /// The store, names and keys that it works with.
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Compares with a memory from outside of the store.
    ///
    /// # Errors
    /// `RolledBack` and `Replaced`.
    pub async fn check_witness(&self, witness: &Witness) -> Result<(), ChainError> {
        let head = self.head();
        let mut testimony = witness.judge(head.era, head.number, self.state.sha256(), head.floor);
        if let witness::Testimony::Read(number) = testimony {
            testimony = match self.recent.get(&number) {
                Some(digest) => witness.compare(digest),
                None => {
                    let name = self.access.names().commit(head.era, number);
                    let bytes =
                        self.access.store().get(&name, crate::format::MAX_COMMIT_BYTES).await?;
                    witness.compare(&crate::access::sha256(&bytes))
                }
            };
        }
        match testimony {
            witness::Testimony::Behind if !self.gaps.is_empty() => self.check_writable(),
            witness::Testimony::Behind => {
                Err(ChainError::RolledBack { found: head.number, witnessed: witness.number })
            }
            witness::Testimony::Contradicts => Err(ChainError::Replaced { number: witness.number }),
            _ => Ok(()),
        }
    }

    /// The entries of the pages named by a head; pages that `self` already holds are not read
    /// again.
    async fn pages(
        access: &Access,
        known: &Catalogue,
        references: &[PageRef],
    ) -> Result<Vec<Vec<CatalogueEntry>>, (String, ChainError)> {
        let mut pages = Vec::with_capacity(references.len());
        for reference in references {
            let stored = known.pages().iter().find_map(|page| match page {
                catalogue::Page::Stored { reference: known, entries } if known == reference => {
                    Some(entries.clone())
                }
                _ => None,
            });
            pages.push(match stored {
                Some(entries) => entries,
                None => access.read_page(reference).await.map_err(|error| {
                    (load::named_object(access, reference.object.as_ref()), error.into())
                })?,
            });
        }
        Ok(pages)
    }
}

/// A commit with its digest as stored.
#[derive(Debug, Clone)]
struct StoredCommit {
    commit: Commit,
    sha256: Digest,
    write_guard: Option<u32>,
}
