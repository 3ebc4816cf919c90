//! The daemon: ticks, snapshots, prunes, drills, reports.
