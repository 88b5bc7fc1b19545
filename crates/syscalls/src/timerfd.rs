//! timerfd_create(2) and signalfd(2).

use crate::args::{Arg, Args};
use crate::fs::add_fd;
use crate::table::Entry;
use crate::timer::itimerspec;
use crate::user;
use ::fs::signalfd::{SignalFd, new_signalfd};
use ::fs::timerfd::{TimerFd, TimerfdSpec, new_timerfd};
use abi::Errno;
use abi::raw::general as c;
use abi::signal::SigSet;
use abi::time::Itimerspec;
use kernel::{CurrentTask, SysResult};
use std::sync::Arc;
use vfs::{Capability, OpenFlags};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(282, "signalfd", signalfd, &[Arg::Fd, Arg::InSigSet, Arg::Size]),
    Entry::new(283, "timerfd_create", timerfd_create, &[Arg::Int, Arg::Hex]),
    Entry::new(286, "timerfd_settime", timerfd_settime, &[Arg::Fd, Arg::Hex, Arg::Ptr, Arg::Ptr]),
    Entry::new(287, "timerfd_gettime", timerfd_gettime, &[Arg::Fd, Arg::Ptr]),
    Entry::new(289, "signalfd4", signalfd4, &[Arg::Fd, Arg::InSigSet, Arg::Size, Arg::Hex]),
];

const CLOEXEC: u32 = c::O_CLOEXEC;
const NONBLOCK: u32 = c::O_NONBLOCK;

/// `TFD_TIMER_ABSTIME`, `TFD_TIMER_CANCEL_ON_SET`; nobody sets the clock, so the latter never cancels.
const TFD_ABSTIME: u32 = 1;
const TFD_CANCEL_ON_SET: u32 = 2;

fn timerfd_create(t: &mut CurrentTask, a: Args) -> SysResult {
    let (flags, clock) = (a.u32(1), a.u32(0));
    let alarm = matches!(clock, c::CLOCK_REALTIME_ALARM | c::CLOCK_BOOTTIME_ALARM);
    let known = alarm || matches!(clock, c::CLOCK_REALTIME | c::CLOCK_MONOTONIC | c::CLOCK_BOOTTIME);
    if flags & !(CLOEXEC | NONBLOCK) != 0 || !known {
        return Err(Errno::EINVAL.into());
    }
    if alarm && !t.creds().capable(Capability::WakeAlarm) {
        return Err(Errno::EPERM.into());
    }
    let file = new_timerfd(&t.kernel, clock, OpenFlags::from_bits_retain(flags & NONBLOCK))?;
    Ok(add_fd(t, Arc::new(file), flags & CLOEXEC != 0)?)
}

fn timerfd_settime(t: &mut CurrentTask, a: Args) -> SysResult {
    let flags = a.u32(1);
    let new: Itimerspec = user::get(t, a.u64(2))?;
    let (Some(value), Some(interval)) = (new.value.nanos(), new.interval.nanos()) else {
        return Err(Errno::EINVAL.into());
    };
    if flags & !(TFD_ABSTIME | TFD_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = t.fds().get(a.i32(0))?;
    let timer = file.ops_as::<TimerFd>().ok_or(Errno::EINVAL)?;
    let old = timer.set(&TimerfdSpec { flags, value, interval, absolute: flags & TFD_ABSTIME != 0 })?;
    user::put_if(t, a.u64(3), &itimerspec(old))?;
    Ok(0)
}

fn timerfd_gettime(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    let value = file.ops_as::<TimerFd>().ok_or(Errno::EINVAL)?.get();
    user::put(t, a.u64(1), &itimerspec(value))?;
    Ok(0)
}

fn signalfd(t: &mut CurrentTask, a: Args) -> SysResult {
    set_signalfd(t, a, 0)
}

fn signalfd4(t: &mut CurrentTask, a: Args) -> SysResult {
    set_signalfd(t, a, a.u32(3))
}

fn set_signalfd(t: &CurrentTask, a: Args, flags: u32) -> SysResult {
    if a.u64(2) != size_of::<SigSet>() as u64 {
        return Err(Errno::EINVAL.into());
    }
    let mask = user::get::<SigSet>(t, a.u64(1))?.without(SigSet::UNBLOCKABLE);
    if flags & !(CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if a.i32(0) != -1 {
        let file = t.fds().get(a.i32(0))?;
        file.ops_as::<SignalFd>().ok_or(Errno::EINVAL)?.set_mask(mask);
        return Ok(a.u32(0).into());
    }
    let file = new_signalfd(&t.kernel, mask, OpenFlags::from_bits_retain(flags & NONBLOCK));
    Ok(add_fd(t, Arc::new(file), flags & CLOEXEC != 0)?)
}
