//! How a Sentry thread waits for what its task sleeps for: awake for a while, if a core is free for that.
//!
//! Two tasks that take turns (a pipe, a lock) wake each other within microseconds. If both are on one core, each turn costs
//! switches between all threads of both; if on two, to wake an idle core takes longer still. So the one that waits keeps its
//! core awake, away from the other's, while each hands over to its own guest on its own core. Whether that is worth
//! while is learnt; a wait that turns out long ends it.

use crate::pace::{Mover, Pace};
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use rustix::thread::sched_getcpu;

/// Looks before sleeping: for some times as long as waking an idle core takes, as the other side may have to be woken first.
const LOOKS: u32 = 4000;

/// What the tasks share.
pub struct Cores {
    /// How many wait awake.
    lingering: AtomicUsize,
    /// Whose task was the last to wait on each core, by the id of its stub's thread.
    last: Box<[AtomicI32]>,
}

impl Cores {
    pub fn new(cores: usize) -> Cores {
        Cores { lingering: AtomicUsize::new(0), last: (0..cores).map(|_| AtomicI32::new(0)).collect() }
    }

    /// How many cores are kept awake.
    pub fn lingering(&self) -> usize {
        self.lingering.load(Ordering::Relaxed)
    }
}

/// One task's part in it.
pub struct Linger {
    pace: Pace,
    mover: Option<Mover>,
    id: i32,
}

impl Linger {
    pub fn new(id: i32) -> Linger {
        Linger { pace: Pace::new(), mover: None, id }
    }

    /// Waits until it has `ended`, or it is time to sleep. `running` says how many guest threads run.
    pub fn wait(&mut self, cores: &Cores, running: usize, ended: &dyn Fn() -> bool) {
        if ended() {
            return;
        }
        if !self.pace.wants() || running + cores.lingering() >= cores.last.len() {
            return self.settle(cores);
        }
        self.pace.attempt();
        self.part(cores);
        cores.lingering.fetch_add(1, Ordering::Relaxed);
        let quick = (0..LOOKS).any(|_| {
            core::hint::spin_loop();
            ended()
        });
        cores.lingering.fetch_sub(1, Ordering::Relaxed);
        self.pace.learn(quick);
        if !quick && let Some(mover) = &mut self.mover {
            mover.let_go();
        }
    }

    /// Notes that the task waits here.
    fn settle(&self, cores: &Cores) {
        if let Some(last) = cores.last.get(sched_getcpu()) {
            last.store(self.id, Ordering::Relaxed);
        }
    }

    /// Leaves a core on which another task waits too.
    fn part(&mut self, cores: &Cores) {
        let Some(last) = cores.last.get(sched_getcpu()) else { return };
        let other = last.swap(self.id, Ordering::Relaxed);
        if other != self.id && other != 0 {
            // Of the two, only one is to go.
            last.store(0, Ordering::Relaxed);
            self.mover.get_or_insert_with(Mover::own).keep_away();
            self.settle(cores);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_waits_are_soon_slept_through() {
        let (cores, mut linger) = (Cores::new(2), Linger::new(7));
        let looks = AtomicUsize::new(0);
        let never = || {
            looks.fetch_add(1, Ordering::Relaxed);
            false
        };
        for _ in 0..10_000 {
            linger.wait(&cores, 0, &never);
        }
        assert!(looks.load(Ordering::Relaxed) / (LOOKS as usize) < 30);
        assert_eq!(cores.lingering(), 0);
    }

    #[test]
    fn a_core_that_a_guest_needs_is_left_to_it() {
        let (cores, mut linger) = (Cores::new(2), Linger::new(7));
        let looks = AtomicUsize::new(0);
        for _ in 0..1000 {
            linger.wait(&cores, 2, &|| looks.fetch_add(1, Ordering::Relaxed) == usize::MAX);
        }
        // One each, before anything else.
        assert_eq!(looks.load(Ordering::Relaxed), 1000);
    }
}
