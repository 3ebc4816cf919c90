//! Where upstream's programs are, and where our own binary is.
//!
//! Must hold: a missing program is a failure that says which make target builds it, never a skip.

use std::path::PathBuf;

pub use holdfast_peers::{VERSIONS, peer};

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
