//! What a process's timers have in common, and the three of setitimer(2).
//!
//! Each process has at most one alarm in the timer service: the first of its timers'. Timers on CPU time are looked at
//! when they could have expired at the earliest; while all threads sleep nobody looks, and the first that wakes asks for
//! it again ([`ThreadGroup::cpu_timers_resume`]). State has rank `TIMERS`; signals are sent after it is released.

use super::posix::PosixTimer;
use super::{AlarmKey, Expire, Timers};
use crate::clock::{Clock, CpuKind, CpuOf};
use crate::group::ThreadGroup;
use crate::kernel::Kernel;
use crate::limits::Limit;
use crate::signal::Target;
use abi::Errno;
use abi::raw::general::RLIMIT_CPU;
use abi::signal::{SIGALRM, SIGKILL, SIGPROF, SIGVTALRM, SIGXCPU, SigInfo, code};
use abi::time::SECOND;
use lock::{Mutex, rank};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// A timer as setitimer(2) and timer_settime(2) see it: time to the next expiry, 0 for none, and then every so often.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct TimerValue {
    pub value: Duration,
    pub interval: Duration,
}

/// The timers of setitimer(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ItimerKind {
    /// Real time, `SIGALRM`.
    Real,
    /// Time in guest code, `SIGVTALRM`.
    Virtual,
    /// All CPU time, `SIGPROF`.
    Prof,
}

/// A timer on the process's list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Which {
    Real,
    Virtual,
    Prof,
    Posix(i32),
    /// `RLIMIT_CPU`.
    Limit,
    /// The next look at timers on CPU time.
    CpuCheck,
}

/// A timer on CPU time: due when the clock shows `expiry`.
pub(super) struct CpuTimer {
    pub clock: Clock,
    pub expiry: u64,
    pub interval: u64,
}

/// `ITIMER_REAL`. It runs again only once `SIGALRM` was taken.
#[derive(Default)]
struct Real {
    due: Option<Instant>,
    armed: bool,
    interval: Duration,
}

#[derive(Default)]
pub(super) struct State {
    real: Real,
    pub posix: BTreeMap<i32, PosixTimer>,
    pub next_id: i32,
    pub cpu: BTreeMap<Which, CpuTimer>,
    /// By time; one entry for a timer.
    pub due: BTreeSet<(Instant, Which)>,
    alarm: Option<(Instant, AlarmKey)>,
}

/// A process's timers.
pub struct ProcessTimers {
    kernel: OnceLock<Weak<Kernel>>,
    /// Timers on CPU time wait for a thread to run.
    cpu_parked: AtomicBool,
    pub(super) state: Mutex<State>,
}

impl Default for ProcessTimers {
    fn default() -> ProcessTimers {
        ProcessTimers {
            kernel: OnceLock::new(),
            cpu_parked: AtomicBool::new(false),
            state: Mutex::new(rank::TIMERS, State::default()),
        }
    }
}

/// A signal that an expiry causes.
pub(super) struct Shot {
    pub target: Target,
    pub info: SigInfo,
    /// The POSIX timer whose signal it is.
    pub timer: Option<i32>,
}

impl Shot {
    fn of_process(signal: i32) -> Shot {
        Shot { target: Target::Process, info: SigInfo::new(signal, code::SI_KERNEL), timer: None }
    }
}

/// Never look at CPU timers more often than this.
const CPU_CHECK_MIN: Duration = Duration::from_micros(500);

/// The first multiple of `interval` after `from` that is later than `now`, and how many were missed before it.
#[must_use]
pub fn forward(from: Instant, interval: Duration, now: Instant) -> (Option<Instant>, u64) {
    let step = interval.as_nanos().max(1);
    let late = now.saturating_duration_since(from).as_nanos();
    let missed = u64::try_from(late / step).unwrap_or(u64::MAX);
    let next = step.saturating_mul(u128::from(missed) + 1);
    let next = u64::try_from(next).ok().and_then(|ns| from.checked_add(Duration::from_nanos(ns)));
    (next, missed)
}

impl State {
    /// Brings the process's alarm in line with its first timer.
    pub fn schedule(&mut self, group: &Arc<ThreadGroup>, timers: &Timers) -> Result<(), Errno> {
        let first = self.due.first().map(|(at, _)| *at);
        if first == self.alarm.map(|(at, _)| at) {
            return Ok(());
        }
        if let Some((_, key)) = self.alarm.take() {
            timers.cancel(key);
        }
        if let Some(at) = first {
            let weak: Weak<dyn Expire> = Arc::<ThreadGroup>::downgrade(group);
            self.alarm = Some((at, timers.set(at, weak)?));
        }
        Ok(())
    }

    fn expire_real(&mut self, shots: &mut Vec<Shot>) {
        self.real.armed = false;
        if self.real.interval.is_zero() {
            self.real.due = None;
        }
        shots.push(Shot::of_process(SIGALRM));
    }

    /// Acts on one timer that was due at `at`.
    fn expire_one(&mut self, at: Instant, which: Which, shots: &mut Vec<Shot>) {
        match which {
            Which::Real => self.expire_real(shots),
            Which::Posix(id) => {
                if let Some(timer) = self.posix.get_mut(&id) {
                    shots.extend(timer.expire(id, at));
                }
            }
            Which::Virtual | Which::Prof | Which::Limit | Which::CpuCheck => {}
        }
    }

    /// Acts on one timer on CPU time, whose clock shows `now`. Returns what is left until it is due again.
    fn expire_cpu(&mut self, which: Which, now: u64, shots: &mut Vec<Shot>) -> Option<u64> {
        let timer = self.cpu.get_mut(&which)?;
        if now < timer.expiry {
            return Some(timer.expiry - now);
        }
        match (now - timer.expiry).checked_div(timer.interval) {
            Some(missed) => timer.expiry = timer.expiry.saturating_add(timer.interval.saturating_mul(missed + 1)),
            None => drop(self.cpu.remove(&which)),
        }
        match which {
            Which::Virtual => shots.push(Shot::of_process(SIGVTALRM)),
            Which::Prof => shots.push(Shot::of_process(SIGPROF)),
            Which::Posix(id) => {
                if let Some(timer) = self.posix.get_mut(&id) {
                    shots.extend(timer.expire_cpu(id));
                }
            }
            Which::Real | Which::Limit | Which::CpuCheck => {}
        }
        self.cpu.get(&which).map(|t| t.expiry.saturating_sub(now))
    }
}

impl Expire for ThreadGroup {
    fn expire(self: Arc<Self>) {
        let Some(kernel) = self.timers.kernel.get().and_then(Weak::upgrade) else { return };
        let now = Instant::now();
        let mut shots = Vec::new();
        let mut check = false;
        {
            let mut state = self.timers.state.lock();
            state.alarm = None;
            while let Some((at, which)) = state.due.first().copied().filter(|(at, _)| *at <= now) {
                state.due.remove(&(at, which));
                check |= which == Which::CpuCheck;
                state.expire_one(at, which, &mut shots);
            }
            let _ = state.schedule(&self, &kernel.timers);
        }
        self.send_shots(&kernel, shots);
        if check {
            self.check_cpu_timers(&kernel);
        }
    }
}

impl ThreadGroup {
    pub(super) fn timer_kernel(&self, kernel: &Arc<Kernel>) {
        self.timers.kernel.get_or_init(|| Arc::downgrade(kernel));
    }

    fn send_shots(self: &Arc<Self>, kernel: &Kernel, shots: Vec<Shot>) {
        for shot in shots {
            let sent = kernel.send_timer_signal(self, shot.target, shot.info);
            if let (false, Some(id)) = (sent, shot.timer) {
                self.posix_ignored(kernel, id);
            }
        }
    }

    /// Looks at the timers on CPU time, and arranges for the next look.
    pub(super) fn check_cpu_timers(self: &Arc<Self>, kernel: &Kernel) {
        let watched: Vec<(Which, Clock)> =
            self.timers.state.lock().cpu.iter().map(|(which, t)| (*which, t.clock.clone())).collect();
        if watched.is_empty() {
            return;
        }
        let times: Vec<(Which, u64)> = watched.into_iter().map(|(which, clock)| (which, clock.now(kernel))).collect();
        self.timers.cpu_parked.store(true, Ordering::SeqCst);
        let running = self.running_threads(kernel);
        let mut shots = Vec::new();
        for (_, spent) in times.iter().filter(|(which, _)| *which == Which::Limit) {
            self.enforce_cpu_limit(*spent, &mut shots);
        }
        {
            let mut state = self.timers.state.lock();
            let left = times.iter().filter_map(|(which, now)| state.expire_cpu(*which, *now, &mut shots)).min();
            state.due.retain(|(_, which)| *which != Which::CpuCheck);
            // Whoever resets the flag makes the next look happen: here, or a thread that starts to run.
            if left.is_some() && running > 0 && self.timers.cpu_parked.swap(false, Ordering::SeqCst) {
                let share = left.unwrap_or(0) / running;
                let at = Instant::now().checked_add(Duration::from_nanos(share).max(CPU_CHECK_MIN));
                state.due.extend(at.map(|at| (at, Which::CpuCheck)));
            }
            let _ = state.schedule(self, &kernel.timers);
        }
        self.send_shots(kernel, shots);
    }

    /// `RLIMIT_CPU`: a signal at the soft limit and every second after it, death at the hard one.
    fn enforce_cpu_limit(&self, spent: u64, shots: &mut Vec<Shot>) {
        let mut limits = self.limits.lock();
        let Ok(limit) = limits.get(RLIMIT_CPU) else { return };
        let seconds = spent / SECOND;
        if seconds >= limit.hard {
            shots.push(Shot::of_process(SIGKILL));
        } else if seconds >= limit.soft {
            shots.push(Shot::of_process(SIGXCPU));
            let _ = limits.set(RLIMIT_CPU, Limit { soft: seconds + 1, ..limit }, false);
            drop(limits);
            self.watch_cpu_limit(seconds + 1);
        }
    }

    fn watch_cpu_limit(&self, seconds: u64) {
        let mut state = self.timers.state.lock();
        if let Some(timer) = state.cpu.get_mut(&Which::Limit) {
            timer.expiry = seconds.saturating_mul(SECOND);
        }
    }

    /// Watches `RLIMIT_CPU`, which was set or inherited.
    pub fn cpu_limit_changed(self: &Arc<Self>, kernel: &Arc<Kernel>) {
        let Ok(limit) = self.limits.lock().get(RLIMIT_CPU) else { return };
        if limit.soft == u64::MAX && limit.hard == u64::MAX {
            let removed = self.timers.state.lock().cpu.remove(&Which::Limit);
            drop(removed);
            return;
        }
        self.timer_kernel(kernel);
        let clock = Clock::Cpu(CpuOf::Process(self.clone()), CpuKind::Prof);
        // As in Linux, no time at all is one second.
        let expiry = limit.soft.min(limit.hard).max(1).saturating_mul(SECOND);
        let replaced = self.timers.state.lock().cpu.insert(Which::Limit, CpuTimer { clock, expiry, interval: SECOND });
        drop(replaced);
        self.check_cpu_timers(kernel);
    }

    fn running_threads(&self, kernel: &Kernel) -> u64 {
        let tree = kernel.tree.lock();
        let threads = tree.processes.get(&self.tgid).map(|p| &p.threads);
        let running = threads.into_iter().flatten().filter_map(|tid| tree.tasks.get(tid));
        running.filter(|task| task.may_run()).count() as u64
    }

    /// A thread goes on to run: timers on CPU time count again.
    pub(crate) fn cpu_timers_resume(self: &Arc<Self>, kernel: &Kernel) {
        if self.timers.cpu_parked.load(Ordering::SeqCst) && self.timers.cpu_parked.swap(false, Ordering::SeqCst) {
            self.check_cpu_timers(kernel);
        }
    }

    fn itimer_clock(self: &Arc<Self>, kind: ItimerKind) -> (Which, Clock) {
        let (which, cpu) = match kind {
            ItimerKind::Virtual => (Which::Virtual, CpuKind::Virt),
            ItimerKind::Prof | ItimerKind::Real => (Which::Prof, CpuKind::Prof),
        };
        (which, Clock::Cpu(CpuOf::Process(self.clone()), cpu))
    }

    /// getitimer(2).
    #[must_use]
    pub fn itimer(self: &Arc<Self>, kernel: &Kernel, kind: ItimerKind) -> TimerValue {
        if kind == ItimerKind::Real {
            let state = self.timers.state.lock();
            let left = state.real.due.filter(|_| state.real.armed).map_or(Duration::ZERO, left_until);
            return TimerValue { value: left, interval: state.real.interval };
        }
        let (which, clock) = self.itimer_clock(kind);
        let now = clock.now(kernel);
        let state = self.timers.state.lock();
        state.cpu.get(&which).map_or(TimerValue::default(), |t| TimerValue {
            value: Duration::from_nanos(t.expiry.saturating_sub(now).max(1)),
            interval: Duration::from_nanos(t.interval),
        })
    }

    /// setitimer(2). Returns what was set before.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread for timers.
    pub fn set_itimer(
        self: &Arc<Self>,
        kernel: &Arc<Kernel>,
        kind: ItimerKind,
        new: TimerValue,
    ) -> Result<TimerValue, Errno> {
        self.timer_kernel(kernel);
        let old = self.itimer(kernel, kind);
        if kind == ItimerKind::Real {
            let mut state = self.timers.state.lock();
            if let Some(at) = state.real.due.take() {
                state.due.remove(&(at, Which::Real));
            }
            let at = if new.value.is_zero() { None } else { Instant::now().checked_add(new.value) };
            state.real = Real { due: at, armed: at.is_some(), interval: new.interval };
            state.due.extend(at.map(|at| (at, Which::Real)));
            state.schedule(self, &kernel.timers)?;
            return Ok(old);
        }
        let (which, clock) = self.itimer_clock(kind);
        let now = clock.now(kernel);
        if new.value.is_zero() {
            let removed = self.timers.state.lock().cpu.remove(&which);
            drop(removed);
            return Ok(old);
        }
        let timer = CpuTimer { clock, expiry: now.saturating_add(nanos(new.value)), interval: nanos(new.interval) };
        let replaced = self.timers.state.lock().cpu.insert(which, timer);
        drop(replaced);
        self.check_cpu_timers(kernel);
        Ok(old)
    }

    /// A signal was taken off a queue: the timer that sent it runs again, and its overruns are filled in.
    pub fn signal_taken(self: &Arc<Self>, kernel: &Kernel, info: &mut SigInfo) {
        if info.code == code::SI_TIMER {
            self.posix_taken(kernel, info);
        } else if info.signo == SIGALRM {
            let mut state = self.timers.state.lock();
            let Some(due) = state.real.due.filter(|_| !state.real.armed) else { return };
            let (next, _) = forward(due, state.real.interval, Instant::now());
            state.real.due = next;
            state.real.armed = next.is_some();
            state.due.extend(next.map(|at| (at, Which::Real)));
            let _ = state.schedule(self, &kernel.timers);
        }
    }
}

/// Time left of a timer that has not expired: never zero.
pub(super) fn left_until(at: Instant) -> Duration {
    at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1))
}

/// A duration in nanoseconds.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Timers {
    /// Ends the timers of a process that has ended.
    pub(crate) fn process_ended(&self, group: &Arc<ThreadGroup>) {
        let old = {
            let mut state = group.timers.state.lock();
            if let Some((_, key)) = state.alarm.take() {
                self.cancel(key);
            }
            std::mem::take(&mut *state)
        };
        drop(old);
    }

    /// Deletes the timers that do not survive execve(2): those of timer_create(2).
    pub(crate) fn exec(&self, group: &Arc<ThreadGroup>) {
        let old = {
            let mut state = group.timers.state.lock();
            state.due.retain(|(_, which)| !matches!(which, Which::Posix(_)));
            state.cpu.retain(|which, _| !matches!(which, Which::Posix(_)));
            let old = std::mem::take(&mut state.posix);
            let _ = state.schedule(group, self);
            old
        };
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forward_counts_what_was_missed() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        assert_eq!(forward(start, ms(10), start), (Some(start + ms(10)), 0));
        assert_eq!(forward(start, ms(10), start + ms(35)), (Some(start + ms(40)), 3));
        assert_eq!(forward(start, ms(10), start + ms(40)), (Some(start + ms(50)), 4));
    }
}
