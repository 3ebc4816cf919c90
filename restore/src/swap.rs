//! Puts a rebuilt data directory in place of an existing one, and undoes that.
//!
//! Beside the data directory D (or inside it, when D is a mount point and so cannot be renamed:
//! then all names stand for `D/member`) lie:
//!
//! | name | what it is |
//! |---|---|
//! | `D.partial` | the rebuild while it grows; locked by the process that builds |
//! | `D.holdfast-<time>` | what stood at D before a restore |
//! | `D.holdfast-undone-<time>` | a restored directory that was undone |
//! | `D.holdfast-restore.json` | the journal: what was done, and what is being done |
//!
//! Holds: nothing is deleted but a `D.partial` that the journal names as ours. A crash between
//! any two steps leaves either the old or the whole new directory to be found, and the next
//! restore or undo ([`settle`]) first brings back order: in doubt the *old* directory stands at D
//! again. Renames and the journal are durable (directory synced) before the next step. A
//! directory that a server has open is not touched.

mod journal;
mod names;
mod place;
mod settle;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub use journal::{Done, Journal, Pending};
pub use names::{DurableNames, Names};
pub use place::Place;
pub use settle::{Settled, settle};

use crate::text;
use place::free_name;

/// A locked, empty directory to build in. Dropping it leaves the directory for [`settle`] to
/// remove.
#[derive(Debug)]
pub struct Workplace {
    place: Place,
    _lock: File,
}

/// Why a directory cannot be put in place.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// A server has the database open.
    #[error("a server runs on {0}: stop it first (its database is locked)")]
    Running(PathBuf),
    /// Another restore builds here.
    #[error("another restore is at work in {0}")]
    Busy(PathBuf),
    /// Something stands where we build, and it is not ours.
    #[error("{0} is in the way and no journal names it as a restore's: move it away")]
    NotOurs(PathBuf),
    /// The journal does not fit what is on the disk.
    #[error(
        "the journal {journal} does not fit what is there ({found}): put the directories right \
         by hand, then remove it"
    )]
    Confused {
        /// The journal.
        journal: PathBuf,
        /// What was found.
        found: String,
    },
    /// A journal that cannot be read.
    #[error(
        "the journal {journal} cannot be read ({reason}): put the directories right by hand, \
         then remove it"
    )]
    Journal {
        /// The journal.
        journal: PathBuf,
        /// Why.
        reason: String,
    },
    /// No restore to undo.
    #[error("there is no restore to undo at {0}")]
    NothingToUndo(PathBuf),
    /// What was moved aside is gone.
    #[error(
        "{aside} was moved aside by the last restore and is not there any more: nothing was \
         changed"
    )]
    AsideGone {
        /// The missing directory.
        aside: PathBuf,
    },
    /// The data directory is not a usable path.
    #[error("{path} cannot be a data directory: {reason}")]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The step.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Workplace {
    /// Makes an empty, locked directory (mode 0700) to build in. Call [`settle`] before.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn prepare(place: &Place, names: &mut dyn Names) -> Result<Workplace, SwapError> {
        place.check_not_running()?;
        if exists(&place.build_dir) {
            return Err(SwapError::NotOurs(place.build_dir.clone()));
        }
        let mut journal = Journal::read(&place.journal_path())?;
        journal.pending = Some(Pending::Building);
        journal.write(&place.journal_path(), names)?;
        let made = fs::DirBuilder::new().mode(0o700).create(&place.build_dir);
        made.map_err(io_error("create", &place.build_dir))?;
        let lock = lock_build_dir(place)?.expect("it was just created");
        Ok(Workplace { place: place.clone(), _lock: lock })
    }

    /// The data directory to build in.
    pub fn build_dir(&self) -> &Path {
        &self.place.build_dir
    }

    /// Gives up: the directory is removed, the data directory is as it was.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn discard(self, names: &mut dyn Names) -> Result<(), SwapError> {
        drop(self._lock);
        settle(&self.place, names).map(|_| ())
    }

    /// Puts the rebuilt directory, which must be complete and durable, in place. Returns where
    /// what stood there is now.
    ///
    /// # Errors
    /// See [`SwapError`]; [`settle`] then finds the old directory again.
    pub fn swap_in(self, names: &mut dyn Names, now_ms: i64) -> Result<Option<PathBuf>, SwapError> {
        let place = &self.place;
        place.check_not_running()?;
        if let Some(owner) = place.owner {
            names::hand_over(&place.build_dir, owner)
                .map_err(io_error("change the owner of", &place.build_dir))?;
        }
        let aside = exists(&place.target).then(|| place.aside(now_ms));
        let mut journal = Journal::read(&place.journal_path())?;
        journal.pending = Some(Pending::Swapping { aside: aside.clone() });
        journal.write(&place.journal_path(), names)?;
        if let Some(aside) = &aside {
            rename(names, &place.target, aside)?;
        }
        rename(names, &place.built(), &place.target)?;
        journal.pending = None;
        journal.done.push(Done { aside: aside.clone() });
        if place.built() != place.build_dir {
            names.remove_tree(&place.build_dir).map_err(io_error("remove", &place.build_dir))?;
        }
        journal.write(&place.journal_path(), names)?;
        Ok(aside)
    }
}

/// What an undo did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// Where the restored directory is now.
    pub restored_now_at: PathBuf,
    /// Whether an older directory stands at its place again; false if there was none before the
    /// restore.
    pub put_back: bool,
}

impl std::fmt::Display for Undone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let before = if self.put_back {
            "the directory from before the last restore stands at its place again"
        } else {
            "there was no directory before the last restore"
        };
        write!(f, "{before}; the restored one was kept as {}", self.restored_now_at.display())
    }
}

/// Puts back what the last restore moved aside; the restored directory is kept beside it.
///
/// # Errors
/// See [`SwapError`].
pub fn undo(place: &Place, names: &mut dyn Names, now_ms: i64) -> Result<Undone, SwapError> {
    place.check_not_running()?;
    settle(place, names)?;
    let mut journal = Journal::read(&place.journal_path())?;
    let Some(done) = journal.done.last().cloned() else {
        return Err(SwapError::NothingToUndo(place.data_dir.clone()));
    };
    if let Some(aside) = done.aside.as_ref().filter(|aside| !exists(aside)) {
        return Err(SwapError::AsideGone { aside: aside.clone() });
    }
    let undone = free_name(&place.target, &format!(".holdfast-undone-{}", text::file_time(now_ms)));
    journal.pending = Some(Pending::Undoing { undone: undone.clone() });
    journal.write(&place.journal_path(), names)?;
    rename(names, &place.target, &undone)?;
    if let Some(aside) = &done.aside {
        rename(names, aside, &place.target)?;
    }
    journal.pending = None;
    journal.done.pop();
    journal.write(&place.journal_path(), names)?;
    Ok(Undone { restored_now_at: undone, put_back: done.aside.is_some() })
}

/// Locks the build directory, if there is one; the lock ends with the file.
fn lock_build_dir(place: &Place) -> Result<Option<File>, SwapError> {
    let file = match File::open(&place.build_dir) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", &place.build_dir)(error)),
    };
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SwapError::Busy(place.build_dir.clone())),
        // A file system without locks: go on, as nothing better is to be had.
        _ => Ok(Some(file)),
    }
}

fn rename(names: &mut dyn Names, from: &Path, to: &Path) -> Result<(), SwapError> {
    assert!(!exists(to), "a rename must never replace {}", to.display());
    names.rename(from, to).map_err(io_error("rename", from))
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn io_error(what: &'static str, path: &Path) -> impl Fn(io::Error) -> SwapError {
    let path = path.to_owned();
    move |source| SwapError::Io { what, path: path.clone(), source }
}

#[cfg(test)]
mod tests;
