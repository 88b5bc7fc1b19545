//! A locked directory: lookups and changes of its names.
//!
//! Every call on a directory's inode that finds or changes names goes through here. Changes are made under the dentry's
//! lock, so that the cache and the file system never disagree. A walk asks the file system without it, which may take
//! long (FUSE, a network), and asks again if names have changed meanwhile. Order of several: an ancestor before its descendants; unrelated ones only
//! under the rename lock.

use crate::dentry::Children;
use crate::walk::WalkCx;
use crate::{Attr, Dentry, Inode, PathRef};
use abi::Errno;
use lock::MutexGuard;
use std::sync::Arc;

/// Longest name of a file.
pub const NAME_MAX: usize = 255;

/// Lookups without the lock that may be in vain before one with it.
const TRIES: u32 = 3;

/// What a glance at a name has shown.
pub(crate) enum Glance {
    Cached(Arc<Dentry>),
    Seen(Attr),
    /// It must be looked up.
    No,
}

/// A directory with its lock held.
pub(crate) struct Dir<'a> {
    // Declared first: dentries that fell out of the cache are dropped after the lock.
    children: MutexGuard<'a, Children>,
    place: &'a PathRef,
    cx: &'a WalkCx<'a>,
    evicted: Vec<Arc<Dentry>>,
}

impl<'a> Dir<'a> {
    pub(crate) fn lock(cx: &'a WalkCx<'a>, place: &'a PathRef) -> Dir<'a> {
        Dir { children: place.dentry.children.lock(), place, cx, evicted: Vec::new() }
    }

    /// As [`Dir::lock`], while another directory is locked that comes first.
    pub(crate) fn lock_second(cx: &'a WalkCx<'a>, place: &'a PathRef) -> Dir<'a> {
        Dir { children: place.dentry.children.lock_second(), place, cx, evicted: Vec::new() }
    }

    pub(crate) fn inode(&self) -> &Arc<dyn Inode> {
        self.place.inode()
    }

    pub(crate) fn place(&self) -> &PathRef {
        self.place
    }

    /// Attributes of a child that the cache does not hold, if the file system tells them without an inode.
    pub(crate) fn glance(cx: &WalkCx<'_>, place: &PathRef, name: &[u8]) -> Result<Glance, Errno> {
        let dir = Dir::lock(cx, place);
        let (cached, changes) = (dir.children.get(name), dir.children.changes());
        dir.check(name, cached.is_some())?;
        drop(dir);
        if let Some(child) = cached {
            if !is_valid(place, &child, name) {
                return Ok(Glance::No);
            }
            child.touch();
            return Ok(Glance::Cached(child));
        }
        let attr = place.inode().glance(name);
        if place.dentry.children.lock().changes() != changes {
            return Ok(Glance::No);
        }
        Ok(attr?.map_or(Glance::No, Glance::Seen))
    }

    /// Finds a child, without the directory's lock while the file system is asked. Mounts on it are not crossed.
    pub(crate) fn find(cx: &WalkCx<'_>, place: &PathRef, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
        for _ in 0..TRIES {
            let dir = Dir::lock(cx, place);
            let (cached, changes) = (dir.children.get(name), dir.children.changes());
            dir.check(name, cached.is_some())?;
            drop(dir);
            match cached {
                Some(child) if is_valid(place, &child, name) => {
                    child.touch();
                    return Ok(child);
                }
                Some(child) => Dir::lock(cx, place).left(name, child),
                None => {
                    let found = place.inode().lookup(cx.caller, name);
                    let found = found.map(|inode| Dentry::child(&place.dentry, name, inode));
                    let mut dir = Dir::lock(cx, place);
                    if dir.children.changes() == changes {
                        return found.map(|child| dir.settle(name, child));
                    }
                }
            }
        }
        Dir::lock(cx, place).lookup(name)
    }

    /// Finds a child. Mounts on it are not crossed.
    pub(crate) fn lookup(&mut self, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
        let cached = self.children.get(name);
        self.check(name, cached.is_some())?;
        if let Some(child) = cached {
            if is_valid(self.place, &child, name) {
                child.touch();
                return Ok(child);
            }
            self.removed(name, child);
        }
        let inode = self.place.inode().lookup(self.cx.caller, name)?;
        Ok(self.settle(name, Dentry::child(&self.place.dentry, name, inode)))
    }

    /// Whether a name may be looked for, if it is not in the cache.
    fn check(&self, name: &[u8], cached: bool) -> Result<(), Errno> {
        if cached {
            return Ok(());
        }
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if self.place.dentry.is_deleted() { Err(Errno::ENOENT) } else { Ok(()) }
    }

    /// Takes out a child that was found not to be there any more.
    fn left(&mut self, name: &[u8], child: Arc<Dentry>) {
        if self.children.get(name).is_some_and(|now| Arc::ptr_eq(&now, &child)) {
            self.removed(name, child);
        }
    }

    /// Enters what was found, if another has not found it just before. Returns what counts.
    fn settle(&mut self, name: &[u8], child: Arc<Dentry>) -> Arc<Dentry> {
        if let Some(first) = self.children.get(name) {
            self.evicted.push(child);
            return first;
        }
        self.children.enter(name, &child);
        self.evicted.extend(self.cx.cache.insert(child.clone()));
        child
    }

    /// A new name.
    pub(crate) fn add(&mut self, name: &[u8], inode: Arc<dyn Inode>) -> Arc<Dentry> {
        let child = Dentry::child(&self.place.dentry, name, inode);
        self.insert(name, &child);
        self.evicted.extend(self.cx.cache.insert(child.clone()));
        child
    }

    /// Enters an existing dentry.
    pub(crate) fn insert(&mut self, name: &[u8], child: &Arc<Dentry>) {
        self.children.insert(name, child);
    }

    /// Forgets a name that moved elsewhere.
    pub(crate) fn forget(&mut self, name: &[u8]) {
        self.children.remove(name);
    }

    /// Forgets a name that is gone.
    pub(crate) fn removed(&mut self, name: &[u8], child: Arc<Dentry>) {
        self.children.remove(name);
        child.set_deleted();
        self.evicted.extend(self.cx.cache.forget(&child));
        self.evicted.push(child);
    }
}

/// Whether a cached child is still there. May ask the file system.
fn is_valid(place: &PathRef, child: &Dentry, name: &[u8]) -> bool {
    child.is_mountpoint() || !place.mount.fs().volatile() || child.inode().revalidate(&**place.inode(), name)
}
