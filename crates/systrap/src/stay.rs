//! Keeps a Sentry thread on the core where it and its stub hand over by sleeping.
//!
//! A thread that sleeps is woken on an idle core if there is one, which takes ten times as long as a switch on the waker's own:
//! and the stub would have to follow it there. That is good for two that compute, and bad for two that only take turns. So
//! the Sentry's thread stays as long as no other guest thread runs in the sandbox. What else the host runs is not known here:
//! now and then the thread is let go for one sleep, to be woken on a better core if there is one.

use crate::pace::Mover;
use core::time::Duration;
use std::time::Instant;

/// How long to stay.
const TURN: Duration = Duration::from_millis(4);

/// Whether the calling thread stays, and since when.
#[derive(Default)]
pub struct Stay {
    since: Option<Instant>,
}

impl Stay {
    /// Before a sleep that begins `now` and that the stub is to end, on this core. A thread that has left another's core is
    /// not moved.
    pub fn stay(&mut self, own: &mut Mover, now: Instant) {
        if own.is_away() {
            return;
        }
        if self.since.is_some_and(|since| now.saturating_duration_since(since) > TURN) {
            return self.leave(own);
        }
        self.since.get_or_insert(now);
        own.bring_here();
    }

    /// Before any other.
    pub fn leave(&mut self, own: &mut Mover) {
        if self.since.take().is_some() {
            own.let_go();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::sched_getaffinity;

    #[test]
    fn stays_for_a_while_only() {
        let _ = host::elsewhere::cores();
        let cores = || sched_getaffinity(None).map(|set| set.count());
        let (all, now, mut stay) = (cores(), Instant::now(), Stay::default());
        let own = &mut Mover::own();
        stay.leave(own);
        assert_eq!(cores(), all);
        stay.stay(own, now);
        assert_eq!(cores(), Ok(1));
        stay.stay(own, now + TURN);
        assert_eq!(cores(), Ok(1));
        stay.stay(own, now + 2 * TURN);
        assert_eq!(cores(), all);
        stay.stay(own, now + 2 * TURN);
        stay.leave(own);
        assert_eq!(cores(), all);
    }
}
