//! The host calls of this file system, with their limits.

use abi::Errno;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType as HostType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, StatxTimestamp, openat2, statx,
};
use vfs::time::Timespec;
use vfs::{Attr, FileType, makedev};

/// Which file of the host something is: its device and inode number there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    pub dev: u64,
    pub ino: u64,
}

impl Key {
    pub(crate) fn of(stat: &Statx) -> Key {
        Key { dev: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor), ino: stat.stx_ino }
    }
}

pub(crate) fn errno(e: rustix::io::Errno) -> Errno {
    Errno::from_raw(e.raw_os_error()).unwrap_or(Errno::EIO)
}

/// One name, and nothing that could lead elsewhere.
fn check(name: &[u8]) -> Result<&[u8], Errno> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(Errno::EINVAL);
    }
    Ok(name)
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// Attributes of a child, which is not followed if it is a symbolic link.
pub(crate) fn stat_at(dir: impl AsFd, name: &[u8]) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statx(dir, check(name)?, flags, WANTED).map_err(errno)
}

/// Attributes of what a descriptor refers to.
pub(crate) fn stat_fd(fd: impl AsFd) -> Result<Statx, Errno> {
    statx(fd, c"", AtFlags::EMPTY_PATH, WANTED).map_err(errno)
}

fn resolve() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

fn open_one(dir: impl AsFd, name: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    // Not every file system and not every signal handler restarts an open.
    let dir = dir.as_fd();
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::io::retry_on_intr(|| openat2(dir, name, flags, mode, resolve())).map_err(errno)
}

/// A child as a place, for any kind of file.
pub(crate) fn open_path(dir: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    open_one(dir, check(name)?, flags | OFlags::PATH, Mode::empty())
}

/// A regular file, for reading or writing, or a directory for listing. Never waits and never becomes a controlling terminal, should it be
/// something else by now.
pub(crate) fn open_file(dir: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    open_one(dir, check(name)?, flags | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())
}

/// A new regular file.
pub(crate) fn create_file(dir: impl AsFd, name: &[u8], perm: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY;
    open_one(dir, check(name)?, flags, mode(perm))
}

/// A directory once more, for listing it and for what an `O_PATH` descriptor can't do.
pub(crate) fn open_dir(dir: impl AsFd) -> Result<OwnedFd, Errno> {
    open_one(dir, b".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

pub(crate) fn mode(perm: u32) -> Mode {
    Mode::from_raw_mode(perm & 0o7777)
}

pub(crate) fn kind(host: HostType) -> FileType {
    match host {
        HostType::RegularFile => FileType::Regular,
        HostType::Directory => FileType::Directory,
        HostType::Symlink => FileType::Symlink,
        HostType::Fifo => FileType::Fifo,
        HostType::Socket => FileType::Socket,
        HostType::CharacterDevice => FileType::CharDevice,
        HostType::BlockDevice => FileType::BlockDevice,
        HostType::Unknown => FileType::Anonymous,
    }
}

fn time(host: StatxTimestamp) -> Timespec {
    Timespec { sec: host.tv_sec, nsec: host.tv_nsec }
}

/// Attributes as guests see them, with `dev` for the device.
pub(crate) fn attr(stat: &Statx, dev: u64) -> Attr {
    let has_btime = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    Attr {
        dev,
        ino: stat.stx_ino,
        kind: kind(HostType::from_raw_mode(u32::from(stat.stx_mode))),
        perm: u32::from(stat.stx_mode) & 0o7777,
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        rdev: makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
        size: stat.stx_size,
        blksize: stat.stx_blksize,
        blocks: stat.stx_blocks,
        atime: time(stat.stx_atime),
        mtime: time(stat.stx_mtime),
        ctime: time(stat.stx_ctime),
        btime: has_btime.then(|| time(stat.stx_btime)),
    }
}
