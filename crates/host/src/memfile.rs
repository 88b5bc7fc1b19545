//! The memory file: one sparse file that backs all anonymous guest memory.
//!
//! It is a memfd, or better a file of a tmpfs that gives large folios and huge pages: those cost the host a fifth to a tenth.
//! It is mapped whole into the Sentry, once, and never unmapped. [`crate::frames`] says which pages belong to whom.

use crate::fault;
use crate::guestmem::HostRange;
use abi::Errno;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::pwrite;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::process::{Resource, getrlimit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The size asked for by default: far more than any host has, so that it never needs to grow.
pub const DEFAULT_SIZE: u64 = 1 << 40;

const MINIMUM_SIZE: u64 = 64 << 20;

/// Size and alignment of a huge page.
pub const HUGE: u64 = 2 << 20;

/// A file mapped into the Sentry for ever, at the most it may come to.
pub struct MemoryFile {
    fd: OwnedFd,
    base: *mut u8,
    len: u64,
    huge: bool,
    grows: bool,
}

// SAFETY: the mapping is only reached through `HostRange`.
unsafe impl Send for MemoryFile {}
// SAFETY: as above.
unsafe impl Sync for MemoryFile {}

fn errno(e: rustix::io::Errno) -> Errno {
    Errno::from_raw(e.raw_os_error()).unwrap_or(Errno::EIO)
}

impl MemoryFile {
    /// A memory file of `len` bytes, or of as many as the host's limits allow.
    ///
    /// # Errors
    /// The host's, if not even a small one can be had.
    pub fn new(len: u64) -> Result<MemoryFile, Errno> {
        let file = MemoryFile::on(create()?, len)?;
        ftruncate(&file.fd, file.len).map_err(errno)?;
        // The stubs hold this descriptor too; none may change the size under the Sentry's mapping.
        fcntl_add_seals(&file.fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).map_err(errno)?;
        Ok(MemoryFile { huge: false, grows: false, ..file })
    }

    /// The same in an empty file of a tmpfs with `huge=within_size`. Nothing of it may be used before [`MemoryFile::grow`]: its size
    /// tells the host how large the folios may be that it makes. It can't be sealed: that no stub changes its size is left to
    /// their filters, which keep them from any call that could.
    ///
    /// # Errors
    /// The same.
    pub fn on(fd: OwnedFd, len: u64) -> Result<MemoryFile, Errno> {
        fault::install();
        let limit = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        let mut len = len.min(limit) & !(abi::PAGE_SIZE - 1);
        // If addresses are few, a half of them is left for others, such as what is shared with each stub.
        let mut few = false;
        let base = loop {
            let smaller = (len / 2) & !(abi::PAGE_SIZE - 1);
            match map(&fd, len) {
                Ok(base) if few && smaller >= MINIMUM_SIZE => {
                    // SAFETY: the mapping was just made, and nobody has its address.
                    unsafe { munmap(base.cast(), usize::try_from(len).unwrap_or(usize::MAX)) }.map_err(errno)?;
                    len = smaller;
                    break map(&fd, len)?;
                }
                Ok(base) => break base,
                Err(_) if smaller >= MINIMUM_SIZE => len = smaller,
                Err(e) => return Err(e),
            }
            few = true;
        };
        Ok(MemoryFile { fd, base, len, huge: base.addr().is_multiple_of(HUGE as usize), grows: true })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never true.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The descriptor's number, for [`MapOp`](https://man7.org/linux/man-pages/man2/mmap.2.html)-like requests.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The Sentry's view of `len` bytes at `offset`, clipped to the file.
    #[must_use]
    pub fn range(&self, offset: u64, len: u64) -> HostRange<'static> {
        let offset = offset.min(self.len);
        let len = len.min(self.len - offset);
        // SAFETY: inside the mapping, which is never unmapped and which nothing else refers to.
        unsafe { HostRange::from_raw(self.base.wrapping_add(offset as usize), len as usize, true) }
    }

    /// Whether it is empty at first, and must [`MemoryFile::grow`].
    #[must_use]
    pub fn grows(&self) -> bool {
        self.grows
    }

    /// Whether it may have large folios.
    #[must_use]
    pub fn huge(&self) -> bool {
        self.huge
    }

    /// Makes the file end at `end`, which is not before its present end.
    ///
    /// # Errors
    /// The host's.
    pub fn grow(&self, end: u64) -> Result<(), Errno> {
        ftruncate(&self.fd, end.min(self.len)).map_err(errno)
    }

    /// Has the host give one folio for `unit` bytes at `offset`, by writing a zero to `own`, a byte in it which is the caller's and is
    /// zero: the host makes it as large as fits into the file there. Says whether it did.
    pub fn bring(&self, offset: u64, unit: u64, own: u64) -> bool {
        if !self.huge || offset.checked_add(unit).is_none_or(|end| end > self.len) {
            return false;
        }
        let mut last = [0];
        if pwrite(&self.fd, &[0], own) == Ok(1) {
            self.resident(offset + unit - abi::PAGE_SIZE, &mut last);
        }
        last == [1]
    }

    /// Sets a byte for each page from `offset` on to whether the host has memory for it.
    pub fn resident(&self, offset: u64, pages: &mut [u8]) {
        let len = (pages.len() as u64).saturating_mul(abi::PAGE_SIZE);
        if !offset.is_multiple_of(abi::PAGE_SIZE) || offset.checked_add(len).is_none_or(|end| end > self.len) {
            pages.fill(0);
            return;
        }
        // SAFETY: asks about a part of our mapping, and `pages` has a byte for each of its pages.
        let failed = unsafe {
            libc::mincore(self.base.wrapping_add(offset as usize).cast(), len as usize, pages.as_mut_ptr()) != 0
        };
        for page in pages {
            *page = u8::from(failed || *page & 1 != 0);
        }
    }

    /// Gives the host back the memory of a range; it reads as zeroes from now on.
    ///
    /// # Errors
    /// The host's.
    pub fn punch(&self, offset: u64, len: u64) -> Result<(), Errno> {
        loop {
            match fallocate(&self.fd, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other.map_err(errno),
            }
        }
    }
}

impl AsFd for MemoryFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// No file mode bit allows executing it as a program; mapping its pages executable stays possible.
fn create() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("vizor-memory", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => memfd_create("vizor-memory", flags).map_err(errno),
        other => other.map_err(errno),
    }
}

fn map(fd: &OwnedFd, len: u64) -> Result<*mut u8, Errno> {
    let length = usize::try_from(len).map_err(|_| Errno::ENOMEM)?;
    let flags = MapFlags::SHARED | MapFlags::NORESERVE;
    // SAFETY: a new mapping at an address of the host's choice touches no existing memory.
    let base = unsafe { mmap(core::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags, fd, 0) };
    base.map(<*mut _>::cast).map_err(errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sparse_and_forgets_what_is_punched() {
        let file = MemoryFile::new(DEFAULT_SIZE).unwrap();
        assert!(file.len() >= MINIMUM_SIZE);
        let last = file.range(file.len() - 8, 100);
        assert_eq!(last.len(), 8);
        last.write(b"the end!").unwrap();
        file.punch(file.len() - 4096, 4096).unwrap();
        assert_eq!(last.load_u64(), Ok(0));
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
    }
}
