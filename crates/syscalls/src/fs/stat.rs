//! stat(2), statx(2), access(2), readlink(2), statfs(2).

use super::{AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW, UserPath, walk_flags};
use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use abi::raw::general as c;
use abi::stat::{Stat, StatFs, Statx, StatxTime, TimeSpec};
use kernel::{CurrentTask, Fd, SysResult};
use vfs::time::Timespec;
use vfs::{Attr, PathRef, Status, WalkCx, WalkFlags, ops};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(4, "stat", stat, &[Arg::Path, Arg::Ptr]),
    Entry::new(5, "fstat", fstat, &[Arg::Fd, Arg::Ptr]),
    Entry::new(6, "lstat", lstat, &[Arg::Path, Arg::Ptr]),
    Entry::new(21, "access", access, &[Arg::Path, Arg::Hex]),
    Entry::new(89, "readlink", readlink, &[Arg::Path, Arg::OutBuf, Arg::Size]),
    Entry::new(136, "ustat", ustat, &[Arg::Hex, Arg::Ptr]),
    Entry::new(137, "statfs", statfs, &[Arg::Path, Arg::Ptr]),
    Entry::new(138, "fstatfs", fstatfs, &[Arg::Fd, Arg::Ptr]),
    Entry::new(262, "newfstatat", newfstatat, &[Arg::AtFd, Arg::Path, Arg::Ptr, Arg::Flags(AT)]),
    Entry::new(267, "readlinkat", readlinkat, &[Arg::AtFd, Arg::Path, Arg::OutBuf, Arg::Size]),
    Entry::new(269, "faccessat", faccessat, &[Arg::AtFd, Arg::Path, Arg::Hex]),
    Entry::new(303, "name_to_handle_at", name_to_handle_at, &[Arg::AtFd, Arg::Path, Arg::Ptr, Arg::Ptr, Arg::Hex]),
    Entry::new(304, "open_by_handle_at", open_by_handle_at, &[Arg::Fd, Arg::Ptr, Arg::Hex]),
    Entry::new(332, "statx", statx, &[Arg::AtFd, Arg::Path, Arg::Flags(AT), Arg::Hex, Arg::Ptr]),
    Entry::new(439, "faccessat2", faccessat2, &[Arg::AtFd, Arg::Path, Arg::Hex, Arg::Flags(AT)]),
];

const AT: &[(u64, &str)] = &[
    (0x100, "AT_SYMLINK_NOFOLLOW"),
    (0x200, "AT_EACCESS"),
    (0x400, "AT_SYMLINK_FOLLOW"),
    (0x800, "AT_NO_AUTOMOUNT"),
    (0x1000, "AT_EMPTY_PATH"),
];

fn time(time: Timespec) -> TimeSpec {
    TimeSpec { sec: time.sec, nsec: i64::from(time.nsec) }
}

fn write_stat(t: &CurrentTask, addr: u64, attr: &Attr) -> SysResult {
    let stat = Stat {
        dev: attr.dev,
        ino: attr.ino,
        nlink: u64::from(attr.nlink),
        mode: attr.mode(),
        uid: attr.uid,
        gid: attr.gid,
        pad: 0,
        rdev: attr.rdev,
        size: attr.size as i64,
        blksize: i64::from(attr.blksize),
        blocks: attr.blocks as i64,
        atime: time(attr.atime),
        mtime: time(attr.mtime),
        ctime: time(attr.ctime),
        unused: [0; 3],
    };
    user::put(t, addr, &stat)?;
    Ok(0)
}

/// What a path or a descriptor stands for.
fn status_at(t: &CurrentTask, dirfd: Fd, addr: u64, walk: WalkFlags) -> Result<Status, Errno> {
    let path = UserPath::read_flags(t, dirfd, addr, walk)?;
    if path.path.is_empty()
        && let Some(file) = &path.start
    {
        return Ok(Status::new(file.path(), file.attr()?));
    }
    t.walk_cx().stat(path.at(), walk)
}

fn stat(t: &mut CurrentTask, a: Args) -> SysResult {
    let Status { attr, .. } = status_at(t, AT_FDCWD, a.u64(0), WalkFlags::FOLLOW)?;
    write_stat(t, a.u64(1), &attr)
}

fn lstat(t: &mut CurrentTask, a: Args) -> SysResult {
    let Status { attr, .. } = status_at(t, AT_FDCWD, a.u64(0), WalkFlags::empty())?;
    write_stat(t, a.u64(1), &attr)
}

fn fstat(t: &mut CurrentTask, a: Args) -> SysResult {
    let attr = t.fds().get_any(a.i32(0))?.attr()?;
    write_stat(t, a.u64(1), &attr)
}

fn newfstatat(t: &mut CurrentTask, a: Args) -> SysResult {
    let walk = walk_flags(a.u32(3), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH, true)?;
    let Status { attr, .. } = status_at(t, a.i32(0), a.u64(1), walk)?;
    write_stat(t, a.u64(2), &attr)
}

/// Major and minor number of a device number as `stat` shows it.
fn split_dev(dev: u64) -> (u32, u32) {
    let major = (dev >> 8) & 0xfff;
    let minor = (dev & 0xff) | ((dev >> 12) & 0xf_ff00);
    (major as u32, minor as u32)
}

fn statx(t: &mut CurrentTask, a: Args) -> SysResult {
    const SYNC_TYPE: u32 = 0x6000;
    const RESERVED: u32 = 0x8000_0000;
    let (flags, mask) = (a.u32(2), a.u32(3));
    if mask & RESERVED != 0 || flags & SYNC_TYPE == SYNC_TYPE {
        return Err(Errno::EINVAL.into());
    }
    let walk = walk_flags(flags, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | SYNC_TYPE, true)?;
    let status = status_at(t, a.i32(0), a.u64(1), walk)?;
    user::put(t, a.u64(4), &to_statx(&status))?;
    Ok(0)
}

fn to_statx(status: &Status) -> Statx {
    let attr = &status.attr;
    let stamp = |time: Timespec| StatxTime { sec: time.sec, nsec: time.nsec, pad: 0 };
    let (dev_major, dev_minor) = split_dev(attr.dev);
    let (rdev_major, rdev_minor) = split_dev(attr.rdev);
    let birth = if attr.btime.is_some() { c::STATX_BTIME } else { 0 };
    let mount_root = u64::from(c::STATX_ATTR_MOUNT_ROOT);
    Statx {
        mask: c::STATX_BASIC_STATS | c::STATX_MNT_ID | birth,
        blksize: attr.blksize,
        attributes: if status.is_root { mount_root } else { 0 },
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        mode: attr.mode() as u16,
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        attributes_mask: mount_root,
        atime: stamp(attr.atime),
        btime: stamp(attr.btime.unwrap_or_default()),
        ctime: stamp(attr.ctime),
        mtime: stamp(attr.mtime),
        rdev_major,
        rdev_minor,
        dev_major,
        dev_minor,
        mnt_id: status.mount.id(),
        ..Statx::default()
    }
}

fn access(t: &mut CurrentTask, a: Args) -> SysResult {
    check_access(t, AT_FDCWD, a.u64(0), a.u32(1), 0)
}

fn faccessat(t: &mut CurrentTask, a: Args) -> SysResult {
    check_access(t, a.i32(0), a.u64(1), a.u32(2), 0)
}

fn faccessat2(t: &mut CurrentTask, a: Args) -> SysResult {
    check_access(t, a.i32(0), a.u64(1), a.u32(2), a.u32(3))
}

fn check_access(t: &CurrentTask, dirfd: Fd, addr: u64, mask: u32, flags: u32) -> SysResult {
    if mask & !7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let walk = walk_flags(flags, AT_SYMLINK_NOFOLLOW | AT_EACCESS | AT_EMPTY_PATH, true)?;
    let path = UserPath::read_flags(t, dirfd, addr, walk)?;
    let mut cx = t.walk_cx();
    if flags & AT_EACCESS == 0 {
        cx = WalkCx { creds: t.creds().for_access(), ..cx };
    }
    let place = cx.resolve(path.at(), walk)?;
    ops::access(&cx, &place, mask)?;
    Ok(0)
}

fn readlink(t: &mut CurrentTask, a: Args) -> SysResult {
    read_link_at(t, AT_FDCWD, a.u64(0), a.u64(1), a.i32(2))
}

fn readlinkat(t: &mut CurrentTask, a: Args) -> SysResult {
    read_link_at(t, a.i32(0), a.u64(1), a.u64(2), a.i32(3))
}

fn read_link_at(t: &CurrentTask, dirfd: Fd, addr: u64, buffer: u64, size: i32) -> SysResult {
    let size = usize::try_from(size).ok().filter(|size| *size > 0).ok_or(Errno::EINVAL)?;
    let path = UserPath::read_flags(t, dirfd, addr, WalkFlags::EMPTY)?;
    if path.path.is_empty() && dirfd == AT_FDCWD {
        return Err(Errno::ENOENT.into());
    }
    let cx = t.walk_cx();
    let place = cx.resolve(path.at(), WalkFlags::EMPTY)?;
    let target = ops::read_link(&cx, &place).map_err(|errno| {
        // An empty path that stands for something else than a link names nothing.
        if path.path.is_empty() && errno == Errno::EINVAL { Errno::ENOENT } else { errno }
    })?;
    let shown = target.get(..size.min(target.len())).unwrap_or_default();
    t.mm().copy_out(buffer, shown)?;
    Ok(shown.len() as u64)
}

fn write_statfs(t: &CurrentTask, addr: u64, place: &PathRef) -> SysResult {
    let (fs, flags) = ops::statfs(place)?;
    let dev = place.mount.fs().dev();
    let out = StatFs {
        kind: fs.magic,
        bsize: fs.block_size,
        blocks: fs.blocks,
        bfree: fs.blocks_free,
        bavail: fs.blocks_available,
        files: fs.files,
        ffree: fs.files_free,
        fsid: [dev as u32, (dev >> 32) as u32],
        namelen: fs.name_max,
        frsize: fs.block_size,
        flags,
        spare: [0; 4],
    };
    user::put(t, addr, &out)?;
    Ok(0)
}

fn statfs(t: &mut CurrentTask, a: Args) -> SysResult {
    let place = super::place(t, a.u64(0))?;
    write_statfs(t, a.u64(1), &place)
}

fn fstatfs(t: &mut CurrentTask, a: Args) -> SysResult {
    let file = t.fds().get_any(a.i32(0))?;
    write_statfs(t, a.u64(1), file.path())
}

/// ustat(2): free blocks and inodes by device number.
fn ustat(t: &mut CurrentTask, a: Args) -> SysResult {
    let dev = u64::from(a.u32(0));
    let mounts = t.fs().mounts().list();
    let mount = mounts.iter().find(|m| m.fs().dev() == dev).ok_or(Errno::EINVAL)?;
    let fs = mount.fs().statfs()?;
    let mut out = [0u8; 32];
    let words = [fs.blocks_free as u32, 0, fs.files_free as u32, (fs.files_free >> 32) as u32];
    for (slot, word) in out.chunks_exact_mut(4).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    t.mm().copy_out(a.u64(1), &out)?;
    Ok(0)
}

/// No file system here can be exported.
fn name_to_handle_at(t: &mut CurrentTask, a: Args) -> SysResult {
    let walk = walk_flags(a.u32(4) & !super::AT_SYMLINK_FOLLOW, AT_EMPTY_PATH | AT_EACCESS, false)?;
    let path = UserPath::read_flags(t, a.i32(0), a.u64(1), walk)?;
    path.resolve(t, walk)?;
    Err(Errno::EOPNOTSUPP.into())
}

fn open_by_handle_at(t: &mut CurrentTask, _: Args) -> SysResult {
    let allowed = t.creds().capable(vfs::Capability::DacReadSearch);
    Err(if allowed { Errno::ESTALE } else { Errno::EPERM }.into())
}
