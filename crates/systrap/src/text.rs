//! The stub's code: all that runs in a guest's host process besides the guest.
//!
//! Position-independent assembly, copied to the start of the stub region. It uses no stack. Offsets of data are
//! relative to the text. Guests may jump anywhere into it: nothing here can do more than their filter allows.
//!
//! `text/switch.s`: signals, and the way back; `text/serve.s`: calls from patched sites; `text/mapper.s`: mapper threads.

use crate::dozing;
use crate::frame;
use crate::layout::*;
use crate::zygote::INTERRUPT;
use core::arch::global_asm;

/// `si_code` of a `SIGSYS` that a seccomp filter sends.
pub const SYS_SECCOMP: i32 = 1;
/// Flags with which a mapper makes guest threads.
pub const GUEST_CLONE: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM) as u64;
/// Flags with which the zygote makes stubs: children of the Sentry, without a signal on exit.
pub const STUB_CLONE: u64 = (libc::CLONE_FILES | libc::CLONE_PARENT) as u64;
/// Flags of the zygote's last step: it gets the memory of a short-lived process, but none of the C library's state that
/// the host kernel keeps for a thread (`rseq`).
pub const ZYGOTE_CLONE: u64 = (libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PARENT) as u64;

global_asm!(
    include_str!("text/switch.s"),
    include_str!("text/serve.s"),
    include_str!("text/mapper.s"),
    BLOCK = const BLOCK,
    HEAD = const HEAD,
    TURN = const TURN,
    STUB_WAITS = const STUB_WAITS,
    SENTRY_WAITS = const SENTRY_WAITS,
    SPIN = const SPIN,
    STUB_PASSES = const STUB_PASSES,
    FS_BASE = const FS_BASE,
    GS_BASE = const GS_BASE,
    FRAME = const FRAME,
    TURN_SENTRY = const TURN_SENTRY,
    TURN_SENTRY_CALL = const TURN_SENTRY_CALL,
    TURN_RAISE = const TURN_RAISE,
    TURN_MAP = const TURN_MAP,
    CORE = const CORE,
    CORE_SELECTOR = const CORE_SELECTOR,
    CALL_RAX = const CALL_RAX,
    NUMBER = const NUMBER,
    CALL_RDI = const CALL_RDI,
    CALL_RSI = const CALL_RSI,
    CALL_RDX = const CALL_RDX,
    CALL_R10 = const CALL_R10,
    CALL_R8 = const CALL_R8,
    CALL_R9 = const CALL_R9,
    SERVE_LIMIT = const SERVE_LIMIT,
    KICK = const KICK,
    ALERT = const ALERT,
    YIELDS = const YIELDS,
    MASK = const MASK,
    SAVED_RIP = const SAVED_RIP,
    SAVED_FLAGS = const SAVED_FLAGS,
    RESULT = const RESULT,
    TGID = const TGID,
    TID = const TID,
    PPID = const PPID,
    PGID = const PGID,
    RUID = const RUID,
    EUID = const EUID,
    RGID = const RGID,
    EGID = const EGID,
    WAITERS = const WAITERS,
    SLEEPERS = const SLEEPERS,
    DOZES = const DOZES,
    LOOK_FAILS = const LOOK_FAILS,
    LOOK_SKIPS = const LOOK_SKIPS,
    LONG_LOOK = const dozing::LONG_LOOK,
    LOOKS = const dozing::LOOKS,
    DOZES_SINCE = const DOZES_SINCE,
    FAILS_FREE = const dozing::FAILS_FREE,
    LONG_WAIT = const dozing::LONG_WAIT,
    LONG_WAIT_SKIPS = const dozing::LONG_WAIT_SKIPS,
    FAILS_MAX = const dozing::FAILS_MAX,
    SLEPT = const SLEPT,
    UNSEEN_LEFT = const UNSEEN_LEFT,
    UNSEEN = const UNSEEN,
    UNSEEN_NUMBER = const UNSEEN_NUMBER,
    UNSEEN_MAX = const UNSEEN_MAX,
    ROBUST_LIST = const ROBUST_LIST,
    ROBUST_HEAD = const platform::ROBUST_HEAD,
    CLEAR_TID = const CLEAR_TID,
    USER_END = const USER_RANGE.end,
    INTERRUPT = const INTERRUPT,
    HELD = const HELD,
    FUTEX_LOOKS = const FUTEX_LOOKS,
    RAISED = const RAISED,
    RAISED_VECTOR = const RAISED_VECTOR,
    VECTOR_MAGIC = const VECTOR_MAGIC,
    VECTOR_FEATURES = const VECTOR_FEATURES,
    VECTOR_SIZE = const VECTOR_SIZE,
    CODE_STOP = const CODE_STOP,
    CODE_CALL = const CODE_CALL,
    CODE_HELD = const CODE_HELD,
    FRAME_RIP = const frame::RIP,
    FRAME_REGS = const frame::SIGCONTEXT,
    FRAME_UC_FLAGS = const frame::UC_FLAGS,
    FRAME_STACK = const frame::UC_STACK,
    FRAME_SIGMASK = const frame::SIGMASK,
    FRAME_VECTOR = const frame::FPSTATE,
    FRAME_SIGNO = const frame::SIGINFO,
    FRAME_CODE = const frame::SIGINFO + 8,
    FRAME_ARCH = const frame::SIGINFO + 28,
    ARCH = const crate::filter::ARCH_X86_64,
    SIGSYS = const libc::SIGSYS,
    SYS_SECCOMP = const SYS_SECCOMP,
    TRAP_FLAG = const 0x100,
    UC_FLAGS = const frame::FRAME_FLAGS,
    SELECTORS = const frame::SELECTORS_VALUE,
    MAGIC2 = const crate::fpu::MAGIC2,
    BLOCKABLE = const !(1i64 << (libc::SIGKILL - 1) | 1i64 << (libc::SIGSTOP - 1)),
    ARCH_SET_FS = const 0x1002,
    EAGAIN = const libc::EAGAIN,
    EINTR = const libc::EINTR,
    ENOSYS = const libc::ENOSYS,
    ETIMEDOUT = const libc::ETIMEDOUT,
    NSEC_MAX = const 999_999_999,
    FUTEX_CMD_MASK = const libc::FUTEX_CMD_MASK,
    FUTEX_WAIT_BITSET = const libc::FUTEX_WAIT_BITSET,
    FUTEX_WAKE_BITSET = const libc::FUTEX_WAKE_BITSET,
    FUTEX_PRIVATE = const libc::FUTEX_PRIVATE_FLAG,
    FUTEX_CLOCK_REALTIME = const libc::FUTEX_CLOCK_REALTIME,
    SYS_sched_yield = const libc::SYS_sched_yield,
    GUEST_FPROG = const GUEST_FPROG,
    MAPPER_FPROG = const MAPPER_FPROG,
    COMMAND = const COMMAND,
    COMMAND_LEN = const COMMAND_LEN,
    RESPONSE = const RESPONSE,
    RESPONSE_LEN = const RESPONSE_LEN,
    CONTEXTS = const CONTEXTS,
    CHUNK_LEN = const CHUNK * BLOCK,
    FILE_RESPONSE = const FILE_RESPONSE,
    FILE_CONTEXTS = const FILE_CONTEXTS,
    REGION_LEN = const REGION_LEN,
    HOST_END = const HOST_END,
    RESP_PID = const RESP_PID,
    RESP_COPY = const RESP_COPY,
    RESP_DONE = const RESP_DONE,
    RESP_RESULTS = const RESP_RESULTS,
    CMD_SEQ = const CMD_SEQ,
    CMD_COUNT = const CMD_COUNT,
    CMD_WAITS = const CMD_WAITS,
    CMD_PARENT = const CMD_PARENT,
    CMD_CALLS = const CMD_CALLS,
    CALL_LEN = const CALL_LEN,
    CALL_MAY_FAIL = const CALL_MAY_FAIL,
    ZYGOTE_CLONE = const ZYGOTE_CLONE,
    FUTEX_WAIT = const libc::FUTEX_WAIT,
    FUTEX_WAKE = const libc::FUTEX_WAKE,
    SECCOMP_SET_MODE_FILTER = const libc::SECCOMP_SET_MODE_FILTER,
    PR_SET_PDEATHSIG = const libc::PR_SET_PDEATHSIG,
    SIGKILL = const libc::SIGKILL,
    PROT_READ = const libc::PROT_READ,
    PROT_READ_WRITE = const libc::PROT_READ | libc::PROT_WRITE,
    MAP_SHARED_FIXED = const libc::MAP_SHARED | libc::MAP_FIXED,
    SYS_futex = const libc::SYS_futex,
    SYS_rt_sigreturn = const libc::SYS_rt_sigreturn,
    SYS_seccomp = const libc::SYS_seccomp,
    SYS_exit_group = const libc::SYS_exit_group,
    SYS_clone = const libc::SYS_clone,
    SYS_prctl = const libc::SYS_prctl,
    SYS_getppid = const libc::SYS_getppid,
    SYS_munmap = const libc::SYS_munmap,
    SYS_mmap = const libc::SYS_mmap,
);

unsafe extern "C" {
    static vizor_stub_text: u8;
    static vizor_stub_end: u8;
    static vizor_stub_handler: u8;
    static vizor_stub_resume: u8;
    static vizor_stub_guest: u8;
    static vizor_stub_process: u8;
    static vizor_stub_zygote: u8;
    static vizor_stub_enter: u8;
    static vizor_stub_yield: u8;
    static vizor_stub_pass: u8;
    static vizor_stub_mapped: u8;
    static vizor_stub_mapped_call: u8;
    static vizor_stub_forward: u8;
    static vizor_stub_undo_mask: u8;
    static vizor_stub_load_mask: u8;
    static vizor_stub_store_mask: u8;
    static vizor_stub_load_nsec: u8;
    static vizor_stub_load_sec: u8;
    static vizor_stub_load_word: u8;
    static vizor_stub_load_key: u8;
    static vizor_stub_dozed: u8;
    static vizor_stub_woke: u8;
}

/// A place in the stub's code, as an offset from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// The signal handler.
    Handler,
    /// Past the one `rt_sigreturn`.
    Resume,
    /// First instruction of a guest thread.
    Guest,
    /// First instruction of a stub's mapper thread.
    Process,
    /// First instruction of the zygote.
    Zygote,
    /// Where patched sites go.
    Enter,
    /// Past the `sched_yield` that is a guest's.
    Yield,
    /// Past the one of a thread that has handed over.
    Pass,
    /// Past the one of a thread that has let the mapper run, and waits with a frame.
    Mapped,
    /// The same, with a call.
    MappedCall,
    /// Hands the call over.
    Forward,
    /// Puts the mask back, and hands the call over.
    UndoMask,
    /// May fault.
    LoadMask,
    /// May fault.
    StoreMask,
    /// May fault.
    LoadNsec,
    /// May fault.
    LoadSec,
    /// May fault.
    LoadWord,
    /// May fault.
    LoadKey,
    /// Past a guest's own wait for a private futex.
    Dozed,
    /// Past a guest's own wake of one.
    Woke,
}

impl Entry {
    /// The offset in the text.
    pub fn offset(self) -> usize {
        let at = match self {
            Entry::Handler => &raw const vizor_stub_handler,
            Entry::Resume => &raw const vizor_stub_resume,
            Entry::Guest => &raw const vizor_stub_guest,
            Entry::Process => &raw const vizor_stub_process,
            Entry::Zygote => &raw const vizor_stub_zygote,
            Entry::Enter => &raw const vizor_stub_enter,
            Entry::Yield => &raw const vizor_stub_yield,
            Entry::Pass => &raw const vizor_stub_pass,
            Entry::Mapped => &raw const vizor_stub_mapped,
            Entry::MappedCall => &raw const vizor_stub_mapped_call,
            Entry::Forward => &raw const vizor_stub_forward,
            Entry::UndoMask => &raw const vizor_stub_undo_mask,
            Entry::LoadMask => &raw const vizor_stub_load_mask,
            Entry::StoreMask => &raw const vizor_stub_store_mask,
            Entry::LoadNsec => &raw const vizor_stub_load_nsec,
            Entry::LoadSec => &raw const vizor_stub_load_sec,
            Entry::LoadWord => &raw const vizor_stub_load_word,
            Entry::LoadKey => &raw const vizor_stub_load_key,
            Entry::Dozed => &raw const vizor_stub_dozed,
            Entry::Woke => &raw const vizor_stub_woke,
        };
        at.addr() - (&raw const vizor_stub_text).addr()
    }

    /// Where a served call goes on whose access to guest memory at `self` faulted: the kernel sees to it then.
    pub fn after_fault(self) -> Option<Entry> {
        match self {
            Entry::LoadMask | Entry::LoadNsec | Entry::LoadSec | Entry::LoadWord | Entry::LoadKey => {
                Some(Entry::Forward)
            }
            Entry::StoreMask => Some(Entry::UndoMask),
            _ => None,
        }
    }
}

/// The code's bytes.
pub fn code() -> &'static [u8] {
    let start = &raw const vizor_stub_text;
    let len = (&raw const vizor_stub_end).addr() - start.addr();
    // SAFETY: both symbols are in one read-only section, defined above in this order.
    unsafe { core::slice::from_raw_parts(start, len) }
}
