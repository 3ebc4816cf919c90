//! Watchers of one key or interval: mostly one, which then needs no set.
//!
//! Must hold: ids are given in ascending order, each once.

use std::collections::BTreeSet;

/// See the file's header.
#[derive(Debug)]
pub(super) enum Ids {
    One(u64),
    /// Two or more.
    Many(BTreeSet<u64>),
}

impl Ids {
    pub(super) fn insert(&mut self, id: u64) {
        match self {
            Ids::One(one) if *one == id => {}
            Ids::One(one) => *self = Ids::Many([*one, id].into()),
            Ids::Many(ids) => {
                ids.insert(id);
            }
        }
    }

    /// Takes an id away; whether none is left.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        match self {
            Ids::One(one) => *one == id,
            Ids::Many(ids) => {
                ids.remove(&id);
                if let (1, Some(one)) = (ids.len(), ids.first().copied()) {
                    *self = Ids::One(one);
                }
                false
            }
        }
    }

    pub(super) fn each(&self, mut found: impl FnMut(u64)) {
        match self {
            Ids::One(one) => found(*one),
            Ids::Many(ids) => ids.iter().copied().for_each(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_set(steps in prop::collection::vec((any::<bool>(), 0_u64..5), 1..40)) {
            let (mut ids, mut set) = (Ids::One(2), BTreeSet::from([2]));
            for (adds, id) in steps {
                if adds {
                    set.insert(id);
                    ids.insert(id);
                } else {
                    set.remove(&id);
                    let is_empty = ids.remove(id);
                    prop_assert_eq!(is_empty, set.is_empty());
                    if is_empty {
                        break;
                    }
                }
                let mut given = Vec::new();
                ids.each(|id| given.push(id));
                prop_assert_eq!(given, set.iter().copied().collect::<Vec<_>>());
            }
        }
    }
}
