//! epoll(7): epoll_create1(2), epoll_ctl(2), epoll_wait(2).

use crate::args::{Arg, Args};
use crate::fs::add_fd;
use crate::poll::{Timeout, restore_mask, swap_mask};
use crate::table::Entry;
use crate::user;
use ::fs::epoll::{Epoll, EpollEvent, EpollOp, new_epoll};
use abi::Errno;
use abi::raw::general as c;
use abi::time::Timespec;
use kernel::{CurrentTask, SysResult};
use std::sync::Arc;
use vfs::OpenFlags;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(213, "epoll_create", epoll_create, &[Arg::Int]),
    Entry::new(232, "epoll_wait", epoll_wait, &[Arg::Fd, Arg::Ptr, Arg::Int, Arg::Int]),
    Entry::new(233, "epoll_ctl", epoll_ctl, &[Arg::Fd, Arg::OneOf(OPS), Arg::Fd, Arg::Ptr]),
    Entry::new(281, "epoll_pwait", epoll_pwait, &[Arg::Fd, Arg::Ptr, Arg::Int, Arg::Int, Arg::InSigSet, Arg::Size]),
    Entry::new(291, "epoll_create1", epoll_create1, &[Arg::Hex]),
    Entry::new(
        441,
        "epoll_pwait2",
        epoll_pwait2,
        &[Arg::Fd, Arg::Ptr, Arg::Int, Arg::InTimespec, Arg::InSigSet, Arg::Size],
    ),
];

const OPS: &[(u64, &str)] = &[(1, "EPOLL_CTL_ADD"), (2, "EPOLL_CTL_DEL"), (3, "EPOLL_CTL_MOD")];

/// `sizeof(struct epoll_event)`, which is packed on x86-64.
const EVENT_SIZE: usize = 12;

/// Events that are copied out at a time.
const BATCH: usize = 256;

fn create(t: &CurrentTask, cloexec: bool) -> SysResult {
    Ok(add_fd(t, Arc::new(new_epoll(OpenFlags::empty())), cloexec)?)
}

fn epoll_create(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.i32(0) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    create(t, false)
}

fn epoll_create1(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u32(0) & !c::O_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    create(t, a.u32(0) != 0)
}

fn read_event(t: &CurrentTask, addr: u64) -> Result<EpollEvent, Errno> {
    let [events, low, high]: [u32; 3] = user::get(t, addr)?;
    Ok(EpollEvent { events, data: u64::from(low) | u64::from(high) << 32 })
}

fn epoll_ctl(t: &mut CurrentTask, a: Args) -> SysResult {
    let (op, fd) = (a.u32(1), a.i32(2));
    // Only removal needs no event; it is read before anything is checked.
    let event = if op == c::EPOLL_CTL_DEL { None } else { Some(read_event(t, a.u64(3))?) };
    let set = t.fds().get(a.i32(0))?;
    let file = t.fds().get(fd)?;
    let op = match (op, event) {
        (c::EPOLL_CTL_ADD, Some(event)) => Some(EpollOp::Add(event)),
        (c::EPOLL_CTL_MOD, Some(event)) => Some(EpollOp::Modify(event)),
        (c::EPOLL_CTL_DEL, _) => Some(EpollOp::Remove),
        _ => None,
    };
    Epoll::control(&set, fd, &file, op)?;
    Ok(0)
}

fn wait(t: &CurrentTask, fd: i32, addr: u64, max: i32, timeout: Timeout) -> SysResult {
    let max = usize::try_from(max).map_err(|_| Errno::EINVAL)?;
    if max == 0 || max > i32::MAX as usize / EVENT_SIZE {
        return Err(Errno::EINVAL.into());
    }
    if !t.mm().access_ok(addr, (max * EVENT_SIZE) as u64) {
        return Err(Errno::EFAULT.into());
    }
    let file = t.fds().get(fd)?;
    let set = file.ops_as::<Epoll>().ok_or(Errno::EINVAL)?;
    let events = set.wait(t, max, timeout != Timeout::Now, timeout.deadline()).map_err(|_| Errno::EINTR)?;
    let mut bytes = Vec::with_capacity(events.len().min(BATCH) * EVENT_SIZE);
    for (batch, at) in events.chunks(BATCH).zip((addr..).step_by(BATCH * EVENT_SIZE)) {
        bytes.clear();
        for event in batch {
            bytes.extend_from_slice(&event.events.to_le_bytes());
            bytes.extend_from_slice(&event.data.to_le_bytes());
        }
        t.mm().copy_out(at, &bytes)?;
    }
    Ok(events.len() as u64)
}

fn epoll_wait(t: &mut CurrentTask, a: Args) -> SysResult {
    wait(t, a.i32(0), a.u64(1), a.i32(2), Timeout::after_millis(a.i32(3)))
}

fn wait_masked(t: &mut CurrentTask, a: Args, timeout: Timeout) -> SysResult {
    swap_mask(t, a.u64(4), a.u64(5))?;
    let result = wait(t, a.i32(0), a.u64(1), a.i32(2), timeout);
    restore_mask(t, result == Err(Errno::EINTR.into()));
    result
}

fn epoll_pwait(t: &mut CurrentTask, a: Args) -> SysResult {
    wait_masked(t, a, Timeout::after_millis(a.i32(3)))
}

fn epoll_pwait2(t: &mut CurrentTask, a: Args) -> SysResult {
    let timeout = match a.u64(3) {
        0 => Timeout::Never,
        addr => Timeout::after(user::get::<Timespec>(t, addr)?.nanos().ok_or(Errno::EINVAL)?),
    };
    wait_masked(t, a, timeout)
}
