//! The seam between the log (and the .snap files beside it) and the file system.
//!
//! Every operation is one that a test can fail, cut short or forget at a crash. A write is durable
//! only after [`LogFile::sync_data`]; a created, renamed or removed name only after
//! [`LogDisk::sync_dir`]. Files are locked as upstream locks them, with a write lock on the open
//! file description (`F_OFD_SETLK`), so that neither etcd nor a second member of ours in the same
//! process takes a log that is in use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::disk::{self, FILE_MODE, FileSystem, MemberDisk};

/// Longest file that is read: a segment is 64 MB and a last append, a .snap a few KB.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Where segments and .snap files lie.
pub trait LogDisk: Clone + Send + 'static {
    /// An open, locked file.
    type File: LogFile;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// I/O; [`io::ErrorKind::NotFound`] if there is no such directory.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a directory, readable by its owner only. One that exists is left as it is.
    ///
    /// # Errors
    /// I/O.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a file, or empties the one that is there, locks it and reserves `length` bytes of
    /// zeros.
    ///
    /// # Errors
    /// I/O; [`io::ErrorKind::WouldBlock`] if another one holds the lock.
    fn create(&self, path: &Path, length: u64) -> io::Result<Self::File>;

    /// Opens a file for reading and writing and locks it.
    ///
    /// # Errors
    /// I/O; [`io::ErrorKind::WouldBlock`] if another one holds the lock.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// The bytes of a file, without a lock.
    ///
    /// # Errors
    /// I/O.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Writes a whole file, replacing one that is there, and syncs it. After an error there may be
    /// anything.
    ///
    /// # Errors
    /// I/O.
    fn write_whole(&self, path: &Path, contents: &[u8]) -> io::Result<()>;

    /// Renames a file or a directory; a file that is there is replaced.
    ///
    /// # Errors
    /// I/O.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// I/O.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with all that is in it. None there is not an error.
    ///
    /// # Errors
    /// I/O.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// I/O.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open, locked file. The lock goes with it.
pub trait LogFile: Send + 'static {
    /// All its bytes.
    ///
    /// # Errors
    /// I/O.
    fn read(&self) -> io::Result<Vec<u8>>;

    /// Writes all of `bytes` at `offset`, in one call unless the system takes less.
    ///
    /// # Errors
    /// I/O. What of it was written is then unknown.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeros.
    ///
    /// # Errors
    /// I/O.
    fn set_len(&mut self, length: u64) -> io::Result<()>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// I/O.
    fn length(&self) -> io::Result<u64>;

    /// Reserves space up to `length` bytes, zeros behind the end.
    ///
    /// # Errors
    /// I/O; then it has the length that it had.
    fn reserve(&mut self, length: u64) -> io::Result<()>;

    /// Makes what was written, and the length, durable.
    ///
    /// # Errors
    /// I/O. The file's content is then unknown, for good.
    fn sync_data(&mut self) -> io::Result<()>;
}

impl LogDisk for FileSystem {
    type File = File;

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        MemberDisk::create_dir(self, dir)
    }

    fn create(&self, path: &Path, length: u64) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = options.open(path)?;
        lock(&file)?;
        file.set_len(0)?;
        if length > 0 {
            disk::reserve(&file, length)?;
        }
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        lock(&file)?;
        Ok(file)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        LogFile::read(&File::open(path)?)
    }

    fn write_whole(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(FILE_MODE);
        let file = options.open(path)?;
        file.write_all_at(contents, 0)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        MemberDisk::sync_dir(self, dir)
    }
}

impl LogFile for File {
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let length = self.metadata()?.len();
        if length > MAX_FILE_BYTES {
            let what = format!("it has {length} bytes, more than {MAX_FILE_BYTES}");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        out.reserve_exact(usize::try_from(length).map_err(io::Error::other)?);
        let mut from_start = OffsetReader { file: self, offset: 0 };
        from_start.read_to_end(&mut out)?;
        Ok(out)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn reserve(&mut self, length: u64) -> io::Result<()> {
        let before = self.length()?;
        if before >= length {
            return Ok(());
        }
        // Some file systems keep what they found before they ran out.
        disk::reserve(self, length).inspect_err(|_| drop(File::set_len(self, before)))
    }

    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }
}

struct OffsetReader<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for OffsetReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(out, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Takes the write lock of the whole file, or fails at once.
fn lock(file: &File) -> io::Result<()> {
    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;
    let short = |constant| libc::c_short::try_from(constant).map_err(io::Error::other);
    let whole = libc::flock {
        l_type: short(libc::F_WRLCK)?,
        l_whence: short(libc::SEEK_SET)?,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => {
            Err(io::Error::new(io::ErrorKind::WouldBlock, "another process holds its lock"))
        }
        Err(errno) => Err(errno.into()),
    }
}
