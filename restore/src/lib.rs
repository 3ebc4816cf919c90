//! Rebuilds a cluster from a vault, grows it, looks into it, and proves it can.
//!
//! In the order of a restore: [`select`] chooses a snapshot, [`plan`] decides and explains,
//! [`fetch`] brings its records from the vault, [`rebuild`] turns them into a member's database,
//! [`restore`] executes the plan, [`swap`] puts it in place and can undo that, [`server`] boots
//! it, [`grow`] takes it to three or five. [`drill`] does all of it in a sandbox and reports;
//! [`export`] writes a plain snapshot file; [`check`] looks at a rebuild's structure.

pub mod check;
pub mod drill;
pub mod export;
pub mod fetch;
pub mod grow;
mod leases;
pub mod plan;
pub mod rebuild;
pub mod restore;
mod sample;
pub mod select;
pub mod server;
pub mod swap;
mod text;

pub use sample::Sampled;
