//! Memory shared with a stub, which may change it at any time.
//!
//! No reference to plain data is ever formed over it: all access is by atomic words, each read once by its user.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use rustix::io;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::BorrowedFd;

/// The Sentry's mapping of a shared file.
pub struct Shared {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, and all access is atomic.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps the whole file.
    pub fn map(fd: BorrowedFd<'_>, len: usize) -> io::Result<Shared> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base =
            unsafe { mmap(core::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0)? };
        Ok(Shared { base: NonNull::new(base.cast()).ok_or(io::Errno::NOMEM)?, len })
    }

    /// A word at an offset, which is the Sentry's own choice and must lie in the mapping.
    pub fn u32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < self.len && self.len - offset >= 4);
        // SAFETY: aligned, inside the mapping, which lives as long as `self`; other processes use it as memory only.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// A double word at an offset, as above.
    pub fn u64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < self.len && self.len - offset >= 8);
        // SAFETY: as in `u32`.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// Reads a double word.
    pub fn get(&self, offset: usize) -> u64 {
        self.u64(offset).load(Ordering::Relaxed)
    }

    /// Writes a double word.
    pub fn set(&self, offset: usize, value: u64) {
        self.u64(offset).store(value, Ordering::Relaxed);
    }

    /// Copies out; offset and length are multiples of eight.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        for (at, chunk) in out.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&self.get(offset + 8 * at).to_ne_bytes());
        }
    }

    /// Copies in; offset and length are multiples of eight.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        for (at, chunk) in bytes.chunks_exact(8).enumerate() {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.set(offset + 8 * at, u64::from_ne_bytes(word));
        }
    }

    /// Zeroes a range whose ends are multiples of eight.
    pub fn zero(&self, range: core::ops::Range<usize>) {
        for offset in range.step_by(8) {
            self.set(offset, 0);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}
