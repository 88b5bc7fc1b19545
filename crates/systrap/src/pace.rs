//! How the Sentry and a stub hand over to each other: spinning on two cores, or sleeping on one.
//!
//! Spinning is fastest, but takes a second core and fails if the other side is slow or has no core of its own. Sleeping
//! costs little if both threads are on one core (2.5 µs), and much if an idle core must be woken (25-80 µs). Where the
//! scheduler wakes a thread is its own affair, and mostly where it ran last: so the stub's thread is bound to the core of
//! the Sentry thread that wakes it, or, to spin, kept off it. A thread that then runs for long is let go to any core.

use host::elsewhere::cores;
use rustix::process::Pid;
use rustix::thread::{CpuSet, gettid, sched_getcpu, sched_setaffinity};

/// Looks at the other side's word before sleeping: some times as long as waking an idle core takes (0.1 ms), since what programs do
/// between two calls mostly takes less.
const SPINS: u32 = 4000;
/// The same while there is no other guest thread that could want the core: so long takes a fault whose pages are read and
/// mapped.
const SPINS_ALONE: u32 = 12_000;
/// Successes that are remembered.
const CREDIT_MAX: u32 = 24;
/// What a try starts with, which its first hand-over uses up; and what a failure costs: to wake a core takes about as long as
/// so many hand-overs on one core.
const CREDIT_TRY: u32 = 7;
const CREDIT_LOSS: u32 = 6;
/// What a sleep of the task in the kernel costs: who makes only two or three calls between two sleeps is to leave the second core to
/// whoever it waits for.
const CREDIT_SLEEP: u32 = 4;
/// Hand-overs without spinning before the first try, and at most before another.
const REST_FIRST: u32 = 4;
const REST_MIN: u32 = 64;
const REST_MAX: u32 = 8192;

/// Which core a stub's thread is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Free,
    Core(usize),
    /// Any but this one.
    Not(usize),
    Unknown,
}

/// Moves a stub's thread between cores.
pub struct Mover {
    thread: Option<Pid>,
    place: Place,
}

impl Mover {
    /// For a thread that may have inherited another's place. Its id must belong to the stub.
    pub fn new(tid: i32) -> Mover {
        Mover { thread: Pid::from_raw(tid), place: Place::Unknown }
    }

    /// For a thread that is not known yet: it stays where it is.
    pub fn unknown() -> Mover {
        Mover { thread: None, place: Place::Unknown }
    }

    /// For the calling thread.
    pub fn own() -> Mover {
        Mover { thread: Some(gettid()), place: Place::Unknown }
    }

    /// Binds the thread, which is about to be woken, to the core of the caller, which is about to sleep.
    pub fn bring_here(&mut self) {
        self.bind(sched_getcpu());
    }

    /// Binds the thread to a core, if there is such a one.
    pub fn bring_to(&mut self, core: usize) -> bool {
        let there = core < CpuSet::MAX_CPU && cores().is_some_and(|all| all.is_set(core));
        if there {
            self.bind(core);
        }
        there
    }

    fn bind(&mut self, core: usize) {
        if self.place != Place::Core(core) && core < CpuSet::MAX_CPU {
            let mut set = CpuSet::new();
            set.set(core);
            self.set(&set, Place::Core(core));
        }
    }

    /// Keeps the thread off the caller's core, where the caller spins.
    pub fn keep_away(&mut self) {
        let core = sched_getcpu();
        if self.place != Place::Not(core)
            && core < CpuSet::MAX_CPU
            && let Some(all) = cores()
        {
            let mut set = *all;
            set.unset(core);
            if set.count() > 0 {
                self.set(&set, Place::Not(core));
            }
        }
    }

    /// Lets the thread run anywhere.
    pub fn let_go(&mut self) {
        if self.place != Place::Free
            && let Some(all) = cores()
        {
            self.set(all, Place::Free);
        }
    }

    /// Whether the thread is bound to the caller's core.
    pub fn is_here(&self) -> bool {
        self.place == Place::Core(sched_getcpu())
    }

    /// Whether the thread is kept off a core.
    pub fn is_away(&self) -> bool {
        matches!(self.place, Place::Not(_))
    }

    /// Whether it is bound.
    pub fn bound(&self) -> bool {
        self.place != Place::Free
    }

    fn set(&mut self, set: &CpuSet, place: Place) {
        if self.thread.is_some() {
            // A host that does not allow it only costs speed.
            let _ = sched_setaffinity(self.thread, set);
            self.place = place;
        }
    }
}

/// Whether to spin, learnt from how it went.
pub struct Pace {
    credit: u32,
    rest: u32,
    next_rest: u32,
}

impl Pace {
    pub fn new() -> Pace {
        Pace { credit: 0, rest: REST_FIRST, next_rest: REST_MIN }
    }

    /// Whether the next hand-over should be by spinning. To be asked once for each.
    pub fn wants(&mut self) -> bool {
        self.rest = self.rest.saturating_sub(u32::from(self.credit == 0));
        self.credit > 0 || self.rest == 0
    }

    /// How long to spin in the next hand-over, which wants it and has what it needs. `alone` says that there is no other
    /// guest thread.
    pub fn spins(&mut self, alone: bool) -> u32 {
        self.attempt();
        if alone { SPINS_ALONE } else { SPINS }
    }

    /// Begins a try, unless one is under way or has gone well.
    pub fn attempt(&mut self) {
        if self.credit == 0 {
            self.begin();
        }
    }

    /// The two sides are about to get two cores.
    pub fn begin(&mut self) {
        self.credit = self.credit.max(CREDIT_TRY);
    }

    /// Takes note that spinning goes well, but at others' cost.
    pub fn give_up(&mut self) {
        self.credit = 0;
        self.pause();
    }

    fn pause(&mut self) {
        self.rest = self.next_rest;
        self.next_rest = (self.next_rest * 2).min(REST_MAX);
    }

    /// Takes note of how a hand-over with spinning went: whether neither side had to be woken.
    pub fn learn(&mut self, success: bool) {
        if success {
            self.credit = (self.credit + 1).min(CREDIT_MAX);
            if self.credit == CREDIT_MAX {
                self.next_rest = REST_MIN;
            }
        } else {
            self.lose(CREDIT_LOSS);
        }
    }

    /// Takes note that the task has slept in the kernel.
    pub fn slept(&mut self) {
        if self.credit > 0 {
            self.lose(CREDIT_SLEEP);
        }
    }

    fn lose(&mut self, credit: u32) {
        self.credit = self.credit.saturating_sub(credit);
        if self.credit == 0 {
            self.pause();
        }
    }
}

/// Keeps the calling thread, and what it makes meanwhile, on one core until this is dropped.
pub struct OneCore(());

impl OneCore {
    pub fn stay() -> OneCore {
        // Before any thread is moved.
        let _ = cores();
        Mover::own().bring_here();
        OneCore(())
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        Mover::own().let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_make_tries_rare() {
        let mut pace = Pace::new();
        let mut tries = 0;
        for _ in 0..100_000 {
            if pace.wants() {
                tries += u32::from(pace.spins(false) > 0);
                pace.learn(false);
            }
        }
        assert!((10..200).contains(&tries), "{tries}");
        for _ in 0..2 * REST_MAX {
            if pace.wants() && pace.spins(false) > 0 {
                pace.learn(true);
            }
        }
        assert!((0..100).all(|_| pace.wants() && pace.spins(false) > 0));
        pace.give_up();
        assert!(!pace.wants());
    }
}
