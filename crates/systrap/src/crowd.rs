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
//! Only how soon a guest thread goes on depends on it. A wait in the line is bounded, as the holder may be anywhere, in a
//! call of the host's too that takes long: who has waited at the line's head for longer than a turn takes the ticket away.
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
const QUANTUM: Duration = Duration::from_millis(4);
/// How long an invitation stands.
const GRACE: Duration = Duration::from_millis(4);
/// A ticket that has not gone on for so long is taken away from its holder.
const LEASE: Duration = GRACE.saturating_add(QUANTUM);
/// An invited thread joins the line with so many calls.
const CALLS: u32 = 8;
/// The clock costs a tenth of a quick call.
const UNWATCHED: u32 = 32;
/// More than these do not wait.
const LINE: usize = 128;

/// What a place's word is while one waits; then the ticket's number.
const WAITS: u32 = 0;

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
    /// The numbers of the others, those lent first in front.
    lent: VecDeque<u32>,
    /// The last such number.
    last: u32,
    invitations: u32,
    places: VecDeque<Arc<AtomicU32>>,
}

impl Crowd {
    /// For a machine of that many cores.
    pub fn new(cores: usize) -> Crowd {
        let free = (cores / 2).max(1);
        let (lent, places) = (VecDeque::with_capacity(free), VecDeque::with_capacity(LINE));
        let line = Line { free, lent, last: 0, invitations: 0, places };
        Crowd { line: Mutex::new(rank::LEAF, line), waiting: AtomicUsize::new(0), invitation: AtomicU32::new(0) }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for a ticket, and returns its number. If there is none at once, calls `waits` first.
    fn take(&self, place: &Arc<AtomicU32>, waits: impl FnOnce()) -> Option<u32> {
        let mut line = self.line.lock();
        if line.free > 0 {
            line.free -= 1;
            return Some(line.lend());
        }
        if line.places.len() >= LINE {
            return None;
        }
        place.store(WAITS, Ordering::Relaxed);
        line.places.push_back(Arc::clone(place));
        self.waiting.store(line.places.len(), Ordering::Relaxed);
        let turns = line.places.len();
        let mut last = line.last;
        drop(line);
        waits();
        for _ in 0..=turns {
            wait(place, LEASE);
            let mut line = self.line.lock();
            let Some(at) = line.places.iter().position(|other| Arc::ptr_eq(other, place)) else {
                return Some(place.load(Ordering::Acquire));
            };
            if at == 0 && line.last == last {
                line.lent.pop_front();
                self.leave(&mut line, at);
                return Some(line.lend());
            }
            last = line.last;
        }
        let mut line = self.line.lock();
        match line.places.iter().position(|other| Arc::ptr_eq(other, place)) {
            Some(at) => self.leave(&mut line, at),
            None => return Some(place.load(Ordering::Acquire)),
        }
        None
    }

    fn leave(&self, line: &mut Line, at: usize) {
        line.places.remove(at);
        self.waiting.store(line.places.len(), Ordering::Relaxed);
    }

    /// Whether a ticket has not been taken away.
    fn keeps(&self, number: u32) -> bool {
        self.line.lock().lent.contains(&number)
    }

    fn invite(&self) {
        let mut line = self.line.lock();
        line.invitations = line.invitations.wrapping_add(1).max(1);
        self.invitation.store(line.invitations, Ordering::Relaxed);
    }

    fn give_back(&self, number: u32) {
        let mut line = self.line.lock();
        let Some(at) = line.lent.iter().position(|other| *other == number) else { return };
        line.lent.remove(at);
        let Some(next) = line.places.pop_front() else {
            line.free += 1;
            return;
        };
        self.waiting.store(line.places.len(), Ordering::Relaxed);
        // Before the lock is released: who gives up waiting just now, and later waits again, must not be called late.
        next.store(line.lend(), Ordering::Release);
        drop(line);
        let _ = futex::wake(&next, Flags::PRIVATE, 1);
    }
}

impl Line {
    /// Lends a ticket under a new number.
    fn lend(&mut self) -> u32 {
        self.last = self.last.wrapping_add(1).max(1);
        self.lent.push_back(self.last);
        self.last
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
    /// The ticket that the thread has, and since when.
    lease: Cell<Option<(u32, Instant)>>,
    /// So many more calls may be made before the clock is looked at.
    unwatched: Cell<u32>,
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
        Ticket {
            place: Arc::default(),
            lease: Cell::new(None),
            unwatched: Cell::new(0),
            hosts: Cell::new(false),
            invited: Cell::new((0, 0)),
        }
    }

    /// Gets or keeps a ticket; waits in the line if it is others' turn. `others` tells how many run who are not in it,
    /// `waits` is called before a wait.
    pub fn ask(&self, crowd: &Crowd, others: impl Fn() -> usize, waits: impl FnOnce()) -> Turn {
        let Some((number, since)) = self.lease.get() else { return self.join(crowd, others, waits) };
        if self.hosts.get() {
            if others() == 0 {
                return self.begin(crowd, number);
            }
            if since.elapsed() < GRACE {
                return Turn::No;
            }
            self.give_back(crowd);
            return Turn::Rest;
        }
        if let Some(left) = self.unwatched.get().checked_sub(1) {
            self.unwatched.set(left);
            return Turn::Spin;
        }
        self.unwatched.set(UNWATCHED);
        if since.elapsed() < QUANTUM {
            return Turn::Spin;
        }
        if crowd.waiting() == 0 && others() == 0 && crowd.keeps(number) {
            self.lease.set(Some((number, Instant::now())));
            return Turn::Spin;
        }
        self.give_back(crowd);
        self.join(crowd, others, waits)
    }

    fn join(&self, crowd: &Crowd, others: impl Fn() -> usize, waits: impl FnOnce()) -> Turn {
        let Some(number) = crowd.take(&self.place, waits) else { return Turn::No };
        if others() == 0 {
            return self.begin(crowd, number);
        }
        self.lease.set(Some((number, Instant::now())));
        self.hosts.set(true);
        crowd.invite();
        Turn::No
    }

    fn begin(&self, crowd: &Crowd, number: u32) -> Turn {
        self.lease.set(Some((number, Instant::now())));
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
        self.lease.get().is_some() && !self.hosts.get()
    }

    /// Lets another have it.
    pub fn give_back(&self, crowd: &Crowd) {
        if let Some((number, _)) = self.lease.take() {
            if self.hosts.take() {
                crowd.invitation.store(0, Ordering::Relaxed);
            }
            crowd.give_back(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_each_in_turn() {
        let crowd = Crowd::new(2);
        let turns = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let place = Arc::default();
                    for _ in 0..50 {
                        if let Some(number) = crowd.take(&place, || ()) {
                            std::thread::yield_now();
                            assert!(crowd.line.lock().lent.len() <= 1);
                            turns.fetch_add(1, Ordering::SeqCst);
                            crowd.give_back(number);
                        }
                    }
                });
            }
        });
        assert!(turns.load(Ordering::SeqCst) > 50);
        assert_eq!((crowd.waiting(), crowd.line.lock().free), (0, 1));
    }

    #[test]
    fn a_ticket_that_does_not_go_on_is_taken_away() {
        let crowd = Crowd::new(2);
        let (first, second) = (Ticket::new(), Ticket::new());
        assert_eq!(first.ask(&crowd, || 0, || ()), Turn::Begin);
        assert_eq!(second.ask(&crowd, || 0, || ()), Turn::Begin);
        assert_eq!((crowd.waiting(), crowd.line.lock().lent.len()), (0, 1));
        // The first has to wait like anyone, or to take it away in turn.
        assert!(!crowd.keeps(1) && crowd.keeps(2));
        first.give_back(&crowd);
        assert_eq!(crowd.line.lock().free, 0);
        second.give_back(&crowd);
        assert_eq!(crowd.line.lock().free, 1);
    }

    #[test]
    fn others_are_invited_first() {
        let crowd = Crowd::new(2);
        let (first, second) = (Ticket::new(), Ticket::new());
        assert_eq!(first.ask(&crowd, || 1, || ()), Turn::No);
        assert!(!first.held());
        assert_eq!((0..=CALLS).filter(|_| second.invited(&crowd)).count(), 1);
        assert_eq!(first.ask(&crowd, || 0, || ()), Turn::Begin);
        assert!(first.held() && !second.invited(&crowd));
        first.give_back(&crowd);
        assert_eq!(second.ask(&crowd, || 1, || ()), Turn::No);
        std::thread::sleep(GRACE);
        assert_eq!(second.ask(&crowd, || 1, || ()), Turn::Rest);
        assert_eq!(crowd.line.lock().free, 1);
    }
}
