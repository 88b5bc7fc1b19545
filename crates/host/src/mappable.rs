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
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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

impl FileId {
    /// From what `stat` returns.
    #[must_use]
    pub const fn of(dev: u64, ino: u64) -> FileId {
        let (major, low, high) = ((dev >> 8) as u32 & 0xfff, (dev & 0xff) as u32, (dev >> 12) as u32 & !0xff);
        FileId { dev_major: major, dev_minor: low | high, ino }
    }
}

/// A file that can be mapped. Memory managers call all but `sync` and `punch` with their mappings locked: only locks of
/// ranks from `MAPPABLE` on may be taken there, no inode's.
pub trait Mappable: Send + Sync {
    /// Says what backs the pages of `range` (page-aligned file offsets, not empty), from its start on and as far as one
    /// run goes, at most to its end. Allocates what is missing. With `write`, for a shared mapping that may write.
    ///
    /// # Errors
    /// `ENXIO` if `range.start` lies beyond the last page of the file (the guest gets `SIGBUS`); `ENOMEM`, `ENOSPC` or
    /// `EIO` likewise; `EACCES` if it can't be written.
    fn back(&self, range: Range<u64>, write: bool) -> Result<Backing, Errno>;

    /// How much is worth mapping at one fault. Files whose pages the host brings in by itself answer `u64::MAX`, since a
    /// larger mapping costs them nothing; `back` is asked for ranges of at most this size.
    fn fault_run(&self) -> u64 {
        64 << 10
    }

    /// Asked before a shared mapping is made through a description that can write; `write` if it is to write at once.
    /// Says whether it may ever write.
    ///
    /// # Errors
    /// `EPERM` if `write` can't be allowed (file seals).
    fn allow_shared(&self, write: bool) -> Result<bool, Errno> {
        let _ = write;
        Ok(true)
    }

    /// The file's size in bytes.
    fn size(&self) -> u64;

    /// Device and inode number.
    fn id(&self) -> FileId;

    /// A mapping of it came into being, by `mmap(2)` or `fork(2)`. Called with mappings locked: it may take no lock.
    fn attached(&self) {}

    /// The last part of such a mapping is gone.
    fn detached(&self) {}

    /// Whether it is a System V segment, whose mappings `shmdt(2)` takes away.
    fn is_segment(&self) -> bool {
        false
    }

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

    /// What `stat` says of the file by this name, if that need not be what is mapped: a layer of an overlay has numbers of
    /// its own.
    fn id(&self) -> Option<FileId> {
        None
    }
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

/// So often invalidation is repeated for mappers that came meanwhile.
const MAX_ROUNDS: usize = 64;

struct Entry {
    observer: Weak<dyn MappingObserver>,
    mappings: usize,
}

/// The memory managers that map a file. Each inode that can be mapped holds one.
pub struct Observers {
    key: u64,
    list: Mutex<List>,
    /// Shared mappings that may write.
    writers: AtomicUsize,
}

#[derive(Default)]
struct List {
    entries: Vec<Entry>,
    /// Changes when somebody is added.
    generation: u64,
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
        Observers {
            key: NEXT.fetch_add(1, Ordering::Relaxed),
            list: Mutex::new(rank::MAPPABLE_OBSERVERS, List::default()),
            writers: AtomicUsize::new(0),
        }
    }

    /// A number that no other file of this Sentry has or had.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Adds a mapping of this file by `observer`; `writes` if it is shared and may write.
    pub fn add(&self, observer: &Weak<dyn MappingObserver>, writes: bool) {
        self.writers.fetch_add(usize::from(writes), Ordering::AcqRel);
        let mut list = self.list.lock();
        list.generation += 1;
        match list.entries.iter_mut().find(|e| e.observer.ptr_eq(observer)) {
            Some(entry) => entry.mappings += 1,
            None => list.entries.push(Entry { observer: observer.clone(), mappings: 1 }),
        }
    }

    /// Takes one back.
    pub fn remove(&self, observer: &Weak<dyn MappingObserver>, writes: bool) {
        self.writers.fetch_sub(usize::from(writes), Ordering::AcqRel);
        let mut list = self.list.lock();
        if let Some(entry) = list.entries.iter_mut().find(|e| e.observer.ptr_eq(observer)) {
            entry.mappings -= 1;
        }
        list.entries.retain(|e| e.mappings > 0);
    }

    /// Whether anybody maps the file.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.list.lock().entries.is_empty()
    }

    /// Whether a shared mapping of it may write.
    #[must_use]
    pub fn any_writer(&self) -> bool {
        self.writers.load(Ordering::Acquire) > 0
    }

    /// Unmaps a range of file offsets (the start is rounded down to a page, the end up) from all mappers. On return no
    /// guest reaches these pages any more.
    pub fn invalidate(&self, range: Range<u64>, private_copies: bool) {
        let mask = abi::PAGE_SIZE - 1;
        let start = range.start & !mask;
        let end = range.end.saturating_add(mask) & !mask;
        let mut seen = None;
        // A fork may have copied pages to a new mapper just before they were taken from the old one.
        for _ in 0..MAX_ROUNDS {
            let (generation, observers) = {
                let list = self.list.lock();
                let observers: Vec<_> = list.entries.iter().filter_map(|e| e.observer.upgrade()).collect();
                (list.generation, observers)
            };
            if observers.is_empty() || seen.replace(generation) == Some(generation) {
                return;
            }
            for observer in observers {
                observer.invalidate(self.key, start..end, private_copies);
            }
        }
    }
}
