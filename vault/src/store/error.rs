//! What can go wrong at a store, one variant per failure that someone reacts to.
//!
//! A message never holds credentials: of an answer's body only its code and message are taken, and
//! the text is cut at 300 characters.

use std::error::Error as _;

/// Why a call to a store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No object has this name.
    #[error("{name}: not in the store")]
    NotFound {
        /// The object's name below the store's address.
        name: String,
    },
    /// A create found the name taken (or collided with another create in flight: read it back).
    #[error("{name}: exists already")]
    AlreadyExists {
        /// The object's name.
        name: String,
    },
    /// No answer, or a temporary one. Whether a write took effect is not known. Try again.
    #[error(
        "{name}: the store cannot be reached: {detail}; try again, or look at its address and network"
    )]
    Unreachable {
        /// The object's name.
        name: String,
        /// What the store or the network said.
        detail: String,
    },
    /// The disk below the store does not give back what was written: asking again changes nothing.
    #[error(
        "{name}: cannot be read: {detail}; the disk below may be failing: look at its log, and run \
         `holdfast vault check`"
    )]
    Unreadable {
        /// The object's name.
        name: String,
        /// What the system said.
        detail: String,
    },
    /// The store refuses these credentials or this call.
    #[error("{name}: the store denies access: {detail}; check the credentials and their rights")]
    Denied {
        /// The object's name.
        name: String,
        /// What the store said.
        detail: String,
    },
    /// No space or quota left.
    #[error("{name}: the store is full: {detail}; free space or raise the quota")]
    Full {
        /// The object's name.
        name: String,
        /// What the store said.
        detail: String,
    },
    /// An object is larger than the reader allows, or shorter than the range asked for.
    #[error("{name}: unexpected size: {detail}")]
    Size {
        /// The object's name.
        name: String,
        /// What was expected and found.
        detail: String,
    },
    /// The store cannot do what is needed.
    #[error("{name}: the store does not support this: {detail}")]
    Unsupported {
        /// The object's name.
        name: String,
        /// What is missing.
        detail: String,
    },
    /// The address or the environment is wrong.
    #[error("store address: {detail}")]
    Configuration {
        /// What is wrong and what is expected.
        detail: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, StoreError::Unreachable { .. })
    }

    /// Whether the object is gone, unreadable, or of another length: another try changes nothing.
    pub fn is_loss(&self) -> bool {
        use StoreError as E;
        matches!(self, E::NotFound { .. } | E::Unreadable { .. } | E::Size { .. })
    }

    /// What a loss is told as; `None`: it is none.
    pub fn loss(&self) -> Option<String> {
        match self {
            StoreError::NotFound { .. } => Some("it is missing".to_owned()),
            error => error.is_loss().then(|| error.to_string()),
        }
    }

    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, StoreError::NotFound { .. })
    }

    /// Whether the name was taken.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, StoreError::AlreadyExists { .. })
    }
}

/// Turns object_store's error about object `name` into ours.
pub(crate) fn classify(name: &str, error: &object_store::Error) -> StoreError {
    use object_store::Error as E;
    let name = name.to_owned();
    match error {
        E::NotFound { .. } => StoreError::NotFound { name },
        E::AlreadyExists { .. } => StoreError::AlreadyExists { name },
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
            StoreError::Denied { name, detail: brief(error) }
        }
        E::NotImplemented { .. } | E::NotSupported { .. } => {
            StoreError::Unsupported { name, detail: brief(error) }
        }
        E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } => {
            StoreError::Configuration { detail: brief(error) }
        }
        _ => classify_generic(name, error),
    }
}

/// The same for a call that reads an object: a bad sector is no network that comes back.
pub(crate) fn classify_read(name: &str, error: &object_store::Error) -> StoreError {
    match io_error(error) {
        Some(io) if is_bad_medium(io) => {
            StoreError::Unreadable { name: name.to_owned(), detail: brief(error) }
        }
        _ => classify(name, error),
    }
}

/// Whether the medium itself is at fault: EIO, EBADMSG, EUCLEAN, and their likes (errno.h).
pub(crate) fn is_bad_medium(error: &std::io::Error) -> bool {
    const EIO: i32 = 5;
    const EBADMSG: i32 = 74;
    const EUCLEAN: i32 = 117;
    const EREMOTEIO: i32 = 121;
    matches!(error.raw_os_error(), Some(EIO | EBADMSG | EUCLEAN | EREMOTEIO))
}

fn classify_generic(name: String, error: &object_store::Error) -> StoreError {
    let detail = brief(error);
    if let Some(kind) = io_error(error).map(std::io::Error::kind) {
        use std::io::ErrorKind as K;
        return match kind {
            K::StorageFull | K::QuotaExceeded | K::FileTooLarge => {
                StoreError::Full { name, detail }
            }
            K::PermissionDenied | K::ReadOnlyFilesystem => StoreError::Denied { name, detail },
            K::NotFound => StoreError::NotFound { name },
            _ => StoreError::Unreachable { name, detail },
        };
    }
    let text = error.to_string();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["507 ", "StorageFull", "QuotaExceeded", "EntityTooLarge"]) {
        StoreError::Full { name, detail }
    } else if has(&["InvalidRange", "416 ", "Requested range"]) {
        StoreError::Size { name, detail }
    } else if has(&["401 ", "403 ", "InvalidAccessKeyId", "SignatureDoesNotMatch"]) {
        StoreError::Denied { name, detail }
    } else if has(&["NoSuchBucket"]) {
        StoreError::Configuration { detail: format!("{detail}; create the bucket first") }
    } else if has(&["501 ", "NotImplemented"]) {
        StoreError::Unsupported { name, detail }
    } else {
        StoreError::Unreachable { name, detail }
    }
}

/// The innermost I/O error, if there is one.
fn io_error(error: &object_store::Error) -> Option<&std::io::Error> {
    let mut found = None;
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            found = Some(io);
        }
        source = inner.source();
    }
    found
}

/// The part of an error that is safe and useful to print.
fn brief(error: &object_store::Error) -> String {
    brief_text(&error.to_string())
}

/// The part of a store's answer that is safe and useful to print.
pub(super) fn brief_text(text: &str) -> String {
    let mut out = match text.find("<?xml").or_else(|| text.find("<Error")) {
        None => text.to_owned(),
        Some(start) => {
            let (head, body) = text.split_at(start);
            let code = between(body, "<Code>", "</Code>").unwrap_or("unknown code");
            let message = between(body, "<Message>", "</Message>").unwrap_or("");
            format!("{} {code} {message}", head.trim_end())
        }
    };
    if let Some((cut, _)) = out.char_indices().nth(300) {
        out.truncate(cut);
    }
    out
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let start = text.find(open)? + open.len();
    let end = text[start..].find(close)? + start;
    Some(&text[start..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn a_body_is_cut_to_code_and_message() {
        let error = generic(
            "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?><Error>\
             <Code>SignatureDoesNotMatch</Code><Message>nope</Message><AWSAccessKeyId>AKIAX</AWSAccessKeyId></Error>",
        );
        let ours = classify("a", &error);
        assert!(
            matches!(&ours, StoreError::Denied { detail, .. } if detail.contains("nope")),
            "{ours}"
        );
        assert!(!ours.to_string().contains("AKIAX"));
    }

    #[test]
    fn a_bad_sector_is_a_loss_and_not_a_network() {
        let io = |io| object_store::Error::Generic { store: "local", source: Box::new(io) };
        let error = io(std::io::Error::from_raw_os_error(5));
        let ours = classify_read("a", &error);
        assert!(ours.is_loss() && !ours.is_temporary(), "{ours}");
        assert!(classify("a", &error).is_temporary(), "a write may have taken effect");
        let reset = io(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(classify_read("a", &reset).is_temporary());
    }

    #[test]
    fn full_and_temporary_are_told_apart() {
        assert!(matches!(classify("a", &generic("507 x")), StoreError::Full { .. }));
        assert!(classify("a", &generic("503 SlowDown")).is_temporary());
        let io = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = object_store::Error::Generic { store: "local", source: Box::new(io) };
        assert!(matches!(classify("a", &error), StoreError::Full { .. }));
    }
}
