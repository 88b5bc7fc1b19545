//! The inode operations of host trees.

use super::HostNode;
use super::calls::{self, Key};
use super::dir::HostDir;
use super::file::HostFile;
use abi::Errno;
use rustix::fs::{
    AtFlags, FileType as HostType, RenameFlags as HostRename, Timespec as HostTime, Timestamps, UTIME_NOW, UTIME_OMIT,
    XattrFlags as HostXattr, chownat, fchmod, ftruncate, linkat, mkdirat, mknodat, readlinkat, renameat_with,
    symlinkat, unlinkat, utimensat,
};
use rustix::process::{Gid, Uid};
use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vfs::{
    Attr, Caller, CreateKind, FileType, Inode, InodeCommon, Link, OpenFile, OpenFlags, PathRef, RenameFlags, SetAttr,
    SetTime, XattrFlags,
};

const S_ISGID: u32 = abi::raw::general::S_ISGID;

fn host_time(set: Option<SetTime>) -> HostTime {
    match set {
        None => HostTime { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(SetTime::Now) => HostTime { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(SetTime::To(time)) => HostTime { tv_sec: time.sec, tv_nsec: i64::from(time.nsec) },
    }
}

/// Whether guests see attributes of this name.
fn xattr_allowed(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"security.") || name.starts_with(b"trusted.")
}

/// Calls `get` with room for `guess` bytes, and with as much as the host asks for if that is too little.
fn growing(guess: usize, get: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> Result<Vec<u8>, Errno> {
    const MOST: usize = 64 << 10;
    let mut bytes = vec![0; guess];
    let n = match get(&mut bytes) {
        Err(rustix::io::Errno::RANGE) => {
            bytes.resize(MOST, 0);
            get(&mut bytes)
        }
        other => other,
    };
    bytes.truncate(n.map_err(calls::errno)?);
    Ok(bytes)
}

impl HostNode {
    /// A sibling behind a VFS reference.
    fn sibling<'a>(&self, inode: &'a Arc<dyn Inode>) -> Result<&'a HostNode, Errno> {
        let node = inode.as_any().downcast_ref::<HostNode>().ok_or(Errno::EXDEV)?;
        if Arc::ptr_eq(&node.shared, &self.shared) { Ok(node) } else { Err(Errno::EXDEV) }
    }

    fn set_perm(&self, perm: u32) -> Result<(), Errno> {
        let fd = self.path_fd().ok_or(Errno::ESTALE)?;
        match host::chmod::chmod(fd, perm) {
            Err(Errno::ENOSYS) => fchmod(self.real_fd()?, calls::mode(perm)).map_err(calls::errno),
            other => other,
        }
    }

    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let fd = self.path_fd().ok_or(Errno::ESTALE)?;
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH).map_err(calls::errno)
    }

    /// Makes a new child what the guest asked for, as far as the host lets us.
    fn settle(&self, caller: &dyn Caller, name: &[u8], perm: Option<u32>) -> Result<Arc<HostNode>, Errno> {
        let child = self.child(name)?;
        let creds = caller.creds();
        let inherits = self.attr()?.perm & S_ISGID != 0;
        let now = child.attr()?;
        let uid = (now.uid != creds.fsuid).then_some(creds.fsuid);
        let gid = (now.gid != creds.fsgid && !inherits).then_some(creds.fsgid);
        if uid.is_some() || gid.is_some() {
            match child.set_owner(uid, gid) {
                // The Sentry may be an ordinary user: then the file is that user's.
                Ok(()) | Err(Errno::EPERM | Errno::EINVAL) => {}
                Err(errno) => return Err(errno),
            }
        }
        if let Some(mut perm) = perm {
            if inherits && child.kind() == FileType::Directory {
                perm |= S_ISGID;
            }
            if child.attr()?.perm != perm & 0o7777 {
                child.set_perm(perm)?;
            }
        }
        Ok(child)
    }

    /// The names of its extended attributes, asked of the host.
    fn host_xattrs(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let fd = match self.real_fd() {
            Ok(fd) => fd,
            // Neither these nor links can be asked without following a path.
            Err(Errno::EOPNOTSUPP | Errno::EACCES) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        };
        let list = match growing(1024, |buffer| rustix::fs::flistxattr(&fd, buffer)) {
            Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
            other => other?,
        };
        let names = list.split(|b| *b == 0).filter(|name| xattr_allowed(name));
        Ok(names.map(<[u8]>::to_vec).collect())
    }
}

impl Inode for HostNode {
    fn attr(&self) -> Result<Attr, Errno> {
        self.attr_now()
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

    fn set_attr(&self, _: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        self.shared.check_writable()?;
        if let Some(size) = set.size {
            let fd = match self.kind() {
                FileType::Regular => self.writer(false)?,
                FileType::Directory => return Err(Errno::EISDIR),
                _ => return Err(Errno::EINVAL),
            };
            let old = calls::stat_fd(&fd)?.stx_size;
            ftruncate(&fd, size).map_err(calls::errno)?;
            if size < old {
                let first = size.checked_next_multiple_of(abi::PAGE_SIZE).unwrap_or(size);
                self.invalidate(first..!(abi::PAGE_SIZE - 1), true);
            }
        }
        if set.uid.is_some() || set.gid.is_some() {
            self.set_owner(set.uid, set.gid)?;
        }
        if let Some(perm) = set.perm {
            self.set_perm(perm)?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            let times = Timestamps { last_access: host_time(set.atime), last_modification: host_time(set.mtime) };
            let fd = self.path_fd().ok_or(Errno::ESTALE)?;
            utimensat(fd, c"", &times, AtFlags::EMPTY_PATH).map_err(calls::errno)?;
        }
        Ok(())
    }

    fn open(&self, at: &PathRef, flags: OpenFlags, _: &dyn Caller) -> Result<OpenFile, Errno> {
        let node = self.this.upgrade().ok_or(Errno::ENOENT)?;
        let ops: Box<dyn vfs::FileOps> = match self.kind() {
            FileType::Regular if flags.writable() => {
                Box::new(HostFile::new(node, self.writer(flags.readable())?, true))
            }
            FileType::Regular => Box::new(HostFile::new(node, self.reader()?, false)),
            FileType::Directory => Box::new(HostDir::new(node)?),
            FileType::Symlink => return Err(Errno::ELOOP),
            _ => return Err(Errno::ENXIO),
        };
        Ok(OpenFile::new(at.clone(), flags, ops))
    }

    fn lookup(&self, _: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        Ok(self.child(name)?)
    }

    fn glance(&self, name: &[u8]) -> Result<Option<Attr>, Errno> {
        self.glance(name)
    }

    fn revalidate(&self, parent: &dyn Inode, name: &[u8]) -> bool {
        parent.as_any().downcast_ref::<HostNode>().is_some_and(|dir| self.is_at(dir, name))
    }

    fn create(&self, caller: &dyn Caller, name: &[u8], kind: CreateKind<'_>) -> Result<Arc<dyn Inode>, Errno> {
        self.shared.check_writable()?;
        let dir = self.dir_fd()?;
        let node = |kind, perm, rdev| mknodat(dir, name, kind, calls::mode(perm), rdev).map_err(calls::errno);
        let perm = match kind {
            CreateKind::Regular { perm } => {
                let fd = calls::create_file(dir, name, perm)?;
                let child = self.settle(caller, name, Some(perm))?;
                if Key::of(&calls::stat_fd(&fd)?) == child.key {
                    let fd = child.adopt_writer(fd);
                    self.shared.keep(&fd);
                }
                return Ok(child);
            }
            CreateKind::Directory { perm } => {
                mkdirat(dir, name, calls::mode(perm)).map_err(calls::errno)?;
                Some(perm)
            }
            CreateKind::Symlink { target } => {
                symlinkat(target, dir, name).map_err(calls::errno)?;
                None
            }
            CreateKind::Fifo { perm } => {
                node(HostType::Fifo, perm, 0)?;
                Some(perm)
            }
            CreateKind::Socket { perm } => {
                node(HostType::Socket, perm, 0)?;
                Some(perm)
            }
            // Devices of the host are not the guests' to name.
            CreateKind::CharDevice { .. } | CreateKind::BlockDevice { .. } => return Err(Errno::EPERM),
        };
        Ok(self.settle(caller, name, perm)?)
    }

    fn link(&self, _: &dyn Caller, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        self.shared.check_writable()?;
        let to = self.dir_fd()?;
        let link =
            |from: BorrowedFd<'_>, old: &[u8]| linkat(from, old, to, name, AtFlags::empty()).map_err(calls::errno);
        self.sibling(target)?.with_place(link)
    }

    fn unlink(&self, _: &dyn Caller, name: &[u8], _: &Arc<dyn Inode>) -> Result<(), Errno> {
        self.shared.check_writable()?;
        unlinkat(self.dir_fd()?, name, AtFlags::empty()).map_err(calls::errno)?;
        self.shared.moves.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn rmdir(&self, _: &dyn Caller, name: &[u8], _: &Arc<dyn Inode>) -> Result<(), Errno> {
        self.shared.check_writable()?;
        unlinkat(self.dir_fd()?, name, AtFlags::REMOVEDIR).map_err(calls::errno)
    }

    fn rename(
        &self,
        _: &dyn Caller,
        name: &[u8],
        new_dir: &Arc<dyn Inode>,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        self.shared.check_writable()?;
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        let new_dir = self.sibling(new_dir)?;
        let host_flags = HostRename::from_bits_truncate(flags.bits());
        renameat_with(self.dir_fd()?, name, new_dir.dir_fd()?, new_name, host_flags).map_err(calls::errno)?;
        self.shared.moves.fetch_add(1, Ordering::SeqCst);
        new_dir.moved(new_name);
        if flags.contains(RenameFlags::EXCHANGE) {
            self.moved(name);
        }
        Ok(())
    }

    fn read_link(&self, _: &dyn Caller) -> Result<Link, Errno> {
        if self.kind() != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        let read = |dir: BorrowedFd<'_>, name: &[u8]| readlinkat(dir, name, Vec::new()).map_err(calls::errno);
        let target = self.target(|| {
            let target = match self.path_fd() {
                Some(fd) => read(fd, b"")?,
                None => self.with_place(read)?,
            };
            Ok(target.into_bytes())
        })?;
        Ok(Link::Path(target.to_vec()))
    }

    fn get_xattr(&self, _: &dyn Caller, name: &[u8]) -> Result<Vec<u8>, Errno> {
        if !xattr_allowed(name) {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.shared.exclusive() && !self.xattrs(|| self.host_xattrs())?.iter().any(|known| known == name) {
            return Err(Errno::ENODATA);
        }
        let fd = match self.real_fd() {
            Err(Errno::EOPNOTSUPP | Errno::EACCES) => return Err(Errno::ENODATA),
            other => other?,
        };
        growing(256, |buffer| rustix::fs::fgetxattr(&fd, name, buffer))
    }

    fn set_xattr(&self, _: &dyn Caller, name: &[u8], value: Option<&[u8]>, flags: XattrFlags) -> Result<(), Errno> {
        self.shared.check_writable()?;
        if !xattr_allowed(name) {
            return Err(Errno::EOPNOTSUPP);
        }
        let fd = self.real_fd()?;
        let result = match value {
            Some(value) => rustix::fs::fsetxattr(&fd, name, value, HostXattr::from_bits_truncate(flags.bits())),
            None => rustix::fs::fremovexattr(&fd, name),
        };
        result.map_err(calls::errno)
    }

    fn list_xattr(&self, _: &dyn Caller) -> Result<Vec<Vec<u8>>, Errno> {
        Ok(self.xattrs(|| self.host_xattrs())?.to_vec())
    }
}
