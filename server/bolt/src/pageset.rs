//! Sets of page numbers, one bit each.
//!
//! What must hold: memory is an eighth of a byte per page of the file, whatever is asked; numbers
//! beyond the set are never in it.

/// A set of the numbers of pages below a limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageSet {
    words: Vec<u64>,
    len: u64,
}

impl PageSet {
    /// An empty set of numbers below `pages`; the file has that many pages, so the memory is a
    /// small part of its size.
    pub(crate) fn new(pages: u64) -> PageSet {
        let mut set = PageSet::default();
        set.grow(pages);
        set
    }

    /// Makes room for numbers below `pages`.
    pub(crate) fn grow(&mut self, pages: u64) {
        let (words, _) = place(pages);
        if self.words.len() <= words {
            self.words.resize(words + 1, 0);
        }
    }

    /// Adds a page; whether it was not in the set. What is beyond the set is not added.
    pub(crate) fn insert(&mut self, page: u64) -> bool {
        let (word, bit) = place(page);
        let Some(word) = self.words.get_mut(word) else { return false };
        let new = *word & bit == 0;
        *word |= bit;
        self.len += u64::from(new);
        new
    }

    /// Takes a page out; whether it was in the set.
    pub(crate) fn remove(&mut self, page: u64) -> bool {
        let (word, bit) = place(page);
        let Some(word) = self.words.get_mut(word) else { return false };
        let was = *word & bit != 0;
        *word &= !bit;
        self.len -= u64::from(was);
        was
    }

    pub(crate) fn contains(&self, page: u64) -> bool {
        let (word, bit) = place(page);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The runs of numbers in `from..to` that are not in the set: first page and length.
    pub(crate) fn gaps(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut at = from;
        std::iter::from_fn(move || {
            at = self.next(at, to, false);
            let start = at;
            at = self.next(at, to, true);
            (start < at).then_some((start, at - start))
        })
    }

    /// The first number from `at` on that is in the set (or is not), at most `end`.
    fn next(&self, mut at: u64, end: u64, inside: bool) -> u64 {
        let skipped = if inside { 0 } else { u64::MAX };
        while at < end && self.contains(at) != inside {
            let (word, _) = place(at);
            let whole = at.is_multiple_of(64) && self.words.get(word) == Some(&skipped);
            at += if whole { 64 } else { 1 };
        }
        at.min(end)
    }
}

fn place(page: u64) -> (usize, u64) {
    // A page number fits usize on the 64-bit hosts that layout.rs asks for.
    (usize::try_from(page / 64).unwrap_or(usize::MAX), 1 << (page % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_not_in_the_set() {
        let mut set = PageSet::new(300);
        let inside = |page: u64| page < 3 || (64..192).contains(&page) || page == 250;
        for page in (0..300).filter(|page| inside(*page)) {
            assert!(set.insert(page) && !set.insert(page));
        }
        assert_eq!(set.gaps(2, 300).collect::<Vec<_>>(), [(3, 61), (192, 58), (251, 49)]);
        assert!(set.remove(250) && !set.remove(250));
        assert_eq!(set.gaps(2, 300).last(), Some((192, 108)));
        assert_eq!(set.len(), 3 + 128);
        assert!(!set.insert(1 << 60) && !set.contains(1 << 60), "beyond the set");
    }
}
