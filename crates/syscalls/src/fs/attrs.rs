//! Attributes: chmod(2), chown(2), utimensat(2), truncate(2), fallocate(2).

use super::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, UserPath, walk_flags};
use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use abi::raw::general as c;
use abi::stat::{TimeSpec, TimeVal};
use kernel::{CurrentTask, Fd, SysErr, SysResult};
use vfs::time::Timespec;
use vfs::{FileType, PathRef, SetTime, WalkFlags, ops};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(76, "truncate", truncate, &[Arg::Path, Arg::Int]),
    Entry::new(77, "ftruncate", ftruncate, &[Arg::Fd, Arg::Int]),
    Entry::new(90, "chmod", chmod, &[Arg::Path, Arg::Mode]),
    Entry::new(91, "fchmod", fchmod, &[Arg::Fd, Arg::Mode]),
    Entry::new(92, "chown", chown, &[Arg::Path, Arg::Int, Arg::Int]),
    Entry::new(93, "fchown", fchown, &[Arg::Fd, Arg::Int, Arg::Int]),
    Entry::new(94, "lchown", lchown, &[Arg::Path, Arg::Int, Arg::Int]),
    Entry::new(132, "utime", utime, &[Arg::Path, Arg::Ptr]),
    Entry::new(235, "utimes", utimes, &[Arg::Path, Arg::Ptr]),
    Entry::new(260, "fchownat", fchownat, &[Arg::AtFd, Arg::Path, Arg::Int, Arg::Int, Arg::Hex]),
    Entry::new(261, "futimesat", futimesat, &[Arg::AtFd, Arg::Path, Arg::Ptr]),
    Entry::new(268, "fchmodat", fchmodat, &[Arg::AtFd, Arg::Path, Arg::Mode]),
    Entry::new(280, "utimensat", utimensat, &[Arg::AtFd, Arg::Path, Arg::Ptr, Arg::Hex]),
    Entry::new(285, "fallocate", fallocate, &[Arg::Fd, Arg::Flags(FALLOC), Arg::Int, Arg::Int]),
    Entry::new(452, "fchmodat2", fchmodat2, &[Arg::AtFd, Arg::Path, Arg::Mode, Arg::Hex]),
];

const FALLOC: &[(u64, &str)] = &[
    (1, "FALLOC_FL_KEEP_SIZE"),
    (2, "FALLOC_FL_PUNCH_HOLE"),
    (8, "FALLOC_FL_COLLAPSE_RANGE"),
    (0x10, "FALLOC_FL_ZERO_RANGE"),
    (0x20, "FALLOC_FL_INSERT_RANGE"),
];

fn chmod(t: &mut CurrentTask, a: Args) -> SysResult {
    chmod_at(t, AT_FDCWD, a.u64(0), a.u32(1), 0)
}

fn fchmodat(t: &mut CurrentTask, a: Args) -> SysResult {
    chmod_at(t, a.i32(0), a.u64(1), a.u32(2), 0)
}

fn fchmodat2(t: &mut CurrentTask, a: Args) -> SysResult {
    chmod_at(t, a.i32(0), a.u64(1), a.u32(2), a.u32(3))
}

fn chmod_at(t: &CurrentTask, dirfd: Fd, path: u64, mode: u32, flags: u32) -> SysResult {
    let walk = walk_flags(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, true)?;
    let place = UserPath::read_flags(t, dirfd, path, walk)?.resolve(t, walk)?;
    ops::chmod(&t.walk_cx(), &place, mode)?;
    Ok(0)
}

fn fchmod(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    ops::chmod(&t.walk_cx(), file.path(), a.u32(1))?;
    Ok(0)
}

/// An owner argument; -1 leaves it as it is.
fn id(value: u32) -> Option<u32> {
    Some(value).filter(|id| *id != u32::MAX)
}

fn chown(t: &mut CurrentTask, a: Args) -> SysResult {
    chown_at(t, AT_FDCWD, a.u64(0), (a.u32(1), a.u32(2)), 0)
}

fn lchown(t: &mut CurrentTask, a: Args) -> SysResult {
    chown_at(t, AT_FDCWD, a.u64(0), (a.u32(1), a.u32(2)), AT_SYMLINK_NOFOLLOW)
}

fn fchownat(t: &mut CurrentTask, a: Args) -> SysResult {
    chown_at(t, a.i32(0), a.u64(1), (a.u32(2), a.u32(3)), a.u32(4))
}

fn chown_at(t: &CurrentTask, dirfd: Fd, path: u64, owner: (u32, u32), flags: u32) -> SysResult {
    let walk = walk_flags(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, true)?;
    let place = UserPath::read_flags(t, dirfd, path, walk)?.resolve(t, walk)?;
    ops::chown(&t.walk_cx(), &place, id(owner.0), id(owner.1))?;
    Ok(0)
}

fn fchown(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get(a.i32(0))?;
    ops::chown(&t.walk_cx(), file.path(), id(a.u32(1)), id(a.u32(2)))?;
    Ok(0)
}

type Times = Option<[Option<SetTime>; 2]>;

fn seconds(sec: i64, nsec: i64) -> Option<SetTime> {
    Some(SetTime::To(Timespec { sec, nsec: u32::try_from(nsec).unwrap_or(0) }))
}

/// `struct timeval[2]`.
fn read_timevals(t: &CurrentTask, addr: u64) -> Result<Times, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    let values: [TimeVal; 2] = [user::get(t, addr)?, user::get(t, addr.wrapping_add(16))?];
    if values.iter().any(|v| !(0..1_000_000).contains(&v.usec)) {
        return Err(Errno::EINVAL);
    }
    Ok(Some(values.map(|v| seconds(v.sec, v.usec * 1000))))
}

/// `struct timespec[2]` with `UTIME_NOW` and `UTIME_OMIT`.
fn read_timespecs(t: &CurrentTask, addr: u64) -> Result<Times, Errno> {
    const NOW: i64 = c::UTIME_NOW as i64;
    const OMIT: i64 = c::UTIME_OMIT as i64;
    if addr == 0 {
        return Ok(None);
    }
    let values: [TimeSpec; 2] = [user::get(t, addr)?, user::get(t, addr.wrapping_add(16))?];
    let mut times = [None; 2];
    for (time, value) in times.iter_mut().zip(values) {
        *time = match value.nsec {
            NOW => Some(SetTime::Now),
            OMIT => None,
            0..=999_999_999 => seconds(value.sec, value.nsec),
            _ => return Err(Errno::EINVAL),
        };
    }
    Ok(Some(times))
}

fn set_times(t: &CurrentTask, place: &PathRef, times: Times) -> SysResult {
    ops::set_times(&t.walk_cx(), place, times)?;
    Ok(0)
}

fn utime(t: &mut CurrentTask, a: Args) -> SysResult {
    let times = if a.u64(1) == 0 {
        None
    } else {
        let values: [i64; 2] = user::get(t, a.u64(1))?;
        Some(values.map(|sec| seconds(sec, 0)))
    };
    let place = super::place(t, a.u64(0))?;
    set_times(t, &place, times)
}

fn utimes(t: &mut CurrentTask, a: Args) -> SysResult {
    let times = read_timevals(t, a.u64(1))?;
    let place = super::place(t, a.u64(0))?;
    set_times(t, &place, times)
}

fn futimesat(t: &mut CurrentTask, a: Args) -> SysResult {
    let times = read_timevals(t, a.u64(2))?;
    if a.u64(1) == 0 {
        return set_times_of_fd(t, a.i32(0), times);
    }
    let place = UserPath::read(t, a.i32(0), a.u64(1))?.resolve(t, WalkFlags::FOLLOW)?;
    set_times(t, &place, times)
}

fn utimensat(t: &mut CurrentTask, a: Args) -> SysResult {
    let times = read_timespecs(t, a.u64(2))?;
    if times == Some([None, None]) {
        return Ok(0);
    }
    let walk = walk_flags(a.u32(3), AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, true)?;
    if a.u64(1) == 0 && a.i32(0) != AT_FDCWD {
        if a.u32(3) != 0 {
            return Err(Errno::EINVAL.into());
        }
        return set_times_of_fd(t, a.i32(0), times);
    }
    let place = UserPath::read_flags(t, a.i32(0), a.u64(1), walk)?.resolve(t, walk)?;
    set_times(t, &place, times)
}

fn set_times_of_fd(t: &CurrentTask, fd: Fd, times: Times) -> SysResult {
    let file = t.fds().get(fd)?;
    set_times(t, file.path(), times)
}

fn size(value: i64) -> Result<u64, Errno> {
    u64::try_from(value).map_err(|_| Errno::EINVAL)
}

fn over_limit(t: &CurrentTask, errno: Errno) -> SysErr {
    super::rw::signal_failed_write(t, errno.into());
    errno.into()
}

fn truncate(t: &mut CurrentTask, a: Args) -> SysResult {
    let size = size(a.i64(1))?;
    let place = super::place(t, a.u64(0))?;
    ops::truncate(&t.walk_cx(), &place, size).map_err(|errno| over_limit(t, errno))?;
    Ok(0)
}

fn ftruncate(t: &mut CurrentTask, a: Args) -> SysResult {
    let size = size(a.i64(1))?;
    let file = t.fds().get(a.i32(0))?;
    if file.path().dentry.kind() != FileType::Regular || !file.writable() {
        return Err(Errno::EINVAL.into());
    }
    ops::resize(&*t, t.creds(), file.path(), size).map_err(|errno| over_limit(t, errno))?;
    Ok(0)
}

fn fallocate(t: &mut CurrentTask, a: Args) -> SysResult {
    const KEEP_SIZE: u32 = 1;
    const PUNCH_HOLE: u32 = 2;
    const COLLAPSE: u32 = 8;
    const ZERO: u32 = 0x10;
    const INSERT: u32 = 0x20;
    const UNSHARE: u32 = 0x40;
    let (mode, offset, len) = (a.u32(1), a.i64(2), a.i64(3));
    let file = t.fds().get(a.i32(0))?;
    if offset < 0 || len <= 0 {
        return Err(Errno::EINVAL.into());
    }
    if mode & !(KEEP_SIZE | PUNCH_HOLE | COLLAPSE | ZERO | INSERT | UNSHARE) != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let fine = match mode & !KEEP_SIZE {
        0 | ZERO | UNSHARE => true,
        PUNCH_HOLE => mode & KEEP_SIZE != 0,
        COLLAPSE | INSERT => mode & KEEP_SIZE == 0,
        _ => false,
    };
    if !fine {
        let hole = mode & !KEEP_SIZE == PUNCH_HOLE || mode & PUNCH_HOLE != 0 && mode & ZERO != 0;
        return Err(if hole { Errno::EOPNOTSUPP } else { Errno::EINVAL }.into());
    }
    if !file.writable() {
        return Err(Errno::EBADF.into());
    }
    match file.path().dentry.kind() {
        FileType::Regular => {}
        FileType::Fifo => return Err(Errno::ESPIPE.into()),
        FileType::Directory => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::ENODEV.into()),
    }
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)? as u64;
    let grows = mode & (KEEP_SIZE | PUNCH_HOLE | COLLAPSE) == 0;
    if grows && end > t.group.limit(c::RLIMIT_FSIZE) {
        return Err(over_limit(t, Errno::EFBIG));
    }
    file.ops().fallocate(&*t, mode, offset as u64, len as u64)?;
    vfs::notify::modified(&file.path().dentry);
    Ok(0)
}
