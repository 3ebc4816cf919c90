//! A certificate that is itself one of the trusted ones: self-signed, often an authority, as
//! `etcd --auto-tls` makes it.
//!
//! Our TLS library takes no authority for a client or a server, Go's does if it is trusted as it
//! stands. Must hold: only a certificate that equals a trusted one byte by byte gets in here,
//! within its time and for its side; there is no chain to be built and no signature to be checked
//! but that of the handshake, which the library does. Whoever has its key could sign another one
//! anyway. The names in it are the caller's to check.

use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Whose certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A server's.
    Server,
    /// A client's.
    Client,
}

/// The certificates that are trusted as they stand.
#[derive(Debug)]
pub struct Anchors(Vec<CertificateDer<'static>>);

impl Anchors {
    /// Those of a file of authorities.
    pub fn new(trusted: Vec<CertificateDer<'static>>) -> Anchors {
        Anchors(trusted)
    }

    /// Whether it is one of them and good for that side now.
    pub fn admit(&self, certificate: &CertificateDer<'_>, side: Side, now: UnixTime) -> bool {
        let is_trusted = self.0.iter().any(|anchor| anchor.as_ref() == certificate.as_ref());
        is_trusted && is_for(side, certificate, now).unwrap_or(false)
    }
}

/// `None` for what cannot be read.
fn is_for(side: Side, certificate: &CertificateDer<'_>, now: UnixTime) -> Option<bool> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let now = i64::try_from(now.as_secs()).ok()?;
    let validity = parsed.validity();
    let is_in_time =
        (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now);
    // What nobody here understands may forbid the use.
    let is_understood = parsed.extensions().iter().all(|extension| {
        !extension.critical
            || !matches!(
                extension.parsed_extension(),
                ParsedExtension::UnsupportedExtension { .. } | ParsedExtension::ParseError { .. }
            )
    });
    let usage = parsed.extended_key_usage().ok()?;
    let is_for_use = usage.is_none_or(|usage| {
        let named = match side {
            Side::Server => usage.value.server_auth,
            Side::Client => usage.value.client_auth,
        };
        named || usage.value.any
    });
    Some(is_in_time && is_understood && is_for_use)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyPair};
    use std::time::Duration;

    const NOW: u64 = 1_700_000_000;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn made(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn only_what_is_trusted_itself_gets_in_and_only_for_its_use() {
        use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let plain = made(|_| {});
        let client = made(|params| params.extended_key_usages = vec![ServerAuth, ClientAuth]);
        let server = made(|params| params.extended_key_usages = vec![ServerAuth]);
        let strange = made(|params| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        });
        let all = [&plain, &client, &server, &strange].map(Clone::clone).to_vec();
        let anchors = Anchors::new(all);
        let admit =
            |certificate: &CertificateDer<'_>, side| anchors.admit(certificate, side, at(NOW));
        for side in [Side::Server, Side::Client] {
            assert!(admit(&plain, side) && admit(&client, side));
            assert_eq!(admit(&server, side), side == Side::Server, "for servers only");
            assert!(!admit(&strange, side), "an extension that nobody understands");
            for outside in [1_500_000_000, 2_000_000_000] {
                assert!(!anchors.admit(&plain, side, at(outside)), "at {outside}");
            }
            assert!(!admit(&made(|_| {}), side), "one like it is not it");
            let garbage: CertificateDer<'_> = vec![1].into();
            assert!(!Anchors::new(vec![vec![1].into()]).admit(&garbage, side, at(NOW)));
        }
    }
}
