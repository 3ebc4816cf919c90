//! Our tools beside upstream's: equal command lines against equal stores, outputs compared byte by
//! byte. Ids, ports and times, which must differ, are replaced by names first.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod data_dirs;
mod files;
mod lines;
mod member;
mod readers;
mod secrets;
mod side;
mod snapshots;
mod streams;
mod tls;
