//! Watches: which watcher gets which events. Streams and buffers are the server's.
//!
//! ```text
//! Store ─events of a revision─► Hub::publish ─► synced watchers ─► their outboxes
//!                                                  │ full
//!                                                  ▼
//! history ◄─ CatchUp::run ◄─ Hub::plan ◄────── unsynced watchers ◄─ those that start in the past
//!     └─► Hub::caught_up ─► outboxes; who is level becomes synced
//! ```
//!
//! What must hold:
//! - A watcher gets every event of its keys from its start on, once, in order. *Synced*: it has
//!   been given all up to the hub's revision. *Unsynced*: all before its `next` revision.
//! - An outbox takes a delivery whole or not at all. A watcher whose outbox is full holds nobody
//!   back and nothing is kept for it: it becomes unsynced, and reads the history itself once it has
//!   room ([`Hub::has_room`]).
//! - Catching up is bounded: a run of revisions and bytes at a time, never split within a revision;
//!   it reads on any thread, while others are published.
//! - Watchers who get the same events share them ([`SharedEvents`]).
//! - A watcher whose next revision is compacted is told so once, and ends.

mod fragment;
mod group;
mod hub;
mod ids;
mod interval;
mod shared;
mod spec;
mod stream;

pub use fragment::fragments;
pub use hub::{CatchUp, CaughtUp, Delivery, Hub, Outbox, WatcherId};
pub use shared::SharedEvents;
pub use spec::{Filters, WatchRange, WatchSpec};
pub use stream::{StreamWatches, WatchError};

#[cfg(test)]
mod tests;
