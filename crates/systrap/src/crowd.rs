//! Whose turn it is to spin when more guest threads want to run than there are cores.
//!
//! Two sides that hand over by spinning need two cores; with more pairs than that none gets there, and each call costs
//! switches between processes instead. So threads that call often take turns: a few hold a *ticket*, and run at full speed
//! with the cores to themselves; the others wait in a line, asleep, between two calls. Each holds a ticket for a short time,
//! as with a scheduler's slice, and gives it back when it sleeps or stops to call.
//!
//! A thread that gets a ticket while others still run does not spin yet, but *invites* them: those that go on to make calls
//! join the line. If some do not, they compute, and have a better use for the cores: the thread gives up for a while.
//!
//! Only how soon a guest thread goes on depends on it. A wait in the line is bounded, as the holder may be anywhere.
//! Locks: `LEAF`.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use core::time::Duration;
use lock::{Mutex, rank};
use rustix::thread::futex::{self, Flags, Timespec};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// How long one keeps the ticket while others wait: passing it on wakes two threads, some 0.1 ms.
const QUANTUM: Duration = Duration::from_millis(2);
/// How long an invitation stands.
const GRACE: Duration = Duration::from_millis(4);
/// An invited thread joins the line with so many calls.
const CALLS: u32 = 8;
/// More than these do not wait.
const LINE: usize = 128;

/// Values of a place's word.
const WAITS: u32 = 0;
const CALLED: u32 = 1;

/// Those who want a ticket.
pub struct Crowd {
    line: Mutex<Line>,
    waiting: AtomicUsize,
    /// The number of the invitation that stands, or zero.
    invitation: AtomicU32,
}

struct Line {
    /// Tickets that nobody has.
    free: usize,
    invitations: u32,
    places: VecDeque<Arc<AtomicU32>>,
}

impl Crowd {
    /// For a machine of that many cores.
    pub fn new(cores: usize) -> Crowd {
        let line = Line { free: (cores / 2).max(1), invitations: 0, places: VecDeque::with_capacity(LINE) };
        Crowd { line: Mutex::new(rank::LEAF, line), waiting: AtomicUsize::new(0), invitation: AtomicU32::new(0) }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for a ticket. Returns whether there is one.
    fn take(&self, place: &Arc<AtomicU32>) -> bool {
        let mut line = self.line.lock();
        if line.free > 0 {
            line.free -= 1;
            return true;
        }
        if line.places.len() >= LINE {
            return false;
        }
        place.store(WAITS, Ordering::Relaxed);
        line.places.push_back(Arc::clone(place));
        self.waiting.store(line.places.len(), Ordering::Relaxed);
        let turns = u32::try_from(line.places.len()).unwrap_or(u32::MAX);
        drop(line);
        wait(place, GRACE + QUANTUM.saturating_mul(turns));
        if place.load(Ordering::Acquire) == CALLED {
            return true;
        }
        let mut line = self.line.lock();
        let at = line.places.iter().position(|other| Arc::ptr_eq(other, place));
        if let Some(at) = at {
            line.places.remove(at);
            self.waiting.store(line.places.len(), Ordering::Relaxed);
        }
        // Called just now, if it is not in the line.
        at.is_none()
    }

    fn invite(&self) {
        let mut line = self.line.lock();
        line.invitations = line.invitations.wrapping_add(1).max(1);
        self.invitation.store(line.invitations, Ordering::Relaxed);
    }

    fn give_back(&self) {
        let mut line = self.line.lock();
        let Some(next) = line.places.pop_front() else {
            line.free += 1;
            return;
        };
        self.waiting.store(line.places.len(), Ordering::Relaxed);
        // Before the lock is released: who gives up waiting just now, and later waits again, must not be called late.
        next.store(CALLED, Ordering::Release);
        drop(line);
        let _ = futex::wake(&next, Flags::PRIVATE, 1);
    }
}

fn wait(place: &AtomicU32, limit: Duration) {
    let end = Instant::now() + limit;
    while place.load(Ordering::Acquire) == WAITS {
        let left = end.saturating_duration_since(Instant::now());
        let Ok(limit) = Timespec::try_from(left) else { return };
        if left.is_zero() || futex::wait(place, Flags::PRIVATE, WAITS, Some(&limit)) == Err(rustix::io::Errno::TIMEDOUT)
        {
            return;
        }
    }
}

/// One thread's part in it.
pub struct Ticket {
    place: Arc<AtomicU32>,
    /// Since when the thread has a ticket.
    since: Cell<Option<Instant>>,
    /// It has invited others.
    hosts: Cell<bool>,
    /// The last invitation seen, and the calls since.
    invited: Cell<(u32, u32)>,
}

/// What became of a wish to spin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Its turn begins.
    Begin,
    /// Its turn goes on.
    Spin,
    /// Not yet.
    No,
    /// Others run who do not take turns.
    Rest,
}

impl Ticket {
    pub fn new() -> Ticket {
        Ticket { place: Arc::default(), since: Cell::new(None), hosts: Cell::new(false), invited: Cell::new((0, 0)) }
    }

    /// Gets or keeps a ticket; waits in the line if it is others' turn. `others` tells how many run who are not in it.
    pub fn ask(&self, crowd: &Crowd, others: impl Fn() -> usize) -> Turn {
        let Some(since) = self.since.get() else { return self.join(crowd, others) };
        if self.hosts.get() {
            if others() == 0 {
                return self.begin(crowd);
            }
            if since.elapsed() < GRACE {
                return Turn::No;
            }
            self.give_back(crowd);
            return Turn::Rest;
        }
        if since.elapsed() < QUANTUM {
            return Turn::Spin;
        }
        if crowd.waiting() == 0 && others() == 0 {
            self.since.set(Some(Instant::now()));
            return Turn::Spin;
        }
        self.give_back(crowd);
        self.join(crowd, others)
    }

    fn join(&self, crowd: &Crowd, others: impl Fn() -> usize) -> Turn {
        if !crowd.take(&self.place) {
            return Turn::No;
        }
        if others() == 0 {
            return self.begin(crowd);
        }
        self.since.set(Some(Instant::now()));
        self.hosts.set(true);
        crowd.invite();
        Turn::No
    }

    fn begin(&self, crowd: &Crowd) -> Turn {
        self.since.set(Some(Instant::now()));
        if self.hosts.take() {
            crowd.invitation.store(0, Ordering::Relaxed);
        }
        Turn::Begin
    }

    /// Whether to join the line though the thread would not.
    pub fn invited(&self, crowd: &Crowd) -> bool {
        let invitation = crowd.invitation.load(Ordering::Relaxed);
        if invitation == 0 {
            return false;
        }
        let (last, calls) = self.invited.get();
        let calls = if last == invitation { calls.saturating_add(1) } else { 0 };
        self.invited.set((invitation, calls));
        calls >= CALLS
    }

    /// Whether it is its turn.
    pub fn held(&self) -> bool {
        self.since.get().is_some() && !self.hosts.get()
    }

    /// Lets another have it.
    pub fn give_back(&self, crowd: &Crowd) {
        if self.since.take().is_some() {
            if self.hosts.take() {
                crowd.invitation.store(0, Ordering::Relaxed);
            }
            crowd.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_each_in_turn() {
        let crowd = Crowd::new(2);
        let (inside, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let place = Arc::default();
                    for _ in 0..50 {
                        if crowd.take(&place) {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            std::thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                            turns.fetch_add(1, Ordering::SeqCst);
                            crowd.give_back();
                        }
                    }
                });
            }
        });
        assert!(turns.load(Ordering::SeqCst) > 50);
        assert_eq!((crowd.waiting(), crowd.line.lock().free), (0, 1));
    }

    #[test]
    fn nobody_waits_for_long() {
        let crowd = Crowd::new(2);
        assert!(crowd.take(&Arc::default()));
        assert!(!crowd.take(&Arc::default()));
        assert_eq!(crowd.waiting(), 0);
    }

    #[test]
    fn others_are_invited_first() {
        let crowd = Crowd::new(2);
        let (first, second) = (Ticket::new(), Ticket::new());
        assert_eq!(first.ask(&crowd, || 1), Turn::No);
        assert!(!first.held());
        assert_eq!((0..=CALLS).filter(|_| second.invited(&crowd)).count(), 1);
        assert_eq!(first.ask(&crowd, || 0), Turn::Begin);
        assert!(first.held() && !second.invited(&crowd));
        first.give_back(&crowd);
        assert_eq!(second.ask(&crowd, || 1), Turn::No);
        std::thread::sleep(GRACE);
        assert_eq!(second.ask(&crowd, || 1), Turn::Rest);
        assert_eq!(crowd.line.lock().free, 1);
    }
}
