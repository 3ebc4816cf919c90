//! Segments: runs of records in sealed frames, with an index that tells what is in them.
//!
//! ```text
//! index payload, per frame of the frame table:
//!   varint first main, first sub, last main, last sub | varint record count, then per record:
//!   varint main revision, less that of the record before (the first: less the frame's first main)
//!   varint sub | flags u8 (1: tombstone) | varint value length | digest u32 | key tag u32
//! ```
//! Two lanes of frames, normal and sensitive, interleave in file order; each lane ascends by
//! revision. A record's **ordinal** is its place in file order, over all frames. Holds: what the
//! index says of a frame (revisions, count, lengths) is exactly what its plaintext holds, and the
//! two are compared whenever both are at hand.

mod index;
mod writer;

pub use index::{IndexRecord, SegmentFrame, SegmentIndex};
pub use writer::{SegmentSettings, SegmentWriter};
