//! Directory trees of the host.
//!
//! A tree is donated as the descriptor of its root. Everything in it is reached one name at a time from the descriptor
//! of the directory that holds it, with `openat2(2)` and all `RESOLVE_*` limits: never by an absolute path, never through
//! a symbolic link, and without /proc, which the Sentry does not have. Only regular files and directories are ever
//! opened; anything else on the host is shown and no more.
//!
//! An *exclusive* tree is read-only, and others hardly ever change it: what the host said of a file is believed for a
//! second, and only directories and recently used files hold descriptors. In a *shared* tree every inode holds an `O_PATH`
//! descriptor, so that it stays the same file whatever happens to its name, and nothing is believed for longer than a call.
//!
//! Locks: everything here is `LEAF` but an open directory's buffer (`FILE_OBJECT`); no host call is made under `LEAF`.

mod calls;
mod dir;
mod file;
mod glances;
mod inode;
mod listed;
mod node;

#[cfg(test)]
mod tests;

pub use node::HostNode;

use abi::Errno;
use calls::Key;
use glances::Glances;
use listed::Listed;
use lock::{Mutex, rank};
use rustix::fs::{FileType as HostType, Statx, fstatfs, syncfs};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use vfs::hash::KeyedMap;
use vfs::{Attr, FileSystem, Inode, StatFs};

/// So many files that nobody has open are kept open on the host.
const RECENT_MAX: usize = 256;
/// So many listings are remembered.
const LISTED_MAX: usize = 8;

/// Who else may use a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// Guests don't change it, and if others do, guests may see that a second late.
    Exclusive,
    /// Others change it; guests read it.
    ReadOnly,
    /// Others and guests change it.
    Writable,
}

/// What all inodes of one tree share.
pub(crate) struct Shared {
    pub sharing: Sharing,
    /// Our device numbers for those of the host, the root's first.
    devs: Mutex<Vec<(u64, u64)>>,
    /// Every live inode, so that each file of the host has only one.
    table: Mutex<KeyedMap<Key, Weak<HostNode>>>,
    /// Keeps descriptors of recently used files open.
    recent: Mutex<VecDeque<Arc<OwnedFd>>>,
    /// Keeps the last listings of directories.
    listed: Mutex<VecDeque<Arc<Listed>>>,
    /// Attributes of files that have no inode.
    glances: Mutex<Glances>,
    /// How often we have taken a name away: what a lookup saw before that must not count as newer than what was seen after.
    pub moves: AtomicU64,
}

impl Shared {
    pub(crate) fn exclusive(&self) -> bool {
        self.sharing == Sharing::Exclusive
    }

    pub(crate) fn check_writable(&self) -> Result<(), Errno> {
        if self.sharing == Sharing::Writable { Ok(()) } else { Err(Errno::EROFS) }
    }

    /// Our device number for one of the host's: trees may span several of its file systems.
    pub(crate) fn dev(&self, host: u64) -> u64 {
        let mut devs = self.devs.lock();
        if let Some((_, ours)) = devs.iter().find(|(theirs, _)| *theirs == host) {
            return *ours;
        }
        let ours = vfs::anon::anonymous_dev();
        devs.push((host, ours));
        ours
    }

    /// Which file something is, and its attributes as guests see them.
    pub(crate) fn attr(&self, stat: &Statx) -> (Key, Attr) {
        let key = Key::of(stat);
        (key, calls::attr(stat, self.dev(key.dev)))
    }

    pub(crate) fn find(&self, key: Key) -> Option<Arc<HostNode>> {
        self.table.lock().get(&key).and_then(Weak::upgrade)
    }

    /// The inode of `key`: `new` unless somebody was faster.
    pub(crate) fn enter(&self, key: Key, new: Arc<HostNode>) -> Arc<HostNode> {
        let mut table = self.table.lock();
        let entry = table.entry(key).or_default();
        match entry.upgrade() {
            Some(old) if old.kind() == new.kind() => old,
            _ => {
                *entry = Arc::downgrade(&new);
                new.clone()
            }
        }
    }

    /// An inode is gone.
    pub(crate) fn leave(&self, key: Key) {
        let mut table = self.table.lock();
        if table.get(&key).is_some_and(|weak| weak.strong_count() == 0) {
            table.remove(&key);
        }
    }

    /// Keeps a descriptor open for a while.
    pub(crate) fn keep(&self, fd: &Arc<OwnedFd>) {
        let old = push_bounded(&self.recent, fd.clone(), RECENT_MAX);
        drop(old);
    }

    /// Remembers what a listing said for a while.
    fn remember(&self, listed: Arc<Listed>) {
        let old = push_bounded(&self.listed, listed, LISTED_MAX);
        drop(old);
    }
}

/// Adds to a queue, and returns what falls out at its other end, to be dropped without the lock.
fn push_bounded<T>(queue: &Mutex<VecDeque<T>>, new: T, most: usize) -> Option<T> {
    let mut queue = queue.lock();
    queue.push_back(new);
    if queue.len() > most { queue.pop_front() } else { None }
}

/// A mounted tree of the host.
pub struct HostFs {
    shared: Arc<Shared>,
    root: Arc<HostNode>,
    dev: u64,
}

impl HostFs {
    /// The tree below the directory `root`, a descriptor of any kind, `O_PATH` included.
    ///
    /// # Errors
    /// `ENOTDIR`, or the host's.
    pub fn new(root: OwnedFd, sharing: Sharing) -> Result<Arc<HostFs>, Errno> {
        let stat = calls::stat_fd(&root)?;
        if HostType::from_raw_mode(u32::from(stat.stx_mode)) != HostType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let shared = Arc::new(Shared {
            sharing,
            devs: Mutex::new(rank::LEAF, Vec::new()),
            table: Mutex::new(rank::LEAF, KeyedMap::default()),
            recent: Mutex::new(rank::LEAF, VecDeque::new()),
            listed: Mutex::new(rank::LEAF, VecDeque::new()),
            glances: Mutex::new(rank::LEAF, Glances::default()),
            moves: AtomicU64::new(0),
        });
        let root = HostNode::root(&shared, root, &stat);
        let dev = root.last_attr().dev;
        Ok(Arc::new(HostFs { shared, root, dev }))
    }
}

impl FileSystem for HostFs {
    fn type_name(&self) -> &'static str {
        "host"
    }

    fn dev(&self) -> u64 {
        self.dev
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn statfs(&self) -> Result<StatFs, Errno> {
        let host = fstatfs(self.root.dir_fd()?).map_err(calls::errno)?;
        Ok(StatFs {
            magic: host.f_type as u64,
            block_size: host.f_bsize as u64,
            blocks: host.f_blocks,
            blocks_free: host.f_bfree,
            blocks_available: host.f_bavail,
            files: host.f_files,
            files_free: host.f_ffree,
            name_max: host.f_namelen as u64,
        })
    }

    fn volatile(&self) -> bool {
        true
    }

    fn sync(&self) -> Result<(), Errno> {
        if self.shared.sharing != Sharing::Writable {
            return Ok(());
        }
        let fd = calls::open_dir(self.root.dir_fd()?)?;
        syncfs(fd).map_err(calls::errno)
    }
}
