//! Large answers in pieces.

use holdfast_api::etcdserverpb::WatchResponse;
use prost::Message;

/// Bytes of an event's tag in an answer (field 11).
const TAG_BYTES: usize = 1;

/// Cuts an answer into pieces below `limit_bytes`, all but the last marked as fragments. A single
/// event is never cut, however large. A revision may be.
pub fn fragments(mut response: WatchResponse, limit_bytes: usize) -> Vec<WatchResponse> {
    if response.encoded_len() < limit_bytes || response.events.len() < 2 {
        return vec![response];
    }
    let events = std::mem::take(&mut response.events);
    let empty = WatchResponse { fragment: true, ..response };
    let empty_bytes = empty.encoded_len();
    let mut pieces = Vec::new();
    let (mut piece, mut size_bytes) = (empty.clone(), empty_bytes);
    for event in events {
        let event_bytes = event.encoded_len();
        let grown = TAG_BYTES + prost::length_delimiter_len(event_bytes) + event_bytes;
        if !piece.events.is_empty() && size_bytes + grown >= limit_bytes {
            pieces.push(std::mem::replace(&mut piece, empty.clone()));
            size_bytes = empty_bytes;
        }
        size_bytes += grown;
        piece.events.push(event);
    }
    piece.fragment = false;
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_api::mvccpb::{Event, KeyValue};

    fn event(size: usize) -> Event {
        let kv = KeyValue { key: "k".into(), value: vec![1; size].into(), ..KeyValue::default() };
        Event { kv: Some(kv), ..Event::default() }
    }

    #[test]
    fn pieces_stay_below_the_limit_and_lose_nothing() {
        let sizes = [vec![10; 100], vec![500, 1, 1, 500, 500, 1], vec![5000, 5000], vec![5000]];
        // Among the limits are some that pieces meet to the byte.
        for (sizes, limit) in sizes.iter().flat_map(|sizes| (360..=400).map(move |at| (sizes, at)))
        {
            let events: Vec<Event> = sizes.iter().copied().map(event).collect();
            let response =
                WatchResponse { watch_id: 7, events: events.clone(), ..WatchResponse::default() };
            let pieces = fragments(response, limit);
            let (last, others) = pieces.split_last().unwrap();
            assert!(!last.fragment && others.iter().all(|piece| piece.fragment));
            for piece in &pieces {
                assert!(piece.encoded_len() < limit || piece.events.len() == 1);
                assert_eq!(piece.watch_id, 7);
            }
            let whole: Vec<Event> = pieces.into_iter().flat_map(|piece| piece.events).collect();
            assert_eq!(whole, events);
        }
    }
}
