//! TLS of listeners: certificates that are read anew when their files change, client certificates
//! with the names that they must have, revocation lists, Go's names of cipher suites.
//!
//! Must hold: a handshake that fails costs one connection and one log line; whoever replaces the
//! certificate's files need not restart the member.

mod ciphers;
mod names;
mod revoked;
mod self_signed;
mod server_certificate;
mod words;

pub use self_signed::make as make_self_signed;
pub use words::in_gos_words;

use crate::config::{TlsConfig, TlsVersion};
use holdfast_api::anchors::Anchors;
use names::NamedClients;
use server_certificate::FromFiles;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, SupportedProtocolVersion};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Only one of the two files is named.
    #[error("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]")]
    HalfAPair {
        /// The key's file.
        key: String,
        /// The certificate's file.
        cert: String,
    },
    /// A file cannot be read.
    #[error("open {path}: {why}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// A file holds no PEM of that kind, or the pair does not fit.
    #[error("tls: {path}: {why}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// No such cipher suite.
    #[error("unexpected TLS cipher suite {0:?}")]
    UnknownCipher(String),
    /// None of the suites named is spoken here.
    #[error(
        "none of the cipher suites {0:?} is spoken here; leave --cipher-suites out or name ECDHE suites with GCM or ChaCha20"
    )]
    NoCipher(Vec<String>),
    /// Client certificates are asked for, and no authority is named.
    #[error(
        "client certificates are asked for and no authority is named: set --trusted-ca-file (--peer-trusted-ca-file for peers)"
    )]
    NoAuthority,
    /// Common names and host names exclude each other.
    #[error(
        "AllowedCNs and AllowedHostnames are mutually exclusive (cns={cns:?}, hostnames={hostnames:?})"
    )]
    TwoRules {
        /// Allowed common names.
        cns: Vec<String>,
        /// Allowed host names.
        hostnames: Vec<String>,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate in {folder}: {why}")]
    Make {
        /// The folder.
        folder: String,
        /// Why.
        why: String,
    },
    /// The library refuses the combination.
    #[error("tls: {0}")]
    Setup(String),
}

/// TLS of one kind of listener. Cheap to clone.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    crl_file: Option<Arc<str>>,
}

/// Reads a file of PEM.
fn read(path: &str) -> Result<Vec<u8>, TlsError> {
    std::fs::read(Path::new(path)).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        TlsError::Read { path: path.to_owned(), why }
    })
}

/// All certificates of a file.
fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |why: String| TlsError::Content { path: path.to_owned(), why };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let found = found.map_err(|error| content(error.to_string()))?;
    if found.is_empty() {
        return Err(content("failed to find any PEM data in certificate input".to_owned()));
    }
    Ok(found)
}

impl ServerTls {
    /// Reads the files and checks that they fit one another.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(config: &TlsConfig) -> Result<ServerTls, TlsError> {
        if config.cert_file.is_empty() || config.key_file.is_empty() {
            let (key, cert) = (config.key_file.clone(), config.cert_file.clone());
            return Err(TlsError::HalfAPair { key, cert });
        }
        if !config.allowed_cns.is_empty() && !config.allowed_hostnames.is_empty() {
            let (cns, hostnames) = (config.allowed_cns.clone(), config.allowed_hostnames.clone());
            return Err(TlsError::TwoRules { cns, hostnames });
        }
        let mut provider: CryptoProvider = aws_lc_rs::default_provider();
        ciphers::choose(&mut provider, &config.cipher_suites)?;
        let provider = Arc::new(provider);
        let certificate = FromFiles::new(&config.cert_file, &config.key_file, provider.clone())?;
        let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions(config))
            .map_err(setup)?;
        let wants_certificates = config.client_cert_auth || !config.trusted_ca_file.is_empty();
        let builder = if wants_certificates {
            if config.trusted_ca_file.is_empty() {
                return Err(TlsError::NoAuthority);
            }
            let path = &config.trusted_ca_file;
            let content = |why: String| TlsError::Content { path: path.clone(), why };
            let mut roots = RootCertStore::empty();
            let trusted = certificates(path)?;
            for certificate in &trusted {
                roots.add(certificate.clone()).map_err(|error| content(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| content(error.to_string()))?;
            builder.with_client_cert_verifier(Arc::new(NamedClients::new(
                verifier,
                Anchors::new(trusted),
                config.allowed_cns.clone(),
                config.allowed_hostnames.clone(),
            )))
        } else {
            builder.with_no_client_auth()
        };
        let mut server = builder.with_cert_resolver(Arc::new(certificate));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let crl_file = Some(config.crl_file.as_str()).filter(|path| !path.is_empty());
        Ok(ServerTls {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            crl_file: crl_file.map(Arc::from),
        })
    }

    /// What does the handshake.
    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Looks at the certificates of the other side after the handshake, and gives the first one's
    /// common name.
    ///
    /// # Errors
    /// One of them is revoked, or the list of revoked ones cannot be read.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<Option<Arc<str>>, String> {
        if let Some(path) = &self.crl_file {
            revoked::check(path, chain)?;
        }
        Ok(chain.first().and_then(|leaf| names::common_name(leaf)).map(Arc::from))
    }
}

fn versions(config: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let least = config.min_version.unwrap_or(TlsVersion::V12);
    let most = config.max_version.unwrap_or(TlsVersion::V13);
    let all = [(TlsVersion::V13, &TLS13), (TlsVersion::V12, &TLS12)];
    let within = all.into_iter().filter(|(version, _)| *version >= least && *version <= most);
    within.map(|(_, version)| version).collect()
}
