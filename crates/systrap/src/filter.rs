//! The stubs' seccomp programs.
//!
//! The zygote puts on the mapper's program, and all stubs and guest threads inherit it; each guest thread adds the guest's
//! program before it runs any guest code. The kernel takes the stricter verdict of the two. Neither kills: a guest's
//! call must arrive as `SIGSYS`, and a mapper that breaks its own rule dies of that signal because it blocks it.

use crate::layout::*;
use crate::text::{Entry, GUEST_CLONE, STUB_CLONE};
use host::seccomp::{Instruction, Label, Program, Test, Word};

/// `AUDIT_ARCH_X86_64`.
pub const ARCH_X86_64: u32 = 0xc000_003e;

fn low(value: u64) -> u32 {
    value as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

/// What the stub does to private futexes of the guest's.
const OWN_FUTEX_OPS: [i32; 5] = [
    libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
    libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
    libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
    libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME,
    libc::FUTEX_WAKE_BITSET | libc::FUTEX_PRIVATE_FLAG,
];

/// What guest threads may call: a futex in a context block, a wake of the mapper, and private futexes in guest memory,
/// `rt_sigreturn` and `sched_yield` from the places in the stub that do it (the guests' own calls are the kernel's business).
///
/// As short as can be: each guest thread has the host check and compile it anew, which is a part of what a thread costs.
pub fn guest(base: u64) -> Option<Vec<Instruction>> {
    let mut p = Program::new();
    let (allow, trap, futex, sigreturn) = (p.label(), p.label(), p.label(), p.label());
    let (contexts, sched_yield, own, served) = (p.label(), p.label(), p.label(), p.label());
    p.load(Word::Arch);
    p.jump_unless(Test::Eq(ARCH_X86_64), trap);
    p.load(Word::Number);
    p.jump_if(Test::Eq(libc::SYS_futex as u32), futex);
    p.jump_if(Test::Eq(libc::SYS_rt_sigreturn as u32), sigreturn);
    p.jump_if(Test::Eq(libc::SYS_sched_yield as u32), sched_yield);
    p.ret(libc::SECCOMP_RET_TRAP);
    p.place(futex);
    p.load(Word::ArgHigh(0));
    p.jump_unless(Test::Eq(high(base)), own);
    p.load(Word::ArgLow(0));
    p.jump_if(Test::Ge(low(base + CONTEXTS as u64)), contexts);
    // Who waits where the mapper does would pass for it: wake only.
    p.jump_unless(Test::Ge(low(base + (COMMAND + CMD_SEQ) as u64)), trap);
    p.jump_if(Test::Ge(low(base + (COMMAND + CMD_SEQ + 8) as u64)), trap);
    p.load(Word::ArgLow(1));
    p.jump_if(Test::Eq(libc::FUTEX_WAKE as u32), allow);
    p.ret(libc::SECCOMP_RET_TRAP);
    p.place(contexts);
    p.jump_if(Test::Ge(low(base + REGION_LEN as u64)), trap);
    p.load(Word::ArgLow(1));
    // Wait and wake only: a requeue could move a waiter.
    p.jump_unless(Test::Gt(libc::FUTEX_WAKE as u32), allow);
    p.ret(libc::SECCOMP_RET_TRAP);
    // A private futex in guest memory, for the stub that serves a wait or a wake.
    p.place(own);
    p.jump_if(Test::Ge(high(USER_RANGE.end)), trap);
    p.load(Word::ArgLow(1));
    for op in OWN_FUTEX_OPS {
        p.jump_if(Test::Eq(op as u32), served);
    }
    p.ret(libc::SECCOMP_RET_TRAP);
    p.place(served);
    check_places(&mut p, base, &[Entry::Dozed, Entry::Woke], allow);
    p.place(sigreturn);
    check_places(&mut p, base, &[Entry::Resume], allow);
    p.place(sched_yield);
    check_places(&mut p, base, &[Entry::Pass, Entry::Mapped, Entry::MappedCall, Entry::Yield], allow);
    p.place(trap);
    p.ret(libc::SECCOMP_RET_TRAP);
    p.place(allow);
    p.ret(libc::SECCOMP_RET_ALLOW);
    p.finish()
}

/// Allows the call if it is made right before one of these places in the stub's code, which lies below one 4 GiB line, and only
/// then.
fn check_places(p: &mut Program, base: u64, entries: &[Entry], allow: Label) {
    let elsewhere = p.label();
    p.load(Word::IpHigh);
    p.jump_unless(Test::Eq(high(base)), elsewhere);
    p.load(Word::IpLow);
    for entry in entries {
        p.jump_if(Test::Eq(low(base + entry.offset() as u64)), allow);
    }
    p.place(elsewhere);
    p.ret(libc::SECCOMP_RET_TRAP);
}

/// What mappers may call: the commands they are given, limited to guest memory and context blocks, and what a new stub
/// or guest thread needs before it runs anything else.
pub fn mapper(base: u64) -> Option<Vec<Instruction>> {
    let mut p = Program::new();
    let (allow, trap, map, range, clone, prctl) = (p.label(), p.label(), p.label(), p.label(), p.label(), p.label());
    p.load(Word::Arch);
    p.jump_unless(Test::Eq(ARCH_X86_64), trap);
    p.load(Word::Number);
    p.jump_if(Test::Eq(libc::SYS_mmap as u32), map);
    p.jump_if(Test::Eq(libc::SYS_munmap as u32), range);
    p.jump_if(Test::Eq(libc::SYS_mprotect as u32), range);
    p.jump_if(Test::Eq(libc::SYS_clone as u32), clone);
    p.jump_if(Test::Eq(libc::SYS_prctl as u32), prctl);
    for plain in [
        libc::SYS_futex,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_yield,
        libc::SYS_seccomp,
        libc::SYS_getppid,
        libc::SYS_exit_group,
    ] {
        p.jump_if(Test::Eq(plain as u32), allow);
    }
    p.ret(libc::SECCOMP_RET_TRAP);

    p.place(clone);
    p.load(Word::ArgLow(0));
    p.jump_if(Test::Eq(low(GUEST_CLONE)), allow);
    p.jump_if(Test::Eq(low(STUB_CLONE)), allow);
    p.ret(libc::SECCOMP_RET_TRAP);

    p.place(prctl);
    p.load(Word::ArgLow(0));
    p.jump_if(Test::Eq(libc::PR_SET_PDEATHSIG as u32), allow);
    p.ret(libc::SECCOMP_RET_TRAP);

    // mmap: in place, and besides ranges only a stub's own pages at its start.
    p.place(map);
    p.load(Word::ArgLow(3));
    p.jump_unless(Test::AnyOf(libc::MAP_FIXED as u32), trap);
    p.load(Word::ArgHigh(0));
    p.jump_unless(Test::Eq(high(base)), range);
    let command = p.label();
    p.load(Word::ArgLow(0));
    p.jump_if(Test::Eq(low(base + COMMAND as u64)), command);
    p.jump_if(Test::Eq(low(base + RESPONSE as u64)), allow);
    p.goto(range);
    p.place(command);
    p.load(Word::ArgLow(2));
    p.jump_if(Test::Eq(libc::PROT_READ as u32), allow);
    p.ret(libc::SECCOMP_RET_TRAP);

    p.place(range);
    check_range(&mut p, base, trap, allow);
    p.place(allow);
    p.ret(libc::SECCOMP_RET_ALLOW);
    p.place(trap);
    p.ret(libc::SECCOMP_RET_TRAP);
    p.finish()
}

/// Goes to `allow` if arguments 0 and 1 are a range of context blocks or of guest memory, else on or to `trap`.
fn check_range(p: &mut Program, base: u64, trap: host::seccomp::Label, allow: host::seccomp::Label) {
    const SUM_LOW: u32 = 0;
    let (user, no_carry, compare, boundary) = (p.label(), p.label(), p.label(), p.label());
    let blocks_end = low(base + REGION_LEN as u64);
    p.load(Word::ArgHigh(0));
    p.jump_unless(Test::Eq(high(base)), user);
    p.load(Word::ArgHigh(1));
    p.jump_unless(Test::Eq(0), trap);
    p.load(Word::ArgLow(0));
    p.jump_unless(Test::Ge(low(base + CONTEXTS as u64)), trap);
    p.jump_if(Test::Ge(blocks_end), trap);
    p.to_index();
    p.load(Word::ArgLow(1));
    p.jump_if(Test::Gt((REGION_LEN - CONTEXTS) as u32), trap);
    p.add_index();
    p.jump_if(Test::Gt(blocks_end), trap);
    p.goto(allow);

    // The end's halves, with the carry, against the end of guest memory (whose low half is zero).
    p.place(user);
    p.load(Word::ArgHigh(1));
    p.jump_if(Test::Gt(high(USER_RANGE.end)), trap);
    p.load(Word::ArgHigh(0));
    p.jump_if(Test::Gt(high(USER_RANGE.end)), trap);
    p.load(Word::ArgLow(1));
    p.to_index();
    p.load(Word::ArgLow(0));
    p.add_index();
    p.store(SUM_LOW);
    p.jump_if(Test::GeIndex, no_carry);
    p.load(Word::ArgHigh(1));
    p.to_index();
    p.load(Word::ArgHigh(0));
    p.add_index();
    p.add(1);
    p.goto(compare);
    p.place(no_carry);
    p.load(Word::ArgHigh(1));
    p.to_index();
    p.load(Word::ArgHigh(0));
    p.add_index();
    p.place(compare);
    p.jump_if(Test::Eq(high(USER_RANGE.end)), boundary);
    p.jump_if(Test::Gt(high(USER_RANGE.end)), trap);
    p.goto(allow);
    p.place(boundary);
    p.recall(SUM_LOW);
    p.jump_if(Test::Eq(0), allow);
    p.ret(libc::SECCOMP_RET_TRAP);
}
