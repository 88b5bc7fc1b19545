//! Guests that attack the platform: nothing may hang, nothing may reach the host, other guests must not notice.

mod harness;

use harness::*;
use platform::{Context, Exit, Gone, MapOp, Registers};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vizor_systrap::anatomy;

const RESPONSE: u64 = anatomy::RESPONSE as u64;
const COMMAND: u64 = (anatomy::COMMAND + anatomy::CMD_SEQ) as u64;
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
        // Also those that the stub would serve by itself: `unpatched.rs` is about them.
        guest.space.show_calls();
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
        for addr in [COMMAND - 4, COMMAND + 8, RESPONSE].map(|at| region() + at).into_iter().chain([DATA, 0]) {
            let mut regs = Registers { rax: 202, rdi: addr, rsi: 1, ..start(0) };
            assert_eq!(context.switch(&mut regs), Exit::Syscall, "futex at {addr:x}");
        }
        // Where the mapper sleeps it may be woken, and nobody else may wait.
        for (at, op) in (0..8).flat_map(|at| [0u64, 2, 3, 4, 5, 9, 10, 12, 128, 129, 256, 1 << 32].map(|op| (at, op))) {
            let mut regs = Registers { rax: 202, rdi: region() + COMMAND + at, rsi: op, ..start(0) };
            assert_eq!(context.switch(&mut regs), Exit::Syscall, "futex {op} at {at}");
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

/// Maps and unmaps for one context while another runs `forger`, which is short, with the mapper's answer in rbx and where it sleeps
/// in rdi.
fn unmap_beside(forger: &[u8]) {
    // At 64: mov rax, [rdi]; syscall.
    let mut code = [0u8; 96];
    code[..forger.len()].copy_from_slice(forger);
    code[64..69].copy_from_slice(&[0x48, 0x8b, 0x07, 0x0f, 0x05]);
    let guest = Arc::new(Guest::new(&code));
    let mut forger = guest.context();
    let stop = forger.interrupter();
    let thread = std::thread::spawn(move || {
        let mut regs = Registers { rbx: region() + RESPONSE, rdi: region() + COMMAND, ..start(0) };
        forger.switch(&mut regs)
    });
    let mut context = guest.context();
    let addr = 0x1000_0000;
    for _ in 0..300 {
        guest.space.apply(&[guest.map(addr, 4096, RW, LEN)]).expect("map");
        assert_eq!(context.switch(&mut Registers { rdi: addr, ..start(64) }), Exit::Syscall);
        guest.space.apply(&[MapOp::Unmap { addr, len: 4096 }]).expect("unmap");
        let exit = context.switch(&mut Registers { rdi: addr, ..start(64) });
        assert!(matches!(exit, Exit::Fault { .. }), "{exit:?}");
    }
    stop.interrupt();
    assert_eq!(thread.join().expect("forger"), Exit::Interrupted);
}

#[test]
fn a_forged_answer_does_not_pass_for_an_unmap() {
    within(60, || {
        // Keeps storing rising numbers as the mapper's answer.
        // mov [rbx], eax; inc eax; and eax, 0x3ff; jmp
        unmap_beside(&[0x89, 0x03, 0xff, 0xc0, 0x25, 0xff, 0x03, 0, 0, 0xeb, 0xf5]);
    });
}

#[test]
fn a_mapper_that_is_woken_for_nothing_does_not_pass_for_one_that_is_done() {
    within(60, || {
        // The same, and now and then wakes the mapper, at one word and the other. (All the time: it could not be found asleep.)
        // mov [rbx], r12d; inc r12d; and r12d, 0x3ff
        let mut code = vec![0x44, 0x89, 0x23, 0x41, 0xff, 0xc4, 0x41, 0x81, 0xe4, 0xff, 0x03, 0, 0];
        // mov eax, futex; mov esi, FUTEX_WAKE; mov edx, 1; syscall
        code.extend([0xb8, 202, 0, 0, 0, 0xbe, 1, 0, 0, 0, 0xba, 1, 0, 0, 0, 0x0f, 0x05]);
        // xor rdi, 4; mov ecx, 40000; dec ecx; jnz; jmp
        code.extend([0x48, 0x83, 0xf7, 4, 0xb9, 0x40, 0x9c, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xeb, 0xd3]);
        unmap_beside(&code);
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
