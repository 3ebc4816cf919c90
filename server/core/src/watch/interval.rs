//! An index of intervals of keys: which of them hold a key.
//!
//! Blocks of up to [`MOST_IN_BLOCK`] intervals in order of their starts, each with the furthest of
//! their ends. A look-up passes over whole blocks that end before the key; so ten thousand disjoint
//! intervals cost some hundred comparisons, and memory is that of the intervals, however they
//! overlap.

use super::ids::Ids;

const MOST_IN_BLOCK: usize = 128;

/// An exclusive end. The order of the variants is that of the ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    At(Box<[u8]>),
    Never,
}

#[derive(Debug)]
struct Interval {
    start: Box<[u8]>,
    end: End,
    ids: Ids,
}

#[derive(Debug)]
struct Block {
    /// By start, then end; never empty.
    intervals: Vec<Interval>,
    furthest: End,
}

/// Intervals, each with ids.
#[derive(Debug, Default)]
pub(super) struct Intervals {
    /// By the first interval.
    blocks: Vec<Block>,
}

impl End {
    fn is_after(&self, key: &[u8]) -> bool {
        match self {
            End::At(end) => key < &**end,
            End::Never => true,
        }
    }
}

impl Intervals {
    pub(super) fn insert(&mut self, start: &[u8], end: &End, id: u64) {
        if self.blocks.is_empty() {
            let first = Interval { start: start.into(), end: end.clone(), ids: Ids::One(id) };
            self.blocks.push(Block { intervals: vec![first], furthest: end.clone() });
            return;
        }
        let at = self.block_of(start, end);
        let block = &mut self.blocks[at];
        match block.find(start, end) {
            Ok(found) => {
                block.intervals[found].ids.insert(id);
            }
            Err(place) => {
                let new = Interval { start: start.into(), end: end.clone(), ids: Ids::One(id) };
                block.intervals.insert(place, new);
                if *end > block.furthest {
                    block.furthest = end.clone();
                }
                self.split(at);
            }
        }
    }

    pub(super) fn remove(&mut self, start: &[u8], end: &End, id: u64) {
        if self.blocks.is_empty() {
            return;
        }
        let at = self.block_of(start, end);
        let block = &mut self.blocks[at];
        let Ok(found) = block.find(start, end) else { return };
        if !block.intervals[found].ids.remove(id) {
            return;
        }
        block.intervals.remove(found);
        if block.intervals.is_empty() {
            self.blocks.remove(at);
        } else {
            block.measure();
        }
    }

    /// Gives the ids of all intervals that hold the key.
    pub(super) fn stab(&self, key: &[u8], mut found: impl FnMut(u64)) {
        for block in &self.blocks {
            if block.intervals.first().is_none_or(|first| *first.start > *key) {
                break;
            }
            if !block.furthest.is_after(key) {
                continue;
            }
            let starting = block.intervals.iter().take_while(|interval| *interval.start <= *key);
            for interval in starting.filter(|interval| interval.end.is_after(key)) {
                interval.ids.each(&mut found);
            }
        }
    }

    /// The last block that begins at or before an interval, or the first.
    fn block_of(&self, start: &[u8], end: &End) -> usize {
        let begins = |block: &Block| {
            let first = block.intervals.first();
            first.is_some_and(|first| (&*first.start, &first.end) <= (start, end))
        };
        self.blocks.partition_point(begins).saturating_sub(1)
    }

    fn split(&mut self, at: usize) {
        let block = &mut self.blocks[at];
        if block.intervals.len() <= MOST_IN_BLOCK {
            return;
        }
        let upper = block.intervals.split_off(MOST_IN_BLOCK / 2);
        block.measure();
        let mut upper = Block { intervals: upper, furthest: End::Never };
        upper.measure();
        self.blocks.insert(at + 1, upper);
    }
}

impl Block {
    fn find(&self, start: &[u8], end: &End) -> Result<usize, usize> {
        self.intervals
            .binary_search_by(|interval| (&*interval.start, &interval.end).cmp(&(start, end)))
    }

    fn measure(&mut self) {
        if let Some(end) = self.intervals.iter().map(|interval| &interval.end).max() {
            self.furthest = end.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Spec = (Vec<u8>, Option<Vec<u8>>);

    fn end(end: Option<&Vec<u8>>) -> End {
        end.map_or(End::Never, |end| End::At(end.clone().into()))
    }

    proptest! {
        #[test]
        fn finds_what_a_list_finds(
            ops in proptest::collection::vec(
                (any::<bool>(), 0u8..60, proptest::option::weighted(0.9, 0u8..60), 0u64..40),
                0..900,
            ),
        ) {
            let mut index = Intervals::default();
            let mut model: Vec<(Spec, u64)> = Vec::new();
            for (insert, from, to, id) in ops {
                let spec = (vec![from], to.map(|to| vec![to]));
                let known = model.iter().position(|known| *known == (spec.clone(), id));
                if insert || known.is_none() {
                    index.insert(&spec.0, &end(spec.1.as_ref()), id);
                    if known.is_none() {
                        model.push((spec, id));
                    }
                } else if let Some(at) = known {
                    index.remove(&spec.0, &end(spec.1.as_ref()), id);
                    model.swap_remove(at);
                }
            }
            for key in 0u8..61 {
                let holds = |(spec, _): &&(Spec, u64)| {
                    spec.0 <= vec![key] && spec.1.as_ref().is_none_or(|to| vec![key] < *to)
                };
                let mut want: Vec<u64> = model.iter().filter(holds).map(|(_, id)| *id).collect();
                let mut got = Vec::new();
                index.stab(&[key], |id| got.push(id));
                want.sort_unstable();
                got.sort_unstable();
                prop_assert_eq!(got, want);
            }
        }
    }
}
