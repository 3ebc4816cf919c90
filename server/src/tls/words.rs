//! Failed handshakes in the words of Go's crypto/tls, which operators and upstream's tests know.

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// The text of a handshake's failure, and whether the other side just left.
pub fn in_gos_words(error: &std::io::Error) -> (String, bool) {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return ("EOF".to_owned(), true);
    }
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let text = match inner {
        Some(Error::AlertReceived(alert)) => format!("remote error: tls: {}", alert_words(*alert)),
        Some(Error::NoCertificatesPresented) => {
            "tls: client didn't provide a certificate".to_owned()
        }
        Some(Error::InvalidMessage(_) | Error::InappropriateMessage { .. }) => {
            "tls: first record does not look like a TLS handshake".to_owned()
        }
        Some(Error::InvalidCertificate(CertificateError::NotValidForName)) => {
            "client certificate authentication failed".to_owned()
        }
        Some(Error::InvalidCertificate(why)) => {
            format!("tls: failed to verify certificate: {}", certificate_words(why))
        }
        Some(Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon)) => {
            "tls: no cipher suite supported by both client and server".to_owned()
        }
        Some(Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        )) => "tls: client offered only unsupported versions".to_owned(),
        _ => error.to_string(),
    };
    (text, false)
}

fn alert_words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::BadCertificate => "bad certificate".to_owned(),
        AlertDescription::UnknownCA => "unknown certificate authority".to_owned(),
        AlertDescription::CertificateExpired => "expired certificate".to_owned(),
        AlertDescription::CertificateRevoked => "revoked certificate".to_owned(),
        AlertDescription::CertificateUnknown => "unknown certificate".to_owned(),
        AlertDescription::CertificateRequired => "certificate required".to_owned(),
        AlertDescription::HandshakeFailure => "handshake failure".to_owned(),
        AlertDescription::ProtocolVersion => "protocol version not supported".to_owned(),
        other => format!("{other:?}"),
    }
}

fn certificate_words(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "x509: certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "x509: certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "x509: certificate specifies an incompatible key usage".to_owned()
        }
        other => other.to_string(),
    }
}
