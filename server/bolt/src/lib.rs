//! The bbolt file format: read, check, bulk build.
