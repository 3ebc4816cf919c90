//! The names in a client's certificate, and a verifier that asks for certain ones.

use holdfast_api::anchors::{Anchors, Side};
use std::sync::Arc;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The common name of a certificate.
pub(super) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

/// Whether a certificate is for that host, by its alternative names; `*` stands for one label.
fn is_for_host(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    let address: Option<std::net::IpAddr> = host.parse().ok();
    names.value.general_names.iter().any(|name| match name {
        GeneralName::DNSName(name) if address.is_none() => covers(name, host),
        GeneralName::IPAddress(bytes) => match address {
            Some(std::net::IpAddr::V4(address)) => *bytes == address.octets().as_slice(),
            Some(std::net::IpAddr::V6(address)) => *bytes == address.octets().as_slice(),
            None => false,
        },
        _ => false,
    })
}

fn covers(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    // Not a name at all: nothing can be for it.
    if ServerName::try_from(host.as_str()).is_err() {
        return false;
    }
    match pattern.strip_prefix("*.") {
        None => pattern == host,
        Some(rest) => {
            host.split_once('.').is_some_and(|(label, after)| !label.is_empty() && after == rest)
        }
    }
}

/// Verifies a client's certificate and the names in it.
#[derive(Debug)]
pub(super) struct NamedClients {
    inner: Arc<dyn ClientCertVerifier>,
    anchors: Anchors,
    cns: Vec<String>,
    hostnames: Vec<String>,
}

impl NamedClients {
    pub(super) fn new(
        inner: Arc<dyn ClientCertVerifier>,
        anchors: Anchors,
        cns: Vec<String>,
        hostnames: Vec<String>,
    ) -> NamedClients {
        NamedClients { inner, anchors, cns, hostnames }
    }

    fn allows(&self, certificate: &CertificateDer<'_>) -> bool {
        let by_cn = || {
            let name = common_name(certificate).unwrap_or_default();
            self.cns.contains(&name)
        };
        let by_host = || self.hostnames.iter().any(|host| is_for_host(certificate, host));
        if !self.cns.is_empty() { by_cn() } else { self.hostnames.is_empty() || by_host() }
    }
}

impl ClientCertVerifier for NamedClients {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = match self.inner.verify_client_cert(certificate, intermediates, now) {
            Err(_) if self.anchors.admit(certificate, Side::Client, now) => {
                ClientCertVerified::assertion()
            }
            verified => verified?,
        };
        if self.allows(certificate) {
            Ok(verified)
        } else {
            // The client is told "bad certificate", as Go's server tells it.
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_found() {
        let names = vec!["*.example.com".to_owned(), "Host".to_owned(), "127.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "root");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        assert_eq!(common_name(&certificate).as_deref(), Some("root"));
        for host in ["a.example.com", "host", "127.0.0.1"] {
            assert!(is_for_host(&certificate, host), "{host}");
        }
        for host in ["example.com", "a.b.example.com", "other", "127.0.0.2", "", "\0"] {
            assert!(!is_for_host(&certificate, host), "{host}");
        }
        assert_eq!(common_name(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
