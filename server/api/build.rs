//! Compiles proto/*.proto into messages, and with the feature `grpc` into stubs, without a system
//! protoc.

const PROTOS: [&str; 13] = [
    "authpb.proto",
    "etcdserver.proto",
    "etcdserverpb.proto",
    "health.proto",
    "holdfast.proto",
    "leasepb.proto",
    "membershippb.proto",
    "mvccpb.proto",
    "raft_internal.proto",
    "snappb.proto",
    "v3electionpb.proto",
    "v3lockpb.proto",
    "walpb.proto",
];

/// Messages that hold a secret: src/redact.rs gives them a `Debug` that does not show it.
const SECRET: [&str; 6] = [
    ".authpb.User",
    ".etcdserverpb.AuthUserAddRequest",
    ".etcdserverpb.AuthUserChangePasswordRequest",
    ".etcdserverpb.AuthenticateRequest",
    ".etcdserverpb.AuthenticateResponse",
    ".etcdserverpb.InternalAuthenticateRequest",
];

/// Fields that are taken from the receive buffer without a copy.
const SHARED: [&str; 4] = [
    ".mvccpb.KeyValue",
    ".etcdserverpb.SnapshotResponse.blob",
    ".holdfast.v1.ChangesResponse.payload",
    ".raftpb",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    // For those who look at messages at run time: the server's JSON gateway.
    let folder = std::env::var("OUT_DIR")?;
    let bytes = prost::Message::encode_to_vec(&descriptors);
    std::fs::write(std::path::Path::new(&folder).join("descriptors.bin"), bytes)?;
    let mut config = prost_build::Config::new();
    config.bytes(SHARED).skip_debug(SECRET);
    #[cfg(not(feature = "grpc"))]
    config.compile_fds(descriptors)?;
    #[cfg(feature = "grpc")]
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(cfg!(feature = "grpc-server"))
        .build_transport(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
