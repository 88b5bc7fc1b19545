//! Whether the Sentry and a stub on one core hand over by yielding it (sched_yield(2)).
//!
//! Both stay runnable then, and a hand-over is one call of the host's with a switch (1.4 µs), while to wake the other and to
//! sleep are two (2.3 µs). But who yields gives up what is left of its share: if a third thread wants the core, it runs for
//! a whole slice of the scheduler's. So it is done where hand-overs are quick, and a slow one ends it for a while.

use core::time::Duration;
use std::time::Instant;

/// How often each side yields before it sleeps.
pub const PASSES: u32 = 2;
/// A hand-over that takes longer is slow: another had the core, or the guest computes, and has nothing from it.
const SLOW: Duration = Duration::from_micros(60);
/// Quick hand-overs before the first by yielding: most processes of scripts are over by then.
const QUICK_TRY: u32 = 32;
/// So many quick ones by yielding save about what a slow one costs, and shorten the rest after the next.
const QUICK_MAX: u32 = 1024;
/// How long not to yield after a slow one: at least, and at most.
const REST_MIN: Duration = Duration::from_millis(8);
const REST_MAX: Duration = Duration::from_secs(1);

/// Learnt from how long hand-overs take.
pub struct Passing {
    quick: u32,
    rest: Duration,
    until: Option<Instant>,
}

impl Passing {
    pub fn new() -> Passing {
        Passing { quick: 0, rest: REST_MIN, until: None }
    }

    /// Whether to yield in the hand-over that begins `now`.
    pub fn wants(&mut self, now: Instant) -> bool {
        if self.until.is_some_and(|until| now < until) {
            return false;
        }
        self.until = None;
        self.quick >= QUICK_TRY
    }

    /// Takes note of a hand-over on one core that has taken so long; `yields` says whether by yielding.
    pub fn learn(&mut self, yields: bool, began: Instant) {
        let now = Instant::now();
        if now.saturating_duration_since(began) < SLOW {
            self.quick = (self.quick + 1).min(QUICK_MAX);
            if yields && self.quick == QUICK_MAX {
                self.quick = QUICK_TRY;
                self.rest = (self.rest / 2).max(REST_MIN);
            }
            return;
        }
        self.quick = 0;
        if yields {
            self.pause(now);
        }
    }

    fn pause(&mut self, now: Instant) {
        self.until = now.checked_add(self.rest);
        self.rest = (self.rest * 2).min(REST_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_hand_overs_make_yields_rare() {
        let (mut passing, start) = (Passing::new(), Instant::now());
        let mut yields = 0;
        // 100 s of a quick hand-over each 0.1 ms, on a core that another wants too.
        for n in 0..1_000_000 {
            let now = start + Duration::from_micros(100 * n);
            if passing.wants(now) {
                yields += 1;
                passing.quick = 0;
                passing.pause(now);
            } else {
                passing.learn(false, Instant::now());
            }
        }
        assert!((50..150).contains(&yields), "{yields}");
    }

    #[test]
    fn quick_ones_bring_them_back() {
        let mut passing = Passing::new();
        let long_ago = Instant::now() - SLOW;
        assert!(!passing.wants(Instant::now()));
        (0..QUICK_TRY).for_each(|_| passing.learn(false, Instant::now()));
        assert!(passing.wants(Instant::now()));
        passing.learn(true, long_ago);
        assert!(!passing.wants(Instant::now()));
        (0..QUICK_TRY).for_each(|_| passing.learn(false, Instant::now()));
        assert!(!passing.wants(Instant::now()) && passing.wants(Instant::now() + REST_MIN));
        (0..QUICK_MAX).for_each(|_| passing.learn(true, Instant::now()));
        assert_eq!(passing.rest, REST_MIN);
    }
}
