//! Names: mkdir(2), mknod(2), link(2), symlink(2), unlink(2), rmdir(2), rename(2).

use super::{AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, UserPath, walk_flags};
use crate::args::{Arg, Args};
use crate::table::Entry;
use crate::user;
use abi::Errno;
use kernel::{CurrentTask, Fd, SysResult};
use vfs::{Capability, RenameFlags, ops};

/// Serves these calls.
pub const TABLE: &[Entry] = &[
    Entry::new(82, "rename", rename, &[Arg::Path, Arg::Path]),
    Entry::new(83, "mkdir", mkdir, &[Arg::Path, Arg::Mode]),
    Entry::new(84, "rmdir", rmdir, &[Arg::Path]),
    Entry::new(86, "link", link, &[Arg::Path, Arg::Path]),
    Entry::new(87, "unlink", unlink, &[Arg::Path]),
    Entry::new(88, "symlink", symlink, &[Arg::Path, Arg::Path]),
    Entry::new(133, "mknod", mknod, &[Arg::Path, Arg::Mode, Arg::Hex]),
    Entry::new(258, "mkdirat", mkdirat, &[Arg::AtFd, Arg::Path, Arg::Mode]),
    Entry::new(259, "mknodat", mknodat, &[Arg::AtFd, Arg::Path, Arg::Mode, Arg::Hex]),
    Entry::new(263, "unlinkat", unlinkat, &[Arg::AtFd, Arg::Path, Arg::Flags(UNLINK)]),
    Entry::new(264, "renameat", renameat, &[Arg::AtFd, Arg::Path, Arg::AtFd, Arg::Path]),
    Entry::new(265, "linkat", linkat, &[Arg::AtFd, Arg::Path, Arg::AtFd, Arg::Path, Arg::Flags(LINK)]),
    Entry::new(266, "symlinkat", symlinkat, &[Arg::Path, Arg::AtFd, Arg::Path]),
    Entry::new(316, "renameat2", renameat2, &[Arg::AtFd, Arg::Path, Arg::AtFd, Arg::Path, Arg::Flags(RENAME)]),
];

const UNLINK: &[(u64, &str)] = &[(0x200, "AT_REMOVEDIR")];
const LINK: &[(u64, &str)] = &[(0x400, "AT_SYMLINK_FOLLOW"), (0x1000, "AT_EMPTY_PATH")];
const RENAME: &[(u64, &str)] = &[(1, "RENAME_NOREPLACE"), (2, "RENAME_EXCHANGE"), (4, "RENAME_WHITEOUT")];

fn mkdir(t: &mut CurrentTask, a: Args) -> SysResult {
    make_dir(t, AT_FDCWD, a.u64(0), a.u32(1))
}

fn mkdirat(t: &mut CurrentTask, a: Args) -> SysResult {
    make_dir(t, a.i32(0), a.u64(1), a.u32(2))
}

fn make_dir(t: &CurrentTask, dirfd: Fd, path: u64, mode: u32) -> SysResult {
    let path = UserPath::read(t, dirfd, path)?;
    ops::mkdir(&t.walk_cx(), path.at(), mode)?;
    Ok(0)
}

fn mknod(t: &mut CurrentTask, a: Args) -> SysResult {
    make_node(t, AT_FDCWD, a.u64(0), a.u32(1), a.u32(2))
}

fn mknodat(t: &mut CurrentTask, a: Args) -> SysResult {
    make_node(t, a.i32(0), a.u64(1), a.u32(2), a.u32(3))
}

fn make_node(t: &CurrentTask, dirfd: Fd, path: u64, mode: u32, dev: u32) -> SysResult {
    let path = UserPath::read(t, dirfd, path)?;
    // Mode is a 16-bit type.
    ops::mknod(&t.walk_cx(), path.at(), mode & 0xffff, u64::from(dev))?;
    Ok(0)
}

fn symlink(t: &mut CurrentTask, a: Args) -> SysResult {
    make_symlink(t, a.u64(0), AT_FDCWD, a.u64(1))
}

fn symlinkat(t: &mut CurrentTask, a: Args) -> SysResult {
    make_symlink(t, a.u64(0), a.i32(1), a.u64(2))
}

fn make_symlink(t: &CurrentTask, target: u64, dirfd: Fd, path: u64) -> SysResult {
    let target = user::path(t, target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let path = UserPath::read(t, dirfd, path)?;
    ops::symlink(&t.walk_cx(), &target, path.at())?;
    Ok(0)
}

fn link(t: &mut CurrentTask, a: Args) -> SysResult {
    make_link(t, (AT_FDCWD, a.u64(0)), (AT_FDCWD, a.u64(1)), 0)
}

fn linkat(t: &mut CurrentTask, a: Args) -> SysResult {
    make_link(t, (a.i32(0), a.u64(1)), (a.i32(2), a.u64(3)), a.u32(4))
}

fn make_link(t: &CurrentTask, old: (Fd, u64), new: (Fd, u64), flags: u32) -> SysResult {
    let walk = walk_flags(flags, AT_SYMLINK_FOLLOW | AT_EMPTY_PATH, false)?;
    let old = UserPath::read_flags(t, old.0, old.1, walk)?;
    let new = UserPath::read(t, new.0, new.1)?;
    let cx = t.walk_cx();
    if old.path.is_empty() && !t.creds().capable(Capability::DacReadSearch) {
        return Err(Errno::ENOENT.into());
    }
    let place = cx.resolve(old.at(), walk)?;
    ops::link(&cx, &place, new.at())?;
    Ok(0)
}

fn unlink(t: &mut CurrentTask, a: Args) -> SysResult {
    remove(t, AT_FDCWD, a.u64(0), false)
}

fn rmdir(t: &mut CurrentTask, a: Args) -> SysResult {
    remove(t, AT_FDCWD, a.u64(0), true)
}

fn unlinkat(t: &mut CurrentTask, a: Args) -> SysResult {
    let flags = a.u32(2);
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL.into());
    }
    remove(t, a.i32(0), a.u64(1), flags & AT_REMOVEDIR != 0)
}

fn remove(t: &CurrentTask, dirfd: Fd, path: u64, directory: bool) -> SysResult {
    let path = UserPath::read(t, dirfd, path)?;
    let cx = t.walk_cx();
    if directory {
        ops::rmdir(&cx, path.at())?
    } else {
        ops::unlink(&cx, path.at())?
    }
    Ok(0)
}

fn rename(t: &mut CurrentTask, a: Args) -> SysResult {
    move_name(t, (AT_FDCWD, a.u64(0)), (AT_FDCWD, a.u64(1)), 0)
}

fn renameat(t: &mut CurrentTask, a: Args) -> SysResult {
    move_name(t, (a.i32(0), a.u64(1)), (a.i32(2), a.u64(3)), 0)
}

fn renameat2(t: &mut CurrentTask, a: Args) -> SysResult {
    move_name(t, (a.i32(0), a.u64(1)), (a.i32(2), a.u64(3)), a.u32(4))
}

fn move_name(t: &CurrentTask, old: (Fd, u64), new: (Fd, u64), flags: u32) -> SysResult {
    let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let old = UserPath::read(t, old.0, old.1)?;
    let new = UserPath::read(t, new.0, new.1)?;
    ops::rename(&t.walk_cx(), old.at(), new.at(), flags)?;
    Ok(0)
}
