//! Queues of pending signals.
//!
//! A standard signal is pending at most once; real-time signals queue in order, up to a limit per process (Linux counts
//! against the user's `RLIMIT_SIGPENDING`).

use abi::signal::{SigInfo, SigSet, Signal, code};
use std::collections::VecDeque;

/// Signals sent and not yet taken.
#[derive(Default)]
pub struct PendingQueue {
    set: SigSet,
    queue: VecDeque<SigInfo>,
}

impl PendingQueue {
    /// The pending signals.
    #[must_use]
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// How many entries are queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// What is queued, in order.
    pub fn iter(&self) -> impl Iterator<Item = &SigInfo> {
        self.queue.iter()
    }

    /// Whether nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Adds a signal. Returns false if its information could not be queued for the limit: for a real-time signal of
    /// `sigqueue` or a timer the sender then gets `EAGAIN` and nothing is pending; others become pending without it.
    pub fn push(&mut self, info: SigInfo, limit: u64) -> bool {
        let signal = info.signo;
        if signal < 32 && self.set.has(signal) {
            return true;
        }
        if self.queue.len() as u64 >= limit && (signal >= 32 || info.code < 0) && info.code != code::SI_USER {
            return false;
        }
        self.set = self.set.with(signal);
        if (self.queue.len() as u64) < limit.saturating_add(64) {
            self.queue.push_back(info);
        }
        true
    }

    /// Adds a timer's signal, whatever else is pending; the timers of a process are limited.
    pub fn push_timer(&mut self, info: SigInfo) {
        self.set = self.set.with(info.signo);
        self.queue.push_back(info);
    }

    /// Takes the next signal of `allowed`: synchronous ones first, then the lowest number, each in order of arrival.
    pub fn pop(&mut self, allowed: SigSet) -> Option<SigInfo> {
        let ready = self.set.intersect(allowed);
        let signal = ready.intersect(SigSet::SYNCHRONOUS).first().or(ready.first())?;
        Some(self.take(signal))
    }

    fn take(&mut self, signal: Signal) -> SigInfo {
        let at = self.queue.iter().position(|i| i.signo == signal);
        let info = at.and_then(|at| self.queue.remove(at)).unwrap_or(SigInfo::new(signal, code::SI_USER));
        if !self.queue.iter().any(|i| i.signo == signal) {
            self.set = self.set.without(SigSet::of(signal));
        }
        info
    }

    /// Discards the signals of `set`.
    pub fn discard(&mut self, set: SigSet) {
        if self.set.intersect(set).is_empty() {
            return;
        }
        self.set = self.set.without(set);
        self.queue.retain(|i| !set.has(i.signo));
    }
}
