//! Records of the bucket `key`: a borrowed view, and the KeyValue message in it.
//!
//! A record is a bucket key (a revision, see [`crate::revision`]) and a value, the protobuf message
//! mvccpb.KeyValue:
//!
//! ```text
//! field  type   name
//!     1  bytes  key
//!     2  int64  create_revision
//!     3  int64  mod_revision
//!     4  int64  version          1 after a create
//!     5  bytes  value
//!     6  int64  lease
//! ```
//!
//! Upstream writes fields in ascending order and leaves zero and empty ones out; HashKV is a
//! checksum over these very bytes, so [`KeyValue::encode`] does the same. A tombstone's message has
//! the key only. A message of zero bytes on a record that is no tombstone is legal: `etcdutl
//! snapshot restore --bump-revision` puts one, and it decodes as the key `""`, version 0.

use crate::revision::{BucketKey, RevisionError};
use crate::wire::{self, Reader, WireError};

/// A record as it lies in the bucket. The bytes are borrowed from the page, nothing is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The decoded bucket key.
    pub at: BucketKey,
    /// The bucket key as stored: 17 or 18 bytes.
    pub raw_key: &'a [u8],
    /// The KeyValue message as stored.
    pub raw_value: &'a [u8],
}

/// The content of a record. `key` and `value` are borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyValue<'a> {
    /// The user's key; empty only in the record of a revision bump.
    pub key: &'a [u8],
    /// Main revision at which this generation of the key was created.
    pub create_revision: i64,
    /// Main revision of this record.
    pub mod_revision: i64,
    /// Counts the changes since the creation, from 1.
    pub version: i64,
    /// The user's value; may be empty.
    pub value: &'a [u8],
    /// Id of the lease the key hangs on, or 0.
    pub lease: i64,
}

/// A record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bucket key is not a revision.
    #[error("record has a bad bucket key: {0}")]
    Key(#[from] RevisionError),
    /// The value is not a KeyValue message.
    #[error("record {revision} has a bad value: {source}")]
    Value {
        /// The record's revision.
        revision: crate::revision::Revision,
        /// What is wrong in the message.
        source: WireError,
    },
}

impl<'a> Record<'a> {
    /// Reads the bucket key; the value stays undecoded until [`Record::key_value`].
    ///
    /// # Errors
    /// A bucket key that is not a revision.
    pub fn parse(raw_key: &'a [u8], raw_value: &'a [u8]) -> Result<Self, RecordError> {
        Ok(Record { at: BucketKey::decode(raw_key)?, raw_key, raw_value })
    }

    /// Decodes the whole message. Costs a few varints: the value is borrowed.
    ///
    /// # Errors
    /// Bytes that are not a KeyValue message.
    pub fn key_value(&self) -> Result<KeyValue<'a>, RecordError> {
        KeyValue::decode(self.raw_value)
            .map_err(|source| RecordError::Value { revision: self.at.revision, source })
    }

    /// Decodes the user's key only. Upstream writes it first, so this ends at the first field.
    ///
    /// # Errors
    /// Bytes that are not a KeyValue message.
    pub fn user_key(&self) -> Result<&'a [u8], RecordError> {
        // The common case: the message starts with tag 0x0a and nothing repeats the field. A
        // repeated field 1 would win over the first; upstream never writes one, and `key_value`
        // would see it.
        let mut reader = Reader::new(self.raw_value);
        if let Ok(Some((1, wire::Field::Bytes(key)))) = reader.next_field() {
            return Ok(key);
        }
        self.key_value().map(|kv| kv.key)
    }

    /// True for the record that a bumped restore puts: no tombstone, and a message of zero bytes.
    pub fn is_bump(&self) -> bool {
        !self.at.tombstone && self.raw_value.is_empty()
    }
}

impl<'a> KeyValue<'a> {
    /// Reads a message; unknown fields are skipped, as upstream does.
    ///
    /// # Errors
    /// Broken wire format, or a known field of the wrong type.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut out = KeyValue::default();
        while let Some((number, field)) = reader.next_field()? {
            match number {
                1 => out.key = field.as_bytes(&reader)?,
                2 => out.create_revision = field.as_i64(&reader)?,
                3 => out.mod_revision = field.as_i64(&reader)?,
                4 => out.version = field.as_i64(&reader)?,
                5 => out.value = field.as_bytes(&reader)?,
                6 => out.lease = field.as_i64(&reader)?,
                _ => {}
            }
        }
        Ok(out)
    }

    /// Appends the message exactly as upstream writes it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        wire::put_bytes_nonempty(out, 1, self.key);
        wire::put_u64_nonzero(out, 2, self.create_revision.cast_unsigned());
        wire::put_u64_nonzero(out, 3, self.mod_revision.cast_unsigned());
        wire::put_u64_nonzero(out, 4, self.version.cast_unsigned());
        wire::put_bytes_nonempty(out, 5, self.value);
        wire::put_u64_nonzero(out, 6, self.lease.cast_unsigned());
    }

    /// [`KeyValue::encode`] into a vector of its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.key.len() + self.value.len() + 40);
        self.encode(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revision::Revision;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_those_of_upstream() {
        let kv = KeyValue {
            key: b"a",
            create_revision: 2,
            mod_revision: 300,
            version: 1,
            value: b"xyz",
            lease: -1,
        };
        let want = [
            &[0x0a, 1, b'a', 0x10, 2, 0x18, 0xac, 2, 0x20, 1, 0x2a, 3][..],
            b"xyz",
            &[0x30, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
        ]
        .concat();
        assert_eq!(kv.to_bytes(), want);
        assert_eq!(KeyValue::decode(&want), Ok(kv));
    }

    #[test]
    fn an_empty_value_is_a_record() {
        let key = BucketKey::put(Revision::new(1_000, 0)).encode();
        let record = Record::parse(&key, b"").unwrap();
        assert!(record.is_bump());
        assert_eq!(record.key_value(), Ok(KeyValue::default()));
        assert_eq!(record.user_key(), Ok(&b""[..]));
        let tomb = BucketKey::tombstone(Revision::new(1_000, 0)).encode();
        assert!(!Record::parse(&tomb, b"").unwrap().is_bump());
    }

    proptest! {
        #[test]
        fn messages_come_back(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::collection::vec(any::<u8>(), 0..400),
            numbers in any::<[i64; 4]>(),
        ) {
            let [create_revision, mod_revision, version, lease] = numbers;
            let (key, value) = (&key[..], &value[..]);
            let kv = KeyValue { key, create_revision, mod_revision, version, value, lease };
            let bytes = kv.to_bytes();
            prop_assert_eq!(KeyValue::decode(&bytes), Ok(kv));
            let at = BucketKey::put(Revision::new(5, 0)).encode();
            prop_assert_eq!(Record::parse(&at, &bytes).unwrap().user_key(), Ok(key));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let at = BucketKey::put(Revision::new(5, 0)).encode();
            let record = Record::parse(&at, &bytes).unwrap();
            let _ = (record.user_key(), record.key_value(), Record::parse(&bytes, &at));
        }
    }
}
