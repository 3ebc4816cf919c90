//! Locks of state that stays whole when a thread panics: what a lock guards here is changed by
//! calls that do all of it or nothing, so a poisoned lock is taken as it is.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// For reading.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// For changing.
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
