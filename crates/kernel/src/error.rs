//! How a system call ends, besides well.

use abi::Errno;

/// How a call that a signal interrupted goes on (`include/linux/errno.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    /// `ERESTARTSYS`: again, unless the handler lacks `SA_RESTART`.
    Sys,
    /// `ERESTARTNOINTR`: always again.
    NoIntr,
    /// `ERESTARTNOHAND`: again only if no handler runs.
    NoHand,
    /// `ERESTART_RESTARTBLOCK`: as `NoHand`, but by restart_syscall(2) with the task's restart block.
    Block,
}

/// The end of a system call that did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SysErr {
    /// The guest gets this error.
    Errno(Errno),
    /// A signal interrupted the call.
    Restart(Restart),
}

impl From<Errno> for SysErr {
    fn from(errno: Errno) -> SysErr {
        SysErr::Errno(errno)
    }
}

impl From<host::guestmem::Fault> for SysErr {
    fn from(fault: host::guestmem::Fault) -> SysErr {
        SysErr::Errno(fault.into())
    }
}

/// What a system call returns: the value of `rax`, or why there is none.
pub type SysResult = Result<u64, SysErr>;

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitEnd {
    /// The deadline passed.
    Timeout,
    /// A signal or a stop wants the task.
    Interrupted,
}
