//! File locks.

use super::*;
use crate::locks::{FileLocks, LockKind, LockOwner, LockWait, RecordLock};

fn lock(process: u64, kind: LockKind, start: u64, end: u64) -> RecordLock {
    RecordLock { owner: LockOwner::Process(process), pid: process as i32, kind, start, end }
}

#[test]
fn record_locks_split_and_join() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.touch("/f").unwrap();
    let locks = FileLocks::of(sh.place("/f").inode()).unwrap();
    locks.set(lock(1, LockKind::Write, 0, 99)).unwrap();
    assert_eq!(locks.set(lock(2, LockKind::Read, 50, 50)), Err(IoError::WouldBlock));
    locks.unset(&lock(1, LockKind::Read, 40, 59)).unwrap();
    locks.set(lock(2, LockKind::Read, 50, 50)).unwrap();
    assert_eq!(locks.conflict(&lock(2, LockKind::Read, 0, 200)).map(|l| (l.start, l.end)), Some((0, 39)));
    assert_eq!(locks.conflict(&lock(1, LockKind::Write, 0, 200)).map(|l| l.start), Some(50));
    locks.set(lock(1, LockKind::Write, 100, 120)).unwrap();
    assert!(locks.list().0.iter().any(|l| (l.start, l.end) == (60, 120)));
    locks::release_process(sh.place("/f").inode(), 1);
    locks.set(lock(2, LockKind::Write, 0, u64::MAX >> 1)).unwrap();
}

#[test]
fn a_circle_of_waiters_is_refused() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.touch("/f").unwrap();
    let locks = FileLocks::of(sh.place("/f").inode()).unwrap();
    locks.set(lock(1, LockKind::Write, 0, 0)).unwrap();
    locks.set(lock(2, LockKind::Write, 1, 1)).unwrap();
    let first = LockWait::new(locks.clone(), lock(1, LockKind::Write, 1, 1));
    assert_eq!(first.attempt(), Err(IoError::WouldBlock));
    let second = LockWait::new(locks.clone(), lock(2, LockKind::Write, 0, 0));
    assert_eq!(second.attempt(), Err(Errno::EDEADLK.into()));
    drop(first);
    assert_eq!(second.attempt(), Err(IoError::WouldBlock));
}

#[test]
fn whole_file_locks_belong_to_descriptions() {
    let world = World::new();
    let sh = Shell::root(&world);
    sh.touch("/f").unwrap();
    let (a, b) = (sh.open("/f", OpenFlags::empty(), 0).unwrap(), sh.open("/f", OpenFlags::empty(), 0).unwrap());
    let locks = FileLocks::of(a.path().inode()).unwrap();
    locks.flock(a.id(), Some(LockKind::Read)).unwrap();
    locks.flock(b.id(), Some(LockKind::Read)).unwrap();
    assert_eq!(locks.flock(a.id(), Some(LockKind::Write)), Err(IoError::WouldBlock));
    locks.flock(b.id(), Some(LockKind::Write)).unwrap();
    assert_eq!(locks.flock(a.id(), Some(LockKind::Read)), Err(IoError::WouldBlock));
    drop(b);
    locks.flock(a.id(), Some(LockKind::Write)).unwrap();
}
