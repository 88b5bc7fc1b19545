//! POSIX timers (timer_create(2)).
//!
//! A timer's signal is queued once. Until it is taken the timer does not run; what it would have sent meanwhile is counted
//! then, as its overrun.

use super::process::{CpuTimer, Shot, State, TimerValue, Which, forward, left_until, nanos};
use crate::clock::{Clock, TICK};
use crate::group::ThreadGroup;
use crate::kernel::Kernel;
use crate::signal::Target;
use abi::Errno;
use abi::raw::general as c;
use abi::signal::{SigInfo, Signal};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an expiry does (`sigev_notify`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notify {
    /// Nothing; the timer can only be read.
    None,
    /// Sends a signal, to the process or to a thread of it.
    Signal {
        /// `sigev_signo`.
        signal: Signal,
        /// `sigev_value`; `None` for the timer's id.
        value: Option<u64>,
        /// `sigev_notify_thread_id`.
        thread: Option<i32>,
    },
}

/// New times of a timer, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PosixSpec {
    /// The first expiry, 0 for none.
    pub value: u64,
    /// Then every so often, 0 for once.
    pub interval: u64,
    /// `TIMER_ABSTIME`: the first is a time on the clock.
    pub absolute: bool,
}

pub(super) struct PosixTimer {
    clock: Clock,
    notify: Notify,
    /// The next expiry; or, while the signal waits to be taken, the last.
    due: Option<Instant>,
    interval: Duration,
    /// The signal is queued.
    pending: bool,
    overrun: u64,
    last_overrun: i32,
}

impl PosixTimer {
    fn shot(&self, id: i32) -> Option<Shot> {
        let Notify::Signal { signal, value, thread } = self.notify else { return None };
        let value = value.unwrap_or(u64::from(id.cast_unsigned()));
        let target = thread.map_or(Target::Process, Target::Thread);
        Some(Shot { target, info: SigInfo::timer(signal, id, 0, value), timer: Some(id) })
    }

    /// The timer was due at `at`.
    pub fn expire(&mut self, id: i32, at: Instant) -> Option<Shot> {
        self.due = if self.interval.is_zero() { None } else { Some(at) };
        self.overrun = 0;
        self.pending = true;
        self.shot(id)
    }

    /// The same on CPU time, where the timer runs on.
    pub fn expire_cpu(&mut self, id: i32) -> Option<Shot> {
        if self.pending {
            self.overrun += 1;
            return None;
        }
        self.overrun = 0;
        self.pending = true;
        self.shot(id)
    }

    fn left(&self, now: Instant) -> Duration {
        match self.due {
            None => Duration::ZERO,
            Some(at) if at > now => left_until(at),
            Some(_) if self.interval.is_zero() && self.notify == Notify::None => Duration::ZERO,
            Some(at) if self.interval.is_zero() => left_until(at),
            Some(at) => forward(at, self.interval, now).0.map_or(Duration::ZERO, left_until),
        }
    }
}

impl State {
    fn unschedule(&mut self, id: i32) {
        if let Some(at) = self.posix.get(&id).and_then(|t| t.due) {
            self.due.remove(&(at, Which::Posix(id)));
        }
        self.cpu.remove(&Which::Posix(id));
    }

    /// Lets a timer run on after its signal was taken or dropped, from a time not before `from`.
    fn run_on(&mut self, id: i32, from: Instant) -> Option<(Signal, i32)> {
        let timer = self.posix.get_mut(&id).filter(|t| t.pending)?;
        timer.pending = false;
        let mut next = None;
        if let Some(at) = timer.due.filter(|_| !timer.interval.is_zero()) {
            let missed;
            (next, missed) = forward(at, timer.interval, from);
            timer.overrun = timer.overrun.saturating_add(missed);
            timer.due = next;
        }
        timer.last_overrun = i32::try_from(timer.overrun).unwrap_or(i32::MAX);
        let overrun = timer.last_overrun;
        let Notify::Signal { signal, .. } = timer.notify else { return None };
        self.due.extend(next.map(|at| (at, Which::Posix(id))));
        Some((signal, overrun))
    }
}

impl ThreadGroup {
    /// timer_create(2). Returns the id.
    ///
    /// # Errors
    /// `EAGAIN` if there are too many, `EOPNOTSUPP` for clocks without timers.
    pub fn create_timer(&self, clock: Clock, notify: Notify) -> Result<i32, Errno> {
        if !clock.has_timers() {
            return Err(Errno::EOPNOTSUPP);
        }
        let limit = self.limit(c::RLIMIT_SIGPENDING);
        let mut state = self.timers.state.lock();
        if state.posix.len() as u64 >= limit {
            return Err(Errno::EAGAIN);
        }
        let mut id = state.next_id;
        while state.posix.contains_key(&id) {
            id = id.wrapping_add(1) & i32::MAX;
        }
        state.next_id = id.wrapping_add(1) & i32::MAX;
        let interval = Duration::ZERO;
        let timer = PosixTimer { clock, notify, due: None, interval, pending: false, overrun: 0, last_overrun: 0 };
        state.posix.insert(id, timer);
        Ok(id)
    }

    fn timer_clock(&self, id: i32) -> Result<Clock, Errno> {
        self.timers.state.lock().posix.get(&id).map(|t| t.clock.clone()).ok_or(Errno::EINVAL)
    }

    /// timer_gettime(2).
    ///
    /// # Errors
    /// `EINVAL` if there is no such timer.
    pub fn timer(&self, kernel: &Kernel, id: i32) -> Result<TimerValue, Errno> {
        let clock = self.timer_clock(id)?;
        let cpu_now = if matches!(clock, Clock::Cpu(..)) { clock.now(kernel) } else { 0 };
        let state = self.timers.state.lock();
        let timer = state.posix.get(&id).ok_or(Errno::EINVAL)?;
        let on_cpu = state.cpu.get(&Which::Posix(id));
        let value = match (&timer.clock, on_cpu) {
            (Clock::Cpu(..), Some(t)) => Duration::from_nanos(t.expiry.saturating_sub(cpu_now).max(1)),
            (Clock::Cpu(..), None) => Duration::ZERO,
            (Clock::Host(_), _) => timer.left(Instant::now()),
        };
        Ok(TimerValue { value, interval: timer.interval })
    }

    /// timer_settime(2). Returns what was set before.
    ///
    /// # Errors
    /// `EINVAL` if there is no such timer.
    pub fn set_timer(self: &Arc<Self>, kernel: &Arc<Kernel>, id: i32, spec: PosixSpec) -> Result<TimerValue, Errno> {
        self.timer_kernel(kernel);
        let old = self.timer(kernel, id)?;
        let clock = self.timer_clock(id)?;
        let now = clock.now(kernel);
        let on_cpu = matches!(clock, Clock::Cpu(..));
        let at = match (spec.value, spec.absolute) {
            (0, _) => None,
            (value, true) => Some(value),
            (value, false) => Some(now.saturating_add(value)),
        };
        {
            let mut state = self.timers.state.lock();
            state.unschedule(id);
            let timer = state.posix.get_mut(&id).ok_or(Errno::EINVAL)?;
            timer.interval = Duration::from_nanos(if at.is_some() { spec.interval } else { 0 });
            timer.overrun = 0;
            timer.last_overrun = 0;
            timer.pending = false;
            timer.due = at.filter(|_| !on_cpu).and_then(|at| clock.deadline(at));
            let (due, silent) = (timer.due, timer.notify == Notify::None);
            let interval = nanos(timer.interval);
            if let Some(expiry) = at.filter(|_| on_cpu) {
                state.cpu.insert(Which::Posix(id), CpuTimer { clock: clock.clone(), expiry, interval });
            }
            state.due.extend(due.filter(|_| !silent).map(|at| (at, Which::Posix(id))));
            state.schedule(self, &kernel.timers)?;
        }
        if on_cpu {
            self.check_cpu_timers(kernel);
        }
        Ok(old)
    }

    /// timer_getoverrun(2).
    ///
    /// # Errors
    /// `EINVAL` if there is no such timer.
    pub fn timer_overrun(&self, id: i32) -> Result<i32, Errno> {
        self.timers.state.lock().posix.get(&id).map(|t| t.last_overrun).ok_or(Errno::EINVAL)
    }

    /// timer_delete(2).
    ///
    /// # Errors
    /// `EINVAL` if there is no such timer.
    pub fn delete_timer(self: &Arc<Self>, kernel: &Kernel, id: i32) -> Result<(), Errno> {
        let removed = {
            let mut state = self.timers.state.lock();
            state.unschedule(id);
            let removed = state.posix.remove(&id);
            let _ = state.schedule(self, &kernel.timers);
            removed
        };
        removed.map(drop).ok_or(Errno::EINVAL)
    }

    /// A timer's signal was taken: fills in the overrun. A guest may have made the signal up; then nothing is pending.
    pub(super) fn posix_taken(self: &Arc<Self>, kernel: &Kernel, info: &mut SigInfo) {
        let mut state = self.timers.state.lock();
        let id = info.pid();
        let signal = match state.posix.get(&id).map(|t| t.notify) {
            Some(Notify::Signal { signal, .. }) => signal,
            _ => return,
        };
        if signal != info.signo {
            return;
        }
        if let Some((signal, overrun)) = state.run_on(id, Instant::now()) {
            *info = SigInfo::timer(signal, id, overrun, info.second());
        }
        let _ = state.schedule(self, &kernel.timers);
    }

    /// A timer's signal was ignored: the timer runs on, a tick later at the earliest.
    pub(super) fn posix_ignored(self: &Arc<Self>, kernel: &Kernel, id: i32) {
        let mut state = self.timers.state.lock();
        state.run_on(id, Instant::now() + TICK);
        let _ = state.schedule(self, &kernel.timers);
    }
}
