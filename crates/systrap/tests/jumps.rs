//! Guests that jump to every byte of the stub's text, of trampolines and of patched sites: each jump ends in bounded time,
//! nothing reaches the host, and nobody else notices.

mod harness;

use harness::*;
use platform::{Code, Context, Exit, MapOp, Patches, Platform, Registers};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vizor_systrap::anatomy::{COMMAND, RESPONSE, TEXT_LEN, code};

/// How long one jump may take: the platform's patience with a stub that does not answer, and what a busy machine needs.
const LIMIT: Duration = Duration::from_secs(12);
/// Guests that jump at once. Most of the time that a jump takes is patience, which costs nothing.
const WORKERS: u64 = 12;
/// So many switches after a jump: what one leads to may need another.
const TURNS: usize = 3;

/// What registers hold when a guest jumps.
fn fills() -> Vec<(&'static str, Registers)> {
    let all = |fill: u64, rsp: u64, gs_base: u64| Registers {
        rax: fill,
        rbx: fill,
        rcx: fill,
        rdx: fill,
        rsi: fill,
        rdi: fill,
        rbp: fill,
        r8: fill,
        r9: fill,
        r10: fill,
        r11: fill,
        r12: 3,
        r13: fill,
        r14: fill,
        r15: fill,
        rsp,
        gs_base,
        ..Registers::default()
    };
    let (stack, response) = (DATA + LEN - 64, region() + RESPONSE as u64);
    vec![
        ("zeroes", all(0, stack, 0)),
        ("zeroes but rax", Registers { rax: 15, ..all(0, DATA + 0x800, 0) }),
        ("ones", all(u64::MAX, u64::MAX - 7, 0)),
        ("data", all(DATA + 0x1000, DATA + 0x800, DATA)),
        ("its own block", all(head(0), head(0) - 0x800, 0)),
        ("another's block", all(head(1), head(1) - 0x800, head(1))),
        ("the mapper's pages", all(region() + COMMAND as u64, response + 0x800, response)),
        // Like a stub's thread: the call's number in r11, where to go on in rcx.
        (
            "a call",
            Registers {
                rax: 0,
                r11: 39,
                rcx: CODE,
                rdi: DATA,
                rsi: 1,
                rdx: DATA + 64,
                r10: 8,
                ..all(head(0), stack, 0)
            },
        ),
    ]
}

/// A guest that can jump, until it dies of it. Its data are full of addresses of its code.
struct Jumper {
    guest: Guest,
    context: Box<dyn Context>,
    _ticker: Ticker,
    pid: i32,
    maps: Vec<String>,
}

impl Jumper {
    fn new(prepare: &dyn Fn(&Guest)) -> Jumper {
        let guest = Guest::new(&with_tools(&[0x0f, 0x05]));
        prepare(&guest);
        let words: Vec<u8> = (0..LEN / 8).flat_map(|_| CODE.to_ne_bytes()).collect();
        rustix::io::pwrite(&guest.file, &words, LEN).expect("pwrite");
        let mut context = guest.context();
        assert_eq!(context.switch(&mut start(0)), Exit::Syscall);
        let ticker = Ticker::new(context.interrupter(), Duration::from_millis(1));
        let pid = process(&guest);
        let maps = region_maps(pid);
        assert!(maps.len() > 3, "{maps:?}");
        Jumper { guest, context, _ticker: ticker, pid, maps }
    }

    /// Jumps, with `rax` or as if with a register that there is none of; returns whether the guest has survived that.
    fn jump(&mut self, target: u64, fill: Registers) -> bool {
        let mut regs =
            if fill.rax == 0 { jump(target, fill) } else { Registers { rip: target, eflags: 0x202, ..fill } };
        for _ in 0..TURNS {
            let begin = Instant::now();
            let exit = self.context.switch(&mut regs);
            assert!(begin.elapsed() < LIMIT, "{target:x}: {exit:?} after {:?}", begin.elapsed());
            if matches!(exit, Exit::Gone(_)) {
                return false;
            }
        }
        true
    }

    /// Whether the mapper does its work, and the host has mapped in the region what it had.
    fn check(&self) {
        let far = 0x1000_0000;
        let ops = [self.guest.map(far, 4096, RW, LEN), MapOp::Unmap { addr: far, len: 4096 }];
        assert_eq!(self.guest.space.apply(&ops), Ok(()));
        assert_eq!(region_maps(self.pid), self.maps);
    }
}

/// Lets guests jump to all of `targets` with all fills.
fn jump_everywhere(targets: Vec<u64>, fills: Vec<(&'static str, Registers)>, prepare: impl Fn(&Guest) + Sync) {
    let begin = Instant::now();
    let mut bystander = Bystander::new();
    let (next, jumps) = (AtomicU64::new(0), AtomicU64::new(0));
    let deaths = Mutex::new(BTreeMap::<&str, u32>::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut jumper = Jumper::new(&prepare);
                let take = || {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    targets.get(usize::try_from(at).expect("few")).copied()
                };
                while let Some(target) = take() {
                    for (name, fill) in &fills {
                        jumps.fetch_add(1, Ordering::Relaxed);
                        if !jumper.jump(target, *fill) {
                            *deaths.lock().expect("lock").entry(name).or_default() += 1;
                            jumper = Jumper::new(&prepare);
                        }
                    }
                    if target.is_multiple_of(64) {
                        jumper.check();
                    }
                }
            });
        }
        while next.load(Ordering::Relaxed) < targets.len() as u64 {
            bystander.check();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    bystander.check();
    let deaths = deaths.into_inner().expect("lock");
    println!("{} jumps in {:?}, deaths: {deaths:?}", jumps.into_inner(), begin.elapsed());
}

#[test]
fn into_every_byte_of_the_stub() {
    within(240, || {
        // All of the code, and data of the text as far as there are any.
        let text = region()..region() + TEXT_LEN as u64;
        let code_end = text.start + code().len() as u64;
        jump_everywhere((text.start..code_end).collect(), fills(), |_| {});
        jump_everywhere((code_end..text.end).collect(), fills().split_off(6), |_| {});
    });
}

/// Sites of all kinds that can be patched: code, and where its call is.
fn sites() -> [(Vec<u8>, usize); 3] {
    [
        // mov $1000, %eax; syscall; ud2
        (vec![0xb8, 0xe8, 3, 0, 0, 0x0f, 0x05, 0x0f, 0x0b], 5),
        // syscall; cmp $-4095, %rax; ud2
        (vec![0x0f, 0x05, 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0x0f, 0x0b], 0),
        // mov %rcx, %r10; syscall; ud2
        (vec![0x49, 0x89, 0xca, 0x0f, 0x05, 0x0f, 0x0b], 3),
    ]
}

/// A patch of a site, and the memory that its trampoline is in.
struct Patched {
    patch: Arc<platform::Patch>,
    text: Vec<u8>,
    shadow: std::ops::Range<u64>,
    file: OwnedFd,
}

/// Where the sites are in the code.
const SITES: usize = 0x100;

fn patch(site: &[u8], call: usize) -> Patched {
    let mut text = vec![0x90; SITES];
    text.extend(site);
    text.resize(0x200, 0x90);
    let range = CODE..CODE + LEN;
    let patcher = platform().patcher().expect("patching is on");
    let shadow = patcher.shadows(range.clone()).remove(0);
    let window = Code { start: CODE, bytes: &text };
    let patch =
        patcher.plan(window, CODE + (SITES + call) as u64, None, range, shadow.clone(), &|_| true).expect("a patch");
    let file = memfd_create("shadow", MemfdFlags::CLOEXEC).expect("memfd");
    ftruncate(&file, shadow.end - shadow.start).expect("ftruncate");
    rustix::io::pwrite(&file, &patch.code, patch.trampoline - shadow.start).expect("pwrite");
    Patched { patch: Arc::new(patch), text, shadow, file }
}

impl Patched {
    /// Puts it into a guest that has not run yet.
    fn install(&self, guest: &Guest) {
        rustix::io::pwrite(&guest.file, &self.text[SITES..], SITES as u64).expect("pwrite");
        rustix::io::pwrite(&guest.file, &self.patch.jump, self.patch.at - CODE).expect("pwrite");
        let map = MapOp::Map {
            addr: self.shadow.start,
            len: self.shadow.end - self.shadow.start,
            access: RX,
            fd: self.file.as_raw_fd(),
            offset: 0,
            shared: true,
            populate: false,
        };
        guest.space.apply(&[map]).expect("apply");
        let mut patches = Patches::default();
        patches.insert(Arc::clone(&self.patch));
        guest.space.set_patches(Arc::new(patches));
    }
}

#[test]
fn into_every_byte_of_patched_sites() {
    within(240, || {
        std::thread::scope(|scope| {
            for (site, call) in sites() {
                scope.spawn(move || {
                    let patched = patch(&site, call);
                    let (start, trampoline) = (CODE + SITES as u64 - 16, patched.patch.trampoline);
                    let end = trampoline + patched.patch.code.len() as u64 + 16;
                    let targets = (start..start + 48).chain(trampoline - 16..end).collect();
                    jump_everywhere(targets, fills(), |guest| patched.install(guest));
                });
            }
        });
    });
}
