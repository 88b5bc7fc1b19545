//! Timers of processes (setitimer(2), alarm(2), timer_create(2)).

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use abi::raw::general as c;
use abi::signal::{NSIG, SIGALRM};
use abi::time::{Itimerspec, Itimerval, SigEvent, Timespec, Timeval};
use kernel::clock::Clock;
use kernel::timer::{ItimerKind, Notify, PosixSpec, TimerValue};
use kernel::{CurrentTask, SysResult};
use std::sync::Arc;
use std::time::Duration;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(36, "getitimer", getitimer, &[Arg::OneOf(ITIMERS), Arg::Ptr]),
    Entry::new(37, "alarm", alarm, &[Arg::Size]),
    Entry::new(38, "setitimer", setitimer, &[Arg::OneOf(ITIMERS), Arg::Ptr, Arg::Ptr]),
    Entry::new(222, "timer_create", timer_create, &[Arg::Int, Arg::Ptr, Arg::Ptr]),
    Entry::new(223, "timer_settime", timer_settime, &[Arg::Int, Arg::Int, Arg::Ptr, Arg::Ptr]),
    Entry::new(224, "timer_gettime", timer_gettime, &[Arg::Int, Arg::Ptr]),
    Entry::new(225, "timer_getoverrun", timer_getoverrun, &[Arg::Int]),
    Entry::new(226, "timer_delete", timer_delete, &[Arg::Int]),
];

const ITIMERS: &[(u64, &str)] = &[(0, "ITIMER_REAL"), (1, "ITIMER_VIRTUAL"), (2, "ITIMER_PROF")];

const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD: i32 = 2;
const SIGEV_THREAD_ID: i32 = 4;

fn kind(which: i32) -> Result<ItimerKind, Errno> {
    match which {
        0 => Ok(ItimerKind::Real),
        1 => Ok(ItimerKind::Virtual),
        2 => Ok(ItimerKind::Prof),
        _ => Err(Errno::EINVAL),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A running timer never shows zero, though its last microsecond has begun.
fn timeval(duration: Duration) -> Timeval {
    match nanos(duration) {
        0 => Timeval::default(),
        some => Timeval::from_nanos(some.max(1000)),
    }
}

fn itimerval(value: TimerValue) -> Itimerval {
    Itimerval { interval: timeval(value.interval), value: timeval(value.value) }
}

fn getitimer(t: &mut CurrentTask, a: Args) -> SysResult {
    let value = t.group.itimer(&t.kernel, kind(a.i32(0))?);
    user::put(t, a.u64(1), &itimerval(value))?;
    Ok(0)
}

fn setitimer(t: &mut CurrentTask, a: Args) -> SysResult {
    // Without a new value the timer is stopped.
    let new: Itimerval = if a.u64(1) == 0 { Itimerval::default() } else { user::get(t, a.u64(1))? };
    let duration = |time: Timeval| time.nanos().map(Duration::from_nanos).ok_or(Errno::EINVAL);
    let new = TimerValue { value: duration(new.value)?, interval: duration(new.interval)? };
    let old = t.group.set_itimer(&t.kernel, kind(a.i32(0))?, new)?;
    user::put_if(t, a.u64(2), &itimerval(old))?;
    Ok(0)
}

fn alarm(t: &mut CurrentTask, a: Args) -> SysResult {
    let new = TimerValue { value: Duration::from_secs(a.u32(0).into()), interval: Duration::ZERO };
    let old = t.group.set_itimer(&t.kernel, ItimerKind::Real, new)?.value;
    let round_up = (old.as_secs() == 0 && !old.is_zero()) || old.subsec_micros() >= 500_000;
    Ok(old.as_secs() + u64::from(round_up))
}

fn notify(t: &CurrentTask, addr: u64) -> Result<Notify, Errno> {
    if addr == 0 {
        return Ok(Notify::Signal { signal: SIGALRM, value: None, thread: None });
    }
    let event: SigEvent = user::get(t, addr)?;
    let valid = (1..=NSIG).contains(&event.signo);
    match event.notify {
        SIGEV_NONE => Ok(Notify::None),
        SIGEV_SIGNAL | SIGEV_THREAD if valid => {
            Ok(Notify::Signal { signal: event.signo, value: Some(event.value), thread: None })
        }
        SIGEV_THREAD_ID if valid => {
            let thread = t.kernel.tree.task(event.tid).filter(|x| Arc::ptr_eq(&x.group, &t.group));
            thread.ok_or(Errno::EINVAL)?;
            Ok(Notify::Signal { signal: event.signo, value: Some(event.value), thread: Some(event.tid) })
        }
        _ => Err(Errno::EINVAL),
    }
}

fn timer_create(t: &mut CurrentTask, a: Args) -> SysResult {
    let clock = Clock::by_id(t, a.i32(0), false)?;
    let id = t.group.create_timer(clock, notify(t, a.u64(1))?)?;
    if let Err(errno) = user::put(t, a.u64(2), &id) {
        t.group.delete_timer(&t.kernel, id)?;
        return Err(errno.into());
    }
    Ok(0)
}

/// As guests see it.
pub(crate) fn itimerspec(value: TimerValue) -> Itimerspec {
    let time = |duration| Timespec::from_nanos(nanos(duration));
    Itimerspec { interval: time(value.interval), value: time(value.value) }
}

fn timer_settime(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u64(2) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let new: Itimerspec = user::get(t, a.u64(2))?;
    let spec = PosixSpec {
        value: new.value.nanos().ok_or(Errno::EINVAL)?,
        interval: new.interval.nanos().ok_or(Errno::EINVAL)?,
        absolute: a.u32(1) & c::TIMER_ABSTIME != 0,
    };
    let old = t.group.set_timer(&t.kernel, a.i32(0), spec)?;
    user::put_if(t, a.u64(3), &itimerspec(old))?;
    Ok(0)
}

fn timer_gettime(t: &mut CurrentTask, a: Args) -> SysResult {
    let value = t.group.timer(&t.kernel, a.i32(0))?;
    user::put(t, a.u64(1), &itimerspec(value))?;
    Ok(0)
}

fn timer_getoverrun(t: &mut CurrentTask, a: Args) -> SysResult {
    Ok(t.group.timer_overrun(a.i32(0))?.cast_unsigned().into())
}

fn timer_delete(t: &mut CurrentTask, a: Args) -> SysResult {
    t.group.delete_timer(&t.kernel, a.i32(0))?;
    Ok(0)
}
