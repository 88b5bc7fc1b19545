//! The table without guests: entries are queued by hand.

use super::*;
use platform::Platform;

fn key(addr: u64) -> FutexKey {
    FutexKey::Private { mm: 1, addr }
}

fn queue(table: &FutexTable, key: FutexKey, bitset: u32, kind: Kind) -> Arc<Waiter> {
    let waiter = Waiter::new(Arc::default(), 10, 1);
    let home = table.home(&key);
    waiter.homes[0].store(home, Ordering::Release);
    let bucket = table.bucket(home);
    let entry = Entry { key, bitset, kind, waiter: waiter.clone(), index: 0 };
    bucket.push(&mut bucket.entries.lock(), entry);
    waiter
}

fn table() -> FutexTable {
    FutexTable::new(&platform::script::ScriptedPlatform.futex_waiters())
}

#[test]
fn wakes_in_order_up_to_the_count() {
    let table = table();
    let waiters: Vec<_> = (0..4).map(|_| queue(&table, key(4), u32::MAX, Kind::Plain)).collect();
    queue(&table, key(8), u32::MAX, Kind::Plain);
    assert_eq!(table.wake(&key(4), 3, u32::MAX), Ok(3));
    let woken: Vec<bool> = waiters.iter().map(|w| w.outcome().is_some()).collect();
    assert_eq!(woken, [true, true, true, false]);
    assert_eq!(table.wake(&key(4), u32::MAX, u32::MAX), Ok(1));
    assert_eq!(table.wake(&key(4), u32::MAX, u32::MAX), Ok(0));
    assert_eq!(table.wake(&key(12), 1, u32::MAX), Ok(0));
}

#[test]
fn wakes_by_bits_and_refuses_owners_to_be() {
    let table = table();
    let a = queue(&table, key(4), 1, Kind::Plain);
    let b = queue(&table, key(4), 2, Kind::Plain);
    assert_eq!(table.wake(&key(4), 9, 2), Ok(1));
    assert!(a.outcome().is_none() && b.outcome() == Some(1));
    queue(&table, key(8), u32::MAX, Kind::Pi);
    assert_eq!(table.wake(&key(8), 1, u32::MAX), Err(Errno::EINVAL));
}

#[test]
fn a_moved_waiter_is_found_where_it_is() {
    let table = table();
    let waiters: Vec<_> = (0..3).map(|_| queue(&table, key(4), u32::MAX, Kind::Plain)).collect();
    for to in [0x1000, 0x2000, 0x3000] {
        let (from, to) = (if to == 0x1000 { key(4) } else { key(to - 0x1000) }, key(to));
        let mut two = table.lock_two(table.home(&from), table.home(&to));
        let (woken, moved) = table.wake_and_move(&mut two, (from, to), (0, 9));
        assert!(woken.is_empty());
        assert_eq!(moved, Ok((0, 3)));
    }
    table.unqueue(&waiters[1], 1);
    assert_eq!(table.wake(&key(0x3000), 9, u32::MAX), Ok(2));
    assert!(waiters[1].outcome().is_none());
    assert!(table.buckets.iter().all(|b| b.waiting.load(Ordering::Relaxed) == 0));
}

#[test]
fn circles_of_owners_are_seen() {
    let table = table();
    let mut blocked = table.blocked.lock();
    blocked.insert(1, Blocked { owner: 2, key: key(4) });
    blocked.insert(2, Blocked { owner: 3, key: key(8) });
    drop(blocked);
    assert!(table.deadlocks(3, 1));
    assert!(!table.deadlocks(4, 1));
}

#[test]
fn the_second_word_changes_as_encoded() {
    let op =
        |op: u32, arg: u32, cmp: u32, cmparg: u32| WakeOp(op << 28 | cmp << 24 | (arg & 0xfff) << 12 | cmparg & 0xfff);
    assert_eq!(op(1, 5, 0, 0).apply(12), Ok(17));
    assert_eq!(op(1, -1i32 as u32, 0, 0).apply(12), Ok(11));
    assert_eq!(op(2 | 8, 4, 0, 0).apply(1), Ok(17));
    assert_eq!(op(3, 1, 0, 0).apply(7), Ok(6));
    assert_eq!(op(5, 1, 0, 0).apply(7), Err(Errno::ENOSYS));
    assert_eq!(op(0, 0, 2, -1i32 as u32).compare(-2i32 as u32), Ok(true));
    assert_eq!(op(0, 0, 6, 0).compare(0), Err(Errno::ENOSYS));
}
