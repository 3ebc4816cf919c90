//! Flags of TLS, of who may ask, and of users.

use super::{Flag, Kind, flag};

/// TLS, origins, users.
pub(super) const SECURITY: &[Flag] = &[
    flag("cert-file", Kind::Text, "", "Certificate for clients, PEM."),
    flag("key-file", Kind::Text, "", "Key of the certificate for clients, PEM."),
    flag("client-cert-auth", Kind::Bool, "false", "Ask clients for a certificate."),
    flag(
        "client-cert-file",
        Kind::Text,
        "",
        "Certificate with which the member is a client itself.",
    )
    .accepted("the gateway calls the member without a connection"),
    flag("client-key-file", Kind::Text, "", "Key of that certificate.")
        .accepted("the gateway calls the member without a connection"),
    flag(
        "client-crl-file",
        Kind::Text,
        "",
        "Revoked certificates of clients, DER or PEM; read anew for each connection.",
    ),
    flag(
        "client-cert-allowed-hostname",
        Kind::List,
        "",
        "Names of which one must be in a client's certificate.",
    ),
    flag("trusted-ca-file", Kind::Text, "", "Authorities of client certificates, PEM."),
    flag("auto-tls", Kind::Bool, "false", "Make a certificate for clients."),
    flag("peer-cert-file", Kind::Text, "", "Certificate for peers, PEM."),
    flag("peer-key-file", Kind::Text, "", "Key of the certificate for peers, PEM."),
    flag("peer-client-cert-auth", Kind::Bool, "false", "Ask peers for a certificate."),
    flag(
        "peer-client-cert-file",
        Kind::Text,
        "",
        "Certificate towards peers, when not the one for peers.",
    ),
    flag("peer-client-key-file", Kind::Text, "", "Key of that certificate."),
    flag("peer-trusted-ca-file", Kind::Text, "", "Authorities of peers' certificates, PEM."),
    flag(
        "peer-cert-allowed-cn",
        Kind::List,
        "",
        "Common names of which a peer's certificate must have one.",
    ),
    flag(
        "peer-cert-allowed-hostname",
        Kind::List,
        "",
        "Names of which one must be in a peer's certificate.",
    ),
    flag("peer-auto-tls", Kind::Bool, "false", "Make a certificate for peers."),
    flag(
        "self-signed-cert-validity",
        Kind::Unsigned,
        "1",
        "Years that a certificate made here is valid.",
    ),
    flag("peer-crl-file", Kind::Text, "", "Revoked certificates of peers."),
    flag("cipher-suites", Kind::List, "", "Cipher suites of TLS 1.2, by Go's names."),
    flag("cors", Kind::Origins, "*", "Origins that a browser may ask from; empty or * means all."),
    flag(
        "host-whitelist",
        Kind::Set,
        "*",
        "Host names that requests without TLS may name; empty or * means all.",
    ),
    flag("tls-min-version", Kind::Text, "TLS1.2", "Oldest TLS version: TLS1.2 or TLS1.3."),
    flag("tls-max-version", Kind::Text, "", "Newest TLS version; empty means the newest there is."),
    flag("auth-token", Kind::Text, "simple", "Kind of tokens: 'simple' or 'jwt' with its options."),
    flag("bcrypt-cost", Kind::Unsigned, "10", "Cost of a password's hash, 4 to 31."),
    flag("auth-token-ttl", Kind::Unsigned, "300", "Seconds that a simple token lives unused."),
];
