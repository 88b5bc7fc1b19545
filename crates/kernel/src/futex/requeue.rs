//! Waking on one word and moving waiters to another: `FUTEX_REQUEUE`, `FUTEX_CMP_REQUEUE`, `FUTEX_WAKE_OP`.

use super::{Entry, FutexTable, Kind, TwoBuckets, rouse};
use crate::task::CurrentTask;
use abi::Errno;
use mm::FutexKey;
use std::sync::atomic::Ordering;

/// Two words and how many waiters of the first are woken and moved.
#[derive(Clone, Copy, Debug)]
pub struct Requeue {
    /// The first word, and whether it is shared.
    pub from: (u64, bool),
    /// The second.
    pub to: (u64, bool),
    /// At most so many are woken.
    pub wake: i32,
    /// At most so many more are moved.
    pub requeue: i32,
    /// What the first word must hold.
    pub expected: Option<u32>,
}

/// The operation of `FUTEX_WAKE_OP` on the second word, as its last argument encodes it.
#[derive(Clone, Copy, Debug)]
pub struct WakeOp(pub u32);

const FUTEX_OP_ARG_SHIFT: u32 = 8;

impl WakeOp {
    /// The new value of the word.
    ///
    /// # Errors
    /// `ENOSYS` for an unknown operation.
    pub fn apply(self, old: u32) -> Result<u32, Errno> {
        let argument = sign_extend(self.0 >> 12) as u32;
        let argument = if self.0 >> 28 & FUTEX_OP_ARG_SHIFT != 0 { 1 << (argument & 31) } else { argument };
        match self.0 >> 28 & 7 {
            0 => Ok(argument),
            1 => Ok(old.wrapping_add(argument)),
            2 => Ok(old | argument),
            3 => Ok(old & !argument),
            4 => Ok(old ^ argument),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Whether the old value has waiters of the second word woken too.
    ///
    /// # Errors
    /// `ENOSYS` for an unknown comparison.
    pub fn compare(self, old: u32) -> Result<bool, Errno> {
        let (old, argument) = (old as i32, sign_extend(self.0));
        match self.0 >> 24 & 15 {
            0 => Ok(old == argument),
            1 => Ok(old != argument),
            2 => Ok(old < argument),
            3 => Ok(old <= argument),
            4 => Ok(old > argument),
            5 => Ok(old >= argument),
            _ => Err(Errno::ENOSYS),
        }
    }
}

/// The low twelve bits as a signed number.
fn sign_extend(field: u32) -> i32 {
    ((field << 20) as i32) >> 20
}

impl FutexTable {
    /// Moves an entry to the bucket of `key`.
    fn rehome(&self, mut entry: Entry, key: FutexKey, kind: Kind, to: &mut Vec<Entry>) {
        let home = self.home(&key);
        entry.key = key;
        entry.kind = kind;
        if let Some(slot) = entry.waiter.homes.get(entry.index) {
            slot.store(home, Ordering::Release);
        }
        self.bucket(home).push(to, entry);
    }

    /// Wakes and moves plain waiters, with both buckets locked. Returns those to rouse, and how many were woken and moved.
    pub(super) fn wake_and_move(
        &self,
        two: &mut TwoBuckets<'_>,
        keys: (FutexKey, FutexKey),
        limits: (u32, u32),
    ) -> (Vec<Entry>, Result<(u32, u32), Errno>) {
        let (mut woken, mut moved, mut owned) = (0, 0, false);
        let taken = self.bucket(self.home(&keys.0)).extract(&mut two.first, |entry| {
            if owned || entry.key != keys.0 || (woken >= limits.0 && moved >= limits.1) {
                return false;
            }
            owned = entry.kind != Kind::Plain;
            if owned {
                return false;
            }
            if woken < limits.0 {
                woken += u32::from(entry.wake());
            } else {
                moved += 1;
            }
            true
        });
        let mut roused = Vec::new();
        for entry in taken {
            if entry.waiter.outcome().is_some() {
                roused.push(entry);
            } else {
                self.rehome(entry, keys.1, Kind::Plain, two.second());
            }
        }
        (roused, if owned { Err(Errno::EINVAL) } else { Ok((woken, moved)) })
    }
}

impl CurrentTask {
    /// Wakes and moves those that the kernel knows nothing of: see [`platform::AddressSpace::move_waiters`]. They have come
    /// first. Returns how many were woken and moved.
    fn move_in_platform(&self, args: &Requeue, (wake, requeue): (u32, u32)) -> (u32, u32) {
        match self.mm.address_space() {
            Ok(space) if !args.from.1 && !args.to.1 && (wake > 0 || requeue > 0) => {
                let both = space.move_waiters(args.from.0, args.to.0, wake, requeue);
                (both.min(wake), both.saturating_sub(wake))
            }
            _ => (0, 0),
        }
    }

    /// `FUTEX_REQUEUE` and, with an expected value, `FUTEX_CMP_REQUEUE`. Returns how many were woken or moved.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT`, `EAGAIN` if the word holds something else.
    pub fn futex_requeue(&self, args: &Requeue) -> Result<u32, Errno> {
        let limit = |n: i32| u32::try_from(n).map_err(|_| Errno::EINVAL);
        let limits = (limit(args.wake)?, limit(args.requeue)?);
        let keys = (self.futex_key(args.from.0, args.from.1)?, self.futex_key(args.to.0, args.to.1)?);
        let check = || match args.expected {
            Some(expected) if self.mm.load_u32(args.from.0)? != expected => Err(Errno::EAGAIN),
            _ => Ok(()),
        };
        check()?;
        let (woken, moved) = self.move_in_platform(args, limits);
        let limits = (limits.0.saturating_sub(woken), limits.1.saturating_sub(moved));
        let table = &self.kernel.futexes;
        let mut two = table.lock_two(table.home(&keys.0), table.home(&keys.1));
        // The word may have changed since.
        if let Err(errno) = check() {
            return if woken + moved > 0 { Ok(woken + moved) } else { Err(errno) };
        }
        let (roused, result) = table.wake_and_move(&mut two, keys, limits);
        drop(two);
        rouse(&roused);
        let known = result?;
        Ok(woken + moved + known.0 + known.1)
    }

    /// `FUTEX_WAKE_OP`: changes the second word, wakes waiters of the first, and of the second if its old value says so.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT`, `ENOSYS` for an unknown operation.
    pub fn futex_wake_op(
        &self,
        first: (u64, bool),
        second: (u64, bool),
        counts: (u32, u32),
        op: WakeOp,
    ) -> Result<u32, Errno> {
        let keys = (self.futex_key(first.0, first.1)?, self.futex_key(second.0, second.1)?);
        op.apply(0)?;
        let table = &self.kernel.futexes;
        let homes = (table.home(&keys.0), table.home(&keys.1));
        let mut two = table.lock_two(homes.0, homes.1);
        let old = self.mm.update_u32(second.0, |old| op.apply(old).unwrap_or(old))?;
        let both = op.compare(old)?;
        let (mut woken, of_first) =
            table.take_woken(table.bucket(homes.0), &mut two.first, &keys.0, counts.0, u32::MAX);
        let mut of_second = Ok(0);
        if both && of_first.is_ok() {
            let (more, done) = table.take_woken(table.bucket(homes.1), two.second(), &keys.1, counts.1, u32::MAX);
            woken.extend(more);
            of_second = done;
        }
        drop(two);
        rouse(&woken);
        let mut done = of_first?;
        done += self.wake_in_platform(first.0, first.1, counts.0.saturating_sub(done), u32::MAX);
        if both {
            let known = of_second?;
            done += known + self.wake_in_platform(second.0, second.1, counts.1.saturating_sub(known), u32::MAX);
        }
        Ok(done)
    }

    /// `FUTEX_CMP_REQUEUE_PI`: hands the second futex to the first waiter if it is free, and makes the others wait for it.
    ///
    /// # Errors
    /// `EINVAL` if the futexes don't fit each other, `EAGAIN`, `EFAULT`, `EDEADLK`, `ESRCH`.
    pub fn futex_requeue_pi(&self, args: &Requeue) -> Result<u32, Errno> {
        let requeue = u32::try_from(args.requeue).map_err(|_| Errno::EINVAL)?;
        if args.wake != 1 || args.from.0 == args.to.0 {
            return Err(Errno::EINVAL);
        }
        let keys = (self.futex_key(args.from.0, args.from.1)?, self.futex_key(args.to.0, args.to.1)?);
        if keys.0 == keys.1 {
            return Err(Errno::EINVAL);
        }
        let table = &self.kernel.futexes;
        let homes = (table.home(&keys.0), table.home(&keys.1));
        loop {
            if self.work.get() & crate::work::bits::EXIT != 0 {
                return Err(Errno::EAGAIN);
            }
            let owner = self.futex_owner(args.to.0)?;
            let mut two = table.lock_two(homes.0, homes.1);
            if let Some(expected) = args.expected
                && self.mm.load_u32(args.from.0)? != expected
            {
                return Err(Errno::EAGAIN);
            }
            let fits = |e: &Entry| e.kind == Kind::RequeuePi { target: keys.1 };
            let mut of_first = two.first.iter().filter(|e| e.key == keys.0).take(requeue.saturating_add(1) as usize);
            if !of_first.all(fits) {
                return Err(Errno::EINVAL);
            }
            let waiting = two.first.iter().filter(|e| e.key == keys.0).count();
            let Some(first) = two.first.iter().find(|e| e.key == keys.0) else { return Ok(0) };
            let heir = first.waiter.tid;
            let Some(taken) = self.take_or_mark(args.to.0, heir, owner.as_deref(), waiting > 1)? else {
                drop(two);
                continue;
            };
            let mut done = 0;
            let limit = requeue.saturating_add(u32::from(taken));
            let moved = table.bucket(homes.0).extract(&mut two.first, |e| {
                let take = e.key == keys.0 && done < limit;
                done += u32::from(take);
                take
            });
            let owner = if taken { heir } else { owner.map_or(0, |o| o.tid()) };
            let mut roused = Vec::new();
            for (at, entry) in moved.into_iter().enumerate() {
                entry.waiter.requeued.store(true, Ordering::Release);
                if taken && at == 0 {
                    entry.waiter.decide(super::OWNER);
                    roused.push(entry);
                } else {
                    table.blocked.lock().insert(entry.waiter.tid, super::Blocked { owner, key: keys.1 });
                    table.rehome(entry, keys.1, Kind::Pi, two.second());
                }
            }
            drop(two);
            rouse(&roused);
            return Ok(done);
        }
    }
}
