//! Kubernetes' limits on what a plugin may answer, checked before anything is kept or used.

use holdfast_vault::keys::{Encrypted, ServiceError, ServiceStatus};

/// Longest ciphertext and longest key id, in bytes.
const SHORT_BYTES: usize = 1024;
/// All annotation names and values together, in bytes.
const ANNOTATION_BYTES: usize = 32 << 10;
/// Versions of the protocol that are one on the wire.
const VERSIONS: [&str; 2] = ["v2", "v2beta1"];

/// A status that a kube-apiserver would take. Being unwell is not a breach.
pub(crate) fn check_status(status: &ServiceStatus) -> Result<(), ServiceError> {
    if !VERSIONS.contains(&status.version.as_str()) {
        return breach(format!("it speaks version {:?}, we speak v2", shorten(&status.version)));
    }
    check_key_id(&status.key_id)
}

/// An encryption that a kube-apiserver would store.
pub(crate) fn check_encrypted(answer: &Encrypted) -> Result<(), ServiceError> {
    check_key_id(&answer.key_id)?;
    let length = answer.ciphertext.len();
    if length == 0 || length > SHORT_BYTES {
        return breach(format!(
            "its ciphertext has {length} bytes, 1 to {SHORT_BYTES} are allowed"
        ));
    }
    let mut total = 0;
    for (name, value) in &answer.annotations {
        if !is_domain_name(name) {
            return breach(format!("annotation {:?} is not a full domain name", shorten(name)));
        }
        total += name.len() + value.len();
    }
    if total > ANNOTATION_BYTES {
        return breach(format!(
            "its annotations have {total} bytes, at most {ANNOTATION_BYTES} are allowed"
        ));
    }
    Ok(())
}

fn check_key_id(key_id: &str) -> Result<(), ServiceError> {
    let length = key_id.len();
    if length == 0 || length > SHORT_BYTES {
        return breach(format!("its key id has {length} bytes, 1 to {SHORT_BYTES} are allowed"));
    }
    Ok(())
}

fn breach(detail: String) -> Result<(), ServiceError> {
    Err(ServiceError::Protocol { detail })
}

/// At least two labels of lower-case letters, digits and inner hyphens, 253 bytes in all.
fn is_domain_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(label_is_good)
}

/// The beginning of a text of unknown length, for a message.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 200;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn answer() -> Encrypted {
        Encrypted {
            ciphertext: vec![1; SHORT_BYTES],
            key_id: "k".repeat(SHORT_BYTES),
            annotations: BTreeMap::from([("a.example.com".to_owned(), vec![0; 100])]),
        }
    }

    #[test]
    fn the_limits_are_inclusive_and_one_more_is_a_breach() {
        assert_eq!(check_encrypted(&answer()), Ok(()));
        type Change = fn(&mut Encrypted);
        let changes: [(Change, &str); 6] = [
            (|a| a.ciphertext.push(0), "ciphertext"),
            (|a| a.ciphertext.clear(), "ciphertext"),
            (|a| a.key_id.push('k'), "key id"),
            (|a| a.key_id.clear(), "key id"),
            (|a| drop(a.annotations.insert("b.example.com".into(), vec![0; 32 << 10])), "32768"),
            (|a| drop(a.annotations.insert("plain".into(), vec![])), "domain name"),
        ];
        for (change, word) in changes {
            let mut changed = answer();
            change(&mut changed);
            let error = check_encrypted(&changed).unwrap_err();
            assert!(matches!(error, ServiceError::Protocol { .. }), "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn other_versions_are_a_breach_and_illness_is_not() {
        let status = |version: &str| ServiceStatus {
            version: version.to_owned(),
            healthz: "unwell".to_owned(),
            key_id: "k".to_owned(),
        };
        assert_eq!(check_status(&status("v2")), Ok(()));
        assert_eq!(check_status(&status("v2beta1")), Ok(()));
        assert!(check_status(&status("v1beta1")).is_err());
        assert!(check_status(&status("")).is_err());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shorten("short"), "short");
        assert_eq!(shorten(&"ß".repeat(500)).chars().count(), 201);
    }
}
