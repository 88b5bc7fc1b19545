//! Futexes (futex(2)): who sleeps on which word of guest memory.
//!
//! Waiters sit in hash buckets, each with a lock of rank `FUTEX`. A waiter compares the word and queues itself under its
//! bucket's lock, and a waker takes it off under the same lock, so no wake-up falls between the two. The word may be
//! faulted in meanwhile: that takes only ranks above. Two buckets are locked in the order of their index.
//!
//! Waking is here, sleeping in `wait`, moving waiters in `requeue`, ownership in `pi`, the end of threads in `robust`.

mod pi;
mod requeue;
mod robust;
#[cfg(test)]
mod tests;
mod wait;

pub use requeue::{Requeue, WakeOp};
pub use wait::{WaitOn, Waited};

use crate::work::TaskWork;
use abi::Errno;
use lock::{Mutex, MutexGuard, rank};
use mm::FutexKey;
use platform::FutexWaiters;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};

/// Buckets; a power of two.
const BUCKETS: usize = 1024;

/// Values of [`Waiter::state`] besides those of a wake-up, which are one more than the index of the futex.
const WAITING: u32 = 0;
/// Handed the ownership of a priority-inheriting futex.
const OWNER: u32 = 1 << 16;
/// The same, because the owner died without giving it up.
const OWNER_DIED: u32 = OWNER + 1;

/// A task that waits, on one or more words.
struct Waiter {
    work: Arc<TaskWork>,
    tid: i32,
    state: AtomicU32,
    /// The bucket of each entry; a requeue changes it with both buckets locked.
    homes: Vec<AtomicUsize>,
    /// `FUTEX_CMP_REQUEUE_PI` has moved it to the second futex.
    requeued: AtomicBool,
}

impl Waiter {
    fn new(work: Arc<TaskWork>, tid: i32, words: usize) -> Arc<Waiter> {
        Arc::new(Waiter {
            work,
            tid,
            state: AtomicU32::new(WAITING),
            homes: (0..words).map(|_| AtomicUsize::new(0)).collect(),
            requeued: AtomicBool::new(false),
        })
    }

    /// Why it was woken, if it was.
    fn outcome(&self) -> Option<u32> {
        match self.state.load(Ordering::Acquire) {
            WAITING => None,
            state => Some(state),
        }
    }

    /// Decides the wait; false if it already was.
    fn decide(&self, state: u32) -> bool {
        self.state.compare_exchange(WAITING, state, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// How an entry takes part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Waits for a wake-up.
    Plain,
    /// Waits to own the futex.
    Pi,
    /// Waits for a wake-up that comes with the ownership of another futex.
    RequeuePi { target: FutexKey },
}

struct Entry {
    key: FutexKey,
    bitset: u32,
    kind: Kind,
    waiter: Arc<Waiter>,
    /// Which of the waiter's words this is.
    index: usize,
}

impl Entry {
    fn is_of(&self, waiter: &Arc<Waiter>, index: usize) -> bool {
        Arc::ptr_eq(&self.waiter, waiter) && self.index == index
    }

    /// Takes part in a wake-up of its word. Returns whether it counts as woken.
    fn wake(&self) -> bool {
        self.waiter.decide(u32::try_from(self.index).unwrap_or(0) + 1)
    }
}

/// What a word's address and its key have in common.
fn page_offset(key: &FutexKey) -> u64 {
    match key {
        FutexKey::Private { addr, .. } => *addr,
        FutexKey::Shared { offset, .. } => *offset,
    }
}

struct Bucket {
    /// Those queued or about to compare the word; lets a wake without waiters skip the lock.
    waiting: AtomicUsize,
    entries: Mutex<Vec<Entry>>,
    /// The same count where the platform's own wakes look.
    waiters: Arc<dyn FutexWaiters>,
}

impl Bucket {
    fn push(&self, entries: &mut Vec<Entry>, entry: Entry) {
        self.waiters.add(page_offset(&entry.key));
        entries.push(entry);
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes off the entries that `take` wants.
    fn extract(&self, entries: &mut Vec<Entry>, mut take: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        let taken: Vec<Entry> = entries.extract_if(.., |e| take(e)).collect();
        self.waiting.fetch_sub(taken.len(), Ordering::SeqCst);
        for entry in &taken {
            self.waiters.remove(page_offset(&entry.key));
        }
        taken
    }
}

/// Who waits to own a futex of whom; for deadlocks and for the end of owners.
struct Blocked {
    owner: i32,
    key: FutexKey,
}

/// All futexes of a sandbox.
pub struct FutexTable {
    buckets: Box<[Bucket]>,
    /// By the waiter's tid. Rank `LEAF`, taken with buckets locked.
    blocked: Mutex<BTreeMap<i32, Blocked>>,
}

impl FutexTable {
    /// A table without waiters; `waiters` is the platform's.
    #[must_use]
    pub fn new(waiters: &Arc<dyn FutexWaiters>) -> FutexTable {
        let bucket = || Bucket {
            waiting: AtomicUsize::new(0),
            entries: Mutex::new(rank::FUTEX, Vec::new()),
            waiters: waiters.clone(),
        };
        FutexTable {
            buckets: (0..BUCKETS).map(|_| bucket()).collect(),
            blocked: Mutex::new(rank::LEAF, BTreeMap::new()),
        }
    }
}

/// Multiplies and rotates; spreads keys well enough, and a guest that makes its own collide only slows itself.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}

impl FutexTable {
    fn home(&self, key: &FutexKey) -> usize {
        let mut hasher = KeyHasher::default();
        key.hash(&mut hasher);
        hasher.finish() as usize & (BUCKETS - 1)
    }

    fn bucket(&self, home: usize) -> &Bucket {
        &self.buckets[home & (BUCKETS - 1)]
    }

    /// Wakes up to `count` waiters (at least one) whose bit sets meet `bitset`; returns how many.
    ///
    /// # Errors
    /// `EINVAL` if a waiter waits for ownership.
    pub fn wake(&self, key: &FutexKey, count: u32, bitset: u32) -> Result<u32, Errno> {
        let bucket = self.bucket(self.home(key));
        // Ordered after the guest's change of the word, against the count and the load of a waiter.
        fence(Ordering::SeqCst);
        if bucket.waiting.load(Ordering::SeqCst) == 0 {
            return Ok(0);
        }
        let mut entries = bucket.entries.lock();
        let (woken, result) = self.take_woken(bucket, &mut entries, key, count, bitset);
        drop(entries);
        rouse(&woken);
        result
    }

    /// The part of a wake-up under the lock: those taken off, and what the call returns.
    fn take_woken(
        &self,
        bucket: &Bucket,
        entries: &mut Vec<Entry>,
        key: &FutexKey,
        count: u32,
        bitset: u32,
    ) -> (Vec<Entry>, Result<u32, Errno>) {
        let mut done = 0;
        let mut owned = false;
        let woken = bucket.extract(entries, |entry| {
            if owned || done >= count.max(1) || entry.key != *key {
                return false;
            }
            owned = entry.kind != Kind::Plain;
            if owned || entry.bitset & bitset == 0 {
                return false;
            }
            done += u32::from(entry.wake());
            true
        });
        (woken, if owned { Err(Errno::EINVAL) } else { Ok(done) })
    }

    /// Takes a waiter's remaining entries off their buckets.
    fn unqueue(&self, waiter: &Arc<Waiter>, words: usize) {
        for (index, home) in waiter.homes.iter().enumerate().take(words) {
            loop {
                let at = home.load(Ordering::Acquire);
                let bucket = self.bucket(at);
                let mut entries = bucket.entries.lock();
                if home.load(Ordering::Acquire) != at {
                    continue;
                }
                let removed = bucket.extract(&mut entries, |e| e.is_of(waiter, index));
                if removed.iter().any(|e| e.kind == Kind::Pi) {
                    self.blocked.lock().remove(&waiter.tid);
                }
                break;
            }
        }
    }

    /// Locks the buckets of two words.
    fn lock_two(&self, first: usize, second: usize) -> TwoBuckets<'_> {
        let (one, two) = (self.bucket(first), self.bucket(second));
        if first == second {
            return TwoBuckets { first: one.entries.lock(), second: None };
        }
        if first < second {
            let a = one.entries.lock();
            let b = two.entries.lock_second();
            return TwoBuckets { first: a, second: Some(b) };
        }
        let b = two.entries.lock();
        let a = one.entries.lock_second();
        TwoBuckets { first: a, second: Some(b) }
    }
}

/// The entries of two words, which may be in one bucket.
struct TwoBuckets<'a> {
    first: MutexGuard<'a, Vec<Entry>>,
    second: Option<MutexGuard<'a, Vec<Entry>>>,
}

impl TwoBuckets<'_> {
    fn second(&mut self) -> &mut Vec<Entry> {
        match &mut self.second {
            Some(second) => second,
            None => &mut self.first,
        }
    }
}

/// Ends the sleep of those taken off; without a lock, since they need none to go on.
fn rouse(woken: &[Entry]) {
    for entry in woken {
        entry.waiter.work.wake();
    }
}
