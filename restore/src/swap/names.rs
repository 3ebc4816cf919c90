//! The few things a swap does to directories, as a trait: the durable one, and in tests one that
//! crashes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, lchown};
use std::path::{Path, PathBuf};

/// Changes of names. Each is durable when it returns.
pub trait Names {
    /// Renames `from` to `to`, which does not exist.
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    /// Replaces a small file as a whole: after a crash it has the old bytes or the new ones.
    ///
    /// # Errors
    /// The operating system's.
    fn replace_file(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file; that it is gone already is no error.
    ///
    /// # Errors
    /// The operating system's.
    fn remove_file(&mut self, path: &Path) -> io::Result<()>;

    /// Removes a directory and all in it, not following symbolic links.
    ///
    /// # Errors
    /// The operating system's.
    fn remove_tree(&mut self, path: &Path) -> io::Result<()>;
}

/// The real thing.
#[derive(Debug, Clone, Copy, Default)]
pub struct DurableNames;

impl Names for DurableNames {
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        sync_parent(from)?;
        if from.parent() == to.parent() { Ok(()) } else { sync_parent(to) }
    }

    fn replace_file(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut next = path.as_os_str().to_owned();
        next.push(".new");
        let next = PathBuf::from(next);
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&next, path)?;
        sync_parent(path)
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_parent(path),
        }
    }

    fn remove_tree(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)?;
        sync_parent(path)
    }
}

/// Makes the names in a path's parent directory durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Gives a tree to a user and a group, if it is not theirs already.
pub(super) fn hand_over(path: &Path, owner: (u32, u32)) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::symlink_metadata(path)?;
    if (meta.uid(), meta.gid()) != owner {
        lchown(path, Some(owner.0), Some(owner.1))?;
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            hand_over(&entry?.path(), owner)?;
        }
    }
    Ok(())
}
