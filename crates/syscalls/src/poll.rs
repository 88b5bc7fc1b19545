//! Waiting on many files (poll(2), select(2)).

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use abi::raw::general::RLIMIT_NOFILE;
use abi::signal::SigSet;
use abi::time::{Timespec, Timeval};
use kernel::{CurrentTask, Restart, RestartBlock, SysErr, SysResult, WaitEnd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vfs::OpenFile;
use vfs::wait::{Events, Registration};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(7, "poll", poll, &[Arg::Ptr, Arg::Size, Arg::Int]),
    Entry::new(23, "select", select, &[Arg::Int, Arg::Ptr, Arg::Ptr, Arg::Ptr, Arg::Ptr]),
    Entry::new(270, "pselect6", pselect6, &[Arg::Int, Arg::Ptr, Arg::Ptr, Arg::Ptr, Arg::InTimespec, Arg::Ptr]),
    Entry::new(271, "ppoll", ppoll, &[Arg::Ptr, Arg::Size, Arg::InTimespec, Arg::InSigSet, Arg::Size]),
];

/// How long to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Timeout {
    /// Not at all.
    Now,
    /// Until then.
    At(Instant),
    /// For ever.
    Never,
}

impl Timeout {
    /// So many nanoseconds from now.
    pub fn after(nanos: u64) -> Timeout {
        if nanos == 0 {
            return Timeout::Now;
        }
        Instant::now().checked_add(Duration::from_nanos(nanos)).map_or(Timeout::Never, Timeout::At)
    }

    /// So many milliseconds from now; for ever if negative.
    pub fn after_millis(millis: i32) -> Timeout {
        u64::try_from(millis).map_or(Timeout::Never, |ms| Timeout::after(ms * 1_000_000))
    }

    pub fn deadline(self) -> Option<Instant> {
        match self {
            Timeout::At(at) => Some(at),
            Timeout::Now | Timeout::Never => None,
        }
    }
}

/// A file that is polled: what is asked, and what is ready.
struct Watch {
    file: Option<Arc<OpenFile>>,
    wanted: Events,
    ready: Events,
}

impl Watch {
    fn look(&mut self) -> bool {
        let ready = match &self.file {
            Some(file) => file.ops().readiness(),
            None => self.ready,
        };
        self.ready = ready & self.wanted;
        !self.ready.is_empty()
    }
}

/// Looks at all, and waits until one is ready. Returns how many are.
fn wait_for_any(t: &CurrentTask, watches: &mut [Watch], timeout: Timeout) -> Result<usize, WaitEnd> {
    let look = |watches: &mut [Watch]| watches.iter_mut().filter_map(|w| w.look().then_some(())).count();
    let ready = look(watches);
    if ready > 0 || timeout == Timeout::Now {
        return Ok(ready);
    }
    let registrations: Vec<Registration> = watches
        .iter()
        .filter_map(|w| Some(w.file.as_ref()?.ops().wait_queue()?.register(w.wanted, t.work.parker().clone())))
        .collect();
    let result = t.wait_until(timeout.deadline(), || Some(look(watches)).filter(|n| *n > 0));
    drop(registrations);
    match result {
        Err(WaitEnd::Timeout) => Ok(0),
        other => other,
    }
}

/// Swaps the signal mask for the time of a call, if `addr` is not null.
pub(crate) fn swap_mask(t: &mut CurrentTask, addr: u64, size: u64) -> Result<(), Errno> {
    if addr == 0 {
        return Ok(());
    }
    if size != size_of::<SigSet>() as u64 {
        return Err(Errno::EINVAL);
    }
    let mask: SigSet = user::get(t, addr)?;
    t.saved_mask = Some(t.signal_mask());
    t.set_signal_mask(mask);
    Ok(())
}

/// Puts the mask back, unless a signal ended the call: its handler still runs under the new one.
pub(crate) fn restore_mask(t: &mut CurrentTask, interrupted: bool) {
    if interrupted {
        return;
    }
    if let Some(mask) = t.saved_mask.take() {
        t.set_signal_mask(mask);
    }
}

/// `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct PollFd {
    fd: i32,
    events: u16,
    revents: u16,
}

fn do_poll(t: &CurrentTask, addr: u64, count: u32, timeout: Timeout) -> Result<Result<usize, WaitEnd>, Errno> {
    if u64::from(count) > t.group.limit(RLIMIT_NOFILE) {
        return Err(Errno::EINVAL);
    }
    let mut fds: Vec<PollFd> = t.mm().read_array(addr, count as usize)?;
    let mut watches: Vec<Watch> = fds.iter().map(|fd| watch(t, fd)).collect();
    let result = wait_for_any(t, &mut watches, timeout);
    for (fd, watch) in fds.iter_mut().zip(&watches) {
        fd.revents = watch.ready.bits() as u16;
    }
    // Only the results are written: another thread may be changing the rest.
    if fds.len() <= FEW {
        for (at, fd) in fds.iter().enumerate() {
            let place = addr + (at * size_of::<PollFd>()) as u64 + 6;
            t.mm().copy_out(place, &fd.revents.to_le_bytes())?;
        }
    } else {
        t.mm().copy_out(addr, fds.as_bytes())?;
    }
    Ok(result)
}

/// So few that writing each result by itself is cheap.
const FEW: usize = 64;

fn watch(t: &CurrentTask, fd: &PollFd) -> Watch {
    if fd.fd < 0 {
        return Watch { file: None, wanted: Events::empty(), ready: Events::empty() };
    }
    match t.fds().get(fd.fd) {
        Ok(file) => {
            let wanted = Events::from_bits_truncate(u32::from(fd.events)) | Events::ERR | Events::HUP;
            Watch { file: Some(file), wanted, ready: Events::empty() }
        }
        Err(_) => Watch { file: None, wanted: Events::NVAL, ready: Events::NVAL },
    }
}

fn poll_and_restart(t: &mut CurrentTask, addr: u64, count: u32, timeout: Timeout) -> SysResult {
    match do_poll(t, addr, count, timeout)? {
        Ok(ready) => Ok(ready as u64),
        Err(_) => {
            t.restart_block = Some(RestartBlock::Poll { fds: addr, count, until: timeout.deadline() });
            Err(SysErr::Restart(Restart::Block))
        }
    }
}

fn poll(t: &mut CurrentTask, a: Args) -> SysResult {
    poll_and_restart(t, a.u64(0), a.u32(1), Timeout::after_millis(a.i32(2)))
}

/// restart_syscall(2) of an interrupted poll(2).
pub(crate) fn restart(t: &mut CurrentTask, fds: u64, count: u32, until: Option<Instant>) -> SysResult {
    poll_and_restart(t, fds, count, until.map_or(Timeout::Never, Timeout::At))
}

/// Where a call's timeout stands, and how: the rest is written back to it.
#[derive(Clone, Copy)]
enum TimeoutAt {
    None,
    Timespec(u64),
    Timeval(u64),
}

/// Ends ppoll(2) or select(2): puts the mask back and writes the rest of the timeout.
fn finish(
    t: &mut CurrentTask,
    at: TimeoutAt,
    timeout: Timeout,
    result: Result<Result<usize, WaitEnd>, Errno>,
) -> SysResult {
    let interrupted = matches!(result, Ok(Err(_)));
    restore_mask(t, interrupted);
    let nanos =
        |until: Instant| u64::try_from(until.saturating_duration_since(Instant::now()).as_nanos()).unwrap_or(u64::MAX);
    let written = match (at, timeout) {
        (TimeoutAt::Timespec(addr), Timeout::At(until)) => user::put(t, addr, &Timespec::from_nanos(nanos(until))),
        (TimeoutAt::Timeval(addr), Timeout::At(until)) => user::put(t, addr, &Timeval::from_nanos(nanos(until))),
        _ => Ok(()),
    };
    match result? {
        Ok(ready) => Ok(ready as u64),
        // Without the rest of the time it can't be restarted.
        Err(_) if written.is_err() => Err(Errno::EINTR.into()),
        Err(_) => Err(SysErr::Restart(Restart::NoHand)),
    }
}

fn timespec(t: &CurrentTask, addr: u64) -> Result<Timeout, Errno> {
    if addr == 0 {
        return Ok(Timeout::Never);
    }
    Ok(Timeout::after(user::get::<Timespec>(t, addr)?.nanos().ok_or(Errno::EINVAL)?))
}

fn timespec_at(addr: u64) -> TimeoutAt {
    if addr == 0 { TimeoutAt::None } else { TimeoutAt::Timespec(addr) }
}

fn ppoll(t: &mut CurrentTask, a: Args) -> SysResult {
    let timeout = timespec(t, a.u64(2))?;
    swap_mask(t, a.u64(3), a.u64(4))?;
    let result = do_poll(t, a.u64(0), a.u32(1), timeout);
    finish(t, timespec_at(a.u64(2)), timeout, result)
}

/// What select(2) takes for readable, writable and exceptional.
const KINDS: [Events; 3] = [
    Events::READABLE.union(Events::RDBAND).union(Events::HUP).union(Events::ERR).union(Events::NVAL),
    Events::WRITABLE.union(Events::WRBAND).union(Events::ERR).union(Events::NVAL),
    Events::PRI.union(Events::NVAL),
];

fn bit(set: &[u64], fd: usize) -> bool {
    set.get(fd / 64).is_some_and(|word| word >> (fd % 64) & 1 != 0)
}

fn do_select(t: &CurrentTask, count: i32, addrs: [u64; 3], timeout: Timeout) -> Result<Result<usize, WaitEnd>, Errno> {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?.min(t.fds().size());
    let words = count.div_ceil(64);
    let mut sets: [Vec<u64>; 3] = Default::default();
    for (set, addr) in sets.iter_mut().zip(addrs) {
        *set = if addr == 0 { vec![0; words] } else { t.mm().read_array(addr, words)? };
    }
    let mut watches = Vec::new();
    let mut fds = Vec::new();
    for fd in 0..count {
        let mut wanted = Events::empty();
        for (set, events) in sets.iter().zip(KINDS) {
            if bit(set, fd) {
                wanted |= events;
            }
        }
        if wanted.is_empty() {
            continue;
        }
        let file = Some(t.fds().get(i32::try_from(fd).map_err(|_| Errno::EBADF)?)?);
        watches.push(Watch { file, wanted, ready: Events::empty() });
        fds.push(fd);
    }
    if let Err(end) = wait_for_any(t, &mut watches, timeout) {
        return Ok(Err(end));
    }
    let mut total = 0;
    for ((set, events), addr) in sets.iter().zip(KINDS).zip(addrs) {
        let mut result = vec![0u64; words];
        for (fd, watch) in fds.iter().zip(&watches) {
            if !bit(set, *fd) || !watch.ready.intersects(events) {
                continue;
            }
            if let Some(word) = result.get_mut(fd / 64) {
                *word |= 1 << (fd % 64);
                total += 1;
            }
        }
        if addr != 0 {
            t.mm().copy_out(addr, result.as_bytes())?;
        }
    }
    Ok(Ok(total))
}

fn select(t: &mut CurrentTask, a: Args) -> SysResult {
    let (timeout, at) = match a.u64(4) {
        0 => (Timeout::Never, TimeoutAt::None),
        addr => {
            let time: Timeval = user::get(t, addr)?;
            // Microseconds may be more than a second here.
            let sec = time.sec.checked_add(time.usec / 1_000_000).ok_or(Errno::EINVAL)?;
            let time = Timespec { sec, nsec: time.usec % 1_000_000 * 1000 };
            (Timeout::after(time.nanos().ok_or(Errno::EINVAL)?), TimeoutAt::Timeval(addr))
        }
    };
    let result = do_select(t, a.i32(0), [a.u64(1), a.u64(2), a.u64(3)], timeout);
    finish(t, at, timeout, result)
}

fn pselect6(t: &mut CurrentTask, a: Args) -> SysResult {
    let (mask, size) = match a.u64(5) {
        0 => (0, 0),
        addr => user::get::<[u64; 2]>(t, addr).map(|[mask, size]| (mask, size))?,
    };
    let timeout = timespec(t, a.u64(4))?;
    swap_mask(t, mask, size)?;
    let result = do_select(t, a.i32(0), [a.u64(1), a.u64(2), a.u64(3)], timeout);
    finish(t, timespec_at(a.u64(4)), timeout, result)
}
