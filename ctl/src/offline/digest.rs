//! The SHA-256 at the end of a snapshot file.
//!
//! A database is a whole number of 512-byte sectors long; a snapshot has the 32 bytes of its digest
//! behind it. A database copied out of a data directory has none.

use crate::failure::Failure;
use sha2::{Digest, Sha256};
use std::path::Path;

const DIGEST_BYTES: usize = 32;
const SECTOR_BYTES: usize = 512;

/// What stands at a file's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trailer {
    /// The digest of all before it.
    Good,
    /// A digest of something else.
    Wrong,
    /// None.
    Missing,
}

/// Looks at a file's end, and where there is a digest, at all of it.
pub(super) fn judge(bytes: &[u8]) -> Trailer {
    if bytes.len() % SECTOR_BYTES != DIGEST_BYTES {
        return Trailer::Missing;
    }
    let (body, digest) = bytes.split_at(bytes.len() - DIGEST_BYTES);
    if Sha256::digest(body)[..] == *digest { Trailer::Good } else { Trailer::Wrong }
}

/// What is said of a wrong digest.
pub(super) fn wrong(path: &Path) -> Failure {
    // It begins as upstream's.
    let path = path.display();
    Failure::error(format!(
        "expected sha256 of its bytes at the end of {path}, got another one: the snapshot is \
         damaged; take another one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_wrong_and_missing() {
        let mut bytes = vec![1; 4096];
        assert_eq!(judge(&bytes), Trailer::Missing);
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        assert_eq!(judge(&bytes), Trailer::Good);
        for at in [0, 4095, 4096, 4127] {
            bytes[at] ^= 1;
            assert_eq!(judge(&bytes), Trailer::Wrong);
            bytes[at] ^= 1;
        }
        assert_eq!(judge(&[]), Trailer::Missing);
    }
}
