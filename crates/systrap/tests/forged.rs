//! Guests that write what only the stub should into the pages that they share with the Sentry.

mod harness;

use harness::*;
use platform::{Context, Exit, Gone, Registers};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vizor_systrap::anatomy::{
    CALL_RAX, CHUNK, Entry, FRAME, MAX_CONTEXTS, RESP_RESULTS, RESPONSE, RIP, SIGINFO, SIGMASK,
};

/// A thread that answers the Sentry by itself, and never does what it is told. rbx: head; r8d: its first turn, r9d: all later
/// ones; r10: its frame; r12: the frame's instruction pointer; r14d: how long it takes for an answer.
const LIAR: &[u8] = &[
    0x4c,
    0x89,
    0x53,
    FRAME as u8, // mov [rbx + FRAME], r10
    0x44,
    0x89,
    0x03, // mov [rbx], r8d
    0x4d,
    0x89,
    0xa2,
    RIP as u8,
    0,
    0,
    0, // again: mov [r10 + RIP], r12
    0xb8,
    202,
    0,
    0,
    0, // mov eax, futex
    0x48,
    0x89,
    0xdf, // mov rdi, rbx
    0xbe,
    1,
    0,
    0,
    0, // mov esi, FUTEX_WAKE
    0xba,
    1,
    0,
    0,
    0, // mov edx, 1
    0x0f,
    0x05, // syscall
    0xf6,
    0x03,
    1, // wait: test byte [rbx], 1
    0x74,
    0xfb, // jz wait
    0x4d,
    0x89,
    0xa2,
    RIP as u8,
    0,
    0,
    0, // mov [r10 + RIP], r12
    0x44,
    0x89,
    0xf1, // mov ecx, r14d
    0xff,
    0xc9,
    0x75,
    0xfc, // dec ecx; jnz
    0x44,
    0x89,
    0x0b, // mov [rbx], r9d
    0xeb,
    0xd4, // jmp again + 7
];

/// A guest whose first context is a liar that has blocked all signals on the host, with a frame of its making; its second
/// context is there to write.
struct Liar {
    guest: Guest,
    context: Box<dyn Context>,
    regs: Registers,
}

impl Liar {
    fn new(signo: i32, code: i32, rip: u64, turns: [u32; 2]) -> Liar {
        let guest = Guest::new(&with_tools(LIAR));
        let (mut context, mut helper) = (guest.context(), guest.context());
        assert_eq!(context.switch(&mut call()), Exit::Syscall);
        let real = peek(&mut *helper, head(0) + FRAME as u64);
        poke(&mut *helper, real + SIGMASK as u64, u64::MAX);
        let forged = block(0) + 0x100;
        poke(&mut *helper, forged + SIGINFO as u64, signo as u64);
        poke(&mut *helper, forged + SIGINFO as u64 + 8, code as u64);
        poke(&mut *helper, head(0) + CALL_RAX as u64, libc::SYS_clone as u64);
        let [r8, r9] = turns.map(u64::from);
        let regs = Registers { rbx: head(0), r8, r9, r10: forged, r12: rip, r14: 1, ..start(0) };
        Liar { guest, context, regs }
    }

    /// Runs it, and interrupts it once after a while.
    fn run(mut self) -> (Exit, Duration) {
        let begin = Instant::now();
        let interrupter = self.context.interrupter();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            interrupter.interrupt();
        });
        let exit = self.context.switch(&mut self.regs);
        thread.join().expect("joins");
        drop(self.guest);
        (exit, begin.elapsed())
    }
}

#[test]
fn who_swallows_an_interrupt_is_killed() {
    within(60, || {
        let mut bystander = Bystander::new();
        // A fault in the stub that the platform sees to, over and over.
        let rip = region() + Entry::LoadMask.offset() as u64;
        let mut liar = Liar::new(libc::SIGSEGV, 1, rip, [0, 0]);
        // Some milliseconds, so that the interrupt comes while it runs.
        liar.regs.r14 = 20_000_000;
        let (exit, time) = liar.run();
        assert_eq!(exit, Exit::Gone(Gone::Stuck));
        assert!(time < Duration::from_secs(10), "{time:?}");
        bystander.check();
    });
}

#[test]
fn who_does_not_raise_its_call_is_killed() {
    within(60, || {
        let mut bystander = Bystander::new();
        // It comes with a call that all registers are wanted for, and then with signals that are nobody's.
        let (exit, time) = Liar::new(libc::SIGSTKFLT, 0, CODE, [2, 0]).run();
        assert_eq!(exit, Exit::Gone(Gone::Corrupt));
        assert!(time < Duration::from_secs(10), "{time:?}");
        // The same with calls instead of frames.
        let (exit, _) = Liar::new(libc::SIGSTKFLT, 0, CODE, [2, 2]).run();
        assert_eq!(exit, Exit::Gone(Gone::Corrupt));
        bystander.check();
    });
}

#[test]
fn frames_outside_of_the_signal_stack_are_refused() {
    within(60, || {
        let mut bystander = Bystander::new();
        for frame in [0, DATA, block(0) - 8, block(0) + 4, head(0) - 8, head(0), region(), u64::MAX, 1 << 63] {
            let mut liar = Liar::new(libc::SIGSEGV, 1, CODE, [0, 0]);
            liar.regs.r10 = DATA;
            liar.regs.r8 = 1;
            // Only the pointer is wrong: the thread writes through another register.
            let code = [0x4c, 0x89, 0x6b, FRAME as u8];
            rustix::io::pwrite(&liar.guest.file, &code, 0).expect("pwrite");
            liar.regs.r8 = 0;
            liar.regs.r13 = frame;
            assert_eq!(liar.run().0, Exit::Gone(Gone::Corrupt), "{frame:x}");
        }
        bystander.check();
    });
}

/// A writer that stores rax in two words at rdi for ever.
const WRITER: &[u8] = &[0x48, 0x89, 0x07, 0x48, 0x89, 0x47, 0x08, 0xeb, 0xf7];

/// Says in the mapper's name that it could make no thread.
fn deny_threads(guest: &Arc<Guest>) -> (Arc<dyn platform::Interrupter>, std::thread::JoinHandle<Exit>) {
    let mut context = guest.context();
    let interrupter = context.interrupter();
    let thread = std::thread::spawn(move || {
        let rax = (-i64::from(libc::EAGAIN)).cast_unsigned();
        context.switch(&mut Registers { rdi: region() + (RESPONSE + RESP_RESULTS) as u64, rax, ..start(0) })
    });
    (interrupter, thread)
}

#[test]
fn denied_threads_are_counted() {
    within(120, || {
        let guest = Arc::new(Guest::new(WRITER));
        let (stop, thread) = deny_threads(&guest);
        let mut contexts = Vec::new();
        for _ in 0..MAX_CONTEXTS + 300 {
            if let Ok(context) = guest.space.new_context() {
                contexts.push(context);
            }
        }
        assert!(contexts.len() < MAX_CONTEXTS);
        let pid = process(&guest);
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("tasks").count();
        // And the mapper's.
        assert!(threads <= MAX_CONTEXTS + 1, "{threads}");
        stop.interrupt();
        assert_eq!(thread.join().expect("joins"), Exit::Interrupted);
    });
}

#[test]
fn what_a_guest_wrote_into_blocks_dies_with_it() {
    within(120, || {
        for _ in 0..10 {
            // At 16: mov rcx, rdx; rep stosq; syscall.
            let mut code = WRITER.to_vec();
            code.resize(16, 0xcc);
            code.extend([0x48, 0x89, 0xd1, 0xf3, 0x48, 0xab, 0x0f, 0x05]);
            let guest = Arc::new(Guest::new(&code));
            let mut contexts: Vec<_> = (1..CHUNK).map(|_| guest.context()).collect();
            let (stop, thread) = deny_threads(&guest);
            // The next block is in a chunk of its own, which is there now, whatever is said.
            while let Ok(context) = guest.space.new_context() {
                contexts.push(context);
            }
            stop.interrupt();
            assert_eq!(thread.join().expect("joins"), Exit::Interrupted);
            let words = CHUNK as u64 * (block(1) - block(0)) / 8;
            let mut regs = Registers { rdi: block(CHUNK), rdx: words, rax: u64::MAX / 255, ..start(16) };
            let exit = contexts.last_mut().expect("there are some").switch(&mut regs);
            assert!(matches!(exit, Exit::Syscall | Exit::Fault { .. }), "{exit:?}");
            drop((contexts, guest));
            for _ in 0..3 {
                let other = Guest::new(&[0xf0, 0x48, 0xff, 0x07, 0x0f, 0x05]);
                let mut contexts: Vec<_> = (0..CHUNK + 4).map(|_| other.context()).collect();
                for context in &mut contexts {
                    assert_eq!(context.switch(&mut Registers { rdi: DATA, ..start(0) }), Exit::Syscall);
                }
                assert_eq!(other.data(0), CHUNK as u64 + 4);
            }
        }
    });
}
