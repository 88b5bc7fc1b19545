//! pidfd_open(2) and what is done through a pidfd.

use crate::args::{Arg, Args};
use crate::fs::add_fd;
use crate::signal::{from_self, own_info, send};
use crate::table::Entry;
use crate::user;
use ::fs::pidfd::{PidFd, new_pidfd};
use abi::Errno;
use abi::raw::general as c;
use abi::signal::code;
use kernel::ptrace::may_access;
use kernel::signal::Target;
use kernel::{CurrentTask, SysResult, ThreadGroup};
use std::sync::Arc;
use vfs::OpenFlags;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(424, "pidfd_send_signal", pidfd_send_signal, &[Arg::Fd, Arg::Signal, Arg::Ptr, Arg::Hex]),
    Entry::new(434, "pidfd_open", pidfd_open, &[Arg::Pid, Arg::Hex]),
    Entry::new(438, "pidfd_getfd", pidfd_getfd, &[Arg::Fd, Arg::Int, Arg::Hex]),
];

/// Stand for the calling thread and process.
const SELF_THREAD: i32 = -10_000;
const SELF_PROCESS: i32 = -10_001;

/// `PIDFD_SIGNAL_*`.
const SIGNAL_THREAD: u32 = 1;
const SIGNAL_PROCESS: u32 = 2;
const SIGNAL_PROCESS_GROUP: u32 = 4;

/// A new pidfd for a process, as clone(2) and pidfd_open(2) make it: always close-on-exec.
pub(crate) fn make(t: &CurrentTask, group: &Arc<ThreadGroup>, flags: OpenFlags) -> Result<i32, Errno> {
    let file = Arc::new(new_pidfd(&t.kernel, group, flags));
    i32::try_from(add_fd(t, file, true)?).map_err(|_| Errno::EMFILE)
}

/// The process behind a pidfd, and whether the descriptor is non-blocking (waitid(2)).
pub(crate) fn group_of(t: &CurrentTask, fd: i32) -> Result<(Arc<ThreadGroup>, bool), Errno> {
    let file = t.fds().get(fd)?;
    let pidfd = file.ops_as::<PidFd>().ok_or(Errno::EBADF)?;
    Ok((pidfd.group().clone(), file.flags().contains(OpenFlags::NONBLOCK)))
}

fn pidfd_open(t: &mut CurrentTask, a: Args) -> SysResult {
    let (pid, flags) = (a.i32(0), a.u32(1));
    if flags & !c::O_NONBLOCK != 0 || pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let group = {
        let tree = t.kernel.tree.lock();
        match tree.processes.get(&pid) {
            Some(process) => process.group.clone(),
            // A thread that leads no process.
            None if tree.tasks.contains_key(&pid) => return Err(Errno::ENOENT.into()),
            None => return Err(Errno::ESRCH.into()),
        }
    };
    Ok(make(t, &group, OpenFlags::from_bits_retain(flags))?.cast_unsigned().into())
}

fn pidfd_send_signal(t: &mut CurrentTask, a: Args) -> SysResult {
    let (fd, signal, flags) = (a.i32(0), a.i32(1), a.u32(3));
    if flags > SIGNAL_PROCESS_GROUP || flags.count_ones() > 1 {
        return Err(Errno::EINVAL.into());
    }
    let group = match fd {
        SELF_THREAD | SELF_PROCESS => t.group.clone(),
        _ => group_of(t, fd)?.0,
    };
    let info = if a.u64(2) == 0 {
        from_self(t, signal, code::SI_USER)
    } else {
        let [signo]: [i32; 1] = user::get(t, a.u64(2))?;
        if signo != signal {
            return Err(Errno::EINVAL.into());
        }
        own_info(t, a.u64(2), signal, group.tgid)?
    };
    let target = match (fd, flags) {
        (SELF_THREAD, 0 | SIGNAL_THREAD) => Target::Thread(t.tid()),
        (_, SIGNAL_THREAD) => Target::Thread(group.tgid),
        (_, SIGNAL_PROCESS_GROUP) => return to_process_group(t, &group, &info),
        (_, 0 | SIGNAL_PROCESS) => Target::Process,
        _ => return Err(Errno::EINVAL.into()),
    };
    let exists = t.kernel.tree.process(group.tgid).is_some_and(|g| Arc::ptr_eq(&g, &group));
    if !exists {
        return Err(Errno::ESRCH.into());
    }
    send(t, &group, target, info)?;
    Ok(0)
}

fn to_process_group(t: &CurrentTask, leader: &Arc<ThreadGroup>, info: &abi::signal::SigInfo) -> SysResult {
    let members = t.kernel.tree.lock().members(leader.tgid);
    let mut result = Err(Errno::ESRCH);
    for group in members {
        match send(t, &group, Target::Process, *info) {
            Ok(()) => result = Ok(0),
            Err(errno) if result.is_err() => result = Err(errno),
            Err(_) => {}
        }
    }
    Ok(result?)
}

fn pidfd_getfd(t: &mut CurrentTask, a: Args) -> SysResult {
    if a.u32(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (group, _) = group_of(t, a.i32(0))?;
    let task = t.kernel.tree.task(group.tgid).filter(|x| Arc::ptr_eq(&x.group, &group)).ok_or(Errno::ESRCH)?;
    if !may_access(t, &task) {
        return Err(Errno::EPERM.into());
    }
    let file = task.fds().ok_or(Errno::ESRCH)?.get_any(a.i32(1))?;
    Ok(add_fd(t, file, true)?)
}
