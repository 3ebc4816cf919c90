//! Whole-system suites, upstream peers, benchmarks, tidy.
