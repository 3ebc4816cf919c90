//! What a set of permissions opens: disjoint ranges of keys in order, for a search in O(log n).
//!
//! A range is [key, range end); an empty range end is the one key, a zero byte all that follow.
//! Ranges that touch are one: a request that reaches over both is allowed.
//!
//! A request for a range that holds no key (its end is at or before its key) is allowed if its
//! first key is open. Upstream's answer to such a one depends on the shape of its search tree: the
//! one known difference, and about nothing, since there is nothing to read, write or delete.

/// End of a range, exclusive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    At(Vec<u8>),
    /// Beyond every key.
    Open,
}

/// Disjoint, sorted, no two of them touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Spans {
    spans: Vec<(Vec<u8>, End)>,
}

impl Spans {
    /// Merges ranges given as (key, range end), in any order. Those that hold no key (which cannot
    /// be granted) are left out.
    pub(super) fn merge<'a>(ranges: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut all: Vec<(Vec<u8>, End)> = ranges
            .into_iter()
            .map(|(key, range_end)| (key, end_of(key, range_end)))
            .filter(|(key, end)| !key.is_empty() && !is_at_most(end, key))
            .map(|(key, end)| (key.to_vec(), end))
            .collect();
        all.sort_unstable();
        let mut spans: Vec<(Vec<u8>, End)> = Vec::with_capacity(all.len());
        for (begin, end) in all {
            match spans.last_mut() {
                Some((_, last)) if !is_less(last, &begin) => *last = end.max(last.clone()),
                _ => spans.push((begin, end)),
            }
        }
        spans.shrink_to_fit();
        Spans { spans }
    }

    /// Whether all keys of a range are open; of a range that holds none, its first key.
    pub(super) fn covers(&self, key: &[u8], range_end: &[u8]) -> bool {
        let after = self.spans.partition_point(|(begin, _)| begin.as_slice() <= key);
        let Some((_, end)) = after.checked_sub(1).and_then(|at| self.spans.get(at)) else {
            return false;
        };
        !is_at_most(end, key) && *end >= end_of(key, range_end)
    }
}

fn end_of(key: &[u8], range_end: &[u8]) -> End {
    match range_end {
        [] => End::At([key, &[0]].concat()),
        [0] => End::Open,
        _ => End::At(range_end.to_vec()),
    }
}

/// Whether an end lies at or before a key: the range does not reach the key.
fn is_at_most(end: &End, key: &[u8]) -> bool {
    matches!(end, End::At(at) if at.as_slice() <= key)
}

/// Whether an end lies before a key: a range that begins at the key does not touch.
fn is_less(end: &End, key: &[u8]) -> bool {
    matches!(end, End::At(at) if at.as_slice() < key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let spans =
            Spans::merge([(&b"b"[..], &b"c"[..]), (b"a", b"b"), (b"x", b""), (b"y", b"\0")]);
        assert_eq!(spans.spans.len(), 3);
        for (key, end, open) in [
            (&b"a"[..], &b"c"[..], true),
            (b"a", b"c\0", false),
            (b"b", b"", true),
            (b"c", b"", false),
            (b"x", b"", true),
            (b"x", b"x\0", true),
            (b"x", b"x\x01", false),
            (b"x\0", b"", false),
            (b"y", b"\0", true),
            (b"z", b"\0", true),
            (b"a", b"\0", false),
            (b"", b"", false),
            (b"b", b"a", true),
            (b"c", b"a", false),
        ] {
            assert_eq!(spans.covers(key, end), open, "{key:?} {end:?}");
        }
        let none = Spans::merge([(&b""[..], &b"\0"[..]), (b"b", b"b"), (b"b", b"a")]);
        assert_eq!(none, Spans::default(), "what cannot be granted opens nothing");
    }

    /// Short keys over bytes that are next to the ends of the order.
    fn key(longest: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(255)];
        prop::collection::vec(byte, 1..=longest)
    }

    /// All keys up to three bytes long: every end of a range of shorter ones is among them.
    fn every_key() -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = vec![Vec::new()];
        for at in 0.. {
            let Some(stem) = all.get(at).filter(|stem| stem.len() < 3).cloned() else { break };
            all.extend([0, 1, b'a', 255].map(|byte| [&stem[..], &[byte]].concat()));
        }
        all.remove(0);
        all
    }

    fn holds(range: &(Vec<u8>, Vec<u8>), key: &[u8]) -> bool {
        let (begin, end) = range;
        match end.as_slice() {
            [] => key == begin.as_slice(),
            [0] => key >= begin.as_slice(),
            end => key >= begin.as_slice() && key < end,
        }
    }

    fn range() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let end = prop_oneof![3 => key(2), 2 => Just(Vec::new()), 1 => Just(vec![0])];
        (key(2), end)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 1000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn equals_a_look_at_every_key(
            granted in prop::collection::vec(range(), 0..8),
            asked in prop::collection::vec(range(), 1..20),
        ) {
            let ranges = granted.iter().map(|(key, end)| (key.as_slice(), end.as_slice()));
            let spans = Spans::merge(ranges);
            let is_open = |key: &[u8]| granted.iter().any(|range| holds(range, key));
            let all = every_key();
            for range in asked {
                let mut wanted = all.iter().filter(|key| holds(&range, key)).peekable();
                let expected = match wanted.peek() {
                    // No key at all lies in it: the first one decides.
                    None => is_open(&range.0),
                    Some(_) => wanted.all(|key| is_open(key)),
                };
                prop_assert_eq!(spans.covers(&range.0, &range.1), expected, "{:?}", range);
            }
        }
    }
}
