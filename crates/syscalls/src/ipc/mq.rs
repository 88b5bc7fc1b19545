//! POSIX message queues (mq_open(2), mq_timedsend(2), mq_notify(2), mq_getsetattr(2)).

use super::{who, within};
use crate::args::{Arg, Args};
use crate::fs::add_fd;
use crate::table::Entry;
use crate::time::deadline;
use crate::user;
use ::ipc::mqueue::{MqFile, Notify, Open, PRIO_MAX, Queue};
use abi::Errno;
use abi::ipc::MqAttr;
use abi::raw::general as c;
use abi::signal::NSIG;
use abi::time::{SigEvent, Timespec};
use kernel::signal::Target;
use kernel::{CurrentTask, SysErr, SysResult};
use std::sync::Arc;
use std::time::Instant;
use vfs::wait::Events;
use vfs::{OpenFile, OpenFlags};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(240, "mq_open", mq_open, &[Arg::Path, Arg::Hex, Arg::Mode, Arg::Ptr]),
    Entry::new(241, "mq_unlink", mq_unlink, &[Arg::Path]),
    Entry::new(242, "mq_timedsend", mq_timedsend, &[Arg::Fd, Arg::InBuf(2), Arg::Size, Arg::Size, Arg::InTimespec]),
    Entry::new(243, "mq_timedreceive", mq_timedreceive, &[Arg::Fd, Arg::OutBuf, Arg::Size, Arg::Ptr, Arg::InTimespec]),
    Entry::new(244, "mq_notify", mq_notify, &[Arg::Fd, Arg::Ptr]),
    Entry::new(245, "mq_getsetattr", mq_getsetattr, &[Arg::Fd, Arg::Ptr, Arg::Ptr]),
];

const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD: i32 = 2;

fn mq_open(t: &mut CurrentTask, a: Args) -> SysResult {
    let (flags, mode) = (a.u32(1), a.u32(2));
    let attr = match a.u64(3) {
        0 => None,
        addr => Some(user::get::<MqAttr>(t, addr)?),
    };
    let name = user::path(t, a.u64(0))?;
    let (_, _, umask, _) = t.fs().snapshot();
    let limit = t.group.limit(c::RLIMIT_MSGQUEUE);
    let open = Open { name: &name, flags, mode: mode & !umask, attr, limit };
    let queue = within(t, |ns| Ok(ns.mqueue.open(t, &open)?))?;
    let kept = OpenFlags::from_bits_truncate(flags & (c::O_ACCMODE | c::O_NONBLOCK));
    Ok(add_fd(t, Arc::new(queue.open(kept)), flags & c::O_CLOEXEC != 0)?)
}

fn mq_unlink(t: &mut CurrentTask, a: Args) -> SysResult {
    let name = user::path(t, a.u64(0))?;
    within(t, |ns| Ok(ns.mqueue.unlink(t.creds(), &name)?))?;
    Ok(0)
}

fn queue_of(file: &OpenFile) -> Result<&Arc<Queue>, Errno> {
    file.ops_as::<MqFile>().map(MqFile::queue).ok_or(Errno::EBADF)
}

/// An absolute time on the real-time clock; the outer `None` is no timeout, the inner one a time that never comes.
fn until(t: &CurrentTask, addr: u64) -> Result<Option<Option<Instant>>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    let nanos = user::get::<Timespec>(t, addr)?.nanos().ok_or(Errno::EINVAL)?;
    Ok(Some(deadline(c::CLOCK_REALTIME, nanos)))
}

/// At the deadline a wait on a queue ends differently from a descriptor that would block.
fn timed_out(error: SysErr, nonblock: bool) -> SysErr {
    if error == SysErr::Errno(Errno::EAGAIN) && !nonblock { Errno::ETIMEDOUT.into() } else { error }
}

fn mq_timedsend(t: &mut CurrentTask, a: Args) -> SysResult {
    let (fd, addr, len, priority) = (a.i32(0), a.u64(1), a.usize(2), a.u32(3));
    let until = until(t, a.u64(4))?;
    if priority >= PRIO_MAX {
        return Err(Errno::EINVAL.into());
    }
    let file = t.fds().get(fd)?;
    let queue = queue_of(&file)?;
    if !file.writable() {
        return Err(Errno::EBADF.into());
    }
    if len > queue.message_size() {
        return Err(Errno::EMSGSIZE.into());
    }
    let mut bytes = vec![0; len];
    t.mm().copy_in(addr, &mut bytes)?;
    let mut text = Some(bytes);
    let nonblock = file.flags().contains(OpenFlags::NONBLOCK);
    let sent = t.block_on(Some(queue.events()), Events::OUT, nonblock, until.flatten(), || {
        queue.send(who(t), priority, &mut text)
    });
    let notice = sent.map_err(|error| timed_out(error, nonblock))?;
    if let Some((pid, info)) = notice {
        let group = t.kernel.tree.lock().processes.get(&pid).map(|process| process.group.clone());
        if let Some(group) = group {
            // The message is there whether or not the signal can be queued.
            let _ = t.kernel.send_signal(&group, Target::Process, info);
        }
    }
    Ok(0)
}

fn mq_timedreceive(t: &mut CurrentTask, a: Args) -> SysResult {
    let (fd, addr, len) = (a.i32(0), a.u64(1), a.usize(2));
    let until = until(t, a.u64(4))?;
    let file = t.fds().get(fd)?;
    let queue = queue_of(&file)?;
    if !file.readable() {
        return Err(Errno::EBADF.into());
    }
    if len < queue.message_size() {
        return Err(Errno::EMSGSIZE.into());
    }
    let nonblock = file.flags().contains(OpenFlags::NONBLOCK);
    let received = {
        let _waits = queue.receiving();
        t.block_on(Some(queue.events()), Events::IN, nonblock, until.flatten(), || queue.receive())
    };
    let (priority, text) = received.map_err(|error| timed_out(error, nonblock))?;
    user::put_if(t, a.u64(3), &priority)?;
    t.mm().copy_out(addr, &text)?;
    Ok(text.len() as u64)
}

fn mq_notify(t: &mut CurrentTask, a: Args) -> SysResult {
    let notify = match a.u64(1) {
        0 => None,
        addr => {
            let event: SigEvent = user::get(t, addr)?;
            let signal = match event.notify {
                SIGEV_NONE => None,
                SIGEV_SIGNAL if (0..=NSIG).contains(&event.signo) => Some(event.signo).filter(|s| *s != 0),
                // The C library's threads are told by way of a netlink socket, which none can be here.
                SIGEV_THREAD => return Err(Errno::EBADF.into()),
                _ => return Err(Errno::EINVAL.into()),
            };
            Some(Notify { signal, value: event.value, pid: t.group.tgid })
        }
    };
    let file = t.fds().get(a.i32(0))?;
    queue_of(&file)?.notify(t.group.tgid, notify)?;
    Ok(0)
}

fn mq_getsetattr(t: &mut CurrentTask, a: Args) -> SysResult {
    let (fd, new, old) = (a.i32(0), a.u64(1), a.u64(2));
    let flags = match new {
        0 => None,
        addr => Some(user::get::<MqAttr>(t, addr)?.flags),
    };
    if flags.is_some_and(|flags| flags & !i64::from(c::O_NONBLOCK) != 0) {
        return Err(Errno::EINVAL.into());
    }
    let file = t.fds().get(fd)?;
    let before = queue_of(&file)?.attr();
    let nonblock = file.flags() & OpenFlags::NONBLOCK;
    if let Some(flags) = flags {
        let value = OpenFlags::from_bits_truncate(flags as u32);
        kernel::async_io::update_flags(t, &file, fd, OpenFlags::NONBLOCK, value)?;
    }
    user::put_if(t, old, &MqAttr { flags: i64::from(nonblock.bits()), ..before })?;
    Ok(0)
}
