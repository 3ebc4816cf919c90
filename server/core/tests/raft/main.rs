//! Raft against upstream's own test files, a simulator that checks the paper's properties, and
//! models.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod confchange;
mod datadriven;
mod interaction;
mod properties;
mod quorum;
mod scenarios;
mod simulation;
mod words;
