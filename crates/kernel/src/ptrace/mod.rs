//! Tracing: what debuggers see and change of other tasks (ptrace(2)).
//!
//! A tracee that stops ([`CurrentTask::trace_stop`], on its own thread) leaves its registers and vector state in a [`Stop`],
//! where its tracer reads and changes them ([`CurrentTask::with_stop`], on the tracer's); when it is let go on, it takes them
//! back. All of that is in [`ThreadSignals::trace`](crate::signal::ThreadSignals), under the process's `SIGNALS` lock like the
//! rest of what signals and stops are made of. Who traces whom is in the process [`tree`](crate::tree), for waits and ends.
//!
//! - `attach`: the beginning and the end of tracing; `access`: who may.
//! - `stop`: stops for signals, job control and the tracer's wish; `calls`: at system calls; `events`: at forks, programs, ends.
//! - `resume`: what tracers do; `registers`, `vectors`: what they see; `debug`: debug registers, which are emulated.
//!
//! An untraced task pays one look at its `trace_mode` in a call.

mod access;
mod attach;
mod calls;
mod debug;
mod events;
mod registers;
mod resume;
mod stop;
mod vectors;

pub use access::may_access;
pub use attach::Attach;
pub use debug::DebugRegisters;
pub(crate) use debug::Watch;
pub(crate) use events::Inherited;
pub use registers::{WORDS, set_register};
pub use resume::Resume;
pub use vectors::{LEGACY, set_vectors, vectors};

use abi::signal::{SigInfo, SigSet, Signal};
use mm::PlainText;
use platform::Registers;

/// Options (`PTRACE_O_*`); those of events are `1 << event`.
#[allow(missing_docs)]
pub mod option {
    pub const SYSGOOD: u32 = 1;
    pub const EXITKILL: u32 = 1 << 20;
    /// All that there are. `PTRACE_O_SUSPEND_SECCOMP` is not: as on a kernel without checkpoints.
    pub const ALL: u32 = 0xff | EXITKILL;
}

/// Events (`PTRACE_EVENT_*`).
#[allow(missing_docs)]
pub mod event {
    pub const FORK: u32 = 1;
    pub const VFORK: u32 = 2;
    pub const CLONE: u32 = 3;
    pub const EXEC: u32 = 4;
    pub const VFORK_DONE: u32 = 5;
    pub const EXIT: u32 = 6;
    pub const STOP: u32 = 128;
}

/// What a stop's message says of a system call (`PTRACE_EVENTMSG_*`).
#[allow(missing_docs)]
pub mod message {
    pub const SYSCALL_ENTRY: u64 = 1;
    pub const SYSCALL_EXIT: u64 = 2;
}

/// Bits of a task's `trace_mode`: whether it is traced, and how it was let go on.
pub(crate) mod mode {
    pub const TRACED: u32 = 1;
    /// It stops at system calls.
    pub const SYSCALL: u32 = 2;
    /// It makes no system calls.
    pub const EMULATE: u32 = 4;
    /// It stops after each instruction.
    pub const STEP: u32 = 8;
}

/// The processor's trap flag.
const TRAP_FLAG: u64 = 0x100;

/// Who traces a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tracer {
    /// Process id.
    pub pid: i32,
    /// Thread id: requests are this thread's alone.
    pub tid: i32,
    /// It had `CAP_SYS_PTRACE` when it began: programs may gain privileges under it.
    pub privileged: bool,
}

/// What there is of a traced thread besides.
pub struct Tracee {
    /// Who traces it.
    pub tracer: Tracer,
    /// By `PTRACE_SEIZE`.
    pub seized: bool,
    /// Options.
    pub options: u32,
    /// Of its last stop (`PTRACE_GETEVENTMSG`).
    pub message: u64,
    /// It is stopped for the tracer.
    pub stop: Option<Box<Stop>>,
    /// `PTRACE_LISTEN`: it is stopped, and not the tracer's to look into.
    listening: bool,
    /// Word of a change in job control is due, whatever it stops for before.
    notify: bool,
    /// Nothing holds it at its end.
    pub(crate) killed: bool,
    /// The process's last stop signal.
    pub(crate) stop_signal: Signal,
    /// Debug registers.
    pub debug: DebugRegisters,
    /// No site of its text is patched.
    text: PlainText,
}

/// A thread's share in tracing.
#[derive(Default)]
pub struct TraceSlot {
    /// Set while it is traced.
    pub by: Option<Box<Tracee>>,
    /// The state that it is to go on with from its stop.
    released: Option<Box<Stop>>,
}

/// A stopped tracee's state.
pub struct Stop {
    /// As waits report it: the signal, and the event in the second byte.
    pub code: i32,
    /// A wait has reported it.
    pub reported: bool,
    /// Why, as a `SIGCHLD`'s code says.
    why: i32,
    /// What is known of the signal; job control's stops have none.
    pub info: Option<SigInfo>,
    /// General registers, with what an interrupted call would return by itself.
    pub regs: Registers,
    /// Vector state, in the form of a signal frame.
    pub fpstate: Vec<u8>,
    /// The tracer has changed it.
    pub vectors_changed: bool,
    /// The mask that comes back after the next signal.
    pub saved_mask: Option<SigSet>,
    /// The signal that it goes on with.
    pub signal: Signal,
}

impl Tracee {
    fn wants(&self, event: u32) -> bool {
        self.options >> event & 1 != 0
    }
}
