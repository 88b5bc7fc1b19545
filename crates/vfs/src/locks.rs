//! File locks: POSIX and open-file-description record locks (fcntl(2)) and flock(2).
//!
//! The locks of an inode live in [`crate::InodeCommon`]. Setting one never blocks: it answers
//! [`IoError::WouldBlock`], and the inode's queue is notified whenever a lock goes. Locks are of the last rank; the queue
//! is notified after their release.

use crate::wait::{Events, WaitQueue};
use crate::{Inode, IoError};
use abi::Errno;
use lock::{Mutex, rank};
use std::sync::Arc;

/// Record locks kept for one inode at most.
const MAX_LOCKS: usize = 65536;

/// Whose a record lock is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LockOwner {
    /// A process (`F_SETLK`), by the id of its descriptor table.
    Process(u64),
    /// An open file description (`F_OFD_SETLK`), by its id.
    Description(u64),
}

/// Shared or exclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum LockKind {
    Read,
    Write,
}

/// A lock on bytes `start` to `end`, both included; `u64::MAX >> 1` as end means to infinity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct RecordLock {
    pub owner: LockOwner,
    /// The process for `F_GETLK`; -1 for descriptions.
    pub pid: i32,
    pub kind: LockKind,
    pub start: u64,
    pub end: u64,
}

impl RecordLock {
    fn overlaps(&self, other: &RecordLock) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    fn conflicts(&self, other: &RecordLock) -> bool {
        self.owner != other.owner
            && self.overlaps(other)
            && (self.kind == LockKind::Write || other.kind == LockKind::Write)
    }
}

/// The locks of an inode.
pub struct FileLocks {
    records: Mutex<Vec<RecordLock>>,
    /// Whole-file locks, by the id of the description.
    whole: Mutex<Vec<(u64, LockKind)>>,
    queue: WaitQueue,
}

impl FileLocks {
    /// Those of `inode`, made on first use.
    ///
    /// # Errors
    /// `ENOLCK`.
    pub fn of(inode: &Arc<dyn Inode>) -> Result<Arc<FileLocks>, Errno> {
        let make = || {
            Arc::new(FileLocks {
                records: Mutex::new(rank::LEAF, Vec::new()),
                whole: Mutex::new(rank::LEAF, Vec::new()),
                queue: WaitQueue::new(),
            })
        };
        inode.common().locks(make).ok_or(Errno::ENOLCK)
    }

    /// Told (`OUT`) when a lock goes.
    #[must_use]
    pub fn wait_queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// `F_GETLK`: a lock that keeps `wanted` from being set.
    #[must_use]
    pub fn conflict(&self, wanted: &RecordLock) -> Option<RecordLock> {
        self.records.lock().iter().filter(|l| l.conflicts(wanted)).min_by_key(|l| l.start).copied()
    }

    /// `F_SETLK` of a lock. Tells whose lock is in the way.
    fn try_set(&self, wanted: RecordLock) -> Result<(), (IoError, Option<LockOwner>)> {
        {
            let mut records = self.records.lock();
            if let Some(other) = records.iter().find(|l| l.conflicts(&wanted)) {
                return Err((IoError::WouldBlock, Some(other.owner)));
            }
            if records.len() >= MAX_LOCKS {
                return Err((Errno::ENOLCK.into(), None));
            }
            let mut wanted = wanted;
            cut(&mut records, &wanted);
            records.retain(|l| {
                let touches = l.start <= wanted.end.saturating_add(1) && wanted.start <= l.end.saturating_add(1);
                let joined = l.owner == wanted.owner && l.kind == wanted.kind && touches;
                if joined {
                    wanted.start = wanted.start.min(l.start);
                    wanted.end = wanted.end.max(l.end);
                }
                !joined
            });
            records.push(wanted);
        }
        // A write lock may have become a read lock.
        self.queue.notify(Events::WRITABLE);
        Ok(())
    }

    /// `F_SETLK`.
    ///
    /// # Errors
    /// `WouldBlock` if another lock is in the way, `ENOLCK` if there are too many.
    pub fn set(&self, wanted: RecordLock) -> Result<(), IoError> {
        self.try_set(wanted).map_err(|(error, _)| error)
    }

    /// `F_UNLCK` of a range; the kind of `range` does not matter.
    ///
    /// # Errors
    /// `ENOLCK` if a lock would have to be split and there are too many.
    pub fn unset(&self, range: &RecordLock) -> Result<(), Errno> {
        {
            let mut records = self.records.lock();
            if records.len() >= MAX_LOCKS {
                return Err(Errno::ENOLCK);
            }
            cut(&mut records, range);
        }
        self.queue.notify(Events::WRITABLE);
        Ok(())
    }

    /// Lets go of all record locks of an owner.
    pub fn release(&self, owner: LockOwner) {
        {
            let mut records = self.records.lock();
            let before = records.len();
            records.retain(|l| l.owner != owner);
            if records.len() == before {
                return;
            }
        }
        self.queue.notify(Events::WRITABLE);
    }

    /// flock(2) for the description `id`; `None` unlocks. As in Linux, a lock that can't be converted is lost.
    ///
    /// # Errors
    /// `WouldBlock`.
    pub fn flock(&self, id: u64, kind: Option<LockKind>) -> Result<(), IoError> {
        let (result, freed) = {
            let mut whole = self.whole.lock();
            let had = whole.iter().position(|(owner, _)| *owner == id);
            if let (Some(at), Some(kind)) = (had, kind)
                && whole.get(at).is_some_and(|(_, k)| *k == kind)
            {
                return Ok(());
            }
            if let Some(at) = had {
                whole.swap_remove(at);
            }
            let result = match kind {
                None => Ok(()),
                Some(kind) if whole.iter().any(|(_, k)| kind == LockKind::Write || *k == LockKind::Write) => {
                    Err(IoError::WouldBlock)
                }
                Some(kind) => {
                    whole.push((id, kind));
                    Ok(())
                }
            };
            (result, had.is_some())
        };
        if freed {
            self.queue.notify(Events::WRITABLE);
        }
        result
    }

    /// All locks, for /proc/locks: record locks, then whole-file locks.
    #[must_use]
    pub fn list(&self) -> (Vec<RecordLock>, Vec<(u64, LockKind)>) {
        let records = self.records.lock().clone();
        (records, self.whole.lock().clone())
    }
}

/// Removes the range of `hole` from its owner's locks.
fn cut(records: &mut Vec<RecordLock>, hole: &RecordLock) {
    let mut rest = Vec::new();
    records.retain(|l| {
        if l.owner != hole.owner || !l.overlaps(hole) {
            return true;
        }
        if l.start < hole.start {
            rest.push(RecordLock { end: hole.start - 1, ..*l });
        }
        if l.end > hole.end {
            rest.push(RecordLock { start: hole.end + 1, ..*l });
        }
        false
    });
    records.append(&mut rest);
}

/// Who waits for whom, among processes. Descriptions take no part: they may be shared.
static WAITING: Mutex<Vec<(u64, LockOwner, LockOwner)>> = Mutex::new(rank::LEAF, Vec::new());
/// As far as a chain of waiters is followed.
const MAX_CHAIN: usize = 64;

/// `F_SETLKW` under way. Dropped when the wait ends, however that may be.
pub struct LockWait {
    locks: Arc<FileLocks>,
    wanted: RecordLock,
    id: u64,
}

static NEXT_WAIT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

impl LockWait {
    /// A wait for `wanted`.
    #[must_use]
    pub fn new(locks: Arc<FileLocks>, wanted: RecordLock) -> LockWait {
        let id = NEXT_WAIT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        LockWait { locks, wanted, id }
    }

    /// The queue to wait on.
    #[must_use]
    pub fn wait_queue(&self) -> &WaitQueue {
        self.locks.wait_queue()
    }

    /// Tries, registration on the queue being done.
    ///
    /// # Errors
    /// `WouldBlock`; `EDEADLK` if the one in the way waits for the caller.
    pub fn attempt(&self) -> Result<(), IoError> {
        let (error, blocker) = match self.locks.try_set(self.wanted) {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        let (Some(blocker), LockOwner::Process(_)) = (blocker, self.wanted.owner) else { return Err(error) };
        let mut waiting = WAITING.lock();
        waiting.retain(|(id, ..)| *id != self.id);
        let mut at = blocker;
        for _ in 0..MAX_CHAIN {
            if at == self.wanted.owner {
                return Err(Errno::EDEADLK.into());
            }
            let next = waiting.iter().find(|(_, waiter, _)| *waiter == at);
            let Some((_, _, further)) = next else { break };
            at = *further;
        }
        waiting.push((self.id, self.wanted.owner, blocker));
        Err(error)
    }
}

impl Drop for LockWait {
    fn drop(&mut self) {
        WAITING.lock().retain(|(id, ..)| *id != self.id);
    }
}

/// A process closed a descriptor of `inode`: its record locks go.
pub fn release_process(inode: &Arc<dyn Inode>, table: u64) {
    if let Some(locks) = inode.common().peek_locks::<FileLocks>() {
        locks.release(LockOwner::Process(table));
    }
}

/// A description is gone: its record locks and its whole-file lock go.
pub(crate) fn release_description(inode: &Arc<dyn Inode>, id: u64) {
    if let Some(locks) = inode.common().peek_locks::<FileLocks>() {
        locks.release(LockOwner::Description(id));
        // Unlocking never blocks.
        let _ = locks.flock(id, None);
    }
}
