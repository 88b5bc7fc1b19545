//! Memory that is shared without a file: `MAP_SHARED | MAP_ANONYMOUS`, System V shared memory.

use abi::{Errno, PAGE_SIZE};
use core::ops::Range;
use host::frames::{AllocOptions, FrameAllocator, FrameRange, FrameRef};
use host::mappable::{Backing, FileId, Mappable, Observers};
use lock::{Mutex, rank};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How much is allocated at a time.
const STEP: u64 = 64 << 10;

/// A fixed number of pages that come into being when touched. Freed when the last mapping and holder is gone.
pub struct SharedMemory {
    frames: Arc<FrameAllocator>,
    size: u64,
    id: FileId,
    observers: Observers,
    /// Runs of allocated pages by offset: the end, and the frames.
    pages: Mutex<BTreeMap<u64, (u64, u64)>>,
}

impl SharedMemory {
    /// Zeroes of this size (a multiple of a page).
    #[must_use]
    pub fn new(frames: Arc<FrameAllocator>, size: u64) -> SharedMemory {
        let observers = Observers::new();
        // Linux shows its internal tmpfs: device 0:1 and an inode number of its own.
        let id = FileId { dev_major: 0, dev_minor: 1, ino: observers.key() };
        SharedMemory { frames, size, id, observers, pages: Mutex::new(rank::MAPPABLE, BTreeMap::new()) }
    }

    /// Bytes that are allocated.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.pages.lock().iter().map(|(start, (end, _))| end - start).sum()
    }

    fn existing(pages: &BTreeMap<u64, (u64, u64)>, range: &Range<u64>) -> Option<FrameRange> {
        let (&start, &(end, at)) =
            pages.range(..=range.start).next_back().filter(|(_, (end, _))| *end > range.start)?;
        let frames = FrameRange { start: at, end: at + (end - start) };
        Some(frames.slice(range.start - start, range.end - range.start))
    }
}

impl Mappable for SharedMemory {
    fn back(&self, range: Range<u64>, _write: bool) -> Result<Backing, Errno> {
        if range.start >= self.size {
            return Err(Errno::ENXIO);
        }
        let range = range.start..range.end.min(self.size);
        let mut pages = self.pages.lock();
        if let Some(frames) = Self::existing(&pages, &range) {
            return Ok(Backing::Frames(FrameRef::new(&self.frames, frames)));
        }
        let next = pages.range(range.start..).next().map_or(self.size, |(&start, _)| start);
        let end = range.end.min(next).min(range.start + STEP);
        let before = pages.range(..range.start).next_back().map(|(&start, &(end, at))| (start, end, at));
        let joined = before.filter(|(_, end, _)| *end == range.start);
        let at = joined.map(|(start, end, at)| at + (end - start));
        let options = AllocOptions { overwritten: false, at };
        let frames =
            self.frames.alloc(end - range.start, options).or_else(|_| self.frames.alloc(PAGE_SIZE, options))?;
        let new_end = range.start + frames.len();
        match joined {
            Some((start, _, first)) if at == Some(frames.start) => pages.insert(start, (new_end, first)),
            _ => pages.insert(range.start, (new_end, frames.start)),
        };
        Ok(Backing::Frames(FrameRef::new(&self.frames, frames)))
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn id(&self) -> FileId {
        self.id
    }

    fn observers(&self) -> &Observers {
        &self.observers
    }

    fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        let mut freed = Vec::new();
        {
            let mut pages = self.pages.lock();
            let hit: Vec<(u64, u64, u64)> = pages
                .range(..range.end)
                .filter(|(_, (end, _))| *end > range.start)
                .map(|(&start, &(end, at))| (start, end, at))
                .collect();
            for (start, end, at) in hit {
                pages.remove(&start);
                let frames = FrameRange { start: at, end: at + (end - start) };
                if start < range.start {
                    pages.insert(start, (range.start, at));
                }
                if end > range.end {
                    pages.insert(range.end, (end, at + (range.end - start)));
                }
                let from = range.start.max(start);
                freed.push(frames.slice(from - start, range.end.min(end) - from));
            }
        }
        self.observers.invalidate(range, false);
        for frames in freed {
            self.frames.dec(frames);
        }
        Ok(())
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        for (start, (end, at)) in core::mem::take(self.pages.get_mut()) {
            self.frames.dec(FrameRange { start: at, end: at + (end - start) });
        }
    }
}
