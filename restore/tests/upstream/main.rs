//! Restores, growth and drills with upstream's etcd as source, target and judge.
//!
//! The binaries stand in the folder that HOLDFAST_PEERS names; `make peers` builds them.

#![allow(missing_docs, clippy::unwrap_used, clippy::too_many_lines)]

mod drills;
mod forgery;
mod grows;
mod peers;
mod restores;
mod sockets;
mod sources;
mod tethers;
