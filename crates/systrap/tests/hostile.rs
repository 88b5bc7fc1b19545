//! Guests that attack the platform: nothing may hang, nothing may reach the host, other guests must not notice.

mod harness;

use harness::*;
use platform::{Context, Exit, Gone, MapOp, Registers};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vizor_systrap::anatomy;

const RESPONSE: u64 = anatomy::RESPONSE as u64;
const BLOCKS: u64 = anatomy::CONTEXTS as u64;
const BLOCK: u64 = anatomy::BLOCK as u64;

fn assert_healthy() {
    let guest = Guest::new(&[0x0f, 0x05]);
    let mut context = guest.context();
    assert_eq!(context.switch(&mut start(0)), Exit::Syscall);
}

#[test]
fn every_system_call_traps() {
    within(60, || {
        let guest = Guest::new(&[0x0f, 0x05]);
        let mut context = guest.context();
        for args in [[0u64; 6], [u64::MAX; 6], [DATA; 6], [region() + BLOCKS + 64; 6]] {
            for number in (0..=500).chain([1 << 30, (1 << 30) + 1, u64::MAX, 1 << 32]) {
                let [rdi, rsi, rdx, r10, r8, r9] = args;
                let mut regs = Registers { rax: number, rdi, rsi, rdx, r10, r8, r9, ..start(0) };
                let exit = context.switch(&mut regs);
                // `uretprobe` and `uprobe`: newer hosts pass them by seccomp, and refuse them outside a probe by
                // themselves, with SIGILL or an error number (the code goes on then, over zeros).
                if matches!(number, 335 | 336)
                    && matches!(exit, Exit::Exception { signo: libc::SIGILL, .. } | Exit::Fault { .. })
                {
                    continue;
                }
                assert_eq!(exit, Exit::Syscall, "{number}");
                assert_eq!(regs.orig_rax, number);
                assert_eq!(regs.syscall_args(), args);
            }
        }
        // What the filter does let through is a futex in the stub region, to wait or wake.
        for op in [2u64, 3, 4, 5, 6, 9, 11, 12, 13, 128, 129, 256, 1 << 31] {
            let mut regs = Registers { rax: 202, rdi: region() + BLOCKS + 0x3c00, rsi: op, ..start(0) };
            assert_eq!(context.switch(&mut regs), Exit::Syscall, "futex {op}");
        }
        for addr in [region() + 0x4000, region() + RESPONSE, DATA, 0] {
            let mut regs = Registers { rax: 202, rdi: addr, rsi: 1, ..start(0) };
            assert_eq!(context.switch(&mut regs), Exit::Syscall, "futex at {addr:x}");
        }
    });
}

#[test]
fn the_stub_region_is_closed() {
    within(30, || {
        // mov [rdi], rax; syscall / jmp rdi
        let mut code = [0u8; 32];
        code[..5].copy_from_slice(&[0x48, 0x89, 0x07, 0x0f, 0x05]);
        code[16..18].copy_from_slice(&[0xff, 0xe7]);
        let guest = Guest::new(&code);
        let mut context = guest.context();
        for at in [0, 0x1000, 0x2000, 0x3ff8, 0x4000, 0x7ff8] {
            let mut regs = Registers { rdi: region() + at, ..start(0) };
            assert!(matches!(context.switch(&mut regs), Exit::Fault { .. }), "write at {at:x}");
        }
        for at in [0x4000, RESPONSE, BLOCKS, BLOCKS + 0x3c00, BLOCKS + 16 * BLOCK] {
            let mut regs = Registers { rdi: region() + at, ..start(16) };
            assert!(matches!(context.switch(&mut regs), Exit::Fault { .. }), "jump to {at:x}");
        }
        // Nor can it be mapped over on a wrong order of the kernel: the stub ends rather.
        let op = MapOp::Unmap { addr: region(), len: anatomy::TEXT_LEN as u64 };
        assert!(guest.space.apply(&[op]).is_err());
    });
}

#[test]
fn a_forged_answer_does_not_pass_for_an_unmap() {
    within(60, || {
        // Writer: keeps storing rising numbers as the mapper's answer. At 32: mov rax, [rdi]; syscall.
        let mut code = [0u8; 64];
        // mov [rdi], eax; inc eax; and eax, 0x3ff; jmp
        code[..11].copy_from_slice(&[0x89, 0x07, 0xff, 0xc0, 0x25, 0xff, 0x03, 0, 0, 0xeb, 0xf5]);
        code[32..37].copy_from_slice(&[0x48, 0x8b, 0x07, 0x0f, 0x05]);
        let guest = Arc::new(Guest::new(&code));
        let mut forger = guest.context();
        let stop = forger.interrupter();
        let thread = std::thread::spawn(move || {
            let mut regs = Registers { rdi: region() + RESPONSE, ..start(0) };
            forger.switch(&mut regs)
        });
        let mut context = guest.context();
        let addr = 0x1000_0000;
        for _ in 0..300 {
            guest.space.apply(&[guest.map(addr, 4096, RW, LEN)]).expect("map");
            assert_eq!(context.switch(&mut Registers { rdi: addr, ..start(32) }), Exit::Syscall);
            guest.space.apply(&[MapOp::Unmap { addr, len: 4096 }]).expect("unmap");
            let exit = context.switch(&mut Registers { rdi: addr, ..start(32) });
            assert!(matches!(exit, Exit::Fault { .. }), "{exit:?}");
        }
        stop.interrupt();
        assert_eq!(thread.join().expect("forger"), Exit::Interrupted);
    });
}

#[test]
fn blocked_interrupts_end_the_stub() {
    within(30, || {
        // The guest sets all bits of the signal mask in its own frame (it lies below the head, at a fixed place after the
        // first exit), then loops. The Sentry does not rewrite that word once the thread has run.
        // At 0: syscall. At 16: mov [rdi], rax; syscall. At 32: jmp self.
        let mut code = [0u8; 64];
        code[..2].copy_from_slice(&[0x0f, 0x05]);
        code[16..21].copy_from_slice(&[0x48, 0x89, 0x07, 0x0f, 0x05]);
        code[32..34].copy_from_slice(&[0xeb, 0xfe]);
        let guest = Guest::new(&code);
        let mut context = guest.context();
        assert_eq!(context.switch(&mut start(0)), Exit::Syscall);
        let mut helper = guest.context();
        // Find the frame: the head tells where it is.
        let read_frame = |context: &mut dyn Context| {
            let mut regs = start(16);
            regs.rdi = DATA;
            let _ = context.switch(&mut regs);
        };
        read_frame(&mut *helper);
        // Any aligned place in the signal stack may be the mask: block 0 or 1, whichever `context` has. Fill the
        // words that lie 304 bytes above each possible frame.
        for block in 0..2 {
            for frame in (0x2c00..0x3c00 - 440).step_by(8) {
                let at = region() + BLOCKS + block * BLOCK + frame;
                // Only a frame starts with the restorer's address, that of the handler.
                let mut code = [0u8; 16];
                code[..5].copy_from_slice(&[0x48, 0x8b, 0x07, 0x0f, 0x05]);
                rustix::io::pwrite(&guest.file, &code, 48).expect("pwrite");
                let mut regs = Registers { rdi: at, ..start(48) };
                assert_eq!(helper.switch(&mut regs), Exit::Syscall);
                if regs.orig_rax == region() && frame % 16 == 8 {
                    let mut regs = Registers { rdi: at + 304, rax: u64::MAX, ..start(16) };
                    let exit = helper.switch(&mut regs);
                    if matches!(exit, Exit::Gone(_)) {
                        return;
                    }
                }
            }
        }
        let interrupter = context.interrupter();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            interrupter.interrupt();
            Instant::now()
        });
        let mut regs = start(32);
        assert_eq!(context.switch(&mut regs), Exit::Gone(Gone::Stuck));
        let asked = thread.join().expect("thread");
        assert!(asked.elapsed() < Duration::from_secs(8));
        assert_healthy();
    });
}
