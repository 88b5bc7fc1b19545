//! A regular file's data: which frames hold which bytes.
//!
//! Reads hold `io` shared, whatever changes data or size holds it exclusively; so frames stay where they are during a
//! copy without being counted. `extents` is taken inside for moments only, and never while guest memory is touched:
//! page faults on mappings of this very file take it.

use super::Shared;
use super::seals::Seals;
use abi::raw::general as c;
use abi::{Errno, PAGE_SIZE};
use host::frames::{AllocOptions, FrameRange, FrameRef};
use host::guestmem::HostRange;
use host::io::{Sink, Source};
use host::mappable::{Backing, Observers};
use lock::{Mutex, RwLock, rank};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use vfs::{WriteAt, Written};

/// Most bytes of one allocation for a write or a page fault.
const RUN_MAX: u64 = 2 << 20;
/// Most bytes of one allocation for fallocate(2).
const RESERVE_MAX: u64 = 1 << 30;
/// `s_maxbytes`.
pub(crate) const SIZE_MAX: u64 = i64::MAX as u64;

fn page_floor(at: u64) -> u64 {
    at & !(PAGE_SIZE - 1)
}

fn page_ceil(at: u64) -> u64 {
    page_floor(at.saturating_add(PAGE_SIZE - 1))
}

/// Frames by file offset. Neighbours that continue each other in the memory file are one extent.
#[derive(Default)]
pub(crate) struct Extents(BTreeMap<u64, FrameRange>);

/// What is at some offset, and for how far.
enum Run {
    /// These bytes of the memory file.
    Data(FrameRange),
    /// Nothing for so many bytes.
    Hole(u64),
}

impl Extents {
    fn find(&self, at: u64, len: u64) -> Run {
        if let Some((&start, frames)) = self.0.range(..=at).next_back()
            && at - start < frames.len()
        {
            return Run::Data(frames.slice(at - start, len));
        }
        let next = self.0.range(at..).next().map_or(u64::MAX, |(&start, _)| start);
        Run::Hole(len.min(next - at))
    }

    /// The frames that would continue those before `at`.
    fn hint(&self, at: u64) -> Option<u64> {
        let (&start, frames) = self.0.range(..at).next_back()?;
        (start + frames.len() == at).then_some(frames.end)
    }

    /// Fills a hole.
    fn insert(&mut self, mut at: u64, mut frames: FrameRange) {
        if let Some((&start, before)) = self.0.range(..at).next_back()
            && start + before.len() == at
            && before.end == frames.start
        {
            frames.start = before.start;
            at = start;
        }
        let end = at + frames.len();
        if let Some(after) = self.0.get(&end)
            && after.start == frames.end
        {
            frames.end = after.end;
            self.0.remove(&end);
        }
        self.0.insert(at, frames);
    }

    /// Takes out what lies in a page-aligned range.
    fn remove(&mut self, range: Range<u64>) -> Vec<FrameRange> {
        let mut removed = Vec::new();
        let first = self.0.range(..range.start).next_back().map_or(range.start, |(&start, _)| start);
        let touched: Vec<u64> = self.0.range(first..range.end).map(|(&start, _)| start).collect();
        for start in touched {
            let Some(&frames) = self.0.get(&start) else { continue };
            let end = start + frames.len();
            let (from, to) = (start.max(range.start), end.min(range.end));
            if from >= to {
                continue;
            }
            self.0.remove(&start);
            if start < from {
                self.0.insert(start, frames.slice(0, from - start));
            }
            if to < end {
                self.0.insert(to, frames.slice(to - start, end - to));
            }
            removed.push(frames.slice(from - start, to - from));
        }
        removed
    }
}

/// The data of a regular file.
pub(crate) struct Data {
    io: RwLock<()>,
    extents: Mutex<Extents>,
    /// Changes under `extents`.
    size: AtomicU64,
    /// Pages of all extents; changes under `extents`.
    pages: AtomicU64,
    pub observers: Observers,
    pub seals: Seals,
}

/// Copies from the sink's or source's ranges to the memory file or back, up to `len` bytes.
fn copy_ranges(
    ranges: &[HostRange<'_>],
    file: HostRange<'_>,
    copy: impl Fn(&HostRange<'_>, &HostRange<'_>) -> Result<usize, host::guestmem::Fault>,
) -> Result<usize, Errno> {
    let mut done = 0;
    for range in ranges {
        let part = file.slice(done, range.len());
        if part.is_empty() {
            break;
        }
        match copy(range, &part) {
            Ok(n) => done += n,
            Err(fault) if done + fault.done > 0 => return Ok(done + fault.done),
            Err(_) => return Err(Errno::EFAULT),
        }
    }
    Ok(done)
}

impl Data {
    pub(crate) fn new() -> Data {
        Data {
            io: RwLock::new(rank::INODE, ()),
            extents: Mutex::new(rank::MAPPABLE, Extents::default()),
            size: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            observers: Observers::new(),
            seals: Seals::fixed(),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// For a file that nobody else knows yet.
    pub(crate) fn set_initial_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    pub(crate) fn read(&self, shared: &Shared, offset: u64, dst: &mut dyn Sink) -> Result<usize, Errno> {
        let _io = self.io.read();
        let size = self.size();
        let mut done = 0;
        while dst.remaining() > 0 {
            let at = offset.saturating_add(done as u64);
            if at >= size {
                break;
            }
            let want = (size - at).min(dst.remaining() as u64);
            let run = self.extents.lock().find(at, want);
            let result = match run {
                Run::Hole(len) => dst.zero(len as usize),
                Run::Data(bytes) => {
                    let file = shared.frames.range(bytes);
                    dst.fill_with(file.len(), &mut |ranges| copy_ranges(ranges, file, |to, from| to.copy_from(from)))
                }
            };
            match result {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    /// Writes, at most up to the offset `limit`.
    pub(crate) fn write(
        &self,
        shared: &Shared,
        at: WriteAt,
        src: &mut dyn Source,
        limit: u64,
    ) -> Result<Written, Errno> {
        let _io = self.io.write();
        let start = match at {
            WriteAt::Offset(offset) => offset,
            WriteAt::End => self.size(),
        };
        if src.remaining() == 0 {
            return Ok(Written { len: 0, end: start });
        }
        if start >= limit.min(SIZE_MAX) {
            return Err(Errno::EFBIG);
        }
        if self.seals.no_write() {
            return Err(Errno::EPERM);
        }
        let mut room = limit.min(SIZE_MAX) - start;
        if self.seals.has(c::F_SEAL_GROW) {
            room = room.min(self.size().saturating_sub(start));
            if room == 0 {
                return Err(Errno::EPERM);
            }
        }
        let mut done = 0;
        while room > done && src.remaining() > 0 {
            let at = start + done;
            let want = (room - done).min(src.remaining() as u64);
            let run = self.extents.lock().find(at, want);
            let result = match run {
                Run::Hole(len) => self.fill_hole(shared, at, len, src),
                Run::Data(bytes) => {
                    let file = shared.frames.range(bytes);
                    src.drain_with(file.len(), &mut |ranges| copy_ranges(ranges, file, |from, to| to.copy_from(from)))
                }
            };
            match result {
                Ok(0) => break,
                Ok(n) => done += n as u64,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
            self.size.fetch_max(start + done, Ordering::AcqRel);
        }
        Ok(Written { len: done as usize, end: start + done })
    }

    /// Charges and allocates up to `len` bytes of frames, less if that is all there is.
    fn alloc(&self, shared: &Shared, len: u64, options: AllocOptions) -> Result<FrameRange, Errno> {
        let mut len = len;
        loop {
            let result = shared.charge_pages(len / PAGE_SIZE).and_then(|()| {
                shared.frames.alloc(len, options).inspect_err(|_| shared.uncharge_pages(len / PAGE_SIZE))
            });
            match result {
                Ok(frames) => return Ok(frames),
                Err(_) if len > PAGE_SIZE => len = page_floor(len / 2),
                Err(_) => return Err(Errno::ENOSPC),
            }
        }
    }

    fn free(&self, shared: &Shared, frames: FrameRange) {
        shared.uncharge_pages(frames.len() / PAGE_SIZE);
        shared.frames.dec(frames);
    }

    /// Writes to a hole of at least `len` bytes at `at`: fills new frames first, and then puts them in, so that no
    /// mapping ever sees what they held before.
    fn fill_hole(&self, shared: &Shared, at: u64, len: u64, src: &mut dyn Source) -> Result<usize, Errno> {
        let first = page_floor(at);
        let hint = self.extents.lock().hint(first);
        let options = AllocOptions { overwritten: true, at: hint };
        let frames = self.alloc(shared, (page_ceil(at + len) - first).min(RUN_MAX), options)?;
        let head = (at - first) as usize;
        let room = shared.frames.range(frames).slice(head, len as usize);
        let mut done = 0;
        let mut result = Ok(0);
        while done < room.len() {
            let rest = room.slice(done, room.len());
            result = src.drain_with(rest.len(), &mut |ranges| copy_ranges(ranges, rest, |from, to| to.copy_from(from)));
            match result {
                Ok(n) if n > 0 => done += n,
                _ => break,
            }
        }
        if done == 0 {
            self.free(shared, frames);
            return result;
        }
        let used = frames.slice(0, page_ceil((head + done) as u64));
        let unused = frames.slice(used.len(), u64::MAX);
        if !unused.is_empty() {
            self.free(shared, unused);
        }
        let view = shared.frames.range(used);
        let zeroed = view.slice(0, head).zero().and_then(|()| view.slice(head + done, view.len()).zero());
        if zeroed.is_err() {
            self.free(shared, used);
            return Err(Errno::EIO);
        }
        self.install(shared, first, used, at..at + done as u64);
        Ok(done)
    }

    /// Puts frames into what was a hole. Where a page fault was faster, the bytes of `written` are copied instead.
    fn install(&self, shared: &Shared, first: u64, frames: FrameRange, written: Range<u64>) {
        let mut surplus = Vec::new();
        {
            let mut extents = self.extents.lock();
            let mut at = first;
            while at < first + frames.len() {
                let rest = frames.slice(at - first, u64::MAX);
                match extents.find(at, rest.len()) {
                    Run::Hole(len) => {
                        extents.insert(at, rest.slice(0, len));
                        self.pages.fetch_add(len / PAGE_SIZE, Ordering::Relaxed);
                        at += len;
                    }
                    Run::Data(theirs) => {
                        let end = at + theirs.len();
                        let (from, to) = (at.max(written.start), end.min(written.end));
                        if from < to {
                            let ours = shared.frames.range(rest.slice(from - at, to - from));
                            // Both are frames of the memory file, which never faults.
                            let _ = shared.frames.range(theirs.slice(from - at, to - from)).copy_from(&ours);
                        }
                        surplus.push(rest.slice(0, theirs.len()));
                        at = end;
                    }
                }
            }
        }
        for frames in surplus {
            self.free(shared, frames);
        }
    }

    /// Sets the size.
    pub(crate) fn truncate(&self, shared: &Shared, size: u64) -> Result<(), Errno> {
        let _io = self.io.write();
        let old = self.size();
        if (size < old && self.seals.has(c::F_SEAL_SHRINK)) || (size > old && self.seals.has(c::F_SEAL_GROW)) {
            return Err(Errno::EPERM);
        }
        let from = page_ceil(size);
        let removed = {
            let mut extents = self.extents.lock();
            self.size.store(size, Ordering::Release);
            if size >= old { Vec::new() } else { self.take_out(&mut extents, from..u64::MAX) }
        };
        if size < old {
            self.zero(shared, size..from);
            // Private copies of pages beyond the end go too, even where the file had a hole.
            self.observers.invalidate(from..page_floor(u64::MAX), true);
        }
        for frames in removed {
            self.free(shared, frames);
        }
        Ok(())
    }

    fn take_out(&self, extents: &mut Extents, range: Range<u64>) -> Vec<FrameRange> {
        let removed = extents.remove(range);
        let pages: u64 = removed.iter().map(|f| f.len() / PAGE_SIZE).sum();
        self.pages.fetch_sub(pages, Ordering::Relaxed);
        removed
    }

    /// Zeroes bytes that exist. The caller holds `io` exclusively.
    fn zero(&self, shared: &Shared, range: Range<u64>) {
        let mut at = range.start;
        while at < range.end {
            let run = self.extents.lock().find(at, range.end - at);
            match run {
                Run::Hole(len) => at += len,
                Run::Data(bytes) => {
                    // A frame of the memory file, which never faults.
                    let _ = shared.frames.range(bytes).zero();
                    at += bytes.len();
                }
            }
        }
    }

    /// Frees the pages of a range and zeroes the parts of pages at its ends.
    pub(crate) fn punch(&self, shared: &Shared, range: Range<u64>) -> Result<(), Errno> {
        let _io = self.io.write();
        if self.seals.no_write() {
            return Err(Errno::EPERM);
        }
        let (first, last) = (page_ceil(range.start), page_floor(range.end));
        if first >= last {
            // No whole page: either inside of one, or across the border of two.
            self.zero(shared, range);
            return Ok(());
        }
        self.zero(shared, range.start..first);
        self.zero(shared, last..range.end);
        let removed = {
            let mut extents = self.extents.lock();
            self.take_out(&mut extents, first..last)
        };
        self.observers.invalidate(first..last, false);
        for frames in removed {
            self.free(shared, frames);
        }
        Ok(())
    }

    /// Allocates every hole of a range; then the size becomes at least `size`, if given.
    pub(crate) fn reserve(&self, shared: &Shared, range: Range<u64>, size: Option<u64>) -> Result<(), Errno> {
        let _io = self.io.write();
        if size.is_some_and(|size| size > self.size()) && self.seals.has(c::F_SEAL_GROW) {
            return Err(Errno::EPERM);
        }
        let mut at = page_floor(range.start);
        let end = page_ceil(range.end);
        let missing = {
            let extents = self.extents.lock();
            let first = extents.0.range(..at).next_back().map_or(at, |(&start, _)| start);
            let part = |(&start, f): (&u64, &FrameRange)| (start + f.len()).min(end).saturating_sub(start.max(at));
            let present: u64 = extents.0.range(first..end).map(part).sum();
            (end - at).saturating_sub(present) / PAGE_SIZE
        };
        // What can't succeed shall not first fill all memory.
        shared.charge_pages(missing)?;
        shared.uncharge_pages(missing);
        while at < end {
            let (run, hint) = {
                let extents = self.extents.lock();
                (extents.find(at, end - at), extents.hint(at))
            };
            at += match run {
                Run::Data(bytes) => bytes.len(),
                Run::Hole(len) => {
                    let options = AllocOptions { overwritten: false, at: hint };
                    let frames = self.alloc(shared, len.min(RESERVE_MAX), options)?;
                    self.install(shared, at, frames, 0..0);
                    frames.len()
                }
            };
        }
        if let Some(size) = size {
            self.size.fetch_max(size, Ordering::AcqRel);
        }
        Ok(())
    }

    /// `SEEK_DATA` and `SEEK_HOLE`.
    pub(crate) fn seek(&self, offset: u64, hole: bool) -> Result<u64, Errno> {
        let _io = self.io.read();
        let size = self.size();
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        let extents = self.extents.lock();
        let mut at = offset;
        while at < size {
            match extents.find(at, size - at) {
                Run::Data(bytes) if hole => at += bytes.len(),
                Run::Hole(len) if !hole => at += len,
                _ => return Ok(at),
            }
        }
        if hole { Ok(size) } else { Err(Errno::ENXIO) }
    }

    /// What a page fault finds; see [`host::mappable::Mappable::back`].
    pub(crate) fn back(&self, shared: &Shared, range: Range<u64>, write: bool) -> Result<Backing, Errno> {
        if write && self.seals.has(c::F_SEAL_WRITE) {
            return Err(Errno::EACCES);
        }
        let mut extents = self.extents.lock();
        let end = range.end.min(page_ceil(self.size()));
        if range.start >= end {
            return Err(Errno::ENXIO);
        }
        let frames = match extents.find(range.start, end - range.start) {
            Run::Data(frames) => frames,
            Run::Hole(len) => {
                let options = AllocOptions { overwritten: false, at: extents.hint(range.start) };
                let frames = self.alloc(shared, len.min(RUN_MAX), options)?;
                extents.insert(range.start, frames);
                self.pages.fetch_add(frames.len() / PAGE_SIZE, Ordering::Relaxed);
                frames
            }
        };
        Ok(Backing::Frames(FrameRef::new(&shared.frames, frames)))
    }

    /// Adds seals.
    pub(crate) fn add_seals(&self, seals: u32, perm: u32) -> Result<(), Errno> {
        let _io = self.io.write();
        self.seals.add(seals, perm, self.observers.any_writer())
    }

    /// Gives all frames back, for a file that is going away.
    pub(crate) fn clear(&mut self, shared: &Shared) {
        for frames in std::mem::take(&mut self.extents.get_mut().0).into_values() {
            self.free(shared, frames);
        }
    }
}
