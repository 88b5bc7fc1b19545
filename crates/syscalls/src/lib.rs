//! The system calls of x86-64 Linux: the table, the handlers by family, and the decoder for traces.
//!
//! A handler decodes its arguments, calls the kernel, and encodes the result; policy lives with the objects. To add one,
//! write `fn name(t: &mut CurrentTask, a: Args) -> SysResult` in its family's file and an [`Entry`] in that file's `TABLE`.

mod args;
mod cred;
mod epoll;
mod exec;
mod fs;
mod futex;
mod ipc;
mod memory;
mod net;
mod numa;
mod peers;
mod pidfd;
mod poll;
mod process;
mod ptrace;
mod refused;
mod sched;
mod signal;
mod strace;
mod system;
mod table;
mod time;
mod timer;
mod timerfd;
mod user;

pub use args::{Arg, Args};
pub use system::{RELEASE, VERSION};
pub use table::{Entry, Handler, Table, serves};
