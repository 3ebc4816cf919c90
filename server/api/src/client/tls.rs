//! TLS of a client's connections: whom we believe, and with which certificate of ours.
//!
//! What must hold: a server is believed if an authority of [`Tls::ca`] signed its certificate, or
//! if its certificate is itself one of those (as `etcd --auto-tls` makes them); in both cases it
//! must name the host that was asked for. Any server is believed for [`Tls::unverified`] only: then
//! whoever stands in between can read and change all.

use super::config::Tls;
use super::error::ClientError;
use crate::anchors::{Anchors, Side};
use http::Uri;
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tower::Service;

/// What HTTP/2 is called when both sides agree on a protocol.
const HTTP_2: &[u8] = b"h2";

/// Connects to a host and port and speaks TLS with whom it believes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    /// The name to expect; else the host of the address.
    server_name: Option<ServerName<'static>>,
}

/// A connector for these settings. The files are read now.
pub(super) fn connector(settings: &Tls) -> Result<Connector, ClientError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let belief = if settings.takes_any_server {
        Belief::Anybody
    } else {
        trusted(settings, Arc::clone(&provider))?
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { provider, belief }));
    let mut config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let (certs, key) = (certificates(&cert.read()?)?, key.read()?);
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(wrong)?;
            builder.with_client_auth_cert(certs, key).map_err(wrong)?
        }
    };
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    let named = |name: &String| ServerName::try_from(name.clone()).map_err(wrong);
    let server_name = settings.server_name.as_ref().map(named).transpose()?;
    Ok(Connector { tls: TlsConnector::from(Arc::new(config)), server_name })
}

fn wrong(why: impl std::fmt::Display) -> ClientError {
    ClientError::BadTls { reason: why.to_string() }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(wrong)
}

/// The authorities of the settings.
fn trusted(settings: &Tls, provider: Arc<CryptoProvider>) -> Result<Belief, ClientError> {
    let authorities = certificates(&settings.ca.read()?)?;
    let mut roots = RootCertStore::empty();
    for authority in &authorities {
        roots.add(authority.clone()).map_err(wrong)?;
    }
    if roots.is_empty() {
        return Err(wrong("the file of authorities holds no certificate"));
    }
    let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(wrong)?;
    Ok(Belief::Signed { signed, anchors: Anchors::new(authorities) })
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (tls, server_name) = (self.tls.clone(), self.server_name.clone());
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
            stream.set_nodelay(true)?;
            let name = match server_name {
                Some(name) => name,
                None => ServerName::try_from(host).map_err(io::Error::other)?,
            };
            let stream = tls.connect(name, stream).await?;
            if stream.get_ref().1.alpn_protocol() != Some(HTTP_2) {
                return Err(io::Error::other("the server speaks TLS, but not HTTP/2 over it"));
            }
            Ok(TokioIo::new(stream))
        })
    }
}

/// Whose certificates are taken.
#[derive(Debug)]
enum Belief {
    /// Those that an authority signed, and the authorities themselves.
    Signed { signed: Arc<WebPkiServerVerifier>, anchors: Anchors },
    /// All.
    Anybody,
}

/// Verifies a server's certificate; the handshake's signatures are checked in any case.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    belief: Belief,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Belief::Signed { signed, anchors } = &self.belief else {
            return Ok(ServerCertVerified::assertion());
        };
        let verdict = signed.verify_server_cert(certificate, intermediates, name, ocsp, now);
        if verdict.is_err() && anchors.admit(certificate, Side::Server, now) {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
