//! Whole-system suites, upstream peers, benchmarks, tidy: what the suites, the demo and the benchmarks share.

pub mod contents;
pub mod objects;
pub mod peers;
