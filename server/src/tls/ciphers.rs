//! Cipher suites by Go's names. The suites of TLS 1.3 are always on, as in Go.

use super::TlsError;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::{CipherSuite, ProtocolVersion};

/// Go's name and the suite; those that are not spoken here have none.
const SUITES: [(&str, Option<CipherSuite>); 27] = [
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_AES_128_GCM_SHA256", Some(CipherSuite::TLS13_AES_128_GCM_SHA256)),
    ("TLS_AES_256_GCM_SHA384", Some(CipherSuite::TLS13_AES_256_GCM_SHA384)),
    ("TLS_CHACHA20_POLY1305_SHA256", Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256)),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", None),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", None),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", None),
    ("TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", None),
    ("TLS_ECDHE_RSA_WITH_RC4_128_SHA", None),
    ("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", None),
    ("TLS_RSA_WITH_RC4_128_SHA", None),
    ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", None),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", None),
    ("TLS_RSA_WITH_AES_128_CBC_SHA256", None),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", None),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", None),
];

/// Leaves only the suites named, if any is.
pub(super) fn choose(provider: &mut CryptoProvider, names: &[String]) -> Result<(), TlsError> {
    if names.is_empty() {
        return Ok(());
    }
    let mut wanted = Vec::new();
    for name in names {
        let row = SUITES.iter().find(|(known, _)| known == name);
        let Some((_, suite)) = row else { return Err(TlsError::UnknownCipher(name.clone())) };
        wanted.extend(*suite);
    }
    if wanted.is_empty() {
        return Err(TlsError::NoCipher(names.to_vec()));
    }
    provider.cipher_suites.retain(|suite| {
        suite.version().version == ProtocolVersion::TLSv1_3 || wanted.contains(&suite.suite())
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::crypto::aws_lc_rs;

    fn chosen(names: &[&str]) -> Result<usize, String> {
        let mut provider = aws_lc_rs::default_provider();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        choose(&mut provider, &names).map_err(|error| error.to_string())?;
        Ok(provider.cipher_suites.len())
    }

    #[test]
    fn suites_are_chosen_by_gos_names() {
        assert_eq!(chosen(&[]), Ok(9));
        assert_eq!(chosen(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]), Ok(4), "and TLS 1.3's");
        assert_eq!(chosen(&["foo"]).unwrap_err(), "unexpected TLS cipher suite \"foo\"");
        assert!(chosen(&["TLS_RSA_WITH_AES_128_CBC_SHA"]).is_err());
        let mixed = ["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"];
        assert_eq!(chosen(&mixed), Ok(4));
    }
}
