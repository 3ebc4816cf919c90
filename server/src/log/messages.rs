//! Messages that upstream's test suites and operators look for, word for word.
//!
//! They are an interface like the name of a metric: a changed letter breaks somebody's alert.

/// The member answers clients; the suites wait for it before they ask anything.
pub const READY: &str = "ready to serve client requests";
/// A client listener without TLS serves.
pub const SERVING_INSECURELY: &str =
    "serving client traffic insecurely; this is strongly discouraged!";
/// A client listener with TLS serves.
pub const SERVING_SECURELY: &str = "serving client traffic securely";
/// The peer listener serves.
pub const SERVING_PEERS: &str = "serving peer traffic";
/// A listener for metrics serves.
pub const SERVING_METRICS: &str = "serving metrics";
/// A handshake with a client failed.
pub const REJECTED_CLIENT: &str = "rejected connection on client endpoint";
/// A handshake with a peer failed.
pub const REJECTED_PEER: &str = "rejected connection on peer endpoint";
/// The configuration cannot be.
pub const BAD_FLAGS: &str = "failed to verify flags";
/// One port for both.
pub const ONE_PORT: &str =
    "Running http and grpc server on single port. This is not recommended for production.";
/// The name nobody chose.
pub const DEFAULT_NAME: &str = "it isn't recommended to use default name, please set a value for --name. \
    Note that etcd might run into issue when multiple members have the same default name";
/// A request took long.
pub const REQUEST_STATS: &str = "request stats";
/// An entry or a read took long.
pub const SLOW_APPLY: &str = "apply request took too long";
/// The whole configuration, once at start.
pub const STARTING: &str = "starting an etcd server";
/// A signal came.
pub const SIGNAL: &str = "received signal; shutting down";
/// The members' file was found.
pub const CONFIG_FILE: &str = "loaded server configuration, other configuration command line flags and environment variables will be ignored if provided";
