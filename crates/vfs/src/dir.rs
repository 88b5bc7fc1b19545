//! A locked directory: lookups and changes of its names.
//!
//! Every call on a directory's inode that finds or changes names goes through here, under the dentry's lock, so that the
//! cache and the file system never disagree. Order of several: an ancestor before its descendants; unrelated ones only
//! under the rename lock.

use crate::dentry::Children;
use crate::walk::WalkCx;
use crate::{Dentry, Inode, PathRef};
use abi::Errno;
use lock::MutexGuard;
use std::sync::Arc;

/// Longest name of a file.
pub const NAME_MAX: usize = 255;

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

    /// Finds a child. Mounts on it are not crossed.
    pub(crate) fn lookup(&mut self, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
        if let Some(child) = self.children.get(name) {
            let valid = child.is_mountpoint()
                || !self.place.mount.fs().volatile()
                || child.inode().revalidate(&**self.place.inode(), name);
            if valid {
                child.touch();
                return Ok(child);
            }
            self.removed(name, child);
        }
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if self.place.dentry.is_deleted() {
            return Err(Errno::ENOENT);
        }
        let inode = self.place.inode().lookup(self.cx.caller, name)?;
        Ok(self.add(name, inode))
    }

    /// A new name.
    pub(crate) fn add(&mut self, name: &[u8], inode: Arc<dyn Inode>) -> Arc<Dentry> {
        let child = Dentry::child(&self.place.dentry, name, inode);
        self.insert(name, &child);
        self.evicted.append(&mut self.cx.cache.insert(child.clone()));
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
