//! The inodes of an instance: its root, `ptmx`, and a terminal each.

use super::{DevPts, FIRST_SLAVE_INO, SlaveFile};
use crate::devpts::files::open_master;
use abi::Errno;
use kernel::tty::Tty;
use lock::{Mutex, rank};
use std::any::Any;
use std::sync::{Arc, Weak};
use vfs::time::{Timespec, now_coarse};
use vfs::{
    Attr, Caller, CreateKind, DirEmit, FileOps, FileType, Inode, InodeCommon, IoCx, OpenFile, OpenFlags, PathRef,
    SetAttr, SetTime, makedev,
};

/// Attributes that change.
struct Meta {
    perm: u32,
    uid: u32,
    gid: u32,
    atime: Timespec,
    mtime: Timespec,
    ctime: Timespec,
}

/// What all nodes have.
struct Node {
    dev: u64,
    ino: u64,
    kind: FileType,
    rdev: u64,
    meta: Mutex<Meta>,
    common: InodeCommon,
}

impl Node {
    fn new(dev: u64, ino: u64, kind: FileType, rdev: u64, perm: u32, (uid, gid): (u32, u32)) -> Node {
        let now = now_coarse();
        let meta = Meta { perm, uid, gid, atime: now, mtime: now, ctime: now };
        Node { dev, ino, kind, rdev, meta: Mutex::new(rank::LEAF, meta), common: InodeCommon::default() }
    }

    fn attr(&self) -> Attr {
        let meta = self.meta.lock();
        Attr {
            dev: self.dev,
            ino: self.ino,
            kind: self.kind,
            perm: meta.perm,
            nlink: if self.kind == FileType::Directory { 2 } else { 1 },
            uid: meta.uid,
            gid: meta.gid,
            rdev: self.rdev,
            size: 0,
            blksize: 1024,
            blocks: 0,
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            btime: None,
        }
    }

    fn set(&self, set: &SetAttr) {
        let now = now_coarse();
        let time = |t: SetTime| match t {
            SetTime::Now => now,
            SetTime::To(at) => at,
        };
        let mut meta = self.meta.lock();
        meta.perm = set.perm.unwrap_or(meta.perm);
        meta.uid = set.uid.unwrap_or(meta.uid);
        meta.gid = set.gid.unwrap_or(meta.gid);
        meta.atime = set.atime.map_or(meta.atime, time);
        meta.mtime = set.mtime.map_or(meta.mtime, time);
        meta.ctime = now;
    }
}

macro_rules! node_inode {
    () => {
        fn common(&self) -> &InodeCommon {
            &self.node.common
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    };
}

macro_rules! plain_set_attr {
    () => {
        fn set_attr(&self, _caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
            self.node.set(set);
            Ok(())
        }
    };
}

/// The root.
pub(super) struct Directory {
    fs: Weak<DevPts>,
    node: Node,
}

impl Directory {
    /// The instance whose root this is.
    pub(super) fn instance(&self) -> Option<Arc<DevPts>> {
        self.fs.upgrade()
    }

    pub(super) fn new(fs: Weak<DevPts>, dev: u64) -> Arc<Directory> {
        Arc::new(Directory { fs, node: Node::new(dev, 1, FileType::Directory, 0, 0o755, (0, 0)) })
    }
}

/// The number that a name stands for, if it is written as devpts writes it.
fn index_of(name: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(name).ok()?;
    let index: u32 = text.parse().ok()?;
    (index.to_string() == text).then_some(index)
}

impl Inode for Directory {
    fn attr(&self) -> Result<Attr, Errno> {
        Ok(self.node.attr())
    }

    node_inode!();

    plain_set_attr!();

    fn open(&self, at: &PathRef, flags: OpenFlags, _caller: &dyn Caller) -> Result<OpenFile, Errno> {
        Ok(OpenFile::new(at.clone(), flags, Box::new(Listing(self.fs.clone()))))
    }

    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let fs = self.fs.upgrade().ok_or(Errno::ENOENT)?;
        if name == b"ptmx" {
            return Ok(fs.multiplexer());
        }
        let node = index_of(name).and_then(|index| fs.node(index)).ok_or(Errno::ENOENT)?;
        Ok(node)
    }

    /// Nothing is made here by name; files fail as where a directory has no `create` at all.
    fn create(&self, _caller: &dyn Caller, _name: &[u8], kind: CreateKind<'_>) -> Result<Arc<dyn Inode>, Errno> {
        Err(if matches!(kind, CreateKind::Regular { .. }) { Errno::EACCES } else { Errno::EPERM })
    }
}

/// An open root.
struct Listing(Weak<DevPts>);

impl FileOps for Listing {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    /// Positions: 0 and 1 are the dots, 2 is `ptmx`, terminal `n` is `n + 3`.
    fn read_dir(&self, _io: &IoCx<'_>, pos: u64, emit: &mut DirEmit<'_>) -> Result<u64, Errno> {
        let fs = self.0.upgrade().ok_or(Errno::ENOENT)?;
        let mut pos = pos;
        let fixed: [(&[u8], u64, FileType); 3] =
            [(b".", 1, FileType::Directory), (b"..", 1, FileType::Directory), (b"ptmx", 2, FileType::CharDevice)];
        for (at, (name, ino, kind)) in (0..).zip(fixed) {
            if at < pos {
                continue;
            }
            if !emit(name, ino, kind, at + 1) {
                return Ok(at);
            }
            pos = at + 1;
        }
        let names: Vec<u32> = fs.slots.lock().iter().filter(|(_, s)| s.node.is_some()).map(|(i, _)| *i).collect();
        for index in names {
            let at = u64::from(index) + FIRST_SLAVE_INO;
            if at < pos {
                continue;
            }
            if !emit(index.to_string().as_bytes(), at, FileType::CharDevice, at + 1) {
                return Ok(at);
            }
            pos = at + 1;
        }
        Ok(pos)
    }
}

/// `ptmx`: each open makes a pair.
pub(super) struct Multiplexer {
    fs: Weak<DevPts>,
    node: Node,
}

impl Multiplexer {
    pub(super) fn new(fs: Weak<DevPts>, dev: u64, perm: u32) -> Arc<Multiplexer> {
        Arc::new(Multiplexer { fs, node: Node::new(dev, 2, FileType::CharDevice, makedev(5, 2), perm, (0, 0)) })
    }

    pub(super) fn set_mode(&self, perm: u32) {
        self.node.meta.lock().perm = perm;
    }
}

impl Inode for Multiplexer {
    fn attr(&self) -> Result<Attr, Errno> {
        Ok(self.node.attr())
    }

    node_inode!();

    plain_set_attr!();

    fn open(&self, at: &PathRef, flags: OpenFlags, caller: &dyn Caller) -> Result<OpenFile, Errno> {
        open_master(&self.fs.upgrade().ok_or(Errno::EIO)?, at, flags, caller)
    }
}

/// The slave side of a terminal.
pub(super) struct SlaveNode {
    fs: Weak<DevPts>,
    tty: Weak<Tty>,
    node: Node,
}

impl SlaveNode {
    pub(super) fn new(fs: Weak<DevPts>, tty: &Arc<Tty>, dev: u64, perm: u32, uid: u32, gid: u32) -> Arc<SlaveNode> {
        let ino = u64::from(tty.index()) + FIRST_SLAVE_INO;
        let node = Node::new(dev, ino, FileType::CharDevice, tty.device(), perm, (uid, gid));
        Arc::new(SlaveNode { fs, tty: Arc::downgrade(tty), node })
    }
}

impl SlaveNode {
    /// Whether the name still stands for this node.
    fn is_listed(&self) -> bool {
        let Some(index) = self.node.ino.checked_sub(FIRST_SLAVE_INO).and_then(|i| u32::try_from(i).ok()) else {
            return false;
        };
        let now = self.fs.upgrade().and_then(|fs| fs.node(index));
        now.is_some_and(|node| std::ptr::eq(Arc::as_ptr(&node), self))
    }
}

impl Inode for SlaveNode {
    /// The times of transfers are the terminal's.
    fn attr(&self) -> Result<Attr, Errno> {
        let mut attr = Attr { nlink: u32::from(self.is_listed()), ..self.node.attr() };
        if let Some(tty) = self.tty.upgrade() {
            (attr.atime.sec, attr.mtime.sec) = tty.times();
        }
        Ok(attr)
    }

    fn set_attr(&self, _caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        self.node.set(set);
        if let Some(tty) = self.tty.upgrade() {
            let now = self.node.meta.lock();
            tty.set_times(set.atime.map(|_| now.atime.sec), set.mtime.map(|_| now.mtime.sec));
        }
        Ok(())
    }

    node_inode!();

    fn open(&self, at: &PathRef, flags: OpenFlags, caller: &dyn Caller) -> Result<OpenFile, Errno> {
        let tty = self.tty.upgrade().ok_or(Errno::EIO)?;
        SlaveFile::open(&tty, at, flags, caller)
    }

    fn revalidate(&self, _parent: &dyn Inode, _name: &[u8]) -> bool {
        self.is_listed()
    }
}
