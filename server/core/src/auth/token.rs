//! Simple tokens: `<16 letters>.<index of the login's entry>`.
//!
//! They live in each member's memory only and end five minutes after their last use. A member that
//! is shown one waits until it has applied that index: then it knows the token, or nobody does.
//!
//! What must hold: the tokens themselves are not kept, only their digests; none outlives its time,
//! its user's password, or authentication being on.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{AuthError, LoggedOut};

/// How long an unused token lives without `--auth-token-ttl`.
pub const DEFAULT_TTL: Duration = Duration::from_secs(300);
/// The metadata in which clients send a token; the second is looked at if the first is not there.
pub const METADATA: [&str; 2] = ["token", "authorization"];
/// Letters before the point (auth/simple_token.go).
const PREFIX_LEN: usize = 16;
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// Most tokens at once: above it the one that ends first ends now. Each costs its owner a bcrypt
/// hash, so that no more than some thousands can be made in their lifetime.
const MAX_TOKENS: usize = 1 << 20;

/// A token's digest.
type Fingerprint = [u8; 32];

/// The simple tokens that a member knows.
#[derive(Debug, Clone)]
pub struct SimpleTokens {
    ttl: Duration,
    tokens: HashMap<Fingerprint, Token>,
}

#[derive(Debug, Clone)]
struct Token {
    user: String,
    /// Valid up to then, since the member's start.
    until: Duration,
}

/// The token in a metadata value: clients may put `Bearer ` before it.
pub fn bearer(value: &str) -> &str {
    value.strip_prefix("Bearer ").unwrap_or(value)
}

/// The secret part of a token, from random bits; it travels in the login's entry.
pub fn prefix(random: u128) -> Zeroizing<String> {
    let mut rest = random;
    let mut out = Zeroizing::new(String::with_capacity(PREFIX_LEN));
    for _ in 0..PREFIX_LEN {
        let digit = usize::try_from(rest % LETTERS.len() as u128).unwrap_or(0);
        out.push(char::from(LETTERS[digit]));
        rest /= LETTERS.len() as u128;
    }
    out
}

/// The index that must be applied before a token is looked up; `None` if it is no simple token.
pub fn index_of(token: &str) -> Option<u64> {
    let (_, index) = token.split_once('.')?;
    let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { index.parse().ok() } else { None }
}

impl SimpleTokens {
    /// None yet. A TTL of zero is the default.
    pub fn new(ttl: Duration) -> Self {
        let ttl = if ttl.is_zero() { DEFAULT_TTL } else { ttl };
        SimpleTokens { ttl, tokens: HashMap::new() }
    }

    /// Keeps the token of a login that was applied; gives it for the answer.
    pub fn assign(
        &mut self,
        prefix: &str,
        index: u64,
        user: &str,
        now: Duration,
    ) -> Zeroizing<String> {
        let token = Zeroizing::new(format!("{prefix}.{index}"));
        if self.tokens.len() >= MAX_TOKENS {
            self.make_room(now);
        }
        let until = now.saturating_add(self.ttl);
        self.tokens.insert(fingerprint(&token), Token { user: user.to_owned(), until });
        token
    }

    /// Whose token it is; its time begins anew. To be asked when [`index_of`] it is applied.
    ///
    /// # Errors
    /// Nobody's, or its time is over.
    pub fn user_of(&mut self, token: &str, now: Duration) -> Result<&str, AuthError> {
        let known = self.tokens.get_mut(&fingerprint(token)).ok_or(AuthError::InvalidToken)?;
        if known.until < now {
            return Err(AuthError::InvalidToken);
        }
        known.until = now.saturating_add(self.ttl);
        Ok(&known.user)
    }

    /// Ends the tokens that an entry ends.
    pub fn log_out(&mut self, whom: &LoggedOut) {
        match whom {
            LoggedOut::Nobody => {}
            LoggedOut::User(name) => self.tokens.retain(|_, token| token.user != *name),
            LoggedOut::Everybody => self.tokens.clear(),
        }
    }

    /// Forgets tokens whose time is over: once a second.
    pub fn sweep(&mut self, now: Duration) {
        self.tokens.retain(|_, token| token.until >= now);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    fn make_room(&mut self, now: Duration) {
        self.sweep(now);
        if self.tokens.len() < MAX_TOKENS {
            return;
        }
        let first = self.tokens.iter().min_by_key(|(_, token)| token.until);
        if let Some(first) = first.map(|(fingerprint, _)| *fingerprint) {
            self.tokens.remove(&first);
        }
    }
}

fn fingerprint(token: &str) -> Fingerprint {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_lives_five_minutes_after_its_last_use() {
        let mut tokens = SimpleTokens::new(Duration::ZERO);
        let token = tokens.assign(&prefix(7), 42, "alice", at(0));
        assert_eq!(index_of(&token), Some(42));
        assert_eq!(tokens.user_of(&token, at(300)), Ok("alice"));
        assert_eq!(tokens.user_of(&token, at(600)), Ok("alice"), "each use extends it");
        assert_eq!(tokens.user_of(&token, at(901)), Err(AuthError::InvalidToken));
        tokens.sweep(at(900));
        assert_eq!(tokens.len(), 1);
        tokens.sweep(at(901));
        assert!(tokens.is_empty());
        assert_eq!(tokens.user_of("nobody.1", at(0)), Err(AuthError::InvalidToken));
    }

    #[test]
    fn tokens_end_with_their_user_or_with_authentication() {
        let mut tokens = SimpleTokens::new(at(10));
        let all = [("a", 1), ("a", 2), ("b", 3)]
            .map(|(user, index)| tokens.assign(&prefix(u128::from(index)), index, user, at(0)));
        tokens.log_out(&LoggedOut::Nobody);
        assert_eq!(tokens.len(), 3);
        tokens.log_out(&LoggedOut::User("a".into()));
        assert!(tokens.user_of(&all[0], at(1)).is_err() && tokens.user_of(&all[1], at(1)).is_err());
        assert_eq!(tokens.user_of(&all[2], at(1)), Ok("b"));
        tokens.log_out(&LoggedOut::Everybody);
        assert!(tokens.is_empty());
    }

    #[test]
    fn prefixes_are_letters_and_indexes_are_numbers() {
        assert_eq!(prefix(0).as_str(), "aaaaaaaaaaaaaaaa");
        let two = [prefix(u128::MAX), prefix(u128::MAX - 1)];
        assert_ne!(two[0], two[1]);
        for one in two {
            assert!(one.len() == 16 && one.bytes().all(|byte| byte.is_ascii_alphabetic()));
        }
        for bad in ["", "a", "a.", ".", "a.b", "a.1.2", "a.+1", "a.-1", "a.18446744073709551616"] {
            assert_eq!(index_of(bad), None, "{bad}");
        }
        assert_eq!(index_of("a.18446744073709551615"), Some(u64::MAX));
        assert_eq!((bearer("Bearer a.1"), bearer("a.1")), ("a.1", "a.1"));
    }

    #[test]
    fn no_token_is_shown() {
        let mut tokens = SimpleTokens::new(at(10));
        let token = tokens.assign("SecretSecretSecr", 1, "a", at(0));
        assert!(!format!("{tokens:?}").contains("SecretSecretSecr"));
        assert_eq!(token.as_str(), "SecretSecretSecr.1");
    }
}
