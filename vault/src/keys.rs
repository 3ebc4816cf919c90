//! Seeds, who may open them, and how.
//!
//! Holds: a seed or a key never stands in an error, a log line or a `Debug` text; all memory of ours
//! that held one is wiped when it is dropped.

mod keyring;
mod seed;

pub use keyring::Keyring;
pub use seed::{DataSeed, IndexSeed, Seed};
