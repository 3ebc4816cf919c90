//! The formats of an etcd member: WAL, snap, buckets, revisions, HashKV.
//!
//! No async, no clock, no sockets. Everything that is read may be damaged: it is an error with a
//! place and a reason, never a panic.

pub mod alarm;
pub mod auth;
pub mod backend;
mod bitmap;
pub mod bootstrap;
pub mod buckets;
pub mod change;
pub mod changes;
pub mod check;
pub mod compaction;
pub mod database;
pub mod datadir;
pub mod disk;
pub mod duration;
pub mod hashkv;
pub mod ids;
mod keytable;
pub mod lease;
pub mod membership;
pub mod meta;
pub mod mvcc;
pub mod raft;
pub mod raftpb;
pub mod rebuilt;
pub mod record;
pub mod request;
pub mod revision;
pub mod schema;
pub mod snap;
pub mod v2store;
pub mod versions;
pub mod wal;
pub mod watch;
pub mod wire;
