//! Which keys Kubernetes' own encrypted values need: a restored cluster without them cannot read
//! its secrets.
//!
//! A value that a kube-apiserver encrypted begins `k8s:enc:<provider>:<version>:<name>:` and goes
//! on in binary; after `kms:v2:<plugin>:` follows a protobuf message whose field 2 is the id of the
//! key (read in k8s.io/apiserver v0.34, encryptionconfig/config.go and kmsv2/v2/api.proto).
//!
//! What must hold: best effort and bounded: a value that cannot be read is passed over, at most
//! [`LIMIT`] different ids are kept, each of at most [`NAME_BYTES`] bytes, printable. A key's name
//! may hold `:`; then only its first part is told, since the value does not say where the name
//! ends.

use holdfast_core::wire::{Field, Reader};
use std::collections::BTreeSet;

/// Most different ids that are kept.
pub const LIMIT: usize = 256;
/// Longest name or id that is believed.
pub const NAME_BYTES: usize = 1_024;
/// How every encrypted value begins.
pub const MARK: &[u8] = b"k8s:enc:";
/// How a plain value of a kube-apiserver begins: protobuf with its own mark.
const PLAIN_MARK: &[u8] = b"k8s\0";

/// Whether a record must share neither a frame nor a compression with others: under one of these
/// prefixes, or encrypted.
pub fn is_sensitive(key: &[u8], value: &[u8], prefixes: &[Vec<u8>]) -> bool {
    value.starts_with(MARK) || prefixes.iter().any(|prefix| key.starts_with(prefix))
}

/// What a whole pass over the values found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncryptionKeys {
    ids: BTreeSet<String>,
    kubernetes: bool,
}

impl EncryptionKeys {
    /// Looks at one value.
    pub fn observe(&mut self, value: &[u8]) {
        let encrypted = value.starts_with(MARK);
        self.kubernetes |= encrypted || value.starts_with(PLAIN_MARK);
        if encrypted
            && self.ids.len() < LIMIT
            && let Some(id) = key_id(value)
        {
            self.ids.insert(id);
        }
    }

    /// The ids, sorted: `aescbc:v1:key1`, `kms:v2:plugin:key id`.
    pub fn ids(&self) -> Vec<String> {
        self.ids.iter().cloned().collect()
    }

    /// Whether any value looks like a kube-apiserver's.
    pub fn kubernetes(&self) -> bool {
        self.kubernetes
    }
}

/// The id of the key that an encrypted value names.
fn key_id(value: &[u8]) -> Option<String> {
    let (provider, rest) = part(value.strip_prefix(MARK)?)?;
    let (version, rest) = part(rest)?;
    let (name, rest) = part(rest)?;
    let mut id = format!("{}:{}:{}", text(provider), text(version), text(name));
    if (provider, version) == (b"kms", b"v2") {
        id.push(':');
        id.push_str(&text(kms_key(rest)?));
    }
    Some(id)
}

/// What stands before the next `:`, and what behind it.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let window = &bytes[..bytes.len().min(NAME_BYTES + 1)];
    let end = window.iter().position(|byte| *byte == b':').filter(|end| *end > 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Field 2 of an EncryptedObject.
fn kms_key(message: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(message);
    while let Ok(Some((number, field))) = reader.next_field() {
        if let (2, Field::Bytes(id)) = (number, field) {
            return Some(id).filter(|id| (1..=NAME_BYTES).contains(&id.len()));
        }
    }
    None
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(values: &[&[u8]]) -> Vec<String> {
        let mut keys = EncryptionKeys::default();
        values.iter().for_each(|value| keys.observe(value));
        keys.ids()
    }

    #[test]
    fn each_provider_names_its_key() {
        let kms =
            [b"k8s:enc:kms:v2:vault:".as_slice(), &[10, 2, 9, 9, 18, 5], b"kek-1", &[26, 1, 0]];
        let values: [&[u8]; 5] = [
            b"k8s:enc:aescbc:v1:key1:\x00\xff:\x01",
            b"k8s:enc:aesgcm:v1:key2:zzz",
            b"k8s:enc:kms:v1:old-plugin:\x00\x20",
            &kms.concat(),
            b"k8s\0plain",
        ];
        let want = ["aescbc:v1:key1", "aesgcm:v1:key2", "kms:v1:old-plugin", "kms:v2:vault:kek-1"];
        assert_eq!(ids(&values), want);
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        let long = [MARK, b"aesgcm:v1:", &[b'x'; 2_000], b":"].concat();
        let values: [&[u8]; 5] = [
            b"k8s:enc:",
            b"k8s:enc:aescbc",
            b"k8s:enc:kms:v2:p:\xff\xff",
            b"k8s:enc::v1:a:",
            &long,
        ];
        assert_eq!(ids(&values), Vec::<String>::new());
    }

    #[test]
    fn the_number_is_bounded() {
        let mut keys = EncryptionKeys::default();
        for number in 0..10_000 {
            keys.observe(format!("k8s:enc:aesgcm:v1:k{number}:x").as_bytes());
        }
        assert_eq!(keys.ids().len(), LIMIT);
    }

    #[test]
    fn kubernetes_is_known_by_its_values() {
        let mut keys = EncryptionKeys::default();
        keys.observe(b"{\"json\": true}");
        assert!(!keys.kubernetes());
        keys.observe(b"k8s\0\x0a");
        assert!(keys.kubernetes());
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_ids_are_printable(
            tail in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            for head in ["k8s:enc:", "k8s:enc:kms:v2:p:", "k8s:enc:aescbc:v1:"] {
                let value = [head.as_bytes(), &tail].concat();
                for id in ids(&[&value]) {
                    prop_assert!(id.is_ascii() && !id.contains(|c: char| c.is_ascii_control()));
                }
            }
        }
    }
}
