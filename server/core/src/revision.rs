//! Revisions and their form as keys of the bucket `key`.
//!
//! ```text
//! offset  size  field
//!      0     8  main revision, big-endian, never negative
//!      8     1  '_'
//!      9     8  sub revision, big-endian, never negative
//!     17     1  't', only on a tombstone
//! ```
//!
//! The order of the bytes is the order of (main, sub). A tombstone and a put never share a
//! revision. The compaction marks in the bucket `meta` are stored in the 17-byte form with sub
//! revision 0.

use std::fmt;

const SEPARATOR: u8 = b'_';
const TOMBSTONE: u8 = b't';
const SUB_AT: usize = 9;

/// Length of an encoded revision without a tombstone mark.
pub const REVISION_LEN: usize = 17;
/// Length of an encoded revision with a tombstone mark.
pub const TOMBSTONE_LEN: usize = REVISION_LEN + 1;

/// A point in the history of a store: the main revision counts writing transactions, the sub
/// revision the records within one, from 0 without gaps. Neither is negative once decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision {
    /// Number of the writing transaction; the first is 2.
    pub main: i64,
    /// Position of the record within its transaction.
    pub sub: i64,
}

/// A key of the bucket `key`: a revision and whether the record there is a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketKey {
    /// Where the record stands in the history.
    pub revision: Revision,
    /// True if the record marks the deletion of its key.
    pub tombstone: bool,
}

/// An encoded [`BucketKey`]: 17 or 18 bytes on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BucketKeyBytes {
    bytes: [u8; TOMBSTONE_LEN],
    len: usize,
}

/// Bytes that are not a key of the bucket `key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    /// Neither 17 nor 18 bytes.
    #[error("a revision has 17 or 18 bytes, not {len}")]
    Length {
        /// The length found.
        len: usize,
    },
    /// The ninth byte is not `_`.
    #[error("a revision has '_' between its two numbers, not byte {found:#04x}")]
    Separator {
        /// The byte found.
        found: u8,
    },
    /// The eighteenth byte is not `t`.
    #[error("the mark behind a revision is 't', not byte {found:#04x}")]
    Mark {
        /// The byte found.
        found: u8,
    },
    /// A number with the sign bit set.
    #[error("a revision is never negative (main {main}, sub {sub})")]
    Negative {
        /// The main revision found.
        main: i64,
        /// The sub revision found.
        sub: i64,
    },
}

impl Revision {
    /// A revision from its two numbers.
    pub const fn new(main: i64, sub: i64) -> Self {
        Revision { main, sub }
    }

    /// The 17-byte form.
    ///
    /// # Panics
    /// If a number is negative: such a revision cannot be written.
    pub fn encode(self) -> [u8; REVISION_LEN] {
        assert!(self.main >= 0 && self.sub >= 0, "a revision is never negative: {self}");
        let mut out = [SEPARATOR; REVISION_LEN];
        out[..SUB_AT - 1].copy_from_slice(&self.main.to_be_bytes());
        out[SUB_AT..].copy_from_slice(&self.sub.to_be_bytes());
        out
    }

    /// Reads the 17-byte form, as the compaction marks have it.
    ///
    /// # Errors
    /// See [`RevisionError`]; a tombstone mark counts as a wrong length.
    pub fn decode(bytes: &[u8]) -> Result<Self, RevisionError> {
        if bytes.len() != REVISION_LEN {
            return Err(RevisionError::Length { len: bytes.len() });
        }
        BucketKey::decode(bytes).map(|key| key.revision)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.main, self.sub)
    }
}

impl BucketKey {
    /// The key of a record that is not a tombstone.
    pub const fn put(revision: Revision) -> Self {
        BucketKey { revision, tombstone: false }
    }

    /// The key of a tombstone.
    pub const fn tombstone(revision: Revision) -> Self {
        BucketKey { revision, tombstone: true }
    }

    /// Reads 17 bytes as a put and 18 as a tombstone.
    ///
    /// # Errors
    /// See [`RevisionError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RevisionError> {
        let (head, mark) = match bytes.len() {
            REVISION_LEN => (bytes, None),
            TOMBSTONE_LEN => (&bytes[..REVISION_LEN], Some(bytes[REVISION_LEN])),
            len => return Err(RevisionError::Length { len }),
        };
        let (main, rest) = head.split_at(SUB_AT - 1);
        let (separator, sub) = rest.split_at(1);
        if separator != [SEPARATOR] {
            return Err(RevisionError::Separator { found: separator[0] });
        }
        if let Some(found) = mark.filter(|mark| *mark != TOMBSTONE) {
            return Err(RevisionError::Mark { found });
        }
        let (main, sub) = (be_i64(main), be_i64(sub));
        if main < 0 || sub < 0 {
            return Err(RevisionError::Negative { main, sub });
        }
        Ok(BucketKey { revision: Revision { main, sub }, tombstone: mark.is_some() })
    }

    /// The bytes that stand in the bucket.
    ///
    /// # Panics
    /// If a number is negative: such a revision cannot be written.
    pub fn encode(self) -> BucketKeyBytes {
        let mut bytes = [TOMBSTONE; TOMBSTONE_LEN];
        bytes[..REVISION_LEN].copy_from_slice(&self.revision.encode());
        let len = if self.tombstone { TOMBSTONE_LEN } else { REVISION_LEN };
        BucketKeyBytes { bytes, len }
    }
}

impl std::ops::Deref for BucketKeyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl AsRef<[u8]> for BucketKeyBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for BucketKeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

fn be_i64(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_those_of_upstream() {
        // Read from a database that etcd wrote: revision 7, second record, a deletion.
        let want = b"\0\0\0\0\0\0\0\x07_\0\0\0\0\0\0\0\x01t";
        let key = BucketKey::tombstone(Revision::new(7, 1));
        assert_eq!(&*key.encode(), want);
        assert_eq!(BucketKey::decode(want), Ok(key));
        assert_eq!(Revision::decode(&want[..17]), Ok(Revision::new(7, 1)));
        assert_eq!(Revision::decode(want), Err(RevisionError::Length { len: 18 }));
    }

    proptest! {
        #[test]
        fn keys_come_back_and_sort_alike(
            a in (0..i64::MAX, 0..i64::MAX, any::<bool>()),
            b in (0..i64::MAX, 0..i64::MAX, any::<bool>()),
        ) {
            let key = |(main, sub, tombstone)| {
                BucketKey { revision: Revision { main, sub }, tombstone }
            };
            let (a, b) = (key(a), key(b));
            prop_assert_eq!(BucketKey::decode(&a.encode()), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            if let Ok(key) = BucketKey::decode(&bytes) {
                prop_assert_eq!(&*key.encode(), &bytes[..]);
            }
        }
    }

    #[test]
    fn names_what_is_wrong() {
        let good = BucketKey::tombstone(Revision::new(1, 2)).encode();
        let mut bad = good.to_vec();
        bad[17] = b'x';
        assert_eq!(BucketKey::decode(&bad), Err(RevisionError::Mark { found: b'x' }));
        bad[8] = b'-';
        assert_eq!(BucketKey::decode(&bad), Err(RevisionError::Separator { found: b'-' }));
        let mut bad = good.to_vec();
        bad[0] = 0x80;
        assert!(matches!(BucketKey::decode(&bad), Err(RevisionError::Negative { sub: 2, .. })));
        assert_eq!(BucketKey::decode(b""), Err(RevisionError::Length { len: 0 }));
    }
}
