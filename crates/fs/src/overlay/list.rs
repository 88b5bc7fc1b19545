//! What a directory of the overlay holds: lookups below, listings, emptiness.

use super::node::{Below, Change, Lower};
use super::{Key, Node, System};
use abi::Errno;
use host::io::Sink;
use lock::{Mutex, rank};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vfs::time::now_coarse;
use vfs::{Attr, DirEmit, FileOps, FileType, Inode, IoCx, IoError, OpenFile, OpenFlags};

/// So many misses below make it worth while to learn all names: about as many as cost what a listing does, which is some
/// 20 µs and 0.4 µs a name, of which this many bytes of the directory's size hold one.
const MISSES: u64 = 16;
const MISSES_BYTES: u64 = 96;
/// No more names than this are learnt.
const NAMES_MAX: usize = 16 << 10;

/// Names that differ from what is below, with number and type of those that stand for something.
type Changed = BTreeMap<Box<[u8]>, Option<(u64, FileType)>>;

impl Node {
    /// Lists the lower directory until `see` declines, without `.` and `..`.
    fn each_below(&self, see: &mut dyn FnMut(&[u8], u64, FileType) -> bool) -> Result<(), Errno> {
        let Some(lower) = &self.lower else { return Ok(()) };
        let dir = self.shared.open(&lower.inode, false, OpenFlags::DIRECTORY)?;
        let call = vfs::CallState::default();
        let io = IoCx { caller: &System, nonblock: false, sync: false, call: &call };
        let mut see = |name: &[u8], ino, kind, _| name == b"." || name == b".." || see(name, ino, kind);
        dir.ops().read_dir(&io, 0, &mut see)?;
        Ok(())
    }

    /// Has a name looked for in the lower directory, changes aside.
    fn below<T>(&self, name: &[u8], look: impl FnOnce(&Arc<dyn Inode>) -> Result<T, Errno>) -> Result<T, Errno> {
        let lower = self.lower.as_ref().ok_or(Errno::ENOENT)?;
        let directory = self.directory()?;
        let known = directory.below.lock().clone();
        if let Some(known) = known {
            if known.mtime != lower.inode.attr()?.mtime {
                *directory.below.lock() = None;
                directory.misses.store(0, Ordering::Relaxed);
            } else if known.names.as_ref().is_some_and(|names| !names.contains(name)) {
                return Err(Errno::ENOENT);
            }
        }
        match look(&lower.inode) {
            Ok(found) => Ok(found),
            Err(Errno::ENOENT) => {
                let misses = u64::from(directory.misses.fetch_add(1, Ordering::Relaxed));
                if misses >= MISSES && misses == MISSES + lower.inode.attr()?.size / MISSES_BYTES {
                    let learnt = self.learn(lower).map(Arc::new);
                    *directory.below.lock() = learnt;
                }
                Err(Errno::ENOENT)
            }
            Err(errno) => Err(errno),
        }
    }

    /// All names below. `None` if they can't be listed, or changed so lately that the next change might have the same
    /// time.
    fn learn(&self, lower: &Lower) -> Option<Below> {
        const SETTLED: i64 = 2;
        let mtime = lower.inode.attr().ok()?.mtime;
        if now_coarse().sec.saturating_sub(mtime.sec) < SETTLED {
            return None;
        }
        let mut names = HashSet::new();
        self.each_below(&mut |name, _, _| {
            names.insert(name.into());
            names.len() <= NAMES_MAX
        })
        .ok()?;
        Some(Below { mtime, names: (names.len() <= NAMES_MAX).then_some(names) })
    }

    fn find_below(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        self.below(name, |dir| dir.lookup(&System, name))
    }

    /// Attributes of a child that is as below and has no inode here. What has changed has one.
    pub(super) fn glance(&self, name: &[u8]) -> Result<Option<Attr>, Errno> {
        if self.directory()?.changes.lock().names.contains_key(name) {
            return Ok(None);
        }
        let Some(attr) = self.below(name, |dir| dir.glance(name))? else { return Ok(None) };
        if self.shared.find(Key::of(&attr)).is_some() {
            return Ok(None);
        }
        Ok(Some(Attr { dev: self.shared.dev, ino: self.shared.lower_ino(&attr), ..attr }))
    }

    /// Whether the lower directory has a name.
    pub(super) fn has_below(&self, name: &[u8]) -> Result<bool, Errno> {
        match self.find_below(name) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Finds a child.
    pub(super) fn child(&self, name: &[u8]) -> Result<Arc<Node>, Errno> {
        let changes = self.directory()?.changes.lock();
        match changes.names.get(name) {
            Some(Change::Present(node)) => Ok(node.clone()),
            Some(Change::Whiteout) => Err(Errno::ENOENT),
            None => Node::from_lower(self, name, self.find_below(name)?),
        }
    }

    /// Whether this directory can be removed: every name below is gone, and there is no other.
    pub(super) fn check_empty(&self) -> Result<(), Errno> {
        let directory = self.directory()?;
        let gone: BTreeSet<Box<[u8]>> = {
            let changes = directory.changes.lock();
            if changes.names.values().any(|change| matches!(change, Change::Present(_))) {
                return Err(Errno::ENOTEMPTY);
            }
            changes.names.keys().cloned().collect()
        };
        // The lower directory stands still, and the VFS lets nobody create anything here meanwhile.
        let mut empty = true;
        self.each_below(&mut |name, _, _| {
            empty = gone.contains(name);
            empty
        })?;
        if empty { Ok(()) } else { Err(Errno::ENOTEMPTY) }
    }

    /// The names that differ from what is below.
    fn changed(&self) -> Result<Changed, Errno> {
        let changes = self.directory()?.changes.lock();
        if changes.dead {
            return Err(Errno::ENOENT);
        }
        let what = |change: &Change| match change {
            Change::Present(node) => Some((node.ino, node.kind)),
            Change::Whiteout => None,
        };
        Ok(changes.names.iter().map(|(name, change)| (name.clone(), what(change))).collect())
    }

    /// Everything in it, `.` and `..` included.
    fn snapshot(&self) -> Result<Entries, Errno> {
        let mut all = Entries::default();
        all.push(b".", self.ino, FileType::Directory);
        all.push(b"..", self.parent_ino(), FileType::Directory);
        self.each_below(&mut |name, ino, kind| {
            all.push(name, ino, kind);
            true
        })?;
        let changes = self.directory()?.changes.lock();
        if changes.dead {
            return Err(Errno::ENOENT);
        }
        let Entries { names, list } = &mut all;
        list.retain(|e| names.get(e.name.clone()).is_none_or(|name| !changes.names.contains_key(name)));
        for (name, change) in &changes.names {
            if let Change::Present(node) = change {
                all.push(name, node.ino, node.kind);
            }
        }
        Ok(all)
    }
}

/// What a directory holds.
#[derive(Default)]
struct Entries {
    /// All names, one after the other.
    names: Vec<u8>,
    list: Vec<Entry>,
}

struct Entry {
    name: Range<usize>,
    ino: u64,
    kind: FileType,
}

impl Entries {
    fn push(&mut self, name: &[u8], ino: u64, kind: FileType) {
        let start = self.names.len();
        self.names.extend_from_slice(name);
        self.list.push(Entry { name: start..self.names.len(), ino, kind });
    }
}

/// What an open directory lists, since its listing began.
#[derive(Clone)]
enum Listing {
    /// What is below, as there were no changes then. Positions are those of the lower tree.
    Below(Arc<OpenFile>),
    /// What was there then. Positions count entries.
    Whole(Arc<Entries>),
}

/// An open directory.
pub(super) struct OverlayDir {
    node: Arc<Node>,
    listing: Mutex<Option<Listing>>,
}

impl OverlayDir {
    pub(super) fn new(node: Arc<Node>) -> OverlayDir {
        OverlayDir { node, listing: Mutex::new(rank::LEAF, None) }
    }

    fn listing(&self, anew: bool) -> Result<Listing, Errno> {
        let known = self.listing.lock().clone();
        let listing = match (known, &self.node.lower) {
            (Some(known), _) if !anew => return Ok(known),
            (Some(Listing::Below(dir)), _) if self.node.changed()?.is_empty() => return Ok(Listing::Below(dir)),
            (_, Some(lower)) if self.node.changed()?.is_empty() => {
                Listing::Below(Arc::new(self.node.shared.open(&lower.inode, false, OpenFlags::DIRECTORY)?))
            }
            _ => Listing::Whole(Arc::new(self.node.snapshot()?)),
        };
        let old = self.listing.lock().replace(listing.clone());
        drop(old);
        Ok(listing)
    }

    /// Lists the lower directory, but for what has changed since that began.
    fn pass_on(&self, dir: &OpenFile, io: &IoCx<'_>, pos: u64, emit: &mut DirEmit<'_>) -> Result<u64, Errno> {
        let (changed, parent) = (self.node.changed()?, self.node.parent_ino());
        dir.ops().read_dir(io, pos, &mut |name, ino, kind, next| match (name, changed.get(name)) {
            (b".", _) => emit(name, self.node.ino, kind, next),
            (b"..", _) => emit(name, parent, kind, next),
            (_, None) => emit(name, ino, kind, next),
            (_, Some(None)) => true,
            (_, Some(Some((ino, kind)))) => emit(name, *ino, *kind, next),
        })
    }
}

impl FileOps for OverlayDir {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, _: &IoCx<'_>, _: u64, _: &mut dyn Sink) -> Result<usize, IoError> {
        Err(Errno::EISDIR.into())
    }

    fn read_dir(&self, io: &IoCx<'_>, mut pos: u64, emit: &mut DirEmit<'_>) -> Result<u64, Errno> {
        let entries = match self.listing(pos == 0)? {
            Listing::Below(dir) => return self.pass_on(&dir, io, pos, emit),
            Listing::Whole(entries) => entries,
        };
        let from = usize::try_from(pos).unwrap_or(usize::MAX);
        for entry in entries.list.get(from..).unwrap_or_default() {
            let name = entries.names.get(entry.name.clone()).unwrap_or_default();
            if !emit(name, entry.ino, entry.kind, pos + 1) {
                break;
            }
            pos += 1;
        }
        Ok(pos)
    }

    fn sync(&self, _: bool) -> Result<(), Errno> {
        Ok(())
    }
}
