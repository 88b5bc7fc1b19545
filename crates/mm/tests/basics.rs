//! The memory manager against the scripted platform: what guests and the Sentry see after single calls.

mod support;

use abi::Errno;
use abi::raw::general as raw;
use host::io::{Sink, Source};
use platform::Access;
use support::*;
use vizor_mm::{FaultError, FutexKey, UserSink, UserSource};

#[test]
fn untouched_mappings_cost_nothing() {
    let world = World::new();
    let at = world.anon(1 << 30);
    world.mm.munmap(at, 1 << 30).unwrap();
    assert!(world.space.take_log().is_empty());
    assert_eq!(world.frames.usage().used, 0);
}

#[test]
fn faults_map_runs_and_read_zero() {
    let world = World::new();
    let at = world.anon(1 << 20);
    assert_eq!(world.guest_read(at + 5), Ok(0));
    assert_eq!(world.guest_write(at + 5, 7), Ok(()));
    assert_eq!(world.guest_read(at + 5), Ok(7));
    assert_eq!(world.space.take_log().len(), 1);
    assert!(world.space.mapped_pages() >= 8);
    let mut byte = [0];
    world.mm.copy_in(at + 5, &mut byte).unwrap();
    assert_eq!(byte, [7]);
    world.mm.munmap(at, 1 << 20).unwrap();
    assert_eq!(world.guest_read(at + 5), Err(FaultError::UNMAPPED));
    assert_eq!(world.frames.usage().used, 0);
}

#[test]
fn protections_hold_for_guest_and_sentry() {
    let world = World::new();
    let at = world.anon(4 * PAGE);
    world.guest_write(at, 1).unwrap();
    world.mm.mprotect(at, PAGE, raw::PROT_READ).unwrap();
    assert_eq!(world.guest_write(at, 2), Err(FaultError::ACCESS));
    assert!(world.mm.copy_out(at, b"x").is_err());
    assert_eq!(world.guest_read(at), Ok(1));
    world.mm.mprotect(at, PAGE, raw::PROT_NONE).unwrap();
    assert_eq!(world.guest_read(at), Err(FaultError::ACCESS));
    assert!(world.mm.copy_in(at, &mut [0]).is_err());
    world.mm.mprotect(at, PAGE, raw::PROT_WRITE).unwrap();
    assert_eq!(world.guest_read(at), Ok(1));
    assert_eq!(world.guest_write(at, 3), Ok(()));
    assert_eq!(world.mm.mprotect(at, 8 * PAGE, raw::PROT_READ), Err(Errno::ENOMEM));
    assert_eq!(world.mm.mprotect(at + 1, PAGE, raw::PROT_READ), Err(Errno::EINVAL));
    assert_eq!(world.mm.mprotect(at, PAGE, 0x40), Err(Errno::EINVAL));
}

#[test]
fn copies_stop_at_holes() {
    let world = World::new();
    let at = world.anon(3 * PAGE);
    world.mm.munmap(at + PAGE, PAGE).unwrap();
    let bytes = vec![5; 2 * PAGE as usize];
    assert_eq!(world.mm.copy_out(at + 96, &bytes).unwrap_err().done, PAGE as usize - 96);
    assert_eq!(world.mm.zero(u64::MAX - 2, 8).unwrap_err().done, 0);
    world.mm.copy_out(at + PAGE - 4, b"abc\0").unwrap();
    assert_eq!(world.mm.copy_in_cstr(at + PAGE - 4, 100).unwrap(), b"abc");
    world.mm.copy_out(at + PAGE - 4, b"abcd").unwrap();
    assert_eq!(world.mm.copy_in_cstr(at + PAGE - 4, 100), Err(Errno::EFAULT));
    assert_eq!(world.mm.copy_in_cstr(at + PAGE - 4, 4), Err(Errno::ENAMETOOLONG));

    let mut sink = UserSink::new(&world.mm, at + PAGE - 10, 20).unwrap();
    assert_eq!(sink.put(b"0123456789abcdef"), Ok(10));
    assert_eq!(sink.put(b"x"), Err(Errno::EFAULT));
    let mut sink = UserSink::new(&world.mm, at + PAGE - 10, 20).unwrap();
    let filled = sink.fill_with(20, &mut |ranges| {
        assert_eq!(ranges.iter().map(|r| r.len()).sum::<usize>(), 10);
        Ok(ranges[0].write(b"wxyz").map(|()| 4)?)
    });
    assert_eq!((filled, sink.remaining()), (Ok(4), 16));
    let mut source = UserSource::new(&world.mm, at + PAGE - 10, 5).unwrap();
    let mut back = [0; 8];
    assert_eq!((source.take(&mut back), &back[..5]), (Ok(5), &b"wxyz4"[..]));
    assert_eq!(source.take(&mut back), Ok(0));
}

#[test]
fn vectors_are_imported_and_used_across() {
    let world = World::new();
    let at = world.anon(8 * PAGE);
    world.mm.write_obj(at, &[at + 4 * PAGE, 3, at + 6 * PAGE, 4]).unwrap();
    let ranges = world.mm.import_iovec(at, 2).unwrap();
    let mut sink = UserSink::from_ranges(&world.mm, ranges.clone());
    assert_eq!((sink.put(b"ab"), sink.put(b"cdefgh"), sink.remaining()), (Ok(2), Ok(5), 0));
    let mut source = UserSource::from_ranges(&world.mm, ranges);
    let mut seen = Vec::new();
    let all = source.drain_with(100, &mut |ranges| {
        for range in ranges {
            let mut bytes = vec![0; range.len()];
            range.read(&mut bytes)?;
            seen.extend(bytes);
        }
        Ok(seen.len())
    });
    assert_eq!((all, &seen[..]), (Ok(7), &b"abcdefg"[..]));
    world.mm.write_obj(at, &[0_u64, u64::MAX]).unwrap();
    assert_eq!(world.mm.import_iovec(at, 1), Err(Errno::EINVAL));
    assert_eq!(world.mm.import_iovec(at, 1025), Err(Errno::EINVAL));
    world.mm.write_obj(at, &[u64::MAX - 10, 5]).unwrap();
    assert_eq!(world.mm.import_iovec(at, 1), Err(Errno::EFAULT));
}

#[test]
fn forks_copy_on_write_both_ways() {
    let world = World::new();
    let at = world.anon(1 << 20);
    let shared = world.map(1 << 20, raw::MAP_SHARED | raw::MAP_ANONYMOUS);
    world.guest_write(at, 1).unwrap();
    world.guest_write(shared, 1).unwrap();
    let child = world.fork(true);
    child.guest_write(at, 2).unwrap();
    child.guest_write(shared, 2).unwrap();
    assert_eq!((world.guest_read(at), child.guest_read(at)), (Ok(1), Ok(2)));
    assert_eq!(world.guest_read(shared), Ok(2));
    world.guest_write(at + PAGE, 3).unwrap();
    assert_eq!(child.guest_read(at + PAGE), Ok(0));
    world.mm.copy_out(at + 60 * PAGE, b"k").unwrap();
    assert_eq!(child.guest_read(at + 60 * PAGE), Ok(0));
    assert_ne!(world.mm.futex_key(shared, true), child.mm.futex_key(shared, true));
    assert_eq!(world.mm.futex_key(shared, false), child.mm.futex_key(shared, false));
    assert!(matches!(world.mm.futex_key(at, false), Ok(FutexKey::Private { .. })));
    drop(child);
    // The sole owner takes its pages over without copying.
    let used = world.frames.usage().used;
    world.guest_write(at + 2 * PAGE, 9).unwrap();
    assert_eq!(world.frames.usage().used, used);
    world.mm.munmap(at, 1 << 20).unwrap();
    world.mm.munmap(shared, 1 << 20).unwrap();
    assert_eq!(world.frames.usage().used, 0);
}

#[test]
fn forks_begin_with_what_earlier_ones_needed() {
    let world = World::new();
    let [read, written, other] = [16 << 20, 32 << 20, 48 << 20].map(|at| world.map_at(at, 4 * PAGE));
    [read, written, other].iter().for_each(|at| world.guest_write(*at, 1).unwrap());
    let seen = |child: &World| [read, written, other].map(|at| child.space.access_at(at));
    let (r, rw) = (Access { read: true, ..Access::default() }, Access { read: true, write: true, execute: false });
    // The first forks get all, with their own copies; the next what it asks for.
    let first = [(); 4].map(|()| world.fork(true));
    for child in &first {
        child.guest_read(other).unwrap();
        assert_eq!(seen(child), [Some(rw); 3]);
    }
    let next = world.fork(true);
    next.guest_read(read).unwrap();
    assert_eq!(seen(&next), [Some(r), None, None]);
    next.guest_write(written, 2).unwrap();
    // The one after that is ready for the same.
    let last = world.fork(true);
    last.guest_read(read).unwrap();
    assert_eq!(seen(&last), [Some(r), Some(rw), None]);
    last.guest_write(written, 3).unwrap();
    let bytes = [&world, &first[0], &next, &last].map(|world| world.guest_read(written).unwrap());
    assert_eq!(bytes, [1, 1, 2, 3]);
    assert_eq!(last.guest_read(other), Ok(1));
}

#[test]
fn an_address_space_changes_hands_empty() {
    let world = World::new();
    let at = world.anon(64 << 10);
    world.guest_write(at, 1).unwrap();
    let watched = world.mm.clone();
    assert!(watched.move_out().is_none());
    let World { frames, space, mm } = world;
    let moved = mm.move_out().unwrap();
    assert_eq!((space.mapped_pages(), frames.usage().used), (0, 0));
    drop(moved);
}

#[test]
fn a_fork_does_not_share_what_a_host_call_writes_to() {
    for alone in [false, true] {
        let world = World::new();
        let at = world.anon(64 * PAGE);
        world.guest_write(at + 5 * PAGE, 1).unwrap();
        world.guest_write(at + 6 * PAGE, 1).unwrap();
        let mut sink = UserSink::new(&world.mm, at + 5 * PAGE + 8, 2 * PAGE).unwrap();
        let mut child = None;
        let moved = sink.fill_with(2 * PAGE as usize, &mut |ranges| {
            let forked = world.fork(alone);
            // Each would get the page's copy, and the other keep its frame.
            world.guest_write(at + 5 * PAGE, 2).unwrap();
            forked.guest_write(at + 6 * PAGE, 3).unwrap();
            child = Some(forked);
            let mut done = 0;
            for range in ranges {
                range.write(&vec![7; range.len()]).unwrap();
                done += range.len();
            }
            Ok(done)
        });
        assert_eq!(moved, Ok(2 * PAGE as usize));
        let child = child.unwrap();
        let seen = |world: &World| [0, 8, PAGE, PAGE + 8].map(|by| world.guest_read(at + 5 * PAGE + by).unwrap());
        assert_eq!(seen(&world), [2, 7, 7, 7], "alone: {alone}");
        assert_eq!(seen(&child), [1, 0, 3, 0], "alone: {alone}");
        // Nothing is left lent.
        world.guest_write(at + 20 * PAGE, 1).unwrap();
        drop(child);
        let child = world.fork(false);
        let used = world.frames.usage().used;
        drop(child);
        assert_eq!(world.frames.usage().used, used);
    }
}

#[test]
fn a_large_fork_is_cheap() {
    let world = World::new();
    let at = world.anon(1 << 30);
    world.mm.madvise(at, 1 << 30, raw::MADV_POPULATE_WRITE).unwrap();
    world.guest_write(at, 1).unwrap();
    let space = world.space.clone();
    space.take_log();
    let used = world.frames.usage().used;
    let child = world.fork(true);
    assert!(world.space.take_log().len() <= 1);
    assert!(child.space.take_log().is_empty());
    assert_eq!(world.frames.usage().used, used);
    drop(child);
}

#[test]
fn stacks_grow_to_their_limit() {
    let world = World::new();
    let top = world.mm.map_stack(false).unwrap();
    assert_eq!(world.guest_write(top - 8, 1), Ok(()));
    assert_eq!(world.guest_write(top - (1 << 20), 1), Ok(()));
    assert_eq!(world.guest_write(top - (8 << 20), 1), Ok(()));
    assert_eq!(world.guest_write(top - (8 << 20) - 1, 1), Err(FaultError::UNMAPPED));
    assert!(world.mm.sizes().totals.stack == 8 << 20);
}

#[test]
fn the_heap_moves_within_limits() {
    let world = World::new();
    world.mm.set_brk(0x5555_0000_0000);
    assert_eq!(world.mm.brk(0), 0x5555_0000_0000);
    assert_eq!(world.mm.brk(0x5555_0000_1234), 0x5555_0000_1234);
    world.guest_write(0x5555_0000_1fff, 1).unwrap();
    assert_eq!(world.guest_write(0x5555_0000_2000, 1), Err(FaultError::UNMAPPED));
    assert_eq!(world.mm.brk(0x5555_0000_0800), 0x5555_0000_0800);
    assert_eq!(world.guest_write(0x5555_0000_1000, 1), Err(FaultError::UNMAPPED));
    world.mm.set_limits(vizor_mm::Limits { data: 1 << 20, ..vizor_mm::Limits::default() });
    assert_eq!(world.mm.brk(0x5555_1000_0000), 0x5555_0000_0800);
    assert_eq!(world.mm.mappings()[0].special, Some("[heap]"));
}

#[test]
fn mremap_moves_pages() {
    let world = World::new();
    let at = world.anon(4 * PAGE);
    let wall = world.map_at(at + 4 * PAGE, PAGE);
    world.guest_write(at + PAGE, 4).unwrap();
    assert_eq!(world.mm.mremap(at, 4 * PAGE, 8 * PAGE, 0, 0), Err(Errno::ENOMEM));
    let to = world.mm.mremap(at, 4 * PAGE, 8 * PAGE, raw::MREMAP_MAYMOVE, 0).unwrap();
    assert_ne!(to, at);
    assert_eq!(world.guest_read(to + PAGE), Ok(4));
    assert_eq!(world.guest_read(at + PAGE), Err(FaultError::UNMAPPED));
    let flags = raw::MREMAP_MAYMOVE | raw::MREMAP_FIXED;
    assert_eq!(world.mm.mremap(to, 8 * PAGE, 2 * PAGE, flags, wall), Ok(wall));
    assert_eq!(world.guest_read(wall + PAGE), Ok(4));
    assert_eq!(world.mm.mremap(wall, 2 * PAGE, PAGE, flags, wall + PAGE), Err(Errno::EINVAL));
    assert_eq!(world.mm.mremap(wall, 2 * PAGE, 0, 0, 0), Err(Errno::EINVAL));
    assert_eq!(world.mm.mremap(wall, 3 * PAGE, 4 * PAGE, 0, 0), Err(Errno::EFAULT));
    let flags = raw::MREMAP_MAYMOVE | raw::MREMAP_DONTUNMAP;
    let left = world.mm.mremap(wall, 2 * PAGE, 2 * PAGE, flags, 0).unwrap();
    assert_eq!((world.guest_read(left + PAGE), world.guest_read(wall + PAGE)), (Ok(4), Ok(0)));
}

#[test]
fn mmap_checks_in_linuxs_order() {
    let world = World::new();
    let anon = raw::MAP_PRIVATE | raw::MAP_ANONYMOUS;
    let call = |addr, len, prot, flags| world.mmap(addr, len, prot, flags);
    assert_eq!(call(0, 0, 3, anon), Err(Errno::EINVAL));
    assert_eq!(call(0, u64::MAX, 3, anon), Err(Errno::ENOMEM));
    assert_eq!(call(0, 1 << 47, 3, anon), Err(Errno::ENOMEM));
    assert_eq!(call(0, PAGE, 3, raw::MAP_ANONYMOUS), Err(Errno::EINVAL));
    assert_eq!(call(0x10_0001, PAGE, 3, anon | raw::MAP_FIXED), Err(Errno::EINVAL));
    assert_eq!(call(0, PAGE, 3, anon | raw::MAP_FIXED), Err(Errno::EPERM));
    let at = call(0x10_0000, PAGE, 3, anon).unwrap();
    assert_eq!(at, 0x10_0000);
    assert_ne!(call(0x10_0000, PAGE, 3, anon).unwrap(), at);
    assert_eq!(call(0x10_0000, PAGE, 3, anon | raw::MAP_FIXED_NOREPLACE), Err(Errno::EEXIST));
    let low = call(0, PAGE, 3, anon | raw::MAP_32BIT).unwrap();
    assert!(low < 1 << 31);
    let none = raw::PROT_NONE;
    assert!(call(0, 1 << 40, none, anon).is_ok());
    world.mm.set_limits(vizor_mm::Limits { address_space: 0, ..vizor_mm::Limits::default() });
    assert_eq!(call(0, PAGE, 3, anon), Err(Errno::ENOMEM));
}

#[test]
fn neighbours_merge_and_are_listed() {
    let world = World::new();
    let at = world.anon(4 * PAGE);
    world.mm.mprotect(at + PAGE, PAGE, raw::PROT_READ).unwrap();
    assert_eq!(world.mm.mappings().len(), 3);
    world.mm.mprotect(at + PAGE, PAGE, raw::PROT_READ | raw::PROT_WRITE).unwrap();
    assert_eq!(world.mm.mappings().len(), 1);
    let next = world.anon(PAGE);
    assert_eq!(next, at - PAGE);
    assert_eq!(world.mm.mappings().len(), 1);
}

#[test]
fn advice_drops_pages_and_reports_holes() {
    let world = World::new();
    let at = world.anon(64 * PAGE);
    world.guest_write(at, 1).unwrap();
    world.mm.madvise(at, PAGE, raw::MADV_DONTNEED).unwrap();
    assert_eq!(world.guest_read(at), Ok(0));
    assert_eq!(world.mm.madvise(at, 65 * PAGE, raw::MADV_DONTNEED), Err(Errno::ENOMEM));
    assert_eq!(world.mm.madvise(at, PAGE, 9999), Err(Errno::EINVAL));
    assert_eq!(world.mm.madvise(at + 1, PAGE, raw::MADV_FREE), Err(Errno::EINVAL));
    let mut pages = [9; 64];
    world.mm.madvise(at, 64 * PAGE, raw::MADV_DONTNEED).unwrap();
    world.guest_write(at + 3 * PAGE, 1).unwrap();
    world.mm.mincore(at, &mut pages).unwrap();
    assert_eq!(pages[3], 1);
    world.guest_write(at, 5).unwrap();
    world.mm.madvise(at, PAGE, raw::MADV_WIPEONFORK).unwrap();
    world.mm.madvise(at + PAGE, PAGE, raw::MADV_DONTFORK).unwrap();
    let child = world.fork(true);
    assert_eq!(child.guest_read(at), Ok(0));
    assert_eq!(child.guest_read(at + PAGE), Err(FaultError::UNMAPPED));
    assert_eq!(child.guest_read(at + 3 * PAGE), Ok(1));
    let shared = world.map(4 * PAGE, raw::MAP_SHARED | raw::MAP_ANONYMOUS);
    world.guest_write(shared, 1).unwrap();
    world.mm.madvise(shared, PAGE, raw::MADV_DONTNEED).unwrap();
    assert_eq!(world.guest_read(shared), Ok(1));
    world.mm.madvise(shared, PAGE, raw::MADV_REMOVE).unwrap();
    assert_eq!(world.guest_read(shared), Ok(0));
    assert_eq!(world.mm.madvise(at, PAGE, raw::MADV_REMOVE), Err(Errno::EINVAL));
}

#[test]
fn locks_are_accounted() {
    let world = World::new();
    let at = world.anon(32 * PAGE);
    world.mm.set_limits(vizor_mm::Limits { locked: 8 * PAGE, ..vizor_mm::Limits::default() });
    assert_eq!(world.mm.mlock(at, 9 * PAGE, 0), Err(Errno::ENOMEM));
    world.mm.mlock(at, 8 * PAGE, 0).unwrap();
    world.mm.mlock(at, 8 * PAGE, 0).unwrap();
    assert_eq!(world.mm.sizes().totals.locked, 8 * PAGE);
    assert_eq!(world.mm.madvise(at, PAGE, raw::MADV_DONTNEED), Err(Errno::EINVAL));
    assert_eq!(world.mmap(0, PAGE, 3, raw::MAP_PRIVATE | raw::MAP_ANONYMOUS | raw::MAP_LOCKED), Err(Errno::EAGAIN));
    world.mm.munlock(at + 1, PAGE).unwrap();
    assert_eq!(world.mm.sizes().totals.locked, 6 * PAGE);
    assert_eq!(world.mm.mlockall(0), Err(Errno::EINVAL));
    assert_eq!(world.mm.mlockall(raw::MCL_CURRENT), Err(Errno::ENOMEM));
    world.mm.munlockall();
    assert_eq!(world.mm.sizes().totals.locked, 0);
}

#[test]
fn host_files_are_mapped_copied_and_truncated() {
    let world = World::new();
    let file = HostFile::new(&[b'a'; 3 * PAGE as usize - 100]);
    let private = world.map_file(&file, 4 * PAGE, raw::MAP_PRIVATE, 3).unwrap();
    let shared = world.map_file(&file, 4 * PAGE, raw::MAP_SHARED, 3).unwrap();
    assert_eq!(world.guest_read(private), Ok(b'a'));
    assert_eq!(world.mm.read_obj::<u8>(private + 2 * PAGE), Ok(b'a'));
    assert_eq!(world.guest_read(private + 3 * PAGE - 1), Ok(0));
    assert_eq!(world.guest_read(private + 3 * PAGE), Err(FaultError::BEYOND));
    assert!(world.mm.copy_in(private + 3 * PAGE, &mut [0]).is_err());
    world.guest_write(private + 1, b'b').unwrap();
    world.guest_write(shared + 2, b'c').unwrap();
    world.mm.copy_out(shared + 3, b"d").unwrap();
    assert_eq!(file.read(0, 4), b"aacd");
    assert_eq!(world.guest_read(shared + 1), Ok(b'a'));
    assert_eq!(world.mm.read_obj::<[u8; 4]>(private), Ok(*b"abaa"));
    file.truncate(PAGE);
    assert_eq!(world.guest_read(private + PAGE), Err(FaultError::BEYOND));
    assert_eq!(world.guest_read(shared + PAGE), Err(FaultError::BEYOND));
    assert!(world.mm.copy_in(shared + PAGE, &mut [0]).is_err());
    assert_eq!(world.guest_read(shared), Ok(b'a'));
    file.truncate(0);
    assert_eq!(world.guest_read(private), Err(FaultError::BEYOND));
    assert!(file.mapped());
    world.mm.munmap(private, 4 * PAGE).unwrap();
    world.mm.munmap(shared, 4 * PAGE).unwrap();
    assert!(!file.mapped());
    assert_eq!(world.frames.usage().used, 0);
}

#[test]
fn futex_words_are_atomic_operations() {
    let world = World::new();
    let at = world.anon(PAGE);
    assert_eq!(world.mm.compare_exchange_u32(at, 0, 5), Ok(0));
    assert_eq!(world.mm.update_u32(at, |v| v + 1), Ok(5));
    assert_eq!(world.mm.load_u32(at), Ok(6));
    assert_eq!(world.mm.load_u32(at + 2), Err(Errno::EFAULT));
    assert_eq!(world.mm.futex_key(at + 2, true), Err(Errno::EINVAL));
    world.mm.mprotect(at, PAGE, raw::PROT_READ).unwrap();
    assert_eq!(world.mm.update_u32(at, |v| v), Err(Errno::EFAULT));
    assert_eq!(world.mm.load_u32(at), Ok(6));
}

#[test]
fn handed_out_ranges_survive_an_unmap() {
    let world = World::new();
    let at = world.anon(PAGE);
    let mut sink = UserSink::new(&world.mm, at, PAGE).unwrap();
    let filled = sink.fill_with(PAGE as usize, &mut |ranges| {
        world.mm.munmap(at, PAGE).unwrap();
        assert_eq!(world.frames.usage().used, PAGE);
        Ok(ranges[0].write(b"late").map(|()| 4)?)
    });
    assert_eq!(filled, Ok(4));
    assert_eq!(world.frames.usage().used, 0);
}

#[test]
fn a_full_memory_kills_the_guest_and_no_one_else() {
    let world = World::with_limit(1 << 20);
    let at = world.map(8 << 20, raw::MAP_PRIVATE | raw::MAP_ANONYMOUS | raw::MAP_NORESERVE);
    let result = (0..2048).map(|n| world.guest_write(at + n * PAGE, 1)).find(Result::is_err);
    assert_eq!(result, Some(Err(FaultError::NO_MEMORY)));
    assert_eq!(world.frames.usage().used, 1 << 20);
}

#[test]
fn debuggers_write_to_private_copies_of_anything() {
    let world = World::new();
    let file = HostFile::new(&[b'a'; 2 * PAGE as usize]);
    let private = world.map_file(&file, PAGE, raw::MAP_PRIVATE, raw::PROT_READ | raw::PROT_EXEC).unwrap();
    let shared = world.map_file(&file, PAGE, raw::MAP_SHARED, raw::PROT_READ).unwrap();
    let none = world.mmap(0, PAGE, raw::PROT_NONE, raw::MAP_PRIVATE | raw::MAP_ANONYMOUS).unwrap();
    assert_eq!(world.guest_read(private), Ok(b'a'));
    world.mm.copy_out_forced(private, b"\xcc").unwrap();
    assert_eq!(world.guest_read(private), Ok(0xcc));
    assert_eq!(world.guest_write(private, 1), Err(FaultError::ACCESS));
    assert!(world.mm.copy_out_forced(shared, b"x").is_err());
    world.mm.copy_out_forced(none, b"xyz").unwrap();
    let mut bytes = [0; 3];
    world.mm.copy_in_forced(none, &mut bytes).unwrap();
    assert_eq!(&bytes, b"xyz");
    assert_eq!(world.guest_read(none), Err(FaultError::ACCESS));
    assert_eq!(file.read(0, 1), b"a");
}

#[test]
fn the_hosts_limit_on_mappings_is_never_met() {
    let world = World::new();
    let pages = 65_000;
    let at = world.map(pages * PAGE, raw::MAP_PRIVATE | raw::MAP_ANONYMOUS | raw::MAP_NORESERVE);
    world.mm.zero(at, (pages * PAGE) as usize).unwrap();
    for page in (0..pages).step_by(2) {
        world.mm.mprotect(at + page * PAGE, PAGE, raw::PROT_READ).unwrap();
    }
    assert!(world.mm.mappings().len() as u64 >= pages - 1);
    let (mut most, mut emptied) = (0, 0);
    for page in 0..pages {
        assert_eq!(world.guest_read(at + page * PAGE), Ok(0));
        let mapped = world.space.mapped_pages();
        emptied += usize::from(mapped < most);
        most = if mapped < most { mapped } else { most.max(mapped) };
        assert!(mapped < 62_000);
    }
    assert!(emptied > 0);
    assert_eq!(world.guest_write(at + PAGE, 1), Ok(()));
    assert_eq!(world.guest_write(at, 1), Err(FaultError::ACCESS));
}
