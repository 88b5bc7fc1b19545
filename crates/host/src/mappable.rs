//! What an inode offers to be mapped into guests.
//!
//! File systems implement [`Mappable`]; memory managers hold it in their mappings and ask it on each fault what backs the
//! pages. A file that shrinks or is punched first changes its own state, then tells every mapper through [`Observers`],
//! and only then lets its pages go. Lock order: a memory manager calls [`Mappable::back`] with its mappings locked
//! (`VMAS`); a file system calls [`Observers::invalidate`] holding nothing from `VMAS` up.

use crate::frames::FrameRef;
use abi::Errno;
use core::ops::Range;
use lock::{Mutex, rank};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// What backs a run of a file's pages, from the start of the range asked for.
pub enum Backing {
    /// Frames of the memory file (tmpfs, shared memory). Holds a reference on them.
    Frames(FrameRef),
    /// A host file.
    HostFile {
        /// Readable; writable too if `back` was asked with `write`.
        fd: Arc<OwnedFd>,
        /// Offset in the host file, page-aligned.
        offset: u64,
        /// Bytes, page-aligned, at least a page.
        len: u64,
    },
}

/// Which file something is, for `/proc/PID/maps` and shared futexes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FileId {
    /// Major device number.
    pub dev_major: u32,
    /// Minor device number.
    pub dev_minor: u32,
    /// Inode number.
    pub ino: u64,
}

/// A file that can be mapped.
pub trait Mappable: Send + Sync {
    /// Says what backs the pages of `range` (page-aligned file offsets, not empty), from its start on and as far as one
    /// run goes, at most to its end. Allocates what is missing. With `write`, for a shared mapping that may write.
    ///
    /// # Errors
    /// `ENXIO` if `range.start` lies beyond the last page of the file (the guest gets `SIGBUS`); `ENOMEM`, `ENOSPC` or
    /// `EIO` likewise; `EACCES` if it can't be written.
    fn back(&self, range: Range<u64>, write: bool) -> Result<Backing, Errno>;

    /// The file's size in bytes.
    fn size(&self) -> u64;

    /// Device and inode number.
    fn id(&self) -> FileId;

    /// Who must hear of truncation.
    fn observers(&self) -> &Observers;

    /// Writes back what was written through mappings (`msync(2)` with `MS_SYNC`).
    ///
    /// # Errors
    /// The file system's.
    fn sync(&self, range: Range<u64>) -> Result<(), Errno> {
        let _ = range;
        Ok(())
    }

    /// Frees the pages of a range (`madvise(2)` with `MADV_REMOVE`); it must call [`Observers::invalidate`].
    ///
    /// # Errors
    /// `EOPNOTSUPP` where it is not possible.
    fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        let _ = range;
        Err(Errno::EOPNOTSUPP)
    }
}

/// The name of a mapping in `/proc/PID/maps`, asked for whenever that is read, so that renames show.
pub trait MapName: Send + Sync {
    /// The path, unescaped.
    fn name(&self) -> Vec<u8>;
}

impl MapName for &'static str {
    fn name(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

/// A memory manager, as seen by a file that it maps.
pub trait MappingObserver: Send + Sync {
    /// Pages of the file that has the [`Observers::key`] `key` are gone: unmaps them. Also private copies of them if
    /// `private_copies` (truncation does that, hole punching does not).
    fn invalidate(&self, key: u64, range: Range<u64>, private_copies: bool);
}

struct Entry {
    observer: Weak<dyn MappingObserver>,
    mappings: usize,
}

/// The memory managers that map a file. Each inode that can be mapped holds one.
pub struct Observers {
    key: u64,
    list: Mutex<Vec<Entry>>,
}

impl Default for Observers {
    fn default() -> Self {
        Self::new()
    }
}

impl Observers {
    /// An empty list with a new key.
    #[must_use]
    pub fn new() -> Observers {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Observers { key: NEXT.fetch_add(1, Ordering::Relaxed), list: Mutex::new(rank::MAPPABLE_OBSERVERS, Vec::new()) }
    }

    /// A number that no other file of this Sentry has or had.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Adds a mapping of this file by `observer`.
    pub fn add(&self, observer: &Weak<dyn MappingObserver>) {
        let mut list = self.list.lock();
        match list.iter_mut().find(|e| e.observer.ptr_eq(observer)) {
            Some(entry) => entry.mappings += 1,
            None => list.push(Entry { observer: observer.clone(), mappings: 1 }),
        }
    }

    /// Takes one back.
    pub fn remove(&self, observer: &Weak<dyn MappingObserver>) {
        let mut list = self.list.lock();
        if let Some(at) = list.iter().position(|e| e.observer.ptr_eq(observer)) {
            let left = list.get_mut(at).map_or(0, |e| {
                e.mappings -= 1;
                e.mappings
            });
            if left == 0 {
                list.swap_remove(at);
            }
        }
    }

    /// Whether anybody maps the file.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.list.lock().is_empty()
    }

    /// Unmaps a range of file offsets (the start is rounded down to a page, the end up) from all mappers. On return no
    /// guest reaches these pages any more.
    pub fn invalidate(&self, range: Range<u64>, private_copies: bool) {
        let observers: Vec<_> = self.list.lock().iter().filter_map(|e| e.observer.upgrade()).collect();
        let mask = abi::PAGE_SIZE - 1;
        let start = range.start & !mask;
        let end = range.end.saturating_add(mask) & !mask;
        for observer in observers {
            observer.invalidate(self.key, start..end, private_copies);
        }
    }
}
