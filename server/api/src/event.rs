//! What an event says, asked in one place.

use crate::mvccpb::Event;
use crate::mvccpb::event::EventType;

impl Event {
    /// Whether it takes its key away; else it puts it.
    #[must_use]
    pub fn is_delete(&self) -> bool {
        self.r#type == EventType::Delete as i32
    }
}
