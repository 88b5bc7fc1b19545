//! Descriptors: close(2), close_range(2), dup(2).

use crate::args::{Arg, Args};
use crate::table::Entry;
use abi::Errno;
use abi::raw::general as c;
use kernel::{CurrentTask, Fd, SysResult};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(3, "close", close, &[Arg::Fd]),
    Entry::new(32, "dup", dup, &[Arg::Fd]),
    Entry::new(33, "dup2", dup2, &[Arg::Fd, Arg::Fd]),
    Entry::new(292, "dup3", dup3, &[Arg::Fd, Arg::Fd, Arg::Flags(super::open::OPEN)]),
    Entry::new(436, "close_range", close_range, &[Arg::Size, Arg::Size, Arg::Flags(CLOSE_RANGE)]),
];

const CLOSE_RANGE: &[(u64, &str)] = &[(2, "CLOSE_RANGE_UNSHARE"), (4, "CLOSE_RANGE_CLOEXEC")];

fn close(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().remove(a.i32(0))?;
    t.fds().finish_close(file, t);
    Ok(0)
}

fn close_range(t: &mut CurrentTask, a: Args) -> SysResult {
    const UNSHARE: u32 = 2;
    const CLOEXEC: u32 = 4;
    let (first, last, flags) = (a.u32(0), a.u32(1), a.u32(2));
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL.into());
    }
    if flags & UNSHARE != 0 {
        let own = t.fds().fork();
        t.set_fds(own);
    }
    if flags & CLOEXEC != 0 {
        t.fds().set_cloexec_range(first, last);
        return Ok(0);
    }
    for file in t.fds().remove_range(first, last) {
        t.fds().finish_close(file, t);
    }
    Ok(0)
}

fn dup(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get_any(a.i32(0))?;
    Ok(super::add_fd(t, file, false)?)
}

fn dup2(t: &mut CurrentTask, a: Args) -> SysResult {
    let (old, new) = (a.i32(0), a.i32(1));
    if old == new {
        t.fds().get_any(old)?;
        return Ok(new as u64);
    }
    replace(t, old, new, false)
}

fn dup3(t: &mut CurrentTask, a: Args) -> SysResult {
    let (old, new, flags) = (a.i32(0), a.i32(1), a.u32(2));
    if flags & !c::O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL.into());
    }
    replace(t, old, new, flags & c::O_CLOEXEC != 0)
}

fn replace(t: &CurrentTask, old: Fd, new: Fd, cloexec: bool) -> SysResult {
    let limit = t.group.limit(c::RLIMIT_NOFILE);
    if u64::try_from(new).map_or(true, |new| new >= limit) {
        return Err(Errno::EBADF.into());
    }
    let file = t.fds().get_any(old)?;
    if let Some(closed) = t.fds().put(new, file, cloexec, limit)? {
        t.fds().finish_close(closed, t);
    }
    Ok(new as u64)
}
