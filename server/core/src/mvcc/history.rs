//! The history of one key: at which revisions it was put and deleted.
//!
//! A *generation* runs from a put that creates the key to the tombstone that ends it. Of most keys
//! there is one record, so that stands inline and costs no allocation; older records go into a
//! vector of 16 bytes each. What must hold: revisions ascend; the first one may be a tombstone only
//! if all before it was compacted.

use crate::revision::Revision;

const TOMBSTONE: u32 = 1 << 31;

/// Most records of one transaction: the sub revision has 31 bits here.
pub(crate) const MAX_SUB: i64 = (TOMBSTONE - 1) as i64;

/// A record of a key: its revision and whether it is a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    main: i64,
    sub_and_mark: u32,
}

/// All records of one key that are not compacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct History {
    newest: Point,
    /// Of the newest record's generation; 0 for a tombstone.
    pub(crate) created: i64,
    /// Of the newest record; 0 for a tombstone.
    pub(crate) version: i64,
    /// Before the newest one, ascending; `None` for none.
    #[expect(clippy::box_collection, reason = "one word where there is none, as for most keys")]
    older: Option<Box<Vec<Point>>>,
}

impl Point {
    /// # Panics
    /// If the sub revision does not fit 31 bits; [`MAX_SUB`] is checked where records come in.
    pub(crate) fn new(revision: Revision, tombstone: bool) -> Point {
        assert!((0..=MAX_SUB).contains(&revision.sub), "sub revision {} fits", revision.sub);
        let sub = u32::try_from(revision.sub).unwrap_or_default();
        let mark = if tombstone { TOMBSTONE } else { 0 };
        Point { main: revision.main, sub_and_mark: sub | mark }
    }

    pub(crate) fn revision(self) -> Revision {
        Revision::new(self.main, i64::from(self.sub_and_mark & !TOMBSTONE))
    }

    pub(crate) fn is_tombstone(self) -> bool {
        self.sub_and_mark & TOMBSTONE != 0
    }
}

impl History {
    /// Begins with a put.
    pub(crate) fn begin_put(at: Revision, created: i64, version: i64) -> History {
        History { newest: Point::new(at, false), created, version, older: None }
    }

    /// Begins with a tombstone: what it deleted is compacted.
    pub(crate) fn begin_tombstone(at: Revision) -> History {
        History { newest: Point::new(at, true), created: 0, version: 0, older: None }
    }

    /// Adds a put.
    pub(crate) fn put(&mut self, at: Revision, created: i64, version: i64) {
        self.push(Point::new(at, false));
        (self.created, self.version) = (created, version);
    }

    /// Adds a tombstone.
    pub(crate) fn delete(&mut self, at: Revision) {
        self.push(Point::new(at, true));
        (self.created, self.version) = (0, 0);
    }

    /// The newest record, which may be a tombstone.
    pub(crate) fn newest(&self) -> Point {
        self.newest
    }

    /// The newest record up to a main revision; a tombstone means that the key did not exist.
    pub(crate) fn at(&self, main: i64) -> Option<Point> {
        if self.newest.main <= main {
            return Some(self.newest);
        }
        let older = self.older.as_deref()?;
        older[..older.partition_point(|point| point.main <= main)].last().copied()
    }

    /// The revision of the value at a main revision, if the key existed then.
    pub(crate) fn value_at(&self, main: i64) -> Option<Revision> {
        self.at(main).filter(|point| !point.is_tombstone()).map(Point::revision)
    }

    /// Whether a compaction at `main` keeps the record at a revision up to it: the newest one up to
    /// `main` stays, unless it is a tombstone before `main`.
    pub(crate) fn keeps(&self, at: Revision, main: i64) -> bool {
        self.at(main).is_some_and(|point| point.revision() == at && !point.is_stale(main))
    }

    /// Whether a compaction at `main` keeps any record up to it.
    pub(crate) fn keeps_any(&self, main: i64) -> bool {
        self.at(main).is_some_and(|point| !point.is_stale(main))
    }

    /// Forgets what a compaction at `main` takes away; says whether anything is left.
    pub(crate) fn compact(&mut self, main: i64) -> bool {
        let stale_newest = self.newest.is_stale(main);
        let Some(older) = self.older.as_deref_mut() else { return !stale_newest };
        if self.newest.main <= main {
            self.older = None;
            return !stale_newest;
        }
        let after = older.partition_point(|point| point.main <= main);
        let kept = older[..after].last().is_some_and(|point| !point.is_stale(main));
        older.drain(..after - usize::from(kept));
        if older.is_empty() {
            self.older = None;
        }
        true
    }

    /// Records.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        1 + self.older.as_ref().map_or(0, |older| older.len())
    }

    fn push(&mut self, point: Point) {
        assert!(point.revision() > self.newest.revision(), "revisions of a key ascend");
        self.older.get_or_insert_default().push(self.newest);
        self.newest = point;
    }
}

impl Point {
    /// A tombstone that a compaction at `main` takes away: one at `main` itself stays.
    fn is_stale(self, main: i64) -> bool {
        self.is_tombstone() && self.main < main
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(main: i64) -> Revision {
        Revision::new(main, 0)
    }

    /// put 3, put 5, delete 7, put 9.
    fn history() -> History {
        let mut history = History::begin_put(r(3), 3, 1);
        history.put(r(5), 3, 2);
        history.delete(r(7));
        history.put(r(9), 9, 1);
        history
    }

    #[test]
    fn generations_are_told_apart() {
        let history = history();
        let at: Vec<_> = (2..11).map(|main| history.value_at(main).map(|at| at.main)).collect();
        let want = [None, Some(3), Some(3), Some(5), Some(5), None, None, Some(9), Some(9)];
        assert_eq!(at, want);
        assert_eq!((history.created, history.version), (9, 1));
    }

    #[test]
    fn a_compaction_keeps_the_newest_and_a_tombstone_at_its_revision() {
        for (main, left) in [(2, 4), (3, 4), (4, 4), (5, 3), (6, 3), (7, 2), (8, 1), (9, 1)] {
            let (before, mut after) = (history(), history());
            assert!(after.compact(main), "{main}");
            assert_eq!(after.len(), left, "{main}");
            for at in main..12 {
                assert_eq!(before.value_at(at), after.value_at(at), "{main} {at}");
            }
            for point in [3, 5, 7, 9].map(r).into_iter().filter(|at| at.main <= main) {
                let kept = after.at(point.main).map(Point::revision) == Some(point);
                assert_eq!(before.keeps(point, main), kept, "{main} {point}");
            }
        }
        let mut gone = History::begin_put(r(3), 3, 1);
        gone.delete(r(7));
        assert!(gone.clone().compact(7));
        assert!(!gone.compact(8));
        let mut tombstone = History::begin_tombstone(r(7));
        assert!(tombstone.compact(7) && !tombstone.compact(8));
    }

    #[test]
    fn a_key_with_one_record_takes_forty_bytes() {
        assert_eq!(size_of::<History>(), 40);
    }
}
