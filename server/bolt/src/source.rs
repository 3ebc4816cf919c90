//! Where pages come from: an immutable run of bytes.
//!
//! What must hold: the bytes do not change while the source lives, and two reads of a range give
//! the same bytes. A read never goes beyond `size_bytes()`.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

/// Nodes larger than this are refused by sources that return owned bytes, unless they say
/// otherwise: a damaged page must not make the reader allocate the whole file.
const DEFAULT_NODE_LIMIT_BYTES: u64 = 1 << 30;

/// An immutable source of bytes: a map, a slice, or a reader that decrypts.
///
/// A range scan reads the leaves in key order, each with one read (a second one if the node has
/// overflow pages), and the branches above them once each.
pub trait PageSource {
    /// Number of bytes in the source. Bytes after the last page (such as the digest at the end of
    /// a snapshot file) are allowed.
    fn size_bytes(&self) -> u64;

    /// Exactly `len` bytes from `offset` on; borrowed if they are at hand, else owned.
    ///
    /// # Errors
    /// `UnexpectedEof` if the range does not lie within the source; whatever the source fails with.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Cow<'_, [u8]>>;

    /// Largest node (page and its overflow pages) that may be asked for at once, in bytes. A
    /// source that returns owned bytes bounds its memory so; 1 GiB if it does not say.
    fn node_limit_bytes(&self) -> u64 {
        DEFAULT_NODE_LIMIT_BYTES
    }
}

impl PageSource for [u8] {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Cow<'_, [u8]>> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(len).ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes = self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Cow::Borrowed(bytes))
    }

    fn node_limit_bytes(&self) -> u64 {
        u64::MAX
    }
}

impl PageSource for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.as_slice().size_bytes()
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Cow<'_, [u8]>> {
        self.as_slice().read_at(offset, len)
    }

    fn node_limit_bytes(&self) -> u64 {
        u64::MAX
    }
}

/// Forwards to the source behind a pointer.
macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<S: PageSource + ?Sized> PageSource for $pointer {
            fn size_bytes(&self) -> u64 {
                (**self).size_bytes()
            }

            fn read_at(&self, offset: u64, len: usize) -> io::Result<Cow<'_, [u8]>> {
                (**self).read_at(offset, len)
            }

            fn node_limit_bytes(&self) -> u64 {
                (**self).node_limit_bytes()
            }
        }
    )*};
}

forward!(&S, Box<S>, Arc<S>);
