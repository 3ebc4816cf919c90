//! Certificates that the member makes for itself: `--auto-tls` and `--peer-auto-tls`.

use super::TlsError;
use crate::config::{MemberUrl, TlsConfig};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384,
};
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Puts a certificate for these URLs into `folder`, unless there is one, and names it in `config`.
///
/// # Errors
/// The folder cannot be written.
pub fn make(folder: &Path, urls: &[MemberUrl], config: &mut TlsConfig) -> Result<(), TlsError> {
    let failed = |why: String| TlsError::Make { folder: folder.display().to_string(), why };
    if config.self_signed_years == 0 {
        return Err(failed("--self-signed-cert-validity must be greater than 0".to_owned()));
    }
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    config.cert_file = cert.display().to_string();
    config.key_file = key.display().to_string();
    if cert.exists() && key.exists() {
        return Ok(());
    }
    let (cert_pem, key_pem) = pair(urls, config.self_signed_years).map_err(failed)?;
    let create = |path: &Path, mode: u32, text: &str| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        options.open(path).and_then(|mut file| file.write_all(text.as_bytes()))
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .and_then(|()| create(&key, 0o600, &key_pem))
        .and_then(|()| create(&cert, 0o644, &cert_pem))
        .map_err(|error| failed(error.to_string()))
}

fn pair(urls: &[MemberUrl], years: u32) -> Result<(String, String), String> {
    let mut hosts: Vec<String> = urls.iter().map(|url| url.host_name().to_owned()).collect();
    hosts.retain(|host| !host.is_empty());
    hosts.sort();
    hosts.dedup();
    let mut params = CertificateParams::new(hosts).map_err(|error| error.to_string())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    let today = jiff::Zoned::now().date();
    let last = today
        .checked_add(jiff::Span::new().days(i64::from(years.min(1_000)) * 365))
        .map_err(|error| error.to_string())?;
    let day = |date: jiff::civil::Date| {
        let part = |number: i8| u8::try_from(number).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
    };
    // A day earlier: another machine's clock and zone may be behind.
    params.not_before = day(today.yesterday().map_err(|error| error.to_string())?);
    params.not_after = day(last);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::KeyCertSign,
    ];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).map_err(|error| error.to_string())?;
    let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
    Ok((certificate.pem(), key.serialize_pem()))
}
