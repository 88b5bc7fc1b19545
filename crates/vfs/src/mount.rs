//! Mounts, and the tree of them that a mount namespace is.

use crate::{Dentry, FileSystem, Inode};
use bitflags::bitflags;
use lock::{RwLock, rank};
use std::collections::HashMap;
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
    state: RwLock<State>,
}

struct State {
    flags: MountFlags,
    /// The mount below and the place in it; `None` for a namespace's root and for anonymous mounts.
    parent: Option<PathRef>,
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
            state: RwLock::new(rank::LEAF, State { flags, parent: None }),
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
        self.state.read().flags
    }

    /// Changes its flags.
    pub fn set_flags(&self, flags: MountFlags) {
        self.state.write().flags = flags;
    }

    /// Where it is mounted.
    #[must_use]
    pub fn parent(&self) -> Option<PathRef> {
        self.state.read().parent.clone()
    }

    pub(crate) fn set_parent(&self, parent: Option<PathRef>) -> Option<PathRef> {
        std::mem::replace(&mut self.state.write().parent, parent)
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

/// A mount namespace: what is mounted where.
pub struct MountNamespace {
    tree: RwLock<Tree>,
}

struct Tree {
    root: Arc<Mount>,
    /// By the mount below and the dentry in it. Stacked mounts hang on each other's roots.
    by_place: HashMap<(u64, u64), Arc<Mount>>,
}

impl MountNamespace {
    /// A namespace with `root` at its root.
    #[must_use]
    pub fn new(root: Arc<Mount>) -> MountNamespace {
        MountNamespace { tree: RwLock::new(rank::MOUNTS, Tree { root, by_place: HashMap::new() }) }
    }

    /// The place `/`.
    #[must_use]
    pub fn root(&self) -> PathRef {
        let mount = self.tree.read().root.clone();
        self.topmost(PathRef { dentry: mount.root().clone(), mount })
    }

    /// The root of what is mounted on `place`, over and over; `place` itself if nothing is.
    #[must_use]
    pub fn topmost(&self, mut place: PathRef) -> PathRef {
        while place.dentry.is_mountpoint() {
            let found = self.tree.read().by_place.get(&(place.mount.id(), place.dentry.id())).cloned();
            let Some(mount) = found else { break };
            place = PathRef { dentry: mount.root().clone(), mount };
        }
        place
    }

    /// Puts `mount` on top of `place`.
    pub fn attach(&self, mount: Arc<Mount>, place: &PathRef) {
        let place = self.topmost(place.clone());
        place.dentry.mounts.fetch_add(1, Ordering::AcqRel);
        let key = (place.mount.id(), place.dentry.id());
        drop(mount.set_parent(Some(place)));
        self.tree.write().by_place.insert(key, mount);
    }

    /// All mounts, the root first, then in the order of their making.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Mount>> {
        let tree = self.tree.read();
        let mut mounts: Vec<_> = tree.by_place.values().cloned().collect();
        mounts.sort_by_key(|m| m.id());
        mounts.insert(0, tree.root.clone());
        mounts
    }
}
