//! Dentries: names in directories, and the cache of them.
//!
//! A dentry holds its parent strongly and its children weakly; [`DentryCache`] keeps the recently used ones alive. Two
//! walks to one name thus find the same dentry for as long as anybody holds it, which mounts, renames and working
//! directories rely on. There are no negative dentries: file systems answer a miss quickly.

use crate::Inode;
use lock::{Mutex, RwLock, rank};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Where a dentry hangs: its parent and its name there. A root and an anonymous dentry have no parent.
pub(crate) struct Place {
    pub parent: Option<Arc<Dentry>>,
    pub name: Box<[u8]>,
}

/// A name of an inode.
pub struct Dentry {
    id: u64,
    inode: Arc<dyn Inode>,
    place: RwLock<Place>,
    /// Children in the cache. This lock also orders all changes to the directory (Linux's `i_rwsem`).
    pub(crate) children: Mutex<HashMap<Box<[u8]>, Weak<Dentry>>>,
    /// How many mounts sit on it, in any namespace.
    pub(crate) mounts: AtomicU32,
    deleted: AtomicBool,
    /// Used since the cache last looked.
    pub(crate) recent: AtomicBool,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Dentry {
    fn make(inode: Arc<dyn Inode>, parent: Option<Arc<Dentry>>, name: &[u8]) -> Arc<Dentry> {
        Arc::new(Dentry {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            inode,
            place: RwLock::new(rank::LEAF, Place { parent, name: name.into() }),
            children: Mutex::new(rank::DENTRY, HashMap::new()),
            mounts: AtomicU32::new(0),
            deleted: AtomicBool::new(false),
            recent: AtomicBool::new(false),
        })
    }

    /// A file system's root.
    #[must_use]
    pub fn root(inode: Arc<dyn Inode>) -> Arc<Dentry> {
        Dentry::make(inode, None, b"/")
    }

    /// A dentry outside any tree: `pipe:[7]`, `anon_inode:[eventfd]`, `/memfd:x (deleted)`.
    #[must_use]
    pub fn anonymous(inode: Arc<dyn Inode>, name: &[u8]) -> Arc<Dentry> {
        Dentry::make(inode, None, name)
    }

    /// A child of `parent`; the caller puts it into `parent.children`.
    pub(crate) fn child(parent: &Arc<Dentry>, name: &[u8], inode: Arc<dyn Inode>) -> Arc<Dentry> {
        Dentry::make(inode, Some(parent.clone()), name)
    }

    /// Unique for ever.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What the name stands for.
    #[must_use]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// The directory that holds the name; `None` for a root.
    #[must_use]
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.read().parent.clone()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> Box<[u8]> {
        self.place.read().name.clone()
    }

    /// Moves it in the tree, under the locks of a rename. Returns the old parent, to be dropped without locks.
    pub(crate) fn set_place(&self, parent: &Arc<Dentry>, name: &[u8]) -> Option<Arc<Dentry>> {
        let mut place = self.place.write();
        place.name = name.into();
        place.parent.replace(parent.clone())
    }

    /// Whether the name was removed: shown as ` (deleted)`, and nothing may be created below it.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    pub(crate) fn set_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
    }

    /// Whether something is mounted on it in some namespace.
    #[must_use]
    pub fn is_mountpoint(&self) -> bool {
        self.mounts.load(Ordering::Acquire) != 0
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        // A long chain of ancestors that nobody else holds must not recurse once per level.
        let mut next = self.place.get_mut().parent.take();
        while let Some(parent) = next {
            next = match Arc::try_unwrap(parent) {
                Ok(mut last) => last.place.get_mut().parent.take(),
                Err(_) => None,
            };
        }
    }
}

/// Keeps recently used dentries alive: a second-chance queue of bounded length.
pub struct DentryCache {
    queue: Mutex<VecDeque<Arc<Dentry>>>,
    limit: usize,
}

impl DentryCache {
    /// A cache of at most `limit` dentries.
    #[must_use]
    pub fn new(limit: usize) -> DentryCache {
        DentryCache { queue: Mutex::new(rank::LEAF, VecDeque::new()), limit }
    }

    /// Adds a new dentry. Returns those that fell out, to be dropped without locks.
    #[must_use]
    pub(crate) fn insert(&self, dentry: Arc<Dentry>) -> Vec<Arc<Dentry>> {
        let mut out = Vec::new();
        let mut queue = self.queue.lock();
        queue.push_back(dentry);
        let mut tries = queue.len();
        while queue.len() > self.limit && tries > 0 {
            tries -= 1;
            let Some(old) = queue.pop_front() else { break };
            if !old.is_deleted() && old.recent.swap(false, Ordering::Relaxed) {
                queue.push_back(old);
            } else {
                out.push(old);
            }
        }
        out
    }
}
