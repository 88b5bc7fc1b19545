//! Guest threads that wait for private futexes in the host, of which their Sentry threads are not told (`text/serve.s`).
//!
//! Before a thread sleeps, it looks at the word for a moment, if a core is free for that and it has paid lately.
//!
//! Who decides whether to spin counts the guest threads that run ([`crate::watch::Core::runs`]); these do not. They are
//! counted about once in a millisecond while guests call, by what their blocks say: who has waited at two counts in a row
//! dozes. Only how soon guests go on depends on it. Locks: `LEAF`.

use crate::layout::SLEPT;
use crate::shared::Shared;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use host::tsc::ticks;
use lock::{Mutex, rank};
use std::sync::Arc;

/// How often to count, in ticks: half a millisecond to one, with the processors that there are.
const EVERY: u64 = 1 << 21;
/// Counting so many threads more takes as much longer that it is to be done half as often.
const MANY: usize = 64;

/// How often a thread looks at a futex before it waits: for some 10 µs. If the word changes, two switches are saved.
pub const LOOKS: u32 = 400;
/// The same if that was too short last: for as long as waking an idle core takes, as the other side may have to be woken first.
pub const LONG_LOOK: u32 = 4000;
/// Ticks: a wait that is longer, some 0.1 ms, is none to look for.
pub const LONG_WAIT: u64 = 1 << 18;
/// So many short waits must follow a long one before a thread looks again.
pub const LONG_WAIT_SKIPS: u32 = 6;
/// So many looks in a row may fail before waits pass without.
pub const FAILS_FREE: u32 = 2;
/// At most 127 waits pass between two looks that failed.
pub const FAILS_MAX: u32 = FAILS_FREE + 7;

/// A guest thread.
struct Thread {
    shared: Arc<Shared>,
    head: usize,
    /// What it had slept when last looked at.
    slept: u64,
}

/// All guest threads.
pub struct Dozers {
    threads: Mutex<Vec<Thread>>,
    /// When to count next.
    next: AtomicU64,
    dozing: AtomicUsize,
}

impl Dozers {
    pub fn new() -> Dozers {
        let threads = Mutex::new(rank::LEAF, Vec::new());
        Dozers { threads, next: AtomicU64::new(0), dozing: AtomicUsize::new(0) }
    }

    /// A guest thread begins.
    pub fn add(&self, shared: Arc<Shared>, head: usize) {
        self.threads.lock().push(Thread { shared, head, slept: 0 });
    }

    /// It ends.
    pub fn remove(&self, shared: &Arc<Shared>, head: usize) {
        let mut threads = self.threads.lock();
        if let Some(at) = threads.iter().position(|thread| thread.head == head && Arc::ptr_eq(&thread.shared, shared)) {
            threads.swap_remove(at);
        }
    }

    /// How many doze.
    pub fn count(&self) -> usize {
        self.dozing.load(Ordering::Relaxed)
    }

    /// Counts anew, if it is time for that.
    pub fn recount(&self) {
        let (now, next) = (ticks(), self.next.load(Ordering::Relaxed));
        // Wraps around in a century.
        if now >= next && self.next.compare_exchange(next, now + EVERY, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.look(now);
        }
    }

    fn look(&self, now: u64) {
        let Some(mut threads) = self.threads.try_lock() else { return };
        let mut dozing = 0;
        for thread in &mut *threads {
            let slept = thread.shared.get(thread.head + SLEPT);
            dozing += usize::from(waits(slept) && slept == thread.slept);
            thread.slept = slept;
        }
        self.dozing.store(dozing, Ordering::Relaxed);
        self.next.store(now + EVERY * (1 + threads.len() / MANY) as u64, Ordering::Relaxed);
    }
}

/// Whether a thread waits, from what its block says that it has slept.
pub fn waits(slept: u64) -> bool {
    slept.cast_signed() < 0
}

/// How long a thread has slept, in ticks, until now.
pub fn slept(word: u64) -> u64 {
    if waits(word) { word.wrapping_add(ticks()) } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    #[test]
    fn who_waits_at_two_looks_dozes() {
        let file = memfd_create("blocks", MemfdFlags::CLOEXEC).expect("memfd");
        ftruncate(&file, 4096).expect("ftruncate");
        let shared = Arc::new(Shared::map(file.as_fd(), 4096).expect("mmap"));
        let dozers = Dozers::new();
        dozers.add(Arc::clone(&shared), 0);
        dozers.add(Arc::clone(&shared), 1024);
        let look = |first: u64, second: u64| {
            shared.set(SLEPT, first);
            shared.set(1024 + SLEPT, second);
            dozers.look(0);
            dozers.count()
        };
        let waits = |since: u64| 0u64.wrapping_sub(since);
        assert_eq!([look(waits(7), 0), look(waits(7), 0), look(waits(7), waits(9))], [0, 1, 1]);
        assert_eq!([look(waits(8), waits(9)), look(5, 5)], [1, 0]);
        dozers.remove(&shared, 0);
        assert_eq!(dozers.threads.lock().len(), 1);
    }
}
