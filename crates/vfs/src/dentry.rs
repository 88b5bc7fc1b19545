//! Dentries: names in directories, and the cache of them.
//!
//! A dentry holds its parent strongly and its children weakly; [`DentryCache`] keeps the recently used ones alive. Two
//! walks to one name thus find the same dentry for as long as anybody holds it, which mounts, renames and working
//! directories rely on. There are no negative dentries: file systems answer a miss quickly.

use crate::hash::KeyedMap;
use crate::{FileType, Inode, notify};
use lock::{Mutex, RwLock, rank};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Where a dentry hangs: its parent and its name there. A root and an anonymous dentry have no parent.
pub(crate) struct Place {
    pub parent: Option<Arc<Dentry>>,
    pub name: Box<[u8]>,
}

/// The cached names in a directory.
pub(crate) struct Children {
    map: KeyedMap<Box<[u8]>, Weak<Dentry>>,
    /// Names of dropped dentries are swept out when the map grows to this.
    sweep_at: usize,
    /// How often names have come, gone or moved.
    changes: u64,
}

impl Children {
    const SWEEP_MIN: usize = 64;

    fn new() -> Children {
        Children { map: KeyedMap::default(), sweep_at: Children::SWEEP_MIN, changes: 0 }
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<Arc<Dentry>> {
        self.map.get(name)?.upgrade()
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Enters what was found.
    pub(crate) fn enter(&mut self, name: &[u8], dentry: &Arc<Dentry>) {
        if self.map.len() >= self.sweep_at {
            self.map.retain(|_, child| child.strong_count() != 0);
            self.sweep_at = (self.map.len() * 2).max(Children::SWEEP_MIN);
        }
        self.map.insert(name.into(), Arc::downgrade(dentry));
    }

    /// Enters what was made or has moved here.
    pub(crate) fn insert(&mut self, name: &[u8], dentry: &Arc<Dentry>) {
        self.changes = self.changes.wrapping_add(1);
        self.enter(name, dentry);
    }

    pub(crate) fn remove(&mut self, name: &[u8]) {
        self.changes = self.changes.wrapping_add(1);
        self.map.remove(name);
    }
}

/// A name of an inode.
pub struct Dentry {
    id: u64,
    inode: Arc<dyn Inode>,
    /// The inode's type, which never changes; kept here so that walks need not ask for attributes.
    kind: FileType,
    place: RwLock<Place>,
    /// Children in the cache. This lock also orders all changes to the directory (Linux's `i_rwsem`), and is held over calls
    /// of the file system that make them; a walk looks names up without it.
    pub(crate) children: Mutex<Children>,
    /// How many mounts sit on it, in any namespace.
    pub(crate) mounts: AtomicU32,
    deleted: AtomicBool,
    /// Made by `O_TMPFILE` without `O_EXCL`: link(2) may name it although it has no name.
    pub(crate) linkable: AtomicBool,
    /// Used since the cache last looked.
    recent: AtomicBool,
    /// Where the cache holds it.
    slot: AtomicU32,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Dentry {
    fn make(inode: Arc<dyn Inode>, parent: Option<Arc<Dentry>>, name: &[u8]) -> Arc<Dentry> {
        Arc::new(Dentry {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            kind: inode.kind(),
            inode,
            place: RwLock::new(rank::LEAF, Place { parent, name: name.into() }),
            children: Mutex::new(rank::DENTRY, Children::new()),
            mounts: AtomicU32::new(0),
            deleted: AtomicBool::new(false),
            linkable: AtomicBool::new(false),
            recent: AtomicBool::new(false),
            slot: AtomicU32::new(u32::MAX),
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

    /// The inode's type.
    #[must_use]
    pub fn kind(&self) -> FileType {
        self.kind
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Whether `self` is `other` or lies below it.
    #[must_use]
    pub fn is_within(self: &Arc<Dentry>, other: &Arc<Dentry>) -> bool {
        let mut at = self.clone();
        loop {
            if Arc::ptr_eq(&at, other) {
                return true;
            }
            let Some(parent) = at.parent() else { return false };
            at = parent;
        }
    }

    /// The name, by reference; under a lock of the last rank.
    pub(crate) fn with_name<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(&self.place.read().name)
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

    /// Marks it used, so that the cache keeps it a while longer.
    pub(crate) fn touch(&self) {
        if !self.recent.load(Ordering::Relaxed) {
            self.recent.store(true, Ordering::Relaxed);
        }
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
        if *self.deleted.get_mut() && notify::active() {
            notify::name_gone(&self.inode, self.kind);
        }
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

/// Keeps recently used dentries alive: a bounded number of slots, around which a hand goes that gives each a second chance.
pub struct DentryCache {
    held: Mutex<Held>,
    limit: usize,
}

struct Held {
    slots: Vec<Option<Arc<Dentry>>>,
    /// Slots that were emptied.
    free: Vec<u32>,
    /// The slot that is looked at next when all are taken.
    hand: usize,
}

impl Held {
    /// A slot for another dentry, which may still hold one.
    fn vacate(&mut self, limit: usize) -> usize {
        if let Some(slot) = self.free.pop() {
            return slot as usize;
        }
        if self.slots.len() < limit {
            self.slots.push(None);
            return self.slots.len() - 1;
        }
        // Once around, all have lost their first chance.
        for _ in 0..=self.slots.len() {
            let slot = self.hand;
            self.hand = if slot + 1 < self.slots.len() { slot + 1 } else { 0 };
            match self.slots.get(slot) {
                Some(Some(dentry)) if dentry.recent.swap(false, Ordering::Relaxed) => {}
                _ => return slot,
            }
        }
        self.hand
    }
}

impl DentryCache {
    /// A cache of at most `limit` dentries.
    #[must_use]
    pub fn new(limit: usize) -> DentryCache {
        let held = Held { slots: Vec::new(), free: Vec::new(), hand: 0 };
        DentryCache { held: Mutex::new(rank::LEAF, held), limit: limit.clamp(1, u32::MAX as usize) }
    }

    /// Adds a new dentry. Returns the one that fell out, to be dropped without locks.
    #[must_use]
    pub(crate) fn insert(&self, dentry: Arc<Dentry>) -> Option<Arc<Dentry>> {
        let mut held = self.held.lock();
        let slot = held.vacate(self.limit);
        dentry.slot.store(slot as u32, Ordering::Relaxed);
        held.slots.get_mut(slot)?.replace(dentry)
    }

    /// Lets go of everything at and below `root`, which was unmounted.
    pub fn purge(&self, root: &Arc<Dentry>) {
        let all: Vec<_> = self.held.lock().slots.iter().flatten().cloned().collect();
        for dentry in all {
            if dentry.is_within(root) {
                drop(self.forget(&dentry));
            }
        }
    }

    /// Lets go of a dentry whose name is gone. To be dropped without locks.
    #[must_use]
    pub(crate) fn forget(&self, dentry: &Dentry) -> Option<Arc<Dentry>> {
        let mut held = self.held.lock();
        let at = dentry.slot.load(Ordering::Relaxed);
        let old = held.slots.get_mut(at as usize)?.take_if(|there| std::ptr::eq(&**there, dentry))?;
        held.free.push(at);
        Some(old)
    }
}
