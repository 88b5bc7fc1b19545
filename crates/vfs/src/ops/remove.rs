//! unlink(2) and rmdir(2).

use crate::access::{self, MAY_EXEC, MAY_WRITE};
use crate::dir::Dir;
use crate::notify;
use crate::walk::{At, Last, WalkCx, WalkFlags};
use crate::{Dentry, PathRef};
use abi::Errno;
use std::sync::Arc;

/// Whether `victim` may be taken out of its directory, whose lock is held (`may_delete`).
pub(super) fn may_delete(
    cx: &WalkCx<'_>,
    parent: &PathRef,
    victim: &Arc<Dentry>,
    directory: bool,
) -> Result<(), Errno> {
    cx.permission(parent, MAY_WRITE | MAY_EXEC)?;
    access::check_sticky(&cx.creds, &parent.inode().attr()?, &victim.inode().attr()?)?;
    if directory && !victim.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    if !directory && victim.is_dir() {
        return Err(Errno::EISDIR);
    }
    if parent.dentry.is_deleted() {
        return Err(Errno::ENOENT);
    }
    Ok(())
}

/// unlinkat(2) without `AT_REMOVEDIR`.
///
/// # Errors
/// Those of unlinkat(2).
pub fn unlink(cx: &WalkCx<'_>, at: At<'_>) -> Result<(), Errno> {
    let (parent, tail) = cx.resolve_parent(at, WalkFlags::empty())?;
    let Last::Name(name) = tail.last else { return Err(Errno::EISDIR) };
    access::want_write(&parent)?;
    let mut dir = Dir::lock(cx, &parent);
    let victim = dir.lookup(name)?;
    if tail.slash {
        return Err(if victim.is_dir() { Errno::EISDIR } else { Errno::ENOTDIR });
    }
    may_delete(cx, &parent, &victim, false)?;
    if victim.is_mountpoint() {
        return Err(Errno::EBUSY);
    }
    dir.inode().unlink(cx.caller, name, victim.inode())?;
    dir.removed(name, victim.clone());
    drop(dir);
    notify::attributes_of(victim.inode());
    notify::deleted(&parent, &victim);
    Ok(())
}

/// rmdir(2).
///
/// # Errors
/// Those of rmdir(2).
pub fn rmdir(cx: &WalkCx<'_>, at: At<'_>) -> Result<(), Errno> {
    let (parent, tail) = cx.resolve_parent(at, WalkFlags::empty())?;
    let name = match tail.last {
        Last::Name(name) => name,
        Last::Dot => return Err(Errno::EINVAL),
        Last::DotDot => return Err(Errno::ENOTEMPTY),
        Last::Root => return Err(Errno::EBUSY),
    };
    access::want_write(&parent)?;
    let mut dir = Dir::lock(cx, &parent);
    let victim = dir.lookup(name)?;
    may_delete(cx, &parent, &victim, true)?;
    if victim.is_mountpoint() {
        return Err(Errno::EBUSY);
    }
    // Held so that nothing is created in it between the check for emptiness and the mark.
    let names = victim.children.lock_second();
    dir.inode().rmdir(cx.caller, name, victim.inode())?;
    dir.removed(name, victim.clone());
    drop(names);
    drop(dir);
    notify::deleted(&parent, &victim);
    Ok(())
}
