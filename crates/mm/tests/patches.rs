//! When system call sites are patched, and that a page's are patched together.

mod support;

use abi::raw::general as raw;
use core::ops::Range;
use platform::{Code, JUMP, MapOp, Patch, Patcher};
use std::sync::{Arc, Mutex};
use support::*;
use vizor_mm::Texts;

const PLAIN: u8 = 0x90;
const JUMPS: u8 = 0xe9;
/// Of calls.
const NUMBER: u32 = 39;
/// Length of a trampoline.
const ROOM: u64 = 32;

/// Puts a jump in the place of whatever is at a site.
#[derive(Default)]
struct Anywhere {
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A site that it was asked for, and the number of its calls.
type Asked = (u64, Option<u32>);

impl Patcher for Anywhere {
    fn shadows(&self, text: Range<u64>) -> Vec<Range<u64>> {
        const FAR: u64 = 0x1000_0000;
        let below = text.start - FAR..text.end - FAR;
        vec![below]
    }

    fn plan(
        &self,
        code: Code<'_>,
        site: u64,
        number: Option<u32>,
        _: Range<u64>,
        shadow: Range<u64>,
        free: &dyn Fn(Range<u64>) -> bool,
    ) -> Option<Patch> {
        self.asked.lock().unwrap().push((site, number));
        let from = (site - code.start) as usize;
        let original = code.bytes.get(from..from + JUMP)?.try_into().ok()?;
        let trampoline = shadow.step_by(ROOM as usize).find(|at| free(*at..at + ROOM))?;
        let moved = vec![(site, trampoline), (site + 2, trampoline + ROOM / 2)];
        let (jump, code) = ([JUMPS; JUMP], vec![PLAIN; ROOM as usize]);
        Some(Patch { at: site, call: site, original, jump, trampoline, code, moved })
    }

    fn certain(&self, _: Code<'_>, _: u64) -> bool {
        false
    }
}

/// A text that a guest has begun to run.
fn text() -> (World, u64) {
    text_for(Anywhere::default())
}

fn text_for(patcher: Anywhere) -> (World, u64) {
    let world = World::with_texts(Texts::new(Arc::new(patcher)));
    let file = HostFile::new(&[PLAIN; 4 * PAGE as usize]);
    let text = world.map_file(&file, 4 * PAGE, raw::MAP_PRIVATE, raw::PROT_READ | raw::PROT_EXEC).unwrap();
    world.guest_read(text).unwrap();
    (world, text)
}

fn trap(world: &World, site: u64, times: usize) {
    (0..times).for_each(|_| world.mm.note_trap(site, NUMBER));
}

/// The platform's address space changes.
fn change(world: &World) -> Vec<MapOp> {
    let at = world.anon(PAGE);
    world.space.take_log();
    world.guest_write(at, 1).unwrap();
    world.space.take_log()
}

fn maps_of(log: &[MapOp], page: u64) -> usize {
    log.iter().filter(|op| matches!(op, MapOp::Map { addr, .. } if *addr == page)).count()
}

#[test]
fn the_sites_of_a_page_are_patched_together_with_the_next_change() {
    let (world, text) = text();
    let sites = [text + 0x100, text + 0x200, text + 0x300];
    let now = || sites.map(|site| world.guest_read(site).unwrap());
    trap(&world, sites[0], 5);
    trap(&world, sites[1], 2);
    change(&world);
    assert_eq!(now(), [PLAIN; 3]);
    trap(&world, sites[1], 1);
    assert_eq!(now(), [PLAIN; 3]);
    assert_eq!(maps_of(&change(&world), text), 1);
    assert_eq!(now(), [JUMPS, JUMPS, PLAIN]);
    // Others follow, and those stay.
    trap(&world, sites[2], 8);
    assert_eq!(maps_of(&change(&world), text), 1);
    assert_eq!(now(), [JUMPS; 3]);
    assert_eq!(maps_of(&change(&world), text), 0);
    world.space.take_log();
    let _plain = world.mm.plain_text();
    assert_eq!(maps_of(&world.space.take_log(), text), 1);
    assert_eq!(now(), [PLAIN; 3]);
}

#[test]
fn after_many_traps_it_is_done_at_once() {
    let (world, text) = text();
    trap(&world, text + 0x1010, 15);
    assert_eq!(world.guest_read(text + 0x1010), Ok(PLAIN));
    world.space.take_log();
    trap(&world, text + 0x1010, 1);
    assert_eq!(maps_of(&world.space.take_log(), text + PAGE), 1);
    assert_eq!(world.guest_read(text + 0x1010), Ok(JUMPS));
    // Nothing waits for the next change any more.
    assert_eq!(maps_of(&change(&world), text + PAGE), 0);
}

#[test]
fn what_is_unmapped_or_made_writable_meanwhile_is_left_alone() {
    let (world, text) = text();
    trap(&world, text + 0x100, 8);
    trap(&world, text + 0x2100, 8);
    world.mm.munmap(text + 2 * PAGE, PAGE).unwrap();
    world.mm.mprotect(text, PAGE, raw::PROT_READ | raw::PROT_WRITE | raw::PROT_EXEC).unwrap();
    assert!(world.guest_read(text + 0x2100).is_err());
    // It takes the free place.
    change(&world);
    assert_eq!(world.guest_read(text + 0x2100), Ok(0));
    assert_eq!(world.guest_read(text + 0x100), Ok(PLAIN));
}

#[test]
fn a_number_counts_if_it_was_always_the_same() {
    let patcher = Anywhere::default();
    let asked = Arc::clone(&patcher.asked);
    let (world, text) = text_for(patcher);
    trap(&world, text + 0x40, 2);
    trap(&world, text + 0x80, 1);
    world.mm.note_trap(text + 0x80, NUMBER + 1);
    trap(&world, text + 0xc0, 16);
    let mut seen = std::mem::take(&mut *asked.lock().unwrap());
    seen.dedup();
    assert_eq!(seen, [(text + 0x40, Some(NUMBER)), (text + 0x80, None), (text + 0xc0, Some(NUMBER))]);
}

/// Where calls were served that the kernel did not see is what the guest says.
#[test]
fn sites_may_be_anywhere() {
    let (world, text) = text();
    let data = world.anon(PAGE);
    for site in [0, 1, data, data + PAGE - 1, text + 4 * PAGE - 1, (1 << 48) - 3, u64::MAX - 1, u64::MAX] {
        trap(&world, site, 40);
        change(&world);
    }
    (0..5000).for_each(|n| trap(&world, n * PAGE, 1));
    change(&world);
    assert_eq!(world.guest_read(text), Ok(PLAIN));
    trap(&world, text + 0x100, 16);
    assert_eq!(world.guest_read(text + 0x100), Ok(JUMPS));
}
