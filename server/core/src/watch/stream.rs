//! The watches of one stream: ids that clients choose or are given.

use std::collections::{BTreeMap, BTreeSet};

use super::hub::{Hub, WatcherId};

/// Why a watch was not begun; the texts are upstream's cancel reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The end does not come after the key.
    #[error("mvcc: watcher range is empty")]
    EmptyRange,
    /// The stream has a watch of that id.
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateId,
}

/// Ids of a stream's watches.
#[derive(Debug, Clone, Default)]
pub struct StreamWatches {
    watchers: BTreeMap<i64, WatcherId>,
    /// Ended by a compaction, and not yet cancelled by the client: clients do so, and wait for the
    /// answer before they think of an id as free.
    compacted: BTreeSet<i64>,
    next: i64,
}

impl StreamWatches {
    /// The id of a new watch: the one asked for, or for 0 the next that is free, from 0 on.
    ///
    /// # Errors
    /// [`WatchError::DuplicateId`].
    pub fn choose_id(&mut self, asked: i64) -> Result<i64, WatchError> {
        if asked != 0 {
            return if self.is_taken(asked) { Err(WatchError::DuplicateId) } else { Ok(asked) };
        }
        while self.is_taken(self.next) {
            self.next += 1;
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    fn is_taken(&self, id: i64) -> bool {
        self.watchers.contains_key(&id) || self.compacted.contains(&id)
    }

    /// Notes which watcher has an id.
    pub fn insert(&mut self, id: i64, watcher: WatcherId) {
        self.watchers.insert(id, watcher);
    }

    /// A compaction ended the watcher: its id stays taken until [`StreamWatches::cancel`]. Whether
    /// the id is still this watcher's.
    pub fn compact(&mut self, id: i64, watcher: WatcherId) -> bool {
        let is_its_own = self.get(id) == Some(watcher);
        if is_its_own {
            self.watchers.remove(&id);
            self.compacted.insert(id);
        }
        is_its_own
    }

    /// The client ends a watch; whether the id was taken, and the watcher if it was not ended.
    pub fn cancel(&mut self, id: i64) -> Option<Option<WatcherId>> {
        let watcher = self.watchers.remove(&id);
        (watcher.is_some() || self.compacted.remove(&id)).then_some(watcher)
    }

    /// The watcher of an id.
    pub fn get(&self, id: i64) -> Option<WatcherId> {
        self.watchers.get(&id).copied()
    }

    /// All watches.
    pub fn iter(&self) -> impl Iterator<Item = (i64, WatcherId)> {
        self.watchers.iter().map(|(id, watcher)| (*id, *watcher))
    }

    /// The revision up to which all watches of the stream were given everything, for the answer to
    /// a progress request (its watch id is -1). `None` if one of them is not level, or there is
    /// none: then there is no answer, as upstream.
    pub fn progress(&self, hub: &Hub) -> Option<i64> {
        let level = self.watchers.values().all(|watcher| hub.is_level(*watcher));
        (level && !self.watchers.is_empty()).then_some(hub.revision())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Filters, WatchRange, WatchSpec};

    #[test]
    fn ids_are_given_as_upstream_gives_them() {
        let (mut stream, mut hub) = (StreamWatches::default(), Hub::new(5));
        let range = WatchRange::of_request(b"a", b"").unwrap();
        let mut watch = |start_revision| {
            let filters = Filters::default();
            hub.watch(WatchSpec { range: range.clone(), start_revision, filters })
        };
        let watchers = [watch(0), watch(0), watch(0), watch(9)];
        for (asked, given, watcher) in [(0, 0, 0), (1, 1, 1), (0, 2, 2)] {
            assert_eq!(stream.choose_id(asked), Ok(given));
            stream.insert(given, watchers[watcher]);
        }
        assert_eq!(stream.choose_id(1), Err(WatchError::DuplicateId));
        assert_eq!(stream.progress(&hub), Some(5));
        stream.insert(7, watchers[3]);
        assert_eq!(stream.progress(&hub), None, "its start is to come");
        assert_eq!(stream.cancel(7), Some(Some(watchers[3])));
        assert_eq!(stream.cancel(7), None);
        assert_eq!(stream.choose_id(7), Ok(7));
        assert_eq!(StreamWatches::default().progress(&hub), None);
        assert_eq!(WatchRange::of_request(b"b", b"a"), Err(WatchError::EmptyRange));
        assert_eq!(WatchRange::of_request(b"", b"\0"), Ok(WatchRange::From([0].into())));
    }

    #[test]
    fn an_id_whose_watch_was_compacted_is_free_when_it_is_cancelled() {
        let (mut hub, mut stream) = (Hub::new(5), StreamWatches::default());
        let mut watch = || {
            let range = WatchRange::One(b"k"[..].into());
            hub.watch(WatchSpec { range, start_revision: 0, filters: Filters::default() })
        };
        let (old, new) = (watch(), watch());
        stream.insert(1, old);
        assert!(stream.compact(1, old) && !stream.compact(1, old));
        assert_eq!(stream.choose_id(1), Err(WatchError::DuplicateId));
        assert_eq!((stream.choose_id(0), stream.choose_id(0)), (Ok(0), Ok(2)));
        assert_eq!((stream.cancel(1), stream.cancel(1)), (Some(None), None));
        assert_eq!(stream.choose_id(1), Ok(1));
        // Its successor is told nothing of the compaction that ended it.
        stream.insert(1, new);
        assert!(!stream.compact(1, old));
        assert_eq!(stream.get(1), Some(new));
    }

    #[test]
    fn a_watch_that_was_compacted_does_not_hold_back_the_others_progress() {
        let (mut hub, mut stream) = (Hub::new(5), StreamWatches::default());
        let mut watch = || {
            let range = WatchRange::One(b"k"[..].into());
            hub.watch(WatchSpec { range, start_revision: 0, filters: Filters::default() })
        };
        let (ended, level) = (watch(), watch());
        stream.insert(0, ended);
        stream.insert(1, level);
        hub.cancel(ended);
        assert_eq!(stream.progress(&hub), None);
        stream.compact(0, ended);
        assert_eq!(stream.progress(&hub), Some(5));
    }
}
