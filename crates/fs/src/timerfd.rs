//! timerfd_create(2): timers that are read.
//!
//! After an expiry a periodic timer does not run until somebody reads or asks for it; what it missed is counted then. So
//! a timer that nobody reads costs nothing.

use abi::Errno;
use host::io::Sink;
use kernel::Kernel;
use kernel::clock::Clock;
use kernel::timer::{AlarmKey, Expire, TimerValue};
use lock::{Mutex, rank};
use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use vfs::anon::anon_file;
use vfs::wait::{Events, WaitQueue};
use vfs::{FileOps, IoCx, IoError, OpenFile, OpenFlags};

#[derive(Default)]
struct State {
    due: Option<Instant>,
    interval: Duration,
    /// Expiries that nobody has read.
    ticks: u64,
    /// It has expired and does not run.
    expired: bool,
    alarm: Option<AlarmKey>,
    /// The flags of the last timerfd_settime(2).
    flags: u32,
}

struct Timer {
    kernel: Arc<Kernel>,
    clock_id: u32,
    clock: Clock,
    state: Mutex<State>,
    queue: WaitQueue,
}

impl Timer {
    fn arm(self: &Arc<Self>, state: &mut State) -> Result<(), Errno> {
        if let Some(key) = state.alarm.take() {
            self.kernel.timers.cancel(key);
        }
        if let Some(at) = state.due {
            let weak: Weak<dyn Expire> = Arc::<Timer>::downgrade(self);
            state.alarm = Some(self.kernel.timers.set(at, weak)?);
        }
        Ok(())
    }

    /// Counts the periods since the last expiry and lets the timer run on.
    fn run_on(self: &Arc<Self>, state: &mut State) {
        let Some(due) = state.due.filter(|_| state.expired && !state.interval.is_zero()) else { return };
        let (next, missed) = kernel::timer::forward(due, state.interval, Instant::now());
        state.expired = false;
        state.ticks = state.ticks.saturating_add(missed);
        state.due = next;
        // It had an alarm before, so the timer service has its thread.
        let _ = self.arm(state);
    }

    fn value(state: &State) -> TimerValue {
        let left = match state.due {
            Some(at) if !state.expired => at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1)),
            _ => Duration::ZERO,
        };
        TimerValue { value: left, interval: state.interval }
    }
}

impl Expire for Timer {
    fn expire(self: Arc<Self>) {
        {
            let mut state = self.state.lock();
            if state.expired || state.due.is_none_or(|at| at > Instant::now()) {
                return;
            }
            state.alarm = None;
            state.expired = true;
            state.ticks = state.ticks.saturating_add(1);
        }
        self.queue.notify(Events::READABLE);
    }
}

/// What timerfd_settime(2) sets.
#[derive(Clone, Copy, Debug)]
pub struct TimerfdSpec {
    /// `TFD_TIMER_*`.
    pub flags: u32,
    /// The first expiry in nanoseconds, 0 for none.
    pub value: u64,
    /// The period in nanoseconds, 0 for once.
    pub interval: u64,
    /// `value` is a time on the clock.
    pub absolute: bool,
}

/// The object behind a timerfd.
pub struct TimerFd(Arc<Timer>);

/// A description of a new timer on the clock of this number.
///
/// # Errors
/// `EINVAL` for a clock that does not exist.
pub fn new_timerfd(kernel: &Arc<Kernel>, clock_id: u32, flags: OpenFlags) -> Result<OpenFile, Errno> {
    let clock = Clock::system(clock_id).ok_or(Errno::EINVAL)?;
    let state = Mutex::new(rank::FILE_OBJECT, State::default());
    let timer = Timer { kernel: kernel.clone(), clock_id, clock, state, queue: WaitQueue::new() };
    Ok(anon_file("[timerfd]", flags | OpenFlags::RDWR, Box::new(TimerFd(Arc::new(timer)))))
}

impl TimerFd {
    /// timerfd_gettime(2).
    #[must_use]
    pub fn get(&self) -> TimerValue {
        let mut state = self.0.state.lock();
        self.0.run_on(&mut state);
        Timer::value(&state)
    }

    /// timerfd_settime(2). Returns what was set before.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread for timers.
    pub fn set(&self, spec: &TimerfdSpec) -> Result<TimerValue, Errno> {
        let due = match (spec.value, spec.absolute) {
            (0, _) => None,
            (at, true) => self.0.clock.deadline(at),
            (nanos, false) => Instant::now().checked_add(Duration::from_nanos(nanos)),
        };
        let mut state = self.0.state.lock();
        self.0.run_on(&mut state);
        let old = Timer::value(&state);
        state.due = due;
        state.interval = Duration::from_nanos(spec.interval);
        state.ticks = 0;
        state.expired = false;
        state.flags = spec.flags;
        self.0.arm(&mut state)?;
        Ok(old)
    }
}

impl FileOps for TimerFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _io: &IoCx<'_>, dst: &mut dyn Sink) -> Result<usize, IoError> {
        if dst.remaining() < size_of::<u64>() {
            return Err(Errno::EINVAL.into());
        }
        let ticks = {
            let mut state = self.0.state.lock();
            if state.ticks == 0 {
                return Err(IoError::WouldBlock);
            }
            self.0.run_on(&mut state);
            std::mem::take(&mut state.ticks)
        };
        Ok(dst.put(&ticks.to_le_bytes())?)
    }

    fn readiness(&self) -> Events {
        if self.0.state.lock().ticks == 0 { Events::empty() } else { Events::READABLE }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }

    fn release(&self, _flags: OpenFlags) {
        let mut state = self.0.state.lock();
        state.due = None;
        let _ = self.0.arm(&mut state);
    }

    fn fdinfo(&self) -> String {
        let state = self.0.state.lock();
        let value = Timer::value(&state);
        let pair = |d: Duration| format!("({}, {})", d.as_secs(), d.subsec_nanos());
        format!(
            "clockid: {}\nticks: {}\nsettime flags: 0{:o}\nit_value: {}\nit_interval: {}\n",
            self.0.clock_id,
            state.ticks,
            state.flags,
            pair(value.value),
            pair(value.interval)
        )
    }
}
