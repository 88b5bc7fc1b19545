//! One guest thread: the switch protocol from the Sentry's side, and interrupts.
//!
//! `TURN` in the block's head says whose turn it is. Each side stores it, and wakes the other if that has said that it
//! sleeps. A guest can write these words at any time: all that it gains is a wrong exit of its own, or to be killed.

use crate::filter::ARCH_X86_64;
use crate::fpu::Format;
use crate::frame::{Cause, Frame};
use crate::layout::*;
use crate::pace::{Mover, Pace};
use crate::shared::Shared;
use crate::stub::{Stub, Thread};
use crate::zygote::INTERRUPT;
use abi::Errno;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use platform::{Access, Context, Exit, Gone, Interrupter, Registers};
use rustix::thread::futex::{self, Flags, Timespec};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// How long a guest thread may take to answer an interrupt.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a waiting Sentry thread looks whether it has run out of patience.
const TICK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// How long a guest thread may run on the core it was bound to before it is let go. Longer than the host's tick: a
/// timer that is not the next to fire costs next to nothing, and any other has to be programmed for each call.
const BOUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// The guest thread runs.
const RUNNING: u32 = 1;
/// An interrupt has been asked for and not been seen.
const PENDING: u32 = 2;

/// The state that interrupters share with a context.
struct Flag {
    bits: AtomicU32,
    tid: i32,
    stub: Weak<Stub>,
}

impl Interrupter for Flag {
    fn interrupt(&self) {
        // Holds the process id: it is not reaped as long as the stub exists.
        let stub = self.stub.upgrade();
        let old = self.bits.fetch_or(PENDING, Ordering::SeqCst);
        if old & PENDING == 0
            && old & RUNNING != 0
            && let Some(stub) = stub
        {
            // SAFETY: sends a signal, to a thread of a process of ours.
            unsafe { libc::syscall(libc::SYS_tgkill, stub.life().pid(), self.tid, INTERRUPT) };
        }
    }
}

/// One guest thread.
pub struct SystrapContext {
    stub: Arc<Stub>,
    slot: usize,
    head: usize,
    frame: Frame,
    flag: Arc<Flag>,
    format: Format,
    pace: Pace,
    mover: Mover,
    /// The registers as the frame has them.
    seen: Option<Registers>,
}

impl SystrapContext {
    /// Of a host thread that waits for its turn.
    pub fn new(stub: Arc<Stub>, thread: Thread, format: Format) -> SystrapContext {
        let Thread { slot, tid, frame } = thread;
        let flag = Arc::new(Flag { bits: AtomicU32::new(0), tid, stub: Arc::downgrade(&stub) });
        let (pace, mover) = (Pace::new(), Mover::new(tid));
        SystrapContext { stub, slot, head: Stub::block(slot) + HEAD, frame, flag, format, pace, mover, seen: None }
    }

    /// Gives the guest its turn, and waits until it is ours again.
    fn run(&mut self) -> Result<(), Gone> {
        let stub = Arc::clone(&self.stub);
        let running = stub.core().running.fetch_add(1, Ordering::Relaxed) + 1;
        let spins = self.pace.spins(running < stub.core().cores);
        let shared = stub.shared();
        shared.u32(self.head + SPIN).store(spins, Ordering::Relaxed);
        let turn = shared.u32(self.head + TURN);
        turn.store(TURN_GUEST, Ordering::SeqCst);
        let slept = shared.u32(self.head + STUB_WAITS).load(Ordering::SeqCst) != 0;
        if slept {
            if spins == 0 {
                self.mover.bring_here();
            } else {
                self.mover.let_go();
            }
            let _ = futex::wake(turn, Flags::empty(), 1);
        }
        let quick = (0..spins).any(|_| {
            core::hint::spin_loop();
            turn.load(Ordering::Acquire) == TURN_SENTRY
        });
        if spins != 0 {
            self.pace.learn(quick, slept);
        }
        let result = if quick { self.alive() } else { self.sleep(shared, turn) };
        stub.core().running.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Waits, asleep, for our turn.
    fn sleep(&mut self, shared: &Shared, turn: &AtomicU32) -> Result<(), Gone> {
        let sleeping = shared.u32(self.head + SENTRY_WAITS);
        sleeping.store(1, Ordering::SeqCst);
        let mut asked: Option<Instant> = None;
        let result = loop {
            if self.stub.life().dead() {
                break Err(self.stub.life().why());
            }
            if turn.load(Ordering::SeqCst) == TURN_SENTRY {
                break self.alive();
            }
            if self.flag.bits.load(Ordering::SeqCst) & PENDING != 0 {
                let since = *asked.get_or_insert_with(Instant::now);
                if since.elapsed() > self.stub.life().patience(PATIENCE) {
                    self.stub.life().kill_for(Gone::Stuck);
                }
            }
            let limit = if self.mover.bound() { &BOUND } else { &TICK };
            if let Err(rustix::io::Errno::TIMEDOUT) = futex::wait(turn, Flags::empty(), TURN_GUEST, Some(limit)) {
                self.mover.let_go();
            }
        };
        sleeping.store(0, Ordering::Relaxed);
        result
    }

    fn alive(&self) -> Result<(), Gone> {
        if self.stub.life().dead() { Err(self.stub.life().why()) } else { Ok(()) }
    }

    /// Reads what the guest thread left.
    fn read(&mut self, regs: &mut Registers) -> Option<Cause> {
        let shared = self.stub.shared();
        let frame = shared.get(self.head + FRAME);
        self.frame = Frame::at(Stub::block(self.slot), self.stub.address(self.slot), frame)?;
        self.frame.load(shared, regs);
        regs.fs_base = shared.get(self.head + FS_BASE);
        regs.gs_base = shared.get(self.head + GS_BASE);
        self.seen = Some(*regs);
        Some(self.frame.cause(shared))
    }

    fn write(&mut self, regs: &Registers) {
        let shared = self.stub.shared();
        self.frame.store(shared, regs, self.seen.as_ref());
        // Other values would be refused by the processor, in the stub.
        let base = |value: u64| if value < HOST_END { value } else { 0 };
        if self.seen.is_none_or(|seen| seen.fs_base != regs.fs_base) {
            shared.set(self.head + FS_BASE, base(regs.fs_base));
        }
        if self.seen.is_none_or(|seen| seen.gs_base != regs.gs_base) {
            shared.set(self.head + GS_BASE, base(regs.gs_base));
        }
    }
}

impl Context for SystrapContext {
    fn switch(&mut self, regs: &mut Registers) -> Exit {
        let mut first = true;
        loop {
            if self.flag.bits.fetch_or(RUNNING, Ordering::SeqCst) & PENDING != 0 {
                self.flag.bits.store(0, Ordering::SeqCst);
                return Exit::Interrupted;
            }
            if first {
                self.write(regs);
                first = false;
            }
            let result = self.run();
            let interrupted = self.flag.bits.swap(0, Ordering::SeqCst) & PENDING != 0;
            if let Err(gone) = result {
                return Exit::Gone(gone);
            }
            let Some(cause) = self.read(regs) else {
                // Only a guest that has tampered with its signal stack gets here.
                return Exit::Gone(self.stub.life().end(Gone::Corrupt));
            };
            if let Some(exit) = decode(&cause, regs) {
                return exit;
            }
            if interrupted {
                return Exit::Interrupted;
            }
            // A signal that was late, or came from outside: go on.
        }
    }

    fn interrupter(&self) -> Arc<dyn Interrupter> {
        Arc::clone(&self.flag) as Arc<dyn Interrupter>
    }

    fn fpstate(&mut self) -> Vec<u8> {
        self.format.read(self.stub.shared(), self.frame)
    }

    fn set_fpstate(&mut self, state: &[u8]) -> Result<(), Errno> {
        self.format.write(self.stub.shared(), self.frame, Stub::block(self.slot), state)
    }
}

impl Drop for SystrapContext {
    fn drop(&mut self) {
        self.stub.put_thread(Thread { slot: self.slot, tid: self.flag.tid, frame: self.frame });
    }
}

/// Why the guest thread stopped, or `None` for a signal that is not its own doing.
fn decode(cause: &Cause, regs: &mut Registers) -> Option<Exit> {
    const SYS_SECCOMP: i32 = 1;
    const PAGE_FAULT: u64 = 14;
    const PROTECTION_FAULT: u64 = 13;
    if cause.code <= 0 {
        return None;
    }
    let exception = |signo: i32| {
        let Cause { code, addr, trapno, error_code, .. } = *cause;
        Some(Exit::Exception { signo, code, addr, trapno, error_code })
    };
    match cause.signo {
        libc::SIGSYS if cause.code == SYS_SECCOMP && cause.arch == ARCH_X86_64 => {
            regs.orig_rax = regs.rax;
            regs.rax = Errno::ENOSYS.to_ret();
            Some(Exit::Syscall)
        }
        // A 32-bit call, which there are none of.
        libc::SIGSYS => Some(Exit::Exception {
            signo: libc::SIGSEGV,
            code: libc::SI_KERNEL,
            addr: 0,
            trapno: PROTECTION_FAULT,
            error_code: 0,
        }),
        libc::SIGSEGV if cause.trapno == PAGE_FAULT => {
            let bit = |bit: u32| cause.error_code >> bit & 1 != 0;
            let access = Access { read: !bit(1) && !bit(4), write: bit(1), execute: bit(4) };
            Some(Exit::Fault { addr: cause.cr2, access })
        }
        signo @ (libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP) => exception(signo),
        _ => None,
    }
}
