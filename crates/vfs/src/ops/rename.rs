//! renameat2(2).

use super::create::may_create;
use super::remove::may_delete;
use crate::access::{self, MAY_WRITE};
use crate::dir::Dir;
use crate::notify;
use crate::walk::{At, Last, Tail, WalkCx, WalkFlags};
use crate::{Dentry, PathRef, RenameFlags};
use abi::Errno;
use lock::MutexGuard;
use std::sync::Arc;

/// renameat2(2).
///
/// # Errors
/// Those of renameat2(2).
pub fn rename(cx: &WalkCx<'_>, old: At<'_>, new: At<'_>, flags: RenameFlags) -> Result<(), Errno> {
    let known = flags.difference(RenameFlags::all()).is_empty();
    let both = flags.contains(RenameFlags::EXCHANGE) && flags != RenameFlags::EXCHANGE;
    if !known || both {
        return Err(Errno::EINVAL);
    }
    let (old_parent, old_tail) = cx.resolve_parent(old, WalkFlags::empty())?;
    let (new_parent, new_tail) = cx.resolve_parent(new, WalkFlags::empty())?;
    if !Arc::ptr_eq(&old_parent.mount, &new_parent.mount) {
        return Err(Errno::EXDEV);
    }
    let Last::Name(old_name) = old_tail.last else { return Err(Errno::EBUSY) };
    let Last::Name(new_name) = new_tail.last else {
        return Err(if flags.contains(RenameFlags::NOREPLACE) { Errno::EEXIST } else { Errno::EBUSY });
    };
    access::want_write(&old_parent)?;
    let mut pair = Pair::lock(cx, &old_parent, &new_parent);
    let source = pair.old.lookup(old_name)?;
    let target = match pair.target_dir().lookup(new_name) {
        Ok(target) => Some(target),
        Err(Errno::ENOENT) => None,
        Err(errno) => return Err(errno),
    };
    check_names(&source, target.as_ref(), old_tail, new_tail, flags)?;
    check_loops(&source, target.as_ref(), &old_parent, &new_parent, flags)?;
    if target.as_ref().is_some_and(|t| Arc::ptr_eq(t.inode(), source.inode())) {
        return Ok(());
    }
    check_permission(cx, &source, target.as_ref(), &old_parent, &new_parent, flags)?;
    if source.is_mountpoint() || target.as_ref().is_some_and(|t| t.is_mountpoint()) {
        return Err(Errno::EBUSY);
    }
    // A directory that is replaced must not get a new entry before it is marked deleted.
    let replaced = target.as_ref().filter(|t| t.is_dir() && !flags.contains(RenameFlags::EXCHANGE));
    let names = replaced.map(|t| t.children.lock_second());
    old_parent.inode().rename(cx.caller, old_name, new_parent.inode(), new_name, flags)?;
    let dropped = pair.moved(&source, old_name, target.as_ref(), new_name, flags);
    drop(names);
    drop(pair);
    drop(dropped);
    let exchanged = target.as_ref().filter(|_| flags.contains(RenameFlags::EXCHANGE));
    notify::moved(&old_parent, old_name, &new_parent, new_name, &source);
    if let Some(other) = exchanged {
        notify::moved(&new_parent, new_name, &old_parent, old_name, other);
    } else if let Some(gone) = &target {
        notify::attributes_of(gone.inode());
    }
    Ok(())
}

fn check_names(
    source: &Dentry,
    target: Option<&Arc<Dentry>>,
    old: Tail<'_>,
    new: Tail<'_>,
    flags: RenameFlags,
) -> Result<(), Errno> {
    if flags.contains(RenameFlags::NOREPLACE) && target.is_some() {
        return Err(Errno::EEXIST);
    }
    if flags.contains(RenameFlags::EXCHANGE) {
        let target = target.ok_or(Errno::ENOENT)?;
        if !target.is_dir() && new.slash {
            return Err(Errno::ENOTDIR);
        }
    }
    let slash = old.slash || (!flags.contains(RenameFlags::EXCHANGE) && new.slash);
    if !source.is_dir() && slash {
        return Err(Errno::ENOTDIR);
    }
    Ok(())
}

/// Neither of the two may be an ancestor of the other's directory.
fn check_loops(
    source: &Arc<Dentry>,
    target: Option<&Arc<Dentry>>,
    old_parent: &PathRef,
    new_parent: &PathRef,
    flags: RenameFlags,
) -> Result<(), Errno> {
    if Arc::ptr_eq(&old_parent.dentry, &new_parent.dentry) {
        return Ok(());
    }
    if source.is_dir() && new_parent.dentry.is_within(source) {
        return Err(Errno::EINVAL);
    }
    if target.is_some_and(|t| t.is_dir() && old_parent.dentry.is_within(t)) {
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
    }
    Ok(())
}

fn check_permission(
    cx: &WalkCx<'_>,
    source: &Arc<Dentry>,
    target: Option<&Arc<Dentry>>,
    old_parent: &PathRef,
    new_parent: &PathRef,
    flags: RenameFlags,
) -> Result<(), Errno> {
    let exchange = flags.contains(RenameFlags::EXCHANGE);
    may_delete(cx, old_parent, source, source.is_dir())?;
    match target {
        None => may_create(cx, new_parent)?,
        Some(target) => {
            let directory = if exchange { target.is_dir() } else { source.is_dir() };
            may_delete(cx, new_parent, target, directory)?;
        }
    }
    if !Arc::ptr_eq(&old_parent.dentry, &new_parent.dentry) {
        // A directory that changes its parent has its ".." rewritten.
        for moved in [Some(source), target.filter(|_| exchange)].into_iter().flatten().filter(|d| d.is_dir()) {
            access::inode_permission(cx.caller, &cx.creds, moved.inode(), MAY_WRITE)?;
        }
    }
    Ok(())
}

/// The one or two directories of a rename, locked.
struct Pair<'a> {
    old: Dir<'a>,
    new: Option<Dir<'a>>,
    _topology: Option<MutexGuard<'a, ()>>,
}

impl<'a> Pair<'a> {
    fn lock(cx: &'a WalkCx<'a>, old: &'a PathRef, new: &'a PathRef) -> Pair<'a> {
        if Arc::ptr_eq(&old.dentry, &new.dentry) {
            return Pair { old: Dir::lock(cx, old), new: None, _topology: None };
        }
        let topology = old.mount.topology.lock();
        let old_first = if new.dentry.is_within(&old.dentry) {
            true
        } else if old.dentry.is_within(&new.dentry) {
            false
        } else {
            old.dentry.id() < new.dentry.id()
        };
        let (old, new) = if old_first {
            let old = Dir::lock(cx, old);
            (old, Dir::lock_second(cx, new))
        } else {
            let new = Dir::lock(cx, new);
            (Dir::lock_second(cx, old), new)
        };
        Pair { old, new: Some(new), _topology: Some(topology) }
    }

    fn target_dir(&mut self) -> &mut Dir<'a> {
        self.new.as_mut().unwrap_or(&mut self.old)
    }

    /// Brings the cache up to date. Returns dentries to be dropped without locks.
    fn moved(
        &mut self,
        source: &Arc<Dentry>,
        old_name: &[u8],
        target: Option<&Arc<Dentry>>,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> [Option<Arc<Dentry>>; 2] {
        let old_parent = self.old.place().dentry.clone();
        let new_parent = self.target_dir().place().dentry.clone();
        self.old.forget(old_name);
        let mut dropped = [None, None];
        match target {
            Some(other) if flags.contains(RenameFlags::EXCHANGE) => {
                self.old.insert(old_name, other);
                dropped[1] = other.set_place(&old_parent, old_name);
            }
            Some(gone) => self.target_dir().removed(new_name, gone.clone()),
            None => {}
        }
        self.target_dir().insert(new_name, source);
        dropped[0] = source.set_place(&new_parent, new_name);
        dropped
    }
}
