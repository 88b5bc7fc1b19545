//! Mounts, and places seen through them.

use crate::{Dentry, FileSystem, Inode};
use bitflags::bitflags;
use lock::{Mutex, RwLock, rank};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

bitflags! {
    /// `MS_*` flags that belong to a mount.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[allow(missing_docs)]
    pub struct MountFlags: u64 {
        const RDONLY = 1;
        const NOSUID = 2;
        const NODEV = 4;
        const NOEXEC = 8;
        const NOATIME = 0x400;
        const NODIRATIME = 0x800;
        const RELATIME = 0x20_0000;
    }
}

/// One file system at one place.
pub struct Mount {
    id: u64,
    fs: Arc<dyn FileSystem>,
    root: Arc<Dentry>,
    /// What it was mounted from, for /proc/mounts.
    source: Box<[u8]>,
    flags: AtomicU64,
    /// Descriptions that may write to its files.
    writers: AtomicU64,
    /// The mount below and the place in it; `None` for a namespace's root and for anonymous mounts.
    parent: RwLock<Option<PathRef>>,
    /// Held by renames from one directory to another, so that the shape of the tree stands still while two directories
    /// are ordered and locked. All mounts of one tree share it (`s_vfs_rename_mutex`).
    pub(crate) topology: Arc<Mutex<()>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(20);

impl Mount {
    /// A mount of `fs` that is nowhere yet, its root being `root` (for a bind mount not that of `fs`).
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>, root: Arc<Dentry>, source: &[u8], flags: MountFlags) -> Arc<Mount> {
        Arc::new(Mount {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            fs,
            root,
            source: source.into(),
            flags: AtomicU64::new(flags.bits()),
            writers: AtomicU64::new(0),
            parent: RwLock::new(rank::LEAF, None),
            topology: Arc::new(Mutex::new(rank::RENAME, ())),
        })
    }

    /// Another mount of the same tree, or of the part of it at `root`.
    pub(crate) fn again(&self, root: &Arc<Dentry>) -> Arc<Mount> {
        Arc::new(Mount {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            fs: self.fs.clone(),
            root: root.clone(),
            source: self.source.clone(),
            flags: AtomicU64::new(self.flags().bits()),
            writers: AtomicU64::new(0),
            parent: RwLock::new(rank::LEAF, None),
            topology: self.topology.clone(),
        })
    }

    /// The id in /proc/PID/mountinfo.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The file system.
    #[must_use]
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }

    /// What it was mounted from.
    #[must_use]
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Its flags.
    #[must_use]
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    pub(crate) fn add_writer(&self) {
        self.writers.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn remove_writer(&self) {
        self.writers.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn has_writers(&self) -> bool {
        self.writers.load(Ordering::SeqCst) != 0
    }

    /// Changes its flags.
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// Where it is mounted.
    #[must_use]
    pub fn parent(&self) -> Option<PathRef> {
        self.parent.read().clone()
    }

    pub(crate) fn set_parent(&self, parent: Option<PathRef>) -> Option<PathRef> {
        std::mem::replace(&mut *self.parent.write(), parent)
    }
}

/// A place in the tree: a dentry as seen through a mount.
#[derive(Clone)]
pub struct PathRef {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The dentry.
    pub dentry: Arc<Dentry>,
}

impl PathRef {
    /// The inode at this place.
    #[must_use]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.dentry.inode()
    }

    /// Whether both name the same place.
    #[must_use]
    pub fn same(&self, other: &PathRef) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}
