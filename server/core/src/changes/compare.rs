//! The comparison itself: records in order beside names in order.

use super::wire::{Item, Known};
use crate::record::Record;
use crate::revision::Revision;
use aws_lc_rs::hmac;
use sha2::{Digest, Sha256};

/// Length of a digest's key.
pub const DIGEST_KEY_BYTES: usize = 32;

/// A key of record digests, as the caller sent it.
#[derive(Clone)]
pub struct DigestKey(hmac::Key);

/// The names, in order, as they come.
pub trait Names {
    /// Its failure.
    type Error;

    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// Its own.
    fn next(&mut self) -> Result<Option<Known>, Self::Error>;

    /// Whether a record is the one that was named.
    ///
    /// # Errors
    /// A name whose key was never sent.
    fn is_same(&self, known: &Known, record: &Record<'_>) -> Result<bool, Self::Error>;
}

/// Counts of what is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Records.
    pub records: u64,
    /// Tombstones among them.
    pub tombstones: u64,
    /// Bytes of their values.
    pub live_bytes: u64,
    /// Records that were named and are the same.
    pub equal: u64,
}

/// A comparison in progress.
#[derive(Debug)]
pub struct Comparison<N> {
    names: N,
    next: Option<Known>,
    totals: Totals,
    sha256: Sha256,
}

impl DigestKey {
    /// Of its bytes.
    pub fn new(bytes: &[u8; DIGEST_KEY_BYTES]) -> DigestKey {
        DigestKey(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The digest that a vault's index holds of a record (docs/FORMAT.md, "segment index").
    pub fn digest(&self, record: &Record<'_>) -> u32 {
        let mut mac = hmac::Context::with_key(&self.0);
        let head = head(record);
        mac.update(&head[..17]);
        mac.update(record.raw_value);
        let tag = mac.sign();
        let mut first = [0; 4];
        first.copy_from_slice(&tag.as_ref()[..4]);
        u32::from_le_bytes(first)
    }
}

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

/// main u64 | sub u64 | flags u8 | value length u64, little-endian.
fn head(record: &Record<'_>) -> [u8; 25] {
    let mut head = [0; 25];
    head[..8].copy_from_slice(&record.at.revision.main.to_le_bytes());
    head[8..16].copy_from_slice(&record.at.revision.sub.to_le_bytes());
    head[16] = u8::from(record.at.tombstone);
    head[17..].copy_from_slice(&(record.raw_value.len() as u64).to_le_bytes());
    head
}

impl<N: Names> Comparison<N> {
    /// Begins.
    ///
    /// # Errors
    /// Those of the names.
    pub fn new(mut names: N) -> Result<Comparison<N>, N::Error> {
        let next = names.next()?;
        Ok(Comparison { names, next, totals: Totals::default(), sha256: Sha256::new() })
    }

    /// Takes the next record that is alive, in order.
    ///
    /// # Errors
    /// Those of the names, and of `tell`.
    pub fn take(
        &mut self,
        record: &Record<'_>,
        superseded: bool,
        tell: &mut impl FnMut(&Item<'_>) -> Result<(), N::Error>,
    ) -> Result<(), N::Error> {
        self.totals.records += 1;
        self.totals.tombstones += u64::from(record.at.tombstone);
        self.totals.live_bytes += record.raw_value.len() as u64;
        self.sha256.update(head(record));
        self.sha256.update(record.raw_value);
        self.gone_until(Some(record.at.revision), tell)?;
        if let Some(known) = self.next.filter(|known| known.at == record.at.revision) {
            self.next = self.names.next()?;
            if self.names.is_same(&known, record)? {
                self.totals.equal += 1;
                return Ok(());
            }
        }
        tell(&Item::Record { at: record.at, superseded, value: record.raw_value })
    }

    /// Ends after the last record: the counts, and the SHA-256 over all that are alive.
    ///
    /// # Errors
    /// As [`Comparison::take`].
    pub fn finish(
        mut self,
        tell: &mut impl FnMut(&Item<'_>) -> Result<(), N::Error>,
    ) -> Result<(Totals, [u8; 32]), N::Error> {
        self.gone_until(None, tell)?;
        Ok((self.totals, self.sha256.finalize().into()))
    }

    fn gone_until(
        &mut self,
        end: Option<Revision>,
        tell: &mut impl FnMut(&Item<'_>) -> Result<(), N::Error>,
    ) -> Result<(), N::Error> {
        while let Some(known) = self.next.filter(|known| end.is_none_or(|end| known.at < end)) {
            tell(&Item::Gone(known.at))?;
            self.next = self.names.next()?;
        }
        Ok(())
    }
}
