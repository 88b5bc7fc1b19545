//! Files outside every directory tree: anonymous inodes (eventfd, epoll, …) and the pseudo file systems that pipes and
//! sockets live on, each with a mount that is attached nowhere. Crates of features build their descriptions with these.

use crate::time::{Timespec, now_coarse};
use crate::{
    Attr, Caller, Dentry, FileOps, FileSystem, FileType, Inode, InodeCommon, Mount, MountFlags, OpenFile, OpenFlags,
    PathRef, SetAttr, SetTime, StatFs, makedev,
};
use abi::{Errno, PAGE_SIZE};
use lock::{Mutex, rank};
use std::any::Any;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

/// A device number for a file system that has no device (`get_anon_bdev`), never given twice.
#[must_use]
pub fn anonymous_dev() -> u64 {
    static NEXT: AtomicU32 = AtomicU32::new(16);
    makedev(0, NEXT.fetch_add(1, Ordering::Relaxed) & 0xf_ffff)
}

/// A file system of nameless inodes.
pub struct PseudoFs {
    type_name: &'static str,
    magic: u64,
    dev: u64,
    next_ino: AtomicU64,
}

impl PseudoFs {
    fn new(type_name: &'static str, magic: u64) -> Arc<PseudoFs> {
        Arc::new(PseudoFs { type_name, magic, dev: anonymous_dev(), next_ino: AtomicU64::new(2) })
    }

    fn inode(&self, ino: u64, kind: FileType, perm: u32, uid: u32, gid: u32) -> Arc<AnonInode> {
        let now = now_coarse();
        let owner = Owner { perm, uid, gid, atime: now, mtime: now, ctime: now };
        Arc::new(AnonInode {
            dev: self.dev,
            ino,
            kind,
            owner: Mutex::new(rank::LEAF, owner),
            common: InodeCommon::default(),
        })
    }
}

impl FileSystem for PseudoFs {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn dev(&self) -> u64 {
        self.dev
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.inode(1, FileType::Directory, 0o555, 0, 0)
    }

    fn statfs(&self) -> Result<StatFs, Errno> {
        Ok(StatFs { magic: self.magic, block_size: PAGE_SIZE, name_max: 255, ..StatFs::default() })
    }
}

/// A pseudo file system and its mount.
pub struct PseudoMount {
    fs: Arc<PseudoFs>,
    mount: Arc<Mount>,
}

impl PseudoMount {
    fn new(type_name: &'static str, magic: u64) -> PseudoMount {
        let fs = PseudoFs::new(type_name, magic);
        let root = Dentry::root(fs.root());
        let mount = Mount::new(fs.clone(), root, type_name.as_bytes(), MountFlags::empty());
        PseudoMount { fs, mount }
    }

    /// A new inode with a number of its own, named `prefix:[number]` as Linux shows pipes and sockets.
    #[must_use]
    pub fn place(&self, prefix: &str, kind: FileType, perm: u32, caller: &dyn Caller) -> PathRef {
        let ino = self.fs.next_ino.fetch_add(1, Ordering::Relaxed);
        let creds = caller.creds();
        let inode = self.fs.inode(ino, kind, perm, creds.fsuid, creds.fsgid);
        let name = format!("{prefix}:[{ino}]");
        PathRef { mount: self.mount.clone(), dentry: Dentry::anonymous(inode, name.as_bytes()) }
    }
}

static ANON: LazyLock<(PseudoMount, Arc<AnonInode>)> = LazyLock::new(|| {
    let mount = PseudoMount::new("anon_inodefs", 0x0904_1934);
    let inode = mount.fs.inode(1, FileType::Anonymous, 0o600, 0, 0);
    (mount, inode)
});
static PIPES: LazyLock<PseudoMount> = LazyLock::new(|| PseudoMount::new("pipefs", 0x5049_5045));
static SOCKETS: LazyLock<PseudoMount> = LazyLock::new(|| PseudoMount::new("sockfs", 0x534f_434b));

static MQUEUES: LazyLock<PseudoMount> = LazyLock::new(|| PseudoMount::new("mqueue", 0x1980_0202));

/// Where POSIX message queues live.
#[must_use]
pub fn mqueuefs() -> &'static PseudoMount {
    &MQUEUES
}

/// Where pipes live.
#[must_use]
pub fn pipefs() -> &'static PseudoMount {
    &PIPES
}

/// Where sockets live.
#[must_use]
pub fn sockfs() -> &'static PseudoMount {
    &SOCKETS
}

/// A description of an object that has no inode of its own; `name` without `anon_inode:`, such as `[eventfd]`.
#[must_use]
pub fn anon_file(name: &str, flags: OpenFlags, ops: Box<dyn FileOps>) -> OpenFile {
    let (anon, inode) = &*ANON;
    let name = format!("anon_inode:{name}");
    let dentry = Dentry::anonymous(inode.clone(), name.as_bytes());
    OpenFile::new(PathRef { mount: anon.mount.clone(), dentry }, flags, ops)
}

struct Owner {
    perm: u32,
    uid: u32,
    gid: u32,
    atime: Timespec,
    mtime: Timespec,
    ctime: Timespec,
}

/// An inode that has attributes and nothing else. What it stands for was opened when it was made.
pub struct AnonInode {
    dev: u64,
    ino: u64,
    kind: FileType,
    owner: Mutex<Owner>,
    common: InodeCommon,
}

impl Inode for AnonInode {
    fn attr(&self) -> Result<Attr, Errno> {
        let owner = self.owner.lock();
        Ok(Attr {
            dev: self.dev,
            ino: self.ino,
            kind: self.kind,
            perm: owner.perm,
            nlink: 1,
            uid: owner.uid,
            gid: owner.gid,
            rdev: 0,
            size: 0,
            blksize: PAGE_SIZE as u32,
            blocks: 0,
            atime: owner.atime,
            mtime: owner.mtime,
            ctime: owner.ctime,
            btime: None,
        })
    }

    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn set_attr(&self, _: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        // All anonymous inodes are one: nobody may change it for everybody.
        if self.kind == FileType::Anonymous {
            return Err(Errno::EOPNOTSUPP);
        }
        if set.size.is_some() {
            return Err(Errno::EINVAL);
        }
        let now = now_coarse();
        let time = |set: SetTime| match set {
            SetTime::Now => now,
            SetTime::To(time) => time,
        };
        let mut owner = self.owner.lock();
        owner.perm = set.perm.map_or(owner.perm, |perm| perm & 0o7777);
        owner.uid = set.uid.unwrap_or(owner.uid);
        owner.gid = set.gid.unwrap_or(owner.gid);
        owner.atime = set.atime.map_or(owner.atime, time);
        owner.mtime = set.mtime.map_or(owner.mtime, time);
        owner.ctime = now;
        Ok(())
    }

    fn open(&self, _: &PathRef, _: OpenFlags, _: &dyn Caller) -> Result<OpenFile, Errno> {
        Err(Errno::ENXIO)
    }
}
