//! mkdir(2), mknod(2), symlink(2), link(2).

use crate::access::{self, MAY_EXEC, MAY_WRITE};
use crate::dir::Dir;
use crate::notify;
use crate::walk::{At, Last, PATH_MAX, WalkCx, WalkFlags};
use crate::{Capability, CreateKind, Dentry, FileType, PathRef};
use abi::Errno;
use abi::raw::general as c;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Locks the directory that a new name goes into, checks that the name is free and may be made, and makes it.
fn create_in(
    cx: &WalkCx<'_>,
    at: At<'_>,
    directory: bool,
    make: impl FnOnce(&mut Dir<'_>, &[u8]) -> Result<Arc<Dentry>, Errno>,
) -> Result<(), Errno> {
    let (parent, tail) = cx.resolve_parent(at, WalkFlags::empty())?;
    let Last::Name(name) = tail.last else { return Err(Errno::EEXIST) };
    let mut dir = Dir::lock(cx, &parent);
    match dir.lookup(name) {
        Ok(_) => return Err(Errno::EEXIST),
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    if tail.slash && !directory {
        return Err(Errno::ENOENT);
    }
    access::want_write(&parent)?;
    may_create(cx, &parent)?;
    let child = make(&mut dir, name)?;
    drop(dir);
    notify::created(&parent, &child);
    Ok(())
}

/// Whether names may be added to a directory, whose lock is held.
pub(super) fn may_create(cx: &WalkCx<'_>, parent: &PathRef) -> Result<(), Errno> {
    if parent.dentry.is_deleted() {
        return Err(Errno::ENOENT);
    }
    cx.permission(parent, MAY_WRITE | MAY_EXEC)
}

/// The permission bits of a new node.
pub(super) fn new_perm(cx: &WalkCx<'_>, dir: &Dir<'_>, perm: u32, directory: bool) -> Result<u32, Errno> {
    Ok(access::perm_of_new(&cx.creds, &dir.inode().attr()?, perm, cx.umask, directory))
}

/// mkdirat(2).
///
/// # Errors
/// Those of mkdirat(2).
pub fn mkdir(cx: &WalkCx<'_>, at: At<'_>, mode: u32) -> Result<(), Errno> {
    create_in(cx, at, true, |dir, name| {
        let perm = new_perm(cx, dir, mode & 0o1777, true)?;
        let inode = dir.inode().create(cx.caller, name, CreateKind::Directory { perm })?;
        Ok(dir.add(name, inode))
    })
}

/// mknodat(2); `mode` with type bits, `rdev` in the encoding of [`crate::makedev`].
///
/// # Errors
/// Those of mknodat(2).
pub fn mknod(cx: &WalkCx<'_>, at: At<'_>, mode: u32, rdev: u64) -> Result<(), Errno> {
    let kind = match mode & c::S_IFMT {
        0 => FileType::Regular,
        c::S_IFDIR => return Err(Errno::EPERM),
        c::S_IFLNK => return Err(Errno::EINVAL),
        bits => match FileType::from_mode(bits) {
            FileType::Anonymous => return Err(Errno::EINVAL),
            kind => kind,
        },
    };
    create_in(cx, at, false, |dir, name| {
        let perm = new_perm(cx, dir, mode & 0o7777, false)?;
        let whiteout = kind == FileType::CharDevice && rdev == 0;
        let device = matches!(kind, FileType::CharDevice | FileType::BlockDevice);
        if device && !whiteout && !cx.creds.capable(Capability::Mknod) {
            return Err(Errno::EPERM);
        }
        let kind = match kind {
            FileType::Fifo => CreateKind::Fifo { perm },
            FileType::Socket => CreateKind::Socket { perm },
            FileType::CharDevice => CreateKind::CharDevice { perm, rdev },
            FileType::BlockDevice => CreateKind::BlockDevice { perm, rdev },
            _ => CreateKind::Regular { perm },
        };
        let inode = dir.inode().create(cx.caller, name, kind)?;
        Ok(dir.add(name, inode))
    })
}

/// symlinkat(2).
///
/// # Errors
/// Those of symlinkat(2).
pub fn symlink(cx: &WalkCx<'_>, target: &[u8], at: At<'_>) -> Result<(), Errno> {
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    if target.len() >= PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    create_in(cx, at, false, |dir, name| {
        let inode = dir.inode().create(cx.caller, name, CreateKind::Symlink { target })?;
        Ok(dir.add(name, inode))
    })
}

/// linkat(2) of what `old` is.
///
/// # Errors
/// Those of linkat(2).
pub fn link(cx: &WalkCx<'_>, old: &PathRef, at: At<'_>) -> Result<(), Errno> {
    create_in(cx, at, false, |dir, name| {
        if !Arc::ptr_eq(&old.mount, &dir.place().mount) {
            return Err(Errno::EXDEV);
        }
        if old.dentry.is_dir() {
            return Err(Errno::EPERM);
        }
        if old.inode().attr()?.nlink == 0 && !old.dentry.linkable.load(Ordering::Relaxed) {
            return Err(Errno::ENOENT);
        }
        dir.inode().link(cx.caller, name, old.inode())?;
        Ok(dir.add(name, old.inode().clone()))
    })?;
    notify::attributes(&old.dentry);
    Ok(())
}
