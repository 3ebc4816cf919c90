//! Keys against wrong keys, damage, hostile plugins and sloppy configurations.

mod config;
mod wraps;
