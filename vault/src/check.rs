//! Checking a vault: L0 everything is there, L1 its bytes are those written, L2 everything opens
//! and is what the indexes say. L3 and higher are shown by restoring.
//!
//! Holds: every object that the chain refers to is looked at, the root, wraps and commits included;
//! a finding names the object, the part, and the snapshots that need it; a check writes nothing;
//! segments and spilled buckets are read piece by piece, so memory is bounded by a few frames.

mod body;
mod chain;
mod objects;
mod stream;

use crate::chain::ChainError;
use crate::format::ObjectId;
use crate::vault::Vault;
use body::Known;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Objects exist with the recorded size.
    L0,
    /// Their SHA-256 is the recorded one.
    L1,
    /// They open and decompress, and records are what indexes and bodies say.
    L2,
}

/// How to check.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// How deep.
    pub level: Level,
    /// These snapshots only, with what they need; empty: everything extant.
    pub snapshots: BTreeSet<u64>,
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFinding {
    /// The object's name in the store.
    pub object: String,
    /// What is wrong, with the part.
    pub detail: String,
    /// Snapshots that cannot be restored because of it.
    pub snapshots: Vec<u64>,
}

/// What a check saw.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// What is wrong.
    pub findings: Vec<CheckFinding>,
    /// Objects looked at.
    pub objects: usize,
    /// Bytes read.
    pub read_bytes: u64,
    /// Snapshots that everything was found sound for.
    pub sound: Vec<u64>,
}

impl Vault {
    /// Checks the vault as its head stands. What cannot be opened because a key is missing is an
    /// error, not a finding.
    pub async fn check(&mut self, options: &CheckOptions) -> Result<CheckReport, ChainError> {
        self.refresh().await?;
        let mut checker = Checker {
            vault: self,
            level: options.level,
            report: CheckReport::default(),
            gone: BTreeSet::new(),
            bodies: BTreeMap::new(),
            needed: BTreeMap::new(),
        };
        let kept = checker.vault.chain().catalogue().numbers();
        let wanted =
            |number: &u64| options.snapshots.is_empty() || options.snapshots.contains(number);
        let chosen: BTreeSet<u64> = kept.iter().copied().filter(wanted).collect();
        if options.snapshots.is_empty() {
            checker.root().await?;
            checker.wraps().await?;
            checker.commits().await?;
        }
        checker.gaps();
        checker.objects(&chosen, options.snapshots.is_empty()).await?;
        let mut report = checker.report;
        let broken: BTreeSet<u64> =
            report.findings.iter().flat_map(|finding| finding.snapshots.iter().copied()).collect();
        report.sound = chosen.difference(&broken).copied().collect();
        Ok(report)
    }
}

struct Checker<'a> {
    vault: &'a Vault,
    level: Level,
    report: CheckReport,
    /// Seeds without any wrap: what they seal is told beforehand.
    gone: BTreeSet<Bytes>,
    /// Segments and spilled buckets as bodies describe them, by object id.
    bodies: BTreeMap<ObjectId, Known>,
    /// Which snapshots' bodies name an object.
    needed: BTreeMap<ObjectId, Vec<u64>>,
}

impl Checker<'_> {
    fn find(&mut self, object: &str, detail: String, snapshots: Vec<u64>) {
        self.report.findings.push(CheckFinding { object: object.to_owned(), detail, snapshots });
    }

    fn all(&self) -> Vec<u64> {
        self.vault.chain().catalogue().numbers().into_iter().collect()
    }

    /// Reads an object whole; what is wrong with getting it is a finding.
    async fn read(
        &mut self,
        name: &str,
        limit: u64,
        snapshots: &[u64],
    ) -> Result<Option<Bytes>, ChainError> {
        self.report.objects += 1;
        match self.vault.store().get(name, limit).await {
            Ok(bytes) => {
                self.report.read_bytes += bytes.len() as u64;
                Ok(Some(bytes))
            }
            Err(error) => {
                let Some(detail) = error.loss() else { return Err(error.into()) };
                self.find(name, detail, snapshots.to_vec());
                Ok(None)
            }
        }
    }
}
