//! The server's own certificate, looked at anew at each handshake.
//!
//! Must hold: a new pair is used from the next handshake on; files that are half replaced or
//! broken leave the last good pair in use.

use super::{TlsError, certificates, read};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// What the files held, and the pair made of it.
#[derive(Debug)]
struct Loaded {
    cert: Vec<u8>,
    key: Vec<u8>,
    pair: Arc<CertifiedKey>,
}

/// A certificate and key in files.
#[derive(Debug)]
pub(super) struct FromFiles {
    cert_file: String,
    key_file: String,
    provider: Arc<CryptoProvider>,
    loaded: Mutex<Loaded>,
}

impl FromFiles {
    /// Reads them.
    pub(super) fn new(
        cert_file: &str,
        key_file: &str,
        provider: Arc<CryptoProvider>,
    ) -> Result<FromFiles, TlsError> {
        let loaded = Mutex::new(load(cert_file, key_file, &provider)?);
        let (cert_file, key_file) = (cert_file.to_owned(), key_file.to_owned());
        Ok(FromFiles { cert_file, key_file, provider, loaded })
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let same = read(&self.cert_file).is_ok_and(|cert| cert == loaded.cert)
            && read(&self.key_file).is_ok_and(|key| key == loaded.key);
        if !same && let Ok(newer) = load(&self.cert_file, &self.key_file, &self.provider) {
            *loaded = newer;
        }
        loaded.pair.clone()
    }
}

fn load(cert_file: &str, key_file: &str, provider: &CryptoProvider) -> Result<Loaded, TlsError> {
    let content = |path: &str, why: String| TlsError::Content { path: path.to_owned(), why };
    let (cert, key) = (read(cert_file)?, read(key_file)?);
    let parsed = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| content(key_file, error.to_string()))?;
    let pair = CertifiedKey::from_der(certificates(cert_file)?, parsed, provider)
        .map_err(|error| content(key_file, error.to_string()))?;
    pair.keys_match().map_err(|error| content(key_file, error.to_string()))?;
    Ok(Loaded { cert, key, pair: Arc::new(pair) })
}

impl ResolvesServerCert for FromFiles {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}
