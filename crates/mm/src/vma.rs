//! The set of mappings (VMAs) of an address space, and the search for room.
//!
//! Neighbours that differ in nothing are one VMA, as on Linux, so that `/proc/PID/maps` looks the same.

use crate::prot::{Prot, VmaFlags};
use abi::PAGE_SIZE;
use core::ops::Range;
use host::mappable::{MapName, Mappable, MappingObserver};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Linux's `vm.max_map_count`.
pub const MAX_MAP_COUNT: usize = 65_530;
/// Distance that stays free below a mapping that grows down.
pub(crate) const STACK_GUARD: u64 = 256 * PAGE_SIZE;

/// A file as mapped by one `mmap(2)`, shared by the VMAs that it was split into. The file knows its mappers by these.
pub(crate) struct FileMapping {
    pub object: Arc<dyn Mappable>,
    pub name: Arc<dyn MapName>,
    observer: Weak<dyn MappingObserver>,
    /// Shared, and may write.
    writes: bool,
}

impl FileMapping {
    pub fn new(
        object: Arc<dyn Mappable>,
        name: Arc<dyn MapName>,
        observer: Weak<dyn MappingObserver>,
        writes: bool,
    ) -> Arc<Self> {
        object.observers().add(&observer, writes);
        object.attached();
        Arc::new(FileMapping { object, name, observer, writes })
    }

    /// The same file for another memory manager.
    pub fn for_observer(&self, observer: &Weak<dyn MappingObserver>) -> Arc<FileMapping> {
        FileMapping::new(self.object.clone(), self.name.clone(), observer.clone(), self.writes)
    }
}

impl Drop for FileMapping {
    fn drop(&mut self) {
        self.object.observers().remove(&self.observer, self.writes);
        self.object.detached();
    }
}

/// One mapping. Its start is its key in the [`VmaSet`].
#[derive(Clone)]
pub(crate) struct Vma {
    pub end: u64,
    pub prot: Prot,
    /// What `mprotect` may allow.
    pub may: Prot,
    pub flags: VmaFlags,
    pub file: Option<Arc<FileMapping>>,
    /// File offset of the first byte; 0 without a file.
    pub offset: u64,
}

impl Vma {
    pub fn shared(&self) -> bool {
        self.flags.contains(VmaFlags::SHARED)
    }

    /// Private and writable: counts towards `RLIMIT_DATA` unless it is a stack.
    fn is_data(&self) -> bool {
        self.prot.contains(Prot::WRITE) && !self.flags.intersects(VmaFlags::SHARED | VmaFlags::GROWSDOWN)
    }

    /// The file offset that `addr` maps, for a VMA that starts at `start`.
    pub fn offset_at(&self, start: u64, addr: u64) -> u64 {
        self.offset.saturating_add(addr - start)
    }

    fn continues(&self, start: u64, next: &Vma) -> bool {
        self.prot == next.prot
            && self.may == next.may
            && self.flags == next.flags
            && match (&self.file, &next.file) {
                (None, None) => true,
                (Some(a), Some(b)) => {
                    a.object.observers().key() == b.object.observers().key()
                        && self.offset_at(start, self.end) == next.offset
                }
                _ => false,
            }
    }
}

/// Sizes that limits and `/proc` speak of, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// All mappings.
    pub total: u64,
    /// Private writable ones that are no stack.
    pub data: u64,
    /// Those that grow down.
    pub stack: u64,
    /// Executable ones.
    pub text: u64,
    /// Locked ones.
    pub locked: u64,
    /// Shared ones.
    pub shared: u64,
}

impl Totals {
    fn add(&mut self, vma: &Vma, len: u64, grow: bool) {
        let apply = |field: &mut u64, counts: bool| {
            if counts {
                *field = if grow { field.saturating_add(len) } else { field.saturating_sub(len) };
            }
        };
        apply(&mut self.total, true);
        apply(&mut self.data, vma.is_data());
        apply(&mut self.stack, vma.flags.contains(VmaFlags::GROWSDOWN));
        apply(&mut self.text, vma.prot.contains(Prot::EXEC));
        apply(&mut self.locked, vma.flags.contains(VmaFlags::LOCKED));
        apply(&mut self.shared, vma.shared());
    }
}

/// All mappings of an address space.
#[derive(Default)]
pub(crate) struct VmaSet {
    map: BTreeMap<u64, Vma>,
    totals: Totals,
    peak: u64,
    /// No gap of at least `.1` bytes lies between `.0` and the top of the mmap area.
    full_above: Option<(u64, u64)>,
}

impl VmaSet {
    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The most bytes that were ever mapped.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Vma)> {
        self.map.iter().map(|(&start, vma)| (start, vma))
    }

    /// The VMA that contains `addr`.
    pub fn find(&self, addr: u64) -> Option<(u64, &Vma)> {
        let (&start, vma) = self.map.range(..=addr).next_back()?;
        (addr < vma.end).then_some((start, vma))
    }

    /// The VMA that contains `addr` or else the next above it (Linux's `find_vma`).
    pub fn find_from(&self, addr: u64) -> Option<(u64, &Vma)> {
        self.find(addr).or_else(|| self.map.range(addr..).next().map(|(&start, vma)| (start, vma)))
    }

    /// The last VMA that ends at or below `addr`.
    pub fn before(&self, addr: u64) -> Option<(u64, &Vma)> {
        self.map.range(..addr).next_back().map(|(&start, vma)| (start, vma)).filter(|(_, vma)| vma.end <= addr)
    }

    /// VMAs that share a byte with the range, in order.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &Vma)> {
        let first = self.find(range.start).map_or(range.start, |(start, _)| start);
        self.map.range(first..range.end.max(first)).map(|(&start, vma)| (start, vma))
    }

    /// Whether nothing is mapped in the range.
    pub fn is_free(&self, range: Range<u64>) -> bool {
        self.overlapping(range).next().is_none()
    }

    /// Whether every byte of the range is mapped.
    pub fn covers(&self, range: Range<u64>) -> bool {
        let mut at = range.start;
        for (start, vma) in self.overlapping(range.clone()) {
            if start > at {
                return false;
            }
            at = vma.end;
        }
        at >= range.end
    }

    /// Bytes of the range that are mapped.
    pub fn mapped_bytes(&self, range: Range<u64>) -> u64 {
        self.overlapping(range.clone()).map(|(start, vma)| vma.end.min(range.end) - start.max(range.start)).sum()
    }

    /// How many VMAs more there would be if the range were cut out at both ends.
    pub fn cuts(&self, range: &Range<u64>) -> usize {
        let inside = |at: u64| self.find(at).is_some_and(|(start, _)| start < at);
        usize::from(inside(range.start)) + usize::from(inside(range.end))
    }

    fn put(&mut self, start: u64, vma: Vma) {
        self.totals.add(&vma, vma.end - start, true);
        self.peak = self.peak.max(self.totals.total);
        self.map.insert(start, vma);
    }

    fn take(&mut self, start: u64) -> Option<Vma> {
        let vma = self.map.remove(&start)?;
        self.totals.add(&vma, vma.end - start, false);
        Some(vma)
    }

    fn split(&mut self, at: u64) {
        let Some((&start, vma)) = self.map.range_mut(..at).next_back() else { return };
        if vma.end <= at {
            return;
        }
        let mut tail = vma.clone();
        if tail.file.is_some() {
            tail.offset = vma.offset_at(start, at);
        }
        vma.end = at;
        self.map.insert(at, tail);
    }

    /// Joins the VMA that starts at `at` to the one that ends there, if they are alike. `doomed` gets the file reference
    /// that is left over: it may be dropped only without locks.
    fn join(&mut self, at: u64, doomed: &mut Vec<Vma>) {
        let Some(right) = self.map.get(&at) else { return };
        let Some((&start, left)) = self.map.range(..at).next_back() else { return };
        if left.end != at || !left.continues(start, right) {
            return;
        }
        if let Some(right) = self.map.remove(&at) {
            if let Some(left) = self.map.get_mut(&start) {
                left.end = right.end;
            }
            doomed.push(right);
        }
    }

    /// Adds a mapping where none is.
    pub fn insert(&mut self, start: u64, vma: Vma, doomed: &mut Vec<Vma>) {
        debug_assert!(self.is_free(start..vma.end));
        let end = vma.end;
        self.put(start, vma);
        self.join(end, doomed);
        self.join(start, doomed);
    }

    /// Takes all mappings out of a range.
    pub fn remove(&mut self, range: Range<u64>) -> Vec<(u64, Vma)> {
        self.split(range.start);
        self.split(range.end);
        let starts: Vec<u64> = self.map.range(range.clone()).map(|(&start, _)| start).collect();
        if !starts.is_empty() {
            self.full_above = self.full_above.filter(|(addr, _)| range.end < *addr);
        }
        starts.into_iter().filter_map(|start| self.take(start).map(|vma| (start, vma))).collect()
    }

    /// Changes every mapping in a range, splitting at its ends and joining what becomes alike.
    pub fn modify(&mut self, range: Range<u64>, doomed: &mut Vec<Vma>, mut change: impl FnMut(u64, &mut Vma)) {
        let parts = self.remove_quietly(range.clone());
        let starts: Vec<u64> = parts.iter().map(|(start, _)| *start).collect();
        for (start, mut vma) in parts {
            change(start, &mut vma);
            self.put(start, vma);
        }
        for start in starts {
            self.join(start, doomed);
        }
        self.join(range.end, doomed);
    }

    fn remove_quietly(&mut self, range: Range<u64>) -> Vec<(u64, Vma)> {
        let cache = self.full_above;
        let parts = self.remove(range);
        self.full_above = cache;
        parts
    }

    /// Moves the start of a VMA down (stack growth).
    pub fn grow_down(&mut self, start: u64, new_start: u64, doomed: &mut Vec<Vma>) {
        if let Some(vma) = self.take(start) {
            self.put(new_start, vma);
            self.join(new_start, doomed);
        }
    }

    /// The lowest address that must stay free below the VMA at `start`.
    fn guarded_start(start: u64, vma: &Vma) -> u64 {
        if vma.flags.contains(VmaFlags::GROWSDOWN) { start.saturating_sub(STACK_GUARD) } else { start }
    }

    /// Whether a new mapping may lie at `range`: nothing there, and no stack needs the room.
    pub fn has_room(&self, range: Range<u64>) -> bool {
        self.find_from(range.start).is_none_or(|(start, vma)| Self::guarded_start(start, vma) >= range.end)
    }

    /// The highest free range of `len` bytes in `area`.
    pub fn find_top_down(&mut self, len: u64, area: Range<u64>) -> Option<u64> {
        let mut top = area.end;
        if let Some((addr, size)) = self.full_above
            && len >= size
        {
            top = top.min(addr);
        }
        // What is above `top` may also be a stack whose guard reaches below it.
        if let Some((start, vma)) = self.find_from(top) {
            top = top.min(Self::guarded_start(start, vma));
        }
        for (&start, vma) in self.map.range(..top).rev() {
            if vma.end < top && top - vma.end >= len {
                break;
            }
            top = top.min(Self::guarded_start(start, vma));
            if top < area.start {
                return None;
            }
        }
        let at = top.checked_sub(len).filter(|at| *at >= area.start)?;
        // Everything above the place found was too small for this length.
        self.full_above = Some((at + len, len));
        Some(at)
    }

    /// The lowest free range of `len` bytes in `area`.
    pub fn find_bottom_up(&self, len: u64, area: Range<u64>) -> Option<u64> {
        let mut at = area.start;
        loop {
            let end = at.checked_add(len).filter(|end| *end <= area.end)?;
            match self.find_from(at) {
                Some((start, vma)) if Self::guarded_start(start, vma) < end => at = vma.end,
                _ => return Some(at),
            }
        }
    }
}
