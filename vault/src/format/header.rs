//! The header: the first 272 bytes of every sealed object, in clear.
//!
//! ```text
//! offset size field
//!      0    8 magic "HOLDFAST"
//!      8    2 format (1)
//!     10    2 lowest format that a reader must know
//!     12    1 kind (ObjectKind)
//!     13    1 suite (1: AES-256-GCM, HKDF-SHA-256, SHA-256)
//!     14    2 zero
//!     16    8 required features, a bit each; an unknown one: refuse
//!     24    8 optional features, a bit each; an unknown one: ignore; of bits 32 to 63, an unknown
//!             one in the head commit: read, but do not write after it
//!     32   16 vault id
//!     48   16 cluster id
//!     64   16 object id
//!     80   16 data seed id; zero: no data frames
//!     96   16 index seed id
//!    112   32 salt
//!    144   32 commitment of the data key; zero without data frames
//!    176   32 commitment of the index key
//!    208   64 reserve, zero
//! ```
//! Integers are little-endian. Holds: the keys of an object are derived from these bytes
//! (commitments zeroed) and their SHA-256 is associated data of every frame, so nothing here can be
//! changed unseen.

use super::{ClusterId, FormatError, ObjectId, ObjectName, Part, SeedId, VaultId};
use crate::proto::ObjectKind;

/// Format version that this code writes, and the highest it reads.
pub const FORMAT: u16 = 1;
/// Length of a header in bytes.
pub const HEADER_BYTES: usize = RESERVE + 64;

const MAGIC: [u8; 8] = *b"HOLDFAST";
const SUITE: u8 = 1;

const FORMAT_AT: usize = MAGIC.len();
const MIN_READER: usize = FORMAT_AT + 2;
const KIND: usize = MIN_READER + 2;
const SUITE_AT: usize = KIND + 1;
const ZERO: usize = SUITE_AT + 1;
const REQUIRED: usize = ZERO + 2;
const OPTIONAL: usize = REQUIRED + 8;
const VAULT: usize = OPTIONAL + 8;
const CLUSTER: usize = VAULT + 16;
const OBJECT: usize = CLUSTER + 16;
const DATA_SEED: usize = OBJECT + 16;
const INDEX_SEED: usize = DATA_SEED + 16;
const SALT: usize = INDEX_SEED + 16;
const DATA_COMMITMENT: usize = SALT + 32;
const INDEX_COMMITMENT: usize = DATA_COMMITMENT + 32;
const RESERVE: usize = INDEX_COMMITMENT + 32;

/// Names of the required features that exist, by bit. Format 1 has none.
const REQUIRED_NAMES: [&str; 0] = [];
/// The optional feature bits that keep older writers from writing: they would drop what they do not
/// know from what is repeated in each commit.
const WRITE_GUARDS: u64 = 0xffff_ffff << 32;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The format that its writer wrote.
    pub format: u16,
    /// The lowest format that a reader must know; never above what this code reads.
    pub min_reader: u16,
    /// What the object is.
    pub kind: ObjectKind,
    /// Optional feature bits.
    pub optional: u64,
    /// The vault it belongs to.
    pub vault: VaultId,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its own id.
    pub object: ObjectId,
    /// Seed of its data frames; `None`: it has none.
    pub data_seed: Option<SeedId>,
    /// Seed of its index section.
    pub index_seed: SeedId,
    /// Makes its keys its own even under equal ids.
    pub salt: [u8; 32],
    /// Commitment of the data key; zero without data frames.
    pub data_commitment: [u8; 32],
    /// Commitment of the index key.
    pub index_commitment: [u8; 32],
    /// Bytes of later optional features.
    pub(crate) reserve: [u8; 64],
}

impl Header {
    /// The 272 bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(FORMAT_AT, &self.format.to_le_bytes());
        put(MIN_READER, &self.min_reader.to_le_bytes());
        put(KIND, &[self.kind as u8]);
        put(SUITE_AT, &[SUITE]);
        put(OPTIONAL, &self.optional.to_le_bytes());
        put(VAULT, self.vault.as_bytes());
        put(CLUSTER, self.cluster.as_bytes());
        put(OBJECT, self.object.as_bytes());
        if let Some(seed) = &self.data_seed {
            put(DATA_SEED, seed.as_bytes());
        }
        put(INDEX_SEED, self.index_seed.as_bytes());
        put(SALT, &self.salt);
        put(DATA_COMMITMENT, &self.data_commitment);
        put(INDEX_COMMITMENT, &self.index_commitment);
        put(RESERVE, &self.reserve);
        out
    }

    /// Reads a header. `wanted` names the object in errors; kind and ids are compared by the
    /// caller, who knows what it asked for.
    ///
    /// Errors: `Damaged` for what no version writes, `TooNew` for what a later one may.
    pub fn parse(bytes: &[u8], wanted: ObjectName) -> Result<Header, FormatError> {
        let bytes: &[u8; HEADER_BYTES] = bytes
            .get(..HEADER_BYTES)
            .and_then(|front| front.try_into().ok())
            .ok_or_else(|| damaged(wanted, "the object is shorter than a header"))?;
        if bytes[..FORMAT_AT] != MAGIC {
            return Err(damaged(wanted, "it does not start with HOLDFAST"));
        }
        let object = ObjectId::from_bytes(&field::<16>(bytes, OBJECT)).ok();
        let named = ObjectName { kind: wanted.kind, id: wanted.id.or(object) };
        check_versions(bytes, named)?;
        let kind = i32::from(bytes[KIND]);
        let kind = match ObjectKind::try_from(kind) {
            Ok(ObjectKind::Unspecified) => return Err(damaged(named, "its kind is zero")),
            Ok(kind) => kind,
            Err(_) => return Err(too_new(named, format!("its kind {kind} is unknown"))),
        };
        let optional = u64::from_le_bytes(field(bytes, OPTIONAL));
        let reserve = field::<64>(bytes, RESERVE);
        if field::<2>(bytes, ZERO) != [0; 2] || (optional == 0 && reserve != [0; 64]) {
            return Err(damaged(named, "bytes that must be zero are not"));
        }
        let bad_id = |_| damaged(named, "an id is all zero");
        let data_seed = field::<16>(bytes, DATA_SEED);
        let header = Header {
            format: u16::from_le_bytes(field(bytes, FORMAT_AT)),
            min_reader: u16::from_le_bytes(field(bytes, MIN_READER)),
            kind,
            optional,
            vault: VaultId::from_bytes(&field::<16>(bytes, VAULT)).map_err(bad_id)?,
            cluster: ClusterId::from_bytes(&field::<16>(bytes, CLUSTER)).map_err(bad_id)?,
            object: ObjectId::from_bytes(&field::<16>(bytes, OBJECT)).map_err(bad_id)?,
            data_seed: SeedId::from_bytes(&data_seed).ok(),
            index_seed: SeedId::from_bytes(&field::<16>(bytes, INDEX_SEED)).map_err(bad_id)?,
            salt: field(bytes, SALT),
            data_commitment: field(bytes, DATA_COMMITMENT),
            index_commitment: field(bytes, INDEX_COMMITMENT),
            reserve,
        };
        if header.data_seed.is_none() && header.data_commitment != [0; 32] {
            return Err(damaged(named, "it commits to a data key but names no data seed"));
        }
        Ok(header)
    }

    /// The lowest unknown feature bit that forbids to write after this object, if any.
    pub fn write_guard(&self) -> Option<u32> {
        let guards = self.optional & WRITE_GUARDS;
        (guards != 0).then(|| guards.trailing_zeros())
    }

    /// The bytes that keys are derived from: the header with both commitments zeroed.
    pub(crate) fn key_input(encoded: &[u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
        let mut bytes = *encoded;
        bytes[DATA_COMMITMENT..RESERVE].fill(0);
        bytes
    }
}

/// Format, minimal reader, suite and required features: what decides whether we may read at all.
fn check_versions(bytes: &[u8; HEADER_BYTES], object: ObjectName) -> Result<(), FormatError> {
    let format = u16::from_le_bytes(field(bytes, FORMAT_AT));
    let min_reader = u16::from_le_bytes(field(bytes, MIN_READER));
    if format == 0 || min_reader == 0 || min_reader > format {
        return Err(damaged(object, "its format versions contradict each other"));
    }
    if min_reader > FORMAT {
        let what = format!("it asks for a reader of format {min_reader}, this one reads {FORMAT}");
        return Err(too_new(object, what));
    }
    if bytes[SUITE_AT] != SUITE {
        return Err(too_new(object, format!("its cipher suite {} is unknown", bytes[SUITE_AT])));
    }
    let required = u64::from_le_bytes(field(bytes, REQUIRED));
    if required != 0 {
        let bit = required.trailing_zeros() as usize;
        let name = REQUIRED_NAMES.get(bit).map_or(String::new(), |name| format!(" ({name})"));
        return Err(too_new(
            object,
            format!("it requires feature bit {bit}{name}, which is unknown"),
        ));
    }
    Ok(())
}

fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn damaged(object: ObjectName, reason: &'static str) -> FormatError {
    FormatError::Damaged { object, part: Part::Header, reason: reason.into() }
}

fn too_new(object: ObjectName, what: String) -> FormatError {
    FormatError::TooNew { object, what }
}
