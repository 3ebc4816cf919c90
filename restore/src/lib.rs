//! Rebuilds a cluster from a vault, grows it, looks into it, and proves it can.
