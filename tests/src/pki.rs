//! Throw-away certificates: an authority, a server's, and clients', as files that every program
//! takes.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An authority and what it has signed. The files live as long as this value.
pub struct Pki {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Certificate, PEM.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

impl Pki {
    /// Makes an authority, and a certificate for servers on this machine.
    ///
    /// # Panics
    /// The folder for the files cannot be written.
    pub fn new() -> Pki {
        let folder = TempDir::new().expect("a folder for certificates");
        let mut params = named("holdfast test authority", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a self-signed certificate");
        std::fs::write(folder.path().join("ca.crt"), issuer.pem()).expect("the folder is ours");
        let pki = Pki { folder, issuer };
        let usages = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        pki.sign("server", &["127.0.0.1", "localhost"], &usages);
        pki
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// The servers' (and peers') certificate, for 127.0.0.1 and localhost.
    pub fn server(&self) -> Pair {
        pair(self.folder.path(), "server")
    }

    /// A client's certificate; etcd takes its common name for the user. Made on first use.
    pub fn client(&self, common_name: &str) -> Pair {
        let made = pair(self.folder.path(), common_name);
        if !made.cert.exists() {
            self.sign(common_name, &[], &[ExtendedKeyUsagePurpose::ClientAuth]);
        }
        made
    }

    fn sign(&self, name: &str, hosts: &[&str], usages: &[ExtendedKeyUsagePurpose]) {
        let mut params = named(name, hosts);
        params.extended_key_usages = usages.to_vec();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("the authority signs");
        let pair = pair(self.folder.path(), name);
        std::fs::write(&pair.cert, cert.pem()).expect("the folder is ours");
        std::fs::write(&pair.key, key.serialize_pem()).expect("the folder is ours");
    }
}

impl Default for Pki {
    fn default() -> Self {
        Pki::new()
    }
}

fn named(common_name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("hosts are ASCII");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn pair(folder: &Path, name: &str) -> Pair {
    Pair { cert: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) }
}
