//! Ids of requests, unique over members and restarts.
//!
//! ```text
//! 63        48 47                                 8 7        0
//! | member id  | milliseconds since 1970 at start  |  count   |
//! |  low 16    |             low 40                |          |
//! ```
//!
//! The count runs over into the milliseconds, which is harmless: a member would have to take more
//! than 256 requests in each millisecond of its life to meet ids of its next start. As upstream
//! builds them, so that ids of a mixed cluster do not meet either. What must hold: no id is given
//! twice, and none is zero.

use std::sync::atomic::{AtomicU64, Ordering};

const COUNT_BITS: u32 = 8;
const MEMBER_SHIFT: u32 = 48;
const LOW_MASK: u64 = (1 << MEMBER_SHIFT) - 1;

/// Gives ids.
#[derive(Debug)]
pub(crate) struct RequestIds {
    member: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// For a member that starts at `now_ms` (milliseconds since 1970).
    pub(crate) fn new(member_id: u64, now_ms: u64) -> RequestIds {
        let next = AtomicU64::new((now_ms << COUNT_BITS) & LOW_MASK);
        RequestIds { member: member_id << MEMBER_SHIFT, next }
    }

    /// The next id.
    pub(crate) fn next(&self) -> u64 {
        loop {
            let low = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & LOW_MASK;
            let id = self.member | low;
            if id != 0 {
                return id;
            }
        }
    }

    /// An id for a lease: as a request's, without the sign bit.
    pub(crate) fn next_lease(&self) -> i64 {
        loop {
            let id = (self.next() & (u64::MAX >> 1)).cast_signed();
            if id != 0 {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_stand_where_upstream_has_them() {
        let ids = RequestIds::new(0xabcd_1234, 0x0123_4567_89ab);
        assert_eq!(ids.next(), 0x1234_2345_6789_ab01);
        assert_eq!(ids.next(), 0x1234_2345_6789_ab02);
    }

    #[test]
    fn a_lease_id_is_positive_and_none_is_zero() {
        let ids = RequestIds::new(0x8000, u64::MAX >> COUNT_BITS);
        assert!((0..1_000).all(|_| ids.next_lease() > 0));
        let ids = RequestIds::new(0, (1 << 40) - 1);
        let mut given: Vec<u64> = (0..1_000).map(|_| ids.next()).collect();
        assert!(given.iter().all(|id| *id != 0));
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 1_000);
    }
}
