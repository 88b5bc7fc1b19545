//! Shared memory (shmget(2), shmat(2), shmdt(2), shmctl(2)).

use super::{GET_FLAGS, IPC_64, who, within};
use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use abi::PAGE_SIZE;
use abi::ipc::{SHM_EXEC, SHM_RDONLY, SHM_REMAP, SHM_RND, ShmidDs, cmd};
use abi::raw::general as c;
use kernel::{CurrentTask, SysResult};
use mm::{FileArgs, MmapArgs};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(29, "shmget", shmget, &[Arg::Hex, Arg::Size, Arg::Flags(GET_FLAGS)]),
    Entry::new(30, "shmat", shmat, &[Arg::Int, Arg::Ptr, Arg::Flags(AT_FLAGS)]),
    Entry::new(31, "shmctl", shmctl, &[Arg::Int, Arg::Int, Arg::Ptr]),
    Entry::new(67, "shmdt", shmdt, &[Arg::Ptr]),
];

const AT_FLAGS: &[(u64, &str)] =
    &[(0o10000, "SHM_RDONLY"), (0o20000, "SHM_RND"), (0o40000, "SHM_REMAP"), (0o100_000, "SHM_EXEC")];

fn shmget(t: &mut CurrentTask, a: Args) -> SysResult {
    within(t, |ns| Ok(ns.shm.get(who(t), a.i32(0), a.u64(1), a.u32(2))? as u64))
}

fn shmat(t: &mut CurrentTask, a: Args) -> SysResult {
    let (id, mut addr, flags) = (a.i32(0), a.u64(1), a.u32(2));
    let mut place = c::MAP_SHARED;
    if addr != 0 {
        if addr % PAGE_SIZE != 0 {
            if flags & SHM_RND == 0 {
                return Err(Errno::EINVAL.into());
            }
            addr -= addr % PAGE_SIZE;
            if addr == 0 && flags & SHM_REMAP != 0 {
                return Err(Errno::EINVAL.into());
            }
        }
        place |= if flags & SHM_REMAP != 0 { c::MAP_FIXED } else { c::MAP_FIXED_NOREPLACE };
    } else if flags & SHM_REMAP != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (mut prot, mut wanted) = (c::PROT_READ, ::ipc::perm::READ);
    if flags & SHM_RDONLY == 0 {
        prot |= c::PROT_WRITE;
        wanted |= ::ipc::perm::WRITE;
    }
    if flags & SHM_EXEC != 0 {
        prot |= c::PROT_EXEC;
        wanted |= 0o111;
    }
    let segment = within(t, |ns| {
        let segment = ns.shm.find(id)?;
        segment.check(who(t), wanted)?;
        Ok(segment)
    })?;
    let file = FileArgs {
        object: segment.clone(),
        name: segment.clone(),
        readable: true,
        writable: flags & SHM_RDONLY == 0,
        executable: true,
    };
    let len = segment.size();
    let mapped = t.mm().mmap(MmapArgs { addr, len, prot, flags: place, file: Some(file), offset: 0 });
    Ok(mapped.map_err(|errno| if errno == Errno::EEXIST { Errno::EINVAL } else { errno })?)
}

fn shmdt(t: &mut CurrentTask, a: Args) -> SysResult {
    t.mm().detach(a.u64(0))?;
    Ok(0)
}

fn shmctl(t: &mut CurrentTask, a: Args) -> SysResult {
    let (id, command, addr) = (a.i32(0), a.i32(1) & !IPC_64, a.u64(2));
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL.into());
    }
    within(t, |ns| {
        match command {
            cmd::IPC_INFO => {
                let (highest, limits) = ns.shm.limits();
                user::put(t, addr, &limits)?;
                return Ok(highest);
            }
            cmd::SHM_INFO => {
                let (highest, info) = ns.shm.info();
                user::put(t, addr, &info)?;
                return Ok(highest);
            }
            cmd::IPC_STAT => user::put(t, addr, &ns.shm.stat(who(t), id)?)?,
            cmd::SHM_STAT | cmd::SHM_STAT_ANY => {
                let (id, ds) = ns.shm.stat_at(who(t), id, command == cmd::SHM_STAT_ANY)?;
                user::put(t, addr, &ds)?;
                return Ok(id as u64);
            }
            cmd::IPC_SET => ns.shm.set(who(t), id, &user::get::<ShmidDs>(t, addr)?.perm)?,
            cmd::IPC_RMID => ns.shm.remove(who(t), id)?,
            cmd::SHM_LOCK | cmd::SHM_UNLOCK => {
                let may_lock = t.group.limit(c::RLIMIT_MEMLOCK) > 0;
                ns.shm.lock(who(t), id, command == cmd::SHM_LOCK, may_lock)?;
            }
            _ => return Err(Errno::EINVAL.into()),
        }
        Ok(0)
    })
}
