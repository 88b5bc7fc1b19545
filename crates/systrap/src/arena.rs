//! The memory that a stub and the Sentry share: a file, and the Sentry's mapping of it.
//!
//! It is used again once its process is dead: to make and map one costs as much as to make the process.

use crate::layout::*;
use crate::shared::Shared;
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};
use rustix::io;
use std::sync::Arc;

/// A stub's shared file.
pub struct Arena {
    pub file: OwnedFd,
    pub shared: Arc<Shared>,
    /// Blocks that have a host thread.
    pub slots: AtomicUsize,
    /// Blocks that have been meant for one: in their chunks, a guest may have written.
    pub reach: AtomicUsize,
}

impl Arena {
    /// A new one, all zeroes.
    pub fn new() -> io::Result<Arena> {
        let file = memfd_create("stub", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, FILE_LEN as u64)?;
        // So that the Sentry can't get `SIGBUS` for want of memory.
        fallocate(&file, FallocateFlags::empty(), 0, (FILE_RESPONSE + RESPONSE_LEN) as u64)?;
        let shared = Arc::new(Shared::map(file.as_fd(), FILE_LEN)?);
        Ok(Arena { file, shared, slots: AtomicUsize::new(0), reach: AtomicUsize::new(0) })
    }

    /// The same as a new one, after its process is dead; nothing if someone still uses it, or if that is not worth it.
    /// What the guest wrote into blocks that no thread of it had is dropped, too.
    pub fn cleared(self) -> Option<Arena> {
        self.slots.store(0, Ordering::SeqCst);
        let slots = self.reach.swap(0, Ordering::SeqCst);
        if slots > CHUNK || Arc::strong_count(&self.shared) > 1 {
            return None;
        }
        let used = FILE_CONTEXTS + slots * BLOCK;
        let unused = ((CHUNK - slots) * BLOCK) as u64;
        if unused > 0 {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.file, punch, used as u64, unused).ok()?;
        }
        self.shared.zero(0..FILE_RESPONSE + RESPONSE_LEN);
        self.shared.zero(FILE_CONTEXTS..used);
        Some(self)
    }
}
