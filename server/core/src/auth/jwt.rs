//! Signed tokens: `base64url(header).base64url(claims).base64url(signature)` (RFC 7515, RFC 7519).
//!
//! The claims are `username`, `revision` (the auth revision at login) and `exp`. The signatures are
//! the crypto library's; the frame around them is made here, because the time must be an argument
//! and the header must be upstream's. A token of another method than the one configured is refused,
//! whatever it says.
//!
//! A request with such a token is refused as soon as users or roles change: then the client logs in
//! again. Nothing is remembered, so a token cannot be taken back.

mod key;

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{AuthError, Identity};
pub use key::KeyError;
use key::{Signer, Verifier};

/// A longer token is not looked at.
const MAX_LEN: usize = 16 * 1024;

/// How tokens are signed (RFC 7518; RFC 8037 for `EdDSA`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the registered ones")]
pub enum Method {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 13] = [
        Method::Hs256,
        Method::Hs384,
        Method::Hs512,
        Method::Rs256,
        Method::Rs384,
        Method::Rs512,
        Method::Ps256,
        Method::Ps384,
        Method::Ps512,
        Method::Es256,
        Method::Es384,
        Method::Es512,
        Method::EdDsa,
    ];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Method::Hs256 => "HS256",
            Method::Hs384 => "HS384",
            Method::Hs512 => "HS512",
            Method::Rs256 => "RS256",
            Method::Rs384 => "RS384",
            Method::Rs512 => "RS512",
            Method::Ps256 => "PS256",
            Method::Ps384 => "PS384",
            Method::Ps512 => "PS512",
            Method::Es256 => "ES256",
            Method::Es384 => "ES384",
            Method::Es512 => "ES512",
            Method::EdDsa => "EdDSA",
        }
    }

    /// The method of a name, exactly as registered.
    pub fn parse(name: &str) -> Option<Self> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// Makes and reads signed tokens.
pub struct Jwt {
    method: Method,
    ttl: Duration,
    /// None with a public key only.
    signer: Option<Signer>,
    verifier: Verifier,
}

impl Jwt {
    /// Takes the content of the key files: PEM, or for HS* the secret as it is.
    ///
    /// # Errors
    /// No key, one that cannot be read or is of another kind than the method, or a pair that does
    /// not belong together.
    pub fn new(
        method: Method,
        ttl: Duration,
        public_key: Option<&[u8]>,
        private_key: Option<&[u8]>,
    ) -> Result<Self, KeyError> {
        let (signer, verifier) = key::load(method, public_key, private_key)?;
        Ok(Jwt { method, ttl, signer, verifier })
    }

    /// Whether only a public key is there: tokens come from elsewhere, logins fail.
    pub fn is_verify_only(&self) -> bool {
        self.signer.is_none()
    }

    /// A token for who logged in. `unix_now` is in seconds.
    ///
    /// # Errors
    /// Only a public key is there, or the key does not sign.
    pub fn sign(&self, who: &Identity, unix_now: u64) -> Result<Zeroizing<String>, AuthError> {
        let signer = self.signer.as_ref().ok_or(AuthError::VerifyOnly)?;
        let header = format!(r#"{{"alg":"{}","typ":"JWT"}}"#, self.method.name());
        let claims = serde_json::json!({
            "exp": unix_now.saturating_add(self.ttl.as_secs()),
            "revision": who.revision,
            "username": who.user,
        });
        let mut token = Zeroizing::new(format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        ));
        let signature = signer.sign(token.as_bytes()).ok_or(AuthError::Signing)?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }

    /// Whom a token speaks for, and at which auth revision it was made. `unix_now` is in seconds.
    ///
    /// # Errors
    /// It is no token, not signed by our key with our method, over, or not valid yet.
    pub fn verify(&self, token: &str, unix_now: u64) -> Result<Identity, AuthError> {
        self.claims(token, unix_now).ok_or(AuthError::InvalidToken)
    }

    fn claims(&self, token: &str, unix_now: u64) -> Option<Identity> {
        if token.len() > MAX_LEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.').filter(|(_, rest)| !rest.contains('.'))?;
        let json = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        if json(header)?.get("alg")?.as_str()? != self.method.name() {
            return None;
        }
        if !self.verifier.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?) {
            return None;
        }
        let claims = json(claims)?;
        // Compared as whole seconds, like upstream; 0 stands for none.
        let until = time_claim(&claims, "exp")?;
        let from = time_claim(&claims, "nbf")?;
        if until.is_some_and(|until| unix_now >= until) || from.is_some_and(|from| unix_now < from)
        {
            return None;
        }
        let user = claims.get("username")?.as_str()?.to_owned();
        let revision = whole(claims.get("revision")?)?;
        Some(Identity { user, revision })
    }
}

/// A claim that is a time: `None` if it is something else, `Some(None)` if it is not there.
fn time_claim(claims: &Value, name: &str) -> Option<Option<u64>> {
    match claims.get(name) {
        None => Some(None),
        Some(value) => Some(Some(whole(value)?).filter(|time| *time != 0)),
    }
}

/// A JSON number cut to a whole one; those below 0 are 0.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        // Beyond the range the cast gives the nearest.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = number as u64;
        Some(whole)
    })
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("method", &self.method)
            .field("ttl", &self.ttl)
            .field("is_verify_only", &self.is_verify_only())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
