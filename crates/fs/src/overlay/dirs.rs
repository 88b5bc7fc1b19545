//! Changes of directories: creating, linking, removing and renaming.

use super::node::{Change, Changes};
use super::{Node, Shared, System};
use abi::Errno;
use lock::MutexGuard;
use std::sync::Arc;
use vfs::{Caller, CreateKind, Inode, RenameFlags, SetAttr, SetTime};

/// What becomes of a name that stands for nothing here any more.
fn gone(changes: &mut Changes, name: &[u8], below: bool) -> Option<Change> {
    if below { changes.names.insert(name.into(), Change::Whiteout) } else { changes.names.remove(name) }
}

impl Node {
    /// A sibling behind a VFS reference.
    pub(super) fn sibling(&self, inode: &Arc<dyn Inode>) -> Result<Arc<Node>, Errno> {
        let node = inode.as_any().downcast_ref::<Node>().ok_or(Errno::EXDEV)?;
        if Arc::ptr_eq(&node.shared, &self.shared) { node.this() } else { Err(Errno::EXDEV) }
    }

    /// The changes of this directory, for adding `name`, which is neither here nor below.
    fn vacant(&self, name: &[u8]) -> Result<MutexGuard<'_, Changes>, Errno> {
        let below = self.has_below(name)?;
        let changes = self.directory()?.changes.lock();
        if changes.dead {
            return Err(Errno::ENOENT);
        }
        match changes.names.get(name) {
            Some(Change::Present(_)) => Err(Errno::EEXIST),
            None if below => Err(Errno::EEXIST),
            _ => Ok(changes),
        }
    }

    pub(super) fn add(&self, caller: &dyn Caller, name: &[u8], kind: CreateKind<'_>) -> Result<Arc<Node>, Errno> {
        let upper = self.copy_up(u64::MAX)?;
        let mut changes = self.vacant(name)?;
        let inode = upper.create(caller, name, kind)?;
        let node = Node::from_upper(&self.shared, inode, Some(self.place_in(name)))?;
        changes.names.insert(name.into(), Change::Present(node.clone()));
        Ok(node)
    }

    pub(super) fn add_link(&self, caller: &dyn Caller, name: &[u8], node: &Arc<Node>) -> Result<(), Errno> {
        let inode = node.copy_up(u64::MAX)?;
        let upper = self.copy_up(u64::MAX)?;
        let mut changes = self.vacant(name)?;
        upper.link(caller, name, inode)?;
        changes.names.insert(name.into(), Change::Present(node.clone()));
        drop(changes);
        node.relink(1);
        if node.place().is_none() {
            node.set_place(Some(self.place_in(name)));
        }
        Ok(())
    }

    /// Stamps a directory whose upper one did not see the change.
    fn touch(upper: &Arc<dyn Inode>) -> Result<(), Errno> {
        upper.set_attr(&System, &SetAttr { mtime: Some(SetTime::Now), ..SetAttr::default() })
    }

    /// Removes a name; `node` is what it stands for.
    pub(super) fn remove(&self, caller: &dyn Caller, name: &[u8], node: &Arc<Node>) -> Result<(), Errno> {
        if node.is_dir() {
            node.check_empty()?;
        }
        let upper = self.copy_up(u64::MAX)?;
        let below = self.has_below(name)?;
        let old = {
            let mut changes = self.directory()?.changes.lock();
            match changes.names.get(name) {
                Some(Change::Whiteout) => return Err(Errno::ENOENT),
                None if !below => return Err(Errno::ENOENT),
                None => Node::touch(upper)?,
                Some(Change::Present(there)) => {
                    let inode = there.upper.get().ok_or(Errno::EIO)?;
                    if node.is_dir() {
                        upper.rmdir(caller, name, inode)?;
                    } else {
                        upper.unlink(caller, name, inode)?;
                    }
                }
            }
            gone(&mut changes, name, below)
        };
        self.forget(name, node);
        drop(old);
        Ok(())
    }

    /// `node` lost its name here.
    fn forget(&self, name: &[u8], node: &Node) {
        if node.is_placed(self, name) {
            node.set_place(None);
        }
        match &node.directory {
            Some(directory) => directory.changes.lock().dead = true,
            None => node.relink(-1),
        }
    }

    /// Gives a copied file its name in the upper directory too: it may have been copied by another.
    fn settle(&self, name: &[u8], node: &Arc<Node>) -> Result<(), Errno> {
        let inode = node.copy_up(u64::MAX)?;
        let mut changes = self.directory()?.changes.lock();
        if !changes.names.contains_key(name) {
            let upper = self.upper.get().ok_or(Errno::EIO)?;
            upper.link(&System, name, inode)?;
            changes.names.insert(name.into(), Change::Present(node.clone()));
        }
        Ok(())
    }

    pub(super) fn move_to(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        dir: &Arc<Node>,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let node = self.child(name)?;
        let target = match dir.child(new_name) {
            Ok(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Errno::EEXIST),
            Ok(target) if Arc::ptr_eq(&target, &node) => return Ok(()),
            Ok(target) => Some(target),
            Err(Errno::ENOENT) if !exchange => None,
            Err(errno) => return Err(errno),
        };
        if let Some(target) = target.as_ref().filter(|_| !exchange) {
            match (node.is_dir(), target.is_dir()) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) => target.check_empty()?,
                (false, false) => {}
            }
        }
        let from = self.copy_up(u64::MAX)?;
        let to = dir.copy_up(u64::MAX)?;
        self.settle(name, &node)?;
        if let Some(target) = target.as_ref().filter(|_| exchange) {
            dir.settle(new_name, target)?;
        }
        let below = self.has_below(name)?;
        let old = {
            let (mut here, mut there) = self.lock_pair(dir)?;
            if there.as_ref().unwrap_or(&here).dead {
                return Err(Errno::ENOENT);
            }
            from.rename(caller, name, to, new_name, flags & RenameFlags::EXCHANGE)?;
            let moved = match target.as_ref().filter(|_| exchange) {
                Some(target) => here.names.insert(name.into(), Change::Present(target.clone())),
                None => gone(&mut here, name, below),
            };
            let dest = there.as_mut().unwrap_or(&mut here);
            let replaced = dest.names.insert(new_name.into(), Change::Present(node.clone()));
            (moved, replaced)
        };
        node.set_place(Some(dir.place_in(new_name)));
        match &target {
            Some(target) if exchange => target.set_place(Some(self.place_in(name))),
            Some(target) => dir.forget(new_name, target),
            None => {}
        }
        drop(old);
        Ok(())
    }

    /// Locks two directories' changes; the second only if it is another.
    fn lock_pair<'a>(
        &'a self,
        dir: &'a Node,
    ) -> Result<(MutexGuard<'a, Changes>, Option<MutexGuard<'a, Changes>>), Errno> {
        let (here, there) = (&self.directory()?.changes, &dir.directory()?.changes);
        Ok(if std::ptr::eq(self, dir) {
            (here.lock(), None)
        } else if std::ptr::from_ref(self) < std::ptr::from_ref(dir) {
            let here = here.lock();
            (here, Some(there.lock_second()))
        } else {
            let there = there.lock();
            (here.lock_second(), Some(there))
        })
    }

    /// A file without a name in this directory.
    pub(super) fn add_unnamed(&self, caller: &dyn Caller, perm: u32) -> Result<Arc<Node>, Errno> {
        let shared: &Arc<Shared> = &self.shared;
        self.directory()?;
        Node::from_upper(shared, self.copy_up(u64::MAX)?.create_unnamed(caller, perm)?, None)
    }
}
