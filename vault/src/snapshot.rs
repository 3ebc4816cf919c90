//! Taking snapshots and giving them back.

pub mod kinship;
pub mod walk;
