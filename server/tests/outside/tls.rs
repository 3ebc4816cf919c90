//! TLS: upstream's client with and without certificates, revoked ones, wrong names; files that
//! change; certificates that the member makes.

use crate::process::{Server, ask, ours, outcome, write};
use holdfast_peers::{free_ports, peer};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use std::path::Path;
use std::process::Command;

/// An authority, and certificates of it in a folder.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        write(folder.path(), "ca.pem", &params.self_signed(&key).unwrap().pem());
        write(folder.path(), "ca.key", &key.serialize_pem());
        let authority = Authority { issuer: Issuer::new(params, key), folder };
        authority.issue("server", "127.0.0.1", 1);
        authority.issue("client", "client.example.com", 2);
        authority
    }

    fn issue(&self, name: &str, host: &str, serial: u64) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        write(self.path(), &format!("{name}.pem"), &certificate.pem());
        write(self.path(), &format!("{name}.key"), &key.serialize_pem());
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    fn revoke(&self, serial: u64) {
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: rcgen::date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        std::fs::write(self.path().join("crl.der"), list.der()).unwrap();
    }

    /// A server with this authority's certificate.
    fn server(&self, more: &[&str]) -> Server {
        let named = [
            format!("--cert-file={}", self.file("server.pem")),
            format!("--key-file={}", self.file("server.key")),
        ];
        let mut all: Vec<&str> = named.iter().map(String::as_str).collect();
        all.extend(more);
        Server::start(ours, "https", &all)
    }

    /// Upstream's client can put, with the certificate of that name or none.
    fn can_put(&self, server: &Server, certificate: Option<&str>) -> bool {
        self.puts(server, certificate, "10s")
    }

    /// It cannot; what should fail needs no patience.
    fn cannot_put(&self, server: &Server, certificate: Option<&str>) -> bool {
        !self.puts(server, certificate, "1s")
    }

    fn puts(&self, server: &Server, certificate: Option<&str>, patience: &str) -> bool {
        let mut command = Command::new(peer("etcdctl-3.6"));
        command.arg(format!("--endpoints=https://127.0.0.1:{}", server.port)).args([
            "--cacert",
            &self.file("ca.pem"),
            "--command-timeout",
            patience,
            "--dial-timeout",
            patience,
        ]);
        if let Some(name) = certificate {
            let (cert, key) =
                (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
            command.args(["--cert", &cert, "--key", &key]);
        }
        let output = command.args(["put", "a", "b"]).output().unwrap();
        output.status.success()
    }
}

#[test]
fn certificates_are_asked_for_and_judged() {
    let authority = Authority::new();
    let open = authority.server(&[]);
    assert!(authority.can_put(&open, None));
    assert!(open.log().contains("serving client traffic securely"), "{}", open.log());

    let ca = format!("--trusted-ca-file={}", authority.file("ca.pem"));
    let crl = format!("--client-crl-file={}", authority.file("crl.der"));
    authority.revoke(99);
    let mut closed = authority.server(&["--client-cert-auth", &ca, &crl]);
    assert!(authority.can_put(&closed, Some("client")));
    assert!(authority.can_put(&closed, Some("ca")), "an authority that is trusted itself");
    assert!(authority.cannot_put(&closed, None));
    closed.wait_for_line("rejected connection on client endpoint");
    assert!(closed.log().contains("tls: client didn't provide a certificate"), "{}", closed.log());
    authority.revoke(2);
    assert!(authority.cannot_put(&closed, Some("client")), "the list is read anew");
    closed.wait_for_line("transport: certificate serial 2 revoked");

    let name = "--client-cert-allowed-hostname=client.example.com";
    let named = authority.server(&["--client-cert-auth", &ca, name]);
    assert!(authority.can_put(&named, Some("client")));
    assert!(authority.cannot_put(&named, Some("server")));
    assert!(named.log().contains("client certificate authentication failed"), "{}", named.log());
}

#[test]
fn one_port_may_serve_with_and_without() {
    let authority = Authority::new();
    let [port, _] = free_ports();
    let urls = format!("https://127.0.0.1:{port},http://127.0.0.1:{port}");
    let (listen, advertise) =
        (format!("--listen-client-urls={urls}"), format!("--advertise-client-urls={urls}"));
    let mut server = authority.server(&[&listen, &advertise]);
    server.port = port;
    assert!(authority.can_put(&server, None));
    assert_eq!(server.ask("GET", "/version", "").status, 200);
    let endpoint = format!("--endpoints=http://127.0.0.1:{port}");
    holdfast_peers::run(Command::new(peer("etcdctl-3.6")).args([&endpoint, "put", "a", "b"]));
    for line in ["serving client traffic securely", "serving client traffic insecurely"] {
        assert!(server.log().contains(line), "{}", server.log());
    }
}

#[test]
fn new_files_are_used_and_broken_ones_are_not() {
    let authority = Authority::new();
    let server = authority.server(&["--tls-min-version=TLS1.3"]);
    assert!(authority.can_put(&server, None));
    std::fs::write(authority.file("server.pem"), "broken").unwrap();
    assert!(authority.can_put(&server, None), "the last good pair stays");
    authority.issue("server", "127.0.0.2", 7);
    assert!(authority.cannot_put(&server, None), "the new one is for another host");
    authority.issue("server", "127.0.0.1", 8);
    assert!(authority.can_put(&server, None));
}

#[test]
fn a_member_makes_its_own_certificates() {
    use std::os::unix::fs::PermissionsExt;
    let [metrics, _] = free_ports();
    let url = format!("http://127.0.0.1:{metrics}");
    let arguments = ["--auto-tls", "--peer-auto-tls", "--listen-metrics-urls", &url];
    let server = Server::start(ours, "https", &arguments);
    let endpoint = format!("--endpoints=https://127.0.0.1:{}", server.port);
    let certificate = server.folder().join("data/fixtures/client/cert.pem");
    let trusting = ["--cacert", certificate.to_str().unwrap(), "put", "a", "b"];
    let said = holdfast_peers::run(Command::new(peer("etcdctl-3.6")).arg(&endpoint).args(trusting));
    assert_eq!(said, "OK\n");
    let key = server.folder().join("data/fixtures/client/key.pem");
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(server.folder().join("data/fixtures/peer/cert.pem").exists());
    assert_eq!(ask(metrics, "GET", "/health", "", &[]).status, 200);
}

#[test]
fn what_has_no_certificate_is_refused() {
    let told = |arguments: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let output = outcome(ours(arguments).current_dir(folder.path()));
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let [client, metrics] = free_ports();
    let [peers, _] = free_ports();
    let peers = format!("--listen-peer-urls=http://127.0.0.1:{peers}");
    let https = format!("https://127.0.0.1:{client}");
    let both = ["--listen-client-urls", &https, "--advertise-client-urls", &https, &peers];
    assert!(
        told(&both)
            .contains("TLS key/cert (--cert-file, --key-file) must be provided for client url")
    );
    let absent = [&both[..], &["--cert-file=/nowhere", "--key-file=/nowhere"]].concat();
    assert!(told(&absent).contains("open /nowhere: no such file or directory"));
    let (http, metrics) =
        (format!("http://127.0.0.1:{client}"), format!("https://127.0.0.1:{metrics}"));
    let listen = ["--listen-client-urls", &http, "--advertise-client-urls", &http, &peers];
    let secure_metrics = [&listen[..], &["--listen-metrics-urls", &metrics]].concat();
    assert!(told(&secure_metrics).contains(
        "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url"
    ));
    let cipher = [&listen[..], &["--cert-file=x", "--key-file=x", "--cipher-suites=foo"]].concat();
    assert!(told(&cipher).contains("unexpected TLS cipher suite"));
}
