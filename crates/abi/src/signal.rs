//! Signals: numbers, sets, `siginfo`, `sigaction`, `sigaltstack` (signal(7), sigaction(2)).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A signal number, 1 to 64.
pub type Signal = i32;

/// Highest signal number.
pub const NSIG: Signal = 64;

macro_rules! signals {
    ($($value:literal $name:ident)*) => {
        $(#[allow(missing_docs)] pub const $name: Signal = $value;)*

        /// The name, `SIGRT_n` for real-time signals.
        #[must_use]
        pub fn name(signal: Signal) -> String {
            match signal {
                $($value => stringify!($name).to_owned(),)*
                32.. => format!("SIGRT_{}", signal - 32),
                _ => format!("signal {signal}"),
            }
        }
    };
}

signals! {
    1 SIGHUP 2 SIGINT 3 SIGQUIT 4 SIGILL 5 SIGTRAP 6 SIGABRT 7 SIGBUS 8 SIGFPE 9 SIGKILL 10 SIGUSR1 11 SIGSEGV 12 SIGUSR2
    13 SIGPIPE 14 SIGALRM 15 SIGTERM 16 SIGSTKFLT 17 SIGCHLD 18 SIGCONT 19 SIGSTOP 20 SIGTSTP 21 SIGTTIN 22 SIGTTOU
    23 SIGURG 24 SIGXCPU 25 SIGXFSZ 26 SIGVTALRM 27 SIGPROF 28 SIGWINCH 29 SIGIO 30 SIGPWR 31 SIGSYS
}

/// A set of signals, bit `n - 1` for signal `n`.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: SigSet = SigSet(0);
    /// `SIGKILL` and `SIGSTOP`, which can't be blocked, caught or ignored.
    pub const UNBLOCKABLE: SigSet = SigSet::of(SIGKILL).with(SIGSTOP);
    /// Signals whose default is to stop.
    pub const STOPS: SigSet = SigSet::of(SIGSTOP).with(SIGTSTP).with(SIGTTIN).with(SIGTTOU);
    /// Signals that the faulting instruction itself causes; dequeued before others.
    pub const SYNCHRONOUS: SigSet =
        SigSet::of(SIGSEGV).with(SIGBUS).with(SIGILL).with(SIGTRAP).with(SIGFPE).with(SIGSYS);

    /// Just `signal`; empty if it is out of range.
    #[must_use]
    pub const fn of(signal: Signal) -> SigSet {
        if signal >= 1 && signal <= NSIG { SigSet(1 << (signal - 1)) } else { SigSet(0) }
    }

    /// With `signal` added.
    #[must_use]
    pub const fn with(self, signal: Signal) -> SigSet {
        SigSet(self.0 | SigSet::of(signal).0)
    }

    /// Without the signals of `other`.
    #[must_use]
    pub const fn without(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }

    /// Whether `signal` is in it.
    #[must_use]
    pub const fn has(self, signal: Signal) -> bool {
        self.0 & SigSet::of(signal).0 != 0
    }

    /// In either.
    #[must_use]
    pub const fn union(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }

    /// In both.
    #[must_use]
    pub const fn intersect(self, other: SigSet) -> SigSet {
        SigSet(self.0 & other.0)
    }

    /// Whether none is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The lowest signal.
    #[must_use]
    pub const fn first(self) -> Option<Signal> {
        if self.0 == 0 { None } else { Some(self.0.trailing_zeros() as Signal + 1) }
    }
}

/// `si_code` values (`include/uapi/asm-generic/siginfo.h`).
#[allow(missing_docs)]
pub mod code {
    pub const SI_USER: i32 = 0;
    pub const SI_KERNEL: i32 = 0x80;
    pub const SI_QUEUE: i32 = -1;
    pub const SI_TIMER: i32 = -2;
    pub const SI_MESGQ: i32 = -3;
    pub const SI_ASYNCIO: i32 = -4;
    pub const SI_SIGIO: i32 = -5;
    pub const SI_TKILL: i32 = -6;
    pub const ILL_ILLOPN: i32 = 2;
    pub const FPE_INTDIV: i32 = 1;
    pub const SEGV_MAPERR: i32 = 1;
    pub const SEGV_ACCERR: i32 = 2;
    pub const BUS_ADRALN: i32 = 1;
    pub const BUS_ADRERR: i32 = 2;
    pub const TRAP_BRKPT: i32 = 1;
    pub const TRAP_TRACE: i32 = 2;
    pub const TRAP_HWBKPT: i32 = 4;
    pub const CLD_EXITED: i32 = 1;
    pub const CLD_KILLED: i32 = 2;
    pub const CLD_DUMPED: i32 = 3;
    pub const CLD_TRAPPED: i32 = 4;
    pub const CLD_STOPPED: i32 = 5;
    pub const CLD_CONTINUED: i32 = 6;
    pub const SYS_SECCOMP: i32 = 1;
}

/// `siginfo_t`: 128 bytes, whose tail depends on signal and code.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SigInfo {
    /// `si_signo`.
    pub signo: i32,
    /// `si_errno`.
    pub errno: i32,
    /// `si_code`.
    pub code: i32,
    pad: u32,
    data: [u64; 14],
}

impl SigInfo {
    /// With an empty tail.
    #[must_use]
    pub const fn new(signo: Signal, code: i32) -> SigInfo {
        SigInfo { signo, errno: 0, code, pad: 0, data: [0; 14] }
    }

    /// From a process: kill(2), tgkill(2).
    #[must_use]
    pub const fn from_process(signo: Signal, code: i32, pid: i32, uid: u32) -> SigInfo {
        SigInfo::new(signo, code).with_sender(pid, uid)
    }

    /// `si_pid` and `si_uid`.
    #[must_use]
    pub const fn with_sender(mut self, pid: i32, uid: u32) -> SigInfo {
        self.data[0] = pid as u32 as u64 | (uid as u64) << 32;
        self
    }

    /// `si_value`, for `SI_QUEUE`, `SI_MESGQ` and, with `si_tid` and `si_overrun` before it, `SI_TIMER`.
    #[must_use]
    pub const fn with_value(mut self, value: u64) -> SigInfo {
        self.data[1] = value;
        self
    }

    /// A fault at `addr`.
    #[must_use]
    pub const fn fault(signo: Signal, code: i32, addr: u64) -> SigInfo {
        let mut info = SigInfo::new(signo, code);
        info.data[0] = addr;
        info
    }

    /// `SIGCHLD`; times in clock ticks.
    #[must_use]
    pub const fn child(code: i32, pid: i32, uid: u32, status: i32, utime: i64, stime: i64) -> SigInfo {
        let mut info = SigInfo::from_process(SIGCHLD, code, pid, uid);
        info.data[1] = status as u32 as u64;
        info.data[2] = utime as u64;
        info.data[3] = stime as u64;
        info
    }

    /// A POSIX timer's expiry.
    #[must_use]
    pub const fn timer(signo: Signal, timer: i32, overrun: i32, value: u64) -> SigInfo {
        SigInfo::from_process(signo, code::SI_TIMER, timer, overrun as u32).with_value(value)
    }

    /// `SIGIO` with `F_SETSIG`.
    #[must_use]
    pub const fn io(signo: Signal, code: i32, band: i64, fd: i32) -> SigInfo {
        let mut info = SigInfo::new(signo, code);
        info.data[0] = band as u64;
        info.data[1] = fd as u32 as u64;
        info
    }

    /// `SIGSYS` of seccomp(2).
    #[must_use]
    pub const fn sys(addr: u64, nr: i32, arch: u32, errno: i32) -> SigInfo {
        let mut info = SigInfo::new(SIGSYS, code::SYS_SECCOMP);
        info.errno = errno;
        info.data[0] = addr;
        info.data[1] = nr as u32 as u64 | (arch as u64) << 32;
        info
    }

    /// `si_pid`, where there is one.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.data[0] as u32 as i32
    }

    /// `si_uid`, where there is one.
    #[must_use]
    pub const fn uid(&self) -> u32 {
        (self.data[0] >> 32) as u32
    }

    /// `si_addr`, where there is one.
    #[must_use]
    pub const fn addr(&self) -> u64 {
        self.data[0]
    }

    /// `si_value`, `si_status` and other second words.
    #[must_use]
    pub const fn second(&self) -> u64 {
        self.data[1]
    }
}

/// `struct sigaction` as rt_sigaction(2) takes it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SigAction {
    /// Address of the handler, or [`SIG_DFL`] or [`SIG_IGN`].
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: SigSet,
}

/// The default action.
pub const SIG_DFL: u64 = 0;
/// Ignored.
pub const SIG_IGN: u64 = 1;

/// `SA_*` flags.
#[allow(missing_docs)]
pub mod sa {
    pub const NOCLDSTOP: u64 = 1;
    pub const NOCLDWAIT: u64 = 2;
    pub const SIGINFO: u64 = 4;
    pub const UNSUPPORTED: u64 = 0x400;
    pub const EXPOSE_TAGBITS: u64 = 0x800;
    pub const RESTORER: u64 = 0x0400_0000;
    pub const ONSTACK: u64 = 0x0800_0000;
    pub const RESTART: u64 = 0x1000_0000;
    pub const NODEFER: u64 = 0x4000_0000;
    pub const RESETHAND: u64 = 0x8000_0000;
}

/// `stack_t` of sigaltstack(2).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AltStack {
    /// `ss_sp`.
    pub sp: u64,
    /// `ss_flags`: `SS_ONSTACK` 1, `SS_DISABLE` 2, `SS_AUTODISARM` 1 << 31.
    pub flags: u32,
    /// Padding.
    pub pad: u32,
    /// `ss_size`.
    pub size: u64,
}
