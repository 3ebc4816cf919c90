//! What a client says beside its request: its token, that it wants a leader, its API version; and
//! the certificate that it came with.

use crate::grpc::Refusal;
use holdfast_core::auth::token::{METADATA, bearer};
use http::HeaderMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The demand for a leader, and what it must say.
const LEADER: (&str, &str) = ("hasleader", "true");
/// The client's API version.
const VERSION: &str = "client-api-version";

/// The other end of a connection; in the extensions of every request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// Its address; none for a unix socket and for calls from within.
    pub address: Option<SocketAddr>,
    /// Whether the connection is encrypted.
    pub is_secure: bool,
    /// The common name of the verified client certificate; empty when it has none.
    pub common_name: Option<Arc<str>>,
    /// The request came through the JSON gateway.
    pub through_gateway: bool,
}

impl Peer {
    /// For log lines.
    pub fn name(&self) -> String {
        self.address.map_or_else(|| "@".to_owned(), |address| address.to_string())
    }
}

/// The token, without the word that HTTP puts before it.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    METADATA.iter().find_map(|name| headers.get(*name)?.to_str().ok()).map(bearer)
}

/// Whether the client wants to be refused while there is no leader.
pub fn wants_leader(headers: &HeaderMap) -> bool {
    headers.get(LEADER.0).is_some_and(|value| value.as_bytes() == LEADER.1.as_bytes())
}

/// The client's API version, `unknown` when it says none.
///
/// # Errors
/// [`Refusal::InvalidClientAPIVersion`] for one that is no text.
pub fn api_version(headers: &HeaderMap) -> Result<&str, Refusal> {
    match headers.get(VERSION) {
        None => Ok("unknown"),
        Some(value) => {
            std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::InvalidClientAPIVersion)
        }
    }
}

/// The user that a client's certificate stands for, if it may: without a token, and not through
/// the gateway, whose own connection it would be.
pub fn certificate_user<'a>(headers: &HeaderMap, peer: &'a Peer) -> Option<&'a str> {
    if peer.through_gateway || token(headers).is_some() {
        return None;
    }
    peer.common_name.as_deref().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn tokens_come_from_either_key() {
        let mut headers = HeaderMap::new();
        assert_eq!(token(&headers), None);
        headers.insert("authorization", HeaderValue::from_static("Bearer b"));
        assert_eq!(token(&headers), Some("b"));
        headers.insert("token", HeaderValue::from_static("a"));
        assert_eq!(token(&headers), Some("a"));
    }

    #[test]
    fn a_certificate_speaks_only_for_who_brought_it() {
        let mut headers = HeaderMap::new();
        let mut peer = Peer { common_name: Some("root".into()), ..Peer::default() };
        assert_eq!(certificate_user(&headers, &peer), Some("root"));
        headers.insert("token", HeaderValue::from_static("a"));
        assert_eq!(certificate_user(&headers, &peer), None, "a token goes before");
        headers.clear();
        peer.through_gateway = true;
        assert_eq!(certificate_user(&headers, &peer), None);
    }

    #[test]
    fn versions_are_texts() {
        let mut headers = HeaderMap::new();
        assert_eq!(api_version(&headers), Ok("unknown"));
        headers.insert(VERSION, HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        assert_eq!(api_version(&headers), Err(Refusal::InvalidClientAPIVersion));
        headers.insert("hasleader", HeaderValue::from_static("false"));
        assert!(!wants_leader(&headers));
    }
}
