//! 32 secret bytes on a memory page of their own, locked so that they are never written to swap.
//!
//! Holds: the page holds nothing else, since unlocking one page unlocks all that lies on it; the
//! bytes are wiped before the page is unlocked and given back; where the system refuses (the limit
//! `RLIMIT_MEMLOCK`), the secret is used all the same and that is told once.

use std::sync::Once;
use zeroize::{Zeroize, Zeroizing};

/// The usual page. Where pages are larger, neighbours on the same one may be unlocked too early:
/// then a secret is as safe as without this.
const PAGE_BYTES: usize = 4096;

#[repr(align(4096))]
struct Page([u8; PAGE_BYTES]);

/// A secret in locked memory.
pub(crate) struct LockedSecret {
    // In front of the page: fields are dropped in order, and memory that was given back must not be
    // unlocked. `drop` wipes before either.
    _guard: Option<region::LockGuard>,
    page: Box<Page>,
}

impl LockedSecret {
    /// Copies the secret to its page; the caller's copy is wiped by its own type.
    pub(crate) fn new(secret: &Zeroizing<[u8; 32]>) -> LockedSecret {
        let mut page = Box::new(Page([0; PAGE_BYTES]));
        let guard = match region::lock(page.0.as_ptr(), PAGE_BYTES) {
            Ok(guard) => Some(guard),
            Err(error) => {
                tell_once(&error);
                None
            }
        };
        page.0[..32].copy_from_slice(&**secret);
        LockedSecret { _guard: guard, page }
    }

    /// The secret.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        self.page.0.first_chunk().expect("a page is longer than a secret")
    }
}

impl Drop for LockedSecret {
    fn drop(&mut self) {
        self.page.0[..32].zeroize();
    }
}

fn tell_once(error: &region::Error) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::warn!(
            %error,
            "seeds cannot be locked in memory and could be written to swap; raise LimitMEMLOCK \
             (ulimit -l), or run without swap"
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the mapping that holds this address is locked, as the kernel tells.
    fn is_locked(address: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let first = line.split_whitespace().next().unwrap_or_default();
            if let Some((start, end)) = first.split_once('-') {
                let number = |text| usize::from_str_radix(text, 16).unwrap();
                inside = (number(start)..number(end)).contains(&address);
            } else if inside && first == "VmFlags:" {
                return line.split_whitespace().any(|flag| flag == "lo");
            }
        }
        panic!("no mapping holds {address:x}");
    }

    #[test]
    fn a_secret_lies_on_a_locked_page() {
        let secrets: Vec<LockedSecret> =
            (0..8u8).map(|fill| LockedSecret::new(&Zeroizing::new([fill; 32]))).collect();
        for (fill, secret) in (0u8..).zip(&secrets) {
            assert_eq!(secret.bytes(), &[fill; 32]);
            assert!(is_locked(secret.bytes().as_ptr().addr()), "secret {fill}");
        }
        let plain = vec![0u8; 1 << 20];
        assert!(!is_locked(plain.as_ptr().addr()), "the test would notice");
    }
}
