//! The running member: the core's state machine with its threads, and what calls use of it.
//!
//! ```text
//! Handle ─ Input ─► raft thread ─ Work ─► apply thread ─ CommitOrder ─► commit thread
//!   ▲ Reply, by request id ◄─────────────────┘ └─ events ─► watch thread
//! ```
//!
//! Must hold: see each file, and docs/adr/0004.

mod applied;
mod apply_thread;
mod boot;
mod chores;
mod commit_thread;
mod corruption;
mod database;
mod figures;
mod handle;
mod identity;
mod locks;
mod machine;
mod observe;
mod opening;
mod prototext;
mod raft_thread;
mod raft_view;
mod read_rounds;
mod request_ids;
mod room;
mod routine;
mod services;
mod slow;
mod snapshots;
mod threads;
mod versions;
mod view;
mod waits;
mod watching;

pub use boot::EngineBoot;
