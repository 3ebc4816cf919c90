//! Commits: the numbered chain's links.
//!
//! A commit object's payload is a `SignedCommit`; its signatures are over the encoded `Commit` in
//! it. Holds: what is opened is complete (ids, digests and counts have their lengths and bounds)
//! and stands in the object that its own attempt id names; the same rules are asserted before one
//! is sealed.

use super::body::{check_reference, exact_id};
use super::{
    ClusterId, Expected, FinishedObject, FormatError, NewObject, ObjectContext, ObjectName,
    OpenedObject, VaultId, open_message, seal_message,
};
use crate::keys::Keyring;
use crate::proto::{CatalogueEntry, Commit, ObjectKind, ObjectRef, Seed, Signature, SignedCommit};
use bytes::Bytes;
use prost::Message;

/// Snapshots that a commit lists itself; older ones stand in pages of as many.
pub const CATALOGUE_LIMIT: usize = 1024;
/// Length in bytes of what a reader accepts as a commit.
pub const MAX_COMMIT_BYTES: u64 = 16 << 20;

/// Seals a commit. `new` must carry `commit.attempt_id` as its id.
///
/// Errors: `Refused` when the commit breaks a rule of [`check_commit`].
pub fn seal_commit(
    context: &ObjectContext<'_>,
    new: &NewObject,
    commit: &Commit,
    signatures: Vec<Signature>,
) -> Result<(FinishedObject, Vec<u8>), FormatError> {
    let object = ObjectName { kind: ObjectKind::Commit, id: Some(new.id()) };
    let refused = |reason: String| FormatError::Refused { object, reason: reason.into() };
    check_commit(commit).map_err(refused)?;
    check_owner(commit, context.vault, context.cluster, new.id().as_bytes()).map_err(refused)?;
    let signed = SignedCommit { commit: commit.encode_to_vec().into(), signatures };
    let sealed = seal_message(ObjectKind::Commit, context, new, &signed)?;
    if sealed.0.reference.size_bytes > MAX_COMMIT_BYTES {
        return Err(refused(format!("{} bytes are too many", sealed.0.reference.size_bytes)));
    }
    Ok(sealed)
}

/// A commit that was opened and checked.
#[derive(Debug)]
pub struct OpenedCommit {
    /// The message.
    pub commit: Commit,
    /// Its encoding, as signed.
    pub encoded: Bytes,
    /// Signatures over it; not judged here.
    pub signatures: Vec<Signature>,
    /// SHA-256 of the object as stored: what its successor records.
    pub sha256: [u8; 32],
    /// The object that holds it.
    pub object: OpenedObject,
}

/// Opens a commit. `number`: era and number that its name says; a commit under another's name is
/// refused.
pub fn open_commit(
    bytes: &[u8],
    owner: (VaultId, ClusterId),
    number: (u64, u64),
    keyring: &Keyring,
) -> Result<OpenedCommit, FormatError> {
    let (vault, cluster) = owner;
    let expected = Expected { kind: ObjectKind::Commit, vault, cluster, reference: None };
    let (signed, object) = open_message::<SignedCommit>(bytes, &expected, keyring)?;
    let commit = Commit::decode(signed.commit.clone())
        .map_err(|error| object.damaged_index(format!("its commit does not decode: {error}")))?;
    check_commit(&commit).map_err(|reason| object.damaged_index(reason))?;
    check_owner(&commit, vault, cluster, object.header.object.as_bytes())
        .map_err(|reason| object.damaged_index(reason))?;
    if (commit.era, commit.number) != number {
        let reason = format!(
            "it is commit {} of era {}, not {} of era {}",
            commit.number, commit.era, number.1, number.0
        );
        return Err(FormatError::Exchanged { object: object.name, reason: reason.into() });
    }
    let sha256 = object.sha256.ok_or_else(|| object.damaged_index("it was not read whole"))?;
    let (encoded, signatures) = (signed.commit, signed.signatures);
    Ok(OpenedCommit { commit, encoded, signatures, sha256, object })
}

/// What the sealed message repeats is what the envelope says.
fn check_owner(
    commit: &Commit,
    vault: VaultId,
    cluster: ClusterId,
    object: &[u8],
) -> Result<(), String> {
    let identity = commit.identity.as_ref().map(|identity| &identity.vault_id[..]);
    if identity != Some(&vault.as_bytes()[..]) || commit.cluster_id != cluster.as_bytes()[..] {
        return Err("the message names another vault or cluster than its envelope".into());
    }
    if commit.attempt_id != object {
        return Err("its attempt id is not its object id".into());
    }
    Ok(())
}

/// The rules of a commit by itself; `Err` says the first that is broken.
pub fn check_commit(commit: &Commit) -> Result<(), String> {
    if commit.number == 0 || commit.floor == 0 || commit.floor > commit.number {
        return Err(format!("number {} and floor {} do not fit", commit.number, commit.floor));
    }
    let first = commit.number == 1;
    if commit.previous_sha256.len() != if first { 0 } else { 32 } {
        return Err("its predecessor's digest is missing or not 32 bytes".into());
    }
    let lineage = commit.lineage.as_ref().ok_or("it has no lineage")?;
    let ids = [
        ("writer", &commit.writer_id),
        ("attempt", &commit.attempt_id),
        ("cluster", &commit.cluster_id),
        ("lineage", &lineage.lineage_id),
    ];
    for (what, bytes) in ids {
        exact_id(bytes).ok_or_else(|| format!("its {what} id has not 16 bytes"))?;
    }
    if commit.tag_key.len() != 32 {
        return Err("its key tag key has not 32 bytes".into());
    }
    let removed = commit.removed.iter().chain(&commit.condemned).chain(&commit.swept);
    for id in removed {
        exact_id(id).ok_or("an object id has not 16 bytes")?;
    }
    for object in &commit.added {
        check_reference(object, object.kind())?;
    }
    check_seeds(&commit.seeds)?;
    check_catalogue(commit)?;
    let ledger = commit.ledger.as_ref().and_then(|ledger| ledger.object.as_ref());
    ledger.map_or(Ok(()), |object| check_reference(object, ObjectKind::Ledger))
}

fn check_seeds(seeds: &[Seed]) -> Result<(), String> {
    for seed in seeds {
        exact_id(&seed.seed_id).ok_or("a seed id has not 16 bytes")?;
        for wrap in seed.wraps.iter().chain(&seed.condemned_wraps) {
            exact_id(&wrap.wrap_id).ok_or("a wrap id has not 16 bytes")?;
            if wrap.sha256.len() != 32 {
                return Err("the digest of a wrap has not 32 bytes".into());
            }
        }
    }
    Ok(())
}

fn check_catalogue(commit: &Commit) -> Result<(), String> {
    if commit.catalogue.len() > CATALOGUE_LIMIT {
        return Err(format!("its catalogue has more than {CATALOGUE_LIMIT} entries"));
    }
    let mut before = 0;
    for page in &commit.pages {
        let object: &ObjectRef = page.object.as_ref().ok_or("a page has no reference")?;
        check_reference(object, ObjectKind::Page)?;
        if page.first_number <= before || page.last_number < page.first_number {
            return Err("its catalogue pages are out of order".into());
        }
        before = page.last_number;
    }
    check_entries(&commit.catalogue, before, commit.number)
}

/// Catalogue entries ascend, above `after` and up to `newest`, and name their bodies whole.
pub fn check_entries(entries: &[CatalogueEntry], after: u64, newest: u64) -> Result<(), String> {
    let mut before = after;
    for entry in entries {
        let number = entry.number;
        if number <= before || number > newest {
            return Err(format!("catalogue entry {number} is out of order"));
        }
        if exact_id(&entry.body_id).is_none()
            || exact_id(&entry.lineage_id).is_none()
            || entry.body_sha256.len() != 32
        {
            return Err(format!("catalogue entry {number} is incomplete"));
        }
        before = number;
    }
    Ok(())
}
