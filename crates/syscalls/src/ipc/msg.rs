//! Message queues (msgget(2), msgsnd(2), msgrcv(2), msgctl(2)).

use super::{GET_FLAGS, IPC_64, who, within};
use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use ::ipc::msg::{MAX, Message, Queue};
use abi::Errno;
use abi::ipc::{IPC_NOWAIT, MSG_COPY, MSG_EXCEPT, MsqidDs, cmd};
use kernel::{CurrentTask, Restart, SysErr, SysResult};
use vfs::IoError;
use vfs::wait::Events;

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(68, "msgget", msgget, &[Arg::Hex, Arg::Flags(GET_FLAGS)]),
    Entry::new(69, "msgsnd", msgsnd, &[Arg::Int, Arg::Ptr, Arg::Size, Arg::Flags(GET_FLAGS)]),
    Entry::new(70, "msgrcv", msgrcv, &[Arg::Int, Arg::Ptr, Arg::Size, Arg::Int, Arg::Flags(RECEIVE)]),
    Entry::new(71, "msgctl", msgctl, &[Arg::Int, Arg::Int, Arg::Ptr]),
];

const RECEIVE: &[(u64, &str)] =
    &[(0o4000, "IPC_NOWAIT"), (0o10000, "MSG_NOERROR"), (0o20000, "MSG_EXCEPT"), (0o40000, "MSG_COPY")];

fn msgget(t: &mut CurrentTask, a: Args) -> SysResult {
    within(t, |ns| Ok(ns.msg.get(who(t), a.i32(0), a.u32(1))? as u64))
}

/// Tries until it need not wait any more. A signal ends the wait, and the call starts again if no handler runs.
fn wait<R>(
    t: &CurrentTask,
    queue: &Queue,
    events: Events,
    nowait: Option<Errno>,
    mut work: impl FnMut() -> Result<R, IoError>,
) -> Result<R, SysErr> {
    let tried = t.block_on(Some(&queue.events), events, nowait.is_some(), None, &mut work);
    match (tried, nowait) {
        (Err(SysErr::Errno(Errno::EAGAIN)), Some(errno)) => Err(errno.into()),
        (Err(SysErr::Restart(_)), _) => Err(SysErr::Restart(Restart::NoHand)),
        (other, _) => other,
    }
}

fn msgsnd(t: &mut CurrentTask, a: Args) -> SysResult {
    let (id, addr, len, flags) = (a.i32(0), a.u64(1), a.usize(2), a.u32(3));
    let kind: i64 = user::get(t, addr)?;
    if len > MAX || id < 0 || kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    let mut text = vec![0; len];
    t.mm().copy_in(addr.wrapping_add(8), &mut text)?;
    let mut message = Some(Message { kind, text });
    let queue = within(t, |ns| Ok(ns.msg.find(id)?))?;
    let nowait = (flags & IPC_NOWAIT != 0).then_some(Errno::EAGAIN);
    wait(t, &queue, Events::OUT, nowait, || queue.send(who(t), &mut message))?;
    Ok(0)
}

fn msgrcv(t: &mut CurrentTask, a: Args) -> SysResult {
    let (id, addr, size, kind, flags) = (a.i32(0), a.u64(1), a.u64(2), a.i64(3), a.u32(4));
    let size = usize::try_from(size.cast_signed()).map_err(|_| Errno::EINVAL)?;
    if id < 0 || (flags & MSG_COPY != 0 && (flags & MSG_EXCEPT != 0 || flags & IPC_NOWAIT == 0)) {
        return Err(Errno::EINVAL.into());
    }
    let queue = within(t, |ns| Ok(ns.msg.find(id)?))?;
    let nowait = (flags & IPC_NOWAIT != 0).then_some(Errno::ENOMSG);
    let message = wait(t, &queue, Events::IN, nowait, || queue.receive(who(t), size, kind, flags))?;
    let text = message.text.get(..size).unwrap_or(&message.text);
    user::put(t, addr, &message.kind)?;
    t.mm().copy_out(addr.wrapping_add(8), text)?;
    Ok(text.len() as u64)
}

fn msgctl(t: &mut CurrentTask, a: Args) -> SysResult {
    let (id, command, addr) = (a.i32(0), a.i32(1) & !IPC_64, a.u64(2));
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL.into());
    }
    within(t, |ns| {
        match command {
            cmd::IPC_INFO | cmd::MSG_INFO => {
                let (highest, info) = ns.msg.info(command == cmd::MSG_INFO);
                user::put(t, addr, &info)?;
                return Ok(highest);
            }
            cmd::IPC_STAT => user::put(t, addr, &ns.msg.stat(who(t), id)?)?,
            cmd::MSG_STAT | cmd::MSG_STAT_ANY => {
                let (id, ds) = ns.msg.stat_at(who(t), id, command == cmd::MSG_STAT_ANY)?;
                user::put(t, addr, &ds)?;
                return Ok(id as u64);
            }
            cmd::IPC_SET => ns.msg.set(who(t), id, &user::get::<MsqidDs>(t, addr)?)?,
            cmd::IPC_RMID => ns.msg.remove(who(t), id)?,
            _ => return Err(Errno::EINVAL.into()),
        }
        Ok(0)
    })
}
