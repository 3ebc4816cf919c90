//! What is watched: keys, a first revision, and what is left out.

use holdfast_api::mvccpb::Event;
use holdfast_api::mvccpb::event::EventType;

use super::stream::WatchError;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchRange {
    /// One key.
    One(Box<[u8]>),
    /// From the first to before the second.
    Between(Box<[u8]>, Box<[u8]>),
    /// From a key on.
    From(Box<[u8]>),
}

/// Events that are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filters {
    /// Puts.
    pub no_put: bool,
    /// Deletions.
    pub no_delete: bool,
}

/// A watch to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSpec {
    /// Its keys.
    pub range: WatchRange,
    /// The first revision; 0 for what comes from now on. One to come is waited for.
    pub start_revision: i64,
    /// What is left out.
    pub filters: Filters,
}

impl WatchRange {
    /// Of a request: an empty key means the lowest one, an empty end one key, a zero byte no end.
    ///
    /// # Errors
    /// [`WatchError::EmptyRange`] if nothing can lie in it.
    pub fn of_request(key: &[u8], range_end: &[u8]) -> Result<WatchRange, WatchError> {
        let key: &[u8] = if key.is_empty() { &[0] } else { key };
        match range_end {
            [] => Ok(WatchRange::One(key.into())),
            [0] => Ok(WatchRange::From(key.into())),
            end if key >= end => Err(WatchError::EmptyRange),
            end => Ok(WatchRange::Between(key.into(), end.into())),
        }
    }
}

impl Filters {
    /// Whether an event is not left out.
    pub(super) fn pass(self, event: &Event) -> bool {
        match event.r#type() {
            EventType::Put => !self.no_put,
            EventType::Delete => !self.no_delete,
        }
    }
}
