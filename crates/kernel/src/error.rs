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

impl Restart {
    /// The codes, from 512 on; 515 is `ENOIOCTLCMD`.
    const CODES: [(i64, Restart); 4] =
        [(-512, Restart::Sys), (-513, Restart::NoIntr), (-514, Restart::NoHand), (-516, Restart::Block)];

    /// What Linux has in `rax` meanwhile, and debuggers see.
    #[must_use]
    pub fn to_ret(self) -> u64 {
        Restart::CODES.iter().find(|(_, how)| *how == self).map_or(0, |(code, _)| code.cast_unsigned())
    }

    /// The same read back.
    #[must_use]
    pub fn from_ret(rax: u64) -> Option<Restart> {
        Restart::CODES.iter().find(|(code, _)| code.cast_unsigned() == rax).map(|(_, how)| *how)
    }
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
