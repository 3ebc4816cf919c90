//! Identifiers: 16 random bytes each, one type per meaning, shown as 32 hex digits.
//!
//! Holds: an id is never all zero (zero means "none" in headers), and ids of different meaning
//! are never confused by the compiler.

use super::Entropy;
use bytes::Bytes;

/// A text or bytes that are not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: 32 hex digits, not all zero, are expected")]
pub struct NotAnId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A fresh random id.
            pub fn random(entropy: &mut dyn Entropy) -> Self {
                loop {
                    let mut bytes = [0; 16];
                    entropy.fill(&mut bytes);
                    if bytes != [0; 16] {
                        return Self(bytes);
                    }
                }
            }

            /// From 16 bytes that are not all zero.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAnId> {
                let bytes: [u8; 16] = bytes.try_into().map_err(|_| NotAnId)?;
                if bytes == [0; 16] { Err(NotAnId) } else { Ok(Self(bytes)) }
            }

            /// The 16 bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The 16 bytes, as protobuf messages hold them.
            pub fn to_bytes(&self) -> Bytes {
                Bytes::copy_from_slice(&self.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NotAnId;

            /// Accepts exactly what `Display` prints.
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                Self::from_bytes(&parse_hex(text).ok_or(NotAnId)?)
            }
        }
    };
}

id!(
    /// A vault: one root object and all clusters under it.
    VaultId
);
id!(
    /// A cluster inside a vault; not etcd's cluster id, which repeats.
    ClusterId
);
id!(
    /// An object: segment, body, page, ledger, spill, report. A commit's is its attempt id.
    ObjectId
);
id!(
    /// A seed, data or index.
    SeedId
);
id!(
    /// One wrap of a seed.
    WrapId
);
id!(
    /// A process that writes commits.
    WriterId
);
id!(
    /// One attempt to create one commit.
    AttemptId
);
id!(
    /// A history of a cluster: a restore from outside begins a new one.
    LineageId
);
id!(
    /// A store among a vault's stores.
    StoreId
);
id!(
    /// A hold on snapshots.
    HoldId
);
id!(
    /// A drill's report.
    ReportId
);

impl From<AttemptId> for ObjectId {
    fn from(id: AttemptId) -> ObjectId {
        ObjectId(id.0)
    }
}

impl From<ObjectId> for AttemptId {
    fn from(id: ObjectId) -> AttemptId {
        AttemptId(id.0)
    }
}

impl From<ReportId> for ObjectId {
    fn from(id: ReportId) -> ObjectId {
        ObjectId(id.0)
    }
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 16 bytes from 32 lower-case hex digits.
fn parse_hex(text: &str) -> Option<[u8; 16]> {
    let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::SeededEntropy;

    #[test]
    fn text_and_bytes_round_trip() {
        let id = VaultId::random(&mut SeededEntropy::new(1));
        assert_eq!(id.to_string().parse::<VaultId>(), Ok(id));
        assert_eq!(VaultId::from_bytes(id.as_bytes()), Ok(id));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        assert_eq!(VaultId::from_bytes(&[0; 16]), Err(NotAnId));
        assert_eq!(VaultId::from_bytes(&[1; 15]), Err(NotAnId));
        for text in ["", "00", &"0".repeat(32), &"g".repeat(32), &"A".repeat(32), &"é".repeat(16)]
        {
            assert_eq!(text.parse::<VaultId>(), Err(NotAnId), "{text}");
        }
    }
}
