//! Where a restore goes: which paths, and what is there now.
//!
//! Holds: symbolic links are followed once, here; a mount point is never renamed, what is below it
//! is.

use super::{SwapError, exists, io_error};
use crate::text;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn free_name(target: &Path, suffix: &str) -> PathBuf {
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
pub(super) fn is_mount_point(path: &Path) -> bool {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return false };
    let wanted = path.to_string_lossy();
    table.lines().filter_map(|line| line.split(' ').nth(4)).any(|mounted| {
        // The kernel writes space, tab, newline and backslash in octal.
        let plain = mounted.replace("\\040", " ").replace("\\011", "\t");
        plain.replace("\\012", "\n").replace("\\134", "\\") == wanted
    })
}
