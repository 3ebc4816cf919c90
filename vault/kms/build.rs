//! Compiles proto/kms.proto into messages and the client's stub, without a system protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["kms.proto"], ["proto"])?;
    let mut config = prost_build::Config::new();
    // They hold a secret; src/lib.rs gives them a `Debug` that does not show it.
    config.skip_debug([".v2.EncryptRequest", ".v2.DecryptResponse"]).btree_map(["."]);
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(false)
        .build_transport(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
