//! Revocation lists: by serial number, read anew for each connection, as upstream does it.

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

/// Largest list, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Whether none of the certificates is on the list.
///
/// # Errors
/// One is, or the list cannot be read; the text goes into a log line.
pub(super) fn check(path: &str, chain: &[CertificateDer<'_>]) -> Result<(), String> {
    if chain.is_empty() {
        return Ok(());
    }
    let failed = |error: std::io::Error| format!("open {path}: {error}");
    if std::fs::metadata(path).map_err(failed)?.len() > LARGEST {
        return Err(format!("{path} is larger than {LARGEST} bytes"));
    }
    let mut bytes = std::fs::read(path).map_err(failed)?;
    if bytes.starts_with(b"-----BEGIN") {
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(&bytes).map_err(|error| format!("{path}: {error}"))?;
        bytes = pem.contents;
    }
    let (_, list) = CertificateRevocationList::from_der(&bytes)
        .map_err(|error| format!("{path} is no revocation list: {error}"))?;
    for certificate in chain {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| format!("the client's certificate cannot be read: {error}"))?;
        let serial = &parsed.tbs_certificate.serial;
        if list.iter_revoked_certificates().any(|revoked| revoked.serial() == serial) {
            return Err(format!("transport: certificate serial {serial:x} revoked"));
        }
    }
    Ok(())
}
