//! Who asks: by token, by certificate, or nobody.
//!
//! Must hold: a token that is not known is refused, never taken for nobody; tokens are never
//! printed.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use holdfast_core::auth::token::SimpleTokens;
use holdfast_core::auth::{Identity, LoggedOut};
use http::HeaderMap;
use tonic::Status;

use super::locks::read;
use super::machine::{Shared, status};
use crate::grpc::metadata::{self, Peer};

/// Tokens that are valid now.
#[derive(Debug)]
pub(crate) struct Identities {
    tokens: Mutex<SimpleTokens>,
}

impl Identities {
    /// Simple tokens that live for `ttl` after their last use.
    pub(crate) fn new(ttl: Duration) -> Identities {
        Identities { tokens: Mutex::new(SimpleTokens::new(ttl)) }
    }

    /// Who sent a request with these headers over this connection; nobody while authentication is
    /// off or where nothing is said.
    pub(crate) fn of(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        shared: &Shared,
        now: Duration,
    ) -> Result<Identity, Status> {
        let auth = read(&shared.auth);
        if !auth.is_enabled() {
            return Ok(Identity::default());
        }
        if let Some(token) = metadata::token(headers) {
            let mut tokens = self.lock();
            let user = tokens.user_of(token, now).map_err(status)?;
            return Ok(auth.token_identity(user));
        }
        let named = peer.and_then(|peer| metadata::certificate_user(headers, peer));
        Ok(named.map_or_else(Identity::default, |name| auth.certificate_identity(name)))
    }

    /// The member that applies logins hands the tokens out.
    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, SimpleTokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tokens end with an entry.
    pub(crate) fn log_out(&self, whom: &LoggedOut) {
        self.lock().log_out(whom);
    }
}
