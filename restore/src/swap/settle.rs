//! Brings back order after a crash between any two steps of a restore or an undo.
//!
//! Holds: in doubt the old directory stands at its place again; what fits no step is refused, and
//! nothing is touched then; a call that was cut can be repeated.

use super::{Done, Journal, Names, Pending, Place, SwapError};
use super::{exists, io_error, lock_build_dir, rename};
use std::path::Path;

/// What [`settle`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Nothing was left behind.
    Clean,
    /// An unfinished rebuild was removed; the data directory is as it was.
    Discarded,
    /// An interrupted swap had moved the old directory aside; it stands at its place again.
    PutBack,
    /// An interrupted swap or undo was complete but for its note.
    Completed,
}

/// Brings back order after a crash. Called before every restore and undo.
///
/// # Errors
/// See [`SwapError`]; nothing was changed then, or the same call can be repeated.
pub fn settle(place: &Place, names: &mut dyn Names) -> Result<Settled, SwapError> {
    let mut journal = Journal::read(&place.journal_path())?;
    let lock = lock_build_dir(place)?;
    let Some(pending) = journal.pending.take() else {
        return match lock {
            Some(_) => Err(SwapError::NotOurs(place.build_dir.clone())),
            None => Ok(Settled::Clean),
        };
    };
    let settled = match &pending {
        Pending::Building => Settled::Discarded,
        Pending::Swapping { aside } => settle_swap(place, names, &mut journal, aside.as_deref())?,
        Pending::Undoing { undone } => settle_undo(place, names, &mut journal, undone)?,
    };
    if lock.is_some() {
        names.remove_tree(&place.build_dir).map_err(io_error("remove", &place.build_dir))?;
    }
    journal.write(&place.journal_path(), names)?;
    Ok(settled)
}

fn settle_swap(
    place: &Place,
    names: &mut dyn Names,
    journal: &mut Journal,
    aside: Option<&Path>,
) -> Result<Settled, SwapError> {
    let (stands, built) = (exists(&place.target), exists(&place.built()));
    let moved = aside.is_some_and(exists);
    match (stands, moved, built) {
        // Not begun; or put back by an earlier call that was cut before its note.
        (true, false, true) => Ok(Settled::Discarded),
        (true, false, false) if aside.is_some() => Ok(Settled::Discarded),
        (false, false, _) if aside.is_none() => Ok(Settled::Discarded),
        // Between the two renames.
        (false, true, true) => {
            let aside = aside.expect("it exists");
            rename(names, aside, &place.target)?;
            Ok(Settled::PutBack)
        }
        // Both done.
        (true, moved, false) if moved == aside.is_some() => {
            journal.done.push(Done { aside: aside.map(Path::to_path_buf) });
            Ok(Settled::Completed)
        }
        _ => Err(SwapError::Confused {
            journal: place.journal_path(),
            found: format!(
                "directory {}, moved-aside one {}, rebuilt one {}",
                there(stands),
                there(moved),
                there(built)
            ),
        }),
    }
}

fn settle_undo(
    place: &Place,
    names: &mut dyn Names,
    journal: &mut Journal,
    undone: &Path,
) -> Result<Settled, SwapError> {
    let aside = journal.done.last().and_then(|done| done.aside.clone());
    let (stands, moved) = (exists(&place.target), exists(undone));
    match (stands, &aside) {
        // Not begun.
        (true, _) if !moved => return Ok(Settled::Clean),
        // Between the two renames.
        (false, Some(aside)) if moved && exists(aside) => rename(names, aside, &place.target)?,
        (true, Some(aside)) if moved && !exists(aside) => {}
        (false, None) if moved => {}
        _ => {
            return Err(SwapError::Confused {
                journal: place.journal_path(),
                found: format!("directory {}, undone one {}", there(stands), there(moved)),
            });
        }
    }
    journal.done.pop();
    Ok(Settled::Completed)
}

fn there(exists: bool) -> &'static str {
    if exists { "there" } else { "missing" }
}
