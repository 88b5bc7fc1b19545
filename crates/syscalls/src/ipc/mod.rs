//! System V IPC and POSIX message queues, by kind.

mod mq;
mod msg;
mod sem;
mod shm;

use crate::table::Entry;
use ::ipc::{Namespace, Who};
use abi::Errno;
use kernel::{CurrentTask, IpcContext, SysErr};

/// The families.
pub const TABLES: &[&[Entry]] = &[mq::TABLE, msg::TABLE, sem::TABLE, shm::TABLE];

/// Names of `IPC_*` flags.
const GET_FLAGS: &[(u64, &str)] = &[(0o1000, "IPC_CREAT"), (0o2000, "IPC_EXCL"), (0o4000, "IPC_NOWAIT")];

/// `IPC_64`, which old callers add to commands.
const IPC_64: i32 = 0x100;

fn who(t: &CurrentTask) -> Who<'_> {
    Who { creds: t.creds(), pid: t.group.tgid }
}

/// Does something in the task's namespace.
fn within<R>(t: &CurrentTask, work: impl FnOnce(&Namespace) -> Result<R, SysErr>) -> Result<R, SysErr> {
    let context: IpcContext = t.ipc().ok_or(Errno::ENOSYS)?;
    let namespace = context.namespace.as_any().downcast_ref::<Namespace>().ok_or(Errno::ENOSYS)?;
    work(namespace)
}
