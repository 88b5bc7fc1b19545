//! Clocks (clock_gettime(2)), and when a time on one of them is on the Sentry's own.
//!
//! Guests see the host's clocks, in the vDSO as well as here. CPU time is measured by each task's [`Meter`], which its own
//! thread moves between user, system and asleep.

use crate::group::ThreadGroup;
use crate::kernel::Kernel;
use crate::task::{CurrentTask, Task};
use abi::Errno;
use abi::raw::general as c;
use abi::time::SECOND;
use host::tsc::nanos;
use lock::{Mutex, rank};
use platform::{KernelOnly, LocalState};
use rustix::time::{ClockId, clock_getres, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

/// A scheduler tick, for clocks that have no better resolution and for timers whose signal is ignored.
pub const TICK: Duration = Duration::from_millis(4);

/// Which of a task's CPU times a clock shows (`CPUCLOCK_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuKind {
    /// In guest code and in the kernel, by ticks.
    Prof,
    /// In guest code.
    Virt,
    /// Both, exactly.
    Sched,
}

/// Whose CPU time a clock shows.
#[derive(Clone)]
pub enum CpuOf {
    /// All threads of a process, past ones included.
    Process(Arc<ThreadGroup>),
    /// One thread.
    Thread(Arc<Task>),
}

/// A clock of the system, or of CPU time.
#[derive(Clone)]
pub enum Clock {
    /// One of the host's.
    Host(ClockId),
    /// CPU time.
    Cpu(CpuOf, CpuKind),
}

impl Clock {
    /// A clock by its number, as `task` sees it. `reading` allows the number of the caller's own thread for a process.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn by_id(task: &CurrentTask, id: i32, reading: bool) -> Result<Clock, Errno> {
        let Ok(positive) = u32::try_from(id) else { return cpu_clock(task, id, reading) };
        match positive {
            c::CLOCK_PROCESS_CPUTIME_ID => Ok(Clock::Cpu(CpuOf::Process(task.group.clone()), CpuKind::Sched)),
            c::CLOCK_THREAD_CPUTIME_ID => Ok(Clock::Cpu(CpuOf::Thread(task.task.clone()), CpuKind::Sched)),
            // Without a real-time clock device these exist, but neither show nor wait for anything.
            c::CLOCK_REALTIME_ALARM | c::CLOCK_BOOTTIME_ALARM if reading => Err(Errno::EINVAL),
            c::CLOCK_REALTIME_ALARM | c::CLOCK_BOOTTIME_ALARM => Err(Errno::EOPNOTSUPP),
            id => Clock::system(id).ok_or(Errno::EINVAL),
        }
    }

    /// A clock that all processes share.
    #[must_use]
    pub fn system(id: u32) -> Option<Clock> {
        Some(Clock::Host(match id {
            // The host keeps no offset between the first two unless it is told one.
            c::CLOCK_REALTIME | c::CLOCK_TAI | c::CLOCK_REALTIME_ALARM => ClockId::Realtime,
            c::CLOCK_MONOTONIC => ClockId::Monotonic,
            c::CLOCK_MONOTONIC_RAW => ClockId::MonotonicRaw,
            c::CLOCK_REALTIME_COARSE => ClockId::RealtimeCoarse,
            c::CLOCK_MONOTONIC_COARSE => ClockId::MonotonicCoarse,
            c::CLOCK_BOOTTIME | c::CLOCK_BOOTTIME_ALARM => ClockId::Boottime,
            _ => return None,
        }))
    }

    /// The time in nanoseconds.
    #[must_use]
    pub fn now(&self, kernel: &Kernel) -> u64 {
        match self {
            Clock::Host(id) => host_now(*id),
            Clock::Cpu(of, kind) => {
                let (user, system) = of.times(kernel);
                if *kind == CpuKind::Virt { user } else { user.saturating_add(system) }
            }
        }
    }

    /// The resolution in nanoseconds.
    #[must_use]
    pub fn resolution(&self) -> u64 {
        match self {
            Clock::Host(id) => nanoseconds(clock_getres(*id)),
            Clock::Cpu(_, CpuKind::Sched) => 1,
            Clock::Cpu(..) => TICK.as_nanos() as u64,
        }
    }

    /// Whether timers can run on it: not on raw or coarse clocks.
    #[must_use]
    pub fn has_timers(&self) -> bool {
        !matches!(self, Clock::Host(ClockId::MonotonicRaw | ClockId::RealtimeCoarse | ClockId::MonotonicCoarse))
    }

    /// When this clock of the host shows `at`. `None` is never, and so is any time on a CPU clock.
    #[must_use]
    pub fn deadline(&self, at: u64) -> Option<Instant> {
        let Clock::Host(id) = self else { return None };
        // Read before the Sentry's own clock, so that the result is never early.
        let now = host_now(*id);
        Instant::now().checked_add(Duration::from_nanos(at.saturating_sub(now)))
    }
}

fn host_now(id: ClockId) -> u64 {
    nanoseconds(clock_gettime(id))
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(SECOND).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Clocks with negative numbers name a process or thread (`MAKE_PROCESS_CPUCLOCK`).
fn cpu_clock(task: &CurrentTask, id: i32, reading: bool) -> Result<Clock, Errno> {
    const PER_THREAD: i32 = 4;
    let kind = match id & 3 {
        0 => CpuKind::Prof,
        1 => CpuKind::Virt,
        2 => CpuKind::Sched,
        _ => return Err(Errno::EINVAL),
    };
    let pid = !(id >> 3);
    let of = if id & PER_THREAD != 0 {
        let thread = if pid == 0 { Some(task.task.clone()) } else { task.kernel.tree.task(pid) };
        CpuOf::Thread(thread.filter(|t| Arc::ptr_eq(&t.group, &task.group)).ok_or(Errno::EINVAL)?)
    } else if pid == 0 || (reading && pid == task.tid()) {
        CpuOf::Process(task.group.clone())
    } else {
        CpuOf::Process(task.kernel.tree.process(pid).ok_or(Errno::EINVAL)?)
    };
    Ok(Clock::Cpu(of, kind))
}

impl CpuOf {
    /// User and system time in nanoseconds.
    #[must_use]
    pub fn times(&self, kernel: &Kernel) -> (u64, u64) {
        match self {
            CpuOf::Process(group) => kernel.process_cpu(group),
            CpuOf::Thread(task) => task.cpu_now(),
        }
    }
}

impl Kernel {
    /// User and system time of a process's threads, past and present, in nanoseconds.
    #[must_use]
    pub fn process_cpu(&self, group: &ThreadGroup) -> (u64, u64) {
        let tree = self.tree.lock();
        let mut user = group.dead_cpu.user.load(Ordering::Relaxed);
        let mut system = group.dead_cpu.system.load(Ordering::Relaxed);
        let threads = tree.processes.get(&group.tgid).map(|p| &p.threads);
        for task in threads.into_iter().flatten().filter_map(|tid| tree.tasks.get(tid)) {
            let own = task.cpu_now();
            user = user.saturating_add(own.0);
            system = system.saturating_add(own.1);
        }
        (user, system)
    }
}

/// What a task's thread spends time on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum Mode {
    /// Nothing.
    Asleep = 0,
    /// Guest code.
    User = 1,
    /// The Sentry's.
    System = 2,
}

/// Set in a [`Meter`] while its thread books time.
const BOOKING: u64 = 3;

/// Since when a thread spends time on what: ticks of [`host::tsc`], shifted, and a [`Mode`].
#[derive(Default)]
pub(crate) struct Meter(AtomicU64);

/// What a task's thread sleeps in the platform, while the kernel takes it to run guest code.
pub(crate) struct Dozes {
    local: Mutex<Arc<dyn LocalState>>,
    /// As far as it has been taken into account, in ticks.
    booked: AtomicU64,
}

impl Default for Dozes {
    fn default() -> Dozes {
        Dozes { local: Mutex::new(rank::LEAF, Arc::new(KernelOnly::default())), booked: AtomicU64::new(0) }
    }
}

impl Dozes {
    /// The task has a context, or another one.
    pub fn set_local(&self, local: Arc<dyn LocalState>) {
        self.booked.store(local.slept(), Ordering::Relaxed);
        let old = std::mem::replace(&mut *self.local.lock(), local);
        drop(old);
    }

    /// Whether it does so now.
    pub fn now(&self) -> bool {
        self.local.lock().dozes()
    }

    /// set_robust_list(2)'s head.
    fn robust_list(&self) -> u64 {
        self.local.lock().robust_list()
    }

    /// What has come to be since it was booked, of which others only guess.
    fn unbooked(&self) -> u64 {
        self.local.lock().slept().saturating_sub(self.booked.load(Ordering::Relaxed))
    }

    /// Books what has come to be since, when it is `slept` in all.
    fn book(&self, slept: u64) -> u64 {
        slept.saturating_sub(self.booked.swap(slept, Ordering::Relaxed))
    }
}

impl Task {
    /// Books the time since the last call and goes on with another mode. Only for the task's own thread.
    pub(crate) fn spend(&self, mode: Mode) {
        self.spend_but(mode, 0);
    }

    /// The same after a switch to the guest, whose thread has `slept` in the platform for so many ticks in all.
    pub(crate) fn spend_in_guest(&self, slept: u64) {
        let dozed = if slept == self.dozes.booked.load(Ordering::Relaxed) { 0 } else { self.dozes.book(slept) };
        self.usage.sleeps.add(u64::from(dozed > 0));
        self.spend_but(Mode::System, dozed);
    }

    fn spend_but(&self, mode: Mode, dozed: u64) {
        // Without the highest bits, as they are kept.
        let now = host::tsc::ticks() << 2 >> 2;
        let old = self.meter.0.load(Ordering::Relaxed);
        let spent = now.saturating_sub(old >> 2).saturating_sub(dozed);
        // Only this thread writes, so none of this needs a locked instruction; readers see `BOOKING` or a change.
        self.meter.0.store(BOOKING, Ordering::Relaxed);
        fence(Ordering::Release);
        let book = |total: &AtomicU64| {
            total.store(total.load(Ordering::Relaxed).saturating_add(spent), Ordering::Relaxed);
        };
        match old & 3 {
            1 => book(&self.cpu.user),
            2 => book(&self.cpu.system),
            _ => {}
        }
        self.meter.0.store(now << 2 | mode as u64, Ordering::Release);
    }

    /// User and system time up to now, in nanoseconds.
    #[must_use]
    pub fn cpu_now(&self) -> (u64, u64) {
        loop {
            let before = self.meter.0.load(Ordering::Acquire);
            let user = self.cpu.user.load(Ordering::Relaxed);
            let system = self.cpu.system.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if before & 3 == BOOKING || self.meter.0.load(Ordering::Relaxed) != before {
                std::hint::spin_loop();
                continue;
            }
            let running = (host::tsc::ticks() << 2 >> 2).saturating_sub(before >> 2);
            let (user, system) = match before & 3 {
                1 => (user.saturating_add(running.saturating_sub(self.dozes.unbooked())), system),
                2 => (user, system.saturating_add(running)),
                _ => (user, system),
            };
            return (nanos(user), nanos(system));
        }
    }

    /// set_robust_list(2)'s head, as the task says.
    #[must_use]
    pub fn robust_list(&self) -> u64 {
        self.dozes.robust_list()
    }

    /// At the end: moves the time to the process's. Under the tree's lock, so that no reader counts it twice.
    pub(crate) fn retire_cpu(&self) {
        self.spend(Mode::Asleep);
        // The platform uses the memory again that this is in.
        self.dozes.set_local(Arc::new(KernelOnly::default()));
        let (own, dead) = (&self.cpu, &self.group.dead_cpu);
        for (own, dead) in [(&own.user, &dead.user), (&own.system, &dead.system)] {
            dead.fetch_add(nanos(own.swap(0, Ordering::Relaxed)), Ordering::Relaxed);
        }
    }
}
