//! The inode operations of the overlay.

use super::Node;
use super::file::OverlayFile;
use super::list::OverlayDir;
use abi::Errno;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vfs::{
    Attr, Caller, CreateKind, FileType, Inode, InodeCommon, Link, OpenFile, OpenFlags, PathRef, RenameFlags, SetAttr,
    XattrFlags,
};

impl Node {
    /// The inode to ask: the upper one if there is one.
    fn real(&self) -> Result<&Arc<dyn Inode>, Errno> {
        self.upper.get().or(self.lower.as_ref().map(|lower| &lower.inode)).ok_or(Errno::EIO)
    }
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr, Errno> {
        let mut attr = match (self.upper.get(), &self.lower) {
            (Some(upper), _) => upper.attr()?,
            (None, Some(lower)) => lower.inode.attr()?,
            (None, None) => return Err(Errno::EIO),
        };
        attr.dev = self.shared.dev;
        attr.ino = self.ino;
        if let Some(lower) = &self.lower {
            if !self.is_dir() {
                attr.nlink = lower.nlink.saturating_add_signed(self.links.load(Ordering::Relaxed));
            } else if self.upper.get().is_some() && attr.nlink > 0 {
                // Nobody has counted the subdirectories of both.
                attr.nlink = 1;
            }
        }
        Ok(attr)
    }

    fn kind(&self) -> FileType {
        self.kind
    }

    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn set_attr(&self, caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        self.copy_up(set.size.unwrap_or(u64::MAX))?.set_attr(caller, set)
    }

    fn open(&self, at: &PathRef, flags: OpenFlags, caller: &dyn Caller) -> Result<OpenFile, Errno> {
        match self.kind {
            FileType::Directory => Ok(OpenFile::new(at.clone(), flags, Box::new(OverlayDir::new(self.this()?)))),
            FileType::Regular => {
                if flags.writable() {
                    let kept = if flags.contains(OpenFlags::TRUNC) { 0 } else { u64::MAX };
                    self.copy_up(kept)?;
                }
                match (self.upper.get(), &self.lower) {
                    (Some(upper), _) => upper.open(at, flags, caller),
                    (None, Some(lower)) => {
                        let file = self.shared.open(&lower.inode, false, OpenFlags::empty())?;
                        let ops = OverlayFile::new(self.this()?, file);
                        Ok(OpenFile::new(at.clone(), flags, Box::new(ops)))
                    }
                    (None, None) => Err(Errno::EIO),
                }
            }
            FileType::Symlink => Err(Errno::ELOOP),
            _ => Err(Errno::ENXIO),
        }
    }

    fn lookup(&self, _: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        Ok(self.child(name)?)
    }

    fn glance(&self, name: &[u8]) -> Result<Option<Attr>, Errno> {
        self.glance(name)
    }

    fn revalidate(&self, parent: &dyn Inode, name: &[u8]) -> bool {
        if self.upper.get().is_some() {
            return true;
        }
        let above = parent.as_any().downcast_ref::<Node>().and_then(|dir| dir.lower.as_ref());
        let (Some(lower), Some(above)) = (&self.lower, above) else { return true };
        // What was not copied up has the name that it has below.
        lower.inode.revalidate(&*above.inode, name)
    }

    fn create(&self, caller: &dyn Caller, name: &[u8], kind: CreateKind<'_>) -> Result<Arc<dyn Inode>, Errno> {
        Ok(self.add(caller, name, kind)?)
    }

    fn create_unnamed(&self, caller: &dyn Caller, perm: u32) -> Result<Arc<dyn Inode>, Errno> {
        Ok(self.add_unnamed(caller, perm)?)
    }

    fn link(&self, caller: &dyn Caller, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        let node = self.sibling(target)?;
        if node.is_dir() {
            return Err(Errno::EPERM);
        }
        self.add_link(caller, name, &node)
    }

    fn unlink(&self, caller: &dyn Caller, name: &[u8], child: &Arc<dyn Inode>) -> Result<(), Errno> {
        let node = self.sibling(child)?;
        if node.is_dir() {
            return Err(Errno::EISDIR);
        }
        self.remove(caller, name, &node)
    }

    fn rmdir(&self, caller: &dyn Caller, name: &[u8], child: &Arc<dyn Inode>) -> Result<(), Errno> {
        let node = self.sibling(child)?;
        if !node.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        self.remove(caller, name, &node)
    }

    fn rename(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        new_dir: &Arc<dyn Inode>,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let dir = self.sibling(new_dir)?;
        self.move_to(caller, name, &dir, new_name, flags)
    }

    fn read_link(&self, caller: &dyn Caller) -> Result<Link, Errno> {
        self.real()?.read_link(caller)
    }

    fn get_xattr(&self, caller: &dyn Caller, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.real()?.get_xattr(caller, name)
    }

    fn set_xattr(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        value: Option<&[u8]>,
        flags: XattrFlags,
    ) -> Result<(), Errno> {
        self.copy_up(u64::MAX)?.set_xattr(caller, name, value, flags)
    }

    fn list_xattr(&self, caller: &dyn Caller) -> Result<Vec<Vec<u8>>, Errno> {
        self.real()?.list_xattr(caller)
    }
}
