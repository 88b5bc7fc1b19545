//! The descriptors of a process: `fd`, whose links lead to the files, and `fdinfo`.

use super::root::{number, pid_ino};
use super::target::Target;
use crate::synth::{Body, Entry, Fixed, Node};
use abi::Errno;
use kernel::Fd;
use std::sync::Arc;
use vfs::{Caller, FileOps, FileType, Inode, Link, OpenFile, OpenFlags};

/// Where the inode numbers of descriptors start among those of a process.
const FIRST_INO: u64 = 1 << 10;

fn fd_ino(tid: i32, fd: Fd, info: bool) -> u64 {
    pid_ino(tid, FIRST_INO + 2 * u64::from(fd.cast_unsigned()) + u64::from(info))
}

/// `fd` or, with `info`, `fdinfo`.
pub(super) struct FdDir {
    pub target: Target,
    pub info: bool,
}

impl Target {
    fn fds(&self) -> Result<Vec<Fd>, Errno> {
        let task = self.task().ok_or(Errno::ENOENT)?;
        Ok(task.with_fds(|table| table.list()).unwrap_or_default())
    }

    fn fd_flags(&self, fd: Fd) -> Result<(OpenFlags, bool), Errno> {
        let task = self.task().ok_or(Errno::ENOENT)?;
        let flags = task.with_fds(|table| table.flags(fd)).ok_or(Errno::ENOENT)?;
        flags.map_err(|_| Errno::ENOENT)
    }

    /// Not to be called under locks: dropping the description may close it.
    fn file(&self, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
        let task = self.task().ok_or(Errno::ENOENT)?;
        let file = task.with_fds(|table| table.get_any(fd)).ok_or(Errno::ENOENT)?;
        file.map_err(|_| Errno::ENOENT)
    }
}

impl Body for FdDir {
    fn kind(&self) -> FileType {
        FileType::Directory
    }

    fn perm(&self) -> u32 {
        if self.info { 0o555 } else { 0o500 }
    }

    fn owner(&self) -> (u32, u32) {
        self.target.owner(self.info)
    }

    fn size(&self) -> u64 {
        if self.info { 0 } else { self.target.fds().map_or(0, |fds| fds.len() as u64) }
    }

    fn alive(&self) -> bool {
        self.target.alive()
    }

    fn permission(&self, caller: &dyn Caller, _mask: u32) -> Option<Result<(), Errno>> {
        match self.info {
            false if caller.tgid() == self.target.pid => Some(Ok(())),
            false => None,
            true => Some(self.target.check_access(caller)),
        }
    }

    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let fd = number(name).ok_or(Errno::ENOENT)?;
        self.target.fd_flags(fd)?;
        let target = self.target.clone();
        let (dev, ino) = (target.shared.dev, fd_ino(target.tid, fd, self.info));
        Ok(if self.info {
            Node::new(dev, ino, FdInfo { target, fd })
        } else {
            Node::new(dev, ino, FdLink { target, fd })
        })
    }

    fn list(&self, _caller: &dyn Caller) -> Result<Vec<Entry>, Errno> {
        let fds = self.target.fds()?;
        let kind = if self.info { FileType::Regular } else { FileType::Symlink };
        let entry = |fd: Fd| Entry {
            name: fd.to_string().into_bytes(),
            ino: fd_ino(self.target.tid, fd, self.info),
            kind,
            pos: 2 + u64::from(fd.cast_unsigned()),
        };
        Ok(fds.into_iter().map(entry).collect())
    }
}

/// A link in `fd`.
struct FdLink {
    target: Target,
    fd: Fd,
}

impl Body for FdLink {
    fn kind(&self) -> FileType {
        FileType::Symlink
    }

    fn perm(&self) -> u32 {
        let Ok((flags, _)) = self.target.fd_flags(self.fd) else { return 0 };
        0o100 | if flags.readable() { 0o400 } else { 0 } | if flags.writable() { 0o200 } else { 0 }
    }

    fn owner(&self) -> (u32, u32) {
        self.target.owner(false)
    }

    fn size(&self) -> u64 {
        64
    }

    fn alive(&self) -> bool {
        self.target.fd_flags(self.fd).is_ok()
    }

    fn link(&self, caller: &dyn Caller) -> Result<Link, Errno> {
        self.target.check_access(caller)?;
        Ok(Link::Jump(self.target.file(self.fd)?.path().clone()))
    }
}

/// A file in `fdinfo`.
struct FdInfo {
    target: Target,
    fd: Fd,
}

impl FdInfo {
    fn text(&self) -> Result<String, Errno> {
        let (_, cloexec) = self.target.fd_flags(self.fd)?;
        let file = self.target.file(self.fd)?;
        let mut flags = file.flags();
        flags.set(OpenFlags::CLOEXEC, cloexec);
        let position = if file.ops().seekable() { *file.offset() } else { 0 };
        let ino = file.attr().map_or(0, |attr| attr.ino);
        let mount = file.path().mount.id();
        Ok(format!(
            "pos:\t{position}\nflags:\t0{:o}\nmnt_id:\t{mount}\nino:\t{ino}\n{}",
            flags.bits(),
            file.ops().fdinfo()
        ))
    }
}

impl Body for FdInfo {
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    fn perm(&self) -> u32 {
        0o444
    }

    fn owner(&self) -> (u32, u32) {
        self.target.owner(false)
    }

    fn alive(&self) -> bool {
        self.target.fd_flags(self.fd).is_ok()
    }

    fn check_open(&self, caller: &dyn Caller, _flags: OpenFlags) -> Result<(), Errno> {
        self.target.check_access(caller)
    }

    /// Made now: while this file is read its own offset is locked, and the other's could not be asked for.
    fn open(&self, _caller: &dyn Caller) -> Result<Option<Box<dyn FileOps>>, Errno> {
        Ok(Some(Box::new(Fixed(self.text()?.into_bytes()))))
    }
}
