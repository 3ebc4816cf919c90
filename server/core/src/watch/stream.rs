//! The watches of one stream: ids that clients choose or are given.

use std::collections::BTreeMap;

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
    next: i64,
}

impl StreamWatches {
    /// The id of a new watch: the one asked for, or for 0 the next that is free, from 0 on.
    ///
    /// # Errors
    /// [`WatchError::DuplicateId`].
    pub fn choose_id(&mut self, asked: i64) -> Result<i64, WatchError> {
        if asked != 0 {
            let taken = self.watchers.contains_key(&asked);
            return if taken { Err(WatchError::DuplicateId) } else { Ok(asked) };
        }
        while self.watchers.contains_key(&self.next) {
            self.next += 1;
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Notes which watcher has an id.
    pub fn insert(&mut self, id: i64, watcher: WatcherId) {
        self.watchers.insert(id, watcher);
    }

    /// Forgets an id.
    pub fn remove(&mut self, id: i64) -> Option<WatcherId> {
        self.watchers.remove(&id)
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
        assert_eq!(stream.remove(7), Some(watchers[3]));
        assert_eq!(stream.choose_id(7), Ok(7));
        assert_eq!(StreamWatches::default().progress(&hub), None);
        assert_eq!(WatchRange::of_request(b"b", b"a"), Err(WatchError::EmptyRange));
        assert_eq!(WatchRange::of_request(b"", b"\0"), Ok(WatchRange::From([0].into())));
    }
}
