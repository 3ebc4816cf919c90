//! etcd's protobuf messages, and behind the feature `grpc` the stubs and the client.
//!
//! Generated at build time from our own `proto/*.proto`, without a system protoc. Package, service
//! and method names and field numbers are etcd's (3.5 to 3.7); field names are ours. What must
//! hold: a message that holds a secret never shows it in `Debug`.

#[cfg(feature = "grpc")]
pub mod anchors;
#[cfg(feature = "grpc")]
pub mod client;
mod event;
mod redact;
pub mod txn;

/// All messages and services as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A package's generated messages.
macro_rules! package {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
        pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));
        }
    };
}

package! {
    /// Users and roles, as stored.
    authpb
}
package! {
    /// The v3 API: requests, answers, services; and what travels in raft entries.
    etcdserverpb
}
/// The standard health service.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod health {
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
}
/// What Holdfast's server offers beside etcd's API.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod holdfast {
    include!(concat!(env!("OUT_DIR"), "/holdfast.v1.rs"));
}
package! {
    /// Leases, as stored.
    leasepb
}
package! {
    /// Requests about members that travel in raft entries.
    membershippb
}
package! {
    /// Keys and values, as stored; events.
    mvccpb
}
package! {
    /// Raft's messages.
    raftpb
}
package! {
    /// The content of a .snap file.
    snappb
}
package! {
    /// The election service.
    v3electionpb
}
package! {
    /// The lock service.
    v3lockpb
}
package! {
    /// Records of the write-ahead log.
    walpb
}
