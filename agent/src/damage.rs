//! Objects that were found lost or rotten, remembered until nothing depends on them.
//!
//! They are found by the reading back of a round, by a drill that fails, by the walk of a round,
//! and by `holdfast vault check --config`, which leaves a note in the state directory. What must
//! hold: as long as the newest snapshot needs one of them, the agent is not well; the next round
//! stores again what they held; a note goes only when what it says is on the disk elsewhere; a
//! snapshot that needs one of them fills no place of a retention rule (it is kept as long as a
//! whole one would be), and the object is looked at once more before that.

use crate::state::{AgentState, StateError};
use crate::verify;
use holdfast_vault::chain::state::Extant;
use holdfast_vault::chain::{Chain, ChainError};
use holdfast_vault::check::{CheckFinding, CheckOptions, Level};
use holdfast_vault::format::ObjectId;
use holdfast_vault::proto::ObjectKind;
use holdfast_vault::vault::Vault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Most of them that are remembered.
const MOST: usize = 1000;
/// Longest note that is read.
const NOTE_LIMIT_BYTES: u64 = 1 << 20;
const NOTE: &str = "damaged.json";
/// A note that is being taken.
const TAKEN: &str = "damaged.json.taken";

/// An object that is not what was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DamagedObject {
    /// Its id, 32 hex digits.
    pub id: String,
    /// What is wrong with it.
    pub detail: String,
    /// The newest snapshot does not need it any more.
    #[serde(default)]
    pub repaired: bool,
}

impl DamagedObject {
    /// That this object is, for this reason.
    pub fn new(id: ObjectId, detail: impl Into<String>) -> DamagedObject {
        DamagedObject { id: id.to_string(), detail: detail.into(), repaired: false }
    }
}

/// What a check found, as far as it is about objects that a round can store again.
pub fn of_findings(chain: &Chain, findings: &[CheckFinding]) -> Vec<DamagedObject> {
    let object = |finding: &CheckFinding| {
        let (kind, id) = chain.access().names().parse_object(&finding.object)?;
        let kinds = [ObjectKind::Segment, ObjectKind::Spill, ObjectKind::Body];
        kinds.contains(&kind).then(|| DamagedObject::new(id, &finding.detail))
    };
    findings.iter().filter_map(object).collect()
}

/// Looks at every byte that snapshot `number` needs.
///
/// # Errors
/// The store cannot be read.
pub async fn search(vault: &mut Vault, number: u64) -> Result<Vec<DamagedObject>, ChainError> {
    let options = CheckOptions { level: Level::L1, snapshots: [number].into() };
    let report = vault.check(&options).await?;
    Ok(of_findings(vault.chain(), &report.findings))
}

/// Their ids.
pub fn ids(damaged: &[DamagedObject]) -> BTreeSet<ObjectId> {
    damaged.iter().filter_map(|one| one.id.parse().ok()).collect()
}

/// Adds what is not known yet.
pub fn add(known: &mut Vec<DamagedObject>, found: impl IntoIterator<Item = DamagedObject>) {
    for one in found {
        if known.len() < MOST && !known.iter().any(|old| old.id == one.id) {
            known.push(one);
        }
    }
}

/// Notes which of them the newest snapshot needs no more, and drops those that the chain does not
/// know any more.
pub fn settle(known: &mut Vec<DamagedObject>, chain: &Chain) {
    let newest = chain.catalogue().latest().map_or(0, |newest| newest.number);
    let objects = chain.state().objects();
    known.retain_mut(|one| {
        let id: Option<ObjectId> = one.id.parse().ok();
        let extant = id.and_then(|id| objects.get(&id));
        one.repaired = extant.is_none_or(|extant| !needs(newest, extant));
        extant.is_some()
    });
}

/// Those that the newest snapshot needs, in words.
pub fn unrepaired(known: &[DamagedObject]) -> Vec<String> {
    let words = |one: &DamagedObject| {
        format!("object {}: {}; the next round stores again what it held", one.id, one.detail)
    };
    known.iter().filter(|one| !one.repaired).map(words).collect()
}

/// Those that a snapshot needs and that are still damaged, looked at again; and the ids of those
/// that are whole: somebody brought them back, or the store had only said so.
pub async fn confirm(vault: &Vault, known: &[DamagedObject]) -> (Vec<DamagedObject>, Vec<String>) {
    let (mut confirmed, mut whole) = (Vec::new(), Vec::new());
    for one in known {
        let id: Option<ObjectId> = one.id.parse().ok();
        let extant = id.and_then(|id| vault.chain().state().objects().get(&id));
        let Some(extant) = extant else { continue };
        if broken(std::slice::from_ref(one), vault.chain()).is_empty() {
            continue;
        }
        match verify::is_whole(vault, &extant.object).await {
            Some(true) => whole.push(one.id.clone()),
            Some(false) => confirmed.push(one.clone()),
            None => {}
        }
    }
    (confirmed, whole)
}

/// Snapshots that need one of them.
pub fn broken(known: &[DamagedObject], chain: &Chain) -> BTreeSet<u64> {
    let objects = chain.state().objects();
    let damaged: Vec<_> = ids(known).into_iter().filter_map(|id| objects.get(&id)).collect();
    let numbers = chain.catalogue().numbers().into_iter();
    numbers.filter(|number| damaged.iter().any(|extant| needs(*number, extant))).collect()
}

fn needs(snapshot: u64, extant: &Extant) -> bool {
    (extant.added..extant.removed.unwrap_or(u64::MAX)).contains(&snapshot)
}

/// Leaves a note for the agent of this state directory.
///
/// # Errors
/// The file cannot be written.
pub fn leave_note(directory: &Path, damaged: &[DamagedObject]) -> io::Result<()> {
    let fresh = directory.join(format!("{NOTE}.new"));
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(damaged)?)?;
    file.sync_all()?;
    std::fs::rename(fresh, directory.join(NOTE))?;
    File::open(directory)?.sync_all()
}

/// Hands over each note that was left. A note goes only when `remember` has it on the disk; until
/// then it waits for the next call, also that of another process.
pub fn take_notes(
    directory: &Path,
    mut remember: impl FnMut(Vec<DamagedObject>) -> Result<(), StateError>,
) {
    let (left, taken) = (directory.join(NOTE), directory.join(TAKEN));
    loop {
        // Set aside, so that one that is left meanwhile is not the one that goes.
        if !taken.exists() && std::fs::rename(&left, &taken).is_err() {
            return;
        }
        let kept = read_note(&taken).and_then(|note| Ok(remember(note)?));
        let gone = kept.and_then(|()| Ok(std::fs::remove_file(&taken)?));
        if let Err(error) = gone {
            tracing::error!(path = %taken.display(), error, "a note of damaged objects stays");
            return;
        }
    }
}

/// What the agent of this state directory knows and what was noted for it; all of it stays there.
///
/// # Errors
/// The agent's state cannot be read.
pub fn noted(directory: &Path) -> Result<Vec<DamagedObject>, StateError> {
    let mut known = AgentState::load(directory)?.damaged;
    for name in [TAKEN, NOTE] {
        // There is none, most of the time.
        add(&mut known, read_note(&directory.join(name)).unwrap_or_default());
    }
    Ok(known)
}

/// A note; one that is no note is nothing.
fn read_note(path: &Path) -> Result<Vec<DamagedObject>, Box<dyn std::error::Error>> {
    let mut text = Vec::new();
    File::open(path)?.take(NOTE_LIMIT_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > NOTE_LIMIT_BYTES {
        tracing::warn!(path = %path.display(), "too long for a note of damaged objects");
        return Ok(Vec::new());
    }
    let note = serde_json::from_slice(&text);
    Ok(note.unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "no note of damaged objects");
        Vec::new()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(directory: &Path) -> Vec<DamagedObject> {
        let mut all = Vec::new();
        take_notes(directory, |note| {
            all.extend(note);
            Ok(())
        });
        all
    }

    #[test]
    fn a_note_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        assert!(take(directory.path()).is_empty());
        let id = ObjectId::from_bytes(&[7; 16]).unwrap();
        let damaged = vec![DamagedObject::new(id, "it is missing")];
        leave_note(directory.path(), &damaged).unwrap();
        for _ in 0..2 {
            assert_eq!(noted(directory.path()).unwrap(), damaged, "looking takes nothing away");
        }
        let taken = take(directory.path());
        assert_eq!(taken, damaged);
        assert_eq!(ids(&taken), [id].into());
        for no_note in [b"garbage".to_vec(), vec![b' '; 2 << 20]] {
            std::fs::write(directory.path().join(NOTE), no_note).unwrap();
            assert!(take(directory.path()).is_empty());
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_note_stays_until_it_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let notes: Vec<_> = [7, 8]
            .map(|byte| DamagedObject::new(ObjectId::from_bytes(&[byte; 16]).unwrap(), "gone"))
            .into();
        leave_note(directory.path(), &notes[..1]).unwrap();
        let mut tries = 0;
        take_notes(directory.path(), |_| {
            tries += 1;
            let (path, source) = ("agent.json".into(), io::ErrorKind::StorageFull.into());
            Err(StateError::Io { path, source })
        });
        assert_eq!(tries, 1);
        // Another one is left before the first is taken: neither is lost.
        leave_note(directory.path(), &notes[1..]).unwrap();
        assert_eq!(take(directory.path()), notes);
        assert!(take(directory.path()).is_empty());
    }

    #[test]
    fn what_is_known_is_known_once() {
        let mut known = Vec::new();
        let id = ObjectId::from_bytes(&[7; 16]).unwrap();
        add(&mut known, [DamagedObject::new(id, "one"), DamagedObject::new(id, "two")]);
        assert_eq!(known.len(), 1);
    }
}
