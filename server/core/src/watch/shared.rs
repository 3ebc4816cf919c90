//! Events that several watchers get: kept once, and put into wire bytes once.
//!
//! Must hold: the bytes are those of field 11 of an answer for each event in order, as the message
//! itself would encode them, so that an answer is its head followed by them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use holdfast_api::etcdserverpb::WatchResponse;
use holdfast_api::mvccpb::Event;
use prost::Message;

/// See the file's header. Never empty.
#[derive(Debug)]
pub struct SharedEvents {
    events: Vec<Event>,
    size_bytes: usize,
    encoded: OnceLock<Bytes>,
    /// The same with the records before them.
    with_previous: OnceLock<Arc<SharedEvents>>,
}

impl SharedEvents {
    /// Of these events.
    pub fn new(events: Vec<Event>) -> Arc<SharedEvents> {
        let size_bytes = events.iter().map(Message::encoded_len).sum();
        let (encoded, with_previous) = (OnceLock::new(), OnceLock::new());
        Arc::new(SharedEvents { events, size_bytes, encoded, with_previous })
    }

    /// They.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Their size, encoded, without what stands around each in an answer.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// They as they stand in an answer.
    pub fn encoded(&self) -> &Bytes {
        self.encoded.get_or_init(|| {
            let around = TAG_BYTES + prost::length_delimiter_len(self.size_bytes);
            let mut all = BytesMut::with_capacity(self.size_bytes + self.events.len() * around);
            for event in &self.events {
                prost::encoding::message::encode(EVENTS_FIELD, event, &mut all);
            }
            all.freeze()
        })
    }

    /// The same with the records before them, which `add` looks up for the first who asks.
    pub fn with_previous(&self, add: impl FnOnce(&mut Vec<Event>)) -> &Arc<SharedEvents> {
        self.with_previous.get_or_init(|| {
            let mut events = self.events.clone();
            add(&mut events);
            SharedEvents::new(events)
        })
    }

    /// Whether an answer with this head and the events is larger than so many bytes.
    pub fn exceeds(&self, head: &WatchResponse, limit_bytes: usize) -> bool {
        // Before anything is encoded for it: what the events take at most.
        let around = TAG_BYTES + prost::length_delimiter_len(self.size_bytes);
        let most = head.encoded_len() + self.size_bytes + self.events.len() * around;
        most >= limit_bytes && head.encoded_len() + self.encoded().len() >= limit_bytes
    }
}

impl PartialEq for SharedEvents {
    fn eq(&self, other: &SharedEvents) -> bool {
        self.events == other.events
    }
}

/// The choices of a revision's events that watchers made: who chose alike shares them.
pub(super) struct Selections<'a> {
    events: &'a [Event],
    made: HashMap<Vec<usize>, Arc<SharedEvents>>,
}

impl<'a> Selections<'a> {
    /// None yet, of these events.
    pub(super) fn of(events: &'a [Event]) -> Selections<'a> {
        Selections { events, made: HashMap::new() }
    }

    /// The events at these places.
    pub(super) fn take(&mut self, places: Vec<usize>) -> Arc<SharedEvents> {
        let events = self.events;
        let make = |places: &Vec<usize>| {
            SharedEvents::new(places.iter().map(|place| events[*place].clone()).collect())
        };
        Arc::clone(self.made.entry(places).or_insert_with_key(make))
    }
}

/// Number of the field `events` in an answer.
const EVENTS_FIELD: u32 = 11;
/// Bytes of its tag.
const TAG_BYTES: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_api::mvccpb::KeyValue;

    fn event(size: usize, kind: i32) -> Event {
        let value = vec![7; size].into();
        let kv = KeyValue { key: "k".into(), value, mod_revision: 300, ..KeyValue::default() };
        Event { r#type: kind, kv: Some(kv), prev_kv: None }
    }

    #[test]
    fn a_head_and_the_bytes_are_the_whole_answer() {
        for sizes in [vec![0], vec![1, 200, 3], vec![20_000, 0, 5]] {
            let events: Vec<Event> =
                sizes.iter().map(|size| event(*size, i32::from(*size == 0))).collect();
            let head = WatchResponse { watch_id: 5, fragment: true, ..WatchResponse::default() };
            let whole = WatchResponse { events: events.clone(), ..head.clone() };
            let shared = SharedEvents::new(events);
            let bytes = [&head.encode_to_vec()[..], &shared.encoded()[..]].concat();
            assert_eq!(bytes, whole.encode_to_vec());
            let size = whole.encoded_len();
            assert!(shared.exceeds(&head, size) && !shared.exceeds(&head, size + 1));
        }
    }

    #[test]
    fn what_was_before_is_looked_up_once() {
        let shared = SharedEvents::new(vec![event(1, 0)]);
        let before = event(2, 0).kv;
        let with = shared.with_previous(|events| events[0].prev_kv = before.clone()).clone();
        assert_eq!(with.events()[0].prev_kv, before);
        assert_eq!(shared.events()[0].prev_kv, None, "who did not ask does not get it");
        let again = shared.with_previous(|_| panic!("it is there"));
        assert!(Arc::ptr_eq(&with, again));
    }
}
