//! How a Sentry thread waits for what its task sleeps for: awake for a while, if a core is free for that.
//!
//! Two tasks that take turns (a pipe, a lock) wake each other within microseconds. If both are on one core, each turn costs
//! switches between all threads of both; if on two, to wake an idle core takes longer still. So the one that waits keeps its
//! core awake, away from the other's, while each hands over to its own guest on its own core. It does so if its last waits,
//! awake or not, were short.
//!
//! Two guests that run, and call, may come to share a core too, as each stub is bound to its Sentry thread's: if there is a
//! core for each, one of them leaves.

use crate::dozing;
use crate::pace::Mover;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use core::time::Duration;
use rustix::thread::sched_getcpu;
use std::time::Instant;

/// Looks before sleeping: for some times as long as waking an idle core takes, as the other side may have to be woken first.
const LOOKS: u32 = 4000;
/// A wait that was shorter would have ended before sleep. To wake a core that sleeps takes up to 80 µs.
const SHORT: Duration = Duration::from_micros(150);
/// So many more short waits than long ones count.
const CREDIT_MAX: u32 = 24;
/// From so many on, one waits awake.
const CREDIT_TRY: u32 = 6;
/// A thread leaves a core after so many hand-overs at which another guest ran there.
const CROWDED: u32 = 16;
/// What a long wait costs.
const CREDIT_LOSS: u32 = 6;

/// What the tasks share.
pub struct Cores {
    /// How many wait awake.
    lingering: AtomicUsize,
    /// Whose task was the last to wait on each core, by the id of its stub's thread.
    last: Box<[AtomicI32]>,
    /// How many guests run on each core, which their Sentry threads have left to them.
    guests: Box<[AtomicUsize]>,
}

impl Cores {
    pub fn new(cores: usize) -> Cores {
        let last = (0..cores).map(|_| AtomicI32::new(0)).collect();
        let guests = (0..cores).map(|_| AtomicUsize::new(0)).collect();
        Cores { lingering: AtomicUsize::new(0), last, guests }
    }

    /// A guest that was left a core has given it back.
    pub fn leave(&self, core: usize) {
        if let Some(guests) = self.guests.get(core) {
            guests.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a core is left over by so many others.
    fn free(&self, running: usize) -> bool {
        running + self.lingering() < self.last.len()
    }

    /// How many cores are kept awake.
    pub fn lingering(&self) -> usize {
        self.lingering.load(Ordering::Relaxed)
    }
}

/// One task's part in it.
pub struct Linger {
    credit: u32,
    /// When the present wait began.
    since: Option<Instant>,
    mover: Option<Mover>,
    id: i32,
    /// Hand-overs in a row on a core where another guest ran.
    crowded: u32,
}

impl Linger {
    pub fn new(id: i32) -> Linger {
        Linger { credit: 0, since: None, mover: None, id, crowded: 0 }
    }

    /// Waits until it has `ended`, or it is time to sleep. `running` says how many guest threads run.
    pub fn wait(&mut self, cores: &Cores, running: usize, ended: &dyn Fn() -> bool) {
        if ended() {
            return;
        }
        self.since = Some(Instant::now());
        if !self.awake(cores, running) {
            return self.settle(cores);
        }
        self.part(cores);
        cores.lingering.fetch_add(1, Ordering::Relaxed);
        for _ in 0..LOOKS {
            core::hint::spin_loop();
            if ended() {
                break;
            }
        }
        cores.lingering.fetch_sub(1, Ordering::Relaxed);
    }

    /// How often the guest is to look at a futex before it waits, with so many others running.
    pub fn futex_looks(cores: &Cores, running: usize) -> u32 {
        if cores.free(running) { dozing::LOOKS } else { 0 }
    }

    /// Whether to wait awake, with so many others running.
    fn awake(&self, cores: &Cores, running: usize) -> bool {
        self.credit >= CREDIT_TRY && cores.free(running)
    }

    /// Takes note that the wait, if there was one, is over. Returns whether it was long.
    pub fn over(&mut self) -> bool {
        let Some(since) = self.since.take() else { return false };
        if since.elapsed() < SHORT {
            self.credit = (self.credit + 1).min(CREDIT_MAX);
            return false;
        }
        self.credit = self.credit.saturating_sub(CREDIT_LOSS);
        self.let_go();
        true
    }

    /// Leaves this core to the guest; returns it, for [`Cores::leave`]. `running` says how many guests run, this one among
    /// them: if another runs here although there is a core for each, one of them goes.
    pub fn enter(&mut self, cores: &Cores, running: usize) -> usize {
        let mut here = sched_getcpu();
        let others = cores.guests.get(here).map_or(0, |guests| guests.load(Ordering::Relaxed));
        let crowded = others > 0 && running <= cores.guests.len();
        self.crowded = if crowded { self.crowded + 1 } else { 0 };
        if self.crowded >= CROWDED {
            self.crowded = 0;
            self.mover().keep_away();
            here = sched_getcpu();
        }
        if let Some(guests) = cores.guests.get(here) {
            guests.fetch_add(1, Ordering::Relaxed);
        }
        here
    }

    /// Moves the thread, which is the caller.
    pub fn mover(&mut self) -> &mut Mover {
        self.mover.get_or_insert_with(Mover::own)
    }

    /// Lets the thread run on any core.
    pub fn let_go(&mut self) {
        if let Some(mover) = &mut self.mover {
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
            self.mover().keep_away();
            self.settle(cores);
        }
    }
}

impl Drop for Linger {
    /// The thread will serve another task.
    fn drop(&mut self) {
        if let Some(mover) = &mut self.mover {
            mover.let_go();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wait that no look ends; returns how many looks there were.
    fn wait(linger: &mut Linger, cores: &Cores, running: usize) -> usize {
        let looks = AtomicUsize::new(0);
        linger.wait(cores, running, &|| looks.fetch_add(1, Ordering::Relaxed) == usize::MAX);
        looks.load(Ordering::Relaxed)
    }

    fn learn_short_waits(linger: &mut Linger) {
        for _ in 0..CREDIT_MAX {
            linger.since = Some(Instant::now());
            linger.over();
        }
    }

    #[test]
    fn after_short_waits_it_waits_awake_until_they_are_long() {
        let (cores, mut linger) = (Cores::new(2), Linger::new(7));
        assert_eq!(wait(&mut linger, &cores, 0), 1);
        learn_short_waits(&mut linger);
        assert_eq!(Linger::futex_looks(&cores, 1), dozing::LOOKS);
        let mut awake = 0;
        while wait(&mut linger, &cores, 0) > 1 {
            std::thread::sleep(SHORT);
            linger.over();
            awake += 1;
        }
        assert!((1..=CREDIT_MAX / CREDIT_LOSS).contains(&awake), "{awake}");
        assert_eq!(cores.lingering(), 0);
    }

    #[test]
    fn of_two_guests_on_a_core_one_leaves_if_there_is_another_core() {
        let cores = Cores::new(64);
        cores.guests.iter().for_each(|guests| guests.store(1, Ordering::Relaxed));
        let (mut stays, mut goes) = (Linger::new(7), Linger::new(8));
        for _ in 0..CROWDED {
            cores.leave(stays.enter(&cores, 65));
            cores.leave(goes.enter(&cores, 2));
        }
        assert!(stays.mover.is_none() && goes.mover.is_some());
        assert!(cores.guests.iter().all(|guests| guests.load(Ordering::Relaxed) == 1));
        goes.let_go();
    }

    #[test]
    fn a_core_that_a_guest_needs_is_left_to_it() {
        let (cores, mut linger) = (Cores::new(2), Linger::new(7));
        learn_short_waits(&mut linger);
        assert_eq!((wait(&mut linger, &cores, 2), Linger::futex_looks(&cores, 2)), (1, 0));
    }
}
