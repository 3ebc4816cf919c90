//! Every reader of bytes or text that others wrote, as functions of a fuzzer's input.
//!
//! What must hold of each: it returns, within a second and a few hundred megabytes, whatever the
//! input; no panic, no overflow, no broken assertion. Where a checksum or a seal would turn every
//! mutation away at the door, the target puts the right one around the mutated content.

pub mod bolt;
pub mod member;
pub mod pieces;
pub mod seeds;
pub mod texts;
pub mod vault;

/// What reads an input, and what an input of it may look like.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Reads an input.
    pub run: fn(&[u8]),
    /// First inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 14] = [
    Target { name: "bolt", run: bolt::run, seeds: seeds::bolt },
    Target { name: "envelope", run: vault::envelope, seeds: seeds::envelope },
    Target { name: "clear", run: vault::clear, seeds: seeds::clear },
    Target { name: "segment", run: vault::segment, seeds: seeds::segment },
    Target { name: "body", run: vault::body, seeds: seeds::body },
    Target { name: "spill", run: vault::spill, seeds: seeds::spill },
    Target { name: "commit", run: vault::commit, seeds: seeds::commit },
    Target { name: "page", run: vault::page, seeds: seeds::page },
    Target { name: "ledger", run: vault::ledger, seeds: seeds::ledger },
    Target { name: "wal", run: member::wal, seeds: seeds::wal },
    Target { name: "snap", run: member::snap, seeds: seeds::snap },
    Target { name: "keys_yaml", run: texts::keys, seeds: seeds::keys },
    Target { name: "agent_yaml", run: texts::agent, seeds: seeds::agent },
    Target { name: "crontab", run: texts::crontab, seeds: seeds::crontab },
];
