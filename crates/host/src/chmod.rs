//! Changing the mode of a file by its `O_PATH` descriptor (`fchmodat2(2)`, Linux 6.6).

use abi::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets the permission bits of what `fd` refers to, whatever kind of descriptor it is.
///
/// # Errors
/// The host's; `ENOSYS` if the host is too old.
pub fn chmod(fd: BorrowedFd<'_>, perm: u32) -> Result<(), Errno> {
    // SAFETY: the path is a constant empty string, and the call touches no other memory.
    let ret = unsafe { libc::syscall(libc::SYS_fchmodat2, fd.as_raw_fd(), c"".as_ptr(), perm, libc::AT_EMPTY_PATH) };
    if ret == 0 {
        return Ok(());
    }
    let raw = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    Err(Errno::from_raw(raw).unwrap_or(Errno::EIO))
}
