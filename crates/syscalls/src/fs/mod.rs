//! System calls on files, by topic. What they share: paths that start at a descriptor, and the blocking loop.

mod aio;
mod attrs;
mod dirs;
mod fcntl;
mod fds;
mod inotify;
mod ioctl;
mod memfd;
mod mount;
mod mount_objects;
mod names;
mod namespaces;
mod open;
mod pipes;
mod rw;
mod stat;
mod sync;
mod transfer;
mod xattr;

use crate::table::Entry;
use crate::user;
use abi::Errno;
use kernel::{CurrentTask, Fd};
use std::sync::Arc;
use vfs::{At, OpenFile, PathRef, WalkFlags};

/// Serve these calls.
pub const TABLES: &[&[Entry]] = &[
    aio::TABLE,
    attrs::TABLE,
    dirs::TABLE,
    fcntl::TABLE,
    fds::TABLE,
    inotify::TABLE,
    ioctl::TABLE,
    memfd::TABLE,
    mount::TABLE,
    mount_objects::TABLE,
    names::TABLE,
    namespaces::TABLE,
    open::TABLE,
    pipes::TABLE,
    rw::TABLE,
    stat::TABLE,
    sync::TABLE,
    transfer::TABLE,
    xattr::TABLE,
];

const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EACCESS: u32 = 0x200;
const AT_REMOVEDIR: u32 = 0x200;
const AT_SYMLINK_FOLLOW: u32 = 0x400;
const AT_NO_AUTOMOUNT: u32 = 0x800;
const AT_EMPTY_PATH: u32 = 0x1000;

/// A path from the guest, and the description that it starts at.
struct UserPath {
    path: Vec<u8>,
    start: Option<Arc<OpenFile>>,
}

impl UserPath {
    /// Reads a path that must not be empty.
    fn read(t: &CurrentTask, dirfd: Fd, addr: u64) -> Result<UserPath, Errno> {
        UserPath::read_flags(t, dirfd, addr, WalkFlags::empty())
    }

    /// Reads a path, which with [`WalkFlags::EMPTY`] may be empty.
    fn read_flags(t: &CurrentTask, dirfd: Fd, addr: u64, walk: WalkFlags) -> Result<UserPath, Errno> {
        let path = user::path(t, addr)?;
        if path.is_empty() && !walk.contains(WalkFlags::EMPTY) {
            return Err(Errno::ENOENT);
        }
        let start = if dirfd == AT_FDCWD || path.first() == Some(&b'/') { None } else { Some(t.fds().get_any(dirfd)?) };
        Ok(UserPath { path, start })
    }

    fn at(&self) -> At<'_> {
        At { start: self.start.as_ref().map(|file| file.path()), path: &self.path }
    }

    fn resolve(&self, t: &CurrentTask, walk: WalkFlags) -> Result<PathRef, Errno> {
        t.walk_cx().resolve(self.at(), walk)
    }
}

/// How `AT_*` flags resolve a path, unknown ones being refused.
fn walk_flags(flags: u32, known: u32, follow: bool) -> Result<WalkFlags, Errno> {
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::EMPTY, flags & AT_EMPTY_PATH != 0);
    let follow = if follow { flags & AT_SYMLINK_NOFOLLOW == 0 } else { flags & AT_SYMLINK_FOLLOW != 0 };
    walk.set(WalkFlags::FOLLOW, follow);
    Ok(walk)
}

/// The place that a path leads to, symbolic links being followed.
fn place(t: &CurrentTask, addr: u64) -> Result<PathRef, Errno> {
    UserPath::read(t, AT_FDCWD, addr)?.resolve(t, WalkFlags::FOLLOW)
}

/// Puts a new description into the lowest free descriptor.
pub(crate) fn add_fd(t: &CurrentTask, file: Arc<OpenFile>, cloexec: bool) -> Result<u64, Errno> {
    let limit = t.group.limit(abi::raw::general::RLIMIT_NOFILE);
    Ok(t.fds().add(file, cloexec, 0, limit)? as u64)
}
