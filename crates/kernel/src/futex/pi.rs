//! Futexes that are owned: `FUTEX_LOCK_PI` and its relatives.
//!
//! The word holds the owner's tid. Ownership is handed over in the kernel, in order of arrival, so that nobody can take
//! the futex in between; priorities are not inherited, for tasks here have none that the host would heed.

use super::{Blocked, Entry, FutexTable, Kind, OWNER, OWNER_DIED, Waiter};
use crate::error::{Restart, SysErr, WaitEnd};
use crate::task::{CurrentTask, Task};
use abi::Errno;
use abi::raw::general as c;
use mm::FutexKey;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

pub(super) const TID: u32 = c::FUTEX_TID_MASK;
pub(super) const WAITERS: u32 = c::FUTEX_WAITERS;
pub(super) const DIED: u32 = c::FUTEX_OWNER_DIED;

impl FutexTable {
    /// Whether `waiter` waiting for `owner` would close a circle.
    pub(super) fn deadlocks(&self, waiter: i32, owner: i32) -> bool {
        let blocked = self.blocked.lock();
        let mut at = owner;
        for _ in 0..=blocked.len() {
            if at == waiter {
                return true;
            }
            let Some(next) = blocked.get(&at) else { return false };
            at = next.owner;
        }
        false
    }

    /// Takes off the first who waits to own `key`, with its bucket locked. The others wait for it from now on.
    fn take_heir(&self, entries: &mut Vec<Entry>, key: &FutexKey, state: u32) -> Option<Entry> {
        let bucket = self.bucket(self.home(key));
        let mut found = false;
        let heir = bucket.extract(entries, |e| {
            let take = !found && e.key == *key && e.kind == Kind::Pi;
            found |= take;
            take
        });
        let heir = heir.into_iter().next()?;
        heir.waiter.decide(state);
        let tid = heir.waiter.tid;
        let mut blocked = self.blocked.lock();
        blocked.remove(&tid);
        for other in blocked.values_mut().filter(|b| b.key == *key) {
            other.owner = tid;
        }
        Some(heir)
    }

    /// The end of a thread: whoever waits for its futexes gets them.
    pub(super) fn owner_died(&self, tid: i32) {
        let keys: Vec<FutexKey> = self.blocked.lock().values().filter(|b| b.owner == tid).map(|b| b.key).collect();
        for key in keys {
            let heir = {
                let mut entries = self.bucket(self.home(&key)).entries.lock();
                if !self.blocked.lock().values().any(|b| b.owner == tid && b.key == key) {
                    continue;
                }
                self.take_heir(&mut entries, &key, OWNER_DIED)
            };
            if let Some(heir) = heir {
                heir.waiter.work.wake();
            }
        }
    }
}

impl CurrentTask {
    /// Who owns the futex, if a living task does. Asked before the bucket is locked, since the tree comes first.
    pub(super) fn futex_owner(&self, addr: u64) -> Result<Option<Arc<Task>>, Errno> {
        let word = self.mm.load_u32(addr)?;
        let tid = (word & TID).cast_signed();
        Ok(if tid == 0 { None } else { self.kernel.tree.task(tid) })
    }

    /// Makes `heir` the owner if nobody is, else marks the word as waited for. With the bucket locked; `owner` is who was
    /// found to own it before. Returns whether `heir` owns it now, `None` to try again.
    pub(super) fn take_or_mark(
        &self,
        addr: u64,
        heir: i32,
        owner: Option<&Task>,
        others: bool,
    ) -> Result<Option<bool>, Errno> {
        let word = self.mm.load_u32(addr)?;
        let tid = (word & TID).cast_signed();
        if tid == heir {
            return Err(Errno::EDEADLK);
        }
        let new = if tid == 0 {
            heir.cast_unsigned() | word & DIED | if others { WAITERS } else { 0 }
        } else {
            match owner {
                Some(task) if task.tid() == tid && !task.futexes_released.load(Ordering::SeqCst) => word | WAITERS,
                Some(task) if task.tid() == tid => return Err(Errno::ESRCH),
                None => return Err(Errno::ESRCH),
                Some(_) => return Ok(None),
            }
        };
        if new != word && self.mm.compare_exchange_u32(addr, word, new)? != word {
            return Ok(None);
        }
        if tid != 0 && self.kernel.futexes.deadlocks(heir, tid) {
            return Err(Errno::EDEADLK);
        }
        Ok(Some(tid == 0))
    }

    /// `FUTEX_LOCK_PI` and `FUTEX_TRYLOCK_PI`.
    ///
    /// # Errors
    /// `EDEADLK` if the caller owns it, `ESRCH` if no living task does, `EAGAIN` when only trying, `ETIMEDOUT`.
    pub fn futex_lock_pi(&self, addr: u64, shared: bool, until: Option<Instant>, only_try: bool) -> Result<(), SysErr> {
        let key = self.futex_key(addr, shared)?;
        let table = &self.kernel.futexes;
        let home = table.home(&key);
        let bucket = table.bucket(home);
        let tid = self.tid();
        let waiter = Waiter::new(self.work.clone(), tid, 1);
        if let Some(slot) = waiter.homes.first() {
            slot.store(home, Ordering::Release);
        }
        loop {
            if self.interrupted() && self.work.get() & crate::work::bits::EXIT != 0 {
                return Err(SysErr::Restart(Restart::NoIntr));
            }
            let owner = self.futex_owner(addr)?;
            let mut entries = bucket.entries.lock();
            let others = entries.iter().any(|e| e.key == key);
            if entries.iter().any(|e| e.key == key && e.kind != Kind::Pi) {
                return Err(Errno::EINVAL.into());
            }
            match self.retry_if_changed(
                addr,
                owner.as_deref(),
                self.take_or_mark(addr, tid, owner.as_deref(), others),
            )? {
                None => continue,
                Some(true) => return Ok(()),
                Some(false) if only_try => return Err(Errno::EAGAIN.into()),
                Some(false) => {}
            }
            let owner_tid = owner.as_ref().map_or(0, |o| o.tid());
            let entry = Entry { key, bitset: u32::MAX, kind: Kind::Pi, waiter: waiter.clone(), index: 0 };
            bucket.push(&mut entries, entry);
            table.blocked.lock().insert(tid, Blocked { owner: owner_tid, key });
            // Its end either sees this entry or was seen just above; see `release_futexes`.
            let gone = owner.is_some_and(|o| o.futexes_released.load(Ordering::SeqCst));
            drop(entries);
            if !gone || waiter.outcome().is_some() {
                break;
            }
            table.unqueue(&waiter, 1);
            if waiter.outcome().is_some() {
                break;
            }
        }
        match self.wait_for_ownership(addr, &waiter, until)? {
            Ok(()) => Ok(()),
            Err(WaitEnd::Timeout) => Err(Errno::ETIMEDOUT.into()),
            Err(WaitEnd::Interrupted) => Err(SysErr::Restart(Restart::NoIntr)),
        }
    }

    /// An owner that can't be found is an error only if the word still names it.
    fn retry_if_changed(
        &self,
        addr: u64,
        owner: Option<&Task>,
        result: Result<Option<bool>, Errno>,
    ) -> Result<Option<bool>, Errno> {
        let named = (self.mm.load_u32(addr)? & TID).cast_signed();
        match result {
            Err(Errno::ESRCH) if named == 0 || owner.is_some_and(|o| o.tid() != named) => Ok(None),
            other => other,
        }
    }

    /// Sleeps until the futex is handed over.
    fn wait_for_ownership(
        &self,
        addr: u64,
        waiter: &Arc<Waiter>,
        until: Option<Instant>,
    ) -> Result<Result<(), WaitEnd>, Errno> {
        let ended = self.wait_until(until, || waiter.outcome());
        if ended.is_err() {
            self.kernel.futexes.unqueue(waiter, 1);
        }
        match (waiter.outcome(), ended) {
            (Some(OWNER_DIED), _) => {
                let tid = self.tid().cast_unsigned();
                self.mm.update_u32(addr, |_| tid | WAITERS | DIED)?;
                Ok(Ok(()))
            }
            (Some(_), _) => Ok(Ok(())),
            (None, Err(end)) => Ok(Err(end)),
            (None, Ok(_)) => Ok(Err(WaitEnd::Interrupted)),
        }
    }

    /// `FUTEX_UNLOCK_PI`: hands the futex to the first waiter, or leaves it free.
    ///
    /// # Errors
    /// `EPERM` if the caller does not own it, `EINVAL` if waiters don't wait to own it, `EFAULT`.
    pub fn futex_unlock_pi(&self, addr: u64, shared: bool) -> Result<(), SysErr> {
        let tid = self.tid().cast_unsigned();
        let table = &self.kernel.futexes;
        if self.mm.load_u32(addr)? & TID != tid {
            return Err(Errno::EPERM.into());
        }
        let key = self.futex_key(addr, shared)?;
        let bucket = table.bucket(table.home(&key));
        loop {
            if self.work.get() & crate::work::bits::EXIT != 0 {
                return Err(SysErr::Restart(Restart::NoIntr));
            }
            let mut entries = bucket.entries.lock();
            let word = self.mm.load_u32(addr)?;
            if word & TID != tid {
                return Err(Errno::EPERM.into());
            }
            let first = entries.iter().find(|e| e.key == key);
            if first.is_some_and(|e| e.kind != Kind::Pi) {
                return Err(Errno::EINVAL.into());
            }
            let new = first.map_or(0, |e| e.waiter.tid.cast_unsigned() | WAITERS);
            if self.mm.compare_exchange_u32(addr, word, new)? != word {
                continue;
            }
            let heir = table.take_heir(&mut entries, &key, OWNER);
            drop(entries);
            if let Some(heir) = heir {
                heir.waiter.work.wake();
            }
            return Ok(());
        }
    }

    /// `FUTEX_WAIT_REQUEUE_PI`: sleeps on one futex until another is the caller's.
    ///
    /// # Errors
    /// `EAGAIN` if the word holds another value or a signal came too late, `ETIMEDOUT`, `EINVAL`, `EFAULT`.
    pub fn futex_wait_requeue_pi(&self, on: super::WaitOn, target: u64, until: Option<Instant>) -> Result<(), SysErr> {
        if on.addr == target {
            return Err(Errno::EINVAL.into());
        }
        let target_key = self.futex_key(target, on.shared)?;
        let key = self.futex_key(on.addr, on.shared)?;
        if key == target_key {
            return Err(Errno::EINVAL.into());
        }
        let waiter = Waiter::new(self.work.clone(), self.tid(), 1);
        let kind = Kind::RequeuePi { target: target_key };
        let entry = Entry { key, bitset: u32::MAX, kind, waiter: waiter.clone(), index: 0 };
        if !self.queue_if_equal(&on, entry)? {
            return Err(Errno::EAGAIN.into());
        }
        let ended = self.wait_for_ownership(target, &waiter, until)?;
        let requeued = waiter.requeued.load(Ordering::Acquire);
        match ended {
            Ok(()) => Ok(()),
            Err(WaitEnd::Timeout) => Err(Errno::ETIMEDOUT.into()),
            Err(WaitEnd::Interrupted) if requeued => Err(Errno::EAGAIN.into()),
            Err(WaitEnd::Interrupted) => Err(SysErr::Restart(Restart::NoIntr)),
        }
    }
}
