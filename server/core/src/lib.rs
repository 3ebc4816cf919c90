//! The formats of an etcd member: WAL, snap, buckets, revisions, HashKV.
