//! The keys of one lease: none and one are by far the most frequent, and take no set.

use std::collections::BTreeSet;
use std::sync::Arc;

/// A set of keys, in order.
#[expect(clippy::box_collection, reason = "a lease without a set should not pay for one")]
#[derive(Debug, Clone, Default)]
pub(super) enum KeySet {
    #[default]
    None,
    One(Arc<[u8]>),
    Many(Box<BTreeSet<Arc<[u8]>>>),
}

impl KeySet {
    pub(super) fn insert(&mut self, key: Arc<[u8]>) {
        *self = match std::mem::take(self) {
            KeySet::None => KeySet::One(key),
            KeySet::One(first) if first == key => KeySet::One(first),
            KeySet::One(first) => KeySet::Many(Box::new(BTreeSet::from([first, key]))),
            KeySet::Many(mut set) => {
                set.insert(key);
                KeySet::Many(set)
            }
        };
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        *self = match std::mem::take(self) {
            KeySet::One(first) if *first == *key => KeySet::None,
            KeySet::Many(mut set) => {
                set.remove(key);
                if set.is_empty() { KeySet::None } else { KeySet::Many(set) }
            }
            other => other,
        };
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let (one, many) = match self {
            KeySet::None => (None, None),
            KeySet::One(key) => (Some(key), None),
            KeySet::Many(set) => (None, Some(set.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten()).map(|key| &**key)
    }

    pub(super) fn into_sorted(self) -> Vec<Arc<[u8]>> {
        match self {
            KeySet::None => Vec::new(),
            KeySet::One(key) => vec![key],
            KeySet::Many(set) => set.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_small() {
        assert!(size_of::<KeySet>() <= 24);
        assert!(size_of::<super::super::Lease>() <= 48);
    }
}
