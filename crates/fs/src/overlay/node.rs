//! What an inode of the overlay holds.

use super::{Key, Shared};
use abi::Errno;
use lock::{Mutex, rank};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use vfs::time::Timespec;
use vfs::{Attr, FileType, Inode, InodeCommon};

/// How a name differs from what is below.
pub(crate) enum Change {
    /// Stands for this; the upper tree has it under the same name.
    Present(Arc<Node>),
    /// Is gone, although it is below.
    Whiteout,
}

/// The changes of a directory.
pub(crate) struct Changes {
    pub names: BTreeMap<Box<[u8]>, Change>,
    /// Removed: nothing may be created in it any more.
    pub dead: bool,
}

/// What only directories have.
pub(crate) struct Directory {
    pub changes: Mutex<Changes>,
    /// How often something was not found below.
    pub misses: AtomicU32,
    /// All names below, once that has happened often.
    pub below: Mutex<Option<Arc<Below>>>,
}

/// The names in a lower directory.
pub(crate) struct Below {
    /// When the directory changed last.
    pub mtime: Timespec,
    /// `None` if they are too many.
    pub names: Option<HashSet<Box<[u8]>>>,
}

/// The lower inode, and what was seen of it when it was found.
pub(crate) struct Lower {
    pub inode: Arc<dyn Inode>,
    /// Which it is.
    pub key: Key,
    pub nlink: u32,
}

/// Where it hangs: the directory and the name there.
#[derive(Clone)]
pub(crate) struct Place {
    pub dir: Weak<Node>,
    pub name: Box<[u8]>,
    /// Keeps the directory alive for as long as that does not keep this: until it is one of the directory's changes.
    pub keep: Option<Arc<Node>>,
}

/// An inode of the overlay: of the lower tree, of the upper tree, or of both.
pub struct Node {
    pub(super) this: Weak<Node>,
    pub(super) shared: Arc<Shared>,
    pub(super) kind: FileType,
    pub(super) ino: u64,
    pub(super) lower: Option<Lower>,
    /// Set once: when made here, or when copied up.
    pub(super) upper: OnceLock<Arc<dyn Inode>>,
    /// Held by the one who copies it up.
    pub(super) copying: Mutex<()>,
    pub(super) place: Mutex<Option<Place>>,
    /// Links made here and removed here, for what has a lower inode.
    pub(super) links: AtomicI32,
    pub(super) directory: Option<Box<Directory>>,
    pub(super) common: InodeCommon,
}

impl Node {
    fn make(
        shared: &Arc<Shared>,
        attr: &Attr,
        lower: Option<Arc<dyn Inode>>,
        upper: Option<Arc<dyn Inode>>,
        place: Option<Place>,
    ) -> Arc<Node> {
        let directory = (attr.kind == FileType::Directory).then(|| {
            let changes = Changes { names: BTreeMap::new(), dead: false };
            Box::new(Directory {
                changes: Mutex::new(rank::OVERLAY, changes),
                misses: AtomicU32::new(0),
                below: Mutex::new(rank::LEAF, None),
            })
        });
        let ino = if lower.is_some() { shared.lower_ino(attr) } else { Shared::upper_ino(attr) };
        let cell = OnceLock::new();
        if let Some(upper) = upper {
            let _ = cell.set(upper);
        }
        Arc::new_cyclic(|this| Node {
            this: this.clone(),
            shared: shared.clone(),
            kind: attr.kind,
            ino,
            lower: lower.map(|inode| Lower { inode, key: Key::of(attr), nlink: attr.nlink }),
            upper: cell,
            copying: Mutex::new(rank::OVERLAY, ()),
            place: Mutex::new(rank::LEAF, place),
            links: AtomicI32::new(0),
            directory,
            common: InodeCommon::default(),
        })
    }

    pub(super) fn root(shared: &Arc<Shared>, below: Arc<dyn Inode>, attr: Attr) -> Arc<Node> {
        let upper = shared.upper_root().clone();
        shared.enter(Key::of(&attr), Node::make(shared, &attr, Some(below), Some(upper), None))
    }

    /// The inode over a lower one that was found as `name` in `dir`.
    pub(super) fn from_lower(dir: &Node, name: &[u8], inode: Arc<dyn Inode>) -> Result<Arc<Node>, Errno> {
        let attr = inode.attr()?;
        let place = Place { keep: Some(dir.this()?), ..dir.place_in(name) };
        // Numbers are given again, if the tree below changes after all.
        if let Some(node) = dir.shared.find(Key::of(&attr)).filter(|node| node.kind == attr.kind) {
            if node.upper.get().is_none() {
                node.set_place(Some(place));
            }
            return Ok(node);
        }
        let node = Node::make(&dir.shared, &attr, Some(inode), None, Some(place));
        Ok(dir.shared.enter(Key::of(&attr), node))
    }

    /// The inode of something that was made in the upper tree.
    pub(super) fn from_upper(
        shared: &Arc<Shared>,
        inode: Arc<dyn Inode>,
        place: Option<Place>,
    ) -> Result<Arc<Node>, Errno> {
        let attr = inode.attr()?;
        Ok(Node::make(shared, &attr, None, Some(inode), place))
    }

    pub(super) fn this(&self) -> Result<Arc<Node>, Errno> {
        self.this.upgrade().ok_or(Errno::ESTALE)
    }

    pub(super) fn is_dir(&self) -> bool {
        self.directory.is_some()
    }

    pub(super) fn directory(&self) -> Result<&Directory, Errno> {
        self.directory.as_deref().ok_or(Errno::ENOTDIR)
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.place.lock().clone()
    }

    pub(super) fn set_place(&self, place: Option<Place>) {
        let old = std::mem::replace(&mut *self.place.lock(), place);
        drop(old);
    }

    /// A place in this directory, for one of its changes.
    pub(super) fn place_in(&self, name: &[u8]) -> Place {
        Place { dir: self.this.clone(), name: name.into(), keep: None }
    }

    /// Whether it hangs there, as far as it knows.
    pub(super) fn is_placed(&self, dir: &Node, name: &[u8]) -> bool {
        let place = self.place.lock();
        place.as_ref().is_some_and(|p| std::ptr::eq(p.dir.as_ptr(), dir) && *p.name == *name)
    }

    /// The number of the directory above.
    pub(super) fn parent_ino(&self) -> u64 {
        self.place().and_then(|p| p.dir.upgrade()).map_or(self.ino, |dir| dir.ino)
    }

    /// Counts a link that was made or removed here.
    pub(super) fn relink(&self, by: i32) {
        let Some(lower) = &self.lower else { return };
        let links = self.links.fetch_add(by, Ordering::Relaxed).saturating_add(by);
        let key = lower.key;
        if i64::from(links) + i64::from(lower.nlink) <= 0 {
            self.shared.unpin(key);
        } else if lower.nlink > 1
            && let Some(this) = self.this.upgrade()
        {
            // Its other names below lead to this inode, which knows how many are left.
            self.shared.pin(key, &this);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        fn children(node: &mut Node) -> impl Iterator<Item = Arc<Node>> + use<> {
            let names = node.directory.as_mut().map(|d| std::mem::take(&mut d.changes.get_mut().names));
            names.unwrap_or_default().into_values().filter_map(|change| match change {
                Change::Present(node) => Some(node),
                Change::Whiteout => None,
            })
        }
        if let Some(lower) = &self.lower {
            self.shared.leave(lower.key);
        }
        // A deep tree must not recurse once per level, neither upwards nor downwards.
        let mut next = self.place.get_mut().take().and_then(|place| place.keep);
        while let Some(mut last) = next.and_then(Arc::into_inner) {
            next = last.place.get_mut().take().and_then(|place| place.keep);
        }
        let mut rest: Vec<Arc<Node>> = children(self).collect();
        while let Some(node) = rest.pop() {
            if let Some(mut last) = Arc::into_inner(node) {
                rest.extend(children(&mut last));
            }
        }
    }
}
