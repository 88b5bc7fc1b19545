//! Copying up: giving an inode of the lower tree a place in the upper one.

use super::node::{Change, Place};
use super::{Node, System, same_attr};
use abi::Errno;
use host::io::{SliceSink, SliceSource};
use std::sync::Arc;
use vfs::{Attr, CreateKind, FileType, Inode, IoCx, Link, OpenFlags, SetAttr, SetTime, WriteAt, XattrFlags};

/// Bytes copied at once.
const CHUNK: usize = 256 << 10;

/// Makes a copy as a name in an upper directory.
type Make<'a> = dyn FnMut(&Arc<dyn Inode>, &[u8]) -> Result<Arc<dyn Inode>, Errno> + 'a;

impl Node {
    /// Its upper inode, copied up if there is none. Of a file's data, at most the first `limit` bytes are kept.
    pub(super) fn copy_up(&self, limit: u64) -> Result<&Arc<dyn Inode>, Errno> {
        if let Some(upper) = self.upper.get() {
            return Ok(upper);
        }
        // First all directories above, from the top.
        let mut above = Vec::new();
        let mut next = self.place().and_then(|p| p.dir.upgrade());
        while let Some(dir) = next.filter(|dir| dir.upper.get().is_none()) {
            next = dir.place().and_then(|p| p.dir.upgrade());
            above.push(dir);
        }
        while let Some(dir) = above.pop() {
            dir.copy_alone(u64::MAX)?;
        }
        self.copy_alone(limit)
    }

    /// Copies it up; the directories above have been.
    fn copy_alone(&self, limit: u64) -> Result<&Arc<dyn Inode>, Errno> {
        let _one = self.copying.lock();
        if let Some(upper) = self.upper.get() {
            return Ok(upper);
        }
        let lower = self.lower.as_ref().ok_or(Errno::EIO)?;
        let upper = if self.kind == FileType::Regular {
            let attr = lower.inode.attr()?;
            let copy = self.shared.upper_root().create_unnamed(&System, attr.perm)?;
            self.copy_data(&lower.inode, &copy, attr.size.min(limit))?;
            copy_attr(&lower.inode, &attr, &copy)?;
            self.attach(&mut |dir, name| dir.link(&System, name, &copy).map(|()| copy.clone()))?.unwrap_or(copy)
        } else {
            let mut make = |dir: &Arc<dyn Inode>, name: &[u8]| self.copy_node(dir, name);
            match self.attach(&mut make)? {
                Some(copy) => copy,
                None => self.copy_nameless()?,
            }
        };
        if lower.nlink > 1 && !self.is_dir() {
            self.shared.pin(lower.key, &self.this()?);
        }
        let _ = self.upper.set(upper);
        self.upper.get().ok_or(Errno::EIO)
    }

    /// Has `make` put the copy into the upper directory of its place, and notes the change there. `None` if it has no
    /// name any more.
    fn attach(&self, make: &mut Make<'_>) -> Result<Option<Arc<dyn Inode>>, Errno> {
        let this = self.this()?;
        loop {
            let Some(Place { dir, name, .. }) = self.place() else { return Ok(None) };
            let Some(dir) = dir.upgrade() else { return Ok(None) };
            let upper_dir = dir.upper.get().ok_or(Errno::ESTALE)?;
            let mut changes = dir.directory()?.changes.lock_second();
            if !self.is_placed(&dir, &name) {
                // Renamed or removed meanwhile.
                continue;
            }
            let before = upper_dir.attr()?;
            let copy = make(upper_dir, &name)?;
            // The directory looks as if nothing had happened, for nothing has.
            let times = SetAttr {
                atime: Some(SetTime::To(before.atime)),
                mtime: Some(SetTime::To(before.mtime)),
                ..SetAttr::default()
            };
            upper_dir.set_attr(&System, &times)?;
            self.set_place(Some(dir.place_in(&name)));
            changes.names.insert(name, Change::Present(this));
            return Ok(Some(copy));
        }
    }

    /// Copies what is no regular file as `name` into the upper directory `dir`.
    fn copy_node(&self, dir: &Arc<dyn Inode>, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let lower = self.lower.as_ref().ok_or(Errno::EIO)?;
        let attr = lower.inode.attr()?;
        let (perm, rdev) = (attr.perm, attr.rdev);
        let target = match self.kind {
            FileType::Symlink => match lower.inode.read_link(&System)? {
                Link::Path(path) => path,
                Link::Jump(_) => return Err(Errno::EINVAL),
            },
            _ => Vec::new(),
        };
        let kind = match self.kind {
            FileType::Directory => CreateKind::Directory { perm },
            FileType::Symlink => CreateKind::Symlink { target: &target },
            FileType::Fifo => CreateKind::Fifo { perm },
            FileType::Socket => CreateKind::Socket { perm },
            FileType::CharDevice => CreateKind::CharDevice { perm, rdev },
            FileType::BlockDevice => CreateKind::BlockDevice { perm, rdev },
            FileType::Regular | FileType::Anonymous => return Err(Errno::EIO),
        };
        let copy = dir.create(&System, name, kind)?;
        copy_attr(&lower.inode, &attr, &copy)?;
        Ok(copy)
    }

    /// Copies what is no regular file and has no name any more.
    fn copy_nameless(&self) -> Result<Arc<dyn Inode>, Errno> {
        // No name of a guest's is that long.
        let name = format!("{:0>256x}", self.ino);
        let root = self.shared.upper_root();
        let copy = self.copy_node(root, name.as_bytes())?;
        if self.is_dir() {
            root.rmdir(&System, name.as_bytes(), &copy)?;
        } else {
            root.unlink(&System, name.as_bytes(), &copy)?;
        }
        Ok(copy)
    }

    /// Copies the first `size` bytes; blocks of zeroes become holes.
    fn copy_data(&self, from: &Arc<dyn Inode>, to: &Arc<dyn Inode>, size: u64) -> Result<(), Errno> {
        if size == 0 {
            return Ok(());
        }
        let from = self.shared.open(from, false, OpenFlags::empty())?;
        let dest = self.shared.open(to, true, OpenFlags::WRONLY)?;
        to.set_attr(&System, &SetAttr { size: Some(size), ..SetAttr::default() })?;
        let call = vfs::CallState::default();
        let io = IoCx { caller: &System, nonblock: false, sync: false, call: &call };
        let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
        let mut at = 0;
        while at < size {
            let want = buffer.len().min(usize::try_from(size - at).unwrap_or(CHUNK));
            let Some(room) = buffer.get_mut(..want) else { break };
            let n = from.ops().read_at(&io, at, &mut SliceSink::new(room)).map_err(vfs::IoError::nonblocking)?;
            let Some(bytes) = room.get(..n).filter(|bytes| !bytes.is_empty()) else { break };
            if bytes.iter().any(|b| *b != 0) {
                let at = WriteAt::Offset(at);
                let written = dest.ops().write_at(&io, at, &mut SliceSource::new(bytes));
                if written.map_err(vfs::IoError::nonblocking)?.len < n {
                    return Err(Errno::ENOSPC);
                }
            }
            at += n as u64;
        }
        Ok(())
    }
}

/// Makes a copy look like its original.
fn copy_attr(from: &Arc<dyn Inode>, attr: &Attr, to: &Arc<dyn Inode>) -> Result<(), Errno> {
    for name in from.list_xattr(&System)? {
        if let Ok(value) = from.get_xattr(&System, &name) {
            match to.set_xattr(&System, &name, Some(&value), XattrFlags::empty()) {
                Ok(()) | Err(Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    to.set_attr(&System, &same_attr(attr))
}
