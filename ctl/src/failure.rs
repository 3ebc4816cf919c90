//! How a verb ends when it does not do what was asked: an exit code of upstream's and words.
//!
//! Must hold: no password or token in the words.

use tonic::{Code, Status};

/// What a refused login's message begins with; then the endpoint.
const LOGIN: &str = "login at ";

/// A verb that did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) code: u8,
    /// What is said after `Error: `; empty if all is said already.
    pub(crate) words: String,
}

impl Failure {
    fn new(code: u8, words: impl Into<String>) -> Failure {
        Failure { code, words: words.into() }
    }

    /// What was asked for failed.
    pub(crate) fn error(words: impl Into<String>) -> Failure {
        Failure::new(1, words)
    }

    /// A connection failed, or a call that upstream counts as such.
    pub(crate) fn connection(words: impl Into<String>) -> Failure {
        Failure::new(2, words)
    }

    /// What was read from standard input makes no sense.
    pub(crate) fn input(words: impl Into<String>) -> Failure {
        Failure::new(3, words)
    }

    /// A good option with a value that is not supported.
    pub(crate) fn feature(words: impl Into<String>) -> Failure {
        Failure::new(4, words)
    }

    /// It was broken off.
    pub(crate) fn interrupted(words: impl Into<String>) -> Failure {
        Failure::new(5, words)
    }

    /// The arguments make no sense.
    pub(crate) fn arguments(words: impl Into<String>) -> Failure {
        Failure::new(128, words)
    }

    /// All is said already.
    pub(crate) fn silent(code: u8) -> Failure {
        Failure::new(code, "")
    }

    /// The same with another exit code.
    pub(crate) fn with_code(self, code: u8) -> Failure {
        Failure { code, ..self }
    }

    /// The same with words around its own.
    pub(crate) fn within(self, before: &str) -> Failure {
        Failure { words: format!("{before} ({})", self.words), ..self }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        // Upstream's client logs in before its first call, and counts it as the connection's.
        let code = if status.message().starts_with(LOGIN) { 2 } else { 1 };
        Failure::new(code, words(&status))
    }
}

/// A call's error as upstream's client words it: the server's own text where it is one of etcd's.
pub(crate) fn words(status: &Status) -> String {
    let message = status.message();
    if let Some(at) = message.find("etcdserver: ") {
        // A login that is refused has its endpoint in front.
        if at == 0 || message.starts_with(LOGIN) {
            return message[at..].to_owned();
        }
    }
    match status.code() {
        Code::DeadlineExceeded => "context deadline exceeded".to_owned(),
        Code::Cancelled => "context canceled".to_owned(),
        code => format!("rpc error: code = {code:?} desc = {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_servers_or_gos() {
        let said = |code, text: &str| words(&Status::new(code, text));
        let ours = "etcdserver: permission denied";
        assert_eq!(said(Code::PermissionDenied, ours), ours);
        let login = format!("login at http://a:1: {ours}");
        assert_eq!(said(Code::InvalidArgument, &login), ours);
        assert_eq!(said(Code::DeadlineExceeded, "late"), "context deadline exceeded");
        assert_eq!(
            said(Code::Unimplemented, "no etcdserver: here"),
            "rpc error: code = Unimplemented desc = no etcdserver: here"
        );
    }
}
