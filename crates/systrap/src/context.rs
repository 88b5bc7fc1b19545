//! One guest thread: the switch protocol from the Sentry's side, and interrupts.
//!
//! `TURN` in the block's head says whose turn it is. Each side stores it, and wakes the other if that has said that it
//! sleeps. A guest can write these words at any time: all that it gains is a wrong exit of its own, or to be killed.
//!
//! A stub comes in one of two ways: with a signal frame, which holds all registers, or from a patched site with a call,
//! that is its number and arguments, the rest staying where it is. The Sentry answers the latter with the result alone, or
//! lets the stub *raise* it to the former if more of the registers is wanted.

use crate::crowd::{Ticket, Turn};
use crate::dozing;
use crate::filter::ARCH_X86_64;
use crate::fpu::Format;
use crate::frame::{Cause, Frame};
use crate::layout::*;
use crate::lender::Lender;
use crate::linger::Linger;
use crate::local::Local;
use crate::pace::{Mover, Pace};
use crate::passing::{PASSES, Passing};
use crate::shared::Shared;
use crate::stay::Stay;
use crate::stub::{Stub, Thread};
use crate::text::{Entry, SYS_SECCOMP};
use crate::watch::Core;
use crate::zygote::INTERRUPT;
use abi::Errno;
use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use platform::{Access, Context, Exit, Gone, Interrupter, LocalState, Registers};
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
/// How long a guest thread whose turn it is may run between two calls.
const STALL: Timespec = Timespec { tv_sec: 0, tv_nsec: 300_000 };

/// How many signals may come between the order to come with a frame and that frame. An honest stub has one at most.
const LATE_SIGNALS: u32 = 16;

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

/// What the stub does before it sleeps: how often it looks for its turn, how often it then yields the core, and how often
/// it looks at a futex.
#[derive(Clone, Copy)]
struct Ways {
    spins: u32,
    passes: u32,
    futex_looks: u32,
    /// Whether it may wait for a futex in the host.
    dozes: u32,
}

impl Ways {
    /// Of a block that another thread has used.
    const UNKNOWN: Ways = Ways { spins: u32::MAX, passes: u32::MAX, futex_looks: u32::MAX, dozes: u32::MAX };
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
    ticket: Ticket,
    linger: RefCell<Linger>,
    passing: Passing,
    mover: Mover,
    stay: RefCell<Stay>,
    lender: Arc<Lender>,
    /// The registers as the frame has them.
    seen: Option<Registers>,
    /// The stub waits with a call and no frame.
    call: bool,
    /// The result of the call that the stub waits with.
    result: Option<u64>,
    /// What the stub has been told.
    ways: Cell<Ways>,
    /// The task has slept in the kernel since the guest's last turn.
    slept: Cell<bool>,
    /// The stub has been let sleep to make a process.
    dismissed: Cell<bool>,
    /// Since when the stub owes an answer, to an interrupt that it has been told of or to what it was asked for.
    asked: Option<Instant>,
    /// The `syscall` instruction of the last exit, if it is not patched.
    site: Option<u64>,
    local: Arc<Local>,
}

/// Calls that need or change registers other than their arguments and result.
const WANT_ALL: [i64; 7] = [
    libc::SYS_clone,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_rt_sigreturn,
];

impl SystrapContext {
    /// Of a host thread that waits for its turn.
    pub fn new(stub: Arc<Stub>, thread: Thread, format: Format) -> SystrapContext {
        let Thread { slot, tid, frame } = thread;
        let flag = Arc::new(Flag { bits: AtomicU32::new(0), tid, stub: Arc::downgrade(&stub) });
        let (pace, mover) = (Pace::new(), Mover::new(tid));
        let local = Arc::new(Local::new(&stub, slot, format));
        stub.core().contexts.fetch_add(1, Ordering::Relaxed);
        let head = Stub::block(slot) + HEAD;
        stub.core().dozers.add(stub.shared_memory(), head);
        SystrapContext {
            slot,
            head,
            frame,
            flag,
            format,
            pace,
            ticket: Ticket::new(),
            linger: RefCell::new(Linger::new(tid)),
            passing: Passing::new(),
            mover,
            stay: RefCell::new(Stay::default()),
            lender: Lender::new(stub.id(), head),
            seen: None,
            call: false,
            result: None,
            ways: Cell::new(Ways::UNKNOWN),
            slept: Cell::new(false),
            dismissed: Cell::new(false),
            asked: None,
            site: None,
            local,
            stub,
        }
    }

    /// Gives the guest its turn, and waits until it is ours again. Returns what `TURN` is then.
    fn run(&mut self, give: u32) -> Result<u32, Gone> {
        let stub = Arc::clone(&self.stub);
        self.lender.goes();
        if self.slept.take() {
            self.pace.slept();
            if self.linger.get_mut().over() {
                self.local.long_wait();
            }
        }
        let core = stub.core();
        let strangers = core.load.strangers(|| self.sandbox_runs(core));
        if core.running.load(Ordering::Relaxed) > 0 {
            core.dozers.recount();
        }
        let others = core.runs();
        let futex_looks = Linger::futex_looks(&core.lingerers, others + strangers);
        let spins = self.may_spin(&stub, give == TURN_GUEST, strangers);
        core.running.fetch_add(1, Ordering::Relaxed);
        let result = match spins {
            true => self.spin(&stub, give, futex_looks),
            false => self.pass(&stub, give, futex_looks, others == 0),
        };
        core.running.fetch_sub(1, Ordering::Relaxed);
        if spins && result.is_ok() {
            self.lender.waits();
        }
        result
    }

    /// Hands over by spinning.
    fn spin(&mut self, stub: &Stub, give: u32, futex_looks: u32) -> Result<u32, Gone> {
        let spins = self.pace.spins(stub.core().contexts.load(Ordering::Relaxed) == 1);
        self.set_ways(Ways { spins, passes: 0, futex_looks, dozes: self.may_doze() });
        self.mover.keep_away();
        let shared = stub.shared();
        let (turn, slept) = self.give(shared, give);
        if slept {
            let _ = futex::wake(turn, Flags::empty(), 1);
        }
        let quick = (0..spins).find_map(|_| {
            core::hint::spin_loop();
            let now = turn.load(Ordering::Acquire);
            ours(now).then_some(now)
        });
        self.pace.learn(quick.is_some() && !slept);
        match quick {
            Some(now) => self.alive().map(|()| now),
            None => self.sleep(shared, turn),
        }
    }

    /// Hands over on this core, by yielding it or by sleeping. `alone` says that no other guest thread runs.
    fn pass(&mut self, stub: &Stub, give: u32, futex_looks: u32, alone: bool) -> Result<u32, Gone> {
        let core = stub.core();
        let cores = &core.lingerers;
        let wanting = core.runs() + core.crowd.waiting();
        let here = self.linger.get_mut().enter(cores, wanting);
        let began = Instant::now();
        let passes = if self.passing.wants(began) && self.mover.is_here() { PASSES } else { 0 };
        self.set_ways(Ways { spins: 0, passes, futex_looks, dozes: self.may_doze() });
        let shared = stub.shared();
        let (turn, slept) = self.give(shared, give);
        if slept {
            self.mover.bring_here();
            let own = self.linger.get_mut().mover();
            match alone {
                true => self.stay.get_mut().stay(own, began),
                false => self.stay.get_mut().leave(own),
            }
            let _ = futex::wake(turn, Flags::empty(), 1);
        }
        let quick = (0..passes).find_map(|_| {
            std::thread::yield_now();
            let now = turn.load(Ordering::Acquire);
            ours(now).then_some(now)
        });
        let result = match quick {
            Some(now) => self.alive().map(|()| now),
            None => self.sleep(shared, turn),
        };
        self.passing.learn(passes != 0, began);
        cores.leave(here);
        result
    }

    /// How many threads of the sandbox run, the caller and its stub among them.
    fn sandbox_runs(&self, core: &Core) -> usize {
        let stub = self.stub.shared().u32(self.head + STUB_WAITS).load(Ordering::Relaxed) == 0;
        1 + usize::from(stub) + core.run()
    }

    /// Gives the stub its turn; returns whether it slept, and must be woken.
    fn give<'a>(&mut self, shared: &'a Shared, give: u32) -> (&'a AtomicU32, bool) {
        let turn = shared.u32(self.head + TURN);
        // Not before: the stub looks at this cache line all the time.
        if let Some(result) = self.result.take() {
            shared.set(self.head + CALL_RAX, result);
        }
        turn.store(give, Ordering::SeqCst);
        (turn, shared.u32(self.head + STUB_WAITS).load(Ordering::SeqCst) != 0)
    }

    /// Tells the stub.
    fn set_ways(&self, ways: Ways) {
        let old = self.ways.replace(ways);
        let shared = self.stub.shared();
        let set = |at: usize, old: u32, new: u32| {
            if old != new {
                shared.u32(self.head + at).store(new, Ordering::Relaxed);
            }
        };
        set(SPIN, old.spins, ways.spins);
        set(STUB_PASSES, old.passes, ways.passes);
        set(FUTEX_LOOKS, old.futex_looks, ways.futex_looks);
        set(DOZES, old.dozes, ways.dozes);
    }

    /// Whether the guest thread may wait for futexes without its Sentry thread: not if others wait for its ticket. What it
    /// sleeps is measured with the time-stamp counter.
    fn may_doze(&self) -> u32 {
        u32::from(!self.ticket.held() && host::tsc::counts())
    }

    /// Whether the next hand-over is to be by spinning, and there are cores for it. If there are not, a `patient` caller
    /// waits for them, for a while.
    fn may_spin(&mut self, stub: &Stub, patient: bool, strangers: usize) -> bool {
        let core = stub.core();
        // It is woken on this core: on the other, which would take longer, the new process begins.
        if self.dismissed.take() {
            self.ticket.give_back(&core.crowd);
            return false;
        }
        if !self.pace.wants() && !self.ticket.invited(&core.crowd) {
            self.ticket.give_back(&core.crowd);
            return false;
        }
        let others = || core.runs() + core.lingerers.lingering();
        let here = others() + core.crowd.waiting();
        if here == 0 && strangers + 1 >= core.cores {
            // The two of us would seldom have a core each at the same time.
            self.ticket.give_back(&core.crowd);
            return false;
        }
        if here + 1 < core.cores {
            return true;
        }
        if !patient {
            return self.ticket.held();
        }
        let turn = self.ticket.ask(&core.crowd, others, || self.let_sleep());
        match turn {
            Turn::Begin => self.pace.begin(),
            Turn::Rest => self.pace.give_up(),
            Turn::Spin | Turn::No => {}
        }
        matches!(turn, Turn::Begin | Turn::Spin)
    }

    /// It will take long until the stub has its turn: its core is wanted by others.
    fn let_sleep(&self) {
        self.lender.goes();
        self.set_ways(Ways { spins: 0, passes: 0, ..self.ways.get() });
    }

    /// A fork takes longer than the stub would look for its answer, and the new process wants the core: lets the stub sleep.
    fn dismiss_to_fork(&self, regs: &Registers) {
        let forks = match i64::from(regs.orig_rax as u32) {
            libc::SYS_fork => true,
            libc::SYS_clone => regs.rdi & libc::CLONE_VM as u64 == 0,
            _ => false,
        };
        if forks {
            self.let_sleep();
            self.dismissed.set(true);
        }
    }

    /// Waits, asleep, for our turn.
    fn sleep(&mut self, shared: &Shared, turn: &AtomicU32) -> Result<u32, Gone> {
        let sleeping = shared.u32(self.head + SENTRY_WAITS);
        sleeping.store(1, Ordering::SeqCst);
        let mut asked = self.asked;
        let result = loop {
            if self.stub.life().dead() {
                break Err(self.stub.life().why());
            }
            let now = turn.load(Ordering::SeqCst);
            if ours(now) {
                break self.alive().map(|()| now);
            }
            if self.flag.bits.load(Ordering::SeqCst) & PENDING != 0 {
                asked.get_or_insert_with(Instant::now);
            }
            if asked.is_some_and(|since| self.too_long(since)) {
                self.stub.life().kill_for(Gone::Stuck);
            }
            let limit = match (self.ticket.held(), self.mover.bound()) {
                (true, _) => &STALL,
                (false, true) => &BOUND,
                (false, false) => &TICK,
            };
            if let Err(rustix::io::Errno::TIMEDOUT) = futex::wait(turn, Flags::empty(), now, Some(limit)) {
                self.ticket.give_back(&self.stub.core().crowd);
                self.mover.let_go();
                self.linger.get_mut().let_go();
            }
        };
        sleeping.store(0, Ordering::Relaxed);
        result
    }

    /// Whether the stub has had enough time to answer.
    fn too_long(&self, since: Instant) -> bool {
        since.elapsed() > self.stub.life().patience(PATIENCE)
    }

    fn alive(&self) -> Result<(), Gone> {
        if self.stub.life().dead() { Err(self.stub.life().why()) } else { Ok(()) }
    }

    /// Reads the frame that the guest thread left, with an instruction pointer that knows of no patches.
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

    /// Reads a call that the guest thread handed over; other registers are not known.
    fn read_call(&self, regs: &mut Registers) {
        let word = |at: usize| self.stub.shared().get(self.head + at);
        regs.orig_rax = word(CALL_RAX);
        regs.rax = Errno::ENOSYS.to_ret();
        regs.rdi = word(CALL_RDI);
        regs.rsi = word(CALL_RSI);
        regs.rdx = word(CALL_RDX);
        regs.r10 = word(CALL_R10);
        regs.r8 = word(CALL_R8);
        regs.r9 = word(CALL_R9);
    }

    fn write(&mut self, regs: &Registers) {
        let mut regs = *regs;
        let patches = self.stub.patches();
        if !patches.is_empty() {
            regs.rip = patches.to_moved(regs.rip);
        }
        let shared = self.stub.shared();
        self.frame.store(shared, &regs, self.seen.as_ref());
        // Other values would be refused by the processor, in the stub.
        let base = |value: u64| if value < HOST_END { value } else { 0 };
        if self.seen.is_none_or(|seen| seen.fs_base != regs.fs_base) {
            shared.set(self.head + FS_BASE, base(regs.fs_base));
        }
        if self.seen.is_none_or(|seen| seen.gs_base != regs.gs_base) {
            shared.set(self.head + GS_BASE, base(regs.gs_base));
        }
    }

    /// What a frame means.
    fn judge(&mut self, cause: &Cause, regs: &mut Registers) -> Verdict {
        if cause.signo == INTERRUPT && matches!(cause.code, CODE_STOP | CODE_CALL) {
            let rip = self.stub.patches().to_guest(regs.rip);
            self.pretend(regs, rip);
            (regs.rcx, regs.r11) = (regs.rip, regs.eflags);
            if cause.code == CODE_STOP {
                return Verdict::Exit(Exit::Interrupted);
            }
            regs.orig_rax = regs.rax;
            regs.rax = Errno::ENOSYS.to_ret();
            return Verdict::Exit(Exit::Syscall);
        }
        let base = self.stub.core().region.base;
        if (base..base + TEXT_LEN as u64).contains(&regs.rip) {
            return self.judge_in_stub(cause, regs);
        }
        let patches = self.stub.patches();
        if !patches.is_empty() {
            let moved = patches.to_moved(regs.rip);
            if cause.signo == libc::SIGILL && moved != regs.rip {
                // A jump to an instruction that has moved.
                self.go_to(moved);
                return Verdict::GoOn;
            }
            if patches.trampoline_at(regs.rip).is_some() {
                let guest = patches.to_guest(regs.rip);
                if guest == regs.rip && cause.signo == INTERRUPT {
                    // On its way to a call: there it will find word of the interrupt.
                    self.stub.shared().u32(self.head + KICK).store(1, Ordering::SeqCst);
                    return Verdict::GoOn;
                }
                self.pretend(regs, guest);
                return decode(cause, regs).map_or(Verdict::Idle, Verdict::Exit);
            }
        }
        let exit = decode(cause, regs);
        if exit == Some(Exit::Syscall) {
            self.site = regs.rip.checked_sub(2);
        }
        exit.map_or(Verdict::Idle, Verdict::Exit)
    }

    /// Says that the thread is at `rip`, which is not where its frame has it.
    fn pretend(&mut self, regs: &mut Registers, rip: u64) {
        regs.rip = rip;
        if let Some(seen) = &mut self.seen {
            seen.rip = !rip;
        }
    }

    /// The same for a thread in the stub's own code.
    fn judge_in_stub(&mut self, cause: &Cause, regs: &mut Registers) -> Verdict {
        let base = self.stub.core().region.base;
        let at = |entry: Entry| base + entry.offset() as u64 == regs.rip;
        let probes =
            [Entry::LoadMask, Entry::StoreMask, Entry::LoadNsec, Entry::LoadSec, Entry::LoadWord, Entry::LoadKey];
        if matches!(cause.signo, libc::SIGSEGV | libc::SIGBUS)
            && let Some(next) = probes.into_iter().find(|probe| at(*probe)).and_then(Entry::after_fault)
        {
            self.go_to(base + next.offset() as u64);
            return Verdict::GoOn;
        }
        decode(cause, regs).map_or(Verdict::Idle, Verdict::Exit)
    }

    /// Lets the thread, which has come with a frame, go on elsewhere.
    fn go_to(&mut self, rip: u64) {
        self.frame.set_rip(self.stub.shared(), rip);
    }

    /// Makes a stub that waits with a call come with a frame instead.
    fn raise(&mut self) -> Result<Registers, Gone> {
        self.call = false;
        self.asked = Some(Instant::now());
        let mut regs = Registers::default();
        let result = self.raised(&mut regs);
        self.asked = None;
        result.map(|()| regs)
    }

    fn raised(&mut self, regs: &mut Registers) -> Result<(), Gone> {
        let mut give = TURN_RAISE;
        for _ in 0..LATE_SIGNALS {
            if self.run(give)? == TURN_SENTRY_CALL {
                return Err(self.stub.life().end(Gone::Corrupt));
            }
            let Some(cause) = self.read(regs) else { return Err(self.stub.life().end(Gone::Corrupt)) };
            match self.judge(&cause, regs) {
                Verdict::Exit(Exit::Interrupted) => return Ok(()),
                // Only a guest that has tampered with its block gets here.
                Verdict::Exit(_) => return Err(self.stub.life().end(Gone::Corrupt)),
                // A late signal.
                Verdict::GoOn | Verdict::Idle => give = TURN_GUEST,
            }
        }
        Err(self.stub.life().end(Gone::Corrupt))
    }
}

/// What a thread's frame means.
enum Verdict {
    /// The kernel is wanted.
    Exit(Exit),
    /// Nothing: a signal that is not the thread's own doing.
    Idle,
    /// The platform has seen to it, and the thread must go on.
    GoOn,
}

/// Whether a value of `TURN` says that it is the Sentry's turn.
fn ours(turn: u32) -> bool {
    turn & 1 == 0
}

impl Context for SystrapContext {
    fn switch(&mut self, regs: &mut Registers) -> Exit {
        self.site = None;
        self.asked = None;
        let mut first = true;
        loop {
            if self.flag.bits.fetch_or(RUNNING, Ordering::SeqCst) & PENDING != 0 {
                self.flag.bits.store(0, Ordering::SeqCst);
                return Exit::Interrupted;
            }
            if first {
                first = false;
                if self.call {
                    self.result = Some(regs.rax);
                } else {
                    self.write(regs);
                }
            }
            let result = self.run(TURN_GUEST);
            if self.flag.bits.swap(0, Ordering::SeqCst) & PENDING != 0 {
                self.asked.get_or_insert_with(Instant::now);
            }
            let turn = match result {
                Ok(turn) => turn,
                Err(gone) => return Exit::Gone(gone),
            };
            self.call = turn == TURN_SENTRY_CALL;
            if self.call {
                self.read_call(regs);
                // The number is an int.
                let all = WANT_ALL.contains(&i64::from(regs.orig_rax as u32));
                if all && let Err(gone) = self.unfold(regs) {
                    return Exit::Gone(gone);
                }
                self.dismiss_to_fork(regs);
                return Exit::Syscall;
            }
            let Some(cause) = self.read(regs) else {
                // Only a guest that has tampered with its signal stack gets here.
                return Exit::Gone(self.stub.life().end(Gone::Corrupt));
            };
            match self.judge(&cause, regs) {
                Verdict::Exit(exit) => {
                    if exit == Exit::Syscall {
                        self.dismiss_to_fork(regs);
                    }
                    return exit;
                }
                Verdict::Idle if self.asked.is_some() => return Exit::Interrupted,
                // It has seen the interrupt, and could go on as if it had not.
                Verdict::GoOn if self.asked.is_some_and(|since| self.too_long(since)) => {
                    return Exit::Gone(self.stub.life().end(Gone::Stuck));
                }
                // A signal that was late, or came from outside.
                Verdict::Idle | Verdict::GoOn => {}
            }
        }
    }

    fn unfold(&mut self, regs: &mut Registers) -> Result<(), Gone> {
        if self.call {
            let full = self.raise()?;
            *regs = Registers { rax: regs.rax, orig_rax: regs.orig_rax, ..full };
        }
        Ok(())
    }

    fn sleeps(&self, ended: &dyn Fn() -> bool) {
        self.ticket.give_back(&self.stub.core().crowd);
        self.let_sleep();
        self.slept.set(true);
        self.stay.borrow_mut().leave(self.linger.borrow_mut().mover());
        let core = self.stub.core();
        let others = core.runs() + core.load.strangers(|| self.sandbox_runs(core));
        self.linger.borrow_mut().wait(&core.lingerers, others, ended);
    }

    fn slept(&self) -> u64 {
        let slept = self.stub.shared().get(self.head + SLEPT);
        // The thread has come, so it does not wait, whatever it says.
        if dozing::waits(slept) { 0 } else { slept }
    }

    fn renew(&mut self) {
        self.frame.set_vector(self.stub.shared(), None);
        self.site = None;
        self.stub.let_pass(self.slot);
        self.pace = Pace::new();
    }

    fn site(&self) -> Option<u64> {
        self.site
    }

    fn served_sites(&self, tell: &mut dyn FnMut(u64, u32)) {
        for at in 0..self.stub.let_pass(self.slot) {
            let (site, number) = self.stub.unseen(self.slot, at);
            tell(site, number);
        }
    }

    fn local(&self) -> Arc<dyn LocalState> {
        Arc::clone(&self.local) as Arc<dyn LocalState>
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
        self.lender.goes();
        self.stub.core().contexts.fetch_sub(1, Ordering::Relaxed);
        self.stub.core().dozers.remove(&self.stub.shared_memory(), self.head);
        if self.stub.core().crowd.waiting() > 0 {
            self.let_sleep();
        }
        self.ticket.give_back(&self.stub.core().crowd);
        // A host thread that is to be used again must wait with a frame.
        if !self.call || self.raise().is_ok() {
            self.stub.put_thread(Thread { slot: self.slot, tid: self.flag.tid, frame: self.frame });
        }
    }
}

/// Why the guest thread stopped, or `None` for a signal that is not its own doing.
fn decode(cause: &Cause, regs: &mut Registers) -> Option<Exit> {
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
