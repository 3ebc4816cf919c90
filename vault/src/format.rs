//! The stored format: what every byte of an object is, without stores, clocks or chance.
//!
//! docs/FORMAT.md tells it in tables; the files here are its one writer and its one reader. Time and
//! randomness come in as arguments ([`Entropy`]). No input, however damaged, panics or makes a reader
//! allocate more than a small multiple of the object's own size.

mod entropy;
mod envelope;
mod error;
mod frame;
mod header;
mod ids;
mod names;
mod open;
mod padding;
mod seal;
mod varint;

pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use envelope::{Compression, FinishedObject, NewObject, ObjectContext, ObjectWriter, seal_message};
pub use error::{FormatError, ObjectName, Part};
pub use frame::{Bound, Codec, FrameBuffer, FrameClass, FrameEntry, FrameOpener, MAX_FRAME_BYTES};
pub use header::{FORMAT, HEADER_BYTES, Header};
pub use ids::{
    AttemptId, ClusterId, HoldId, LineageId, ObjectId, ReportId, SeedId, StoreId, VaultId, WrapId,
    WriterId,
};
pub use names::{
    ROOT_NAME, cluster_prefix, commit_name, commit_prefix, hint_name, object_name, parse_commit_name,
    wrap_name,
};
pub use open::{Expected, IndexSlice, OpenedObject, TRAILER_BYTES, Trailer, open_message, open_object};
pub use padding::padme;
pub use seal::DigestKey;
