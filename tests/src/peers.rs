//! Where upstream's programs are, and where our own binary is.

pub use holdfast_peers::{VERSIONS, holdfast, peer};
