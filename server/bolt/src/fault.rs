//! Disks for tests: in memory, failing at the n-th call, forgetting what was not synced. Ordinary
//! implementations of [`Disk`], usable by every crate's tests.

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, DiskError, DiskOperation};
use crate::source::PageSource;
use crate::store::{StoreDisk, StorePages};

/// A disk that a store can use, around any other: its pages are read through the disk itself, and
/// copied. Clones are the same disk.
#[derive(Debug)]
pub struct SharedDisk<D> {
    inner: Arc<Mutex<D>>,
}

impl<D: Disk> SharedDisk<D> {
    /// Shares a disk.
    pub fn new(inner: D) -> SharedDisk<D> {
        SharedDisk { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Looks at the disk below.
    pub fn with<T>(&self, look: impl FnOnce(&mut D) -> T) -> T {
        look(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<D> Clone for SharedDisk<D> {
    fn clone(&self) -> SharedDisk<D> {
        SharedDisk { inner: Arc::clone(&self.inner) }
    }
}

impl<D: Disk> Disk for SharedDisk<D> {
    fn size_bytes(&self) -> Result<u64, DiskError> {
        self.with(|disk| disk.size_bytes())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.with(|disk| disk.read_at(offset, out))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.with(|disk| disk.write_at(offset, bytes))
    }

    fn set_len(&mut self, len: u64) -> Result<(), DiskError> {
        self.with(|disk| disk.set_len(len))
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        self.with(Disk::sync_data)
    }

    fn sync_all(&mut self) -> Result<(), DiskError> {
        self.with(Disk::sync_all)
    }
}

impl<D: Disk + Send + 'static> StoreDisk for SharedDisk<D> {
    type Pages = SharedPages<D>;

    fn pages(&mut self, len: u64, _reserve_bytes: u64) -> Result<SharedPages<D>, DiskError> {
        Ok(SharedPages { disk: self.clone(), len })
    }
}

/// The pages of a [`SharedDisk`].
#[derive(Debug)]
pub struct SharedPages<D> {
    disk: SharedDisk<D>,
    len: u64,
}

impl<D> Clone for SharedPages<D> {
    fn clone(&self) -> SharedPages<D> {
        SharedPages { disk: self.disk.clone(), len: self.len }
    }
}

impl<D: Disk> PageSource for SharedPages<D> {
    fn size_bytes(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Cow<'_, [u8]>> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.len);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut bytes = vec![0; len];
        self.disk.read_at(offset, &mut bytes).map_err(io::Error::other)?;
        Ok(Cow::Owned(bytes))
    }
}

impl<D: Disk + Send + 'static> StorePages for SharedPages<D> {
    fn copy_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.copy_from_slice(&self.read_at(offset, out.len())?);
        Ok(())
    }
}

/// A disk in memory that never fails, save for reads beyond its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryDisk {
    bytes: Vec<u8>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// A disk that holds these bytes.
    pub fn holding(bytes: Vec<u8>) -> MemoryDisk {
        MemoryDisk { bytes }
    }

    /// What was written.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Disk for MemoryDisk {
    fn size_bytes(&self) -> Result<u64, DiskError> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let start = position(DiskOperation::Read, offset)?;
        let bytes = start.checked_add(out.len()).and_then(|end| self.bytes.get(start..end));
        let eof = || failed(DiskOperation::Read, io::ErrorKind::UnexpectedEof.into());
        out.copy_from_slice(bytes.ok_or_else(eof)?);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let start = position(DiskOperation::Write, offset)?;
        let end = start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> Result<(), DiskError> {
        self.bytes.resize(position(DiskOperation::SetLen, len)?, 0);
        Ok(())
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        Ok(())
    }

    fn sync_all(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// A disk that fails one call: the `n`-th of those counted, from 0. A write that fails has written
/// its first half; a sync that fails poisons.
#[derive(Debug)]
pub struct FaultDisk<D> {
    inner: D,
    fail_at: u64,
    calls: std::cell::Cell<u64>,
    counts_reads: bool,
    poisoned: bool,
}

impl<D: Disk> FaultDisk<D> {
    /// Fails call number `fail_at` (of any kind); `u64::MAX` to count only.
    pub fn new(inner: D, fail_at: u64) -> FaultDisk<D> {
        let calls = std::cell::Cell::new(0);
        FaultDisk { inner, fail_at, calls, counts_reads: true, poisoned: false }
    }

    /// Counts and fails only calls that change something: writes, lengths and syncs.
    pub fn of_changes(inner: D, fail_at: u64) -> FaultDisk<D> {
        FaultDisk { counts_reads: false, ..FaultDisk::new(inner, fail_at) }
    }

    /// From now on call number `fail_at` fails, counted from the beginning.
    pub fn fail_at(&mut self, fail_at: u64) {
        self.fail_at = fail_at;
    }

    /// Number of calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.get()
    }

    /// The disk below.
    pub fn into_inner(self) -> D {
        self.inner
    }

    /// The disk below.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// Counts a call and says whether it is the one to fail.
    fn strikes(&self) -> Result<bool, DiskError> {
        if self.poisoned {
            return Err(DiskError::Poisoned { place: "the fault disk".to_owned() });
        }
        let call = self.calls.get();
        self.calls.set(call + 1);
        Ok(call == self.fail_at)
    }

    fn guard(&self, operation: DiskOperation) -> Result<(), DiskError> {
        let reads = matches!(operation, DiskOperation::Read | DiskOperation::Size);
        if reads && !self.counts_reads && !self.poisoned {
            return Ok(());
        }
        if self.strikes()? { Err(injected(operation)) } else { Ok(()) }
    }
}

impl<D: Disk> Disk for FaultDisk<D> {
    fn size_bytes(&self) -> Result<u64, DiskError> {
        self.guard(DiskOperation::Size)?;
        self.inner.size_bytes()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.guard(DiskOperation::Read)?;
        self.inner.read_at(offset, out)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if self.strikes()? {
            self.inner.write_at(offset, &bytes[..bytes.len() / 2])?;
            return Err(injected(DiskOperation::Write));
        }
        self.inner.write_at(offset, bytes)
    }

    fn set_len(&mut self, len: u64) -> Result<(), DiskError> {
        self.guard(DiskOperation::SetLen)?;
        self.inner.set_len(len)
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        self.guard(DiskOperation::SyncData).inspect_err(|_| self.poisoned = true)?;
        self.inner.sync_data()
    }

    fn sync_all(&mut self) -> Result<(), DiskError> {
        self.guard(DiskOperation::SyncAll).inspect_err(|_| self.poisoned = true)?;
        self.inner.sync_all()
    }
}

/// Bytes that a real disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A disk that remembers which writes were synced, and can say what a crash would leave. A write
/// counts as one change per sector.
#[derive(Debug, Clone, Default)]
pub struct CrashDisk {
    now: MemoryDisk,
    durable: MemoryDisk,
    pending: Vec<Pending>,
}

#[derive(Debug, Clone)]
enum Pending {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

impl Pending {
    fn apply(&self, disk: &mut MemoryDisk) -> Result<(), DiskError> {
        match self {
            Pending::Write { offset, bytes } => disk.write_at(*offset, bytes),
            Pending::SetLen(len) => disk.set_len(*len),
        }
    }
}

impl CrashDisk {
    /// An empty disk.
    pub fn new() -> CrashDisk {
        CrashDisk::default()
    }

    /// Number of changes that no sync covers yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What a crash at this moment leaves: all that was synced, and of the later changes those for
    /// which `survives` (given their number) says yes. Changes survive in any combination.
    ///
    /// # Errors
    /// Never for changes that this disk took.
    pub fn after_crash(
        &self,
        mut survives: impl FnMut(usize) -> bool,
    ) -> Result<MemoryDisk, DiskError> {
        let mut disk = self.durable.clone();
        for (number, change) in self.pending.iter().enumerate() {
            if !survives(number) {
                continue;
            }
            change.apply(&mut disk)?;
        }
        Ok(disk)
    }

    /// A disk that holds these bytes, all of them durable.
    pub fn holding(disk: MemoryDisk) -> CrashDisk {
        CrashDisk { now: disk.clone(), durable: disk, pending: Vec::new() }
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable)?;
        }
        Ok(())
    }
}

impl Disk for CrashDisk {
    fn size_bytes(&self) -> Result<u64, DiskError> {
        self.now.size_bytes()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.now.read_at(offset, out)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let within = usize::try_from(at % SECTOR_BYTES as u64).unwrap_or(0);
            let (sector, after) = rest.split_at(rest.len().min(SECTOR_BYTES - within));
            self.pending.push(Pending::Write { offset: at, bytes: sector.to_vec() });
            at += sector.len() as u64;
            rest = after;
        }
        self.now.write_at(offset, bytes)
    }

    fn set_len(&mut self, len: u64) -> Result<(), DiskError> {
        self.pending.push(Pending::SetLen(len));
        self.now.set_len(len)
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        self.sync()
    }

    fn sync_all(&mut self) -> Result<(), DiskError> {
        self.sync()
    }
}

fn position(operation: DiskOperation, offset: u64) -> Result<usize, DiskError> {
    let limit = isize::MAX.unsigned_abs() as u64 / 2;
    let fits = usize::try_from(offset).ok().filter(|_| offset <= limit);
    fits.ok_or_else(|| failed(operation, io::ErrorKind::InvalidInput.into()))
}

fn injected(operation: DiskOperation) -> DiskError {
    failed(operation, io::Error::other("injected fault"))
}

fn failed(operation: DiskOperation, source: io::Error) -> DiskError {
    DiskError::Failed { operation, place: "the memory disk".to_owned(), source }
}
