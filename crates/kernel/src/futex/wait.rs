//! Waiting for wake-ups: `FUTEX_WAIT` and its relatives, and futex_waitv(2).

use super::{Entry, Kind, Waiter};
use crate::error::WaitEnd;
use crate::task::CurrentTask;
use abi::Errno;
use mm::FutexKey;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A word, and what it must hold for the caller to sleep.
#[derive(Clone, Copy, Debug)]
pub struct WaitOn {
    /// Its address.
    pub addr: u64,
    /// Not `FUTEX_PRIVATE_FLAG`.
    pub shared: bool,
    /// What it must hold.
    pub value: u32,
}

/// How a wait went: the index of the word that was woken, or why it ended without.
pub type Waited = Result<usize, WaitEnd>;

impl CurrentTask {
    /// The key of a word.
    ///
    /// # Errors
    /// `EINVAL` if it is misaligned, `EFAULT` if it can't be there.
    pub fn futex_key(&self, addr: u64, shared: bool) -> Result<FutexKey, Errno> {
        let key = self.mm.futex_key(addr, !shared)?;
        // Private memory by its shared name is another futex than by its private one.
        Ok(match key {
            FutexKey::Private { mm, addr } if shared => FutexKey::Private { mm, addr: addr | 1 },
            key => key,
        })
    }

    /// `FUTEX_WAKE`: wakes up to `count` waiters; returns how many.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT`.
    pub fn futex_wake(&self, addr: u64, shared: bool, count: u32, bitset: u32) -> Result<u32, Errno> {
        if bitset == 0 {
            return Err(Errno::EINVAL);
        }
        let key = self.futex_key(addr, shared)?;
        let count = count.max(1);
        let woken = self.wake_in_platform(addr, shared, count, bitset);
        match count.saturating_sub(woken) {
            0 => Ok(woken),
            left => Ok(woken + self.kernel.futexes.wake(&key, left, bitset)?),
        }
    }

    /// Wakes those that the kernel knows nothing of: see [`platform::AddressSpace::wake_waiters`]. They have come first.
    pub(super) fn wake_in_platform(&self, addr: u64, shared: bool, count: u32, bitset: u32) -> u32 {
        match self.mm.address_space() {
            Ok(space) if !shared && count > 0 => space.wake_waiters(addr, count, bitset),
            _ => 0,
        }
    }

    /// `FUTEX_WAIT_BITSET`: sleeps until woken, if the word holds the value.
    ///
    /// # Errors
    /// `EAGAIN` if it holds another, `EINVAL`, `EFAULT`.
    pub fn futex_wait(&self, on: WaitOn, bitset: u32, until: Option<Instant>) -> Result<Waited, Errno> {
        if bitset == 0 {
            return Err(Errno::EINVAL);
        }
        self.futex_wait_any(&[on], bitset, until)
    }

    /// futex_waitv(2): sleeps until one of the words is woken, if all hold their values.
    ///
    /// # Errors
    /// `EAGAIN` if one does not, `EINVAL`, `EFAULT`.
    pub fn futex_wait_any(&self, words: &[WaitOn], bitset: u32, until: Option<Instant>) -> Result<Waited, Errno> {
        let table = &self.kernel.futexes;
        let mut keys = Vec::with_capacity(words.len());
        for word in words {
            keys.push(self.futex_key(word.addr, word.shared)?);
        }
        let waiter = Waiter::new(self.work.clone(), self.tid(), words.len());
        for (index, (word, key)) in words.iter().zip(keys).enumerate() {
            let entry = Entry { key, bitset, kind: Kind::Plain, waiter: waiter.clone(), index };
            let refused = match self.queue_if_equal(word, entry) {
                Ok(true) => continue,
                Ok(false) => Errno::EAGAIN,
                Err(errno) => errno,
            };
            table.unqueue(&waiter, index);
            // A word before this one may have been woken already; that counts.
            return waiter.outcome().map(|state| Ok(woken_index(state))).ok_or(refused);
        }
        let ended = self.wait_until(until, || waiter.outcome());
        if words.len() == 1 && ended.is_ok() {
            return Ok(Ok(0));
        }
        table.unqueue(&waiter, words.len());
        Ok(match (waiter.outcome(), ended) {
            (Some(state), _) => Ok(woken_index(state)),
            (None, Err(end)) => Err(end),
            (None, Ok(_)) => Err(WaitEnd::Interrupted),
        })
    }

    /// Queues an entry if its word holds the expected value; returns whether it did.
    pub(super) fn queue_if_equal(&self, word: &WaitOn, entry: Entry) -> Result<bool, Errno> {
        let table = &self.kernel.futexes;
        let home = table.home(&entry.key);
        let bucket = table.bucket(home);
        if let Some(slot) = entry.waiter.homes.get(entry.index) {
            slot.store(home, Ordering::Release);
        }
        // Counted before the word is read: a waker that changed it before must then see the count.
        bucket.waiting.fetch_add(1, Ordering::SeqCst);
        bucket.waiters.add(word.addr);
        let mut entries = bucket.entries.lock();
        let queued = match self.mm.load_u32(word.addr) {
            Ok(value) if value == word.value => {
                bucket.push(&mut entries, entry);
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(errno) => Err(errno),
        };
        drop(entries);
        bucket.waiting.fetch_sub(1, Ordering::SeqCst);
        bucket.waiters.remove(word.addr);
        queued
    }
}

fn woken_index(state: u32) -> usize {
    (state as usize).saturating_sub(1)
}
