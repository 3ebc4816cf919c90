//! The hash over all buckets that the RPC Maintenance.Hash answers with.
//!
//! CRC-32C over each bucket's name and its entries, in order, without what members may differ in:
//! in `meta` the raft index and term and the storage version. For tests of equal members only;
//! HashKV is what an operator compares.

use std::ops::ControlFlow;

use super::{BackendError, View};
use crate::buckets::META;
use crate::meta::{CONSISTENT_INDEX, STORAGE_VERSION, TERM};

const IGNORED: [&[u8]; 3] = [CONSISTENT_INDEX, TERM, STORAGE_VERSION];

impl View {
    /// The hash over all buckets at this point.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn hash(&self) -> Result<u32, BackendError> {
        let mut crc = crc32c::crc32c(b"");
        for bucket in self.buckets()? {
            crc = crc32c::crc32c_append(crc, &bucket);
            self.scan(&bucket, &[], None, &mut |key, value| {
                if *bucket != *META || !IGNORED.contains(&key) {
                    crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, key), value);
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(crc)
    }
}
