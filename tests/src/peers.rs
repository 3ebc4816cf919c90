//! Where upstream's programs are, and where our own binary is.
//!
//! Must hold: a missing program is a failure that says which make target builds it, never a skip.

use std::path::PathBuf;

/// The versions of etcd that every matrix runs over.
pub const VERSIONS: [&str; 3] = ["3.5", "3.6", "3.7"];

/// The program `name` that `make peers` built, such as `etcd-3.6` or `bbolt`.
///
/// # Panics
/// It is not there.
pub fn peer(name: &str) -> PathBuf {
    let folder = std::env::var_os("HOLDFAST_PEERS").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        cache.or_else(home).map(|cache| cache.join("holdfast/peers"))
    });
    let path = folder.expect("HOME or HOLDFAST_PEERS is set").join(name);
    assert!(path.is_file(), "{} is missing: run `make peers`", path.display());
    path
}

/// Our own binary, as it ships.
///
/// # Panics
/// HOLDFAST_BIN does not name it.
pub fn holdfast() -> PathBuf {
    let path = std::env::var_os("HOLDFAST_BIN").map(PathBuf::from);
    let path = path.expect("HOLDFAST_BIN names the binary: run `make test`");
    assert!(path.is_file(), "{} is missing: run `make test`", path.display());
    path
}
