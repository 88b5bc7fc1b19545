//! tmpfs: files whose data lies in frames of the memory file. Also the home of memfds, of System V and of anonymous
//! shared memory, and the upper layer of the overlay.
//!
//! Locks: a directory's entries and a file's `io` lock have rank `INODE`, a file's extents `MAPPABLE` (page faults need
//! them), and all other metadata `LEAF`.

mod data;
mod dir;
mod file;
mod node;
mod options;
mod seals;
mod xattr;

#[cfg(test)]
mod tests;

pub use file::TmpFile;
pub use node::Node;
pub use options::Options;

use crate::tmpfs::node::{Content, NewNode};
use abi::raw::general as c;
use abi::{Errno, PAGE_SIZE};
use host::frames::FrameAllocator;
use host::mappable::Mappable;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vfs::{Caller, Dentry, FileSystem, Inode, Mount, MountFlags, OpenFile, OpenFlags, PathRef, StatFs};

const MAGIC: u64 = 0x0102_1994;

/// What all inodes of one tmpfs share: where frames come from and how many may be used.
pub(crate) struct Shared {
    pub frames: Arc<FrameAllocator>,
    pub dev: u64,
    max_pages: u64,
    pages: AtomicU64,
    max_inodes: u64,
    inodes: AtomicU64,
    next_ino: AtomicU64,
}

/// Adds `n` to a count unless that exceeds `max`.
fn charge(count: &AtomicU64, n: u64, max: u64) -> Result<(), Errno> {
    let add = |now: u64| now.checked_add(n).filter(|sum| *sum <= max);
    match count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
        Ok(_) => Ok(()),
        Err(_) => Err(Errno::ENOSPC),
    }
}

impl Shared {
    pub(crate) fn charge_pages(&self, n: u64) -> Result<(), Errno> {
        charge(&self.pages, n, self.max_pages)
    }

    pub(crate) fn uncharge_pages(&self, n: u64) {
        self.pages.fetch_sub(n, Ordering::Relaxed);
    }

    pub(crate) fn charge_inode(&self) -> Result<u64, Errno> {
        charge(&self.inodes, 1, self.max_inodes)?;
        Ok(self.next_ino.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn uncharge_inode(&self) {
        self.inodes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A mounted tmpfs.
pub struct TmpFs {
    shared: Arc<Shared>,
    root: Arc<Node>,
    options: Options,
}

impl TmpFs {
    /// An empty file system with frames from `frames`.
    ///
    /// # Errors
    /// `ENOSPC` if the options allow not even a root.
    pub fn new(frames: &Arc<FrameAllocator>, options: Options) -> Result<Arc<TmpFs>, Errno> {
        let shared = Arc::new(Shared {
            frames: frames.clone(),
            dev: vfs::anon::anonymous_dev(),
            max_pages: options.size.map_or(u64::MAX, |size| size.div_ceil(PAGE_SIZE)),
            pages: AtomicU64::new(0),
            max_inodes: options.inodes.unwrap_or(u64::MAX),
            inodes: AtomicU64::new(0),
            next_ino: AtomicU64::new(1),
        });
        let new = NewNode { perm: options.perm, uid: options.uid, gid: options.gid, nlink: 2 };
        let root = Node::new(&shared, new, Content::directory(None))?;
        Ok(Arc::new(TmpFs { shared, root, options }))
    }

    /// A file without a name, for shared memory: `size` bytes that read as zero.
    ///
    /// # Errors
    /// `ENOSPC`, `EINVAL` if `size` is out of range.
    pub fn unnamed(&self, perm: u32, uid: u32, gid: u32, size: u64) -> Result<Arc<Node>, Errno> {
        if i64::try_from(size).is_err() {
            return Err(Errno::EINVAL);
        }
        let node = Node::new(&self.shared, NewNode { perm, uid, gid, nlink: 0 }, Content::regular())?;
        if let Some(data) = node.data() {
            data.set_initial_size(size);
        }
        Ok(node)
    }

    /// Memory for a mapping with `MAP_SHARED | MAP_ANONYMOUS`.
    ///
    /// # Errors
    /// As [`TmpFs::unnamed`].
    pub fn shared_memory(&self, size: u64) -> Result<Arc<dyn Mappable>, Errno> {
        Ok(self.unnamed(0o777, 0, 0, size)?)
    }

    /// A mount of it that is attached nowhere, for [`TmpFs::memfd`] and shared memory.
    #[must_use]
    pub fn detached_mount(self: &Arc<Self>) -> Arc<Mount> {
        Mount::new(self.clone(), Dentry::root(self.root()), b"tmpfs", MountFlags::empty())
    }

    /// memfd_create(2) with checked `flags`; the name without its prefix. `mount` is a detached one of this file system.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub fn memfd(&self, mount: &Arc<Mount>, caller: &dyn Caller, name: &[u8], flags: u32) -> Result<OpenFile, Errno> {
        let creds = caller.creds();
        let no_exec = flags & c::MFD_NOEXEC_SEAL != 0;
        let node = self.unnamed(if no_exec { 0o666 } else { 0o777 }, creds.fsuid, creds.fsgid, 0)?;
        if let Some(data) = node.data() {
            let seals = match (no_exec, flags & c::MFD_ALLOW_SEALING != 0) {
                (true, _) => c::F_SEAL_EXEC,
                (false, true) => 0,
                (false, false) => c::F_SEAL_SEAL,
            };
            data.seals.set(seals);
        }
        let mount = mount.clone();
        let dentry = Dentry::anonymous(node.clone(), &[b"/memfd:", name, b" (deleted)"].concat());
        node.open(&PathRef { mount, dentry }, OpenFlags::RDWR | OpenFlags::LARGEFILE, caller)
    }
}

impl FileSystem for TmpFs {
    fn type_name(&self) -> &'static str {
        "tmpfs"
    }

    fn dev(&self) -> u64 {
        self.shared.dev
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn statfs(&self) -> Result<StatFs, Errno> {
        let mut stat = StatFs { magic: MAGIC, block_size: PAGE_SIZE, name_max: 255, ..StatFs::default() };
        if self.shared.max_pages != u64::MAX {
            stat.blocks = self.shared.max_pages;
            stat.blocks_free = stat.blocks.saturating_sub(self.shared.pages.load(Ordering::Relaxed));
            stat.blocks_available = stat.blocks_free;
        }
        if self.shared.max_inodes != u64::MAX {
            stat.files = self.shared.max_inodes;
            stat.files_free = stat.files.saturating_sub(self.shared.inodes.load(Ordering::Relaxed));
        }
        Ok(stat)
    }

    fn show_options(&self) -> String {
        self.options.show()
    }
}
