//! Calls on the thread's own state whose sites are not patched: the stub serves some, and the Sentry learns of them later.

mod harness;

use harness::*;
use platform::{Context, Exit, Ids, ROBUST_HEAD, Registers};

const GETPID: u32 = 39;
const UNKNOWN: u32 = 1000;
const ARCH_PRCTL: u64 = 158;
const ARCH_SET_GS: u64 = 0x1001;
const TRAP_FLAG: u64 = 0x100;

/// mov $number, %eax; syscall; mov %rax, (DATA + to)
fn call(number: u32, to: u64) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(number.to_le_bytes());
    code.extend([0x0f, 0x05, 0x48, 0xa3]);
    code.extend((DATA + to).to_le_bytes());
    code
}

/// Calls one after the other.
fn calls(numbers: &[u32]) -> (Guest, Box<dyn Context>) {
    let code: Vec<u8> = (0..).zip(numbers).flat_map(|(at, number)| call(*number, 8 * at)).collect();
    let guest = Guest::new(&code);
    let context = guest.context();
    context.local().set_ids(&Ids { tgid: 1234, tid: 5678, ..Ids::default() });
    (guest, context)
}

fn served(context: &dyn Context) -> Vec<(u64, u32)> {
    let mut sites = Vec::new();
    context.served_sites(&mut |site, number| sites.push((site, number)));
    sites
}

#[test]
fn a_call_on_the_thread_itself_needs_nobody() {
    within(20, || {
        let (guest, mut context) = calls(&[GETPID, UNKNOWN]);
        let mut regs = Registers { rbx: 1, r9: 2, r15: 3, eflags: 0xad7, ..start(0) };
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        assert_eq!((regs.orig_rax, guest.data(0)), (u64::from(UNKNOWN), 1234));
        assert_eq!((regs.rbx, regs.r9, regs.r15, regs.eflags & 0xcd5), (1, 2, 3, 0x8d5));
        assert_eq!(served(&*context), [(CODE + 5, GETPID)]);
        assert_eq!(served(&*context), []);
        assert_eq!(context.site(), Some(CODE + 17 + 5));
    });
}

#[test]
fn what_is_looked_at_when_a_thread_ends_is_kept() {
    within(20, || {
        let (guest, mut context) = calls(&[273, 218, 334, UNKNOWN, 273]);
        let mut regs = Registers { rdi: 0x1234_5678, rsi: ROBUST_HEAD, ..start(0) };
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        assert_eq!(regs.orig_rax, u64::from(UNKNOWN));
        let results = [0, 8, 16].map(|at| guest.data(at).cast_signed());
        assert_eq!(results, [0, 5678, -i64::from(libc::ENOSYS)]);
        let local = context.local();
        assert_eq!((local.robust_list(), local.clear_tid()), (0x1234_5678, 0x1234_5678));
        // Of another length: the kernel says what is wrong with it.
        regs.rsi = ROBUST_HEAD + 1;
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        assert_eq!(regs.orig_rax, 273);
        // Nothing is left of it for a thread that comes later.
        drop(context);
        let local = guest.context().local();
        assert_eq!((local.robust_list(), local.clear_tid()), (0, 0));
    });
}

#[test]
fn the_kernel_learns_of_all_sites() {
    within(20, || {
        let (_guest, mut context) = calls(&[GETPID; 100]);
        let mut regs = start(0);
        let mut seen = 0;
        for _ in 0..3 {
            assert_eq!(context.switch(&mut regs), Exit::Syscall);
            let sites = served(&*context);
            assert_eq!(sites.len(), 16);
            for (site, number) in sites.into_iter().chain(context.site().map(|site| (site, GETPID))) {
                assert_eq!((site, number), (CODE + 17 * seen + 5, GETPID));
                seen += 1;
            }
        }
        // Not asked for: the others come one by one.
        for _ in 0..10 {
            assert_eq!(context.switch(&mut regs), Exit::Syscall);
            seen += 1;
            if seen == 3 * 17 + 1 {
                seen += 16;
            }
            assert_eq!(regs.rip, CODE + 17 * (seen - 1) + 7);
        }
    });
}

#[test]
fn a_kernel_that_wants_to_see_all_calls_does() {
    within(20, || {
        let (guest, mut context) = calls(&[GETPID; 8]);
        let mut regs = start(0);
        guest.space.show_calls();
        let mut later = guest.context();
        for _ in 0..4 {
            assert_eq!(context.switch(&mut regs), Exit::Syscall);
            assert_eq!(served(&*context), []);
        }
        assert_eq!(later.switch(&mut start(0)), Exit::Syscall);
    });
}

#[test]
fn threads_that_the_stub_could_not_serve_trap() {
    within(20, || {
        let (guest, mut context) = calls(&[GETPID; 2]);
        // Step by step: what the call leaves behind is the kernel's to say.
        let mut regs = Registers { rax: u64::from(GETPID), eflags: 0x202 | TRAP_FLAG, ..start(5) };
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        assert_eq!(regs.orig_rax, u64::from(GETPID));
        let mut regs = Registers { gs_base: DATA, ..start(0) };
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        assert_eq!((regs.orig_rax, regs.gs_base), (u64::from(GETPID), DATA));
        // Nor are calls served that are the kernel's.
        let mut regs = Registers { rax: ARCH_PRCTL, rdi: ARCH_SET_GS, rsi: DATA, gs_base: 0, ..start(5) };
        assert_eq!(context.switch(&mut regs), Exit::Syscall);
        assert_eq!((regs.orig_rax, regs.rdi), (ARCH_PRCTL, ARCH_SET_GS));
        assert_eq!(guest.data(0), 0);
    });
}
