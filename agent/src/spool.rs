//! The spool: a snapshot on disk that nobody can read but this process.
//!
//! An unlinked temporary file (mode 0600, `O_TMPFILE` where the file system has it), cut into
//! blocks of [`BLOCK_BYTES`], each sealed with AES-256-GCM under a key that exists in memory only:
//!
//! ```text
//! block n stands at n * (BLOCK_BYTES + 16)
//! block n = ciphertext (BLOCK_BYTES; the last one shorter) | tag (16)
//! nonce   = 4 zero bytes | n, big-endian, 8 bytes
//! ```
//!
//! What must hold: a key seals one spool only and a block once, so no nonce repeats; nothing is
//! readable before [`SpoolWriter::finish`]; memory is bounded by [`CACHE_BLOCKS`], whatever the
//! length; a disk that is full is its own error; dropping a spool, or the process, frees the disk.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, Nonce, Tag};
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// Plain bytes per block. Pages of 4 KiB are read in key order, which is not their order in the
/// file: a larger block would be opened for the sake of one page.
pub const BLOCK_BYTES: usize = 64 << 10;
/// Blocks that stay open in memory while reading: 12 MiB.
pub const CACHE_BLOCKS: usize = WAYS * SETS;

const WAYS: usize = 4;
const SETS: usize = 48;
const TAG_BYTES: usize = 16;
/// Largest bolt node that is read at once. etcd's own limit for a request is 1.5 MiB by default.
const NODE_LIMIT_BYTES: u64 = 256 << 20;

/// Why a snapshot cannot be spooled.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file cannot be created.
    #[error("{}: the spool cannot be created: {source}; check that the directory exists and is \
        writable", directory.display())]
    Create {
        /// The spool directory.
        directory: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The disk is full.
    #[error("{}: the disk is full after {written_bytes} bytes of the snapshot; free space there, \
        or set spool.directory to a larger disk", directory.display())]
    DiskFull {
        /// The spool directory.
        directory: PathBuf,
        /// Plain bytes taken so far.
        written_bytes: u64,
    },
    /// The snapshot is larger than configured.
    #[error(
        "the snapshot is larger than spool.sizeLimit ({limit_bytes} bytes); raise the limit or \
         defragment the member"
    )]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// Another failure of the file.
    #[error("{}: the spool cannot be written: {source}", directory.display())]
    Io {
        /// The spool directory.
        directory: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system's randomness failed: {0}")]
    Random(getrandom::Error),
}

/// A spool that is being written, from its first byte to its last.
pub struct SpoolWriter {
    file: File,
    cipher: Aes256Gcm,
    directory: PathBuf,
    limit_bytes: u64,
    buffer: Zeroizing<Vec<u8>>,
    blocks: u64,
    size_bytes: u64,
}

/// A finished spool, read in any order.
pub struct Spool {
    file: File,
    cipher: Aes256Gcm,
    size_bytes: u64,
    cache: Mutex<Cache>,
}

/// Set-associative: a block may stand in one of the [`WAYS`] slots of its set; the one unused
/// longest goes.
struct Cache {
    slots: Vec<Slot>,
    clock: u64,
}

#[derive(Default)]
struct Slot {
    block: Option<u64>,
    used: u64,
    bytes: Zeroizing<Vec<u8>>,
}

impl SpoolWriter {
    /// Creates the file in `directory` and a fresh key.
    ///
    /// # Errors
    /// [`SpoolError::Create`] and [`SpoolError::Random`].
    pub fn create(directory: &Path, limit_bytes: u64) -> Result<SpoolWriter, SpoolError> {
        let file = tempfile::tempfile_in(directory)
            .map_err(|source| SpoolError::Create { directory: directory.to_owned(), source })?;
        Ok(SpoolWriter {
            file,
            cipher: fresh_cipher()?,
            directory: directory.to_owned(),
            limit_bytes,
            buffer: Zeroizing::new(Vec::with_capacity(BLOCK_BYTES + TAG_BYTES)),
            blocks: 0,
            size_bytes: 0,
        })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`SpoolError::DiskFull`], [`SpoolError::TooLarge`], [`SpoolError::Io`].
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), SpoolError> {
        if self.size_bytes + bytes.len() as u64 > self.limit_bytes {
            return Err(SpoolError::TooLarge { limit_bytes: self.limit_bytes });
        }
        self.size_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BLOCK_BYTES {
                self.seal()?;
            }
        }
        Ok(())
    }

    /// Plain bytes so far.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Ends writing; from here on the spool can be read. It is not synced: it dies with the
    /// process.
    ///
    /// # Errors
    /// As [`SpoolWriter::write`].
    pub fn finish(mut self) -> Result<Spool, SpoolError> {
        if !self.buffer.is_empty() {
            self.seal()?;
        }
        assert_eq!(self.blocks, self.size_bytes.div_ceil(BLOCK_BYTES as u64), "every block sealed");
        let slots = (0..CACHE_BLOCKS).map(|_| Slot::default()).collect();
        let cache = Mutex::new(Cache { slots, clock: 0 });
        Ok(Spool { file: self.file, cipher: self.cipher, size_bytes: self.size_bytes, cache })
    }

    /// Seals what is in the buffer and writes it in its place.
    fn seal(&mut self) -> Result<(), SpoolError> {
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce(self.blocks), b"", self.buffer.as_mut_slice().into())
            .expect("a block is far below the cipher's limit");
        self.buffer.extend_from_slice(&tag);
        let place = self.blocks * (BLOCK_BYTES + TAG_BYTES) as u64;
        self.file.write_all_at(&self.buffer, place).map_err(|source| {
            let directory = self.directory.clone();
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    SpoolError::DiskFull { directory, written_bytes: place }
                }
                _ => SpoolError::Io { directory, source },
            }
        })?;
        self.blocks += 1;
        self.buffer.clear();
        Ok(())
    }
}

impl Spool {
    /// Plain bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Gives the block cache's memory back; the next read fills it anew.
    pub fn release_cache(&self) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in &mut cache.slots {
            *slot = Slot::default();
        }
    }

    /// Appends the bytes `from..to` to `out`.
    fn read_into(&self, from: u64, to: u64, out: &mut Vec<u8>) -> io::Result<()> {
        const BLOCK: u64 = BLOCK_BYTES as u64;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = from;
        while at < to {
            let block = at / BLOCK;
            let bytes = cache.block(block, |buffer| self.open_block(block, buffer))?;
            let start = usize::try_from(at % BLOCK).map_err(io::Error::other)?;
            let end = usize::try_from((to - block * BLOCK).min(BLOCK)).map_err(io::Error::other)?;
            out.extend_from_slice(&bytes[start..end]);
            at = block * BLOCK + end as u64;
        }
        Ok(())
    }

    fn open_block(&self, block: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        const BLOCK: u64 = BLOCK_BYTES as u64;
        let plain = (self.size_bytes - block * BLOCK).min(BLOCK);
        let plain = usize::try_from(plain).map_err(io::Error::other)?;
        buffer.resize(plain + TAG_BYTES, 0);
        self.file.read_exact_at(buffer, block * (BLOCK + TAG_BYTES as u64))?;
        let (text, tag) = buffer.split_at_mut(plain);
        let tag = Tag::try_from(&*tag).map_err(io::Error::other)?;
        let opened = self.cipher.decrypt_inout_detached(&nonce(block), b"", text.into(), &tag);
        opened.map_err(|_| {
            let text =
                format!("block {block} of the spool was changed on the disk; check the disk");
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        buffer.truncate(plain);
        Ok(())
    }
}

impl holdfast_bolt::PageSource for Spool {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Cow<'_, [u8]>> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.size_bytes);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut out = Vec::with_capacity(len);
        self.read_into(offset, end, &mut out)?;
        Ok(Cow::Owned(out))
    }

    fn node_limit_bytes(&self) -> u64 {
        NODE_LIMIT_BYTES
    }
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SpoolWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpoolWriter").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

impl Cache {
    /// The plain bytes of a block, opened by `open` if they are not at hand.
    fn block(
        &mut self,
        block: u64,
        open: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<&[u8]> {
        self.clock += 1;
        let set = usize::try_from(block % SETS as u64).map_err(io::Error::other)? * WAYS;
        let ways = &self.slots[set..set + WAYS];
        let hit = ways.iter().position(|slot| slot.block == Some(block));
        let way = hit.or_else(|| (0..WAYS).min_by_key(|way| ways[*way].used)).unwrap_or(0);
        let slot = &mut self.slots[set + way];
        if hit.is_none() {
            // Never claim a block whose opening failed.
            slot.block = None;
            open(&mut slot.bytes)?;
            slot.block = Some(block);
        }
        slot.used = self.clock;
        Ok(&slot.bytes)
    }
}

fn nonce(block: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&block.to_be_bytes());
    bytes.into()
}

fn fresh_cipher() -> Result<Aes256Gcm, SpoolError> {
    let mut key = Zeroizing::new([0u8; 32]);
    getrandom::fill(key.as_mut_slice()).map_err(SpoolError::Random)?;
    Ok(Aes256Gcm::new((&*key).into()))
}

#[cfg(test)]
mod tests;
