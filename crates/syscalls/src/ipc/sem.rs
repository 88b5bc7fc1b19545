//! Semaphores (semget(2), semop(2), semctl(2)).

use super::{GET_FLAGS, IPC_64, who, within};
use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use ::ipc::sem::{Get, OPM, Operated, UndoList};
use abi::Errno;
use abi::ipc::{SEM_UNDO, SemBuf, SemidDs, cmd};
use abi::time::Timespec;
use kernel::{CurrentTask, SysResult, WaitEnd};
use std::time::{Duration, Instant};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(64, "semget", semget, &[Arg::Hex, Arg::Int, Arg::Flags(GET_FLAGS)]),
    Entry::new(65, "semop", semop, &[Arg::Int, Arg::Ptr, Arg::Size]),
    Entry::new(66, "semctl", semctl, &[Arg::Int, Arg::Int, Arg::Int, Arg::Hex]),
    Entry::new(220, "semtimedop", semtimedop, &[Arg::Int, Arg::Ptr, Arg::Size, Arg::InTimespec]),
];

fn semget(t: &mut CurrentTask, a: Args) -> SysResult {
    within(t, |ns| Ok(ns.sem.get(who(t), a.i32(0), a.i32(1), a.u32(2))? as u64))
}

fn semop(t: &mut CurrentTask, a: Args) -> SysResult {
    operate(t, a, None)
}

fn semtimedop(t: &mut CurrentTask, a: Args) -> SysResult {
    let timeout = match a.u64(3) {
        0 => None,
        addr => Some(user::get::<Timespec>(t, addr)?),
    };
    operate(t, a, timeout)
}

fn operate(t: &mut CurrentTask, a: Args, timeout: Option<Timespec>) -> SysResult {
    let (id, addr, count) = (a.i32(0), a.u64(1), u64::from(a.u32(2)));
    if count == 0 || id < 0 {
        return Err(Errno::EINVAL.into());
    }
    if count > OPM {
        return Err(Errno::E2BIG.into());
    }
    let ops: Vec<SemBuf> = t.mm().read_array(addr, count as usize)?;
    let deadline = match timeout.map(|time| time.nanos().ok_or(Errno::EINVAL)).transpose()? {
        Some(nanos) => Instant::now().checked_add(Duration::from_nanos(nanos)),
        None => None,
    };
    let context = t.ipc().ok_or(Errno::ENOSYS)?;
    let undoes = ops.iter().any(|op| op.flags & SEM_UNDO != 0);
    let undo = if undoes { UndoList::of(&context.undo, t.group.tgid) } else { None };
    let set = within(t, |ns| Ok(ns.sem.find(id)?))?;
    let waiter = match set.operate(who(t), ops, undo, t.work.parker().clone())? {
        Operated::Done => return Ok(0),
        Operated::Waits(waiter) => waiter,
    };
    let ended = match t.wait_until(deadline, || waiter.result()) {
        Ok(result) => result,
        Err(why) => set.give_up(&waiter).unwrap_or(Err(match why {
            WaitEnd::Timeout => Errno::EAGAIN,
            // Never started again, whatever the handler's flags.
            WaitEnd::Interrupted => Errno::EINTR,
        })),
    };
    ended?;
    Ok(0)
}

fn semctl(t: &mut CurrentTask, a: Args) -> SysResult {
    let (id, num, command, addr) = (a.i32(0), a.i32(1), a.i32(2) & !IPC_64, a.u64(3));
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    within(t, |ns| {
        match command {
            cmd::IPC_INFO | cmd::SEM_INFO => {
                let (highest, info) = ns.sem.info(command == cmd::SEM_INFO);
                user::put(t, addr, &info)?;
                return Ok(highest);
            }
            cmd::IPC_STAT => user::put(t, addr, &ns.sem.stat(who(t), id)?)?,
            cmd::SEM_STAT | cmd::SEM_STAT_ANY => {
                let (id, ds) = ns.sem.stat_at(who(t), id, command == cmd::SEM_STAT_ANY)?;
                user::put(t, addr, &ds)?;
                return Ok(id as u64);
            }
            cmd::GETVAL => return Ok(ns.sem.find(id)?.get(who(t), num, Get::Value)?),
            cmd::GETPID => return Ok(ns.sem.find(id)?.get(who(t), num, Get::Pid)?),
            cmd::GETNCNT => return Ok(ns.sem.find(id)?.get(who(t), num, Get::Rising)?),
            cmd::GETZCNT => return Ok(ns.sem.find(id)?.get(who(t), num, Get::Zero)?),
            cmd::GETALL => {
                let values = ns.sem.find(id)?.get_all(who(t))?;
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                t.mm().copy_out(addr, &bytes)?;
            }
            // The value is an int.
            cmd::SETVAL => ns.sem.find(id)?.set_value(who(t), num, a.i32(3))?,
            cmd::SETALL => {
                let set = ns.sem.find(id)?;
                set.check_write(who(t))?;
                let values: Vec<u16> = t.mm().read_array(addr, set.count() as usize)?;
                set.set_all(who(t), &values)?;
            }
            cmd::IPC_SET => ns.sem.set(who(t), id, &user::get::<SemidDs>(t, addr)?.perm)?,
            cmd::IPC_RMID => ns.sem.remove(who(t), id)?,
            _ => return Err(Errno::EINVAL.into()),
        }
        Ok(0)
    })
}
