//! Calls from patched sites: handed over without a frame, served in the stub, stopped in the middle, raised.

mod harness;

use harness::{CODE, DATA, Guest, LEN, RX, platform, start, within};
use platform::{Code, Exit, Ids, MapOp, Patches, Platform, Registers};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::sync::Arc;
use std::time::Duration;

const SITES: usize = 64;

/// A guest whose `syscall` at `call` in the code is patched, and the file with its trampolines.
fn patched(code: &[u8], call: usize) -> (Guest, OwnedFd) {
    let mut text = vec![0x90; SITES];
    text.extend(code);
    text.resize(4096, 0x90);
    let guest = Guest::new(&text);
    let text_range = CODE..CODE + LEN;
    let patcher = platform().patcher().expect("patching is on");
    let shadow = patcher.shadows(text_range.clone()).remove(0);
    let window = Code { start: CODE, bytes: &text };
    let site = CODE + (SITES + call) as u64;
    let patch = patcher.plan(window, site, None, text_range, shadow.clone(), &|_| true).expect("a patch");
    let file = memfd_create("shadow", MemfdFlags::CLOEXEC).expect("memfd");
    ftruncate(&file, shadow.end - shadow.start).expect("ftruncate");
    rustix::io::pwrite(&file, &patch.code, patch.trampoline - shadow.start).expect("pwrite");
    rustix::io::pwrite(&guest.file, &patch.jump, patch.at - CODE).expect("pwrite");
    let map = MapOp::Map {
        addr: shadow.start,
        len: shadow.end - shadow.start,
        access: RX,
        fd: file.as_raw_fd(),
        offset: 0,
        shared: true,
        populate: false,
    };
    guest.space.apply(&[map]).expect("apply");
    let mut patches = Patches::default();
    patches.insert(Arc::new(patch));
    guest.space.set_patches(Arc::new(patches));
    (guest, file)
}

fn at(offset: usize) -> Registers {
    start((SITES + offset) as u64)
}

/// `mov $number, %eax; syscall; mov %rax, (DATA); ud2`
fn one_call(number: u32) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(number.to_le_bytes());
    code.extend([0x0f, 0x05, 0x48, 0xa3]);
    code.extend(DATA.to_le_bytes());
    code.extend([0x0f, 0x0b]);
    code
}

fn is_illegal(exit: Exit) -> bool {
    matches!(exit, Exit::Exception { signo: libc::SIGILL, .. })
}

#[test]
fn a_call_is_handed_over_and_answered() {
    within(20, || {
        let (guest, _file) = patched(&one_call(1000), 5);
        let mut context = guest.context();
        let mut regs = at(0);
        (regs.rdi, regs.r9, regs.r12, regs.eflags) = (7, 9, 12, 0x246);
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        assert_eq!((regs.orig_rax, regs.rdi, regs.r9), (1000, 7, 9));
        assert_eq!(context.site(), None);
        regs.rax = 4711;
        assert!(is_illegal(context.switch(&mut regs)));
        assert_eq!(guest.data(0), 4711);
        assert_eq!((regs.rip, regs.r12, regs.eflags & 0xcd5), (CODE + 64 + 17, 12, 0x44));
    });
}

#[test]
fn a_call_on_the_thread_itself_needs_nobody() {
    within(20, || {
        let (guest, _file) = patched(&one_call(39), 5);
        let mut context = guest.context();
        context.local().set_ids(&Ids { tgid: 1234, ..Ids::default() });
        assert!(is_illegal(context.switch(&mut at(0))));
        assert_eq!(guest.data(0), 1234);
    });
}

#[test]
fn all_registers_can_be_had_and_changed() {
    within(20, || {
        let (guest, _file) = patched(&one_call(1000), 5);
        let mut context = guest.context();
        let mut regs = at(0);
        (regs.rbx, regs.rbp, regs.r15, regs.rdx) = (1, 2, 3, 4);
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        regs = Registers { rax: 55, orig_rax: regs.orig_rax, ..Registers::default() };
        context.unfold(&mut regs).expect("it is there");
        assert_eq!((regs.rax, regs.orig_rax, regs.rbx, regs.rbp, regs.r15, regs.rdx), (55, 1000, 1, 2, 3, 4));
        assert_eq!(regs.rip, CODE + 64 + 7);
        // As for a restart: the call itself is where it was.
        (regs.rip, regs.rax) = (regs.rip - 2, 1001);
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        assert_eq!(regs.orig_rax, 1001);
        regs.rax = 66;
        assert!(is_illegal(context.switch(&mut regs)));
        assert_eq!((guest.data(0), regs.rbx, regs.r15), (66, 1, 3));
    });
}

#[test]
fn what_moved_is_found_again() {
    within(20, || {
        // syscall; add $1, %rax; nop; mov %rax, (DATA); ud2
        let mut code = vec![0x0f, 0x05, 0x48, 0x83, 0xc0, 0x01, 0x48, 0xa3];
        code.extend(DATA.to_le_bytes());
        code.extend([0x0f, 0x0b]);
        let (guest, _file) = patched(&code, 0);
        let mut context = guest.context();
        let mut regs = at(0);
        regs.rax = 1000;
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        regs.rax = 10;
        assert!(is_illegal(context.switch(&mut regs)));
        assert_eq!(guest.data(0), 11);
        // To the instruction behind the call, by a jump: mov $20, %eax; jmp
        let mut regs = at(2);
        regs.rax = 20;
        assert!(is_illegal(context.switch(&mut regs)));
        assert_eq!(guest.data(0), 21);
    });
}

#[test]
fn other_bytes_of_a_jump_are_illegal() {
    within(20, || {
        let (guest, _file) = patched(&one_call(1000), 5);
        let mut context = guest.context();
        for byte in 1..5 {
            let mut regs = at(byte);
            assert!(is_illegal(context.switch(&mut regs)));
            assert_eq!(regs.rip, CODE + (64 + byte) as u64);
        }
    });
}

#[test]
fn a_thread_with_a_gs_of_its_own_traps() {
    within(20, || {
        let (guest, _file) = patched(&one_call(39), 5);
        let mut context = guest.context();
        let mut regs = at(0);
        regs.gs_base = DATA;
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        assert_eq!((regs.orig_rax, regs.gs_base, regs.rip), (39, DATA, CODE + 64 + 7));
        regs.rax = 3;
        assert!(is_illegal(context.switch(&mut regs)));
        assert_eq!(guest.data(0), 3);
    });
}

#[test]
fn interrupts_stop_a_thread_that_only_calls() {
    within(60, || {
        // loop: mov $39, %eax; syscall; inc %rbx; jmp loop
        let code = [0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0x48, 0xff, 0xc3, 0xeb, 0xf4];
        let (guest, _file) = patched(&code, 5);
        let mut context = guest.context();
        context.local().set_ids(&Ids { tgid: 99, ..Ids::default() });
        let interrupter = context.interrupter();
        let mut regs = at(0);
        regs.eflags = 0x202;
        let inside = [CODE + 64, CODE + 64 + 7, CODE + 64 + 10];
        for round in 0..2000 {
            let other = Arc::clone(&interrupter);
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_micros(20 + round % 50));
                other.interrupt();
            });
            assert_eq!(context.switch(&mut regs), Exit::Interrupted, "at {:#x}", regs.rip);
            assert!(inside.contains(&regs.rip), "{:#x}", regs.rip);
            if regs.rip != CODE + 64 {
                assert_eq!(regs.rax, 99);
            }
            thread.join().expect("joins");
        }
        assert!(regs.rbx > 1000);
    });
}

#[test]
fn a_mask_is_changed_in_the_stub_unless_a_signal_waits() {
    within(20, || {
        let (guest, _file) = patched(&one_call(14), 5);
        let mut context = guest.context();
        let local = context.local();
        local.set_mask(0b1000);
        rustix::io::pwrite(&guest.file, &0b0110_u64.to_ne_bytes(), LEN + 64).expect("pwrite");
        let call = |how: u64| Registers { rdi: how, rsi: DATA + 64, rdx: DATA + 128, r10: 8, ..at(0) };
        for (how, mask) in [(0, 0b1110), (1, 0b1000), (2, 0b0110)] {
            let old = local.mask();
            assert!(is_illegal(context.switch(&mut call(how))));
            assert_eq!((local.mask(), guest.data(128), guest.data(0)), (mask, old, 0));
        }
        local.set_alert(true);
        let mut regs = call(1);
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        assert_eq!((regs.orig_rax, local.mask()), (14, 0b0110));
        regs.rax = 0;
        assert!(is_illegal(context.switch(&mut regs)));
        // A set that can't be read, and one that can't be written: the kernel's business, nothing done.
        local.set_alert(false);
        for (set, old) in [(8, 0), (DATA + 64, 8)] {
            let mut regs = Registers { rsi: set, rdx: old, ..call(1) };
            assert_eq!(context.switch(&mut regs), Exit::Syscall);
            assert_eq!((regs.rsi, regs.rdx, local.mask()), (set, old, 0b0110));
            regs.rax = 0;
            assert!(is_illegal(context.switch(&mut regs)));
        }
    });
}

#[test]
fn a_wake_of_nobody_stays_in_the_stub() {
    within(20, || {
        let (guest, _file) = patched(&one_call(202), 5);
        let mut context = guest.context();
        let wake = Registers { rdi: DATA + 256, rsi: 129, rdx: 1, ..at(0) };
        assert!(is_illegal(context.switch(&mut wake.clone())));
        assert_eq!(guest.data(0), 0);
        let waiters = platform().futex_waiters();
        waiters.add(DATA + 256);
        let mut regs = wake;
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        waiters.remove(DATA + 256);
        regs.rax = 1;
        assert!(is_illegal(context.switch(&mut regs)));
        // A wait for another value fails at once.
        let mut wait = Registers { rdi: DATA + 256, rsi: 128, rdx: 5, ..at(0) };
        assert!(is_illegal(context.switch(&mut wait)));
        assert_eq!(guest.data(0).cast_signed(), -i64::from(libc::EAGAIN));
    });
}
