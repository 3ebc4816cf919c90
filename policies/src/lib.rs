//! What to keep, when to run, and which provider seals: pure functions.
//!
//! Holds: no clock, no file, no network, no chance and no async runtime in here. Facts, policy and
//! `now` come in; verdicts with reasons go out, which a plan prints and someone else executes. Time
//! zones come from the data inside the binary, so that two machines with different zone files
//! decide alike.

pub mod clocks;
pub mod duration;
pub mod merge;
pub mod providers;
pub mod prune;
pub mod retention;
pub mod schedule;
pub mod zone;
