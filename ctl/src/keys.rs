//! Ranges of keys as the API spells them.

/// The end of "every key from here on".
pub(crate) const OPEN_END: &[u8] = b"\0";

/// The end of the range of all keys that begin with `prefix`; open if there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    OPEN_END.to_vec()
}

/// Key and end of all keys that begin with `prefix`; an empty one means all keys.
pub(crate) fn prefix(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    if prefix.is_empty() {
        return (OPEN_END.to_vec(), OPEN_END.to_vec());
    }
    (prefix.to_vec(), prefix_end(prefix))
}

/// Key and end of all keys from `key` on.
pub(crate) fn from_key(key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let key = if key.is_empty() { OPEN_END } else { key };
    (key.to_vec(), OPEN_END.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_prefixes() {
        assert_eq!(prefix_end(b"a"), b"b");
        assert_eq!(prefix_end(b"a\xff\xff"), b"b");
        assert_eq!(prefix_end(b"\xff"), OPEN_END);
        assert_eq!(prefix(b""), (b"\0".to_vec(), b"\0".to_vec()));
        assert_eq!(from_key(b"k"), (b"k".to_vec(), b"\0".to_vec()));
    }
}
