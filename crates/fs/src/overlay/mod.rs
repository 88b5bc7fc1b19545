//! A writable tree over a read-only one that hardly ever changes: a container's root file system.
//!
//! Everything that differs from the lower tree is known in memory: each directory lists its *changes*, names that stand
//! for something new or copied and names that are gone (whiteouts), and those hold their inodes. What did not change is
//! looked up below when somebody asks. The upper tree stores data and attributes; it is the overlay's own, and has the
//! shape of the changes. A file is copied up when it is first opened for writing or its attributes change; the inode
//! stays the same, and so does its number, and descriptions that were opened before read the copy from then on.
//!
//! Locks: a directory's changes, and the lock that a file is copied under, have rank `OVERLAY`, in this order: the
//! file's, then the directory's, then a subdirectory's. The rest is `LEAF`.

mod copy;
mod dirs;
mod file;
mod inode;
mod list;
mod node;

#[cfg(test)]
mod tests;

pub use node::Node;

use abi::Errno;
use lock::{Mutex, rank};
use std::any::Any;
use std::sync::{Arc, LazyLock, Weak};
use vfs::hash::KeyedMap;
use vfs::{
    Attr, Caller, Credentials, Dentry, FileSystem, Inode, Mount, MountFlags, OpenFile, OpenFlags, PathRef, SetAttr,
    SetTime, StatFs,
};

const MAGIC: u64 = 0x794c_7630;

/// Which lower inode something is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    dev: u64,
    ino: u64,
}

impl Key {
    pub(crate) fn of(attr: &Attr) -> Key {
        Key { dev: attr.dev, ino: attr.ino }
    }
}

/// What all inodes of one overlay share.
pub(crate) struct Shared {
    pub dev: u64,
    lower_dev: u64,
    upper: Arc<Mount>,
    lower: Arc<Mount>,
    /// Live inodes that exist below, so that each lower inode has only one.
    table: Mutex<KeyedMap<Key, Weak<Node>>>,
    /// Files that were copied or lost a name here, and have further names below, which lead to them only by this.
    linked: Mutex<KeyedMap<Key, Arc<Node>>>,
}

impl Shared {
    pub(crate) fn upper_root(&self) -> &Arc<dyn Inode> {
        self.upper.root().inode()
    }

    /// Opens an inode of either tree for ourselves.
    pub(crate) fn open(&self, inode: &Arc<dyn Inode>, upper: bool, flags: OpenFlags) -> Result<OpenFile, Errno> {
        let at = if upper {
            PathRef { mount: self.upper.clone(), dentry: Dentry::anonymous(inode.clone(), b"overlay") }
        } else {
            // Nobody asks where it is, and nothing is counted of what is only read.
            PathRef { mount: self.lower.clone(), dentry: self.lower.root().clone() }
        };
        inode.open(&at, flags, &System)
    }

    /// The inode number of a lower inode, which differs from all others here even if the lower tree spans several file
    /// systems of the host.
    pub(crate) fn lower_ino(&self, attr: &Attr) -> u64 {
        if attr.dev == self.lower_dev { attr.ino } else { attr.ino ^ (attr.dev & 0xffff) << 44 }
    }

    /// The inode number of what was made here.
    pub(crate) fn upper_ino(attr: &Attr) -> u64 {
        attr.ino | 1 << 40
    }

    pub(crate) fn find(&self, key: Key) -> Option<Arc<Node>> {
        self.table.lock().get(&key).and_then(Weak::upgrade)
    }

    /// The inode of `key`: `new` unless somebody was faster.
    pub(crate) fn enter(&self, key: Key, new: Arc<Node>) -> Arc<Node> {
        let mut table = self.table.lock();
        let entry = table.entry(key).or_default();
        match entry.upgrade() {
            Some(old) if old.kind == new.kind => old,
            _ => {
                *entry = Arc::downgrade(&new);
                new.clone()
            }
        }
    }

    pub(crate) fn leave(&self, key: Key) {
        let mut table = self.table.lock();
        if table.get(&key).is_some_and(|weak| weak.strong_count() == 0) {
            table.remove(&key);
        }
    }

    pub(crate) fn pin(&self, key: Key, node: &Arc<Node>) {
        let old = self.linked.lock().insert(key, node.clone());
        drop(old);
    }

    pub(crate) fn unpin(&self, key: Key) {
        let old = self.linked.lock().remove(&key);
        drop(old);
    }
}

/// The Sentry itself, which copies on nobody's behalf.
pub(crate) struct System;

impl Caller for System {
    fn creds(&self) -> Arc<Credentials> {
        static ROOT: LazyLock<Arc<Credentials>> = LazyLock::new(|| Arc::new(Credentials::new(0, 0, &[])));
        ROOT.clone()
    }

    fn tid(&self) -> i32 {
        0
    }

    fn tgid(&self) -> i32 {
        0
    }

    fn copy_in(&self, _: u64, _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }

    fn copy_out(&self, _: u64, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A mounted overlay.
pub struct OverlayFs {
    shared: Arc<Shared>,
    root: Arc<Node>,
}

impl OverlayFs {
    /// `lower` as it looks with the changes that are to come in `upper`, which is empty and used
    /// by nobody else.
    ///
    /// # Errors
    /// The file systems'.
    pub fn new(upper: Arc<dyn FileSystem>, lower: Arc<dyn FileSystem>) -> Result<Arc<OverlayFs>, Errno> {
        let mount =
            |fs: &Arc<dyn FileSystem>| Mount::new(fs.clone(), Dentry::root(fs.root()), b"overlay", MountFlags::NOATIME);
        let shared = Arc::new(Shared {
            dev: vfs::anon::anonymous_dev(),
            lower_dev: lower.dev(),
            upper: mount(&upper),
            lower: mount(&lower),
            table: Mutex::new(rank::LEAF, KeyedMap::default()),
            linked: Mutex::new(rank::LEAF, KeyedMap::default()),
        });
        let below = shared.lower.root().inode().clone();
        let attr = below.attr()?;
        shared.upper_root().set_attr(&System, &same_attr(&attr))?;
        let root = Node::root(&shared, below, attr);
        Ok(Arc::new(OverlayFs { shared, root }))
    }
}

/// The change that makes another inode look like this.
pub(crate) fn same_attr(attr: &Attr) -> SetAttr {
    SetAttr {
        perm: Some(attr.perm),
        uid: Some(attr.uid),
        gid: Some(attr.gid),
        size: None,
        atime: Some(SetTime::To(attr.atime)),
        mtime: Some(SetTime::To(attr.mtime)),
    }
}

impl FileSystem for OverlayFs {
    fn type_name(&self) -> &'static str {
        "overlay"
    }

    fn dev(&self) -> u64 {
        self.shared.dev
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn volatile(&self) -> bool {
        self.shared.lower.fs().volatile()
    }

    fn statfs(&self) -> Result<StatFs, Errno> {
        Ok(StatFs { magic: MAGIC, ..self.shared.upper.fs().statfs()? })
    }
}
