//! The formats against upstream's binaries, see `peers`.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod auth;
mod boots;
mod bootstraps;
mod hashkv;
mod histories;
mod json;
mod logs;
mod peers;
mod reads;
