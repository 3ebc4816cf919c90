//! The stored format: what every byte of an object is, without stores, clocks or chance.
//!
//! docs/FORMAT.md tells it in tables; the files here are its one writer and its one reader. Time
//! and randomness come in as arguments ([`Entropy`]). No input, however damaged, panics or makes a
//! reader allocate more than a small multiple of the object's own size.

mod bitmap;
mod body;
mod bucket;
mod clear;
mod commit;
mod entropy;
mod envelope;
mod error;
mod frame;
mod header;
mod ids;
mod names;
mod open;
mod padding;
mod record;
pub(crate) mod seal;
mod segment;
mod stream;
mod varint;

pub use bitmap::{BitmapError, all_alive, encode_live, parse_live};
pub use body::{
    OpenedBody, SealedBody, check_body, check_reference, live_of, open_body, open_spill, seal_body,
};
pub use bucket::{Bucket, BucketEntry, SPILL_BYTES, SpillWriter, bucket_entry_bytes, read_bucket};
pub use clear::{ClearError, MAX_CLEAR_BYTES, decode_root, decode_wrap, encode_root, encode_wrap};
pub use commit::{
    CATALOGUE_LIMIT, MAX_COMMIT_BYTES, OpenedCommit, check_commit, check_entries, open_commit,
    seal_commit,
};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use envelope::{
    Compression, FinishedObject, NewObject, ObjectContext, ObjectWriter, seal_message,
};
pub use error::{FormatError, ObjectName, Part};
pub use frame::{Bound, Codec, FrameBuffer, FrameClass, FrameEntry, FrameOpener, MAX_FRAME_BYTES};
pub use header::{FORMAT, HEADER_BYTES, Header};
pub use ids::{
    AttemptId, ClusterId, HoldId, LineageId, ObjectId, ReportId, SeedId, StoreId, VaultId, WrapId,
    WriterId, hex,
};
pub use names::{
    ROOT_NAME, cluster_prefix, commit_name, commit_prefix, hint_name, object_name,
    parse_commit_name, wrap_folders, wrap_names,
};
pub use open::{
    Expected, IndexSlice, OpenedObject, TRAILER_BYTES, Trailer, has_sound_trailer, open_message,
    open_object,
};
pub use padding::padme;
pub use record::{FrameRecords, LiveHash, Record, RecordError, TagKey};
pub use seal::{DIGEST_KEY_BYTES, DigestKey};
pub use segment::{IndexRecord, SegmentFrame, SegmentIndex, SegmentSettings, SegmentWriter};
pub use stream::{Described, Ends, StreamCheck};

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::too_many_lines,
    reason = "small numbers and long tables of cases"
)]
mod tests;
