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

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

pub use journal::{Done, Journal, Pending};
pub use names::{DurableNames, Names};

use crate::text;

/// Where a restore goes: paths, and what is there now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// The data directory, without symbolic links in it.
    pub data_dir: PathBuf,
    /// What is renamed: the data directory, or `member` in it when it is a mount point.
    pub target: PathBuf,
    /// A data directory to build in; `target`'s content comes from [`Place::built`].
    pub build_dir: PathBuf,
    /// True if something stands at `target`.
    pub occupied: bool,
    /// User and group of the existing data directory, to be taken over; `None` without one.
    pub owner: Option<(u32, u32)>,
}

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

impl Place {
    /// Looks at a data directory, existing or not.
    ///
    /// # Errors
    /// A path that cannot be one, or whose parent directory does not exist.
    pub fn look(data_dir: &Path) -> Result<Place, SwapError> {
        let data_dir = resolved(data_dir)?;
        let mounted = is_mount_point(&data_dir);
        Place::with_layout(data_dir, mounted)
    }

    /// The same with the layout given. `mounted`: only `member` below it is renamed.
    pub(crate) fn with_layout(data_dir: PathBuf, mounted: bool) -> Result<Place, SwapError> {
        let target = if mounted { data_dir.join("member") } else { data_dir.clone() };
        let build_dir = suffixed(&target, ".partial");
        let owner = match fs::metadata(&data_dir) {
            Ok(meta) if !meta.is_dir() => {
                return Err(SwapError::Path { path: data_dir, reason: "it is not a directory" });
            }
            Ok(meta) => Some((meta.uid(), meta.gid())),
            Err(_) => None,
        };
        let occupied = fs::symlink_metadata(&target).is_ok();
        Ok(Place { data_dir, target, build_dir, occupied, owner })
    }

    /// What is renamed onto `target`.
    pub fn built(&self) -> PathBuf {
        if self.target == self.data_dir {
            self.build_dir.clone()
        } else {
            self.build_dir.join("member")
        }
    }

    /// The journal's path.
    pub fn journal_path(&self) -> PathBuf {
        suffixed(&self.target, ".holdfast-restore.json")
    }

    /// The name that what stands at `target` gets: of this time, and free.
    pub fn aside(&self, now_ms: i64) -> PathBuf {
        free_name(&self.target, &format!(".holdfast-{}", text::file_time(now_ms)))
    }

    /// Whether a server has the database open.
    ///
    /// # Errors
    /// [`SwapError::Running`] if so.
    pub fn check_not_running(&self) -> Result<(), SwapError> {
        let database = self.data_dir.join("member").join("snap").join("db");
        let Ok(file) = File::open(&database) else { return Ok(()) };
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Err(SwapError::Running(self.data_dir.clone())),
            _ => Ok(()),
        }
    }
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

fn there(exists: bool) -> &'static str {
    if exists { "there" } else { "missing" }
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn free_name(target: &Path, suffix: &str) -> PathBuf {
    let first = suffixed(target, suffix);
    let others = (2..1000).map(|n| suffixed(target, &format!("{suffix}-{n}")));
    std::iter::once(first.clone()).chain(others).find(|path| !exists(path)).unwrap_or(first)
}

/// The path with its parent's symbolic links followed, and its own.
fn resolved(path: &Path) -> Result<PathBuf, SwapError> {
    if let Ok(real) = fs::canonicalize(path) {
        return match real.parent() {
            Some(_) => Ok(real),
            None => Err(SwapError::Path { path: real, reason: "it is the root directory" }),
        };
    }
    let Some(name) = path.file_name() else {
        return Err(SwapError::Path { path: path.to_owned(), reason: "it has no name" });
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = fs::canonicalize(parent).map_err(io_error("find", parent))?;
    Ok(parent.join(name))
}

/// Whether something is mounted there: then it cannot be renamed.
fn is_mount_point(path: &Path) -> bool {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return false };
    let wanted = path.to_string_lossy();
    table.lines().filter_map(|line| line.split(' ').nth(4)).any(|mounted| {
        // The kernel writes space, tab, newline and backslash in octal.
        let plain = mounted.replace("\\040", " ").replace("\\011", "\t");
        plain.replace("\\012", "\n").replace("\\134", "\\") == wanted
    })
}

fn io_error(what: &'static str, path: &Path) -> impl Fn(io::Error) -> SwapError {
    let path = path.to_owned();
    move |source| SwapError::Io { what, path: path.clone(), source }
}

#[cfg(test)]
mod tests;
