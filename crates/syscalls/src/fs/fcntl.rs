//! fcntl(2) and flock(2).

use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use ::fs::pipe::PipeEnd;
use ::fs::tmpfs::TmpFile;
use abi::Errno;
use abi::raw::general as c;
use abi::stat::{Flock, OwnerEx};
use kernel::{CurrentTask, Fd, FdTable, SysResult};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vfs::locks::{FileLocks, LockKind, LockOwner, LockWait, RecordLock};
use vfs::wait::Events;
use vfs::{Capability, OpenFile, OpenFlags, OwnerKind, SignalOwner};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(72, "fcntl", fcntl, &[Arg::Fd, Arg::OneOf(COMMANDS), Arg::Hex]),
    Entry::new(73, "flock", flock, &[Arg::Fd, Arg::Flags(FLOCK)]),
];

const FLOCK: &[(u64, &str)] = &[(1, "LOCK_SH"), (2, "LOCK_EX"), (4, "LOCK_NB"), (8, "LOCK_UN")];

macro_rules! commands {
    ($($name:ident $value:literal)*) => {
        $(const $name: u32 = $value;)*
        const COMMANDS: &[(u64, &str)] = &[$(($value, stringify!($name))),*];
    };
}

commands! {
    F_DUPFD 0
    F_GETFD 1
    F_SETFD 2
    F_GETFL 3
    F_SETFL 4
    F_GETLK 5
    F_SETLK 6
    F_SETLKW 7
    F_SETOWN 8
    F_GETOWN 9
    F_SETSIG 10
    F_GETSIG 11
    F_SETOWN_EX 15
    F_GETOWN_EX 16
    F_GETOWNER_UIDS 17
    F_OFD_GETLK 36
    F_OFD_SETLK 37
    F_OFD_SETLKW 38
    F_SETLEASE 1024
    F_GETLEASE 1025
    F_NOTIFY 1026
    F_DUPFD_QUERY 1027
    F_DUPFD_CLOEXEC 1030
    F_SETPIPE_SZ 1031
    F_GETPIPE_SZ 1032
    F_ADD_SEALS 1033
    F_GET_SEALS 1034
    F_GET_RW_HINT 1035
    F_SET_RW_HINT 1036
}

fn fcntl(t: &mut CurrentTask, a: Args) -> SysResult {
    let (fd, command, arg) = (a.i32(0), a.u32(1), a.u64(2));
    let file = t.fds().get_any(fd)?;
    match command {
        F_DUPFD => duplicate(t, file, arg, false),
        F_DUPFD_CLOEXEC => duplicate(t, file, arg, true),
        F_GETFD => Ok(u64::from(t.fds().cloexec(fd)?)),
        F_SETFD => Ok(t.fds().set_cloexec(fd, arg & 1 != 0).map(|()| 0)?),
        F_GETFL => Ok(u64::from(kernel::async_io::status_flags(&file).bits())),
        F_DUPFD_QUERY => Ok(u64::from(Arc::ptr_eq(&file, &t.fds().get_any(arg as Fd)?))),
        _ if file.is_path() => Err(Errno::EBADF.into()),
        F_SETFL => set_flags(t, fd, &file, arg as u32),
        F_GETLK => get_lock(t, &file, arg, false),
        F_SETLK => set_lock(t, fd, &file, arg, false, false),
        F_SETLKW => set_lock(t, fd, &file, arg, false, true),
        F_OFD_GETLK => get_lock(t, &file, arg, true),
        F_OFD_SETLK => set_lock(t, fd, &file, arg, true, false),
        F_OFD_SETLKW => set_lock(t, fd, &file, arg, true, true),
        F_SETOWN | F_GETOWN | F_SETOWN_EX | F_GETOWN_EX | F_GETOWNER_UIDS | F_SETSIG | F_GETSIG => {
            owner(t, &file, command, arg)
        }
        F_SETLEASE => set_lease(t, &file, arg as i32),
        F_GETLEASE => Ok(2),
        F_GET_RW_HINT => Ok(user::put(t, arg, &0u64).map(|()| 0)?),
        F_SET_RW_HINT => {
            let hint: u64 = user::get(t, arg)?;
            if hint > 5 { Err(Errno::EINVAL.into()) } else { Ok(0) }
        }
        F_NOTIFY => Err(if file.path().dentry.is_dir() { Errno::EINVAL } else { Errno::ENOTDIR }.into()),
        F_ADD_SEALS | F_GET_SEALS => seals(&file, command, arg as u32),
        F_SETPIPE_SZ | F_GETPIPE_SZ => pipe_size(t, &file, command, arg as u32),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn pipe_size(t: &CurrentTask, file: &OpenFile, command: u32, size: u32) -> SysResult {
    let end = file.ops_as::<PipeEnd>().ok_or(Errno::EBADF)?;
    let size = if command == F_GETPIPE_SZ { end.pipe().size() } else { end.pipe().set_size(t, size)? };
    Ok(size as u64)
}

fn seals(file: &OpenFile, command: u32, seals: u32) -> SysResult {
    let memory = file.ops_as::<TmpFile>().ok_or(Errno::EINVAL)?;
    if command == F_GET_SEALS {
        return Ok(u64::from(memory.seals()));
    }
    if !file.writable() {
        return Err(Errno::EPERM.into());
    }
    memory.add_seals(seals)?;
    Ok(0)
}

fn duplicate(t: &CurrentTask, file: Arc<OpenFile>, min: u64, cloexec: bool) -> SysResult {
    let limit = t.group.limit(c::RLIMIT_NOFILE);
    // The argument is an unsigned int.
    let min = u64::from(min as u32);
    let min = Fd::try_from(min).ok().filter(|_| min < limit).ok_or(Errno::EINVAL)?;
    Ok(t.fds().add(file, cloexec, min, limit)? as u64)
}

fn set_flags(t: &CurrentTask, fd: Fd, file: &Arc<OpenFile>, bits: u32) -> SysResult {
    let new = OpenFlags::from_bits_truncate(bits);
    let gains = new - file.flags();
    if gains.contains(OpenFlags::NOATIME) {
        let attr = file.path().inode().attr()?;
        if !vfs::access::owner_or_capable(t.creds(), &attr) {
            return Err(Errno::EPERM.into());
        }
    }
    kernel::async_io::update_flags(t, file, fd, OpenFlags::SETTABLE, new)?;
    Ok(0)
}

/// Who a process is to record locks.
fn lock_owner(t: &CurrentTask, file: &OpenFile, description: bool) -> LockOwner {
    if description { LockOwner::Description(file.id()) } else { LockOwner::Process(t.fds().id()) }
}

/// The range of a `struct flock` in absolute offsets, both ends included.
fn range(file: &OpenFile, lock: &Flock) -> Result<(u64, u64), Errno> {
    let base = match lock.whence {
        0 => 0,
        1 => *file.offset(),
        2 => file.attr()?.size,
        _ => return Err(Errno::EINVAL),
    };
    let base = i64::try_from(base).map_err(|_| Errno::EOVERFLOW)?;
    let start = base.checked_add(lock.start).ok_or(Errno::EOVERFLOW)?;
    if start < 0 {
        return Err(Errno::EINVAL);
    }
    let (start, end) = match lock.len {
        0 => (start, i64::MAX),
        1.. => (start, start.checked_add(lock.len - 1).ok_or(Errno::EOVERFLOW)?),
        _ => (start.checked_add(lock.len).ok_or(Errno::EINVAL)?, start.checked_sub(1).ok_or(Errno::EINVAL)?),
    };
    match (u64::try_from(start), u64::try_from(end)) {
        (Ok(start), Ok(end)) => Ok((start, end)),
        _ => Err(Errno::EINVAL),
    }
}

/// The lock that a `struct flock` means; `None` for `F_UNLCK`.
fn kind(lock: &Flock) -> Result<Option<LockKind>, Errno> {
    match lock.kind {
        0 => Ok(Some(LockKind::Read)),
        1 => Ok(Some(LockKind::Write)),
        2 => Ok(None),
        _ => Err(Errno::EINVAL),
    }
}

fn record(t: &CurrentTask, file: &OpenFile, lock: &Flock, description: bool) -> Result<RecordLock, Errno> {
    if description && lock.pid != 0 {
        return Err(Errno::EINVAL);
    }
    let (start, end) = range(file, lock)?;
    Ok(RecordLock {
        owner: lock_owner(t, file, description),
        pid: if description { -1 } else { t.group.tgid },
        kind: kind(lock)?.unwrap_or(LockKind::Read),
        start,
        end,
    })
}

fn get_lock(t: &CurrentTask, file: &OpenFile, addr: u64, description: bool) -> SysResult {
    let mut lock: Flock = user::get(t, addr)?;
    if kind(&lock)?.is_none() {
        return Err(Errno::EINVAL.into());
    }
    let wanted = record(t, file, &lock, description)?;
    match FileLocks::of(file.path().inode())?.conflict(&wanted) {
        None => lock.kind = 2,
        Some(other) => {
            lock.kind = if other.kind == LockKind::Read { 0 } else { 1 };
            lock.whence = 0;
            lock.start = other.start as i64;
            lock.len = if other.end == i64::MAX as u64 { 0 } else { (other.end - other.start) as i64 + 1 };
            lock.pid = other.pid;
        }
    }
    user::put(t, addr, &lock)?;
    Ok(0)
}

fn set_lock(t: &CurrentTask, fd: Fd, file: &Arc<OpenFile>, addr: u64, description: bool, wait: bool) -> SysResult {
    let lock: Flock = user::get(t, addr)?;
    let wanted = record(t, file, &lock, description)?;
    let locks = FileLocks::of(file.path().inode())?;
    match kind(&lock)? {
        None => return Ok(locks.unset(&wanted).map(|()| 0)?),
        Some(LockKind::Read) if !file.readable() => return Err(Errno::EBADF.into()),
        Some(LockKind::Write) if !file.writable() => return Err(Errno::EBADF.into()),
        Some(_) => {}
    }
    if wait {
        let wait = LockWait::new(locks.clone(), wanted);
        t.block_on(Some(wait.wait_queue()), Events::WRITABLE, false, None, || wait.attempt())?;
    } else {
        t.block_on(None, Events::WRITABLE, true, None, || locks.set(wanted))?;
    }
    // Another thread may have closed the descriptor meanwhile: the lock must not outlive it.
    if !description && !still_open(t.fds(), fd, file) {
        locks.unset(&wanted)?;
        return Err(Errno::EBADF.into());
    }
    Ok(0)
}

fn still_open(fds: &FdTable, fd: Fd, file: &Arc<OpenFile>) -> bool {
    fds.get_any(fd).is_ok_and(|now| Arc::ptr_eq(&now, file))
}

fn set_lease(t: &CurrentTask, file: &OpenFile, kind: i32) -> SysResult {
    let attr = file.attr()?;
    if t.creds().fsuid != attr.uid && !t.creds().capable(Capability::Lease) {
        return Err(Errno::EACCES.into());
    }
    // Leases are never granted; there is none to give back.
    let regular = file.path().dentry.kind() == vfs::FileType::Regular;
    Err(if regular && (0..=2).contains(&kind) { Errno::EAGAIN } else { Errno::EINVAL }.into())
}

fn new_owner(t: &CurrentTask, owner: OwnerKind) -> Result<Option<SignalOwner>, Errno> {
    let id = match owner {
        OwnerKind::Thread(id) | OwnerKind::Process(id) | OwnerKind::Group(id) => id,
    };
    if id == 0 {
        return Ok(None);
    }
    let known = match owner {
        OwnerKind::Thread(id) => t.kernel.tree.task(id).is_some(),
        OwnerKind::Process(id) => t.kernel.tree.process(id).is_some(),
        OwnerKind::Group(id) => !t.kernel.tree.lock().members(id).is_empty(),
    };
    if !known {
        return Err(Errno::ESRCH);
    }
    let creds = t.creds();
    Ok(Some(SignalOwner { owner, uid: creds.ruid, euid: creds.euid }))
}

fn owner(t: &CurrentTask, file: &OpenFile, command: u32, arg: u64) -> SysResult {
    let now = *file.owner.lock();
    match command {
        F_SETOWN => {
            let id = arg as u32 as i32;
            let group = id.checked_neg().ok_or(Errno::EINVAL)?;
            let kind = if id < 0 { OwnerKind::Group(group) } else { OwnerKind::Process(id) };
            let new = new_owner(t, kind)?;
            *file.owner.lock() = new;
        }
        F_GETOWN => {
            return Ok(match now.map(|o| o.owner) {
                None => 0,
                Some(OwnerKind::Thread(id) | OwnerKind::Process(id)) => id as u64,
                Some(OwnerKind::Group(id)) => i64::from(id).wrapping_neg() as u64,
            });
        }
        F_SETOWN_EX => {
            let wanted: OwnerEx = user::get(t, arg)?;
            let kind = match wanted.kind {
                0 => OwnerKind::Thread(wanted.pid),
                1 => OwnerKind::Process(wanted.pid),
                2 => OwnerKind::Group(wanted.pid),
                _ => return Err(Errno::EINVAL.into()),
            };
            let new = new_owner(t, kind)?;
            *file.owner.lock() = new;
        }
        F_GETOWN_EX => {
            let (kind, pid) = match now.map(|o| o.owner) {
                None => (1, 0),
                Some(OwnerKind::Thread(id)) => (0, id),
                Some(OwnerKind::Process(id)) => (1, id),
                Some(OwnerKind::Group(id)) => (2, id),
            };
            user::put(t, arg, &OwnerEx { kind, pid })?;
        }
        F_GETOWNER_UIDS => user::put(t, arg, &now.map_or([0, 0], |o| [o.uid, o.euid]))?,
        F_SETSIG => {
            let signal = u32::try_from(arg).ok().filter(|s| *s <= 64).ok_or(Errno::EINVAL)?;
            file.owner_signal.store(signal, Ordering::Relaxed);
        }
        _ => return Ok(u64::from(file.owner_signal.load(Ordering::Relaxed))),
    }
    Ok(0)
}

fn flock(t: &mut CurrentTask, a: Args) -> SysResult {
    const SH: u32 = 1;
    const EX: u32 = 2;
    const NB: u32 = 4;
    const UN: u32 = 8;
    let kind = match a.u32(1) & !NB {
        SH => Some(LockKind::Read),
        EX => Some(LockKind::Write),
        UN => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let file = t.fds().get(a.i32(0))?;
    let locks = FileLocks::of(file.path().inode())?;
    let nonblock = a.u32(1) & NB != 0;
    t.block_on(Some(locks.wait_queue()), Events::WRITABLE, nonblock, None, || locks.flock(file.id(), kind)).map(|()| 0)
}
