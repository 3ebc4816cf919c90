//! What goes wrong between us and a cluster: each message says what, where, and what to do next.

use std::error::Error;
use std::path::PathBuf;
use tonic::{Code, Status};

/// A failure at or on the way to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The configuration names no endpoint.
    #[error("no endpoint is configured: give at least one client URL")]
    NoEndpoint,
    /// An endpoint's URL cannot be used.
    #[error("endpoint {endpoint:?} cannot be used: {reason}")]
    BadEndpoint {
        /// As configured; without its user part.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// A certificate or key cannot be read.
    #[error("cannot read {}: {source}: check the path and its permissions", path.display())]
    Pem {
        /// File.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Certificates that TLS does not take.
    #[error("the certificate or key cannot be used: {reason}")]
    BadTls {
        /// Why.
        reason: String,
    },
    /// No configured endpoint has this URL.
    #[error("{endpoint} is not one of the configured endpoints ({known})")]
    UnknownEndpoint {
        /// What was asked for.
        endpoint: String,
        /// What is configured.
        known: String,
    },
    /// The login was refused.
    #[error("user {user:?} cannot log in at {endpoint}: {reason}: check the user and password")]
    Login {
        /// Endpoint.
        endpoint: String,
        /// User.
        user: String,
        /// The server's words.
        reason: String,
    },
    /// A call failed.
    #[error("{call} at {endpoint} failed: {} ({}){}", words(endpoint, status),
        code_name(status.code()), advice(status))]
    Call {
        /// Endpoint, or several.
        endpoint: String,
        /// Method.
        call: String,
        /// gRPC status.
        status: Box<Status>,
    },
}

impl ClientError {
    /// A failed call.
    pub fn call(endpoint: &str, call: &str, status: Status) -> Self {
        ClientError::Call {
            endpoint: endpoint.to_owned(),
            call: call.to_owned(),
            status: Box::new(status),
        }
    }

    /// The gRPC code, if a server or the transport gave one.
    pub fn code(&self) -> Option<Code> {
        match self {
            ClientError::Call { status, .. } => Some(status.code()),
            _ => None,
        }
    }

    /// Trying again later, or another endpoint, can help.
    pub fn is_temporary(&self) -> bool {
        let ClientError::Call { status, .. } = self else { return false };
        let by_code = matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted
        );
        // A status with a cause is the transport's: a stream that broke half way has the code
        // Unknown.
        by_code || status.source().is_some()
    }
}

/// An error with its causes, in one line, each said once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

/// A status's words, without the endpoint that stands in front already.
fn words<'a>(endpoint: &str, status: &'a Status) -> &'a str {
    let text = status.message();
    text.strip_prefix(endpoint).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(text)
}

fn code_name(code: Code) -> String {
    format!("{code:?}")
}

/// What to do next, by what the servers say (the texts are etcd's wire contract).
fn advice(status: &Status) -> &'static str {
    let text = status.message();
    if text.contains("no leader") || text.contains("leader changed") {
        return ": the cluster has no quorum at the moment; try again, or look at the other members";
    }
    if text.contains("database space exceeded") {
        return ": compact, defragment, then disarm the NOSPACE alarm";
    }
    if text.contains("not supported for learner") {
        return ": this member is a learner; ask a voter";
    }
    if text.contains("required revision has been compacted") {
        return ": ask for a newer revision";
    }
    if text.contains("handshake eof") || text.contains("InvalidContentType") {
        return ": the member may not speak TLS: is its URL http:// instead of https://?";
    }
    if text.contains("http2 error") || text.contains("connection closed before") {
        return ": the member may speak TLS: is its URL https:// instead of http://?";
    }
    if text.contains("UnknownIssuer") || text.contains("certificate") {
        return ": check the CA, the client certificate and the server name";
    }
    match status.code() {
        Code::Unavailable => ": check that the member runs and that the address is right",
        Code::DeadlineExceeded => ": the member is slow or cut off; try again or raise the timeout",
        Code::PermissionDenied => ": the user needs the role root for this",
        Code::Unauthenticated => ": authentication is on; give a user and password",
        Code::Unimplemented => ": the server is too old for this",
        Code::DataLoss => ": the member's data are damaged; do not back it up, ask the others",
        Code::OutOfRange | Code::ResourceExhausted => ": see the limits of server and client",
        Code::InvalidArgument if text.contains("user name is empty") => {
            ": authentication is on; give a user and password"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_where_and_what_next() {
        let status = Status::unavailable("etcdserver: no leader");
        let error = ClientError::call("https://cp1:2379", "Range", status);
        let text = error.to_string();
        for part in ["Range", "https://cp1:2379", "no leader", "Unavailable", "quorum"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(error.is_temporary());
        let twice = Status::unavailable("https://cp1:2379: tls handshake eof");
        let text = ClientError::call("https://cp1:2379", "Status", twice).to_string();
        assert_eq!(text.matches("cp1").count(), 1, "{text}");
        assert!(text.contains("http:// instead of https://"), "{text}");
        let refused = ClientError::call("x", "Put", Status::permission_denied("no"));
        assert!(!refused.is_temporary());
    }
}
