//! Reading clocks and sleeping (clock_gettime(2), nanosleep(2)), and restart_syscall(2).

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use abi::raw::general as c;
use abi::time::{Rusage, Timespec, Timeval, Timex};
use kernel::clock::{Clock, CpuOf};
use kernel::futex::WaitOn;
use kernel::usage::Used;
use kernel::{CurrentTask, Restart, RestartBlock, SysErr, SysResult, WaitEnd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(24, "sched_yield", |_, _| Ok(yield_now()), &[]),
    Entry::new(35, "nanosleep", nanosleep, &[Arg::InTimespec, Arg::Ptr]),
    Entry::new(96, "gettimeofday", gettimeofday, &[Arg::Ptr, Arg::Ptr]),
    Entry::new(98, "getrusage", getrusage, &[Arg::Int, Arg::Ptr]),
    Entry::new(100, "times", times, &[Arg::Ptr]),
    Entry::new(159, "adjtimex", adjtimex, &[Arg::Ptr]),
    Entry::new(164, "settimeofday", settimeofday, &[Arg::Ptr, Arg::Ptr]),
    Entry::new(201, "time", time, &[Arg::Ptr]),
    Entry::new(219, "restart_syscall", restart_syscall, &[]),
    Entry::new(227, "clock_settime", clock_settime, &[Arg::OneOf(CLOCKS), Arg::InTimespec]),
    Entry::new(228, "clock_gettime", clock_gettime, &[Arg::OneOf(CLOCKS), Arg::Ptr]),
    Entry::new(229, "clock_getres", clock_getres, &[Arg::OneOf(CLOCKS), Arg::Ptr]),
    Entry::new(
        230,
        "clock_nanosleep",
        clock_nanosleep,
        &[Arg::OneOf(CLOCKS), Arg::Flags(ABSTIME), Arg::InTimespec, Arg::Ptr],
    ),
    Entry::new(305, "clock_adjtime", clock_adjtime, &[Arg::OneOf(CLOCKS), Arg::Ptr]),
];

const CLOCKS: &[(u64, &str)] = &[
    (0, "CLOCK_REALTIME"),
    (1, "CLOCK_MONOTONIC"),
    (2, "CLOCK_PROCESS_CPUTIME_ID"),
    (3, "CLOCK_THREAD_CPUTIME_ID"),
    (4, "CLOCK_MONOTONIC_RAW"),
    (5, "CLOCK_REALTIME_COARSE"),
    (6, "CLOCK_MONOTONIC_COARSE"),
    (7, "CLOCK_BOOTTIME"),
];

const ABSTIME: &[(u64, &str)] = &[(1, "TIMER_ABSTIME")];

/// Nanoseconds in a clock tick of times(2).
const USER_TICK: u64 = 10_000_000;

/// `ADJ_OFFSET_SINGLESHOT` and `ADJ_OFFSET_SS_READ`: the latter only reads.
const ADJ_SS_READ: u32 = 0xa001;

/// Not synchronized, and the result that says so.
const STA_UNSYNC: i32 = 0x40;
const TIME_ERROR: u64 = 5;

fn yield_now() -> u64 {
    std::thread::yield_now();
    0
}

/// When a clock of the system shows `nanos`; `None` if never.
pub(crate) fn deadline(clock: u32, nanos: u64) -> Option<Instant> {
    Clock::system(clock).and_then(|clock| clock.deadline(nanos))
}

fn clock_gettime(t: &mut CurrentTask, a: Args) -> SysResult {
    let clock = Clock::by_id(t, a.i32(0), true)?;
    user::put(t, a.u64(1), &Timespec::from_nanos(clock.now(&t.kernel)))?;
    Ok(0)
}

fn clock_getres(t: &mut CurrentTask, a: Args) -> SysResult {
    let clock = Clock::by_id(t, a.i32(0), true)?;
    user::put_if(t, a.u64(1), &Timespec::from_nanos(clock.resolution()))?;
    Ok(0)
}

/// Nobody in a sandbox may set the host's clock.
fn clock_settime(t: &mut CurrentTask, a: Args) -> SysResult {
    let clock = u32::try_from(a.i32(0)).map_err(|_| Errno::EPERM)?;
    Clock::by_id(t, a.i32(0), false)?;
    let time: Timespec = user::get(t, a.u64(1))?;
    if clock != c::CLOCK_REALTIME || time.nanos().is_none() {
        return Err(Errno::EINVAL.into());
    }
    Err(Errno::EPERM.into())
}

fn settimeofday(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u64(0) != 0 {
        let time: Timeval = user::get(t, a.u64(0))?;
        time.nanos().ok_or(Errno::EINVAL)?;
    }
    if a.u64(1) != 0 {
        user::get::<u64>(t, a.u64(1))?;
    }
    Err(Errno::EPERM.into())
}

fn gettimeofday(t: &mut CurrentTask, a: Args) -> SysResult {
    if let (Some(clock), true) = (Clock::system(c::CLOCK_REALTIME), a.u64(0) != 0) {
        user::put(t, a.u64(0), &Timeval::from_nanos(clock.now(&t.kernel)))?;
    }
    // The time zone, which the kernel does not keep.
    user::put_if(t, a.u64(1), &0u64)?;
    Ok(0)
}

fn time(t: &mut CurrentTask, a: Args) -> SysResult {
    let now = Clock::system(c::CLOCK_REALTIME_COARSE).map_or(0, |clock| clock.now(&t.kernel));
    let seconds = now / abi::time::SECOND;
    user::put_if(t, a.u64(0), &seconds)?;
    Ok(seconds)
}

fn read_timex(t: &CurrentTask, addr: u64) -> SysResult {
    let asked: Timex = user::get(t, addr)?;
    if asked.modes & !0x2000 != 0 && asked.modes != ADJ_SS_READ {
        return Err(Errno::EPERM.into());
    }
    let now = Clock::system(c::CLOCK_REALTIME).map_or(0, |clock| clock.now(&t.kernel));
    let state = Timex {
        modes: asked.modes,
        maxerror: 16_000_000,
        esterror: 16_000_000,
        status: STA_UNSYNC,
        constant: 2,
        precision: 1,
        tolerance: 32_768_000,
        time: Timeval::from_nanos(now),
        tick: 10_000,
        ..Timex::default()
    };
    user::put(t, addr, &state)?;
    Ok(TIME_ERROR)
}

fn adjtimex(t: &mut CurrentTask, a: Args) -> SysResult {
    read_timex(t, a.u64(0))
}

fn clock_adjtime(t: &mut CurrentTask, a: Args) -> SysResult {
    Clock::by_id(t, a.i32(0), false)?;
    if a.i32(0) == 0 { read_timex(t, a.u64(1)) } else { Err(Errno::EOPNOTSUPP.into()) }
}

fn times(t: &mut CurrentTask, a: Args) -> SysResult {
    let (user, system) = t.kernel.process_cpu(&t.group);
    let children = &t.group.child_cpu;
    let all = [user, system, children.user.load(Ordering::Relaxed), children.system.load(Ordering::Relaxed)];
    user::put_if(t, a.u64(0), &all.map(|ns| ns / USER_TICK))?;
    let now = Clock::system(c::CLOCK_BOOTTIME).map_or(0, |clock| clock.now(&t.kernel));
    Ok(now / USER_TICK)
}

fn getrusage(t: &mut CurrentTask, a: Args) -> SysResult {
    let present = Used { peak_resident: t.mm().sizes().peak_resident, ..Used::default() };
    let (cpu, used) = match a.i32(0) {
        0 => (t.kernel.process_cpu(&t.group), t.kernel.process_used(&t.group).with(present)),
        1 => (CpuOf::Thread(t.task.clone()).times(&t.kernel), t.task.usage.now().with(present)),
        -1 => {
            let children = &t.group.child_cpu;
            let cpu = (children.user.load(Ordering::Relaxed), children.system.load(Ordering::Relaxed));
            (cpu, *t.group.child_used.lock())
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    user::put(t, a.u64(1), &rusage(cpu, used))?;
    Ok(0)
}

/// CPU time, user and system, and what else was used, as getrusage(2) and wait4(2) give it.
pub(crate) fn rusage(cpu: (u64, u64), used: Used) -> Rusage {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Rusage {
        utime: Timeval::from_nanos(cpu.0),
        stime: Timeval::from_nanos(cpu.1),
        maxrss: number(used.peak_resident / 1024),
        minflt: number(used.faults),
        nvcsw: number(used.sleeps),
        ..Rusage::default()
    }
}

fn nanosleep(t: &mut CurrentTask, a: Args) -> SysResult {
    let time: Timespec = user::get(t, a.u64(0))?;
    let nanos = time.nanos().ok_or(Errno::EINVAL)?;
    sleep(t, Instant::now().checked_add(Duration::from_nanos(nanos)), a.u64(1))
}

fn clock_nanosleep(t: &mut CurrentTask, a: Args) -> SysResult {
    let clock = Clock::by_id(t, a.i32(0), false)?;
    let is_own_thread = matches!(&clock, Clock::Cpu(CpuOf::Thread(task), _) if Arc::ptr_eq(task, &t.task));
    if !clock.has_timers() || a.i32(0) == 3 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let time: Timespec = user::get(t, a.u64(2))?;
    let nanos = time.nanos().ok_or(Errno::EINVAL)?;
    let absolute = a.u32(1) & c::TIMER_ABSTIME != 0;
    match clock {
        Clock::Host(_) if !absolute => sleep(t, Instant::now().checked_add(Duration::from_nanos(nanos)), a.u64(3)),
        Clock::Host(_) => match sleep_until(t, clock.deadline(nanos)) {
            WaitEnd::Timeout => Ok(0),
            WaitEnd::Interrupted => Err(SysErr::Restart(Restart::NoHand)),
        },
        // A task that sleeps spends no time.
        Clock::Cpu(..) if is_own_thread => Err(Errno::EINVAL.into()),
        Clock::Cpu(..) => sleep_on_cpu(t, &clock, nanos, absolute, a.u64(3)),
    }
}

fn sleep_until(t: &CurrentTask, until: Option<Instant>) -> WaitEnd {
    match t.wait_until(until, || None::<()>) {
        Ok(()) => WaitEnd::Timeout,
        Err(end) => end,
    }
}

/// A relative sleep, which restart_syscall(2) goes on with.
fn sleep(t: &mut CurrentTask, until: Option<Instant>, remainder: u64) -> SysResult {
    if sleep_until(t, until) == WaitEnd::Timeout {
        return Ok(0);
    }
    // Beyond all time: any far deadline does for the rest.
    let until = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(1 << 32));
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(0);
    }
    let left = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
    user::put_if(t, remainder, &Timespec::from_nanos(left))?;
    t.restart_block = Some(RestartBlock::Sleep { until, rem: remainder });
    Err(SysErr::Restart(Restart::Block))
}

/// Sleeps until a process has spent an amount of CPU time, looking when it could have at the earliest.
fn sleep_on_cpu(t: &CurrentTask, clock: &Clock, nanos: u64, absolute: bool, remainder: u64) -> SysResult {
    const LOOK_MIN: Duration = Duration::from_millis(1);
    let end = if absolute { nanos } else { clock.now(&t.kernel).saturating_add(nanos) };
    let cpus = kernel::sched::cpu_count() as u64;
    loop {
        let left = end.saturating_sub(clock.now(&t.kernel));
        if left == 0 {
            return Ok(0);
        }
        let look = Duration::from_nanos(left / cpus.max(1)).max(LOOK_MIN);
        if sleep_until(t, Instant::now().checked_add(look)) == WaitEnd::Interrupted {
            if absolute {
                return Err(SysErr::Restart(Restart::NoHand));
            }
            user::put_if(t, remainder, &Timespec::from_nanos(left))?;
            return Err(Errno::EINTR.into());
        }
    }
}

fn restart_syscall(t: &mut CurrentTask, _a: Args) -> SysResult {
    match t.restart_block.take() {
        None => Err(Errno::EINTR.into()),
        Some(RestartBlock::Sleep { until, rem }) => sleep(t, Some(until), rem),
        Some(RestartBlock::FutexWait { addr, value, op, bitset, until }) => {
            let shared = op & c::FUTEX_PRIVATE_FLAG == 0;
            crate::futex::restart(t, WaitOn { addr, shared, value }, bitset, until)
        }
        Some(RestartBlock::Poll { fds, count, until }) => crate::poll::restart(t, fds, count, until),
    }
}
