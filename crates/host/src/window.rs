//! A part of a host file mapped into the Sentry, for as long as the [`Window`] lives.

use crate::fault;
use crate::guestmem::HostRange;
use abi::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::BorrowedFd;

/// A shared mapping of a host file. Its pages may fault at any time: others may truncate the file.
pub struct Window {
    base: *mut u8,
    len: usize,
    writable: bool,
}

// SAFETY: an owned mapping that is only reached through `HostRange`.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// Maps `len` bytes from the page-aligned `offset`.
    ///
    /// # Errors
    /// The host's.
    pub fn new(fd: BorrowedFd<'_>, offset: u64, len: usize, writable: bool) -> Result<Window, Errno> {
        fault::install();
        let prot = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a new mapping at an address of the host's choice touches no existing memory.
        let base =
            unsafe { mmap(core::ptr::null_mut(), len, prot, MapFlags::SHARED | MapFlags::NORESERVE, fd, offset) }
                .map_err(|e| Errno::from_raw(e.raw_os_error()).unwrap_or(Errno::EIO))?;
        Ok(Window { base: base.cast(), len, writable })
    }

    /// The mapped bytes.
    #[must_use]
    pub fn range(&self) -> HostRange<'_> {
        // SAFETY: the mapping lives as long as the borrow of `self`, and nothing else refers to it.
        unsafe { HostRange::from_raw(self.base, self.len, self.writable) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and every range of it has borrowed `self`.
        let _ = unsafe { munmap(self.base.cast(), self.len) };
    }
}
