//! Futexes (futex(2), futex_waitv(2), set_robust_list(2)).

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::time::deadline;
use crate::user;
use abi::Errno;
use abi::raw::general as c;
use abi::time::Timespec;
use kernel::futex::{Requeue, WaitOn, Waited, WakeOp};
use kernel::{CurrentTask, Restart, RestartBlock, SysErr, SysResult, WaitEnd};
use platform::ROBUST_HEAD;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(202, "futex", futex, &[Arg::Ptr, Arg::Flags(OPS), Arg::Int, Arg::Ptr, Arg::Ptr, Arg::Hex]),
    Entry::new(273, "set_robust_list", set_robust_list, &[Arg::Ptr, Arg::Size]),
    Entry::new(274, "get_robust_list", get_robust_list, &[Arg::Pid, Arg::Ptr, Arg::Ptr]),
    Entry::new(449, "futex_waitv", futex_waitv, &[Arg::Ptr, Arg::Size, Arg::Hex, Arg::InTimespec, Arg::Int]),
    Entry::new(454, "futex_wake", futex_wake, &[Arg::Ptr, Arg::Hex, Arg::Int, Arg::Hex]),
    Entry::new(455, "futex_wait", futex_wait, &[Arg::Ptr, Arg::Hex, Arg::Hex, Arg::Hex, Arg::InTimespec, Arg::Int]),
    Entry::new(456, "futex_requeue", futex_requeue, &[Arg::Ptr, Arg::Hex, Arg::Int, Arg::Int]),
];

const OPS: &[(u64, &str)] = &[(128, "FUTEX_PRIVATE_FLAG"), (256, "FUTEX_CLOCK_REALTIME")];

const PRIVATE: u32 = c::FUTEX_PRIVATE_FLAG;
const REALTIME: u32 = c::FUTEX_CLOCK_REALTIME;

/// Most words that futex_waitv(2) takes.
const WAITV_MAX: u32 = 128;

/// futex2's flags: the size, of which only 32 bits are served, and privacy.
const FUTEX2_SIZE: u32 = 3;
const FUTEX2_SIZE_U32: u32 = 2;

fn futex(t: &mut CurrentTask, a: Args) -> SysResult {
    let op = a.u32(1);
    let command = op & !(PRIVATE | REALTIME);
    let until = match command {
        c::FUTEX_WAIT | c::FUTEX_WAIT_BITSET | c::FUTEX_LOCK_PI | c::FUTEX_LOCK_PI2 | c::FUTEX_WAIT_REQUEUE_PI => {
            timeout(t, a.u64(3), op)?
        }
        _ => None,
    };
    let clocked = matches!(command, c::FUTEX_WAIT_BITSET | c::FUTEX_WAIT_REQUEUE_PI | c::FUTEX_LOCK_PI2);
    if op & REALTIME != 0 && !clocked {
        return Err(Errno::ENOSYS.into());
    }
    let shared = op & PRIVATE == 0;
    let (addr, value, value2) = (a.u64(0), a.u32(2), a.u32(3));
    let count = |n: Result<u32, Errno>| n.map(u64::from).map_err(SysErr::from);
    let done = |r: Result<(), SysErr>| r.map(|()| 0);
    let requeue = |expected| Requeue {
        from: (addr, shared),
        to: (a.u64(4), shared),
        wake: value.cast_signed(),
        requeue: value2.cast_signed(),
        expected,
    };
    match command {
        c::FUTEX_WAIT => wait(t, WaitOn { addr, shared, value }, u32::MAX, until),
        c::FUTEX_WAIT_BITSET => wait(t, WaitOn { addr, shared, value }, a.u32(5), until),
        c::FUTEX_WAKE => count(t.futex_wake(addr, shared, at_least_one(value), u32::MAX)),
        c::FUTEX_WAKE_BITSET => count(t.futex_wake(addr, shared, at_least_one(value), a.u32(5))),
        c::FUTEX_REQUEUE => count(t.futex_requeue(&requeue(None))),
        c::FUTEX_CMP_REQUEUE => count(t.futex_requeue(&requeue(Some(a.u32(5))))),
        c::FUTEX_CMP_REQUEUE_PI => count(t.futex_requeue_pi(&requeue(Some(a.u32(5))))),
        c::FUTEX_WAKE_OP => {
            let counts = (at_least_one(value), at_least_one(value2));
            count(t.futex_wake_op((addr, shared), (a.u64(4), shared), counts, WakeOp(a.u32(5))))
        }
        c::FUTEX_LOCK_PI | c::FUTEX_LOCK_PI2 => done(t.futex_lock_pi(addr, shared, until.flatten(), false)),
        c::FUTEX_TRYLOCK_PI => done(t.futex_lock_pi(addr, shared, None, true)),
        c::FUTEX_UNLOCK_PI => done(t.futex_unlock_pi(addr, shared)),
        c::FUTEX_WAIT_REQUEUE_PI => {
            done(t.futex_wait_requeue_pi(WaitOn { addr, shared, value }, a.u64(4), until.flatten()))
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// The count is signed, and one waiter is woken even if it is not positive.
fn at_least_one(count: u32) -> u32 {
    if count.cast_signed() < 1 { 1 } else { count }
}

/// A call's timeout: none, or a deadline, which itself may be beyond all time.
fn timeout(t: &CurrentTask, addr: u64, op: u32) -> Result<Option<Option<Instant>>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    let nanos = user::get::<Timespec>(t, addr)?.nanos().ok_or(Errno::EINVAL)?;
    let command = op & !(PRIVATE | REALTIME);
    if command == c::FUTEX_WAIT {
        return Ok(Some(Instant::now().checked_add(Duration::from_nanos(nanos))));
    }
    let realtime = op & REALTIME != 0 || command == c::FUTEX_LOCK_PI;
    Ok(Some(deadline(if realtime { c::CLOCK_REALTIME } else { c::CLOCK_MONOTONIC }, nanos)))
}

fn wait(t: &mut CurrentTask, on: WaitOn, bitset: u32, until: Option<Option<Instant>>) -> SysResult {
    let ended = t.futex_wait(on, bitset, until.flatten())?;
    if let (Err(WaitEnd::Interrupted), Some(Some(until))) = (ended, until) {
        let op = if on.shared { 0 } else { PRIVATE };
        t.restart_block = Some(RestartBlock::FutexWait { addr: on.addr, value: on.value, op, bitset, until });
        return Err(SysErr::Restart(Restart::Block));
    }
    finish(ended)
}

/// restart_syscall(2) of an interrupted wait.
pub(crate) fn restart(t: &mut CurrentTask, on: WaitOn, bitset: u32, until: Instant) -> SysResult {
    wait(t, on, bitset, Some(Some(until)))
}

fn finish(ended: Waited) -> SysResult {
    match ended {
        Ok(index) => Ok(index as u64),
        Err(WaitEnd::Timeout) => Err(Errno::ETIMEDOUT.into()),
        Err(WaitEnd::Interrupted) => Err(SysErr::Restart(Restart::Sys)),
    }
}

fn set_robust_list(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u64(1) != ROBUST_HEAD {
        return Err(Errno::EINVAL.into());
    }
    t.local().set_robust_list(a.u64(0));
    Ok(0)
}

fn get_robust_list(t: &mut CurrentTask, a: Args) -> SysResult {
    let pid = a.i32(0);
    let task = if pid == 0 { t.task.clone() } else { t.kernel.tree.task(pid).ok_or(Errno::ESRCH)? };
    let (own, other) = (t.creds().clone(), task.creds());
    let same = own.ruid == other.euid && own.ruid == other.suid && own.ruid == other.ruid;
    if !std::sync::Arc::ptr_eq(&task.group, &t.group) && !same && !own.capable(vfs::Capability::SysPtrace) {
        return Err(Errno::EPERM.into());
    }
    user::put(t, a.u64(2), &ROBUST_HEAD)?;
    user::put(t, a.u64(1), &task.robust_list())?;
    Ok(0)
}

/// `struct futex_waitv`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct WaitV {
    value: u64,
    addr: u64,
    flags: u32,
    reserved: u32,
}

impl WaitV {
    fn check(&self) -> Result<WaitOn, Errno> {
        if self.reserved != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(WaitOn { addr: self.addr, shared: futex2_shared(self.flags)?, value: word(self.value)? })
    }
}

fn futex2_shared(flags: u32) -> Result<bool, Errno> {
    if flags & !(FUTEX2_SIZE | PRIVATE) != 0 || flags & FUTEX2_SIZE != FUTEX2_SIZE_U32 {
        return Err(Errno::EINVAL);
    }
    Ok(flags & PRIVATE == 0)
}

fn word(value: u64) -> Result<u32, Errno> {
    u32::try_from(value).map_err(|_| Errno::EINVAL)
}

/// A deadline on the clock of the last argument.
fn absolute(t: &CurrentTask, addr: u64, clock: i32) -> Result<Option<Option<Instant>>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    let clock = u32::try_from(clock).ok().filter(|c| matches!(*c, c::CLOCK_REALTIME | c::CLOCK_MONOTONIC));
    let clock = clock.ok_or(Errno::EINVAL)?;
    let nanos = user::get::<Timespec>(t, addr)?.nanos().ok_or(Errno::EINVAL)?;
    Ok(Some(deadline(clock, nanos)))
}

fn words(t: &CurrentTask, addr: u64, count: u32) -> Result<Vec<WaitOn>, Errno> {
    (0..u64::from(count))
        .map(|i| user::get::<WaitV>(t, addr.wrapping_add(i * size_of::<WaitV>() as u64))?.check())
        .collect()
}

fn futex_waitv(t: &mut CurrentTask, a: Args) -> SysResult {
    let count = a.u32(1);
    if a.u32(2) != 0 || count == 0 || count > WAITV_MAX || a.u64(0) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let until = absolute(t, a.u64(3), a.i32(4))?;
    let words = words(t, a.u64(0), count)?;
    finish(t.futex_wait_any(&words, u32::MAX, until.flatten())?)
}

fn futex_wake(t: &mut CurrentTask, a: Args) -> SysResult {
    let shared = futex2_shared(a.u32(3))?;
    let (mask, count) = (word(a.u64(1))?, a.i32(2));
    if mask == 0 {
        return Err(Errno::EINVAL.into());
    }
    t.futex_key(a.u64(0), shared)?;
    if count == 0 {
        return Ok(0);
    }
    Ok(t.futex_wake(a.u64(0), shared, at_least_one(count.cast_unsigned()), mask)?.into())
}

fn futex_wait(t: &mut CurrentTask, a: Args) -> SysResult {
    let shared = futex2_shared(a.u32(3))?;
    let (value, mask) = (word(a.u64(1))?, word(a.u64(2))?);
    let until = absolute(t, a.u64(4), a.i32(5))?;
    let ended = t.futex_wait(WaitOn { addr: a.u64(0), shared, value }, mask, until.flatten())?;
    finish(ended)
}

fn futex_requeue(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u32(1) != 0 || a.u64(0) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let words = words(t, a.u64(0), 2)?;
    let [from, to] = words.as_slice() else { return Err(Errno::EINVAL.into()) };
    let args = Requeue {
        from: (from.addr, from.shared),
        to: (to.addr, to.shared),
        wake: a.i32(2),
        requeue: a.i32(3),
        expected: Some(from.value),
    };
    Ok(t.futex_requeue(&args)?.into())
}
