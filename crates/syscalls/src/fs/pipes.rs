//! pipe(2) and eventfd(2).

use super::add_fd;
use crate::args::Arg;
use crate::table::Entry;
use crate::user;
use ::fs::eventfd::EventFd;
use abi::Errno;
use abi::raw::general as c;
use kernel::{CurrentTask, SysResult};
use std::sync::Arc;
use vfs::OpenFlags;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(22, "pipe", |t, a| pipe(t, a.u64(0), 0), &[Arg::Ptr]),
    Entry::new(284, "eventfd", |t, a| eventfd(t, a.u32(0), 0), &[Arg::Size]),
    Entry::new(290, "eventfd2", |t, a| eventfd(t, a.u32(0), a.u32(1)), &[Arg::Size, Arg::Hex]),
    Entry::new(293, "pipe2", |t, a| pipe(t, a.u64(0), a.u32(1)), &[Arg::Ptr, Arg::Flags(super::open::OPEN)]),
];

fn pipe(t: &CurrentTask, addr: u64, flags: u32) -> SysResult {
    /// `O_NOTIFICATION_PIPE`, for keyrings.
    const NOTIFICATION: u32 = c::O_EXCL;
    if flags & !(c::O_CLOEXEC | c::O_NONBLOCK | c::O_DIRECT | NOTIFICATION) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & NOTIFICATION != 0 {
        return Err(Errno::ENOPKG.into());
    }
    let (reader, writer) = ::fs::pipe::new_pipe(t, OpenFlags::from_bits_truncate(flags));
    let cloexec = flags & c::O_CLOEXEC != 0;
    let limit = t.group.limit(c::RLIMIT_NOFILE);
    let (read, write) = t.fds().add_pair(Arc::new(reader), Arc::new(writer), cloexec, limit)?;
    if let Err(errno) = user::put(t, addr, &[read, write]) {
        for fd in [read, write] {
            drop(t.fds().remove(fd));
        }
        return Err(errno.into());
    }
    Ok(0)
}

fn eventfd(t: &CurrentTask, count: u32, flags: u32) -> SysResult {
    const SEMAPHORE: u32 = 1;
    if flags & !(SEMAPHORE | c::O_CLOEXEC | c::O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let status = OpenFlags::from_bits_truncate(flags & c::O_NONBLOCK);
    let file = EventFd::open(count, flags & SEMAPHORE != 0, status);
    Ok(add_fd(t, Arc::new(file), flags & c::O_CLOEXEC != 0)?)
}
