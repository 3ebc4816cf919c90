//! The daemon: ticks, snapshots, prunes, drills, reports.
//!
//! In the order of a round: [`cycle`] decides, [`survey`] and [`member`] pick who is asked,
//! [`source`] takes the stream into the [`spool`], [`reader`] reads it, [`round`] hands it to the
//! vault and [`verify`] reads it back. Around it: [`config`], [`state`], [`metrics`], [`health`],
//! [`http`], and the loop in [`daemon`].
//!
//! What must hold: the agent never harms etcd: it reads, one stream at a time, drained fast, and
//! nothing while the store cannot be reached.

pub mod changes;
pub mod config;
pub mod contested;
pub mod cycle;
pub mod daemon;
pub mod damage;
pub mod drill;
pub mod encryption_keys;
pub mod hash;
pub mod health;
pub mod http;
pub mod jobs;
pub mod machine;
pub mod member;
pub mod metrics;
pub mod reader;
pub mod reports;
pub mod round;
pub mod run;
pub mod source;
pub mod spool;
pub mod state;
pub mod stop;
pub mod survey;
pub mod vaults;
pub mod verify;

pub use config::{Config, ConfigError};
pub use run::{AgentError, Mode, Outcome, Parts, run};
