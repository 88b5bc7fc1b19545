//! Mutexes and read-write locks with ranks.
//!
//! A thread may take a lock only if its rank is higher than that of every lock it holds. Debug builds check this at
//! every acquisition and panic with both names; release builds carry no rank. All ranks stand in [`rank`], in order,
//! and nowhere else. Poisoning is ignored: a panic ends the Sentry.

pub mod rank;

use core::fmt;
use core::ops::{Deref, DerefMut};
use rank::Rank;

#[cfg(debug_assertions)]
mod held {
    use super::Rank;
    use std::cell::RefCell;

    thread_local! {
        static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    /// Does something with the list, unless the thread is ending and has destroyed it: then nothing is checked.
    fn with(f: impl FnOnce(&mut Vec<Rank>)) {
        let _ = HELD.try_with(|held| f(&mut held.borrow_mut()));
    }

    pub(super) fn push(rank: Rank, ordered: bool) {
        with(|held| {
            if let Some(top) = held.iter().max_by_key(|r| r.level) {
                let fine = top.level < rank.level || (ordered && top.level == rank.level);
                assert!(
                    fine,
                    "lock order: {} ({}) taken while {} ({}) is held",
                    rank.name, rank.level, top.name, top.level
                );
            }
            held.push(rank);
        });
    }

    pub(super) fn pop(rank: Rank) {
        with(|held| {
            if let Some(at) = held.iter().rposition(|r| r.level == rank.level) {
                held.remove(at);
            }
        });
    }

    pub(super) fn assert_none(what: &str) {
        with(|held| {
            if let Some(first) = held.first() {
                panic!("{what} while {} is held", first.name);
            }
        });
    }
}

/// Panics in debug builds if the calling thread holds a ranked lock. Call it where a thread is about to sleep.
pub fn assert_none_held(what: &str) {
    #[cfg(debug_assertions)]
    held::assert_none(what);
    #[cfg(not(debug_assertions))]
    let _ = what;
}

struct Held {
    #[cfg(debug_assertions)]
    rank: Rank,
}

impl Held {
    fn new(rank: Rank, ordered: bool) -> Held {
        #[cfg(debug_assertions)]
        {
            held::push(rank, ordered);
            Held { rank }
        }
        #[cfg(not(debug_assertions))]
        {
            let _ = (rank, ordered);
            Held {}
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        held::pop(self.rank);
    }
}

/// How often [`Mutex::lock_awake`] looks: for some 15 µs, longer than it takes to copy 64 KiB.
const LOOKS: u32 = 600;

/// A mutex with a rank.
pub struct Mutex<T: ?Sized> {
    rank: Rank,
    inner: std::sync::Mutex<T>,
}

/// Holds a [`Mutex`] locked.
pub struct MutexGuard<'a, T: ?Sized> {
    inner: std::sync::MutexGuard<'a, T>,
    _held: Held,
}

impl<T> Mutex<T> {
    /// A new, unlocked mutex.
    pub const fn new(rank: Rank, value: T) -> Mutex<T> {
        Mutex { rank, inner: std::sync::Mutex::new(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks, waiting as long as it takes.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.acquire(false)
    }

    /// Locks while another lock of the same rank may be held: the caller has ordered the two, by address or by id.
    pub fn lock_second(&self) -> MutexGuard<'_, T> {
        self.acquire(true)
    }

    /// Locks; a thread that finds it locked waits awake for some time first. For locks under which others copy much: to sleep
    /// and be woken by a thread on another core takes longer.
    pub fn lock_awake(&self) -> MutexGuard<'_, T> {
        let found = (0..LOOKS).find_map(|_| {
            let guard = self.try_lock();
            if guard.is_none() {
                core::hint::spin_loop();
            }
            guard
        });
        found.unwrap_or_else(|| self.lock())
    }

    /// Locks if that needs no waiting. Not checked for order, since it can't deadlock.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let inner = match self.inner.try_lock() {
            Ok(guard) => guard,
            Err(std::sync::TryLockError::Poisoned(e)) => e.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return None,
        };
        Some(MutexGuard { inner, _held: Held::new(self.rank, true) })
    }

    fn acquire(&self, ordered: bool) -> MutexGuard<'_, T> {
        let held = Held::new(self.rank, ordered);
        let inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        MutexGuard { inner, _held: held }
    }

    /// The value, by exclusive reference.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mutex<{}>", self.rank.name)
    }
}

/// A read-write lock with a rank. Readers obey the same order as writers.
pub struct RwLock<T: ?Sized> {
    rank: Rank,
    inner: std::sync::RwLock<T>,
}

/// Holds a [`RwLock`] for reading.
pub struct ReadGuard<'a, T: ?Sized> {
    inner: std::sync::RwLockReadGuard<'a, T>,
    _held: Held,
}

/// Holds a [`RwLock`] for writing.
pub struct WriteGuard<'a, T: ?Sized> {
    inner: std::sync::RwLockWriteGuard<'a, T>,
    _held: Held,
}

impl<T> RwLock<T> {
    /// A new, unlocked lock.
    pub const fn new(rank: Rank, value: T) -> RwLock<T> {
        RwLock { rank, inner: std::sync::RwLock::new(value) }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading.
    pub fn read(&self) -> ReadGuard<'_, T> {
        let held = Held::new(self.rank, false);
        let inner = self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        ReadGuard { inner, _held: held }
    }

    /// Locks for writing.
    pub fn write(&self) -> WriteGuard<'_, T> {
        let held = Held::new(self.rank, false);
        let inner = self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        WriteGuard { inner, _held: held }
    }

    /// The value, by exclusive reference.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T: ?Sized> Deref for ReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> Deref for WriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RwLock<{}>", self.rank.name)
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn rising_ranks_are_fine() {
        let low = Mutex::new(rank::PROC_TREE, 1);
        let high = Mutex::new(rank::LEAF, 2);
        let a = low.lock();
        let b = high.lock();
        assert_eq!(*a + *b, 3);
    }

    #[test]
    #[should_panic(expected = "lock order")]
    fn falling_ranks_panic() {
        let low = Mutex::new(rank::PROC_TREE, 1);
        let high = Mutex::new(rank::LEAF, 2);
        let _b = high.lock();
        let _a = low.lock();
    }
}
