//! Threads of one address space that fault, map, fork and copy at the same time.

mod support;

use abi::raw::general as raw;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::*;

/// Bytes that belong to a thread stay what it wrote, whatever the others do around them.
#[test]
fn threads_do_not_disturb_each_other() {
    let world = Arc::new(World::new());
    let file = HostFile::new(&[1; 64 * PAGE as usize]);
    let until = Instant::now() + Duration::from_millis(400);
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (world, file) = (world.clone(), file.clone());
            scope.spawn(move || {
                let mut round = 0_u64;
                while Instant::now() < until {
                    round += 1;
                    let at = world.anon(40 * PAGE);
                    let byte = thread.wrapping_mul(50).wrapping_add(round as u8);
                    for page in 0..40 {
                        world.guest_write(at + page * PAGE, byte).unwrap();
                    }
                    let mapped = world.map_file(&file, 64 * PAGE, raw::MAP_PRIVATE, 3).unwrap();
                    world.mm.copy_out(mapped + 5 * PAGE, &[byte; 100]).unwrap();
                    if round.is_multiple_of(7) {
                        let child = world.fork(false);
                        child.mm.zero(at, 20 * PAGE as usize).unwrap();
                        assert_eq!(child.guest_read(at + 30 * PAGE), Ok(byte));
                    }
                    let mut bytes = vec![0; 40 * PAGE as usize];
                    world.mm.copy_in(at, &mut bytes).unwrap();
                    assert!(bytes.chunks(PAGE as usize).all(|page| page[0] == byte));
                    assert_eq!(world.mm.read_obj::<u8>(mapped + 5 * PAGE + 99), Ok(byte));
                    assert_eq!(world.mm.read_obj::<u8>(mapped + 6 * PAGE), Ok(1));
                    world.mm.munmap(mapped, 64 * PAGE).unwrap();
                    world.mm.munmap(at, 40 * PAGE).unwrap();
                }
            });
        }
        let file = file.clone();
        scope.spawn(move || {
            while Instant::now() < until {
                file.truncate(40 * PAGE);
                file.truncate(64 * PAGE);
            }
        });
    });
    assert_eq!(world.frames.usage().used, 0);
    assert!(!file.mapped());
}
