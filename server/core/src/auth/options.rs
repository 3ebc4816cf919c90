//! What `--auth-token` says: `simple`, or `jwt,sign-method=RS256,pub-key=…,priv-key=…,ttl=10m`.

use std::time::Duration;

use super::jwt::Method;
use crate::duration::GoDuration;

/// Options of signed tokens.
const KNOWN: [&str; 4] = ["sign-method", "pub-key", "priv-key", "ttl"];

/// How members know their users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenOptions {
    /// Tokens in memory.
    Simple,
    /// Signed tokens.
    Jwt(JwtOptions),
    /// Neither: only client certificates. Logins fail.
    Off,
}

/// How tokens are signed. Files are read by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtOptions {
    /// Signature.
    pub method: Method,
    /// Path of the public key, in PEM.
    pub public_key: Option<String>,
    /// Path of the private key, in PEM; for HS* the secret itself, whatever it holds.
    pub private_key: Option<String>,
    /// How long a token lives.
    pub ttl: Duration,
    /// Options that nobody knows: to be warned of.
    pub unknown: Vec<String>,
}

/// Options that are none. The text is upstream's, and names the part that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "auth: invalid auth options: {reason}; --auth-token takes simple or jwt,sign-method=…,priv-key=…"
)]
pub struct OptionsError {
    /// What is wrong.
    pub reason: String,
}

impl TokenOptions {
    /// Reads the flag's value.
    ///
    /// # Errors
    /// Another kind of token, an option twice or without a value, no or an unknown sign method, a
    /// time that is none.
    pub fn parse(text: &str) -> Result<Self, OptionsError> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut options: Vec<(&str, &str)> = Vec::new();
        for part in parts {
            let pair = part.split_once('=').filter(|(_, value)| !value.contains('='));
            let (name, value) = pair.ok_or_else(|| wrong(format!("{part:?} is no name=value")))?;
            if options.iter().any(|(other, _)| *other == name) {
                return Err(wrong(format!("{name} is given twice")));
            }
            options.push((name, value));
        }
        match kind {
            "simple" => Ok(TokenOptions::Simple),
            "jwt" => JwtOptions::from_pairs(&options).map(TokenOptions::Jwt),
            "" => Ok(TokenOptions::Off),
            other => Err(wrong(format!("{other:?} is no kind of token"))),
        }
    }
}

impl JwtOptions {
    fn from_pairs(options: &[(&str, &str)]) -> Result<Self, OptionsError> {
        let get = |wanted: &str| {
            let found = options.iter().find(|(name, value)| *name == wanted && !value.is_empty());
            found.map(|(_, value)| *value)
        };
        let method = get("sign-method").unwrap_or_default();
        let method =
            Method::parse(method).ok_or_else(|| wrong(format!("{method:?} is no sign-method")))?;
        let ttl = match get("ttl") {
            None => super::token::DEFAULT_TTL,
            Some(text) => GoDuration::parse_span(text)
                .map_err(|_| wrong(format!("ttl {text:?} is no time such as 10m or 1h30m")))?,
        };
        let unknown = options.iter().filter(|(name, _)| !KNOWN.contains(name));
        Ok(JwtOptions {
            method,
            public_key: get("pub-key").map(str::to_owned),
            private_key: get("priv-key").map(str::to_owned),
            ttl,
            unknown: unknown.map(|(name, _)| (*name).to_owned()).collect(),
        })
    }
}

fn wrong(reason: String) -> OptionsError {
    OptionsError { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_flag_says() {
        assert_eq!(TokenOptions::parse("simple"), Ok(TokenOptions::Simple));
        assert_eq!(TokenOptions::parse("simple,a=b"), Ok(TokenOptions::Simple));
        assert_eq!(TokenOptions::parse(""), Ok(TokenOptions::Off));
        let text = "jwt,pub-key=a.pem,priv-key=b.pem,sign-method=ES512,ttl=1h30m,x=y";
        let TokenOptions::Jwt(jwt) = TokenOptions::parse(text).unwrap() else { panic!() };
        assert_eq!((jwt.method.name(), jwt.ttl), ("ES512", Duration::from_secs(5400)));
        assert_eq!(jwt.public_key.as_deref(), Some("a.pem"));
        assert_eq!((jwt.private_key.as_deref(), jwt.unknown), (Some("b.pem"), vec!["x".into()]));
        let TokenOptions::Jwt(jwt) = TokenOptions::parse("jwt,sign-method=HS256").unwrap() else {
            panic!()
        };
        assert_eq!((jwt.ttl, jwt.private_key), (Duration::from_secs(300), None));
        for bad in [
            "jwt",
            "jwt,sign-method=none",
            "jwt,sign-method=rs256",
            "jwt,sign-method=RS256,ttl=5",
            "jwt,sign-method=RS256,sign-method=RS256",
            "jwt,sign-method=RS256,priv-key",
            "jwt,sign-method=RS256,priv-key=a=b",
            "opaque",
            "simple,",
        ] {
            let error = TokenOptions::parse(bad).unwrap_err().to_string();
            assert!(error.starts_with("auth: invalid auth options"), "{bad}: {error}");
        }
    }
}
