//! Where lines go: the standard streams, files with or without rotation, systemd's journal.
//!
//! Must hold: a full disk or a closed pipe loses lines and nothing else.

use super::Level;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// An output that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("open {target}: {source}")]
pub struct OpenError {
    /// The file or socket.
    pub target: String,
    /// Why.
    pub source: std::io::Error,
}

/// When a file is rotated and what stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Rotation {
    /// Megabytes at which a new file begins; 0 means 100.
    pub(crate) maxsize: u64,
    /// Days that old files stay; 0 keeps them.
    pub(crate) maxage: u64,
    /// Old files that stay; 0 keeps them.
    pub(crate) maxbackups: usize,
    /// Name old files by local time.
    pub(crate) localtime: bool,
    /// Compress old files; not done here.
    pub(crate) compress: bool,
}

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation { maxsize: 100, maxage: 0, maxbackups: 0, localtime: false, compress: false }
    }
}

/// One target of lines.
#[derive(Debug)]
pub struct Output {
    target: Target,
}

#[derive(Debug)]
enum Target {
    Stdout,
    Stderr,
    File(LogFile),
    Journal(UnixDatagram),
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    rotation: Option<Rotation>,
}

impl Output {
    /// Standard output.
    pub fn stdout() -> Output {
        Output { target: Target::Stdout }
    }

    /// Standard error.
    pub fn stderr() -> Output {
        Output { target: Target::Stderr }
    }

    /// The end of a file, which is created when it is missing.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn file(path: &Path, rotation: Option<Rotation>) -> Result<Output, OpenError> {
        let failed = |source| OpenError { target: path.display().to_string(), source };
        let file = append(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let file = LogFile { path: path.to_owned(), file, size, rotation };
        Ok(Output { target: Target::File(file) })
    }

    /// systemd's journal.
    ///
    /// # Errors
    /// There is none.
    pub fn journal() -> Result<Output, OpenError> {
        let failed = |source| OpenError { target: JOURNAL.to_owned(), source };
        let socket = UnixDatagram::unbound().map_err(failed)?;
        socket.connect(JOURNAL).map_err(failed)?;
        Ok(Output { target: Target::Journal(socket) })
    }

    /// Writes a whole line; what cannot be written is lost.
    pub(super) fn write(&mut self, level: Level, line: &str) {
        // Nobody could be told of a failure: this is where failures are told.
        let _ = match &mut self.target {
            Target::Stdout => std::io::stdout().lock().write_all(line.as_bytes()),
            Target::Stderr => std::io::stderr().lock().write_all(line.as_bytes()),
            Target::File(file) => file.write(line.as_bytes()),
            Target::Journal(socket) => {
                let priority = match level {
                    Level::Debug => 7,
                    Level::Info => 6,
                    Level::Warn => 4,
                    Level::Error => 3,
                    Level::Panic | Level::Fatal => 2,
                };
                let line = line.trim_end().replace('\n', " ");
                let entry =
                    format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER=etcd\nMESSAGE={line}\n");
                socket.send(entry.as_bytes()).map(|_| ())
            }
        };
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl LogFile {
    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        if let Some(rotation) = self.rotation {
            let most = if rotation.maxsize == 0 { 100 } else { rotation.maxsize } * 1024 * 1024;
            if self.size > 0 && self.size + line.len() as u64 > most {
                self.rotate(rotation)?;
            }
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, rotation: Rotation) -> std::io::Result<()> {
        let now = if rotation.localtime {
            jiff::Zoned::now()
        } else {
            jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC)
        };
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let end = self.path.extension().map(|end| format!(".{}", end.to_string_lossy()));
        let end = end.unwrap_or_default();
        let stamp = now.strftime("%Y-%m-%dT%H-%M-%S.%6f");
        std::fs::rename(&self.path, self.path.with_file_name(format!("{stem}-{stamp}{end}")))?;
        self.file = append(&self.path)?;
        self.size = 0;
        self.prune(rotation, &format!("{stem}-"), &end)
    }

    /// Removes old files that are too many or too old.
    fn prune(&self, rotation: Rotation, start: &str, end: &str) -> std::io::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut old = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(start) && name.ends_with(end) && name.contains('T') {
                old.push((name, entry.path(), entry.metadata()?.modified()?));
            }
        }
        old.sort_by(|a, b| b.0.cmp(&a.0));
        let longest = Duration::from_secs(rotation.maxage.saturating_mul(86_400));
        for (place, (_, path, written)) in old.iter().enumerate() {
            let too_many = rotation.maxbackups > 0 && place >= rotation.maxbackups;
            let age = SystemTime::now().duration_since(*written).unwrap_or_default();
            if too_many || rotation.maxage > 0 && age > longest {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_moved_aside_and_few_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd.log");
        let rotation = Rotation { maxsize: 1, maxbackups: 2, ..Rotation::default() };
        let mut output = Output::file(&path, Some(rotation)).unwrap();
        let line = "x".repeat(400 * 1024) + "\n";
        for _ in 0..12 {
            output.write(Level::Info, &line);
        }
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 3, "the one being written and two old ones");
        assert!(std::fs::metadata(&path).unwrap().len() <= 1024 * 1024);
    }
}
