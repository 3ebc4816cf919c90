//! What an entry may be: bbolt's limits of keys, bucket names and values.

use crate::layout::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// An entry that bbolt cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// bbolt has no empty keys and no buckets without a name.
    #[error("empty key or bucket name")]
    EmptyKey,
    /// The key is larger than bbolt allows.
    #[error("a key of {bytes} bytes is larger than the {MAX_KEY_BYTES} that bbolt allows")]
    KeyTooLarge {
        /// The key's length.
        bytes: usize,
    },
    /// The value is larger than bbolt allows.
    #[error("a value of {bytes} bytes is larger than the {MAX_VALUE_BYTES} that bbolt allows")]
    ValueTooLarge {
        /// The value's length.
        bytes: usize,
    },
}

/// Refuses what bbolt cannot hold. A bucket's name is a key; its value is ours.
pub(crate) fn check_entry(key: &[u8], value_bytes: usize) -> Result<(), EntryError> {
    if key.is_empty() {
        return Err(EntryError::EmptyKey);
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(EntryError::KeyTooLarge { bytes: key.len() });
    }
    if value_bytes > MAX_VALUE_BYTES {
        return Err(EntryError::ValueTooLarge { bytes: value_bytes });
    }
    Ok(())
}
