//! Who asks: by token, by certificate, or nobody.
//!
//! Must hold: a token that is not known is refused, never taken for nobody; tokens are never
//! printed; a kind of token that is asked for and cannot be given ends the start.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_core::auth::jwt::Jwt;
use holdfast_core::auth::options::TokenOptions;
use holdfast_core::auth::token::SimpleTokens;
use holdfast_core::auth::{AuthError, Identity, LoggedOut};
use http::HeaderMap;
use tonic::Status;
use zeroize::Zeroizing;

use super::locks::read;
use super::machine::{Shared, status};
use crate::grpc::metadata::{self, Peer};

/// Tokens of the kind that `--auth-token` says.
pub(crate) struct Identities {
    kind: Kind,
}

enum Kind {
    Simple(Mutex<SimpleTokens>),
    Signed(Box<Jwt>),
    Off,
}

impl Identities {
    /// As `--auth-token` says; simple tokens live for `ttl` after their last use.
    ///
    /// # Errors
    /// Options that cannot be, keys that cannot be read; for the log.
    pub(crate) fn new(options: &str, ttl: Duration) -> Result<Identities, String> {
        let kind = match TokenOptions::parse(options).map_err(|error| error.to_string())? {
            TokenOptions::Simple => Kind::Simple(Mutex::new(SimpleTokens::new(ttl))),
            TokenOptions::Off => Kind::Off,
            TokenOptions::Jwt(options) => {
                let key = |path: &Option<String>| {
                    let read = path.as_ref().map(|path| {
                        let bytes = std::fs::read(path).map(Zeroizing::new);
                        bytes.map_err(|error| format!("--auth-token: cannot read {path}: {error}"))
                    });
                    read.transpose()
                };
                let (public, private) = (key(&options.public_key)?, key(&options.private_key)?);
                let jwt = Jwt::new(
                    options.method,
                    options.ttl,
                    public.as_ref().map(|bytes| bytes.as_slice()),
                    private.as_ref().map(|bytes| bytes.as_slice()),
                );
                Kind::Signed(Box::new(jwt.map_err(|error| format!("--auth-token: {error}"))?))
            }
        };
        Ok(Identities { kind })
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
            let known = match &self.kind {
                Kind::Simple(tokens) => {
                    locked(tokens).user_of(token, now).map(|user| auth.token_identity(user))
                }
                Kind::Signed(jwt) => jwt.verify(token, unix_seconds()),
                Kind::Off => Err(AuthError::InvalidToken),
            };
            return known.map_err(status);
        }
        let named = peer.and_then(|peer| metadata::certificate_user(headers, peer));
        Ok(named.map_or_else(Identity::default, |name| auth.certificate_identity(name)))
    }

    /// The token of a login that the entry at `index` made.
    pub(crate) fn log_in(
        &self,
        prefix: &str,
        index: u64,
        who: &Identity,
        now: Duration,
    ) -> Result<Zeroizing<String>, AuthError> {
        match &self.kind {
            Kind::Simple(tokens) => Ok(locked(tokens).assign(prefix, index, &who.user, now)),
            Kind::Signed(jwt) => jwt.sign(who, unix_seconds()),
            Kind::Off => Err(AuthError::AuthFailed),
        }
    }

    /// Tokens end with an entry.
    pub(crate) fn log_out(&self, whom: &LoggedOut) {
        if let Kind::Simple(tokens) = &self.kind {
            locked(tokens).log_out(whom);
        }
    }

    /// Forgets tokens whose time is over.
    pub(crate) fn sweep(&self, now: Duration) {
        if let Kind::Simple(tokens) = &self.kind {
            locked(tokens).sweep(now);
        }
    }
}

fn locked(tokens: &Mutex<SimpleTokens>) -> MutexGuard<'_, SimpleTokens> {
    tokens.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Signed tokens speak of the world's clock.
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
