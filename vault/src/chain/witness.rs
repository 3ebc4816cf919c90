//! A memory of the chain outside of the store: era, number and digest of a head that was seen.
//!
//! A chain shows a removed or changed middle, but not a store that answers with last week's head.
//! Whoever kept a witness notices: a head below it, or another commit at its number, is an error.
//! Holds: the file is replaced as a whole and is on disk before `save` returns.

use super::state::Digest;
use crate::format::hex;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// A head that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// The vault's cluster, 32 hex digits.
    pub cluster: String,
    /// Its era.
    pub era: u64,
    /// Its number.
    pub number: u64,
    /// SHA-256 of the commit object as stored, 64 hex digits.
    pub sha256: String,
    /// The highest revision known to have been served then.
    #[serde(default)]
    pub high_water_revision: i64,
}

/// What a witness says about a store's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Testimony {
    /// The head is at or above it, and the commit there is the same, as far as it still exists.
    Agrees,
    /// The commit at this number must have the witnessed digest: read it.
    Read(u64),
    /// The store is behind.
    Behind,
    /// Another commit stands at the witnessed number.
    Contradicts,
}

impl Witness {
    /// Of a head.
    pub fn new(cluster: String, era: u64, number: u64, sha256: &Digest, revision: i64) -> Witness {
        Witness { cluster, era, number, sha256: hex(sha256), high_water_revision: revision }
    }

    /// Judges a chain whose head is (era, number, digest) and whose lowest commit is `floor`.
    pub fn judge(&self, era: u64, number: u64, sha256: &Digest, floor: u64) -> Testimony {
        if (era, number) < (self.era, self.number) {
            Testimony::Behind
        } else if (era, number) == (self.era, self.number) {
            self.compare(sha256)
        } else if era == self.era && self.number >= floor {
            Testimony::Read(self.number)
        } else {
            Testimony::Agrees
        }
    }

    /// Judges the commit at the witnessed number.
    pub fn compare(&self, sha256: &Digest) -> Testimony {
        if self.sha256 == hex(sha256) { Testimony::Agrees } else { Testimony::Contradicts }
    }

    /// Reads a state file; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read or is not a witness: it is never taken for "no memory".
    pub fn load(path: &Path) -> std::io::Result<Option<Witness>> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            let message = format!(
                "{}: not a witness of a vault ({error}); restore it, or remove it to trust the store",
                path.display()
            );
            std::io::Error::new(std::io::ErrorKind::InvalidData, message)
        })
    }

    /// Replaces the state file, durably.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let mut file = std::fs::File::create(&name)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        std::fs::rename(&name, path)?;
        std::fs::File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_behind_or_another_chain_is_seen() {
        let witness = Witness::new("c".into(), 0, 10, &[1; 32], 5);
        assert_eq!(witness.judge(0, 9, &[1; 32], 1), Testimony::Behind);
        assert_eq!(witness.judge(0, 10, &[1; 32], 1), Testimony::Agrees);
        assert_eq!(witness.judge(0, 10, &[2; 32], 1), Testimony::Contradicts);
        assert_eq!(witness.judge(0, 12, &[2; 32], 1), Testimony::Read(10));
        assert_eq!(witness.judge(0, 500, &[2; 32], 11), Testimony::Agrees);
        assert_eq!(witness.judge(1, 5, &[2; 32], 1), Testimony::Agrees);
    }

    #[test]
    fn the_file_keeps_it_and_garbage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert_eq!(Witness::load(&path).unwrap(), None);
        let witness = Witness::new("c".into(), 0, 10, &[1; 32], 5);
        witness.save(&path).unwrap();
        assert_eq!(Witness::load(&path).unwrap(), Some(witness));
        std::fs::write(&path, b"{}").unwrap();
        assert!(Witness::load(&path).is_err());
    }
}
