//! Frames: which pages of the memory file are in use, and by how many.
//!
//! Ranges of pages carry reference counts: each page of a guest's private memory, each page that a fork shares, and each
//! page of a tmpfs file holds one. What nobody refers to is first *stale*: it still holds old bytes and old memory. Small
//! requests reuse stale pages, which are zeroed unless the caller overwrites them anyway, since that costs the host
//! nothing; once many are stale they are punched out of the file. One lock, of rank `FRAMES`.
//!
//! Where the file may have large folios, it is brought in block by block, each as one folio, when it is first used, and goes
//! back to the host so. Blocks are small at first, for sandboxes that need no more, and then a quarter of what lies before them.

use crate::guestmem::HostRange;
use crate::memfile::{HUGE, MemoryFile};
use abi::{Errno, PAGE_SIZE};
use lock::{Mutex, MutexGuard, rank};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Requests up to this size may be served from stale pages.
const RECYCLE_MAX: u64 = 256 << 10;
/// So many more stale bytes than could not be given back last time are kept before they go back to the host.
const STALE_MAX: u64 = 32 << 20;
/// The smallest block.
const BLOCK_MIN: u64 = 64 << 10;
/// After so many blocks in a row for which the host had no folio, it is not asked for that size any more.
const MISSES_MAX: usize = 4;
/// Parts of blocks that are kept, in bytes, before they go back too, and the rest of those blocks becomes small pages.
const PARTS_MAX: u64 = 64 << 20;
/// So many free ranges are tried before new ground is broken.
const SCAN_MAX: usize = 64;

/// A range of frames: page-aligned byte offsets in the memory file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameRange {
    /// First byte.
    pub start: u64,
    /// Past the last byte.
    pub end: u64,
}

impl FrameRange {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it has no frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// At most `len` bytes from `offset` bytes on, clipped.
    #[must_use]
    pub fn slice(&self, offset: u64, len: u64) -> FrameRange {
        let start = self.start.saturating_add(offset).min(self.end);
        FrameRange { start, end: start.saturating_add(len).min(self.end) }
    }
}

/// What an allocation should be like.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllocOptions {
    /// The caller overwrites every byte before anyone else can read one.
    pub overwritten: bool,
    /// Best right here, if that is free: continues a neighbour's run.
    pub at: Option<u64>,
}

/// How much is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Bytes with at least one reference.
    pub used: u64,
    /// Bytes without, that the host has not got back yet.
    pub stale: u64,
    /// Most bytes that may be used.
    pub limit: u64,
}

struct Segment {
    end: u64,
    refs: u32,
}

struct State {
    /// Ranges in use, by start; neighbours with equal counts are merged.
    used: BTreeMap<u64, Segment>,
    /// Ranges that read as zero, by start.
    clean: BTreeMap<u64, u64>,
    /// Ranges without references that hold old bytes.
    stale: BTreeMap<u64, u64>,
    usage: Usage,
    /// Blocks that were brought in as one folio each, by start.
    blocks: BTreeSet<u64>,
    sizes: BlockSizes,
    /// The size of the file.
    grown: u64,
    /// Blocks in a row that did not become folios.
    misses: usize,
    /// So much is stale when it is next tried to give it back.
    full: u64,
}

/// Hands out the memory file.
pub struct FrameAllocator {
    file: MemoryFile,
    state: Mutex<State>,
}

/// How large blocks are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BlockSizes {
    /// A quarter of what lies before them.
    Growing,
    /// Huge pages: hosts before Linux 6.14 have no others.
    Huge,
    /// The host gives no folios.
    None,
}

impl BlockSizes {
    /// The size of the block that `at` lies in; blocks are aligned to it.
    fn at(self, at: u64) -> u64 {
        match self {
            BlockSizes::Growing if at < HUGE * 4 => ((1 << at.max(1).ilog2()) / 4).max(BLOCK_MIN),
            BlockSizes::None => PAGE_SIZE,
            _ => HUGE,
        }
    }

    /// The block that `at` lies in.
    fn block(self, at: u64) -> FrameRange {
        let size = self.at(at);
        let start = at & !(size - 1);
        FrameRange { start, end: start.saturating_add(size) }
    }
}

/// Inserts a range into a set of ranges, merging it with its neighbours.
fn insert_range(set: &mut BTreeMap<u64, u64>, mut start: u64, mut end: u64) {
    if let Some((&s, &e)) = set.range(..=start).next_back()
        && e == start
    {
        set.remove(&s);
        start = s;
    }
    if let Some(e) = set.remove(&end) {
        end = e;
    }
    set.insert(start, end);
}

/// Takes `range`, which lies in the member that starts at `start`, out of the set.
fn carve(set: &mut BTreeMap<u64, u64>, start: u64, range: FrameRange) {
    if let Some(end) = set.remove(&start) {
        if start < range.start {
            set.insert(start, range.start);
        }
        if range.end < end {
            set.insert(range.end, end);
        }
    }
}

/// Where `len` bytes fit into `start..end`, huge runs aligned.
fn fit(start: u64, end: u64, len: u64) -> Option<FrameRange> {
    let at = if len >= HUGE { start.checked_next_multiple_of(HUGE)? } else { start };
    let stop = at.checked_add(len)?;
    (stop <= end).then_some(FrameRange { start: at, end: stop })
}

impl State {
    /// Makes `at` a border between segments.
    fn split(&mut self, at: u64) {
        if self.used.contains_key(&at) {
            return;
        }
        if let Some((&start, segment)) = self.used.range_mut(..at).next_back()
            && segment.end > at
        {
            let tail = Segment { end: segment.end, refs: segment.refs };
            segment.end = at;
            debug_assert!(start < at);
            self.used.insert(at, tail);
        }
    }

    /// Merges the segments at `at` if they have equal counts.
    fn join(&mut self, at: u64) {
        let Some(right) = self.used.get(&at) else { return };
        let (end, refs) = (right.end, right.refs);
        if let Some((_, left)) = self.used.range_mut(..at).next_back()
            && left.end == at
            && left.refs == refs
        {
            left.end = end;
            self.used.remove(&at);
        }
    }

    /// Finds room in a set: where asked, else low, else in the last and largest.
    fn find(set: &BTreeMap<u64, u64>, len: u64, at: Option<u64>) -> Option<(u64, FrameRange)> {
        if let Some(at) = at
            && let Some((&start, &end)) = set.range(..=at).next_back()
            && at.checked_add(len).is_some_and(|stop| stop <= end)
        {
            return Some((start, FrameRange { start: at, end: at + len }));
        }
        let try_one = |(&start, &end): (&u64, &u64)| fit(start, end, len).map(|range| (start, range));
        set.iter().take(SCAN_MAX).find_map(try_one).or_else(|| set.iter().next_back().and_then(try_one))
    }

    /// As [`State::find`], everywhere.
    fn find_anywhere(set: &BTreeMap<u64, u64>, len: u64) -> Option<(u64, FrameRange)> {
        set.iter().find_map(|(&start, &end)| {
            let stop = start.checked_add(len)?;
            (stop <= end).then_some((start, FrameRange { start, end: stop }))
        })
    }

    /// Cuts a range at the borders of blocks. Each piece with whether it can go back to the host.
    fn by_block(&self, start: u64, end: u64) -> Vec<(u64, u64, bool)> {
        let mut pieces: Vec<(u64, u64, bool)> = Vec::new();
        let (mut at, mut joins) = (start, false);
        while at < end {
            let block = self.sizes.block(at);
            let stop = end.min(block.end);
            let folio = self.blocks.contains(&block.start);
            match pieces.last_mut() {
                Some(last) if !folio && joins => last.1 = stop,
                _ => pieces.push((at, stop, !folio || stop - at == block.len())),
            }
            (at, joins) = (stop, !folio);
        }
        pieces
    }

    /// The blocks of a range that are used for the first time, if they are to be folios. They are within the file then.
    fn new_blocks(&mut self, file: &MemoryFile, range: FrameRange) -> Result<Vec<FrameRange>, Errno> {
        let end = if self.sizes == BlockSizes::None { file.len() } else { self.sizes.block(range.end - 1).end };
        if end > self.grown {
            file.grow(end)?;
            self.grown = end;
        }
        let mut new = Vec::new();
        let mut at = range.start;
        while self.sizes != BlockSizes::None && at < range.end {
            let block = self.sizes.block(at);
            if self.blocks.insert(block.start) {
                new.push(block);
            }
            at = block.end;
        }
        Ok(new)
    }

    /// Takes note of whether a block became a folio.
    fn brought(&mut self, block: FrameRange, folio: bool) {
        if folio {
            self.misses = 0;
            return;
        }
        self.blocks.remove(&block.start);
        self.misses += 1;
        if self.misses >= MISSES_MAX {
            self.misses = 0;
            let small = self.sizes == BlockSizes::Growing && block.len() < HUGE;
            self.sizes = if small { BlockSizes::Huge } else { BlockSizes::None };
        }
    }

    fn take(&mut self, from_stale: bool, member: u64, range: FrameRange) {
        carve(if from_stale { &mut self.stale } else { &mut self.clean }, member, range);
        if from_stale {
            self.usage.stale -= range.len();
        }
        self.usage.used += range.len();
        self.used.insert(range.start, Segment { end: range.end, refs: 1 });
        self.join(range.end);
        self.join(range.start);
    }
}

impl FrameAllocator {
    /// Hands out `file`, at most `limit` bytes at a time.
    #[must_use]
    pub fn new(file: MemoryFile, limit: u64) -> Arc<FrameAllocator> {
        let state = State {
            used: BTreeMap::new(),
            clean: [(0, file.len())].into(),
            stale: BTreeMap::new(),
            usage: Usage { used: 0, stale: 0, limit },
            blocks: BTreeSet::new(),
            sizes: if file.huge() { BlockSizes::Growing } else { BlockSizes::None },
            grown: if file.grows() { 0 } else { file.len() },
            misses: 0,
            full: STALE_MAX,
        };
        Arc::new(FrameAllocator { file, state: Mutex::new(rank::FRAMES, state) })
    }

    /// The memory file.
    #[must_use]
    pub fn file(&self) -> &MemoryFile {
        &self.file
    }

    /// The Sentry's view of frames. Use it only while holding a reference on them.
    #[must_use]
    pub fn range(&self, frames: FrameRange) -> HostRange<'static> {
        self.file.range(frames.start, frames.len())
    }

    /// Contiguous frames of `len` bytes (a positive multiple of a page) that read as zero, with one reference each.
    ///
    /// # Errors
    /// `ENOMEM` beyond the limit or if there is no such run: try a shorter one.
    pub fn alloc(&self, len: u64, options: AllocOptions) -> Result<FrameRange, Errno> {
        self.alloc_or_reuse(len, options).map(|(frames, _)| frames)
    }

    /// As [`FrameAllocator::alloc`]; says also whether the host has memory for all of them already.
    ///
    /// # Errors
    /// The same.
    pub fn alloc_or_reuse(&self, len: u64, options: AllocOptions) -> Result<(FrameRange, bool), Errno> {
        if len == 0 || !len.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.lock();
        if state.usage.used.checked_add(len).is_none_or(|used| used > state.usage.limit) {
            return Err(Errno::ENOMEM);
        }
        if len <= RECYCLE_MAX
            && let Some((member, range)) = State::find(&state.stale, len, options.at)
        {
            state.take(true, member, range);
            drop(state);
            if !options.overwritten && self.range(range).zero().is_err() {
                self.dec(range);
                return Err(Errno::ENOMEM);
            }
            return Ok((range, true));
        }
        if let Some((member, range)) =
            State::find(&state.clean, len, options.at).or_else(|| State::find_anywhere(&state.clean, len))
        {
            return self.break_ground(state, member, range);
        }
        drop(state);
        self.trim();
        let mut state = self.state.lock();
        if let Some((member, range)) = State::find_anywhere(&state.clean, len) {
            return self.break_ground(state, member, range);
        }
        let (member, range) = State::find_anywhere(&state.stale, len).ok_or(Errno::ENOMEM)?;
        state.take(true, member, range);
        drop(state);
        if self.range(range).zero().is_err() {
            self.dec(range);
            return Err(Errno::ENOMEM);
        }
        Ok((range, true))
    }

    /// Takes a clean range and brings its blocks in. Says whether the host has memory for all of it.
    fn break_ground(
        &self,
        mut state: MutexGuard<'_, State>,
        member: u64,
        range: FrameRange,
    ) -> Result<(FrameRange, bool), Errno> {
        let new = state.new_blocks(&self.file, range)?;
        state.take(false, member, range);
        let mut filled = state.sizes != BlockSizes::None;
        drop(state);
        for block in new {
            let folio = self.file.bring(block.start, block.len(), block.start.max(range.start));
            self.state.lock().brought(block, folio);
            filled &= folio;
        }
        Ok((range, filled))
    }

    /// Adds a reference to every frame. The caller must hold one on each.
    pub fn inc(&self, frames: FrameRange) {
        self.change(frames, |refs| refs.saturating_add(1));
    }

    /// Takes a reference from every frame, and frees those that lose their last.
    pub fn dec(&self, frames: FrameRange) {
        if self.change(frames, |refs| refs - 1) {
            self.trim();
        }
    }

    /// Changes the counts of a range; says whether too much is stale now.
    fn change(&self, frames: FrameRange, change: impl Fn(u32) -> u32) -> bool {
        if frames.is_empty() {
            return false;
        }
        let mut guard = self.state.lock();
        let state = &mut *guard;
        // Mostly it is one segment, which stays.
        if let Some(segment) = state.used.get_mut(&frames.start)
            && segment.end == frames.end
            && let refs @ 1.. = change(segment.refs)
        {
            segment.refs = refs;
            state.join(frames.start);
            state.join(frames.end);
            return false;
        }
        state.split(frames.start);
        state.split(frames.end);
        let mut freed = Vec::new();
        let mut covered = 0;
        for (&start, segment) in state.used.range_mut(frames.start..frames.end) {
            segment.refs = change(segment.refs);
            covered += segment.end - start;
            if segment.refs == 0 {
                freed.push((start, segment.end));
            }
        }
        debug_assert_eq!(covered, frames.len(), "references on free frames");
        for (start, end) in freed {
            state.used.remove(&start);
            insert_range(&mut state.stale, start, end);
            state.usage.used -= end - start;
            state.usage.stale += end - start;
        }
        let inner: Vec<u64> = state.used.range(frames.start..frames.end).map(|(&start, _)| start).collect();
        for at in inner {
            state.join(at);
        }
        state.join(frames.end);
        state.usage.stale > state.full
    }

    /// How many references the first frame has, and for how many bytes of `frames` that count holds.
    #[must_use]
    pub fn refs(&self, frames: FrameRange) -> (u32, u64) {
        let state = self.state.lock();
        match state.used.range(..=frames.start).next_back() {
            Some((_, segment)) if segment.end > frames.start => {
                (segment.refs, segment.end.min(frames.end) - frames.start)
            }
            _ => (0, frames.len()),
        }
    }

    /// Gives stale memory back to the host: all but parts of folios, unless there are many.
    pub fn trim(&self) {
        let stale = {
            let mut state = self.state.lock();
            state.usage.stale = 0;
            let stale = core::mem::take(&mut state.stale);
            stale.into_iter().flat_map(|(start, end)| state.by_block(start, end)).collect::<Vec<_>>()
        };
        let parts: u64 = stale.iter().filter(|piece| !piece.2).map(|piece| piece.1 - piece.0).sum();
        for (start, end, whole) in stale {
            let clean = (whole || parts > PARTS_MAX) && self.file.punch(start, end - start).is_ok();
            let mut state = self.state.lock();
            if clean {
                insert_range(&mut state.clean, start, end);
                let block = state.sizes.block(start).start;
                state.blocks.remove(&block);
            } else {
                insert_range(&mut state.stale, start, end);
                state.usage.stale += end - start;
            }
        }
        let mut state = self.state.lock();
        state.full = state.usage.stale.saturating_add(STALE_MAX);
    }

    /// How much is in use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.state.lock().usage
    }

    /// Changes the limit; what is beyond it already stays.
    pub fn set_limit(&self, limit: u64) {
        self.state.lock().usage.limit = limit;
    }
}

/// One reference on each frame of a range, given back on drop.
pub struct FrameRef {
    frames: Arc<FrameAllocator>,
    range: FrameRange,
}

impl FrameRef {
    /// Takes over the reference that the caller holds.
    #[must_use]
    pub fn adopt(frames: &Arc<FrameAllocator>, range: FrameRange) -> FrameRef {
        FrameRef { frames: frames.clone(), range }
    }

    /// Adds a reference; the caller must hold one on each frame meanwhile.
    #[must_use]
    pub fn new(frames: &Arc<FrameAllocator>, range: FrameRange) -> FrameRef {
        frames.inc(range);
        FrameRef::adopt(frames, range)
    }

    /// The frames.
    #[must_use]
    pub fn frames(&self) -> FrameRange {
        self.range
    }

    /// The Sentry's view of them.
    #[must_use]
    pub fn range(&self) -> HostRange<'_> {
        self.frames.range(self.range)
    }

    /// Hands the reference to the caller, who must give it back with [`FrameAllocator::dec`].
    #[must_use]
    pub fn into_frames(mut self) -> FrameRange {
        let range = self.range;
        self.range.end = self.range.start;
        range
    }
}

impl Drop for FrameRef {
    fn drop(&mut self) {
        self.frames.dec(self.range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = PAGE_SIZE;

    fn allocator(limit: u64) -> Arc<FrameAllocator> {
        FrameAllocator::new(MemoryFile::new(256 << 20).unwrap(), limit)
    }

    #[test]
    fn counts_sub_ranges_and_merges_again() {
        let frames = allocator(u64::MAX);
        let run = frames.alloc(16 * PAGE, AllocOptions::default()).unwrap();
        let middle = run.slice(4 * PAGE, 4 * PAGE);
        frames.inc(middle);
        assert_eq!(frames.refs(run), (1, 4 * PAGE));
        assert_eq!(frames.refs(middle), (2, 4 * PAGE));
        frames.dec(run);
        assert_eq!(frames.usage().used, 4 * PAGE);
        assert_eq!(frames.refs(run), (0, 16 * PAGE));
        frames.dec(middle);
        assert_eq!(frames.usage().used, 0);
        let state = frames.state.lock();
        assert!(state.used.is_empty());
        assert_eq!(state.stale.len(), 1);
    }

    #[test]
    fn reused_frames_read_as_zero() {
        let frames = allocator(u64::MAX);
        let run = frames.alloc(4 * PAGE, AllocOptions::default()).unwrap();
        frames.range(run).write(&[7; 4 * PAGE as usize]).unwrap();
        frames.dec(run);
        let again = frames.alloc(2 * PAGE, AllocOptions::default()).unwrap();
        assert_eq!(again.start, run.start);
        let mut bytes = [1; 2 * PAGE as usize];
        frames.range(again).read(&mut bytes).unwrap();
        assert!(bytes.iter().all(|b| *b == 0));
        frames.trim();
        let rest = frames.alloc(2 * PAGE, AllocOptions { at: Some(again.end), ..Default::default() }).unwrap();
        assert_eq!(rest.start, again.end);
        frames.range(rest).read(&mut bytes).unwrap();
        assert!(bytes.iter().all(|b| *b == 0));
        assert_eq!(frames.usage().stale, 0);
    }

    #[test]
    fn the_limit_holds_and_huge_runs_are_aligned() {
        let frames = allocator(8 << 20);
        let _small = frames.alloc(PAGE, AllocOptions::default()).unwrap();
        let huge = frames.alloc(HUGE, AllocOptions::default()).unwrap();
        assert!(huge.start.is_multiple_of(HUGE));
        assert_eq!(frames.alloc(7 << 20, AllocOptions::default()), Err(Errno::ENOMEM));
        assert_eq!(frames.alloc(0, AllocOptions::default()), Err(Errno::EINVAL));
        drop(FrameRef::adopt(&frames, huge));
        assert_eq!(frames.usage().used, PAGE);
    }

    #[test]
    fn much_stale_memory_goes_back_to_the_host() {
        let frames = allocator(u64::MAX);
        let run = frames.alloc(STALE_MAX + HUGE, AllocOptions::default()).unwrap();
        frames.range(run.slice(0, PAGE)).write(&[1; 64]).unwrap();
        frames.dec(run);
        assert_eq!(frames.usage(), Usage { used: 0, stale: 0, limit: u64::MAX });
        let blocks = rustix::fs::fstat(frames.file()).unwrap().st_blocks;
        assert_eq!(blocks, 0);
    }

    #[test]
    fn blocks_grow_with_what_lies_before_them() {
        let mut at = 0;
        while at < HUGE * 16 {
            let block = BlockSizes::Growing.block(at);
            assert_eq!((block.start, BlockSizes::Growing.block(block.end - 1)), (at, block));
            assert!(block.len() == BLOCK_MIN || block.len() * 4 <= at && block.len() <= HUGE);
            at = block.end;
        }
        assert_eq!(BlockSizes::Growing.at(at), HUGE);
        assert_eq!(BlockSizes::Huge.block(HUGE + 1), FrameRange { start: HUGE, end: 2 * HUGE });
    }

    /// Of a file of small pages, which has the last of each block before, as if the host had made folios.
    fn with_folios() -> Arc<FrameAllocator> {
        let fd = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = MemoryFile::on(fd, 256 << 20).unwrap();
        let mut at = 0;
        while at < file.len() {
            at = BlockSizes::Growing.block(at).end;
            rustix::io::pwrite(&file, &[0], at - 1).unwrap();
        }
        let frames = FrameAllocator::new(file, u64::MAX);
        frames.state.lock().grown = frames.file.len();
        frames
    }

    #[test]
    fn parts_of_huge_pages_are_kept() {
        let frames = with_folios();
        let small = frames.alloc(PAGE, AllocOptions::default()).unwrap();
        let far = AllocOptions { at: Some(4 * HUGE), ..Default::default() };
        let block = frames.alloc(HUGE, far).unwrap();
        let huge = frames.file.huge();
        assert_eq!((small.start, frames.state.lock().blocks.contains(&block.start)), (0, huge));
        frames.range(block).write(&[1; 2 * PAGE as usize]).unwrap();
        frames.dec(block.slice(0, HUGE / 2));
        frames.trim();
        assert_eq!(frames.usage().stale, if huge { HUGE / 2 } else { 0 });
        let again = frames.alloc(2 * PAGE, AllocOptions { at: Some(block.start), ..Default::default() }).unwrap();
        let mut bytes = [7; 2 * PAGE as usize];
        frames.range(again).read(&mut bytes).unwrap();
        assert_eq!((again.start, bytes), (block.start, [0; 2 * PAGE as usize]));
        frames.dec(again);
        frames.dec(block.slice(HUGE / 2, HUGE));
        frames.trim();
        assert_eq!(frames.usage().stale, 0);
        assert_eq!(frames.state.lock().blocks.len(), 1);
        // Many of them are not.
        let many = frames.alloc(2 * PARTS_MAX, AllocOptions::default()).unwrap();
        let kept: Vec<FrameRange> = (0..many.len()).step_by(HUGE as usize).map(|at| many.slice(at, PAGE)).collect();
        kept.iter().for_each(|page| frames.inc(*page));
        frames.dec(many);
        assert_eq!(frames.usage().stale, 0);
        assert_eq!(frames.state.lock().blocks.len(), 1);
        kept.into_iter().for_each(|page| frames.dec(page));
    }

    #[test]
    fn any_sequence_agrees_with_a_table() {
        let frames = allocator(u64::MAX);
        let mut counts = std::collections::BTreeMap::<u64, u32>::new();
        let mut state = 7_u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut held: Vec<FrameRange> = Vec::new();
        for _ in 0..4000 {
            let action = next(5);
            if action < 2 || held.is_empty() {
                let options = AllocOptions { overwritten: next(2) == 0, at: held.last().map(|last| last.end) };
                let run = frames.alloc((1 + next(40)) * PAGE, options).unwrap();
                for page in (run.start..run.end).step_by(PAGE as usize) {
                    assert_eq!(counts.insert(page, 1), None, "given out twice");
                }
                held.push(run);
                continue;
            }
            let at = next(held.len() as u64) as usize;
            let part = held[at].slice(next(8) * PAGE, (1 + next(20)) * PAGE);
            let pages = (part.start..part.end).step_by(PAGE as usize);
            if action == 2 {
                frames.inc(part);
                pages.for_each(|page| *counts.get_mut(&page).unwrap() += 1);
                held.push(part);
            } else {
                let run = held.swap_remove(at);
                frames.dec(run);
                for page in (run.start..run.end).step_by(PAGE as usize) {
                    let count = counts.get_mut(&page).unwrap();
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(&page);
                    }
                }
            }
            held.retain(|run| !run.is_empty());
            assert_eq!(frames.usage().used, counts.len() as u64 * PAGE);
            if let Some((&page, &count)) = counts.iter().nth(next(1 + counts.len() as u64) as usize) {
                assert_eq!(frames.refs(FrameRange { start: page, end: page + PAGE }), (count, PAGE));
            }
        }
        held.into_iter().for_each(|run| frames.dec(run));
        let guard = frames.state.lock();
        assert!(guard.used.is_empty());
        let free: u64 = guard.clean.iter().chain(&guard.stale).map(|(start, end)| end - start).sum();
        assert_eq!(free, frames.file.len());
    }
}
