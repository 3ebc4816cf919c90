//! Any list of keys, in any order: the one that a wrap names opens it, or none does.

use super::*;
use proptest::prelude::*;

type Plain = (u8, String, Option<u8>);

fn key((kind, name, mark): &Plain) -> Key<'_, u8, u8> {
    Key { kind: *kind, name, mark: *mark }
}

/// Few kinds, names and marks, so that they meet.
fn plain() -> impl Strategy<Value = Plain> {
    (0u8..3, "[ab]?", proptest::option::weighted(0.8, 0u8..3))
}

/// What a wrap names always has a mark.
fn wanted() -> impl Strategy<Value = Plain> {
    (0u8..3, "[ab]?", (0u8..3).prop_map(Some))
}

proptest! {
    #[test]
    fn only_the_key_that_a_wrap_names_opens_it(
        list in proptest::collection::vec(plain(), 0..8),
        wrap in wanted(),
    ) {
        let keys: Vec<_> = list.iter().map(key).collect();
        let opens = |other: &Plain| {
            other.0 == wrap.0 && other.1 == wrap.1 && (other.2.is_none() || other.2 == wrap.2)
        };
        match opener(&key(&wrap), &keys) {
            Opener::Place(place) => {
                prop_assert!(opens(&list[place]));
                prop_assert!(!list[..place].iter().any(opens), "the first of them");
            }
            Opener::OtherKey(place) => {
                prop_assert!(!list.iter().any(opens));
                prop_assert_eq!((list[place].0, &list[place].1), (wrap.0, &wrap.1));
            }
            Opener::NotConfigured => {
                prop_assert!(!list.iter().any(|one| one.0 == wrap.0 && one.1 == wrap.1));
            }
        }
    }

    /// A migration moves keys about: what opened still opens, by the same key.
    #[test]
    fn neither_order_nor_more_keys_change_which_key_opens(
        list in proptest::collection::vec(plain(), 1..8).prop_shuffle(),
        more in proptest::collection::vec(plain(), 0..4),
        wrap in wanted(),
        turn in 0usize..8,
    ) {
        let keys: Vec<_> = list.iter().map(key).collect();
        let mut other = list.clone();
        other.rotate_left(turn % list.len());
        other.extend(more.iter().filter(|one| (one.0, &one.1) != (wrap.0, &wrap.1)).cloned());
        let others: Vec<_> = other.iter().map(key).collect();
        let named = |opener: Opener, list: &[Plain]| match opener {
            Opener::Place(place) => Some(list[place].clone()),
            _ => None,
        };
        let before = named(opener(&key(&wrap), &keys), &list);
        let after = named(opener(&key(&wrap), &others), &other);
        prop_assert_eq!(before.is_some(), after.is_some());
        if let (Some(before), Some(after)) = (before, after) {
            prop_assert_eq!((before.0, before.1), (after.0, after.1));
        }
    }

    /// Another key of the same name, or of another provider, opens nothing, in whatever place.
    #[test]
    fn a_wrap_is_never_tried_with_a_key_it_does_not_name(
        list in proptest::collection::vec(plain(), 0..8),
        wrap in wanted(),
    ) {
        let strangers: Vec<_> = list
            .iter()
            .filter(|one| one.2.is_some() && **one != wrap)
            .map(key)
            .collect();
        prop_assert!(!matches!(opener(&key(&wrap), &strangers), Opener::Place(_)));
    }

    #[test]
    fn current_is_what_the_first_key_would_make(first in wanted(), wrap in wanted()) {
        prop_assert_eq!(is_current(&key(&wrap), &key(&first)), wrap == first);
    }
}

#[test]
fn seeds_in_clear_need_both_consents() {
    for (vault_unsealed, sealing_none) in [(false, false), (true, false), (false, true)] {
        assert!(!Consents { vault_unsealed, sealing_none }.allow_clear());
    }
    assert!(Consents { vault_unsealed: true, sealing_none: true }.allow_clear());
}
