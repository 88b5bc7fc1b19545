//! Tasks and what they share: processes, signals, descriptors, sessions, futexes, timers, terminals.
//!
//! One Sentry thread runs each guest task ([`run`]). [`Task`] is what others see of it, [`CurrentTask`] what only that
//! thread holds. Strong references point down (task to process, memory, tables); upward links are ids in the process
//! [`tree`]. Lock order: `lock::rank`; the ranks from `PROC_TREE` to `FD_TABLE` are this crate's, and no guest memory is touched under
//! them.

pub mod async_io;
pub mod clock;
pub mod clone;
mod error;
pub mod exec;
pub mod exit;
pub mod fd_table;
pub mod fs_context;
pub mod futex;
mod group;
mod ipc;
mod kernel;
pub mod limits;
mod load;
mod park;
pub mod ptrace;
mod run;
pub mod sched;
pub mod signal;
mod task;
mod threads;
pub mod timer;
mod trace;
pub mod tree;
pub mod tty;
pub mod usage;
pub mod wait_child;
pub mod work;

pub use error::{Restart, SysErr, SysResult, WaitEnd};
pub use fd_table::{Fd, FdTable};
pub use fs_context::FsContext;
pub use group::{CpuTime, ExitStatus, Remains, ThreadGroup};
pub use ipc::{IpcContext, IpcNamespace, UndoCell};
pub use kernel::{Dispatch, FsMaker, Kernel, Observer, Parts, Uts};
pub use park::Parker;
pub use task::{CurrentTask, RestartBlock, RunState, Task, current};
pub use trace::Trace;

use abi::raw::general as c;
use host::mappable::{FileId, MapName};

/// A file's name in /proc/PID/maps: its path as it is now.
pub struct MappedPath {
    /// The file.
    pub place: vfs::PathRef,
    /// What counts as `/`.
    pub root: vfs::PathRef,
}

impl MapName for MappedPath {
    fn name(&self) -> Vec<u8> {
        vfs::path_of(&self.place, &self.root)
    }

    fn id(&self) -> Option<FileId> {
        self.place.inode().attr().ok().map(|attr| FileId::of(attr.dev, attr.ino))
    }
}

/// The limits that a memory manager enforces.
#[must_use]
pub fn memory_limits(limits: &limits::Limits, creds: &vfs::Credentials) -> mm::Limits {
    mm::Limits {
        address_space: limits.soft(c::RLIMIT_AS),
        data: limits.soft(c::RLIMIT_DATA),
        stack: limits.soft(c::RLIMIT_STACK),
        locked: limits.soft(c::RLIMIT_MEMLOCK),
        may_lock: creds.capable(vfs::Capability::IpcLock),
    }
}
