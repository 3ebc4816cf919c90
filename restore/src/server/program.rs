//! Which etcd is started: a binary of that name, or the server inside a Holdfast binary.
//!
//! Holds: what is bundled is this very program, also after its file was replaced by a newer one.

use std::fmt;
use std::path::{Path, PathBuf};

/// The verb under which Holdfast is a server.
const VERB: &str = "server";
/// This program as the kernel knows it, for a file that was replaced while we run.
const OWN_IMAGE: &str = "/proc/self/exe";

/// A program that takes etcd's flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerProgram {
    file: PathBuf,
    is_holdfast: bool,
}

impl ServerProgram {
    /// The server inside the program that runs now, which must be a Holdfast binary.
    pub fn bundled() -> ServerProgram {
        let own = std::env::current_exe().ok().filter(|path| path.exists());
        ServerProgram::in_holdfast(own.unwrap_or_else(|| PathBuf::from(OWN_IMAGE)))
    }

    /// The server inside a Holdfast binary.
    pub fn in_holdfast(file: impl Into<PathBuf>) -> ServerProgram {
        ServerProgram { file: file.into(), is_holdfast: true }
    }

    /// An etcd binary where one is named, else the bundled server.
    pub fn named_or_bundled(file: Option<&Path>) -> ServerProgram {
        file.map_or_else(ServerProgram::bundled, ServerProgram::from)
    }

    /// The file that is run; a name without a slash is looked up in PATH.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The words before etcd's flags.
    pub(super) fn verb(&self) -> Option<&'static str> {
        self.is_holdfast.then_some(VERB)
    }
}

/// An etcd binary.
impl From<PathBuf> for ServerProgram {
    fn from(file: PathBuf) -> ServerProgram {
        ServerProgram { file, is_holdfast: false }
    }
}

/// An etcd binary.
impl From<&Path> for ServerProgram {
    fn from(file: &Path) -> ServerProgram {
        ServerProgram::from(file.to_owned())
    }
}

impl fmt::Display for ServerProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.display().fmt(f)?;
        self.verb().map_or(Ok(()), |verb| write!(f, " {verb}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_server_is_this_program_and_another_one_is_named() {
        let bundled = ServerProgram::named_or_bundled(None);
        assert_eq!(bundled.file(), std::env::current_exe().unwrap());
        assert_eq!((bundled.verb(), bundled.to_string().ends_with(" server")), (Some(VERB), true));
        let named = ServerProgram::named_or_bundled(Some(Path::new("etcd")));
        assert_eq!((named.verb(), named.to_string()), (None, "etcd".to_owned()));
    }
}
