//! Memory that guests share with the Sentry, and the only ways to touch it.
//!
//! A [`HostRange`] names bytes that a guest may write at any moment and that a truncation may take away, so no reference
//! to them is ever formed: bytes are copied in and out by [`crate::fault`]'s routines, words are accessed atomically, and
//! the host reads and writes them itself ([`preadv`] and the others).

use crate::fault;
use abi::Errno;
use core::fmt;
use core::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The memory could not be accessed; `done` bytes were before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Bytes that were copied or zeroed before the fault.
    pub done: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault after {} bytes", self.done)
    }
}

impl From<Fault> for Errno {
    fn from(_: Fault) -> Errno {
        Errno::EFAULT
    }
}

/// A range of the Sentry's address space whose bytes others may change or remove while it is used.
///
/// It lies in a mapping or a buffer that lives as long as `'a`: for ever for the memory file.
#[derive(Clone, Copy)]
pub struct HostRange<'a> {
    ptr: *mut u8,
    len: usize,
    writable: bool,
    of: PhantomData<&'a u8>,
}

// SAFETY: it is an address and a length; every access through it tolerates any concurrent access.
unsafe impl Send for HostRange<'_> {}
// SAFETY: as above.
unsafe impl Sync for HostRange<'_> {}

impl fmt::Debug for HostRange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:p}+{:#x}", self.ptr, self.len)
    }
}

impl<'a> HostRange<'a> {
    /// # Safety
    /// `ptr..ptr + len` must be, for all of `'a`, either a mapping (whose pages may fault) that no Rust reference or
    /// allocation overlaps, or a buffer borrowed for `'a`, mutably if `writable`.
    #[must_use]
    pub unsafe fn from_raw(ptr: *mut u8, len: usize, writable: bool) -> HostRange<'a> {
        HostRange { ptr, len, writable, of: PhantomData }
    }

    /// A kernel buffer as a destination.
    #[must_use]
    pub fn of_buffer(buffer: &'a mut [u8]) -> HostRange<'a> {
        HostRange { ptr: buffer.as_mut_ptr(), len: buffer.len(), writable: true, of: PhantomData }
    }

    /// A kernel buffer as a source.
    #[must_use]
    pub fn of_bytes(bytes: &'a [u8]) -> HostRange<'a> {
        HostRange { ptr: bytes.as_ptr().cast_mut(), len: bytes.len(), writable: false, of: PhantomData }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// At most `len` bytes from `offset`, clipped to the range.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> HostRange<'a> {
        let offset = offset.min(self.len);
        let len = len.min(self.len - offset);
        HostRange { ptr: self.ptr.wrapping_add(offset), len, ..*self }
    }

    /// Copies the first `dst.len()` bytes out of the range.
    ///
    /// # Errors
    /// [`Fault`] if the range is shorter or a page is gone.
    pub fn read(&self, dst: &mut [u8]) -> Result<(), Fault> {
        let len = dst.len().min(self.len);
        // SAFETY: `dst` is valid for `len` bytes; the source is valid or faults, which the routine survives.
        let left = unsafe { fault::vizor_copy(dst.as_mut_ptr(), self.ptr, len) };
        finish(len - left.min(len), dst.len())
    }

    /// Copies `src` to the start of the range.
    ///
    /// # Errors
    /// [`Fault`] if the range is shorter or not writable, or a page is gone.
    pub fn write(&self, src: &[u8]) -> Result<(), Fault> {
        let len = if self.writable { src.len().min(self.len) } else { 0 };
        // SAFETY: `src` is valid for `len` bytes; the destination is ours to write by the type's invariant, or faults.
        let left = unsafe { fault::vizor_copy(self.ptr, src.as_ptr(), len) };
        finish(len - left.min(len), src.len())
    }

    /// Zeroes the whole range.
    ///
    /// # Errors
    /// [`Fault`] if it is not writable or a page is gone.
    pub fn zero(&self) -> Result<(), Fault> {
        let len = if self.writable { self.len } else { 0 };
        // SAFETY: the destination is ours to write by the type's invariant, or faults, which the routine survives.
        let left = unsafe { fault::vizor_zero(self.ptr, len) };
        finish(len - left.min(len), self.len)
    }

    /// Copies as many bytes as both ranges have from `src` to this one. They may overlap only if they are the same.
    ///
    /// # Errors
    /// [`Fault`] if this is not writable or a page of either is gone.
    pub fn copy_from(&self, src: &HostRange<'_>) -> Result<usize, Fault> {
        let want = src.len.min(self.len);
        let len = if self.writable { want } else { 0 };
        // SAFETY: both are valid or fault; the destination is ours to write by the type's invariant.
        let left = unsafe { fault::vizor_copy(self.ptr, src.ptr, len) };
        finish(len - left.min(len), want).map(|()| want)
    }

    fn word(&self, size: usize, write: bool) -> Result<*mut u8, Fault> {
        if self.len < size || (write && !self.writable) || !(self.ptr as usize).is_multiple_of(size) {
            return Err(Fault { done: 0 });
        }
        Ok(self.ptr)
    }

    /// Loads the aligned word at the start.
    ///
    /// # Errors
    /// [`Fault`] if it is misaligned, too short or gone.
    pub fn load_u32(&self) -> Result<u32, Fault> {
        let at = self.word(4, false)?;
        // SAFETY: the word lies in the range, or faults. An aligned load is atomic on x86-64.
        value32(unsafe { fault::vizor_load32(at) })
    }

    /// Loads the aligned word at the start.
    ///
    /// # Errors
    /// [`Fault`] if it is misaligned, too short or gone.
    pub fn load_u64(&self) -> Result<u64, Fault> {
        let at = self.word(8, false)?;
        // SAFETY: as in `load_u32`.
        let word = unsafe { fault::vizor_load64(at) };
        if word.failed == 0 { Ok(word.value) } else { Err(Fault { done: 0 }) }
    }

    /// Stores a word and returns the one that was there.
    ///
    /// # Errors
    /// [`Fault`] if it is misaligned, too short, not writable or gone.
    pub fn swap_u32(&self, new: u32) -> Result<u32, Fault> {
        let at = self.word(4, true)?;
        // SAFETY: the word lies in the range, which is writable, or faults.
        value32(unsafe { fault::vizor_xchg32(at, new) })
    }

    /// Stores a word.
    ///
    /// # Errors
    /// As [`HostRange::swap_u32`].
    pub fn store_u32(&self, new: u32) -> Result<(), Fault> {
        self.swap_u32(new).map(|_| ())
    }

    /// Stores `new` if the word is `expected`, and returns what it was.
    ///
    /// # Errors
    /// As [`HostRange::swap_u32`].
    pub fn compare_exchange_u32(&self, expected: u32, new: u32) -> Result<u32, Fault> {
        let at = self.word(4, true)?;
        // SAFETY: the word lies in the range, which is writable, or faults.
        value32(unsafe { fault::vizor_cmpxchg32(at, expected, new) })
    }

    /// Replaces the word by `change` of it, atomically, and returns what it was.
    ///
    /// # Errors
    /// As [`HostRange::swap_u32`]; also if a guest keeps changing the word.
    pub fn update_u32(&self, change: impl Fn(u32) -> u32) -> Result<u32, Fault> {
        let mut old = self.load_u32()?;
        for _ in 0..1 << 16 {
            let seen = self.compare_exchange_u32(old, change(old))?;
            if seen == old {
                return Ok(old);
            }
            old = seen;
        }
        Err(Fault { done: 0 })
    }
}

fn finish(done: usize, want: usize) -> Result<(), Fault> {
    if done == want { Ok(()) } else { Err(Fault { done }) }
}

fn value32(word: fault::Word) -> Result<u32, Fault> {
    if word.failed == 0 { Ok(word.value as u32) } else { Err(Fault { done: 0 }) }
}

/// Most ranges that one host call takes (`UIO_MAXIOV`); the rest makes for a short count.
pub const IOV_MAX: usize = 1024;

fn with_iovecs<R>(ranges: &[HostRange<'_>], call: impl FnOnce(*const libc::iovec, i32) -> R) -> R {
    const FEW: usize = 16;
    let iovec = |r: &HostRange<'_>| libc::iovec { iov_base: r.ptr.cast(), iov_len: r.len };
    if ranges.len() <= FEW {
        let mut few = [libc::iovec { iov_base: core::ptr::null_mut(), iov_len: 0 }; FEW];
        for (slot, range) in few.iter_mut().zip(ranges) {
            *slot = iovec(range);
        }
        call(few.as_ptr(), ranges.len() as i32)
    } else {
        let many: Vec<libc::iovec> = ranges.iter().take(IOV_MAX).map(iovec).collect();
        call(many.as_ptr(), many.len() as i32)
    }
}

/// The result of a host call that returns a count.
fn count(ret: isize) -> Result<usize, Errno> {
    usize::try_from(ret).map_err(|_| {
        let raw = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        Errno::from_raw(raw).unwrap_or(Errno::EIO)
    })
}

fn all_writable(ranges: &[HostRange<'_>]) -> Result<(), Errno> {
    if ranges.iter().all(|r| r.writable) { Ok(()) } else { Err(Errno::EFAULT) }
}

/// `preadv2(2)` of a host file straight into the ranges; `flags` are `RWF_*`.
///
/// # Errors
/// The host's.
pub fn preadv(fd: BorrowedFd<'_>, ranges: &[HostRange<'_>], offset: u64, flags: i32) -> Result<usize, Errno> {
    let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    all_writable(ranges)?;
    if let ([range], 0) = (ranges, flags) {
        // The host is quicker without a vector.
        // SAFETY: the range is writable by the type's invariant; the host survives what is gone.
        return count(unsafe { libc::pread(fd.as_raw_fd(), range.ptr.cast(), range.len, offset) });
    }
    with_iovecs(ranges, |iov, n| {
        // SAFETY: the vectors name writable ranges by the type's invariant; the host survives what is gone.
        count(unsafe { libc::preadv2(fd.as_raw_fd(), iov, n, offset, flags) })
    })
}

/// `pwritev2(2)` to a host file straight from the ranges; `flags` are `RWF_*`.
///
/// # Errors
/// The host's.
pub fn pwritev(fd: BorrowedFd<'_>, ranges: &[HostRange<'_>], offset: u64, flags: i32) -> Result<usize, Errno> {
    let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    with_iovecs(ranges, |iov, n| {
        // SAFETY: the vectors name readable ranges by the type's invariant; the host survives what is gone.
        count(unsafe { libc::pwritev2(fd.as_raw_fd(), iov, n, offset, flags) })
    })
}

/// `preadv2(2)` at the description's own position (pipes, terminals, sockets); `flags` are `RWF_*`.
///
/// # Errors
/// The host's. Some kinds of file know no flags at all: `EOPNOTSUPP`.
pub fn readv(fd: BorrowedFd<'_>, ranges: &[HostRange<'_>], flags: i32) -> Result<usize, Errno> {
    all_writable(ranges)?;
    with_iovecs(ranges, |iov, n| {
        // SAFETY: as in `preadv`.
        count(unsafe {
            if flags == 0 {
                libc::readv(fd.as_raw_fd(), iov, n)
            } else {
                libc::preadv2(fd.as_raw_fd(), iov, n, -1, flags)
            }
        })
    })
}

/// `pwritev2(2)` at the description's own position; `flags` are `RWF_*`.
///
/// # Errors
/// The host's. Some kinds of file know no flags at all: `EOPNOTSUPP`.
pub fn writev(fd: BorrowedFd<'_>, ranges: &[HostRange<'_>], flags: i32) -> Result<usize, Errno> {
    with_iovecs(ranges, |iov, n| {
        // SAFETY: as in `pwritev`.
        count(unsafe {
            if flags == 0 {
                libc::writev(fd.as_raw_fd(), iov, n)
            } else {
                libc::pwritev2(fd.as_raw_fd(), iov, n, -1, flags)
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Window;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    fn temporary(len: u64) -> std::fs::File {
        let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = std::fs::File::from(fd);
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn copies_words_and_zeroes() {
        let file = temporary(8192);
        let window = Window::new(file.as_fd(), 0, 8192, true).unwrap();
        let range = window.range();
        range.slice(4090, 20).write(b"across two pages").unwrap();
        let mut back = [0; 16];
        range.slice(4090, 16).read(&mut back).unwrap();
        assert_eq!(&back, b"across two pages");
        range.slice(4090, 6).zero().unwrap();
        range.slice(4090, 16).read(&mut back).unwrap();
        assert_eq!(&back, b"\0\0\0\0\0\0 two pages");
        let word = range.slice(64, 8);
        word.store_u32(7).unwrap();
        assert_eq!(word.compare_exchange_u32(6, 9).unwrap(), 7);
        assert_eq!(word.compare_exchange_u32(7, 9).unwrap(), 7);
        assert_eq!(word.update_u32(|v| v | 0x10).unwrap(), 9);
        assert_eq!(word.load_u64().unwrap(), 0x19);
        assert!(range.slice(65, 8).load_u32().is_err());
        assert!(range.slice(64, 3).load_u32().is_err());
    }

    #[test]
    fn truncated_pages_fault_with_a_count() {
        let file = temporary(8192);
        let window = Window::new(file.as_fd(), 0, 8192, true).unwrap();
        window.range().write(&[1; 8192]).unwrap();
        file.set_len(4096).unwrap();
        let mut back = [0; 100];
        assert_eq!(window.range().slice(4046, 100).read(&mut back), Err(Fault { done: 50 }));
        assert_eq!(window.range().slice(4046, 100).write(&back), Err(Fault { done: 50 }));
        assert_eq!(window.range().slice(4046, 100).zero(), Err(Fault { done: 50 }));
        let gone = window.range().slice(4096, 64);
        assert!(gone.load_u32().is_err());
        assert!(gone.load_u64().is_err());
        assert!(gone.store_u32(1).is_err());
        assert!(gone.compare_exchange_u32(0, 1).is_err());
    }

    #[test]
    fn read_only_ranges_refuse_writes() {
        let bytes = [1, 2, 3, 4];
        let range = HostRange::of_bytes(&bytes);
        assert_eq!(range.write(&[9]), Err(Fault { done: 0 }));
        assert_eq!(range.zero(), Err(Fault { done: 0 }));
        assert!(range.store_u32(1).is_err());
        let (r, _w) = rustix::pipe::pipe().unwrap();
        assert_eq!(readv(r.as_fd(), &[range], 0), Err(Errno::EFAULT));
    }

    #[test]
    fn the_host_reads_and_writes_ranges() {
        let mut file = temporary(0);
        file.write_all(b"hello, world").unwrap();
        let mut a = [0; 5];
        let mut b = [0; 20];
        let ranges = [HostRange::of_buffer(&mut a), HostRange::of_buffer(&mut b)];
        assert_eq!(preadv(file.as_fd(), &ranges, 0, 0), Ok(12));
        assert_eq!((&a, &b[..7]), (b"hello", &b", world"[..]));
        let many: Vec<HostRange<'_>> = (0..2000).map(|_| HostRange::of_bytes(b"x")).collect();
        assert_eq!(pwritev(file.as_fd(), &many, 0, 0), Ok(IOV_MAX));
        let (r, w) = rustix::pipe::pipe().unwrap();
        assert_eq!(writev(w.as_fd(), &[HostRange::of_bytes(b"abc")], 0), Ok(3));
        let mut c = [0; 8];
        assert_eq!(readv(r.as_fd(), &[HostRange::of_buffer(&mut c)], libc::RWF_NOWAIT), Ok(3));
    }
}
