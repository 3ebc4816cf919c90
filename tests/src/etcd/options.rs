//! What to start: a version, TLS, a data directory, flags.

use crate::peers::{holdfast, peer};
use crate::pki::Pki;
use holdfast_restore::server::ServerProgram;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Our own server in place of a version of upstream's; upstream's tools of 3.6 speak to it.
pub const BUNDLED: &str = "bundled";

/// What to start.
#[derive(Clone)]
pub struct Options {
    /// `3.5`, `3.6`, `3.7`, or [`BUNDLED`].
    pub version: String,
    /// TLS for clients and peers, with client certificates asked for.
    pub pki: Option<Arc<Pki>>,
    /// An existing data directory; else an empty one in the member's own folder.
    pub data_dir: Option<PathBuf>,
    /// The member's name.
    pub name: String,
    /// The cluster's token.
    pub token: String,
    /// More flags.
    pub extra: Vec<String>,
}

impl Options {
    /// A plain, empty member.
    pub fn new(version: &str) -> Options {
        Options {
            version: version.to_owned(),
            pki: None,
            data_dir: None,
            name: "default".to_owned(),
            token: "holdfast-tests".to_owned(),
            // Process death does not lose what the kernel has: fsync would only slow the tests.
            extra: vec!["--unsafe-no-fsync".to_owned()],
        }
    }

    /// With TLS.
    #[must_use]
    pub fn with_tls(mut self, pki: &Arc<Pki>) -> Options {
        self.pki = Some(Arc::clone(pki));
        self
    }

    /// With more flags.
    #[must_use]
    pub fn with_flags(mut self, flags: &[&str]) -> Options {
        self.extra.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// On an existing data directory.
    #[must_use]
    pub fn with_data_dir(mut self, path: &Path) -> Options {
        self.data_dir = Some(path.to_owned());
        self
    }
}

/// The server of a version.
pub(super) fn program(version: &str) -> ServerProgram {
    if version == BUNDLED {
        ServerProgram::in_holdfast(holdfast())
    } else {
        peer(&format!("etcd-{version}")).into()
    }
}

/// The flags for TLS with client certificates.
pub fn tls_flags(pki: &Pki) -> Vec<String> {
    let (server, ca) = (pki.server(), pki.ca());
    let mut flags = vec!["--client-cert-auth".to_owned(), "--peer-client-cert-auth".to_owned()];
    for (flag, path) in [
        ("--cert-file", &server.cert),
        ("--key-file", &server.key),
        ("--trusted-ca-file", &ca),
        ("--peer-cert-file", &server.cert),
        ("--peer-key-file", &server.key),
        ("--peer-trusted-ca-file", &ca),
    ] {
        flags.push(flag.to_owned());
        flags.push(path.display().to_string());
    }
    flags
}
