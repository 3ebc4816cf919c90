//! The bundled server over its life as a process: defragmented while it runs, killed at any
//! moment, on disks that are full or read-only, on files that are damaged, and between other
//! versions' tools; with many clients, and with some who do not read.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "lifetimes/crowds.rs"]
mod crowds;
#[path = "lifetimes/defragment.rs"]
mod defragment;
#[path = "lifetimes/disks.rs"]
mod disks;
#[path = "lifetimes/kills.rs"]
mod kills;
#[path = "lifetimes/tools.rs"]
mod tools;
#[path = "lifetimes/upkeep.rs"]
mod upkeep;
#[path = "lifetimes/versions.rs"]
mod versions;

#[path = "matrix/judge.rs"]
#[allow(dead_code, reason = "the matrix needs more of it")]
mod judge;
