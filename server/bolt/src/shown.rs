//! Keys in messages.

/// A key for a message: escaped, at most 64 bytes of it.
pub(crate) fn shown(key: &[u8]) -> String {
    let start = &key[..key.len().min(64)];
    let dots = if start.len() < key.len() { "…" } else { "" };
    format!("{}{dots}", start.escape_ascii())
}
